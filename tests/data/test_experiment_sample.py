import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.job_status import JobStatus

FIXTURES = Path(__file__).parents[1] / "fixtures" / "f3dasm"


def test_the_status_follows_the_outputs():
    assert ExperimentSample({"x": 1}).job_status is JobStatus.OPEN
    assert ExperimentSample({"x": 1}, {"y": 2}).job_status is JobStatus.FINISHED
    assert ExperimentSample({"x": 1}, job_status="ERROR").is_status("error")


def test_a_sample_can_be_marked(golden):
    sample = ExperimentSample()
    sample.mark("in_progress")
    assert sample.is_status("in_progress")
    assert not sample.is_status("open")
    with golden.raises(ValueError):
        sample.mark("done")
    with golden.raises(ValueError):
        ExperimentSample(job_status="done")


def test_values_are_stored_and_found(golden):
    sample = ExperimentSample({"x": 1})
    sample.store("y", 2.5)
    sample.store("z", "in", which="input")
    assert sample.get("x") == 1
    assert sample.get("y") == 2.5
    assert sample.to_dict() == {"x": 1, "z": "in", "y": 2.5}
    with pytest.raises(KeyError, match="'w'"):
        sample.get("w")
    with golden.raises(ValueError):
        sample.store("w", 1, which="both")


def test_changing_the_returned_dict_changes_nothing():
    sample = ExperimentSample({"x": 1})
    sample.input_data["x"] = 2
    assert sample.input_data == {"x": 1}


@pytest.mark.parametrize(
    ("value", "suffix"),
    [
        (np.arange(6.0).reshape(2, 3), ".npy"),
        (pd.DataFrame({"a": [0.1, 0.2]}), ".csv"),
        ({"any": ("object",)}, ".pkl"),
        (np.array([None, {}], dtype=object), ".pkl"),
    ],
)
def test_objects_are_stored_on_disk(tmp_path, value, suffix):
    sample = ExperimentSample({"x": 1}, project_dir=tmp_path, id=4)
    sample.store("field", value, to_disk=True)
    assert (tmp_path / "experiment_data" / "field" / f"4{suffix}").exists()
    back = sample.output_data["field"]
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(back, value)
    else:
        np.testing.assert_equal(back, value)


def test_a_file_that_another_row_may_refer_to_is_not_overwritten(tmp_path):
    samples = [ExperimentSample(project_dir=tmp_path, id=0) for _ in range(2)]
    for number, sample in enumerate(samples):
        sample.store("field", np.array([number]), to_disk=True)
    assert [sample.get("field")[0] for sample in samples] == [0, 1]


def write_text(value, path):
    path = path.with_suffix(".txt")
    path.write_text(value["text"])
    return path


def read_text(path, upper=False):
    text = path.read_text()
    return text.upper() if upper else text


def test_custom_store_functions_work_also_after_reading_from_json(tmp_path):
    sample = ExperimentSample({"x": 1}, project_dir=tmp_path)
    sample.store(
        "note",
        {"text": "hi"},
        to_disk=True,
        store_function=write_text,
        load_function=read_text,
        load_kwargs={"upper": True},
    )
    assert sample.get("note") == "HI"
    path = sample.store_as_json(3, tmp_path)
    assert path == tmp_path / "experiment_sample" / "3.json"
    assert ExperimentSample.from_json(path).get("note") == "HI"


def test_a_path_can_refer_to_an_existing_file(tmp_path):
    folder = tmp_path / "experiment_data" / "own"
    folder.mkdir(parents=True)
    np.save(folder / "a.npy", np.arange(3))
    sample = ExperimentSample(project_dir=tmp_path)
    sample.store("field", "own/a.npy", to_disk=True)
    assert sample.get("field").tolist() == [0, 1, 2]


@pytest.mark.parametrize("number", range(6))
def test_f3dasms_files_are_read_and_written_alike(tmp_path, number):
    folder = FIXTURES / "experiment_sample_finished_error_in_progress"
    sample = ExperimentSample.from_json(folder / f"{number}.json")
    written = sample.store_as_json(number, tmp_path)
    assert json.loads(written.read_text()) == json.loads((folder / f"{number}.json").read_text())


def test_values_are_read_from_json_as_they_were_written(tmp_path):
    sample = ExperimentSample({"x": np.int64(1), "a": np.arange(3)}, {"y": (1, None), "t": "nan"})
    back = ExperimentSample.from_json(sample.store_as_json(0, tmp_path))
    assert back == sample
    assert isinstance(back.get("a"), np.ndarray)


def test_adding_samples_joins_inputs_and_outputs():
    both = ExperimentSample({"x": 1}) + ExperimentSample(None, {"y": 2})
    assert both == ExperimentSample({"x": 1}, {"y": 2}, "FINISHED")
    assert both != ExperimentSample({"x": 1}, {"y": 2}, "ERROR")


def test_inputs_can_be_converted_to_numpy_and_rounded():
    sample = ExperimentSample.from_numpy(np.array([0.126, float("nan")]))
    sample.replace_nan(0)
    sample.round(2)
    assert sample.input_data == {"x0": 0.13, "x1": 0}
    assert sample.to_numpy()[0].tolist() == [0.13, 0]
