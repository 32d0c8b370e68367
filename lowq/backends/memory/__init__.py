"""The queue in memory: for tests, and the smallest example of a backend."""
