"""What every backend does alike: canonical text, argument checks, names, paging."""
