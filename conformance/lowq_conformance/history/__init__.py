"""Recorded histories: operations, their JSON lines, how a history is drawn."""
