"""The process that a job starts early, and that advances the run when it gets the word."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from orchestrator import SlurmCluster
from orchestrator.db.store import NewRun, Store
from orchestrator.engine.cluster.config import ClusterConfig, orchestrator_resources
from orchestrator.handoff.jobfile import JobFile
from orchestrator.machine.plan import Plan
from orchestrator.worker.tail import Tail
from orchestrator.workspace import RunFolder


@pytest.fixture
def folder(workspace):
    folder = RunFolder(workspace, "r")
    folder.logs.mkdir(parents=True)
    return folder


@pytest.fixture
def job(workspace):
    return JobFile(
        run_key="r",
        workspace=str(workspace),
        mark="mark",
        token="token",
        role="step",
        position=0,
        epoch=0,
        iteration="",
        kind="call",
        parallel=False,
        path="0",
        until_path=None,
        project_dir=".",
        bundle_digest="",
        database=str(workspace / "orchestrator.db"),
    )


def test_the_tail_advances_when_the_word_arrives(folder, job, golden):
    tail = Tail(folder, job)
    tail.start()
    assert folder.orchestrator_log.read_text() == ""
    tail.advance()
    # There is no database here: the error shows that it tried to advance the run.
    golden(folder.orchestrator_log.read_text())


def test_the_tail_logs_its_steps_with_their_times(folder, job):
    site = ClusterConfig(SlurmCluster(), orchestrator_resources(None), str(folder.workspace))
    code = dict.fromkeys(("study", "study_attr", "bundle_digest"))
    new = NewRun("r", "salt", "p", "slurm", Plan(()), 0, None, **code, cluster=site.to_json(), provenance={})
    Store(folder.workspace / "orchestrator.db").create_run(new, 1.0)
    Tail(folder, job).advance()
    line = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d Run r: succeeded\.\n"
    assert re.fullmatch(line, folder.orchestrator_log.read_text())


def test_a_tail_that_was_not_started_early_advances_too(folder, job, golden):
    Tail(folder, job).advance()
    golden(folder.orchestrator_log.read_text())


def test_the_tail_does_nothing_without_the_word(folder, job):
    tail = Tail(folder, job)
    tail.start()
    tail.stop()
    assert folder.orchestrator_log.read_text() == ""


def test_a_job_without_a_database_has_no_tail(folder, job):
    Tail(folder, job._replace(database=None)).advance()
    assert not folder.orchestrator_log.exists()


def children():
    """List the processes that a `wait` of this one would wait for."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == os.getpid():
            found.add(int(folder.name))
    return found


def test_the_users_code_cannot_wait_for_the_tail(folder, job):
    before = children()
    tail = Tail(folder, job)
    tail.start()
    assert children() == before
    tail.stop()


def test_the_users_code_may_change_the_environment_and_the_folder(folder, job, monkeypatch, golden):
    tail = Tail(folder, job)
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    monkeypatch.chdir("/")
    tail.advance()
    golden(folder.orchestrator_log.read_text())


def test_the_users_code_may_ignore_its_children(folder, job, golden):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        Tail(folder, job).advance()
    finally:
        signal.signal(signal.SIGCHLD, before)
    golden(folder.orchestrator_log.read_text())


def test_a_tail_whose_folder_is_gone_says_so(folder, job, tmp_path, monkeypatch, capsys, golden):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    tail = Tail(folder, job)
    monkeypatch.chdir("/")
    gone.rmdir()
    tail.advance()
    golden(capsys.readouterr().out)


def test_a_job_does_its_work_though_its_tail_can_not_be_started(folder, job, capsys, golden):
    folder.orchestrator_log.mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))
    tail = Tail(folder, job)
    tail.start()
    tail.stop()
    tail.advance()
    golden(capsys.readouterr().out)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
