"""The queue in a Redis or Valkey server."""
