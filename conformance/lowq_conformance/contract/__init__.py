"""What a queue may promise: promises, clauses, verdicts, the sizes of a run."""
