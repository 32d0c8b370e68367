"""The tests of the clauses, and what they share."""
