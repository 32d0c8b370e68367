"""Forked processes, and the messages that pass between them."""
