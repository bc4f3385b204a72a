"""How the rows of a table were evaluated, as the result files say it."""

import numpy as np
import pandas as pd
import pytest

from orchestrator.data.experiment_data import ExperimentData
from orchestrator.data.fold import fold
from orchestrator.data.results import Evaluation, ResultFile, ResultWriter, inputs_digest


def line(row, x, status="FINISHED", seconds=0.5, started=1_000.0):
    return {
        "row": row,
        "inputs": inputs_digest({"x": x}),
        "status": status,
        "outputs": {"y": x} if status == "FINISHED" else {},
        "error": None if status == "FINISHED" else {"type": "ValueError", "message": "no", "traceback": ""},
        "started": started,
        "seconds": seconds,
        "cpu": seconds / 2,
        "memory": 218.5,
    }


def write(project, *lines, token="tok", task="0.0", attempt=1, iteration="", step="solve"):
    path = project / "experiment_data/.results" / token / f"{task}.jsonl"
    for one in lines:  # one process after the other writes to the file
        with ResultWriter(path, Evaluation(step, iteration, attempt, "node07")) as writer:
            writer.write(one)
    return path


@pytest.fixture
def data(tmp_path):
    data = ExperimentData(input_data={"x": [1.0, 2.0, 3.0]}, project_dir=tmp_path)
    data.store()
    return data


def records(tmp_path):
    return ExperimentData.from_file(tmp_path).records


def test_a_record_says_who_evaluated_an_experiment_where_and_for_how_long(tmp_path, data):
    write(tmp_path, line(0, 1.0), line(2, 3.0, "ERROR", seconds=7.0), iteration="3")
    before = records(tmp_path)
    assert before.loc[0].to_dict() == {
        "step": "solve",
        "iteration": 3,
        "attempt": 1,
        "seconds": 0.5,
        "cpu_seconds": 0.25,
        "memory": 218.5,
        "host": "node07",
        "started_at": pd.Timestamp(1_000, unit="s", tz="UTC"),
        "error": None,
    }
    assert before.loc[1].isna().all()
    assert before.loc[2, ["seconds", "error"]].tolist() == [7.0, "ValueError"]
    fold(tmp_path)
    pd.testing.assert_frame_equal(records(tmp_path), before)


def test_the_first_line_of_a_result_file_is_no_result(tmp_path, data):
    path = write(tmp_path, line(0, 1.0), line(1, 2.0))
    file = ResultFile.read(path)
    assert file.evaluation == Evaluation("solve", "", 1, "node07")
    assert [one["row"] for one in file.lines] == [0, 1]
    assert not file.damaged
    assert list(ResultFile.read(path, file.end).lines) == []


def test_without_results_every_record_is_missing(data):
    found = data.records
    assert list(found.index) == [0, 1, 2]
    assert found.isna().all(axis=None)
    assert found.dtypes[["iteration", "attempt"]].tolist() == ["Int64", "Int64"]
    assert ExperimentData().records.empty


def test_of_several_evaluations_the_last_one_with_the_status_of_the_row_counts(tmp_path, data):
    write(tmp_path, line(0, 1.0, "ERROR", seconds=1.0, started=1.0), token="first")
    fold(tmp_path)
    write(tmp_path, line(0, 1.0, seconds=2.0, started=2.0), token="second", attempt=2)
    fold(tmp_path)
    assert records(tmp_path).loc[0, ["attempt", "seconds"]].tolist() == [2, 2.0]
    assert records(tmp_path).error.isna().all()
    marked = ExperimentData.from_file(tmp_path).mark([0], "error")
    assert marked.records.loc[0, ["attempt", "error"]].tolist() == [1, "ValueError"]
    assert marked.mark([0], "open").records.loc[0].isna().all()


def test_a_row_with_another_label_keeps_its_record_and_one_with_other_inputs_has_none(tmp_path, data):
    write(tmp_path, line(0, 1.0, seconds=1.0), line(1, 2.0, seconds=2.0), line(2, 3.0, seconds=3.0))
    folded = ExperimentData.from_file(tmp_path)
    last_first = folded.sort(lambda sample: -sample.input_data["x"])
    assert last_first.records.seconds.tolist() == [3.0, 2.0, 1.0]
    assert last_first.reset_index().records.seconds.tolist() == [3.0, 2.0, 1.0]
    other = ExperimentData(input_data={"x": [9.0]}, output_data={"y": [1.0]}, project_dir=tmp_path)
    assert other.records.isna().all(axis=None)


def test_rows_with_equal_inputs_keep_their_own_records(tmp_path):
    ExperimentData(input_data={"x": [1.0, 1.0]}, project_dir=tmp_path).store()
    write(tmp_path, line(0, 1.0, seconds=1.0), line(1, 1.0, seconds=2.0))
    assert records(tmp_path).seconds.tolist() == [1.0, 2.0]
    assert ExperimentData.from_file(tmp_path).select([1]).reset_index().records.seconds.tolist()[0] in (1.0, 2.0)


def test_iterations_of_nested_loops_are_text(tmp_path, data):
    write(tmp_path, line(0, 1.0), iteration="3.1")
    assert records(tmp_path).iteration.tolist()[0] == "3.1"
    assert np.isnan(records(tmp_path).seconds[1])


def test_a_damaged_first_line_is_reported_and_costs_only_the_records_of_its_file(tmp_path, data):
    path = write(tmp_path, line(0, 1.0))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"x" + first[1:] + second)
    assert records(tmp_path).isna().all(axis=None)
    assert ExperimentData.from_file(tmp_path).is_all_finished() is False
    assert fold(tmp_path).n_folded == 1
