"""Skip tests marked `slurm` where SLURM is missing; with `--least-slurm N`, fail when fewer of them passed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "slurm-sandbox"
MARK = ("mark", "slurm")
"""A property of the reports of marked tests, which also reaches the process that shares the tests among others."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--least-slurm", type=int, default=0, metavar="N", help="fail when fewer tests marked slurm than N passed"
    )


def pytest_configure(config: pytest.Config) -> None:
    # Of several processes, only the one that gets all reports counts.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Count(config.getoption("--least-slurm")))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("slurm")]
    packages = missing_packages() if marked else ""
    for item in marked if packages else ():
        item.add_marker(pytest.mark.skip(reason=f"needs a real SLURM: sudo apt-get install {packages}"))


def missing_packages() -> str:
    """Return Debian's packages that the sandbox lacks here."""
    command = [sys.executable, str(SCRIPT), "missing"]
    return " ".join(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    # The mark is read, not the report's keywords: those contain names of folders, too.
    report = yield
    if item.get_closest_marker("slurm"):
        report.user_properties.append(MARK)
    return report


class Count:
    """Counts the marked tests that pass."""

    def __init__(self, least: int) -> None:
        self.least = least
        self.passed = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # A property is a list after it has travelled between processes.
        self.passed += report.when == "call" and report.passed and MARK in map(tuple, report.user_properties)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.passed < self.least and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.passed < self.least:
            message = f"{self.passed} tests marked slurm passed, fewer than {self.least}: see above what was skipped."
            terminalreporter.write_line(message, red=True)
