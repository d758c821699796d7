"""Replicas on one store."""
