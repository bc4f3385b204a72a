"""Every command that changes something says what it will do, has --dry-run and --yes, and asks on a terminal only."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import click
import pytest

from orchestrator.cli.main import cli as all_commands
from orchestrator.cli.reference import document
from orchestrator.db import revision

pytestmark = pytest.mark.slow

THAT_READ = {
    "best",
    "db check",
    "db info",
    "diff",
    "efficiency",
    "failures",
    "list",
    "logs",
    "report",
    "scripts",
    "status",
    "table",
}
"""Commands that change no run; `report` and `table` write a file that the user names."""

DRY = {
    "advance": "advance s",
    "archive": "archive r -o r.tar.gz",
    "cancel": "cancel s",
    "clean": "clean r",
    "db allow": "db allow --db orchestrator.db",
    "db upgrade": "db upgrade",
    "fork": "fork r --from evaluate",
    "hold": "hold s",
    "import": "import kept.tar.gz --rootdir elsewhere",
    "release": "release h",
    "resume": "resume r --from-step evaluate",
    "retry": "retry r",
    "run": "run study.py",
    "set": "set s nothing --mem 8G",
    "snapshots": "snapshots r --keep 1",
    "submit": "submit slurm.py",
    "takeover": "takeover foreign",
    "wait": "wait s --drive",
}
"""What is typed, in a workspace with a run `r` that has ended, and `s` and `h` on a cluster, of which `h` is held."""


def leaves(command: click.Command, name: str = "") -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for inner in command.list_commands(context):
        found = command.get_command(context, inner)
        assert found is not None
        yield from leaves(found, f"{name} {inner}".strip())


def test_every_command_either_reads_or_has_dry_run_and_yes():
    having = {
        name
        for name, command in leaves(all_commands)
        if {"--dry-run", "--yes"} <= {word for each in command.params for word in each.opts}
    }
    assert having == {name for name, _ in leaves(all_commands)} - THAT_READ
    assert set(DRY) == having


def files(workspace):
    return {
        str(path.relative_to(workspace)): path.read_bytes()
        for path in sorted(workspace.rglob("*"))
        if path.is_file() and ".lock" not in path.name and ".guard" not in path.name and "__pycache__" not in path.parts
    }


def test_a_dry_run_of_every_verb_says_what_it_would_do_and_changes_nothing(here, programs, monkeypatch):
    monkeypatch.setattr(click, "confirm", lambda *_, **__: pytest.fail("it has asked without a terminal"))
    programs.accepts()
    here("run", "batch.py", "--project-job", "r")
    here("archive", "r", "-o", "kept.tar.gz")
    here("clean", "r")
    here("run", "batch.py", "--project-job", "r")
    for key in ("s", "h"):
        assert here("submit", "slurm.py", "--project-job", key).code == 0
    here("hold", "h")
    here("run", "study.py", "--project-job", "foreign")
    with sqlite3.connect("orchestrator.db") as connection:
        connection.execute("UPDATE run SET uid = 1 WHERE key = 'foreign'")
    before = files(here.workspace)
    for name, words in DRY.items():
        with monkeypatch.context() as patch:
            if name == "db upgrade":
                patch.setattr(revision, "REVISION", "0002")
            done = here(*words.split(), "--dry-run")
        *said, last = done.out.splitlines()
        assert (done.code, last, bool(said)) == (0, "Nothing was changed (--dry-run).", True), done
        assert files(here.workspace) == before, words


ENDS = """
import time
from pathlib import Path
from orchestrator import Pipeline, Step, datagenerator
from orchestrator.db.store import Store
from tests.studies import store_numbers

@datagenerator(output_names="y")
def evaluate(x):
    if x < N_FAILED:
        raise ValueError(x)
    return x

def act(project_dir, project_job):
    store = Store(Path("orchestrator.db").resolve())
    if ACT == "cancel":
        store.request_cancel(project_job, time.time())
        time.sleep(60)  # it is interrupted
    elif ACT == "hold":
        store.set_held(project_job, time.time(), is_held=True)

steps = [Step(store_numbers(3)), Step(evaluate, max_failed=1), Step(act), Step(store_numbers(1), name="last")]
pipeline = Pipeline("ends", steps)
"""


@pytest.mark.parametrize(
    ("n_failed", "act", "code"), [(0, "", 0), (2, "", 1), (1, "", 3), (0, "cancel", 4), (0, "hold", 75)]
)
def test_run_and_wait_end_with_the_same_documented_code(cli, n_failed, act, code):
    text = ENDS.replace("N_FAILED", str(n_failed)).replace("ACT", repr(act))
    (cli.workspace / "ends.py").write_text(text)
    done = cli("run", "ends.py", "--project-job", "r")
    assert (done.code, cli("wait", "r").code) == (code, code), done
    assert f"\n| {code} |" in document()
