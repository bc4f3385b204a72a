"""Configurations of Hydra: wherever a dict or a list is taken."""

from __future__ import annotations

import pytest

from orchestrator import (
    Block,
    DataGenerator,
    Domain,
    ExperimentData,
    ExperimentSample,
    Pipeline,
    Step,
    create_sampler,
    datagenerator,
)
from orchestrator.errors import DefinitionError
from orchestrator.hydra_tools import update_config_with_experiment_sample

OmegaConf = pytest.importorskip("omegaconf").OmegaConf
pytest.importorskip("hydra")

DOMAIN = """
low: -1.0
domain:
  input:
    x: {type: float, low: "${low}", high: 1.0}
    n: {type: int, low: 1, high: 9, step: 2}
    c: {type: category, categories: [a, b]}
    k: {type: constant, value: 3}
    v: {type: array, shape: [2, 2], low: 0.0, high: 1.0}
  output:
    y: {to_disk: false}
    z:
"""


class Scale(Block):
    """A block with settings."""

    def __init__(self, factor):
        self.factor = factor

    def call(self, data, offset=0, **kwargs):
        for _, sample in data:
            sample.store("y", self.factor * sample.input_data["x"] + offset)
        return data


class Evaluate(DataGenerator):
    """A data generator with settings."""

    def __init__(self, factor):
        self.factor = factor

    def execute(self, experiment_sample, offset, id=None):
        experiment_sample.store("y", [self.factor * experiment_sample.input_data["x"] + offset, id])


def target(cls, **arguments):
    return OmegaConf.create({"_target_": f"{__name__}.{cls.__name__}", **arguments})


def table(n=2):
    return ExperimentData(input_data=[{"x": float(i)} for i in range(n)])


def outputs(data):
    return [sample.output_data["y"] for _, sample in data]


def test_a_domain_from_a_configuration():
    domain = Domain.from_yaml(OmegaConf.create(DOMAIN).domain)
    expected = Domain()
    expected.add_float("x", -1.0, 1.0)
    expected.add_int("n", 1, 9, 2)
    expected.add_category("c", ["a", "b"])
    expected.add_constant("k", 3)
    expected.add_array("v", [2, 2], 0.0, 1.0)
    expected.add_output("y")
    expected.add_output("z")
    assert domain == expected


def test_inputs_alone_are_a_domain():
    assert Domain.from_yaml(OmegaConf.create({"x": {"type": "constant", "value": 1}})).input_names == ["x"]


def test_an_input_without_a_type_is_refused():
    with pytest.raises(ValueError, match="None is not a type of input"):
        Domain.from_yaml({"input": {"x": {"low": 1}}})


def test_a_block_from_a_configuration():
    block = Block.from_yaml(target(Scale, factor=3), OmegaConf.create({"offset": 1}))
    assert isinstance(block, Scale)
    assert outputs(block.call(table())) == [1.0, 4.0]
    assert outputs(block.call(data=table(), offset=2)) == [2.0, 5.0]
    assert outputs(Block.from_yaml(target(Scale, factor=3)).call(table())) == [0.0, 3.0]


@pytest.mark.slow
@pytest.mark.parametrize("parallel", [True, False])
def test_a_data_generator_from_a_configuration_in_a_step(workspace, parallel):
    generator = Block.from_yaml(target(Evaluate, factor=2), OmegaConf.create({"offset": 1, "pass_id": True}))
    steps = [
        Step(lambda project_dir: table().store(project_dir), name="create"),
        Step(generator, name="evaluate", parallel=parallel),
        Step(Block.from_yaml(target(Scale, factor=2), {"offset": 5}), name="scale", project_dir="."),
    ]
    key = Pipeline("p", steps[:2]).run()
    assert outputs(ExperimentData.from_file(key)) == [[1.0, 0], [3.0, 1]]
    steps[1] = Step(generator, name="evaluate", parallel=parallel, kwargs=OmegaConf.create({"offset": 10}))
    assert outputs(ExperimentData.from_file(Pipeline("p", steps[:2]).run())) == [[10.0, 0], [12.0, 1]]
    assert outputs(ExperimentData.from_file(Pipeline("p", [steps[0], steps[2]]).run())) == [5.0, 7.0]


def test_a_configuration_that_is_not_of_a_block_is_refused(golden):
    with golden.raises(DefinitionError):
        Block.from_yaml(OmegaConf.create({"factor": 1}))
    with golden.raises(TypeError):
        Block.from_yaml(OmegaConf.create({"_target_": "builtins.dict"}))


def test_a_sampler_from_a_configuration():
    config = OmegaConf.create({"_target_": "orchestrator.design.latin", "seed": 1})
    domain = Domain.from_yaml({"x": {"type": "float", "low": 0.0, "high": 1.0}})
    by_name = create_sampler("latin_sampler", seed=1).call(ExperimentData(domain=domain), n_samples=3)
    assert create_sampler(config).call(ExperimentData(domain=domain), n_samples=3) == by_name


def test_a_sampler_of_another_type_is_refused():
    with pytest.raises(TypeError, match="must be a name, a Block or a DictConfig, not int"):
        create_sampler(3)
    with pytest.raises(TypeError, match="seedz"):
        create_sampler("latin_sampler", seedz=3)


def test_the_values_of_an_experiment_replace_those_of_a_configuration():
    config = OmegaConf.create({"x": 1, "solver": {"mesh": {"size": 2}}, "list": [1]})
    sample = ExperimentSample({"x": 10, "solver.mesh.size": 20, "a.b": 3}, {"new": 4, "list": [5, 6]})
    updated = update_config_with_experiment_sample(config, sample)
    assert updated == {"x": 10, "solver": {"mesh": {"size": 20}}, "list": [5, 6]}
    assert config.x == 1
    added = update_config_with_experiment_sample(config, sample, force_add=True)
    assert (added.new, added.a.b) == (4, 3)


def test_a_configuration_is_taken_where_a_dict_or_a_list_is(workspace):
    config = OmegaConf.create(
        {
            "rows": [{"x": 1.0, "v": [1, 2]}, {"x": 2.0, "v": [3]}],
            "columns": {"x": [1.0, 2.0]},
            "categories": ["a", "b"],
            "shape": [2],
            "bounds": [0.0, 1.0],
            "names": ["y", "z"],
            "labels": [1],
            "steps": {"x": 0.5},
        }
    )
    data = ExperimentData(input_data=config.rows, output_data={"y": config.rows})
    data.store("stored")
    stored = ExperimentData.from_file("stored")
    assert [sample.input_data for _, sample in stored] == OmegaConf.to_container(config.rows)
    assert outputs(stored) == OmegaConf.to_container(config.rows)
    assert ExperimentData(input_data=config.columns).to_numpy()[0].ravel().tolist() == [1.0, 2.0]
    assert data.select(config.labels).index.tolist() == [1]
    assert data.mark(config.labels, "error").jobs.tolist() == ["FINISHED", "ERROR"]

    domain = Domain()
    domain.add_category("c", config.categories)
    domain.add_array("v", config.shape, config.bounds, [2.0, 3.0])
    domain.add_constant("k", "3")
    domain.add_float("x", 0, 1)
    domain.store("domain")
    assert Domain.from_file("domain") == domain
    assert domain.input_space["c"].categories == ["a", "b"]
    del domain.input_space["v"]
    grid = create_sampler("grid", stepsize_continuous_parameters=config.steps).call(ExperimentData(domain=domain))
    assert len(grid) == 4

    @datagenerator(output_names=config.names)
    def both(x):
        return x, config.rows[0]

    sample = both.execute(ExperimentSample(config.rows[1]))
    data.store_experimentsample(sample, 1)
    assert data.get_experiment_sample(1).output_data["z"] == {"x": 1.0, "v": [1, 2]}
