"""Queues to check: lowq's own, sound ones, broken ones, and released packages."""
