"""The output of `table` and `best`: the experiments of a run, selected, sorted, and in files."""

from __future__ import annotations

import json
import sys
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from cli_records import Records, documented
from click.testing import CliRunner
from run_results import Results, exception, write_job

from orchestrator import ExperimentData
from orchestrator.cli.main import cli
from orchestrator.cli.workspace import TypedOptions
from orchestrator.data.fold import fold
from orchestrator.db.lease_holder import Holder
from orchestrator.errors import DataError, DefinitionError, NotFound, NotYet
from orchestrator.machine.plan import Plan, PlannedStep


@pytest.fixture
def records(workspace, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield Records(workspace)
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def results(records, workspace):
    """Eight experiments in a loop: two failed, one of them on another node; one is open."""
    records.add_run("r", "active")
    results = Results(workspace, 8)
    for row in range(7):
        error = exception("ValueError", "no", 17, "solve(x)") if row in (2, 3) else None
        iteration = str(row // 2)
        results.add(
            row,
            error,
            y=10.0 / 3 - row,
            iteration=iteration,
            token=f"token{row}",
            step="refine",
            host="node08" if row == 3 else "node07",
            attempt=2 if row == 3 else 1,
            memory=218.0 + 15 * row,
        )
    return results


def run(*arguments, columns=None):
    done = CliRunner(env={"COLUMNS": columns and str(columns)}).invoke(
        cli, arguments, obj=TypedOptions(), catch_exceptions=False
    )
    assert done.exit_code == 0
    assert columns is None or max(map(len, done.output.splitlines())) <= columns
    return SimpleNamespace(out=done.stdout, err=done.stderr, all=done.output)


def numbers(shown):
    return [int(line.split()[0]) for line in shown.out.splitlines()[1:]]


def test_a_table_has_the_columns_that_fit(results, golden):
    golden(run("table", columns=80).all, "80")
    golden(run("table", columns=120).all, "120")
    golden(run("table").all, "a pipe")
    fold(results.project)
    golden(run("table", columns=80).all, "80")


def test_a_condition_selects_rows(results):
    assert numbers(run("table", "--where", "status == 'ERROR' and host == 'node08'")) == [3]
    assert numbers(run("table", "r", "--where", "x > 0.5 and material == 'steel'")) == [5, 6, 7]
    # The last row is open, and has no iteration.
    assert numbers(run("table", "--where", "iteration >= 2")) == [4, 5, 6]
    assert numbers(run("table", "--where", "experiment in (1, 6)")) == [1, 6]
    nothing = run("table", "--where", "x > 100")
    assert (nothing.out, nothing.err) == ("", "No experiments.\n")


@pytest.mark.parametrize(
    "condition", ["x >", "z > 1", "x", "x = 3", "x.sum()", "@results", "material > 1", "__import__('os')", ""]
)
def test_a_wrong_condition_names_the_columns(results, condition):
    with pytest.raises(DefinitionError, match="can't be used") as raised:
        run("table", "--where", condition)
    assert "experiment, status, x, material, y, step, iteration" in raised.value.hint


def test_the_best_ones_come_first(results, golden):
    golden(run("table", "--best", "y", "--rows", "3", columns=80).all)
    assert numbers(run("table", "--best", "y")) == [6, 5, 4, 1, 0]
    assert numbers(run("table", "--best", "y", "--max")) == [0, 1, 4, 5, 6]
    assert numbers(run("table", "--best", "memory", "--where", "x < 0.5")) == [0, 1]


def test_columns_and_rows_can_be_chosen(results, golden):
    golden(run("table", "--columns", "y, iteration,memory,started_at,error", "--rows", "4").all)
    with golden.raises(NotFound):
        run("table", "--columns", "x,z")
    with golden.raises(NotFound):
        run("table", "--best", "z")
    with golden.raises(DefinitionError):
        run("table", "--best", "material")


def test_a_csv_file_has_all_columns(results, workspace):
    done = run("table", "--csv", "all.csv", columns=80)
    assert (done.out, done.err) == ("", "Wrote 8 rows to all.csv.\n")
    frame = pd.read_csv("all.csv", index_col="experiment")
    assert list(frame.columns) == [
        *("status", "x", "material", "y", "step", "iteration", "attempt", "seconds", "cpu_seconds", "memory", "host"),
        *("started_at", "error"),
    ]
    assert frame.y[0] == 10.0 / 3
    assert frame.memory[6] == 308.0
    assert run("table", "--csv", "-", "--columns", "x", "--rows", "2").out == "experiment,x\n0,0.0\n1,0.125\n"
    run("table", "--csv", "all.csv.gz", "--where", "status == 'ERROR'")
    assert list(pd.read_csv("all.csv.gz").experiment) == [2, 3]
    assert sorted(path.name for path in workspace.glob("*all*")) == ["all.csv", "all.csv.gz"]


def test_a_file_that_cannot_be_written_is_named(results, workspace, golden):
    (workspace / "notes.txt").touch()
    with golden.raises(DataError):
        run("table", "--csv", "notes.txt/all.csv")


def test_a_parquet_file_keeps_the_types(results):
    pytest.importorskip("pyarrow")
    run("table", "--parquet", "all.parquet")
    frame = pd.read_parquet("all.parquet")
    assert frame.index.name == "experiment"
    assert frame.iteration.dtype == "Int64"
    assert frame.y[0] == 10.0 / 3


def test_without_pyarrow_the_install_line_is_printed(results, monkeypatch, golden, workspace):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr(sys, "executable", "/usr/bin/python3")
    with golden.raises(DataError):
        run("table", "--parquet", "all.parquet")
    assert not list(workspace.glob("*parquet*"))


def test_json_has_inputs_and_outputs_apart(results):
    rows = json.loads(run("table", "--json", "--where", "experiment == 3").out)
    assert [list(row) for row in rows] == [documented("Table row")]
    assert rows[0] == {
        "experiment": 3,
        "status": "ERROR",
        "inputs": {"x": 0.375, "material": "wood"},
        "outputs": {},
        "step": "refine",
        "iteration": "1",
        "attempt": 2,
        "seconds": 0.25,
        "cpu_seconds": 0.125,
        "memory": 263.0,
        "host": "node08",
        "started_at": "2026-11-24T06:00:03.000Z",
        "error": "ValueError",
    }
    [best] = json.loads(run("best", "--json").out)
    assert (best["experiment"], best["outputs"]) == (6, {"y": 10.0 / 3 - 6})


def test_columns_with_the_names_of_ours_keep_them(records, workspace):
    records.add_run("r", "succeeded")
    data = ExperimentData(
        input_data={"status": ["good"], "seconds": [60.0]}, output_data={"host": [1.0]}, project_dir=workspace / "r"
    )
    data.store()
    header, row = run("table").out.splitlines()
    assert header.split() == ["experiment", "status_", "status", "seconds", "host"]
    assert row.split() == ["0", "FINISHED", "good", "60", "1"]
    assert numbers(run("table", "--where", "status_ == 'FINISHED' and seconds == 60")) == [0]


def test_the_best_experiment_is_printed_with_how_it_was_evaluated(results, golden):
    golden(run("best", columns=80).all)
    golden(run("best", "r", "--max", "-n", "3", columns=80).all)


def test_which_output_is_meant_must_be_clear(records, workspace, golden):
    records.add_run("r", "succeeded")
    results = Results(workspace, 2, outputs=("y", "mass"))
    with golden.raises(NotFound):
        run("best")
    results.add(0, outputs={"y": 1.0, "mass": 2.0})
    with golden.raises(NotFound):
        run("best")
    with golden.raises(DefinitionError):
        run("best", "--output", "material")
    assert "mass         2\n" in run("best", "--output", "mass").out


def test_nothing_has_finished_yet(results, golden):
    data = ExperimentData.from_file(results.project).mark_all("open")
    data.store()
    with golden.raises(NotYet):
        run("best", "--output", "y")


def test_a_run_without_a_table_and_one_with_several(workspace, golden):
    steps = [PlannedStep(str(i), f"s{i}", kind="batch", project_dir=f"table {i}", label=f"s{i}") for i in range(2)]
    records = Records(workspace, Plan(tuple(steps)))
    records.add_run("r", "active")
    (workspace / "r").mkdir()
    for command in ("table", "best"):
        with golden.raises(NotFound):
            run(command)
    for i in range(2):
        ExperimentData(input_data={"x": [float(i)]}, project_dir=workspace / f"r/table {i}").store()
    with golden.raises(NotFound):
        run("table")
    assert run("table", "--project-dir", "table 1").out.splitlines()[1].split() == ["0", "OPEN", "1"]
    with golden.raises(NotFound):
        run("table", "--project-dir", "table 2")


def test_control_characters_arrays_and_long_texts(records, workspace):
    records.add_run("r", "succeeded")
    cells = {"text": ["\x1b[2J" + "a" * 100], "v": [[1.0, 2.0]], "n": [None]}
    ExperimentData(input_data=cells, project_dir=workspace / "r").store()
    shown = run("table").out
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) < 80


def test_max_needs_best(results):
    done = CliRunner().invoke(cli, ["table", "--max"], obj=TypedOptions())
    assert done.exit_code == 2
    assert "--max needs --best OUTPUT" in done.output


@pytest.mark.parametrize("option", ["--csv", "--parquet"])
def test_arrays_and_columns_with_several_types_are_text_in_files(records, workspace, option):
    if option == "--parquet":
        pytest.importorskip("pyarrow")
    records.add_run("r", "succeeded")
    cells = {"v": [[1.0, 2.0], None], "mixed": [1, "two"], "n": [1, None]}
    outputs = {"a": [np.eye(2), np.zeros(3)]}
    ExperimentData(input_data=cells, output_data=outputs, project_dir=workspace / "r").store()
    run("table", option, "all")
    frame = pd.read_csv("all", index_col="experiment") if option == "--csv" else pd.read_parquet("all")
    assert json.loads(frame.v[0]) == [1.0, 2.0]
    assert [json.loads(cell) for cell in frame.a] == [[[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0, 0.0]]
    assert list(frame.mixed) == ["1", "two"]
    assert frame.n[0] == 1


def test_an_experiment_that_is_evaluated_now_is_in_progress(records, workspace):
    records.add_run("r", "active", holder=Holder.this_process())
    records.add_step_run(1, "active", n_tasks=1, batch_size=1)
    token = records.add_job("running", role="batch")
    results = Results(workspace, 4)
    folder = workspace / "r/.orchestrator/jobs" / token
    folder.mkdir(parents=True)
    write_job(folder, token)
    results.begin(folder, 0, row=2)
    assert numbers(run("table", "--where", "status == 'IN_PROGRESS'")) == [2]
    results.add(2, token=token)
    assert numbers(run("table", "--where", "status == 'IN_PROGRESS'")) == []
    assert numbers(run("table", "--where", "status == 'FINISHED'")) == [2]


def test_json_is_for_all_columns(results):
    done = CliRunner().invoke(cli, ["table", "--json", "--columns", "x"], obj=TypedOptions())
    assert done.exit_code == 2
