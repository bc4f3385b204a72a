import json
import re
import subprocess
import threading
import time

import numpy as np
import pytest

from orchestrator.data import expected_results as expected_module
from orchestrator.data import generations
from orchestrator.data.expected_results import Expected
from orchestrator.data.experiment_data import ExperimentData
from orchestrator.data.fold import FoldReport, fold
from orchestrator.data.open_table import stored_by
from orchestrator.data.results import ResultFile, ResultWriter, inputs_digest, read_results, unframe
from orchestrator.data.values import to_jsonable
from orchestrator.errors import DataError
from tests.damage import IN_ITS_PLACE, put_in_place


def read_lines(path):
    return [unframe(line) for line in path.read_bytes().splitlines()]


def result(row, inputs, y=None, status="FINISHED", started=0.0):
    return {
        "row": row,
        "inputs": inputs_digest(inputs),
        "status": status,
        "outputs": {} if y is None else {"y": y},
        "error": None if status == "FINISHED" else {"type": "ValueError", "message": "no"},
        "started": started,
    }


def write(tmp_path, *lines, token="tok", task="0.0"):
    path = tmp_path / "experiment_data" / ".results" / token / f"{task}.jsonl"
    with ResultWriter(path) as writer:
        for line in lines:
            writer.write(line)
    return path


@pytest.fixture
def data(tmp_path):
    data = ExperimentData(input_data=[{"x": x} for x in (1, 2, 3)], project_dir=tmp_path)
    data.store()
    return data


def outputs(data):
    rows = data.output_rows()
    return {label: rows(at).get("y") for at, label in enumerate(data.labels())}


def by_input(data):
    inputs, rows = data.input_rows(), data.output_rows()
    return {inputs(at)["x"]: rows(at).get("y") for at in range(len(data))}


def test_fewer_results_than_the_receipts_count_are_waited_for(tmp_path, data, monkeypatch):
    monkeypatch.setattr(expected_module, "POLL", 0.01)
    must = [Expected(["tok", "retry"], 3)]
    write(tmp_path, result(0, {"x": 1}, 10), result(1, {"x": 2}, 20))
    late = threading.Timer(0.3, lambda: write(tmp_path, result(2, {"x": 3}, 30), token="retry"))
    late.start()
    assert fold(tmp_path, expected=must).n_folded == 3
    assert fold(tmp_path, expected=must) == FoldReport()


@pytest.mark.parametrize("lines", [[], [(0, 1)], [(0, 1), (0, 1)], [(0, 1), (1, 2)]])
def test_results_that_are_missing_are_an_error_that_names_the_job(tmp_path, data, monkeypatch, lines):
    monkeypatch.setattr(expected_module, "WAIT", 0.0)
    if lines:
        write(tmp_path, *(result(label, {"x": x}, 10) for label, x in lines))
    why = f"count 3 experiments, but {len(set(lines))} can be read there .of the jobs tok, retry"
    with pytest.raises(DataError, match=why):
        fold(tmp_path, expected=[Expected(["tok", "retry"], 3)])
    assert len(ExperimentData.from_file(tmp_path).select_with_status("open")) == 3 - len(set(lines))
    assert not (tmp_path / "experiment_data" / ".archive").exists()


@pytest.mark.parametrize("folder", [".results", ".archive"])
@pytest.mark.parametrize("what", ["fifo", "large", "link", "loop"])
def test_what_is_in_the_place_of_a_folder_of_results_is_named_at_once_and_its_command_works(
    tmp_path, data, folder, what, monkeypatch
):
    monkeypatch.setattr(expected_module.time, "sleep", lambda _: pytest.fail("it waits"))
    put_in_place(what, tmp_path / "experiment_data" / folder)
    expected = [Expected(("tok",), 1)]
    with pytest.raises(DataError, match=re.escape(str(tmp_path / "experiment_data" / folder))) as caught:
        fold(tmp_path, expected=expected)
    subprocess.run(caught.value.hint.partition(": ")[2], shell=True, check=True)
    write(tmp_path, result(0, {"x": 1}, 10))
    assert fold(tmp_path, expected=expected).n_folded == 1


def test_a_damaged_result_is_not_a_missing_one(tmp_path, data):
    path = write(tmp_path, result(0, {"x": 1}, 10), result(1, {"x": 2}, 20))
    path.write_bytes(path.read_bytes().replace(b'"y":10', b'"y":70'))
    assert fold(tmp_path, expected=[Expected(["tok"], 2)]).n_folded == 1


def test_a_result_is_written_to_its_experiment(tmp_path, data):
    write(tmp_path, result(1, {"x": 2}, 20.5))
    report = fold(tmp_path)
    back = ExperimentData.from_file(tmp_path)
    assert (report.n_folded, report.quarantined) == (1, [])
    assert outputs(back) == {0: None, 1: 20.5, 2: None}
    assert list(back.jobs) == ["OPEN", "FINISHED", "OPEN"]
    assert back.domain.output_names == ["y"]
    assert not list((tmp_path / "experiment_data" / ".results").iterdir())
    archived = tmp_path / "experiment_data" / ".archive" / "tok" / "0.0.jsonl"
    assert len(list(read_results(archived))) == 1


def test_loading_includes_results_that_are_not_folded_yet(tmp_path, data):
    path = write(tmp_path, result(1, {"x": 2}, 20.5))
    back = ExperimentData.from_file(tmp_path)
    assert outputs(back)[1] == 20.5
    assert path.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.sort(lambda sample: -sample.get("x")),
        lambda data: data.sort(lambda sample: -sample.get("x")).reset_index(),
        lambda data: data[[2, 1]].reset_index(),
        lambda data: ExperimentData(input_data=[{"x": 9.5}, {"x": 3.0}, {"x": 2.0}], project_dir=data.project_dir),
    ],
    ids=["sorted", "renumbered", "dropped", "made again"],
)
def test_a_changed_table_never_gets_the_result_of_another_experiment(tmp_path, data, change):
    write(tmp_path, result(1, {"x": 2}, 20), result(2, {"x": 3}, 30))
    changed = change(data)
    changed.fold([ResultFile.read(tmp_path / "experiment_data/.results/tok/0.0.jsonl")])
    found = by_input(changed)
    assert (found[2], found[3]) == (20, 30)
    assert all(y is None for x, y in found.items() if x not in (2, 3))


def test_unmatched_results_are_quarantined_and_reported(tmp_path, data):
    write(tmp_path, result(0, {"x": 7}, 70), result(1, {"x": 2}, 20))
    report = fold(tmp_path)
    assert [line["outputs"] for line in report.quarantined] == [{"y": 70}]
    quarantined = tmp_path / "experiment_data/.archive/quarantine/tok/0.0.jsonl"
    assert [line["outputs"] for line in read_results(quarantined)] == [{"y": 70}]
    assert outputs(ExperimentData.from_file(tmp_path)) == {0: None, 1: 20, 2: None}


def test_identical_experiments_get_one_result_each(tmp_path):
    data = ExperimentData(input_data=[{"x": 1}] * 3, project_dir=tmp_path)
    data = data[[2, 1, 0]].reset_index()
    path = write(tmp_path, *(result(10 + n, {"x": 1}, n) for n in range(3)))
    for _ in range(2):
        assert data.fold([ResultFile.read(path)]).quarantined == []
        assert outputs(data) == {0: 0, 1: 1, 2: 2}
    more = write(tmp_path, result(20, {"x": 1}, 9), token="more")
    assert len(data.fold([ResultFile.read(more)]).quarantined) == 1


@pytest.mark.parametrize("y", [np.arange(3.0), [1, 2.5, None], {"a": 1}, float("inf"), True, "text"])
def test_a_result_of_any_type_is_recognised_when_it_is_folded_twice(tmp_path, y):
    data = ExperimentData(input_data=[{"x": 1}] * 2, project_dir=tmp_path)
    path = write(tmp_path, result(7, {"x": 1}, to_jsonable(y)))
    for _ in range(2):
        assert data.fold([ResultFile.read(path)]).quarantined == []
        assert list(data.jobs) == ["FINISHED", "OPEN"]


def test_results_of_many_equal_experiments_with_other_labels_are_folded_in_linear_time(tmp_path):
    n = 10_000
    data = ExperimentData(input_data={"x": np.zeros(n)}, project_dir=tmp_path)
    path = write(tmp_path, *(result(n + at, {"x": 0.0}, at) for at in range(n)))
    begin = time.perf_counter()
    report = data.fold([ResultFile.read(path)])
    assert time.perf_counter() - begin < 20  # a search for each result takes minutes
    assert report.n_folded == n
    assert outputs(data) == {at: at for at in range(n)}


def test_folding_a_second_time_changes_nothing(tmp_path, data):
    path = write(tmp_path, result(5, {"x": 2}, 20), result(0, {"x": 1}, status="ERROR"))
    once = data.copy()
    once.fold([ResultFile.read(path)])
    twice = once.copy()
    report = twice.fold([ResultFile.read(path)])
    assert twice == once
    assert report.quarantined == []


def test_an_output_on_disk_is_recognised_when_its_result_is_folded_twice(tmp_path):
    data = ExperimentData(input_data=[{"x": 1}] * 2, project_dir=tmp_path)
    stored = {"$reference": {"reference": "y/7.pkl", "load_function": None, "load_kwargs": None}}
    path = write(tmp_path, result(7, {"x": 1}, stored))
    for _ in range(2):
        assert data.fold([ResultFile.read(path)]).quarantined == []
        assert list(data.jobs) == ["FINISHED", "OPEN"]


def test_another_result_for_a_finished_row_is_neither_used_nor_quarantined(tmp_path, data):
    first = write(tmp_path, result(0, {"x": 1}, 10))
    other = write(tmp_path, result(0, {"x": 1}, 11), token="other")
    for path in (first, other):
        assert data.fold([ResultFile.read(path)]).quarantined == []
    assert outputs(data) == {0: 10, 1: None, 2: None}


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_a_success_overrides_an_error(tmp_path, data, order):
    lines = [
        result(0, {"x": 1}, status="ERROR", started=5),
        result(0, {"x": 1}, 10, started=1),
    ]
    path = write(tmp_path, *(lines[at] for at in order))
    data.fold([ResultFile.read(path)])
    assert data.jobs[0] == "FINISHED"
    assert outputs(data)[0] == 10


def test_an_error_is_recorded_and_a_later_success_replaces_it(tmp_path, data):
    write(tmp_path, result(0, {"x": 1}, status="ERROR"))
    assert fold(tmp_path).n_errors == 1
    assert ExperimentData.from_file(tmp_path).jobs[0] == "ERROR"
    write(tmp_path, result(0, {"x": 1}, 10), token="again")
    fold(tmp_path)
    assert ExperimentData.from_file(tmp_path).jobs[0] == "FINISHED"
    write(tmp_path, result(0, {"x": 1}, 11), result(0, {"x": 1}, status="ERROR"), token="late")
    fold(tmp_path)
    assert outputs(ExperimentData.from_file(tmp_path))[0] == 10


def test_incomplete_lines_are_counted(tmp_path, data):
    path = write(tmp_path, result(0, {"x": 1}, 10), result(1, {"x": 2}, 20))
    path.write_bytes(path.read_bytes()[:-9])
    report = fold(tmp_path)
    assert (report.n_folded, report.n_torn) == (1, 1)


def test_a_result_that_was_folded_and_stored_does_not_undo_a_change(tmp_path, data):
    path = write(tmp_path, result(0, {"x": 1}, 10))
    loaded = ExperimentData.from_file(tmp_path)
    loaded.mark(0, "open", in_place=True)
    loaded.store()
    assert ExperimentData.from_file(tmp_path).jobs[0] == "OPEN"
    assert path.exists()
    write(tmp_path, result(1, {"x": 2}, 20))  # the task continues in the same file
    assert list(ExperimentData.from_file(tmp_path).jobs) == ["OPEN", "FINISHED", "OPEN"]


def test_a_crash_after_the_commit_is_finished_by_the_next_fold(tmp_path, data, monkeypatch):
    write(tmp_path, result(0, {"x": 1}, 10))

    def die(base):
        if (base / ".table" / "commit.json").exists():
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(generations, "archive_consumed", die)
        with pytest.raises(KeyboardInterrupt):
            fold(tmp_path)
    assert outputs(ExperimentData.from_file(tmp_path))[0] == 10
    write(tmp_path, result(1, {"x": 2}, 20), token="next")
    fold(tmp_path)
    assert outputs(ExperimentData.from_file(tmp_path)) == {0: 10, 1: 20, 2: None}
    assert sorted(p.name for p in (tmp_path / "experiment_data/.archive").iterdir()) == [
        "next",
        "tok",
    ]


def test_folding_without_results_needs_no_table(tmp_path):
    assert fold(tmp_path).n_folded == 0
    assert not list(tmp_path.iterdir())


def test_domain_json_names_what_was_folded_until_it_is_archived(tmp_path, data):
    write(tmp_path, result(0, {"x": 1}, 10))
    ExperimentData.from_file(tmp_path).store()
    domain = tmp_path / "experiment_data" / "domain.json"
    assert list(json.loads(domain.read_text())["folded"]) == ["tok/0.0.jsonl"]
    fold(tmp_path)
    assert json.loads(domain.read_text())["folded"] == {}


def test_folding_keeps_which_job_stored_the_table_and_a_user_who_stores_it_does_not(tmp_path, data):
    data.stored_by = "job"
    data.store()
    write(tmp_path, result(1, {"x": 2}, 20))
    assert fold(tmp_path).n_folded == 1
    assert stored_by(tmp_path) == "job"
    ExperimentData.from_file(tmp_path).store()
    assert stored_by(tmp_path) is None


def test_a_damaged_line_counts_as_missing_and_is_reported(tmp_path, data):
    path = write(tmp_path, result(0, {"x": 1}, 10), result(1, {"x": 2}, 20))
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"y":10', b'"y":70'))
    report = fold(tmp_path)
    assert (report.n_folded, report.n_torn, len(report.quarantined)) == (1, 0, 1)
    table = ExperimentData.from_file(tmp_path)
    assert list(table.jobs[:2]) == ["OPEN", "FINISHED"]
    [kept] = read_lines(tmp_path / "experiment_data" / ".archive" / "quarantine" / "tok" / "0.0.jsonl")
    assert '"y":70' in kept["damaged"]


@pytest.mark.parametrize("name", sorted(set(IN_ITS_PLACE) - {"large"}))
def test_what_is_no_file_of_results_does_not_block_the_others(tmp_path, data, name):
    path = write(tmp_path, result(0, {"x": 1}, 10))
    put_in_place(name, path.with_name("1.0.jsonl"))
    report = fold(tmp_path)
    assert (report.n_folded, len(report.quarantined)) == (1, 1)
    assert fold(tmp_path) == FoldReport()
