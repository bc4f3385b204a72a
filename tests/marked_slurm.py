"""Skip tests marked `slurm` where SLURM is missing; with `--least-slurm N`, fail when fewer of them passed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "slurm-sandbox"
PASSED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--least-slurm", type=int, default=0, metavar="N", help="fail when fewer tests marked slurm than N passed"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    config.stash[PASSED] = 0
    marked = [item for item in items if item.get_closest_marker("slurm")]
    packages = missing_packages() if marked else ""
    for item in marked if packages else ():
        item.add_marker(pytest.mark.skip(reason=f"needs a real SLURM: sudo apt-get install {packages}"))


def missing_packages() -> str:
    """Name Debian's packages that the sandbox lacks here."""
    command = [sys.executable, str(SCRIPT), "missing"]
    return " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    # The mark is asked, not the report's keywords: there, the name of a folder looks like a mark.
    report = yield
    if call.when == "call" and report.passed and item.get_closest_marker("slurm"):
        item.config.stash[PASSED] += 1
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if too_few(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if message := too_few(config):
        terminalreporter.write_line(message, red=True)


def too_few(config: pytest.Config) -> str:
    """Say that fewer tests than asked for ran on the real SLURM; empty when there were enough."""
    passed, least = config.stash.get(PASSED, 0), config.getoption("--least-slurm")
    return f"{passed} tests marked slurm passed, fewer than {least}: see above what was skipped." * (passed < least)
