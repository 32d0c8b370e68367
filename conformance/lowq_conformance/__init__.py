"""The conformance suite: checks the promises of any queue, clause by clause."""
