"""Replicas on one store: what each of them holds, hears and says."""
