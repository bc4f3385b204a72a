"""Fixtures for all tests: nothing outside the test's own folder changes what a test sees."""

from __future__ import annotations

import compileall
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.temporary import short_root
from tests.users import why_not

ROOT = Path(__file__).resolve().parents[1]

pytest_plugins = ["tests.golden_files", "tests.marked_slurm", "tests.parallel"]


EXAMPLES = 100


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=20, help="how often the test of random kills kills")
    parser.addoption("--examples", type=int, default=EXAMPLES, help="how many examples a test by chance tries")


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", short_root())
    # How long an example takes says more about what else the machine does than about the code.
    settings.register_profile(
        "tests",
        max_examples=config.getoption("--examples"),
        # The same examples each time, unless more are asked for: a change is not blamed for what it did not do.
        derandomize=config.getoption("--examples") == EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        print_blob=True,
    )
    settings.load_profile("tests")
    if not hasattr(config, "workerinput"):
        # Else each process that imports NumPy starts a thread for each core, and these wait by computing.
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
        # The tests start a thousand interpreters. With PYTHONDONTWRITEBYTECODE, each would compile the package.
        compileall.compile_dir(ROOT / "orchestrator", quiet=2)


def pytest_runtest_setup(item: pytest.Item) -> None:
    # Not when it is collected: each of several processes collects all tests, and the answer takes a second.
    if item.get_closest_marker("users") and (why := why_not()):
        pytest.skip(why)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Cache the rewritten tests, also with PYTHONDONTWRITEBYTECODE: several processes read them, at each run."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = before


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = terminalreporter.stats.get("passed", [])
    deaths = sum(value for report in passed for name, value in report.user_properties if name == "deaths")
    if deaths:
        terminalreporter.write_line(f"A run was killed at {deaths} boundaries, and ended each time as it would have.")


@pytest.fixture(autouse=True)
def no_modules_of_others() -> Iterator[None]:
    """Remove the modules that a test has imported from its own folder: another test has a study of the same name."""
    before = dict(sys.modules)
    yield
    temporary = (tempfile.gettempdir(), short_root())
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) if before.get(name) is not module else None
        if isinstance(file, str) and file.startswith(temporary) and not file.startswith((str(ROOT), sys.prefix)):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def clean_environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """Hide the user's settings, home folder and terminal from tests and from what they start."""
    for name in ("ORCHESTRATOR_DB", "NO_COLOR", "FORCE_COLOR", "CLICOLOR_FORCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make an empty folder the current one; its name has the same length everywhere: lines break at the same places."""
    root = short_root()
    folder = Path(tempfile.mkdtemp(prefix="workspace"[: 14 - len(root)], dir=root))
    monkeypatch.chdir(folder)
    yield folder
    shutil.rmtree(folder)
