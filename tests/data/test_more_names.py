"""The names of f3dasm's tables and domains beyond those that a pipeline needs."""

from __future__ import annotations

import json

import numpy as np
import pytest

from orchestrator import Domain, ExperimentData, ExperimentSample, design
from orchestrator.data import wait_for_table
from orchestrator.data.parameters import (
    CategoricalParameter,
    ConstantParameter,
    ContinuousParameter,
    DiscreteParameter,
    Parameter,
)
from orchestrator.design import make_nd_continuous_domain
from orchestrator.errors import DataError


@pytest.fixture
def data(tmp_path):
    domain = Domain()
    domain.add_float("x", 0, 9)
    domain.add_category("c", ["a", "b"])
    domain.add_output("y")
    rows = [{"x": 1.0, "c": "a"}, {"x": 2.0, "c": "b"}, {"x": 3.0, "c": "a"}]
    table = ExperimentData(domain, rows, [{"y": 1}, {}, {"y": 3}], project_dir=tmp_path)
    return table.select([2, 0, 1])


def test_a_change_of_an_experiment_by_label_changes_the_table(data):
    assert list(data.data) == [2, 0, 1]
    assert data.data[2].input_data == {"x": 3.0, "c": "a"}
    data.data[1].store("y", 7)
    data.data[1].mark("error")
    assert data.get_experiment_sample(1) == ExperimentSample({"x": 2.0, "c": "b"}, {"y": 7}, "error")
    data.data[9] = ExperimentSample({"x": 4.0, "c": "b"})
    del data.data[2]
    assert list(data.data) == data.index.tolist() == [0, 1, 9]
    with pytest.raises(KeyError):
        del data.data[2]
    data.data = {5: ExperimentSample({"x": 5.0, "c": "a"})}
    assert data.index.tolist() == [5]


def test_one_column_alone(data):
    one = data.select_parameter("y")
    assert (one.domain.input_names, one.domain.output_names) == ([], ["y"])
    assert one.index.tolist() == [2, 0, 1]
    assert one.jobs.tolist() == ["FINISHED", "FINISHED", "OPEN"]
    assert [sample.to_dict() for _, sample in data.select_parameter("x")] == [{"x": 3.0}, {"x": 1.0}, {"x": 2.0}]
    with pytest.raises(KeyError, match="neither an input nor an output 'z'"):
        data.select_parameter("z")


def test_an_input_becomes_an_output_and_an_output_an_input(data):
    moved = data.move_to_output("x")
    assert (moved.domain.input_names, moved.domain.output_names) == (["c"], ["y", "x"])
    assert moved.get_experiment_sample(2).output_data == {"y": 3, "x": 3.0}
    assert data.domain.input_names == ["x", "c"]
    assert moved.move_to_input("y", in_place=True) is None
    assert moved.get_experiment_sample(2).input_data == {"c": "a", "y": 3}
    with pytest.raises(KeyError, match="the domain has no input 'y'"):
        data.move_to_output("y")


def test_all_columns_in_one_frame(data):
    frame = data.to_multiindex()
    assert list(frame) == [("jobs", ""), ("input", "x"), ("input", "c"), ("output", "y")]
    assert frame[("jobs", "")].tolist() == ["finished", "finished", "open"]
    assert frame.index.tolist() == [2, 0, 1]
    assert data._repr_html_().count("<tr>") == 5
    assert data.get_experiment_sample(2).to_multiindex() == {
        ("jobs", ""): "finished",
        ("input", "x"): 3.0,
        ("input", "c"): "a",
        ("output", "y"): 3,
    }


def test_a_dataset_of_xarray(data):
    pytest.importorskip("xarray")
    dataset = data.to_xarray()
    assert dataset["input"].sel(iterations=2, input_dim="x").item() == 3.0
    assert dataset["output"].dims == ("iterations", "output_dim")


def test_without_xarray_the_message_says_what_to_install(data, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "xarray", None)
    with pytest.raises(DataError, match="xarray, which is not installed"):
        data.to_xarray()


def test_the_files_of_f3dasms_tasks_are_collected(data, tmp_path):
    data.data[1].store_as_json(1)
    ExperimentSample({"x": 2.0, "c": "b"}, {"y": 7}, "finished", tmp_path).store_as_json(1)
    assert data.update_from_experimentssample_json().get_experiment_sample(1).output_data == {"y": 7}
    assert data.get_experiment_sample(1).output_data == {}
    assert data.update_from_experimentssample_json(in_place=True) is None
    assert data.get_experiment_sample(1).output_data == {"y": 7}


def test_objects_on_disk_are_copied_to_another_folder(tmp_path):
    domain = Domain()
    domain.add_parameter("p", to_disk=True)
    domain.add_output("y")
    rows = [{"p": np.arange(3.0)}, {"p": np.arange(4.0)}]
    data = ExperimentData(domain, rows, project_dir=tmp_path / "one")
    data.store()
    data.store(tmp_path / "two", copy_references=True)
    (tmp_path / "one/experiment_data/p/0.npy").unlink()
    copied = ExperimentData.from_file(tmp_path / "two")
    assert [len(sample.input_data["p"]) for _, sample in copied] == [3, 4]
    with pytest.raises(DataError, match="does not exist"):
        ExperimentData.from_file(tmp_path / "one").store(tmp_path / "three", copy_references=True)


def test_a_table_is_awaited(data, tmp_path, monkeypatch):
    pauses = []

    def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            data.store(tmp_path / "late")

    monkeypatch.setattr(wait_for_table.time, "sleep", sleep)
    with pytest.raises(FileNotFoundError):
        ExperimentData.from_file(tmp_path / "late")
    with pytest.raises(FileNotFoundError):
        ExperimentData.from_file(tmp_path / "late", wait_for_creation=True, max_tries=2)
    assert len(pauses) == 1
    assert len(ExperimentData.from_file(tmp_path / "late", wait_for_creation=True)) == 3
    assert pauses == [wait_for_table.PAUSE] * 2


def test_a_table_from_a_configuration(data, tmp_path):
    data.store()
    assert ExperimentData.from_yaml({"from_file": str(tmp_path)}).index.tolist() == [2, 0, 1]
    config = {"domain": {"x": {"type": "float", "low": 0.0, "high": 1.0}}, "input_data": [{"x": 0.5}]}
    assert ExperimentData.from_yaml(config).domain.input_space == {"x": ContinuousParameter(0.0, 1.0)}


def test_an_experiment_is_stored_with_a_new_domain(data):
    domain = Domain.from_data([{"x": 1, "c": "a", "n": 1}], [{"y": 1}])
    data.store_experimentsample(ExperimentSample({"x": 1.0, "c": "a", "n": 3}), 2, domain)
    assert data.domain.input_names == ["c", "n", "x"]


def test_domains_from_names_and_bounds():
    domain = Domain.from_data([{"b": 1}, {"a": 2}], [{"y": 1}])
    assert (domain.input_names, domain.output_names) == (["a", "b"], ["y"])
    domain = make_nd_continuous_domain(np.array([[0.0, 1.0], [-5.0, 5.0]]), dimensionality=2)
    domain.add_int("n", 1, 9)
    assert domain.get_bounds().tolist() == [[0.0, 1.0], [-5.0, 5.0], [1.0, 9.0]]
    domain.add_category("c", ["a"])
    with pytest.raises(TypeError, match="input 'c' of type 'category' has no lower and upper bound"):
        domain.get_bounds()
    for bounds, n in (([[1, 2, 3]], None), ([[0, 1]], 2)):
        with pytest.raises(ValueError, match="bounds must have two numbers"):
            make_nd_continuous_domain(bounds, n)


def test_the_type_of_an_input_says_how_to_propose_a_value():
    domain = Domain()
    domain.add_float("x", 0.5, 2.0, log=True)
    domain.add_int("n", 1, 9, step=2)
    domain.add_category("c", ["a", "b"])
    domain.add_constant("k", 7)
    domain.add_array("v", shape=3, low=0.0, high=1.0)
    domain.add_parameter("any")
    assert {name: type(parameter) for name, parameter in domain.input_space.items()} == {
        "x": design.ContinuousParameter,
        "n": design.DiscreteParameter,
        "c": design.CategoricalParameter,
        "k": design.ConstantParameter,
        "v": design.ArrayParameter,
        "any": design.Parameter,
    }
    x, n, c, k = (domain.input_space[name] for name in "xnck")
    assert (x.lower_bound, x.upper_bound, x.log) == (0.5, 2.0, True)
    assert (n.lower_bound, n.upper_bound, n.step, c.categories, k.value) == (1, 9, 2, ["a", "b"], 7)


@pytest.mark.parametrize(
    "parameter", [Parameter(True), ContinuousParameter(0, 1), DiscreteParameter(1, 9), CategoricalParameter(["a"])]
)
def test_a_parameter_as_a_dict(parameter):
    content = json.loads(json.dumps(parameter.to_dict()))
    assert Parameter.from_dict(content) == parameter


def test_a_parameter_of_another_type():
    assert ContinuousParameter(0, 9).to_discrete(3) == DiscreteParameter(0, 9, 3)
    assert ConstantParameter(3).to_categorical() == CategoricalParameter([3])
