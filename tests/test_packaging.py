"""What is shipped: the wheel that people install and the sdist that distributions build from."""

import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import lowq

ROOT = Path(__file__).parent.parent
PACKAGES = {"lowq", "pytest_lowq", "lowq_conformance"}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with a wheel and an sdist built from this tree."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t", "wheel", "-t", "sdist"]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(shipped: Path) -> zipfile.ZipFile:
    return zipfile.ZipFile(next(shipped.glob("*.whl")))


def test_the_wheel_holds_three_packages_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    folders = {name.split("/")[0] for name in wheel.namelist()}

    assert {name for name in folders if not name.endswith(".dist-info")} == PACKAGES


def test_each_package_says_that_it_is_typed(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0] for name in wheel.namelist() if name.endswith("/py.typed")} == PACKAGES


def test_every_module_of_the_tree_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    sources = [ROOT / "lowq", ROOT / "pytest_lowq", ROOT / "conformance" / "lowq_conformance"]
    modules = {file.relative_to(source.parent).as_posix() for source in sources for file in source.rglob("*.py")}

    assert modules
    assert {name for name in wheel.namelist() if name.endswith(".py")} == modules


def test_every_script_of_the_queue_in_redis_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    scripts = {file.relative_to(ROOT).as_posix() for file in (ROOT / "lowq").rglob("*.lua")}

    assert "lowq/backends/redis/lua/push.lua" in scripts
    assert {name for name in wheel.namelist() if name.endswith(".lua")} == scripts


def test_installing_lowq_brings_click_and_rich_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    needs = message_from_bytes(wheel.read(path)).get_all("Requires-Dist", [])

    assert sorted(need.split(">=")[0] for need in needs if "extra ==" not in need) == ["click", "rich"]


def test_the_version_is_the_one_that_lowq_says(wheel: zipfile.ZipFile) -> None:
    assert Path(str(wheel.filename)).name.split("-")[1] == lowq.__version__


def test_the_sdist_holds_the_tests_that_a_distribution_runs(shipped: Path) -> None:
    with tarfile.open(next(shipped.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}

    assert {"pyproject.toml", "README.md", "LICENSE", "tests/test_packaging.py", "lowq/py.typed"} <= names
    assert not [name for name in names if name.startswith((".ci", ".github", ".venv"))]
