"""What replicas have in common: one small protocol, in memory and on Redis or Valkey."""
