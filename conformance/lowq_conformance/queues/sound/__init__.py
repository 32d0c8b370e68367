"""Sound queues of designs unlike lowq's own, which the suite must never accuse."""
