"""Objects on disk: each is read when it is looked at, and not before."""

from __future__ import annotations

import json
import pickle
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import pytest

from orchestrator import Domain, ExperimentData

N = 6


def counted(path):
    loaded.append(path.name)
    return np.load(path)


loaded: list[str] = []


@pytest.fixture
def data(tmp_path):
    loaded.clear()
    domain = Domain()
    domain.add_float("x", 0.0, 10.0)
    domain.add_output("y")
    domain.add_output("field", to_disk=True, load_function=counted)
    data = ExperimentData(domain=domain, input_data={"x": [float(at) for at in range(N)]}, project_dir=tmp_path)
    for label, sample in data:
        sample.store("y", label * 2.0)
        if label < N - 1:
            sample.store("field", np.full(3, label), to_disk=True, load_function=counted)
        sample.mark("finished")
    data.store()
    return ExperimentData.from_file(tmp_path)


def test_a_frame_loads_an_object_when_it_is_looked_at(data):
    outputs = data.to_pandas()[1]
    assert outputs["y"].tolist() == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    assert outputs["field"].isna().tolist() == [False] * (N - 1) + [True]
    assert len(outputs.dropna()) == N - 1
    assert len(outputs[outputs["y"] > 3].sort_values("y", ascending=False)) == N - 2
    assert loaded == []
    assert outputs["field"].iloc[3].tolist() == [3, 3, 3]
    assert outputs.loc[2, "field"].tolist() == [2, 2, 2]
    assert loaded == ["3.npy", "2.npy"]


def test_a_column_of_objects_can_be_used_as_one_of_pandas(data):
    outputs = data.to_pandas()[1]
    field = outputs["field"]
    assert [None if value is None else value.tolist() for value in field][2:4] == [[2, 2, 2], [3, 3, 3]]
    assert field.tolist()[1].tolist() == [1, 1, 1]
    assert field.dropna().map(np.sum).tolist() == [0, 3, 6, 9, 12]
    assert outputs.iloc[4]["field"].tolist() == [4, 4, 4]
    assert field.to_numpy()[1].tolist() == [1, 1, 1]
    assert field.astype(object).iloc[0].tolist() == [0, 0, 0]
    assert outputs.to_numpy().shape == (N, 2)
    assert data.to_numpy()[1][1][1].tolist() == [1, 1, 1]
    assert pd.concat([outputs, outputs]).iloc[N + 1]["field"].tolist() == [1, 1, 1]
    assert field.copy().equals(field)
    assert outputs.equals(data.to_pandas()[1])
    assert "field" in repr(outputs)
    outputs["field"] = 1
    assert outputs["field"].tolist() == [1] * N


def test_an_experiment_loads_an_object_when_it_is_looked_at(data):
    sample = data.get_experiment_sample(1)
    outputs = sample.output_data
    assert outputs["y"] == 2.0
    assert list(outputs) == ["y", "field"]
    assert "field" in outputs
    assert sample.get("y") == 2.0
    assert loaded == []
    assert outputs["field"].tolist() == [1, 1, 1]
    assert outputs["field"] is outputs["field"]
    assert loaded == ["1.npy"]


def test_the_outputs_of_an_experiment_are_a_dict(data):
    outputs = data.get_experiment_sample(1).output_data
    for copied in (dict(outputs), {**outputs}, outputs | {}, {} | outputs, outputs.copy(), dict(outputs.items())):
        assert copied["field"].tolist() == [1, 1, 1]
        assert copied["y"] == 2.0
    assert pickle.loads(pickle.dumps(outputs))["field"].tolist() == [1, 1, 1]
    assert [type(value) for value in outputs.values()] == [float, np.ndarray]
    assert outputs.get("none") is None
    assert outputs.pop("field").tolist() == [1, 1, 1]
    assert json.dumps(outputs) == '{"y": 2.0}'
    assert outputs == {"y": 2.0}
    assert data.get_experiment_sample(1).to_dict()["field"].tolist() == [1, 1, 1]


def test_another_column_costs_no_memory_of_the_objects(tmp_path):
    data = ExperimentData(input_data={"x": list(range(20))}, project_dir=tmp_path)
    for _, sample in data:
        sample.store("field", np.zeros(125_000), to_disk=True)
        sample.store("y", 1.0)
    tracemalloc.start()
    assert data.to_pandas()[1]["y"].sum() == 20.0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000  # one of the 20 objects


def test_a_missing_file_is_an_error_only_where_it_is_looked_at(data, tmp_path):
    (tmp_path / "experiment_data" / "field" / "2.npy").unlink()
    outputs = data.to_pandas()[1]
    assert outputs["y"].sum() == 30.0
    assert outputs["field"][1].tolist() == [1, 1, 1]
    with pytest.raises(Exception, match="does not exist"):
        outputs["field"][2]


def test_an_object_that_may_not_be_loaded_is_its_path(data, tmp_path):
    (tmp_path / "experiment_data" / "field" / "1.npy").chmod(0o666)
    outputs = data.to_pandas()[1]
    with pytest.warns(UserWarning, match="may be changed by other users"):
        assert outputs["field"][1] == "field/1.npy"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert outputs["field"][0].tolist() == [0, 0, 0]
