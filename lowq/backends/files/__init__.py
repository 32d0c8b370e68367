"""The queue in a directory: one file a task, the order in the names of the files."""
