"""The storages that lowq has, a folder for each."""
