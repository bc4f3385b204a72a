"""A table that is stored after others have stored it loses nothing of theirs."""

import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from orchestrator.data import fold as fold_module
from orchestrator.data import generations, merging, storing
from orchestrator.data.experiment_data import ExperimentData
from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.fold import fold
from orchestrator.data.open_table import stored_by
from orchestrator.data.results import ResultWriter, inputs_digest
from orchestrator.errors import DataError
from orchestrator.table_folder import data_folder


@pytest.fixture
def project(tmp_path):
    """Return a project folder with a table of four open experiments."""
    ExperimentData(input_data={"x": [0.0, 1.0, 2.0, 3.0]}, project_dir=tmp_path).store()
    return tmp_path


def evaluate(project, *labels, token="tok", y=10.0):
    """Write results as a task does."""
    with ResultWriter(data_folder(project) / ".results" / token / "0.0.jsonl") as writer:
        for label in labels:
            digest = inputs_digest({"x": float(label)})
            writer.write({"row": label, "inputs": digest, "status": "FINISHED", "outputs": {"y": y + label}})


def rows(project):
    """Return (input, status, output) by label."""
    data = ExperimentData.from_file(project)
    return {label: (sample.get("x"), sample.job_status.name, sample.output_data.get("y")) for label, sample in data}


OPEN = {label: (float(label), "OPEN", None) for label in range(4)}


def done(*labels, y=10.0):
    return OPEN | {label: (float(label), "FINISHED", y + label) for label in labels}


def test_results_that_came_in_after_a_table_was_read_stay(project):
    mine = ExperimentData.from_file(project)
    evaluate(project, 0, 1, 2)
    fold(project)
    mine.mark(3, "error", in_place=True)
    mine.store()
    assert rows(project) == done(0, 1, 2) | {3: (3.0, "ERROR", None)}
    assert mine == ExperimentData.from_file(project)


@pytest.mark.parametrize("select", [False, True])
def test_results_stay_that_came_in_while_the_table_was_stored_elsewhere(project, tmp_path_factory, select):
    mine = ExperimentData.from_file(project)
    mine.store(tmp_path_factory.mktemp("elsewhere"))
    evaluate(project, 0, 1, 2)
    fold(project)
    if select:
        mine = mine.select([0, 1, 2, 3])
    mine.store(project)
    assert rows(project) == done(0, 1, 2)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.copy(),
        lambda data: data.sort(lambda sample: -sample.get("x")),
        lambda data: data.sort(lambda sample: -sample.get("x")).reset_index(),
        lambda data: data.round(3),
        lambda data: data.select([2, 0, 1, 3]),
        lambda data: data.mark_all("in_progress"),
    ],
)
def test_results_stay_whatever_was_done_with_the_rows(project, change):
    mine = change(ExperimentData.from_file(project))
    evaluate(project, 0, 1, 3)
    fold(project)
    mine.store()
    found = sorted((x, y) for x, status, y in rows(project).values() if status == "FINISHED")
    assert found == [(0.0, 10.0), (1.0, 11.0), (3.0, 13.0)]
    assert len(rows(project)) == 4


def test_results_that_are_not_folded_yet_stay(project):
    mine = ExperimentData.from_file(project)
    other = ExperimentData.from_file(project)
    evaluate(project, 0)
    other.mark(3, "error", in_place=True)
    other.store()
    evaluate(project, 1, token="more")
    mine.store()
    fold(project)
    assert rows(project) == done(0, 1) | {3: (3.0, "ERROR", None)}


def test_rows_that_others_have_added_stay_and_get_labels_of_their_own(project):
    mine, other = ExperimentData.from_file(project), ExperimentData.from_file(project)
    other.add_experiments(ExperimentSample({"x": 7.0}, {"y": 70.0}), in_place=True)
    other.store()
    mine.add_experiments(ExperimentSample({"x": 8.0}), in_place=True)
    mine.store()
    assert rows(project) == OPEN | {4: (8.0, "OPEN", None), 5: (7.0, "FINISHED", 70.0)}


def test_a_row_that_both_have_added_is_one_row_and_keeps_its_result(project):
    mine, other = ExperimentData.from_file(project), ExperimentData.from_file(project)
    more = ExperimentData(input_data={"x": [4.0, 5.0]})
    (other + more).store(project)
    evaluate(project, *range(6))
    fold(project)
    (mine + more).store(project)
    assert rows(project) == {label: (float(label), "FINISHED", 10.0 + label) for label in range(6)}


def test_what_both_have_changed_is_a_result_if_one_of_them_has_one(project):
    mine, other = ExperimentData.from_file(project), ExperimentData.from_file(project)
    other.store_experimentsample(ExperimentSample({"x": 0.0}, {"y": 1.0}), 0)
    other.store_experimentsample(ExperimentSample({"x": 1.0}, {"y": 2.0}, "error"), 1)
    other.store_experimentsample(ExperimentSample({"x": 2.0}, {"y": 3.0}), 2)
    other.mark(3, "in_progress", in_place=True)
    other.store()
    mine.mark([0, 1], "in_progress", in_place=True)
    mine.store_experimentsample(ExperimentSample({"x": 2.0}, {"y": 30.0}), 2)
    mine.mark(3, "error", in_place=True)
    mine.store()
    assert rows(project) == {
        0: (0.0, "FINISHED", 1.0),
        1: (1.0, "ERROR", 2.0),
        2: (2.0, "FINISHED", 30.0),
        3: (3.0, "ERROR", None),
    }


def test_an_experiment_that_was_finished_when_it_was_read_can_be_opened_again(project):
    evaluate(project, 0, 1)
    fold(project)
    mine = ExperimentData.from_file(project)
    evaluate(project, 2, token="more")
    fold(project)
    mine.mark(0, "open", in_place=True)
    mine.store()
    assert {label: status for label, (_, status, _) in rows(project).items()} == {
        0: "OPEN", 1: "FINISHED", 2: "FINISHED", 3: "OPEN",
    }  # fmt: skip


def test_a_new_result_of_a_row_that_was_removed_is_not_thrown_away_in_silence(project):
    mine = ExperimentData.from_file(project)[:2]
    evaluate(project, 2, 3)
    fold(project)
    with pytest.raises(DataError, match=r"2 new results of experiments that were removed or changed here: .* 2, 3"):
        mine.store()
    assert rows(project) == done(2, 3)
    ExperimentData.from_file(project)[:2].store()
    assert len(rows(project)) == 2


def test_edits_by_hand_after_a_table_was_read_stay(project):
    mine = ExperimentData.from_file(project)
    path = data_folder(project) / "jobs.csv"
    path.write_bytes(path.read_bytes().replace(b"1,OPEN", b"1,ERROR"))
    mine.store_experimentsample(ExperimentSample({"x": 0.0}, {"y": 1.0}), 0)
    mine.store()
    assert rows(project) == OPEN | {0: (0.0, "FINISHED", 1.0), 1: (1.0, "ERROR", None)}


def test_a_table_can_be_stored_again_and_again(project):
    mine = ExperimentData.from_file(project)
    for label in range(4):
        mine.store_experimentsample(ExperimentSample({"x": float(label)}, {"y": 10.0 + label}), label)
        mine.store()
        assert rows(project) == done(*range(label + 1))
    mine[:1].store()
    assert rows(project) == {0: (0.0, "FINISHED", 10.0)}


def test_a_job_that_was_given_up_does_not_store(project):
    first, second = ExperimentData.from_file(project), ExperimentData.from_file(project)
    more = ExperimentData(input_data={"x": [4.0]})
    storing.store_result(second + more, second, project, "second")
    evaluate(project, *range(5))
    fold(project)
    before = rows(project)
    for result in (first + more, ExperimentData(input_data={"x": [9.0]}, project_dir=project)):
        with pytest.raises(DataError, match="was stored by another process while this step had it"):
            storing.store_result(result, first, project, "first")
    assert rows(project) == before
    assert stored_by(project) == "second"


def test_two_writers_whose_locks_do_not_see_each_other_lose_no_result(project, monkeypatch):
    """As on two nodes of a file system whose locks are those of the node: one folds while the other stores."""

    @contextmanager
    def node_local(project_dir):
        yield

    monkeypatch.setattr(storing, "locked", node_local)
    monkeypatch.setattr(fold_module, "locked", node_local)
    evaluate(project, 0, 1, 2)
    mine = ExperimentData.from_file(data_folder(project).parent)
    real, slow = generations._commit, threading.Event()
    stored, reached = threading.Event(), threading.Event()

    def commit(*args):
        if threading.current_thread() is not threading.main_thread() and not slow.is_set():
            slow.set()
            reached.set()
            stored.wait(30)
        real(*args)

    monkeypatch.setattr(generations, "_commit", commit)
    folding = threading.Thread(target=fold, args=(project,))
    folding.start()
    assert reached.wait(30)
    mine.mark(3, "error", in_place=True)
    mine.store()
    assert rows(project) == done(0, 1, 2) | {3: (3.0, "ERROR", None)}
    stored.set()
    folding.join(30)
    assert rows(project) == done(0, 1, 2) | {3: (3.0, "ERROR", None)}
    assert not list((data_folder(project) / ".results").iterdir())


@pytest.mark.parametrize("status", ["finished", "open", "error"])
def test_columns_that_two_processes_have_added_are_both_kept(project, status):
    evaluate(project, *range(4))
    fold(project)
    ExperimentData.from_file(project).mark_all(status).store()
    one, other = ExperimentData.from_file(project), ExperimentData.from_file(project)
    for data, name, factor in ((one, "a", 2), (other, "b", 3)):
        for label, sample in data:
            sample.store(name, factor * label)
    one.store()
    other.store()
    outputs = ExperimentData.from_file(project).to_pandas()[1]
    assert outputs.to_dict("list") == {"y": [10.0, 11.0, 12.0, 13.0], "a": [0, 2, 4, 6], "b": [0, 3, 6, 9]}


def test_many_equal_experiments_with_other_labels_are_merged_in_linear_time():
    n = 10_000
    read = ExperimentData(input_data={"x": np.zeros(n)})
    theirs = read.mark_all("error")
    mine = ExperimentData.from_data({n + at: sample for at, (_, sample) in enumerate(read)})
    begin = time.perf_counter()
    changes = merging.find_changes(mine._contents.table, read._contents.table, theirs._contents.table)
    assert time.perf_counter() - begin < 5  # a search for each row takes longer
    assert len(changes.updates) == n


def test_outputs_that_two_processes_have_changed_in_one_row_are_both_kept(project):
    data = ExperimentData(input_data={"x": [0.0]}, output_data={"y": [1.0], "z": [1.0]}, project_dir=project)
    data.store()
    one, other = ExperimentData.from_file(project), ExperimentData.from_file(project)
    for table, name in ((one, "y"), (other, "z")):
        for _, sample in table:
            sample.store(name, 5.0)
    one.store()
    other.store()
    assert ExperimentData.from_file(project).to_pandas()[1].to_dict("list") == {"y": [5.0], "z": [5.0]}


def test_a_result_never_gets_the_inputs_of_another_experiment(project):
    mine, other = ExperimentData.from_file(project), ExperimentData.from_file(project)
    for _, sample in other:
        sample.store("x", sample.get("x") + 10, which="input")
        sample.store("y", sample.get("x"))
        sample.mark("finished")
    other.store()
    mine.mark_all("error", in_place=True)
    with pytest.raises(DataError, match="4 new results of experiments that were removed or changed here"):
        mine.store()
    assert rows(project) == {label: (label + 10.0, "FINISHED", label + 10.0) for label in range(4)}


@pytest.mark.parametrize("name", ["link", "link/../other/../project"])
def test_a_folder_with_two_names_has_one_table(tmp_path, name):
    project = tmp_path / "project"
    ExperimentData(input_data={"x": [0.0, 1.0, 2.0, 3.0]}, project_dir=project).store()
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(project)
    mine = ExperimentData.from_file(tmp_path / name)
    evaluate(project, 0, 1)
    fold(project)
    mine.mark(3, "error", in_place=True)
    mine.store(project)
    assert rows(project) == done(0, 1) | {3: (3.0, "ERROR", None)}
