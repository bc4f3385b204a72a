"""The files with which the engine and the tasks communicate."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.atomic import write_atomically
from orchestrator.errors import Busy, DataError
from orchestrator.handoff.claim import claim
from orchestrator.handoff.jobfile import JobFile, read_jobfile, write_jobfile
from orchestrator.handoff.manifest import Entry, Manifest, tasks_for
from orchestrator.handoff.receipt import Receipt, last_receipt, read_receipt, receipts_of, write_receipt
from orchestrator.machine.kinds import StepKind
from orchestrator.workspace import JobFolder, RunFolder
from tests.manifests import write_entries


@given(n=st.integers(0, 200), per_task=st.none() | st.integers(1, 50), max_tasks=st.integers(1, 50))
def test_a_manifest_gives_every_experiment_to_one_task(tmp_path_factory, n, per_task, max_tasks):
    path = tmp_path_factory.mktemp("m") / "manifest.jsonl"
    entries = [Entry(row, f"{row:016x}", {"x": row / 3, "name": "é"}, {}) for row in range(n)]
    write_entries(path, tasks_for(entries, per_task, max_tasks))
    manifest = Manifest.open(path)
    assert sorted(manifest) == entries
    n_tasks = min(n, max_tasks) if per_task is None else -(-n // per_task)
    assert (manifest.n_experiments, manifest.n_tasks) == (n, n_tasks)
    sizes = [len(manifest.task(task)) for task in range(n_tasks)]
    assert max(sizes, default=0) <= (per_task or n)
    assert per_task is not None or not sizes or max(sizes) - min(sizes) <= 1
    with pytest.raises(DataError):
        manifest.task(n_tasks)


def test_experiments_are_dealt_out_to_tasks_one_by_one():
    entries = [Entry(row, "d", {}, {}) for row in range(7)]
    rows = [[entry.row for entry in task] for task in tasks_for(entries, 3, None)]
    assert rows == [[0, 3, 6], [1, 4], [2, 5]]
    rows = [[entry.row for entry in task] for task in tasks_for(entries, 4, 1)]
    assert rows == [[0, 2, 4, 6], [1, 3, 5]]
    rows = [[entry.row for entry in task] for task in tasks_for(entries, None, 3)]
    assert rows == [[0, 3, 6], [1, 4], [2, 5]]


def test_a_task_reads_only_its_own_part(tmp_path):
    path = tmp_path / "manifest.jsonl"
    write_entries(path, [[Entry(row, "d", {"x": "v" * 1000}, {})] for row in range(1000)])
    content = path.read_bytes()
    begin = content.index(b"[500,")
    # Task 500 does not read what comes after its line.
    path.write_bytes(content[: content.index(b"\n", begin) + 1])
    assert [entry.row for entry in Manifest.open(path).task(500)] == [500]


def test_a_damaged_file_is_reported(tmp_path, golden):
    path = tmp_path / "manifest.jsonl"
    path.write_text("no manifest")
    with golden.raises(DataError):
        Manifest.open(path)
    with golden.raises(DataError):
        read_receipt(path)
    with golden.raises(DataError):
        read_jobfile(path)


def test_a_job_file_is_read_as_it_was_written(tmp_path):
    job = JobFile(
        "r", "/w", "mark", "t", "batch", 3, 1, "2.4", StepKind.BATCH, True, "1.0", None, ".", "d", tasks="0-9"
    )
    write_jobfile(tmp_path / "job.json", job)
    assert read_jobfile(tmp_path / "job.json") == job
    assert job.injectable == {"iteration": 4, "project_job": "r", "seed": 0}


def test_only_one_submission_of_a_job_runs(tmp_path):
    folder = JobFolder(tmp_path / "t")
    begin, outcomes = threading.Barrier(8), {}

    def start(owner):
        begin.wait()
        outcomes[owner] = claim(folder, owner)

    threads = [threading.Thread(target=start, args=(str(owner),)) for owner in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcomes.values()) == 1
    winner = next(owner for owner, won in outcomes.items() if won)
    assert claim(folder, winner)  # its other tasks, and its restarts


def test_the_receipt_of_the_last_restart_counts(tmp_path):
    folder = JobFolder(tmp_path)
    for task, restart in [(0, 0), (0, 2), (0, 10), (3, 0)]:
        write_receipt(folder.receipt(task, restart), Receipt("succeeded", 1.0, 2.0, n_finished=restart))
    (folder.receipts / ".5.0.json.123").touch()
    found = receipts_of(folder)
    assert {task: last_receipt(paths).n_finished for task, paths in found.items()} == {0: 10, 3: 0}


def test_an_exception_is_not_written_to_the_receipt(tmp_path):
    receipt = Receipt("failed", 1.0, 2.0, exception=ValueError("x"))
    write_receipt(tmp_path / "0.0.json", receipt)
    assert isinstance(receipt.exception, ValueError)
    assert read_receipt(tmp_path / "0.0.json").exception is None


def test_a_file_that_could_not_be_written_whole_does_not_exist(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(tmp_path / "receipt", b"content")
    assert not (tmp_path / "receipt").exists()


def test_a_run_has_these_paths(tmp_path):
    folder = RunFolder(tmp_path, "r")
    assert folder.log("loop1_run", "3.1", "tok", 4) == tmp_path / "logs/r/loop1_run@3.1.tok.4.log"
    assert folder.log("create", "") == tmp_path / "logs/r/create.log"
    assert folder.results("sub", "tok") == tmp_path / "r/sub/experiment_data/.results/tok"


def test_receipts_that_cannot_be_listed_now_are_unknown(tmp_path, monkeypatch):
    def stale(path):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "iterdir", stale)
    with pytest.raises(Busy, match="Stale file handle"):
        receipts_of(JobFolder(tmp_path))
