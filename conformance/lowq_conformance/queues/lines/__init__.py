"""A small server that keeps a queue, sound or broken: programs that load the standard library only."""
