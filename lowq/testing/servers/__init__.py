"""Real servers for tests and for trying out, started without root; extra `lowq[servers]`.

PYTEST_DONT_REWRITE
"""
