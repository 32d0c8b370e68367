"""The subcommands of `lowq`, a module for each."""
