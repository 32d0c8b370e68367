"""What `import lowq` gives."""

from __future__ import annotations

from processes import answer, python

import lowq


def test_every_public_name_is_there() -> None:
    assert all(getattr(lowq, name) is not None for name in lowq.__all__)
    assert set(lowq.__all__) <= set(dir(lowq))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(lowq, "no_such_name")


def test_importing_lowq_imports_the_standard_library_only() -> None:
    program = """
        import sys
        import lowq
        [getattr(lowq, name) for name in lowq.__all__]
        lowq.open_backend("memory://")
        foreign = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names
        print(sorted(name for name in foreign if not name.startswith(("__", "_", "sitecustomize", "usercustomize"))))
    """
    assert answer(python(program)) == "['lowq']"


def test_importing_lowq_loads_nothing_until_a_name_is_used() -> None:
    assert (
        answer(python("import lowq, sys; print('dataclasses' in sys.modules, 'sqlite3' in sys.modules)"))
        == "False False"
    )
