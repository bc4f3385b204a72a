"""A job of a cluster: what it loads, and which task starts the tail, and when."""

from __future__ import annotations

import gc
from hashlib import sha256

import pytest

from orchestrator import Step
from orchestrator.data.results import inputs_digest
from orchestrator.definition.bundling import prepare_bundle
from orchestrator.errors import Busy
from orchestrator.handoff.jobfile import JobFile, write_jobfile
from orchestrator.handoff.manifest import Entry, tasks_for
from orchestrator.handoff.receipt import receipts_of
from orchestrator.worker.job import run_job
from orchestrator.workspace import RunFolder
from tests.manifests import write_entries
from tests.studies import square


def note(project_dir):
    """Whether a tail has been started by now, and whether garbage is searched for again."""
    logs = list(project_dir.parent.glob("logs/r/orchestrator.log"))
    (project_dir / "note.txt").write_text(f"{logs} {gc.isenabled()}")


STEPS = {"0": Step(note), "1": Step(square, parallel=True)}


@pytest.fixture
def submitted(workspace, monkeypatch):
    """Return a function that prepares a job, and one that runs a task of it."""
    folder = RunFolder(workspace, "r")
    folder.logs.mkdir(parents=True)
    digest = prepare_bundle(STEPS, None, needs_pickles=True).write(folder.bundles)

    def submit(**what):
        ours = {
            "run_key": "r",
            "workspace": str(workspace),
            "mark": "mark",
            "token": "token",
            "role": "step",
            "bundle_digest": digest,
        }
        step = {"position": 0, "epoch": 0, "iteration": "", "until_path": None, "project_dir": "."}
        job = JobFile(**ours, **step, **what, database=str(workspace / "orchestrator.db"))
        write_jobfile(folder.job("token").file, job)

    def run(task=None):
        monkeypatch.setenv("SLURM_JOB_ID", str(7 + (task or 0)))
        if task is not None:
            monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "7")
            monkeypatch.setenv("SLURM_ARRAY_TASK_ID", str(task))
        run_job(workspace, "r", "token", sha256(folder.job("token").file.read_bytes()).hexdigest())

    return folder, submit, run


def test_the_one_task_of_a_job_starts_the_tail_before_its_work(submitted):
    folder, submit, run = submitted
    submit(kind="call", parallel=False, path="0")
    run()
    noted = (folder.path / "note.txt").read_text()
    assert "orchestrator.log" in noted
    assert noted.endswith(" True")


def test_finished_work_succeeds_though_the_receipts_cannot_be_listed_now(submitted, monkeypatch):
    """It is not known then whether it was the last task; the orchestrator job advances the run if needed."""
    folder, submit, run = submitted
    submit(kind="call", parallel=False, path="0")
    looks = iter([{}])

    def once_only(of):
        for first in looks:
            return first
        raise Busy("The receipts can't be listed now: Stale file handle.", "Try again.")

    monkeypatch.setattr("orchestrator.handoff.receipt.receipts_of", once_only)
    run()
    assert sorted(receipts_of(folder.job("token"))) == [0]
    # The tail that it had started was ended without the word.
    assert folder.orchestrator_log.read_text() == ""


def test_only_the_last_task_of_an_array_advances_the_run(submitted, golden):
    folder, submit, run = submitted
    entries = [Entry(row, inputs_digest({"x": row}), {"x": row}, {}) for row in range(3)]
    write_entries(folder.manifest(0, 0, "mark"), tasks_for(entries, 1, None))
    submit(kind="batch", parallel=True, path="1", tasks="0-2")
    run(0)
    assert not folder.orchestrator_log.exists()
    run(2)  # it starts as the last one, and so it has a tail ready
    assert folder.orchestrator_log.read_text() == ""
    run(1)
    # There is no database here: the error shows that it tried to advance the run.
    golden(folder.orchestrator_log.read_text())
    assert sorted(receipts_of(folder.job("token"))) == [0, 1, 2]
