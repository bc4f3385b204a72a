"""Pipelines run in the test's own process, and the records they leave."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator import ExperimentData
from orchestrator.engine.progress import Silent

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch):
    for module in ("commands", "local.run"):
        monkeypatch.setattr(f"orchestrator.engine.{module}.progress_for", lambda *_: Silent())


@pytest.fixture
def rows(workspace: Path) -> Callable[..., list[Any]]:
    """Return a function that asks the workspace's database."""

    def ask(query: str, *values: Any) -> list[Any]:
        connection = sqlite3.connect(workspace / "orchestrator.db")
        try:
            found = connection.execute(query, values).fetchall()
        finally:
            connection.close()
        return [row[0] if len(row) == 1 else row for row in found]

    return ask


@pytest.fixture
def table(workspace: Path) -> Callable[[str], ExperimentData]:
    return lambda key: ExperimentData.from_file(workspace / key)


@pytest.fixture
def script(workspace: Path) -> Callable[..., subprocess.Popen[str]]:
    """Return a function that writes a script and starts it."""
    started = []

    def start(text: str | None = None, *arguments: str, name: str = "study.py") -> subprocess.Popen[str]:
        if text is not None:
            (workspace / name).write_text(text)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            [sys.executable, name, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
