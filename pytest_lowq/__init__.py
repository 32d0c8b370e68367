"""The plugin of lowq for pytest."""
