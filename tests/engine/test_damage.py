"""A run whose files are damaged continues: a damaged file costs no more than the task or step that it belongs to."""

from __future__ import annotations

import os
import signal
from contextlib import nullcontext
from pathlib import Path

import pytest

from orchestrator import Pipeline, Step, datagenerator
from orchestrator.data.results import inputs_digest
from orchestrator.engine import commands
from orchestrator.errors import DataError, RunFailed
from orchestrator.handoff.manifest import Entry
from orchestrator.workspace import Workspace
from tests.damage import NOT_JSON
from tests.manifests import write_entries
from tests.studies import square, store_numbers

pytestmark = pytest.mark.slow


def ys(table):
    return [float(y) for y in table.to_pandas()[1]["y"]]


DAMAGES = {
    **{name: NOT_JSON[name] for name in ("deep", "cut", "bytes")},
    "wrong types": b'{"state":5,"started_at":"a","ended_at":null,"failures":7}',
    "not a number": b'{"state":"succeeded","started_at":NaN,"ended_at":NaN}',
    "no kind": b'{"state":"failed","started_at":1,"ended_at":2,"kind":"nosuch"}',
    "fifo": None,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("parallel", [True, False])
def test_a_damaged_receipt_costs_only_its_task(workspace, rows, table, damage, parallel):
    @datagenerator(output_names="y")
    def plants(x):
        if x == 1 and not Path("planted").exists():
            Path("planted").touch()
            jobs = Path("r/.orchestrator/jobs").glob("*/job.json")
            [job] = [job for job in jobs if '"role": "batch"' in job.read_text()]
            job.with_name("receipts").mkdir(exist_ok=True)
            receipt = job.with_name("receipts") / "1.9.json"
            os.mkfifo(receipt) if DAMAGES[damage] is None else receipt.write_bytes(DAMAGES[damage])
            if parallel:
                os.kill(os.getpid(), signal.SIGKILL)
        return x * x

    pipeline = Pipeline(steps=[Step(store_numbers(4)), Step(plants, name="plants", parallel=parallel)])
    pipeline.run(project_job="r", jobs=1)
    assert ys(table("r")) == [0.0, 1.0, 4.0, 9.0]
    assert rows("SELECT state FROM run") == ["succeeded"]


def damages(file, content):
    """Return a generator whose second experiment damages a file of its job, once, and whose process then dies."""

    @datagenerator(output_names="y")
    def evaluate(x):
        if x == 1 and not Path("planted").exists():
            Path("planted").touch()
            [path] = [path for path in Path("r/.orchestrator").glob(file) if '"role": "step"' not in path.read_text()]
            path.unlink()
            os.mkfifo(path) if content is None else path.write_bytes(content)
            os.kill(os.getpid(), signal.SIGKILL)
        return x * x

    return evaluate


@pytest.mark.parametrize("content", [None, b"[" * 200_000, b"\0"])
@pytest.mark.parametrize("file", ["steps/*/manifest.jsonl", "jobs/*/job.json"])
def test_a_damaged_manifest_or_job_file_costs_only_its_step(workspace, rows, table, file, content):
    pipeline = Pipeline(steps=[Step(store_numbers(4)), Step(damages(file, content), name="evaluate", parallel=True)])
    # A process that has read the job file needs it no more.
    with pytest.raises(RunFailed, match="evaluate") if "manifest" in file else nullcontext():
        pipeline.run(project_job="r", jobs=1)
    commands.resume(Workspace.at(workspace), "r")
    assert ys(table("r")) == [0.0, 1.0, 4.0, 9.0]
    assert rows("SELECT state FROM run") == ["succeeded"]


def test_another_manifest_in_place_of_the_recorded_one_is_not_evaluated(workspace, rows, table):
    write_entries(workspace / "other", [[Entry(row, inputs_digest({"x": 7.0}), {"x": 7.0}, {})] for row in range(4)])
    damage = damages("steps/*/manifest.jsonl", (workspace / "other").read_bytes())
    pipeline = Pipeline(steps=[Step(store_numbers(4)), Step(damage, name="evaluate", parallel=True)])
    with pytest.raises(RunFailed, match="evaluate"):
        pipeline.run(project_job="r", jobs=1)
    assert rows("SELECT count(*) > 0 FROM event WHERE why LIKE '%it was changed after it was written'") == [1]
    commands.resume(Workspace.at(workspace), "r")
    assert ys(table("r")) == [0.0, 1.0, 4.0, 9.0]


def test_a_damaged_manifest_of_a_step_in_this_process_fails_its_tasks_with_words(workspace, rows, table):
    def damaged_reader(*arguments):
        raise DataError("the manifest can't be used: it is cut")

    pipeline = Pipeline(steps=[Step(store_numbers(4)), Step(square, name="evaluate")])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.handoff.manifest.Manifest.task", damaged_reader)
        with pytest.raises(RunFailed, match="can't be used: it is cut"):
            pipeline.run(project_job="r")
    commands.resume(Workspace.at(workspace), "r")
    assert ys(table("r")) == [0.0, 1.0, 4.0, 9.0]


def test_a_damaged_line_of_results_is_reported_and_its_experiment_can_be_evaluated_again(workspace, rows, table):
    @datagenerator(output_names="y")
    def evaluate(x):
        if x == 3 and not Path("planted").exists():
            Path("planted").touch()
            [path] = Path("r/experiment_data/.results").glob("*/1.0.jsonl")
            path.write_bytes(path.read_bytes().replace(b'"y":1.0', b'"y":7.0'))
            os.mkfifo(path.with_name("9.0.jsonl"))
        return x * x

    Pipeline(steps=[Step(store_numbers(4)), Step(evaluate, name="evaluate", parallel=True)]).run(
        project_job="r", jobs=1
    )
    assert [status.name for status in table("r").statuses()] == ["FINISHED", "OPEN", "FINISHED", "FINISHED"]
    [why] = rows("SELECT why FROM event WHERE what = 'results quarantined'")
    assert why == "2 results moved to .archive/quarantine: damaged, or no unfinished experiment has these inputs"
    commands.resume(Workspace.at(workspace), "r", from_step="evaluate")
    assert ys(table("r")) == [0.0, 1.0, 4.0, 9.0]


@pytest.mark.parametrize("what", ["call", "batch"])
@pytest.mark.parametrize("place", ["receipts", "receipts/0.0.json"])
def test_something_in_the_place_of_a_receipt_costs_only_its_step(workspace, rows, table, what, place):
    def plant():
        if not Path("planted").exists():
            Path("planted").touch()
            job = max(
                Path("r/.orchestrator/jobs").iterdir(), key=lambda folder: (folder / "job.json").stat().st_mtime_ns
            )
            (job / place).touch() if place == "receipts" else (job / place).mkdir(parents=True)

    @datagenerator(output_names="y")
    def evaluate(x):
        if what == "batch":
            plant()
        return x * x

    def call(project_dir):
        if what == "call":
            plant()

    pipeline = Pipeline(steps=[Step(store_numbers(2)), Step(evaluate, name="evaluate"), Step(call)])
    with pytest.raises(RunFailed, match=r"the receipt .*/receipts/0.0.json can't be written: something else is in"):
        pipeline.run(project_job="r")
    commands.resume(Workspace.at(workspace), "r")
    assert ys(table("r")) == [0.0, 1.0]
