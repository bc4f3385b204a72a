"""Objects of f3dasm in a pipeline of ours, with a stand-in that has the classes of f3dasm which a pipeline needs.

With f3dasm itself: `tests/interop/test_f3dasm_objects.py`.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest

from orchestrator import (
    Block,
    ChainedBlock,
    CollectArrayResults,
    Domain,
    ExperimentData,
    Loop,
    LoopBlock,
    Pipeline,
    SlurmCluster,
    SlurmResources,
    Step,
    datagenerator,
)
from orchestrator.data.of_f3dasm import is_of_f3dasm
from orchestrator.definition.pipeline import step_name
from orchestrator.errors import DefinitionError, RunFailed

pytestmark = pytest.mark.slow

STAND_INS = Path(__file__).parents[1] / "stand_ins"


@pytest.fixture
def f3dasm(monkeypatch):
    monkeypatch.syspath_prepend(STAND_INS)
    monkeypatch.delitem(sys.modules, "f3dasm", raising=False)
    yield import_module("f3dasm")
    del sys.modules["f3dasm"]


def create(project_dir, n=3):
    domain = Domain()
    domain.add_float("x", low=0.0, high=9.0)
    domain.add_output("y")
    ExperimentData(domain=domain, input_data=[{"x": float(i)} for i in range(n)]).store(project_dir)


def outputs(key, name="y"):
    data = ExperimentData.from_file(key)
    return [sample.output_data.get(name) for _, sample in data]


def run(*steps, **more):
    return Pipeline("p", [Step(create), *steps]).run(**more)


@pytest.fixture(autouse=True)
def _in_workspace(workspace):
    pass


def simulator(f3dasm):
    class Simulator(f3dasm.DataGenerator):
        def execute(self, experiment_sample, id=None, **kwargs):
            experiment_sample.store("y", [id, experiment_sample.input_data["x"], *kwargs.values()])
            return experiment_sample

    return Simulator()


@pytest.mark.parametrize("parallel", [True, False])
def test_a_generator_of_f3dasm_gets_the_label_as_id(f3dasm, parallel):
    kwargs = {"pass_id": True, "scale": 5}
    key = run(Step(simulator(f3dasm), name="simulate", parallel=parallel, kwargs=kwargs))
    assert outputs(key) == [[0, 0.0, 5], [1, 1.0, 5], [2, 2.0, 5]]


def test_a_generator_of_ours_gets_the_label_as_id(workspace):
    @datagenerator(output_names="y")
    def label(x, id):
        return id

    assert outputs(run(Step(label, kwargs={"pass_id": True}))) == [0, 1, 2]


def test_without_pass_id_a_generator_that_needs_an_id_is_refused_before_anything_is_written(f3dasm, workspace):
    class Simulator(f3dasm.DataGenerator):
        def execute(self, experiment_sample, id):
            pass

    with pytest.raises(DefinitionError, match="'id'"):
        run(Step(Simulator(), name="simulate"))
    assert not any(workspace.iterdir())


def test_a_step_and_a_loop_of_f3dasm_are_steps_and_a_loop(f3dasm):
    made = f3dasm.FunctionDataGenerator(lambda x, scale: x * scale)
    resources = f3dasm.SlurmResources(mem="1G")
    loop = f3dasm.Loop(2, [f3dasm.Step(made, "evaluate", True, resources, {"scale": 3})])
    key = run(loop, f3dasm.Step(f3dasm.CollectArrayResults(), "collect"))
    assert outputs(key) == [0.0, 3.0, 6.0]
    steps = Pipeline("p", [loop]).all_steps
    assert steps[0].steps[0].resources == SlurmResources(mem="1G")


def test_blocks_of_both_can_be_chained_and_repeated(f3dasm):
    class Theirs(f3dasm.Block):
        def call(self, data, **kwargs):
            for _, sample in data:
                sample.store("y", (sample.output_data.get("y") or 0) + 1)
            return data

    class Ours(Block):
        def call(self, data, **kwargs):
            for _, sample in data:
                sample.store("y", 10 * sample.output_data["y"])
            return data

    chains = [Theirs() >> Ours(), (Theirs() >> Ours()).loop(2), Ours() >> (Theirs() >> Ours())]
    key = run(*(Step(chain, name=f"chain {i}") for i, chain in enumerate(chains)), Step(Theirs() >> Theirs(), name="t"))
    assert outputs(key) == [(((1 * 10 + 1) * 10 + 1) * 10 * 10 + 1) * 10 + 2] * 3
    assert isinstance(chains[2], ChainedBlock)
    assert isinstance(Pipeline("p", [Step(chains[1])]).all_steps[0].block, LoopBlock)


def test_the_block_of_f3dasm_that_collects_is_ours(f3dasm):
    class Reopen(f3dasm.Block):
        def call(self, data, **kwargs):
            return data.mark_all("open")

    key = run(Step(f3dasm.CollectArrayResults(cleanup=False) >> Reopen(), name="collect and reopen"))
    assert not ExperimentData.from_file(key).is_all_finished()
    block = Pipeline("p", [Step(f3dasm.CollectArrayResults(cleanup=False))]).all_steps[0].block
    assert type(block) is CollectArrayResults
    assert not block.cleanup


def test_a_block_of_f3dasm_is_armed_once_with_the_table_that_it_gets(f3dasm):
    class Counting(f3dasm.Block):
        def arm(self, data):
            self.data = data

        def call(self, data, **kwargs):
            assert data is self.data
            return data

    run(Step(Counting()))


def test_a_generator_of_f3dasm_with_its_own_call_gets_the_table(f3dasm):
    class Whole(f3dasm.DataGenerator):
        def call(self, data, factor, **kwargs):
            for _, sample in data:
                sample.store("y", factor * len(data))
                sample.mark("finished")
            return data

    assert outputs(run(Step(Whole(), kwargs={"factor": 2}))) == [6, 6, 6]


def test_a_generator_of_f3dasm_is_armed_with_the_table(f3dasm):
    class Mean(f3dasm.DataGenerator):
        def arm(self, data):
            self.mean = sum(sample.input_data["x"] for _, sample in data) / len(data)

        def execute(self, experiment_sample):
            experiment_sample.store("y", self.mean)

    assert outputs(run(Step(Mean()))) == [1.0, 1.0, 1.0]


def test_a_generator_of_f3dasm_may_return_no_sample_but_nothing_else(f3dasm):
    class Wrong(f3dasm.DataGenerator):
        def execute(self, experiment_sample):
            return 3

    with pytest.raises(RunFailed):
        run(Step(Wrong()), project_job="k")
    assert "execute must return an ExperimentSample, not int" in Pipeline().status("k").failures[0].why


def test_a_step_gets_its_name_from_the_block_of_f3dasm(f3dasm):
    steps = Pipeline("p", [f3dasm.Step(simulator(f3dasm))]).all_steps
    assert step_name(steps[0]) == "Simulator"
    assert (
        Pipeline("p", [f3dasm.Step(create), f3dasm.Step(simulator(f3dasm))]).from_step("Simulator").first_element == 1
    )


def test_what_is_wrong_with_a_step_of_f3dasm_is_reported_as_ever(f3dasm, golden):
    steps = [
        f3dasm.Step(simulator(f3dasm), "simulate", resources=f3dasm.SlurmResources(time="soon")),
        f3dasm.Step(f3dasm.CollectArrayResults(), "collect", parallel=True),
        f3dasm.Step(f3dasm.DataGenerator, "class"),
    ]
    with golden.raises(DefinitionError):
        Pipeline("p", steps, orchestrator_resources=f3dasm.SlurmResources(mem="much")).run()


def test_resources_and_a_cluster_of_f3dasm_are_in_the_scripts(f3dasm):
    step = f3dasm.Step(create, "create", resources=f3dasm.SlurmResources(extra_sbatch={"gres": "gpu:1"}))
    pipeline = Pipeline("p", [step], orchestrator_resources=f3dasm.SlurmResources(mem="7G"))
    scripts = pipeline.generate_scripts(f3dasm.SlurmCluster(partition="fast", account="mine"))
    assert "#SBATCH --gres=gpu:1" in scripts["create"]
    assert "#SBATCH --mem=7G" in scripts["orchestrator"]
    assert "#SBATCH --partition=fast" in scripts["create"]


def test_a_pipeline_of_f3dasm_is_found_in_a_study(f3dasm, workspace):
    from orchestrator.definition.study import cluster_of, load_study

    (workspace / "their_study.py").write_text(
        "from f3dasm import Pipeline, SlurmCluster, SlurmResources, Step\n"
        "pipeline = Pipeline('theirs', [Step(print, name='say')], SlurmResources(mem='2G'))\n"
        "cluster = SlurmCluster(partition='fast')\n"
    )
    study = load_study("their_study.py")
    del sys.modules["their_study"]
    assert (study.pipeline.name, study.pipeline.resources) == ("theirs", SlurmResources(mem="2G"))
    assert cluster_of(study, None) == SlurmCluster(partition="fast")


def test_objects_of_f3dasm_are_recognised_by_their_classes(f3dasm):
    assert is_of_f3dasm(simulator(f3dasm), "DataGenerator")
    assert is_of_f3dasm(simulator(f3dasm))
    assert not is_of_f3dasm(simulator(f3dasm), "Block")
    assert not is_of_f3dasm(Loop(1), "Loop")


@pytest.mark.parametrize("by", ["f3dasm", "ours"])
def test_the_arguments_of_a_configuration_are_those_of_a_step(f3dasm, by):
    class Simulator(f3dasm.DataGenerator):
        def execute(self, experiment_sample, factor, id):
            experiment_sample.store("y", [id, factor])

    config = {"factor": 3, "pass_id": True, "mode": "sequential"}
    if by == "ours":
        pytest.importorskip("hydra")
        f3dasm.make = Simulator
        generator = Block.from_yaml({"_target_": "f3dasm.make"}, config)
    else:
        generator = Simulator()
        generator.call = partial(generator.call, **config)
    assert outputs(run(Step(generator, name="simulate", parallel=True))) == [[0, 3], [1, 3], [2, 3]]
    assert outputs(run(Step(generator, name="simulate", kwargs={"factor": 4}))) == [[0, 4], [1, 4], [2, 4]]
