"""Fuzzers of the whole API and of the command: whatever is given to them, what they refuse they refuse by name."""
