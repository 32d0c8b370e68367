"""Runs the suite: the command, the processes that run tests, the pytest plugin."""
