"""Damaged JSON in a row of the database: a named error for its run, or less in a view; other runs are not concerned."""

from __future__ import annotations

import json
import sqlite3

import pytest

pytestmark = pytest.mark.slow

DAMAGED = {
    "cut": '{"n": ',
    "deep": "[" * 200_000,
    "list": "[1]",
    "text": '"x"',
    "empty": "",
    "null": "null",
    "wrong types": '{"n": "many", "rows": 5, "error": [1], "traceback": 7, "kind": [], "elements": [{}], "cluster": 7}',
    "bytes": b"\xff\xfe",
}


@pytest.fixture
def damage(cli):
    def put(table, column, content):
        connection = sqlite3.connect(cli.workspace / "orchestrator.db")
        with connection:
            which = "id = (SELECT id FROM run WHERE key = 'r')" if table == "run" else "run_id = 1"
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE {which}", (content,))
        connection.close()

    return put


@pytest.fixture
def two_runs(here):
    assert here("run", "fails.py", "--project-job", "r").code == 1
    assert here("run", "study.py", "--project-job", "other").code == 0
    return here


@pytest.mark.parametrize("content", DAMAGED)
@pytest.mark.parametrize(
    ("table", "column"),
    [("event", "detail"), ("job", "detail"), ("run", "plan"), ("run", "cluster"), ("run", "provenance")],
)
def test_a_damaged_column_blocks_at_most_its_run(two_runs, damage, table, column, content):
    here = two_runs
    damage(table, column, DAMAGED[content])
    listed = here("list")
    assert listed.code == 0
    assert [line.split()[0] for line in listed.out.splitlines()[1:]] == ["other", "r"]
    assert len(json.loads(here("list", "--json").out)) == 2
    assert here("status", "other").code == 0
    assert here("resume", "other").code == 0
    for words in ("status r", "status r --json", "logs r fails", "wait r", "advance r", "resume r", "cancel r"):
        done = here(*words.split())
        assert "bug in orchestrator" not in done.err, (words, done.err)
        assert "Traceback" not in done.err, (words, done.err)
        if "damaged" in done.err:
            assert (table, done.code) == ("run", 1)
            assert "The records of run r are damaged" in done.err
            assert "orchestrator list" in done.err
    if table != "run":
        shown = here("status", "r").out
        assert "no licence" in shown


def test_a_damaged_plan_is_a_named_error(two_runs, damage, golden):
    damage("run", "plan", "{")
    golden(two_runs("status", "r"))
    golden(two_runs("resume", "r"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("runner", {"a": 1}), ("partition", 5), ("log_dir", None), ("env_setup", "module"), ("env_setup", [{}])),
        *(("grace", "x"), ("wake", []), ("env_vars", []), ("mem_per_cpu", [4])),
        *(("grace", -1), ("wake", "never"), ("log_dir", "../logs"), ("runner", "python '")),
    ],
)
def test_a_cluster_with_a_value_of_another_type_is_a_named_error(here, programs, field, value):
    programs.accepts()
    here("submit", "slurm.py", "--project-job", "r")
    with sqlite3.connect(here.workspace / "orchestrator.db") as connection:
        [(text,)] = connection.execute("SELECT cluster FROM run")
        cluster = json.loads(text)
        cluster["cluster"][field] = value
        connection.execute("UPDATE run SET cluster = ?", (json.dumps(cluster),))
    connection.close()
    for words in ("resume r", "advance r", "status r --refresh", "cancel r"):
        done = here(*words.split())
        assert "bug in orchestrator" not in done.err, words
    assert "The records of run r are damaged: its cluster can't be read" in " ".join(here("resume", "r").err.split())


RESTORED = """
from pathlib import Path
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers
@datagenerator(output_names="y")
def evaluate(x):
    return 2 * x
def last(project_dir):
    if not Path("ready").exists():
        raise ValueError("not ready")
pipeline = Pipeline("restored", [Step(store_numbers(4), name="create"), Step(evaluate, parallel=True), Step(last)])
"""


@pytest.mark.parametrize("command", ["resume r", "resume r --from-step create", "resume r --from-step evaluate"])
def test_an_older_database_that_was_restored_is_named_and_resume_continues(here, command):
    (here.workspace / "study.py").write_text(RESTORED)
    assert here("run", "study.py", "--project-job", "r").code == 1
    older = (here.workspace / "orchestrator.db").read_bytes()
    for words in ("resume r --from-step create --yes", "resume r"):
        assert here(*words.split()).code == 1
    (here.workspace / "orchestrator.db").write_bytes(older)
    (here.workspace / "ready").touch()
    done = here(*command.split(), *(["--yes"] * ("--from-step" in command)))
    refused = " ".join(done.err.split())
    assert done.code == 1
    assert "records do not show that: they are older than the files of the run" in refused
    assert "orchestrator resume r" in refused
    for _ in range(4):
        done = here("resume", "r")
    assert done.code == 0, done.err
    assert here("table", "r", "--csv", "-").out.count("FINISHED") == 4
