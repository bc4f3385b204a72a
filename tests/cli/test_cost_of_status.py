"""`status` of an array that works lists its folders, and reads the files of the tasks that run, and of no others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cli_records import T0, Records

from orchestrator.atomic import write_atomically
from orchestrator.cli.status import read_status
from orchestrator.db.lease_holder import Holder
from orchestrator.handoff.counts import Counts, write_counts
from orchestrator.handoff.manifest import Entry
from orchestrator.worker.running import Running
from orchestrator.workspace import RunFolder, Workspace

N_RUNNING = 3
seen: list[tuple[str, object]] | None = None


def _see(event, arguments):
    if seen is not None and event in ("open", "os.listdir", "os.scandir"):
        seen.append((event, arguments[0]))


sys.addaudithook(_see)  # it can't be removed; without a list it does nothing


@pytest.fixture
def counted(monkeypatch):
    """Return what a call has opened and listed below a folder, as pairs of event and path."""

    def counted(folder, call):
        found: list[tuple[str, object]] = []
        monkeypatch.setattr(f"{__name__}.seen", found)
        try:
            call()
        finally:
            monkeypatch.setattr(f"{__name__}.seen", None)
        # Some files are opened by their name in an open folder.
        texts = [(event, str(path)) for event, path in found if not isinstance(path, int)]
        return [(event, path) for event, path in texts if path.startswith(str(folder)) or "/" not in path]

    return counted


def array(workspace, n_tasks, *, with_failed):
    """Write the files of an array of which three tasks run, and the others have ended."""
    records = Records(workspace)
    records.add_run("r", holder=Holder.this_process())
    records.add_step_run(1, "active", n_experiments=10 * n_tasks, n_tasks=n_tasks)
    folder = RunFolder(workspace, "r").job(
        records.add_job("running", role="batch", tasks=f"0-{n_tasks - 1}", n_tasks=n_tasks)
    )
    for task in range(N_RUNNING):
        running = Running(folder.path / "running" / f"{task}.0")
        running.count(4, 0)
        running.begin([Entry(task, "", {}, {})], 0)
        running.close()
    for task in range(N_RUNNING, n_tasks):
        write_atomically(folder.receipt(task), b"{}")
        if with_failed:
            write_counts(folder, task, 0, Counts(9, 1, "cause"))
    return folder.path


@pytest.mark.parametrize("n_tasks", [10, 400])
@pytest.mark.parametrize("with_failed", [False, True])
def test_a_status_lists_each_folder_of_an_array_once_and_reads_a_file_for_each_task_that_runs(
    workspace, counted, n_tasks, with_failed
):
    folder = array(workspace, n_tasks, with_failed=with_failed)
    found = []
    calls = counted(folder, lambda: found.append(read_status(Workspace.at(workspace), "r", T0 + 60)))
    [status] = found
    n_ended = n_tasks - N_RUNNING
    now = status.now
    assert (now.n_finished + now.n_failed, now.n_running) == (10 * n_ended + 4 * N_RUNNING, N_RUNNING)
    assert now.n_failed == (n_ended if with_failed else 0)
    listed = [path for event, path in calls if event != "open"]
    assert len(listed) == len(set(listed)), listed
    assert {path.removeprefix(f"{folder}/") for path in listed} <= {"counts", "receipts", "running"}
    names = [Path(path).name for event, path in calls if event == "open"]
    # A file of a task begins with its number.
    assert sorted(name for name in names if name[0].isdecimal()) == [f"{task}.0" for task in range(N_RUNNING)]
    assert len(calls) < 30
