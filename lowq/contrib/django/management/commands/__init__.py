"""The commands that `manage.py` has of lowq."""
