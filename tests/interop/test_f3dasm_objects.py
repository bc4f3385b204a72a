"""f3dasm's own objects, and what third parties derive from them, in pipelines of ours."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from orchestrator import ExperimentData

pytestmark = [pytest.mark.acceptance, pytest.mark.interop, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]

# A package of a third party, in the shape of abaqus2py: a folder for each experiment, named by `id`.
SIMULATOR = """
import json
import pickle
from pathlib import Path

import numpy as np
from f3dasm import DataGenerator, ExperimentSample


class Simulator(DataGenerator):
    def __init__(self, subdir):
        self.subdir = subdir

    def execute(self, experiment_sample, id=None, **kwargs):
        assert isinstance(experiment_sample, ExperimentSample), type(experiment_sample)
        parameters = experiment_sample.to_dict()
        if id is not None and "name" not in parameters:
            parameters["name"] = str(id)
        folder = Path(experiment_sample.project_dir) / self.subdir / parameters["name"]
        folder.mkdir(parents=True)
        (folder / "results.pkl").write_bytes(pickle.dumps({"y": 2 * parameters["x"], "field": np.arange(3.0)}))
        for key, value in pickle.loads((folder / "results.pkl").read_bytes()).items():
            experiment_sample.store(name=key, object=value, to_disk=not np.isscalar(value))
        if id == 1:
            raise ValueError("the solver has failed")
        return experiment_sample
"""

STUDY = '''
import f3dasm
from f3dasm import (
    Block, CollectArrayResults, ExperimentData, Loop, SlurmCluster, SlurmResources, Step, create_datagenerator,
    create_optimizer, create_sampler, datagenerator,
)
from f3dasm.design import Domain

import orchestrator
from orchestrator import Pipeline
from simulator import Simulator


def create(project_dir):
    domain = Domain()
    domain.add_float("x", low=-2.0, high=2.0)
    domain.add_int("n", low=1, high=9)
    domain.add_category("kind", ["a", "b"])
    ExperimentData(domain=domain, project_dir=project_dir).store(project_dir)


def load_and_store(project_dir):
    data = ExperimentData.from_file(project_dir)
    assert type(data) is ExperimentData
    data.store(project_dir)


class Reopen(Block):
    def call(self, data, **kwargs):
        assert type(data) is ExperimentData, type(data)
        return data.mark_all("open")


class Ours(orchestrator.Block):
    def call(self, data, **kwargs):
        assert type(data) is orchestrator.ExperimentData, type(data)
        return data


class Mixed(orchestrator.Block):
    """A block of ours that returns a table of f3dasm."""

    def call(self, data, **kwargs):
        return ExperimentData.from_file(data.project_dir)


@datagenerator(output_names=["squared"])
def square(x, n, factor=1.0):
    return factor * x**2


R = SlurmResources(time="00:05:00", mem="500M")
OURS = orchestrator.SlurmResources(time="00:05:00", mem="500M")
sample = create_sampler("random_sampler", seed=3)
pipeline = Pipeline("theirs", [
    Step(create, name="create", resources=R),
    Step(sample, name="sample", resources=R, kwargs={"n_samples": 4}),
    Step(load_and_store, name="load and store", resources=R),
    Step(Simulator("one"), name="simulate", parallel=True, resources=R, kwargs={"pass_id": True}),
    Step(CollectArrayResults() >> Reopen() >> Ours(), name="reopen", resources=R),
    Loop(2, [
        orchestrator.Step(square, name="square", parallel=True, resources=R, kwargs={"factor": 2.0}),
        Step(Mixed(), name="mixed", resources=OURS),
        Step(load_and_store, name="again", resources=R),
    ]),
], orchestrator_resources=R)
whole = f3dasm.Pipeline("whole", pipeline.steps[:4], R)


def create_for_the_optimizer(project_dir):
    domain = orchestrator.Domain()
    domain.add_float("x0", low=-5.0, high=10.0)
    domain.add_float("x1", low=0.0, high=15.0)
    data = orchestrator.ExperimentData(domain=domain, project_dir=project_dir)
    orchestrator.create_sampler("latin", seed=1).call(data, n_samples=3).store(project_dir)


@datagenerator(output_names="y")
def bowl(x0, x1):
    return x0**2 + x1**2


ours = orchestrator.datagenerator(output_names="y")(lambda x0, x1: x0**2 + x1**2)
propose = create_optimizer("tpesampler", output_name="y")
optimize = Pipeline("optimize", [
    Step(create_for_the_optimizer, name="create"),
    Step(bowl, name="first", parallel=True),
    Loop(2, [Step(propose, name="propose"), Step(bowl, name="evaluate", parallel=True)]),
    Step((propose >> bowl).loop(2), name="theirs"),
    Step((propose >> ours).loop(2), name="mixed"),
])


def create_arrays(project_dir):
    domain = orchestrator.Domain()
    domain.add_array("x", 2, low=0.0, high=1.0)
    rows = [{"x": [0.25, 0.5]}, {"x": [0.5, 0.75]}]
    orchestrator.ExperimentData(domain=domain, input_data=rows).store(project_dir)


branin = create_datagenerator("branin", output_names="y")
search = create_optimizer("nelder_mead", data_generator=branin, output_name="y", input_name="x")
arrays = Pipeline("arrays", [
    Step(create_arrays, name="create"),
    Step(branin, name="evaluate", parallel=True),
    Step(search, name="search"),
])
'''


@pytest.fixture
def orchestrator(f3dasm_python, workspace):
    """Return a function that types a command with a Python that has f3dasm."""
    hidden = ("PYTHONPATH", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["PYTHONPATH"] = str(ROOT)
    (workspace / "simulator.py").write_text(SIMULATOR)
    (workspace / "study.py").write_text(STUDY)

    def run(*words, code=0):
        command = [str(f3dasm_python), "-m", "orchestrator", *words]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run


def check_simulated(folder):
    data = ExperimentData.from_file(folder)
    assert [label for label, _ in data] == [0, 1, 2, 3]
    for label, sample in data:
        assert (Path(folder) / "one" / str(label) / "results.pkl").exists()
        if label != 1:
            assert sample.output_data["y"] == 2 * sample.input_data["x"]
            assert sample.output_data["field"].tolist() == [0.0, 1.0, 2.0]


def check_squared(folder):
    data = ExperimentData.from_file(folder)
    assert data.is_all_finished()
    assert [sample.output_data["squared"] for _, sample in data] == [2 * s.input_data["x"] ** 2 for _, s in data]
    assert all(type(sample.input_data["n"]) is int for _, sample in data)


def test_objects_of_f3dasm_run_locally(orchestrator):
    printed = orchestrator("run", "study.py", "--project-job", "r", code=3)
    assert "1 of 4 experiments failed" in printed
    check_simulated("r")
    check_squared("r")
    assert "the solver has failed" in orchestrator("logs", "r", "simulate")


def test_a_whole_pipeline_of_f3dasm_runs(orchestrator):
    orchestrator("run", "study.py:whole", "--project-job", "r", code=3)
    check_simulated("r")


def test_optimizers_of_f3dasm_propose_experiments(orchestrator):
    orchestrator("run", "study.py:optimize", "--project-job", "r")
    data = ExperimentData.from_file("r")
    assert len(data) == 3 + 2 + 2 + 2
    assert [s.output_data["y"] for _, s in data] == [s.input_data["x0"] ** 2 + s.input_data["x1"] ** 2 for _, s in data]


def test_benchmark_functions_and_array_inputs_of_f3dasm(orchestrator):
    orchestrator("run", "study.py:arrays", "--project-job", "r")
    data = ExperimentData.from_file("r")
    values = [sample.output_data["y"] for _, sample in data]
    assert len(data) > 2
    assert min(values) < values[1]


MIXED = """
import f3dasm
from f3dasm.design import Domain

import orchestrator


def table(of, domain):
    domain.add_float("x", low=0.0, high=1.0)
    return of.create_sampler("latin_sampler", seed=1).call(of.ExperimentData(domain=domain), n_samples=2)


def theirs():
    return table(f3dasm, Domain())


def ours():
    return table(orchestrator, orchestrator.Domain())


def execute(self, experiment_sample, **kwargs):
    experiment_sample.store("y", 2 * experiment_sample.input_data["x"])
    return experiment_sample


THEIRS = type("Theirs", (f3dasm.DataGenerator,), {"execute": execute})()
OURS = type("Ours", (orchestrator.DataGenerator,), {"execute": execute})()
Block = type("Block", (f3dasm.Block,), {"call": lambda self, data, **kwargs: data})


def check(data, of, n=2, is_evaluated=True):
    assert type(data) is of.ExperimentData, type(data)
    assert len(data) == n
    for _, sample in data:
        assert sample.output_data == ({"y": 2 * sample.input_data["x"]} if is_evaluated else {}), sample


check(OURS.call(theirs()), f3dasm)
check(THEIRS.call(ours()), orchestrator)
check((Block() >> OURS).call(theirs()), f3dasm)
check((Block() >> OURS).call(ours()), orchestrator)
check((OURS >> THEIRS).call(ours()), orchestrator)
check(ours() + theirs(), orchestrator, 4, False)
check(ours().join(theirs()), orchestrator, 2, False)
check(orchestrator.create_sampler("sobol_sampler").call(theirs(), n_samples=1), f3dasm, 3, False)
check(f3dasm.create_sampler("sobol_sampler").call(ours(), n_samples=1), orchestrator, 3, False)
check(f3dasm.create_sampler("grid_sampler", stepsize_continuous_parameters=0.5).call(ours()), orchestrator, 4, False)
check(orchestrator.create_optimizer("tpesampler", output_name="y").call(OURS.call(theirs())).select([0, 1]), f3dasm)
proposes = orchestrator.create_optimizer(f3dasm.create_optimizer("tpesampler", output_name="y"))
proposes.arm(OURS.call(ours()))
check(proposes.call(OURS.call(ours())).select([0, 1]), orchestrator)
check(orchestrator.create_datagenerator(THEIRS).call(ours()), orchestrator)
assert orchestrator.ExperimentData(domain=theirs().domain).domain == ours().domain
assert ours().domain + theirs().domain == ours().domain
for mixed in (lambda: theirs() + ours(), lambda: f3dasm.ExperimentData(domain=ours().domain)):
    try:
        mixed()
    except TypeError as error:
        assert "orchestrator" in str(error)
    else:
        raise AssertionError("f3dasm refuses our objects by name")
"""


def test_objects_of_both_can_be_mixed(f3dasm_python, workspace):
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(workspace)}
    command = [str(f3dasm_python), "-W", "ignore", "-c", MIXED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
