"""A queue that a server keeps, over HTTP."""
