"""Decides whether a recorded history is linearizable."""
