import copy
import pickle
import time

import numpy as np
import pandas as pd
import pytest

from orchestrator.data.domain import Domain
from orchestrator.data.experiment_data import ExperimentData
from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.errors import DataError


@pytest.fixture
def data(tmp_path):
    domain = Domain()
    domain.add_float("x", 0, 10)
    domain.add_output("y")
    inputs = [{"x": 3.0}, {"x": 1.0}, {"x": 2.0}, {"x": 0.0}]
    outputs = [{"y": 9.0}, {"y": 1.0}, {}, {}]
    jobs = ["FINISHED", "FINISHED", "ERROR", "OPEN"]
    return ExperimentData(domain, inputs, outputs, jobs, tmp_path)


def xs(data):
    return data.to_pandas()[0]["x"].tolist()


@pytest.mark.parametrize(
    "given",
    [
        [{"x": 1.0, "z": 2.0}, {"x": 3.0, "z": 4.0}],
        {"x": [1.0, 3.0], "z": [2.0, 4.0]},
        pd.DataFrame({"x": [1.0, 3.0], "z": [2.0, 4.0]}, index=[7, 9]),
    ],
)
def test_tables_are_made_from_many_types(given):
    data = ExperimentData(input_data=given, output_data=np.array([[5.0], [6.0]]))
    assert data.domain.input_names == ["x", "z"]
    assert data.to_numpy()[0].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert data.to_pandas()[1]["y"].tolist() == [5.0, 6.0]
    assert list(data.index) == [0, 1]
    assert data.is_all_finished()


def test_columns_of_arrays_are_named_by_the_domain_or_numbered(golden):
    array = np.arange(4.0).reshape(2, 2)
    assert list(ExperimentData(input_data=array).to_pandas()[0]) == ["x0", "x1"]
    assert list(ExperimentData(output_data=array).to_pandas()[1]) == ["y0", "y1"]
    domain = Domain()
    domain.add_float("a", 0, 1)
    with golden.raises(DataError):
        ExperimentData(domain, array)
    with golden.raises(DataError):
        ExperimentData(input_data=5)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"x": [1, 2], "z": [1]}, id="lengths"),
        pytest.param({"x": "abc"}, id="text"),
        pytest.param({"x": 3}, id="number"),
        pytest.param({0: [1], "0": [2]}, id="names"),
        pytest.param(pd.DataFrame([[1, 2]], columns=["x", "x"]), id="frame"),
        pytest.param([{0: 1, "0": 2}], id="rows"),
    ],
)
def test_columns_that_would_lose_data_are_refused(given, golden):
    with golden.raises(DataError):
        ExperimentData(input_data=given)


def test_files_are_read(data, tmp_path):
    data.store()
    base = tmp_path / "experiment_data"
    back = ExperimentData(base / "domain.json", base / "input.csv", base / "output.csv", base / "jobs", tmp_path)
    assert back == data


def test_changes_in_a_loop_are_stored_in_the_table(data):
    for label, sample in data:
        if sample.is_status("open"):
            sample.store("y", label * 1.5)
            sample.mark("finished")
            break
    assert data.get_experiment_sample(3).get("y") == 4.5
    assert data.jobs[3] == "FINISHED"


@pytest.mark.parametrize("n", [3, 20_000])
def test_an_experiment_of_a_loop_that_is_looked_at_later_is_as_it_was_then(n):
    data = ExperimentData(input_data={"x": [float(at) for at in range(n)], "c": [f"c{at}" for at in range(n)]})
    samples = [sample for _, sample in data]
    for label in (0, n - 1):
        data.store_experimentsample(ExperimentSample({"x": -1.0, "c": "changed"}), label)
    assert samples[0].input_data == {"x": 0.0, "c": "c0"}
    assert samples[-1].input_data == {"x": n - 1.0, "c": f"c{n - 1}"}
    assert data.get_experiment_sample(n - 1).input_data == {"x": -1.0, "c": "changed"}


def test_an_experiment_of_a_loop_can_be_stored_in_another_table(data, tmp_path):
    other = ExperimentData(project_dir=tmp_path)
    kept = []
    for label, sample in data:
        other.store_experimentsample(sample, label)
        kept.append(pickle.loads(pickle.dumps(sample)))
    assert xs(other) == xs(data)
    assert list(other.jobs) == list(data.jobs)
    assert kept == [data.get_experiment_sample(label) for label in range(4)]


def test_a_loop_sees_what_its_body_changes_in_later_rows(data):
    seen = []
    for label, sample in data:
        seen.append((sample.get("x"), sample.job_status.name))
        if label == 1:
            data.mark(3, "error", in_place=True)
            data.store_experimentsample(ExperimentSample({"x": 7.0}, job_status="open"), 2)
        sample.store("y", 0.5)
    assert seen == [(3.0, "FINISHED"), (1.0, "FINISHED"), (7.0, "OPEN"), (0.0, "ERROR")]
    assert data.to_pandas()[1]["y"].tolist() == [0.5] * 4


def test_large_selections_and_marks_are_those_of_small_ones(tmp_path):
    n = 20_000
    data = ExperimentData(input_data={"x": [float(at) for at in range(n)]}, project_dir=tmp_path)
    wanted = [*range(-1, -n, -2), 0]
    part = data.select(wanted)
    assert xs(part) == [data.get_experiment_sample(at % n).get("x") for at in wanted]
    assert list(part.index) == [at % n for at in wanted]
    marked = data.mark(list(range(0, n, 2)), "finished")
    assert list(marked.jobs) == ["FINISHED", "OPEN"] * (n // 2)
    assert not any(job == "FINISHED" for job in data.jobs)
    assert list(marked.select(np.arange(n)[::-1]).jobs) == ["OPEN", "FINISHED"] * (n // 2)
    with pytest.raises(IndexError):
        data.select([n] * n)
    with pytest.raises(KeyError, match=str(n)):
        data.mark(range(1, n + 1), "finished")
    assert data.select(np.array([True, False] * (n // 2))).labels() == list(range(0, n, 2))


@pytest.mark.parametrize("cell", [None, 1, True, 2**70, "a", 0.5])
@pytest.mark.parametrize("cells", [[0.25, 1.5], [3, None, 5], [True, False], [None, None], ["a", 1]])
def test_a_cell_of_any_type_can_be_written_into_any_column(cells, cell):
    data = ExperimentData(input_data={"x": cells})
    twin = data.copy()
    data.store_experimentsample(ExperimentSample({} if cell is None else {"x": cell}), 1)
    expected = [cells[0], cell, *cells[2:]]
    assert repr([data.input_rows()(at).get("x") for at in range(len(data))]) == repr(expected)
    assert repr([twin.input_rows()(at).get("x") for at in range(len(data))]) == repr(cells)
    both = data + twin
    assert repr([both.input_rows()(at).get("x") for at in range(len(both))]) == repr(expected + cells)


def test_a_missing_value_is_an_absent_name(data):
    assert data.get_experiment_sample(2).output_data == {}
    assert list(data.open_rows()) == [(3, {"x": 0.0}, {})]
    assert data.to_pandas()[1]["y"].isna().tolist() == [False, False, True, True]


def test_rows_can_be_selected(data):
    assert xs(data[1]) == [1.0]
    assert xs(data[-1]) == [0.0]
    assert xs(data[1:3]) == [1.0, 2.0]
    assert xs(data.select([2, 0])) == [2.0, 3.0]
    assert list(data.select([2, 0]).index) == [2, 0]
    assert xs(data.select_with_status("finished")) == [3.0, 1.0]
    assert len(data.select_with_status("in_progress")) == 0
    with pytest.raises(ValueError, match="done"):
        data.select_with_status("done")
    with pytest.raises(IndexError):
        data[4]


@pytest.mark.parametrize("labels", [[5, 0, 2], [1, 3, 2], [7, 9], [2]])
def test_added_experiments_get_labels_of_their_own(labels):
    data = ExperimentData(input_data={"x": np.arange(10.0)}).select(labels)
    more = ExperimentData(input_data={"x": np.arange(3.0)})
    end = max(labels) + 1
    assert data.add_experiments(more).labels() == [*labels, end, end + 1, end + 2]
    data.add_experiments(more, in_place=True)
    for _ in range(2):
        data.add_experiments(ExperimentSample({"x": 0.0}), in_place=True)
    assert data.labels() == [*labels, *range(end, end + 5)]


def test_an_experiment_is_found_by_a_label_of_numpy_without_a_search():
    data = ExperimentData(input_data={"x": np.arange(2_000_000.0)})
    begin = time.perf_counter()
    samples = [data.get_experiment_sample(label) for label in np.arange(1_999_900, 2_000_000)]
    assert time.perf_counter() - begin < 1.0  # a search takes 0.1 s and more for each
    assert samples[-1].input_data == {"x": 1_999_999.0}
    assert np.int64(2_000_000) not in data._contents.table


def test_experiments_can_be_marked(data):
    marked = data.mark([0, 2], "open")
    assert list(marked.jobs) == ["OPEN", "FINISHED", "OPEN", "OPEN"]
    assert data.jobs[0] == "FINISHED"
    assert data.mark_all("finished", in_place=True) is None
    assert data.is_all_finished()
    with pytest.raises(KeyError, match="17"):
        data.mark(17, "open", in_place=True)
    with pytest.raises(ValueError, match="done"):
        data.mark(0, "done", in_place=True)


def test_tables_and_experiments_are_added(data):
    both = data + data.sort(lambda sample: sample.get("x"))
    assert xs(both) == [3.0, 1.0, 2.0, 0.0, 0.0, 1.0, 2.0, 3.0]
    assert list(both.index) == list(range(8))
    assert list(both.jobs)[4:] == ["OPEN", "FINISHED", "ERROR", "FINISHED"]
    one = data.add_experiments(ExperimentSample({"x": 5.0, "new": "a"}, {"w": 1}))
    assert one.get_experiment_sample(4).to_dict() == {"x": 5.0, "new": "a", "w": 1}
    assert one.domain.input_names == ["x", "new"]
    assert len(data) == 4
    assert data.domain.input_names == ["x"]


def test_rows_are_sorted_dropped_and_renumbered(data):
    ordered = data.sort(lambda sample: sample.get("x"), reverse=True)
    assert list(ordered.index) == [0, 2, 1, 3]
    assert ordered.get_experiment_sample(2).get("x") == 2.0
    assert list(ordered.reset_index().index) == [0, 1, 2, 3]
    assert ordered.reset_index().get_experiment_sample(1).get("x") == 2.0
    assert xs(ordered.remove_rows_bottom(3)) == [3.0]
    ordered.remove_rows_bottom(1, in_place=True)
    assert xs(ordered) == [3.0, 2.0, 1.0]


def test_the_best_experiments_are_found(data):
    assert xs(data.get_n_best_output(1)) == [1.0]
    assert xs(data.get_n_best_output(10)) == [1.0, 3.0]
    with pytest.raises(KeyError, match="'w'"):
        data.get_n_best_output(1, "w")


def test_tables_can_be_joined_and_filled(data):
    other = ExperimentData(input_data={"b": [1, 2, 3, 4]}, output_data={"w": [0.123] * 4})
    joined = data.join(other)
    assert joined.get_experiment_sample(3).to_dict() == {"x": 0.0, "b": 4, "w": 0.123}
    assert joined.round(1).to_pandas()[1]["w"].tolist() == [0.1] * 4
    assert joined.replace_nan(0).to_pandas()[1]["y"].tolist() == [9.0, 1.0, 0, 0]


def test_open_jobs_are_handed_out_once(data):
    label, sample, _ = data.get_open_job()
    assert (label, sample.get("x"), data.jobs[3]) == (3, 0.0, "IN_PROGRESS")
    sample.store("y", 1)
    sample.mark("finished")
    data.store_experimentsample(sample, label)
    assert data.get_open_job()[0] is None
    assert data.jobs[3] == "FINISHED"


def test_objects_are_stored_on_disk(data, tmp_path):
    data.domain.add_output("field", to_disk=True)
    for label, sample in data:
        sample.store("field", np.full(2, label), to_disk=True)
    data.store()
    back = ExperimentData.from_file(tmp_path)
    assert back.get_experiment_sample(2).get("field").tolist() == [2, 2]
    assert back.to_pandas(keep_references=True)[1]["field"].tolist()[0] == "field/0.npy"
    assert back.to_pandas()[1]["field"][1].tolist() == [1, 1]


def test_equality_compares_values_and_statuses(data):
    assert data == data.copy()
    assert data != data.mark(0, "open")
    assert data != data.round(0).replace_nan(1)


def test_a_table_can_be_printed(data):
    assert "FINISHED" in repr(data)
    assert repr(ExperimentData(input_data=[]))


def seconds_to_add(n):
    data = ExperimentData()
    start = time.process_time()
    for number in range(n):
        data.add_experiments(ExperimentSample({"x": number}, {"y": 0.5}), in_place=True)
    assert data.index[-1] == n - 1
    return time.process_time() - start


@pytest.mark.slow
def test_adding_row_by_row_stays_linear():
    seconds_to_add(100)
    small = min(seconds_to_add(2_000) for _ in range(3))
    assert seconds_to_add(40_000) < 20 * small * 4


def test_iterating_over_open_rows_is_fast():
    data = ExperimentData(input_data={f"x{i}": np.random.default_rng(0).random(50_000) for i in range(4)})
    start = time.process_time()
    assert sum(1 for _ in data.open_rows()) == 50_000
    assert time.process_time() - start < 50_000 * 40e-6


def test_a_declared_output_is_a_column_from_the_start(tmp_path):
    domain = Domain()
    domain.add_float("x", low=0.0, high=1.0)
    domain.add_output("y")
    domain.add_output("z")
    data = ExperimentData(domain=domain, input_data=[{"x": 0.5}, {"x": 1.0}], project_dir=tmp_path)
    data.store()
    assert pd.read_csv(tmp_path / "experiment_data" / "output.csv", index_col=0).columns.tolist() == ["y", "z"]
    for table in (data, ExperimentData.from_file(tmp_path), data + data, data[[1]], data.copy()):
        outputs = table.to_pandas()[1]
        assert list(outputs) == ["y", "z"]
        assert outputs["y"].isna().all()
        assert len(table.get_n_best_output(1, "y")) == 0
        assert {status.name for status in table.statuses()} == {"OPEN"}
    data.domain.add_output("later")
    assert list(data.to_pandas()[1]) == ["y", "z", "later"]
    assert data.get_experiment_sample(0).output_data == {}


def test_a_shallow_copy_has_a_domain_and_a_folder_of_its_own(tmp_path):
    data = ExperimentData(input_data={"x": [1.0]}, project_dir=tmp_path)
    twin = copy.copy(data)
    twin.domain, twin.project_dir = Domain(), tmp_path / "elsewhere"
    assert (data.domain.input_names, data.project_dir) == (["x"], tmp_path)
    twin.mark(0, "finished", in_place=True)
    assert data.is_all_finished()
