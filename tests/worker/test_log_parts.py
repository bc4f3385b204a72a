"""Which part of a log an experiment has printed, by the files that its task leaves."""

from __future__ import annotations

import pytest

from orchestrator.data.results import ResultWriter, frame
from orchestrator.handoff.jobfile import JobFile
from orchestrator.handoff.manifest import Entry
from orchestrator.machine.kinds import StepKind
from orchestrator.worker.log_parts import find_part
from orchestrator.worker.running import Cut, Running
from orchestrator.workspace import RunFolder
from tests.damage import IN_ITS_PLACE, put_in_place

JOB = JobFile("r", "/w", "mark", "t", "batch", 3, 1, "2.4", StepKind.BATCH, True, "1", "1.until", ".", "d", cwd="/")


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path, "r")


@pytest.fixture
def part(folder):
    return lambda row: find_part(folder, JOB, row)


def results(folder, task=0):
    return folder.results(JOB.project_dir, JOB.token) / f"{task}.0.jsonl"


def running(folder, task=0):
    return Running(folder.job(JOB.token).running(task))


def line(row, **more):
    return {"row": row, "inputs": "d", "status": "FINISHED", "outputs": {}, "error": None, **more}


def write(path, *lines):
    with ResultWriter(path) as writer:
        for each in lines:
            writer.write(each)


def entry(row):
    return Entry(row, "d", {}, {})


def test_a_result_names_the_part_and_without_one_nothing_was_printed(folder, part):
    write(results(folder), line(1, log=[5, 9]), line(12))
    write(results(folder, task=3), line(2, log=[0, 4]))
    assert part(1) == (0, 5, 9, 1)
    assert part(2) == (3, 0, 4, 1)
    assert part(12) == (0, 0, 0, 1)
    assert part(3) is None


def test_parts_are_found_after_the_results_were_folded(folder, part):
    write(results(folder), line(1, log=[5, 9]))
    archive = folder.table(JOB.project_dir) / "experiment_data" / ".archive"
    archive.mkdir()
    results(folder).parent.rename(archive / JOB.token)
    assert part(1) == (0, 5, 9, 1)


def test_experiments_of_one_call_share_their_part(folder, part):
    write(results(folder), line(1, log=[5, 9]), line(2, log=[5, 9]), line(3, log=[9, 11]))
    assert [part(row) for row in (1, 2, 3)] == [(0, 5, 9, 2), (0, 5, 9, 2), (0, 9, 11, 1)]


def test_a_failure_that_was_recorded_for_a_dead_process_ends_where_the_next_part_begins(folder, part):
    write(results(folder), line(1, log=[5, None]), line(2, log=[20, 30]), line(3, log=[9, 11]), line(4, log=[40, None]))
    assert part(1) == (0, 5, 9, 1)
    assert part(4) == (0, 40, None, 1)


def test_a_running_experiment_and_those_that_were_cut_before(folder, part):
    file = running(folder, task=2)
    file.begin([entry(1)], 10)
    file.add_cut(Cut((1, "d"), "crashed", "it died", 10))
    assert part(1) == (2, 10, None, 1)
    file.begin([entry(7)], 25)
    assert part(1) == (2, 10, 25, 1)
    assert part(7) == (2, 25, None, 1)
    file.clear()
    assert part(7) is None


def test_all_experiments_of_a_call_are_found_while_it_runs(folder, part):
    running(folder).begin([entry(4), entry(6)], 3)
    assert part(4) == part(6) == (0, 3, None, 2)


def test_what_was_evaluated_when_a_step_stopped_is_still_found(folder, part):
    file = running(folder)
    file.begin([entry(1)], 10)
    file.stop()
    assert part(1) == (0, 10, None, 1)
    assert not folder.job(JOB.token).running_of()


def test_a_result_that_another_job_has_caused_is_looked_for_there(folder, part):
    write(results(folder), {**line(1), "log": None})
    assert part(1) is None


def test_damaged_lines_are_skipped(folder, part):
    path = results(folder)
    write(path, line(1, log=[5, 9]), line(2, log=[9]), line(3, log=[9, 2]), line(4, log="9"), line(5, log=[True, 4]))
    path.write_bytes(path.read_bytes() + frame(line(6, log=[1, 2])).replace(b"[1,2]", b"[1,9]") + b'{"row":7,')
    assert part(1) == (0, 5, 9, 1)
    assert [part(row) for row in range(2, 8)] == [None] * 6
    for name in set(IN_ITS_PLACE) - {"large"}:
        put_in_place(name, path)
        assert part(1) is None
