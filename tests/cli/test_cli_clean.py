"""`orchestrator clean`: what it deletes, what it keeps, and that it follows no link."""

from __future__ import annotations

import re
import sqlite3
import time
from dataclasses import replace

import pytest

from orchestrator.db.lease_holder import STALE, Holder
from orchestrator.db.store import Store
from orchestrator.engine import cleaning
from orchestrator.errors import DefinitionError
from orchestrator.machine.cleanable import Cleanable, Part, Selection, age_in_seconds, chosen, why_kept
from orchestrator.machine.states import RunState


def change(workspace, **values):
    connection = sqlite3.connect(workspace / "orchestrator.db")
    connection.execute(f"UPDATE run SET {', '.join(f'{name} = ?' for name in values)}", list(values.values()))
    connection.commit()
    connection.close()


def shown(outcome):
    """Return an outcome without sizes, which depend on the machine."""

    def without(text):
        return re.sub(r"[\d.]+ (B|kB|MB)\b", "<size>", re.sub(r"\d+ files", "<n> files", text))

    return replace(outcome, out=without(outcome.out), err=without(outcome.err))


def keys(here):
    return [line.split()[0] for line in here("list").out.splitlines()[1:] if line and not line.startswith("No runs")]


def n_rows(workspace):
    connection = sqlite3.connect(workspace / "orchestrator.db")
    counts = [
        connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("run", "step_run", "job", "event")
    ]
    connection.close()
    return counts


# --- what is chosen ------------------------------------------------------------------------------


def test_every_condition_must_be_true():
    runs = [
        Cleanable("old", RunState.FAILED, ended_at=100.0),
        Cleanable("new", RunState.FAILED, ended_at=900.0),
        Cleanable("good", RunState.SUCCEEDED, ended_at=100.0),
        Cleanable("active", RunState.ACTIVE),
    ]

    def names(**given):
        return [run.key for run in chosen(runs, Selection(**given), 1000.0)]

    assert names() == ["old", "new", "good", "active"]
    assert names(states=["failed"]) == ["old", "new"]
    assert names(older_than=500.0) == ["old", "good"]
    assert names(older_than=500.0, states=["failed"]) == ["old"]
    assert names(keys=["good", "active"]) == ["good", "active"]
    assert names(keys=["good", "active"], older_than=0.0) == ["good"]


@pytest.mark.parametrize(("text", "seconds"), [("90m", 5400), ("12h", 43200), ("30d", 2592000), ("4w", 2419200)])
def test_an_age_is_a_number_and_a_unit(text, seconds):
    assert age_in_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "d", "-3d", "3 days", "1.5h", "9999999999d"])
def test_another_age_is_refused(text):
    with pytest.raises(DefinitionError):
        age_in_seconds(text)


def test_a_run_that_is_active_or_foreign_or_has_jobs_is_kept():
    ended = Cleanable("r", RunState.SUCCEEDED)
    assert all(why_kept(ended, part) is None for part in Part)
    for kept in (
        ended._replace(state=RunState.ACTIVE),
        ended._replace(is_own=False),
        ended._replace(has_jobs=True),
    ):
        assert all(why_kept(kept, part) for part in Part)
    for needed in (ended._replace(n_failed=1), ended._replace(state=RunState.FAILED)):
        assert why_kept(needed, Part.RESULT_FILES)
        assert why_kept(needed, Part.LOGS) is None


# --- what is deleted -----------------------------------------------------------------------------


def test_a_run_is_deleted_with_its_records_folder_and_logs_and_no_other(here, golden):
    here("run", "study.py", "--project-job", "a")
    before = n_rows(here.workspace)
    here("run", "fails.py", "--project-job", "b")
    golden(shown(here("clean", "b", "--dry-run")))
    assert keys(here) == ["b", "a"]
    golden(shown(here("clean", "b")))
    assert keys(here) == ["a"]
    assert n_rows(here.workspace) == before
    assert not (here.workspace / "b").exists()
    assert not (here.workspace / "logs" / "b").exists()
    assert here("logs", "a", "nothing").out == "nothing happens\n"
    golden(shown(here("clean", "b")))
    # The key is free again.
    assert here("run", "study.py", "--project-job", "b").code == 0


@pytest.mark.parametrize("verb", ["clean", "archive"])
def test_a_dry_run_says_that_another_process_uses_the_run(here, verb):
    here("run", "study.py", "--project-job", "r")
    store = Store(here.workspace / "orchestrator.db")
    store.leases.take("r", Holder("login2", "its boot", 4242, "1"), time.time())
    for words in ((verb, "r", "--dry-run"), (verb, "r")):
        done = here(*words)
        assert done.code or "--dry-run" in words
        assert "by process 4242 on login2" in " ".join((done.out + done.err).split())
        assert "Deletes" not in done.out + done.err


def test_runs_are_chosen_by_state_and_age(here, golden):
    for key, study in (("a", "study.py"), ("b", "fails.py"), ("c", "fails.py")):
        here("run", study, "--project-job", key)
    golden(shown(here("clean")))
    golden(shown(here("clean", "--older-than", "1h")))
    golden(shown(here("clean", "--older-than", "soon")))
    assert here("clean", "--state", "failed", "--older-than", "0m").code == 0
    assert keys(here) == ["a"]


@pytest.mark.slow
def test_only_logs_or_result_files_are_deleted_if_that_is_said(here, golden):
    here("run", "batch.py", "--project-job", "r")
    table = here.workspace / "r" / "experiment_data"
    assert any((table / ".archive").iterdir())
    golden(shown(here("clean", "r", "--result-files")))
    assert any((table / ".archive").iterdir())
    golden(shown(here("clean", "r", "--logs")))
    assert not (here.workspace / "logs" / "r").exists()
    assert here("status", "r").code == 0
    here("run", "study.py", "--project-job", "quiet")
    golden(shown(here("clean", "quiet", "--result-files")))
    (here.workspace / "batch.py").write_text(
        (here.workspace / "batch.py").read_text().replace("if x == 3:", "if x == 30:")
    )
    here("run", "batch.py", "--project-job", "good")
    golden(shown(here("clean", "good", "--result-files")))
    table = here.workspace / "good" / "experiment_data"
    assert not (table / ".archive").exists()
    assert (table / "output.csv").read_text()
    assert here("resume", "good").code == 0


@pytest.mark.parametrize(
    "values", [{"state": "active", "ended_at": None}, {"uid": 4711}], ids=["an active run", "a run of another user"]
)
def test_what_must_not_be_deleted_is_kept(here, golden, values):
    here("run", "study.py", "--project-job", "r")
    change(here.workspace, **values)
    golden(shown(here("clean", "r")))
    assert here("clean", "--older-than", "0m").code == 0
    assert (here.workspace / "r").exists()
    assert (here.workspace / "logs" / "r" / "nothing.log").exists()
    assert n_rows(here.workspace)[0] == 1


@pytest.mark.parametrize("verb", [["clean", "r"], ["archive", "r", "-o", "r.tar"]], ids=["clean", "archive"])
def test_a_silent_process_of_another_host_does_not_keep_a_run_for_ever(here, verb):
    here("run", "study.py", "--project-job", "r")
    lease = {"host": "login9", "boot": "b", "pid": 77, "pid_start": "1", "taken_at": 0.0, "beat_at": 0.0}
    change(here.workspace, **{f"lease_{name}": value for name, value in lease.items()})
    before = (here.workspace / "orchestrator.db").read_bytes()
    here(*verb, "--dry-run")
    assert (here.workspace / "orchestrator.db").read_bytes() == before
    assert here(*verb).code
    connection = sqlite3.connect(here.workspace / "orchestrator.db")
    [(seen_at,)] = connection.execute("SELECT lease_beat_seen_at FROM run")
    connection.close()
    assert seen_at is not None  # its silence counts from then
    change(here.workspace, lease_beat_seen_at=seen_at - STALE)
    assert here(*verb).code == 0


def test_a_run_that_becomes_active_after_it_was_named_is_kept(here, monkeypatch):
    here("run", "study.py", "--project-job", "r")
    said = cleaning.prepare

    def then_resumed(*arguments, **options):
        prepared = said(*arguments, **options)
        change(here.workspace, state="active", ended_at=None)
        return prepared

    monkeypatch.setattr(cleaning, "prepare", then_resumed)
    done = here("clean", "r")
    assert (done.code, done.err.splitlines()[-1]) == (1, "Run r is kept: it has not ended.")
    assert (here.workspace / "r").exists()


def test_links_are_not_followed(here, tmp_path):
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    for path in (outside / "file", outside / "folder" / "file", outside / "folder" / "precious.log"):
        path.write_text("precious")
    here("run", "study.py", "--project-job", "r")
    run = here.workspace / "r"
    (run / "to a file").symlink_to(outside / "file")
    (run / "to a folder").symlink_to(outside / "folder")
    (run / ".orchestrator" / "back").symlink_to(here.workspace)
    logs = here.workspace / "logs" / "r"
    (logs / "link.log").symlink_to(outside / "file")
    assert here("clean", "r").code == 0
    assert not run.exists()
    assert sorted(path.name for path in outside.rglob("*")) == ["file", "file", "folder", "precious.log"]
    assert (logs / "link.log").is_symlink()


@pytest.mark.parametrize("which", ["logs", "logs/r", "r"])
def test_a_folder_that_was_replaced_by_a_link_is_kept(here, tmp_path, which):
    here("run", "study.py", "--project-job", "r")
    outside = tmp_path / "moved"
    (here.workspace / which).rename(outside)
    (here.workspace / which).symlink_to(outside)
    n_before = len(list(outside.rglob("*")))
    done = here("clean", "r")
    assert len(list(outside.rglob("*"))) == n_before
    if which == "r":
        assert done.code == 1
        assert "is a link or no folder of yours" in done.err
        assert any((here.workspace / "logs" / "r").iterdir())
        assert Store(here.workspace / "orchestrator.db").has("r")


def test_a_clean_that_is_killed_is_completed_by_the_next_one(here, monkeypatch):
    here("run", "study.py", "--project-job", "r")
    with monkeypatch.context() as patch:
        patch.setattr(cleaning, "delete_run", lambda *arguments: 1 / 0)
        assert here("clean", "r").code == 1
    assert keys(here) == ["r"]
    assert not (here.workspace / "r").exists()
    assert here("clean", "r").code == 0
    here("run", "study.py", "--project-job", "r")
    with monkeypatch.context() as patch:
        patch.setattr(cleaning, "_remove", lambda path: 1 / 0)
        assert here("clean", "r").code == 1
    assert keys(here) == []
    assert list(here.workspace.glob(".deleted-*"))
    assert here("clean", "--older-than", "30d").code == 0
    assert not list(here.workspace.glob(".deleted-*"))
