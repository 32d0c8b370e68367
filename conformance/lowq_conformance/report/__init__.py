"""What a run shows: the terminal, the page, the pictures."""
