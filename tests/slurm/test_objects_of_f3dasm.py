"""f3dasm's own objects on SLURM, with a stand-in of f3dasm; with f3dasm itself: `tests/interop`."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = pytest.mark.slurm

STAND_INS = Path(__file__).parents[1] / "stand_ins"

STUDY = """
import f3dasm


class Simulator(f3dasm.DataGenerator):
    def execute(self, experiment_sample, id=None, **kwargs):
        folder = Path(experiment_sample.project_dir) / "simulator" / str(id)
        folder.mkdir(parents=True)
        experiment_sample.store("y", 2 * experiment_sample.input_data["x"])
        return experiment_sample


class Reopen(f3dasm.Block):
    def call(self, data, **kwargs):
        return data.mark_all("open")


triple = f3dasm.FunctionDataGenerator(lambda x, factor: factor * x)
pipeline = f3dasm.Pipeline("theirs", [
    f3dasm.Step(create, "create"),
    f3dasm.Step(Simulator(), "simulate", parallel=True, kwargs={"pass_id": True}),
    f3dasm.Step(f3dasm.CollectArrayResults() >> Reopen(), "reopen"),
    f3dasm.Loop(1, [f3dasm.Step(triple, "triple", parallel=True, kwargs={"factor": 3})]),
])
"""


def test_a_pipeline_of_f3dasm_runs_on_slurm(studies):
    studies.variables["PYTHONPATH"] += f":{STAND_INS}"
    key = studies.finish(STUDY)
    assert studies.outputs(key) == [0.0, 3.0, 6.0]
    assert sorted(path.name for path in (studies.folder / key / "simulator").iterdir()) == ["0", "1", "2"]
