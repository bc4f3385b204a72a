"""A damaged database: each use of it is a named error, or works."""

from __future__ import annotations

import random
import time
from contextlib import suppress

import pytest

from orchestrator.db.status import list_runs, run_status
from orchestrator.db.store import Store
from orchestrator.errors import OrchestratorError
from orchestrator.machine.kinds import Mode
from orchestrator.machine.plan import Plan, PlannedStep


@pytest.fixture
def database(workspace):
    store = Store(workspace / "orchestrator.db")
    plan = Plan((PlannedStep("0", "create", label="create"),))
    for key in ("r", "other"):
        store.create_run(_new(key, plan), time.time())
    return store.path


def _new(key, plan):
    from orchestrator.db.store import NewRun

    return NewRun(key, key * 3, "name", Mode.LOCAL, plan, 0, "s.py", None, "d", "e", None, {"host": "h"})


def test_damaged_bytes_are_a_named_error_or_harmless(database, pytestconfig):
    whole = database.read_bytes()
    by_chance = random.Random(7)
    for _ in range(pytestconfig.getoption("--examples")):
        content = bytearray(whole)
        for _ in range(by_chance.choice([1, 3, 50])):
            content[by_chance.randrange(len(content))] = by_chance.randrange(256)
        database.write_bytes(content[: by_chance.choice([len(content)] * 9 + [by_chance.randrange(len(content))])])
        for use in (list_runs, lambda path: run_status(path, "r", whole=True), lambda path: Store(path).load("r")):
            with suppress(OrchestratorError):
                use(database)
