"""Runs a queue's tasks: the loop, what carries out a handler, retries, stopping, the background process."""
