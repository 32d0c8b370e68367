"""What the command and the processes that run its tests agree on."""

from __future__ import annotations

CASES = "lowq_conformance.cases"
"""The package of the tests of the clauses."""

INI = """[pytest]
addopts = --strict-markers
python_files = test_*.py
tmp_path_retention_policy = failed
"""
"""The pytest.ini of a check: nobody's settings but these."""

STACKS = "stacks"
"""The file, with the number of a host behind it, to which that one's process writes where it stands."""

NO_LOT = None
"""Instead of a lot: there is none left."""
