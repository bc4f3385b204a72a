"""The report of a run: what it says, and that a browser shows it."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli_records import T0, Records, on_slurm
from click.testing import CliRunner
from run_results import Results, exception

from orchestrator import Domain, ExperimentData, Loop, Pipeline, Step, datagenerator
from orchestrator.cli.main import cli
from orchestrator.cli.reports import charts as charts_module
from orchestrator.cli.reports.memory import memory_of
from orchestrator.cli.reports.page import page_of
from orchestrator.cli.reports.report_content import report_of
from orchestrator.cli.reports.report_records import read_records
from orchestrator.cli.reports.report_values import Results as ComparedBy
from orchestrator.cli.reports.timeline import task_maps_of
from orchestrator.cli.reports.usage import TaskUsage
from orchestrator.cli.workspace import TypedOptions
from orchestrator.data.records import Record
from orchestrator.db.status import run_status
from orchestrator.errors import DataError, DefinitionError, NotFound
from orchestrator.handoff.claim import claim
from orchestrator.workspace import Workspace
from tests.browser import program, show, show_replaced

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


ROOT = Path(__file__).resolve().parents[2]

WAITS = """
import time
from pathlib import Path
from orchestrator import Pipeline, Step
def wait(project_dir):
    (project_dir / "began").touch()
    while not Path("go").exists():
        time.sleep(0.05)
if __name__ == "__main__":
    Pipeline("waiting", [Step(wait)]).run(mode="local", project_job="r")
"""

WATCH = """
import sys
from orchestrator.cli import report
report.SECONDS = 0.2
sys.argv[:1] = ["orchestrator", "report"]
from orchestrator.cli.main import main
main()
"""


def wait_for(is_true, seconds=60.0):
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.05)


def output(*arguments):
    done = CliRunner().invoke(cli, ["report", *arguments], obj=TypedOptions(), catch_exceptions=False)
    assert done.exit_code == 0
    return done.stderr


def report(workspace, **options):
    """Return the report of the run `r`."""
    now = T0 + 7200
    return report_of(read_records(Workspace.at(workspace), "r", now), now, ComparedBy(**options))


def elements(page):
    """Return the names of the elements of a page, in order, with the names of their attributes."""
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, [name for name, _ in attributes]))
    parser.feed(page)
    return found


@pytest.fixture
def records(workspace, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield Records(workspace)
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def results(records, workspace):
    """Eight experiments in three iterations; two failed, one is open."""
    records.add_run("r", "active")
    results = Results(workspace, 8)
    for row in range(7):
        error = exception("ValueError", HOSTILE, 17, "solve(x)") if row in (2, 3) else None
        results.add(row, error, y=[5.0, 3.0, 0, 0, 4.0, 1.0, 2.0][row], iteration=str(row // 3), token=f"token{row}")
    return results


def test_the_best_is_the_smallest_or_with_max_the_largest(results, workspace):
    smallest = report(workspace)
    assert (smallest.objective, smallest.best.experiment, smallest.best.value) == ("y", 5, 1.0)
    assert dict(smallest.best.inputs) == {"x": "0.625", "material": "steel"}
    assert smallest.best.address == "evaluate@1"
    assert report(workspace, largest=True).best.value == 5.0
    assert (smallest.n_experiments, smallest.n_finished, smallest.n_failed) == (8, 5, 2)


def test_convergence_is_by_evaluation_and_by_iteration(results, workspace):
    convergence = report(workspace).convergence
    assert convergence.steps == [(1, 5.0), (2, 3.0), (4, 1.0), (5, 1.0)]
    found = [(one.name, one.n, one.best, one.median, one.best_so_far) for one in convergence.iterations]
    assert found == [("0", 2, 3.0, 4.0, 3.0), ("1", 2, 1.0, 2.5, 1.0), ("2", 1, 2.0, 2.0, 1.0)]
    falling = report(workspace, largest=True).convergence
    assert [one.best_so_far for one in falling.iterations] == [5.0, 5.0, 5.0]


def odd_run():
    """Run a study with names of ours, infinite and missing values, and nothing but one value."""
    domain = Domain()
    for name in ("iteration", "seconds", "started_at", "experiment"):
        domain.add_float(name, low=0.0, high=100.0)
    domain.add_category("on", [True, False, None])
    domain.add_output("status")
    domain.add_output("text")
    rows = [
        {
            "iteration": 9.0 - i,
            "seconds": 1.0,
            "started_at": float(i),
            "experiment": 3.0 * i,
            "on": [True, False][i % 2],
        }
        for i in range(10)
    ]

    def create(project_dir):
        ExperimentData(domain=domain, input_data=rows).store(project_dir)

    @datagenerator(output_names=["status", "text"])
    def evaluate(iteration, seconds, started_at, experiment, on):
        return [float("-inf"), float("nan"), 1e300, 5.0, 4.0][int(iteration) % 5], "some text"

    Pipeline("odd", [Step(create), Step(evaluate, parallel=True)]).run(mode="local", project_job="r")


def test_infinite_and_missing_values_and_names_of_ours_are_no_trouble(workspace):
    odd_run()
    found = report(workspace)
    assert (found.objective, found.best.value) == ("status", 4.0)
    assert found.charts.n == 6
    by_name = {axis.name: axis for axis in found.charts.inputs}
    assert sorted(by_name["iteration"].values) == [2, 3, 4, 7, 8, 9]
    assert found.charts.left_out == ["seconds"]
    assert [one.name for one in found.convergence.iterations] == [""]
    page_of(found)


def test_of_too_many_experiments_some_are_shown_with_the_best(results, workspace, monkeypatch):
    monkeypatch.setattr(charts_module, "MOST_NUMBERS", 4 * 4)
    monkeypatch.setattr(charts_module, "BEST", 1)
    charts = report(workspace).charts
    assert (charts.n, list(charts.numbers)) == (5, [1, 3, 4, 5])
    assert list(charts.objective.values) == [5, 4, 1, 2]
    assert "show 4 of the 5 experiments" in page_of(report(workspace))


def test_a_condition_says_which_experiments_are_results(results, workspace):
    found = report(workspace, where="x < 0.6")
    assert (found.best.experiment, found.charts.n) == (1, 3)
    assert "Only experiments with <code>x &lt; 0.6</code> count here." in page_of(found)
    assert report(workspace, where="x > 100").best is None
    page_of(report(workspace, where="x > 100"))
    with pytest.raises(DefinitionError, match="can't be used"):
        report(workspace, where="z > 1")


def test_a_wrong_output_names_the_right_ones(results, workspace):
    with pytest.raises(NotFound):
        report(workspace, output="z")
    with pytest.raises(DefinitionError, match="does not contain numbers"):
        report(workspace, output="material")


def test_running_waiting_and_idle_time_are_apart(records, workspace):
    records.add_run("r", "succeeded", ended_at=T0 + 100)
    records.add_step_run(0, "succeeded", begin=10, seconds=20)
    records.add_job("succeeded", begin=10, seconds=20, started_at=T0 + 15)
    records.add_step_run(1, "failed", begin=40, seconds=50)
    # The second job waits while the first one runs: that is running time.
    records.add_job("succeeded", begin=40, seconds=30, started_at=T0 + 50, role="batch")
    records.add_job("succeeded", begin=45, seconds=45, started_at=T0 + 80, role="batch", batch=1)
    timeline = report(workspace).timeline
    assert timeline.seconds == {"run": 15 + 20 + 10, "queue": 5 + 10 + 10, "idle": 10 + 10 + 10}
    assert timeline.rows == ["create", "evaluate"]
    assert [(span.begin, span.end) for span in timeline.spans if span.kind == "idle"] == [(0, 10), (30, 40), (90, 100)]
    assert {span.row for span in timeline.spans if span.has_failed} == {"evaluate"}


def test_an_array_that_has_begun_since_the_records_were_written_does_not_wait_any_more(records, workspace):
    records.add_run("r", **on_slurm())
    records.add_step_run(1, "active", begin=10, n_experiments=2, n_tasks=2)
    batch = {"role": "batch", "tasks": "0-1", "n_tasks": 2, "started_at": None}
    token = records.add_job("queued", begin=10, **batch)
    records.add_orchestrator("queued", "4300", token, queued_at=T0 + 10, started_at=None)
    assert report(workspace).timeline.seconds == {"run": 0, "queue": 7190, "idle": 10}
    folder = Workspace.at(workspace).run("r").job(token)
    claim(folder, "4242.1")
    os.utime(folder.claim, (T0 + 70, T0 + 70))
    assert report(workspace).timeline.seconds == {"run": 7130, "queue": 60, "idle": 10}


def test_the_memory_of_the_task_that_grew_most_is_shown_experiment_by_experiment(results, workspace):
    for row, memory in enumerate([218.0, 240.0, 323.0]):
        results.add(row, memory=memory, token="grows", task=4, step="solve", iteration="2")
    for row, memory in enumerate([218.0, 220.0], start=3):
        results.add(row, memory=memory, token="grows", task=5, step="solve", iteration="2")
    results.add(5, memory=900.0, token="alone", step="mesh")
    found = report(workspace)
    [line] = found.memory
    assert (line.step, line.address, line.task, line.n) == ("solve", "solve@2", 4, 3)
    assert line.points == [(1, 218.0), (2, 240.0), (3, 323.0)]
    assert 'id="memory"' in page_of(found)


def test_of_many_experiments_of_a_task_some_are_in_the_chart_of_its_memory():
    record = Record("FINISHED", "solve", "", 1, 1.0, 1.0, 0.0, "node07", 0.0, None, "tok", 0)
    found = [record._replace(started_at=float(at), memory=100.0 + at) for at in range(1000)]
    [line] = memory_of(reversed(found))
    assert (line.n, line.points[0], line.points[-1]) == (1000, (1, 100.0), (1000, 1099.0))
    assert len(line.points) <= 201
    assert memory_of([None, record, *found[:1]]) == []


def test_tasks_say_how_long_they_waited_in_the_queue():
    task = TaskUsage("solve", "solve", "", 0, 1, T0, 20.0, 20.0, 100.0, None, "node07", 1, 0, False)
    waited = [task._replace(task=number, queue_seconds=seconds) for number, seconds in enumerate((12.5, None))]
    [found] = task_maps_of(waited)
    assert found.cells == [(0, 0, 20.0, 0, 12.5), (1, 0, 20.0, 0, -1.0)]


def test_a_task_that_was_killed_is_on_the_map_unless_a_later_attempt_succeeded(records, workspace):
    records.add_run("r", "failed", **on_slurm())
    records.add_step_run(1, "failed", begin=10, seconds=100, n_experiments=3, n_tasks=3)
    batch = {"role": "batch", "begin": 10, "kind": "timeout", "scheduler_id": "7"}
    records.add_job("failed", seconds=60, tasks="0-2", n_tasks=3, started_at=T0 + 10, failed_tasks="1-2", **batch)
    records.add_job(
        "failed", seconds=90, attempt=2, tasks="1-2", n_tasks=2, started_at=T0 + 70, failed_tasks="2", **batch
    )
    task = TaskUsage("evaluate", "evaluate", "", 0, 1, T0, 5.0, 5.0, 100.0, None, "node07", 1, 0, False)
    evaluated = [task, task._replace(task=1, attempt=2, seconds=8.0)]
    [found] = task_maps_of(evaluated, run_status(Workspace.at(workspace).database, "r", T0 + 200, whole=True).step_runs)
    cells = {column: (seconds, n_failed) for column, _, seconds, n_failed, _ in found.cells}
    assert cells == {0: (5.0, 0), 1: (8.0, 0), 2: (30.0, -1)}


def test_an_input_that_is_sampled_on_a_logarithmic_scale_is_drawn_on_one(workspace):
    domain = Domain()
    domain.add_float("load", low=1e3, high=1e4, log=True)
    domain.add_float("width", low=1e3, high=1e4)
    domain.add_output("y")
    rows = [{"load": 1e3 * (row + 1), "width": 1e3 * (row + 1)} for row in range(9)]

    def create(project_dir):
        ExperimentData(domain, rows).store(project_dir)

    @datagenerator(output_names="y")
    def evaluate(load, width):
        return load

    Pipeline("beam", [Step(create), Step(evaluate, parallel=True)]).run(mode="local", project_job="r")
    assert [(axis.name, axis.is_log) for axis in report(workspace).charts.inputs] == [("load", True), ("width", False)]


def test_many_iterations_are_few_spans(records, workspace):
    records.add_run("r", "succeeded", ended_at=T0 + 20_000)
    records.add_many(1000, begin=0.0)
    timeline = report(workspace).timeline
    assert timeline.rows == ["look", "refine"]
    assert len(timeline.spans) == 3
    assert timeline.seconds["run"] == pytest.approx(2000)


def test_a_run_without_a_table_has_a_report(records, workspace):
    records.add_run("r", "active")
    empty = report(workspace)
    assert (empty.best, empty.charts, empty.objective) == (None, None, None)
    assert "No output is a number" in page_of(empty)


def test_a_run_whose_experiments_have_all_failed_has_a_report(records, workspace):
    records.add_run("r", "active")
    results = Results(workspace, 3)
    results.add(0, exception("ValueError", "no", 17, "solve(x)"))
    found = report(workspace)
    assert (found.best, found.n_failed) == (None, 1)
    page_of(found)


def test_no_text_of_the_user_becomes_html(results, workspace):
    found = report(workspace)
    found = replace(
        found,
        run=found.run._replace(name=HOSTILE, study=HOSTILE, reason=HOSTILE),
        provenance=[(HOSTILE, HOSTILE)],
        charts=replace(found.charts, objective=replace(found.charts.objective, name=HOSTILE)),
        timeline=replace(found.timeline, rows=[HOSTILE]),
    )
    page = page_of(found)
    assert HOSTILE not in page
    assert [tag for tag, _ in elements(page) if tag in ("script", "img")] == ["script"] * 3
    # The texts are there, as text.
    assert "&lt;img src=x onerror=alert(1)&gt;" in page


def test_control_characters_are_shown(results, workspace):
    found = report(workspace)
    page = page_of(replace(found, run=found.run._replace(name="a\x1b[31m\u202e\udcff")))
    assert "a\\x1b[31m\\u202e\\udcff" in page
    page.encode()


def test_secrets_of_the_command_line_are_left_out(records, workspace):
    argv = ["orchestrator", "run", "study.py", "--token", "hunter2", "API_KEY=hunter3"]
    libraries = {"numpy": "2.1.0"}
    came_from = {"argv": argv, "git": "1f2e3d", "python": "3.12", "host": "login1", "libraries": libraries}
    records.add_run("r", "active", provenance=came_from, bundle_digest="5" * 64)
    found = dict(report(workspace).provenance)
    assert found["SHA-256 of its code"] == "5" * 64
    assert found["command"] == "orchestrator run study.py --token *** API_KEY=***"
    assert (found["git commit"], found["host"], found["libraries"]) == ("1f2e3d", "login1", "numpy 2.1.0")
    assert "depend on the key r" in found["seed"]
    assert "hunter" not in page_of(report(workspace))


def test_the_file_needs_no_network(results, workspace):
    page = page_of(report(workspace))
    assert "default-src 'none'" in page
    found = elements(page)
    assert not [tag for tag, attributes in found if {"src", "href", "srcset", "action"} & set(attributes)]
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in found}
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_the_library_is_the_published_one():
    folder = Path(page_of.__code__.co_filename).parent / "page_files/echarts"
    digest = hashlib.sha256((folder / "echarts.min.js").read_bytes()).hexdigest()
    assert digest == "b66b25aeb4df84e33199dc21694014d336d222cbd9deb0e5a7c14bd6aa0d0fd0"
    assert "Apache License" in (folder / "LICENSE").read_text()


def test_the_command_writes_the_file(results, workspace):
    assert output("r", "-o", "out.html") == "Wrote out.html\n"
    assert "Smallest y" in Path("out.html").read_text(encoding="utf-8")
    assert output("--max", "--output", "y") == "Wrote report-r.html\n"
    assert "Largest y" in Path("report-r.html").read_text(encoding="utf-8")
    assert [path.name for path in workspace.glob("*.html*")] in (
        ["out.html", "report-r.html"],
        ["report-r.html", "out.html"],
    )


def test_a_file_that_cannot_be_written_is_named(results, golden):
    with golden.raises(DataError):
        output("-o", "missing-folder/../report.html/x") if Path("report.html").touch() else output(
            "-o", "report.html/x"
        )
    with golden.raises(NotFound):
        output("--project-dir", "other")


# --- in a browser --------------------------------------------------------------------------------

in_browser = [
    pytest.mark.acceptance,
    pytest.mark.skipif(program() is None, reason="there is no Chromium"),
]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A real run in a loop, with failures and hostile names; its report."""
    folder = tmp_path_factory.mktemp("real")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        domain = Domain()
        domain.add_float("x<b>", low=-2.0, high=2.0)
        domain.add_category("material", ["steel", HOSTILE])
        domain.add_float("load", low=1e-6, high=1.0, log=True)
        domain.add_output("y</script>")

        def more(project_dir, iteration):
            rows = [
                {"x<b>": (i % 20) / 5 - 2, "material": ["steel", HOSTILE][i % 2], "load": 10.0 ** -(i % 7)}
                for i in range(20 * int(iteration), 20 * int(iteration) + 20)
            ]
            new = ExperimentData(domain=domain, input_data=rows)
            if int(iteration):
                new = ExperimentData.from_file(project_dir) + new
            new.store(project_dir)

        @datagenerator(output_names="y</script>")
        def evaluate(**inputs):
            if inputs["x<b>"] > 1.5:
                raise ValueError(HOSTILE)
            return (inputs["x<b>"] - 1) ** 2 + inputs["load"]

        steps = [Loop(3, [Step(more), Step(evaluate, name="evaluate", parallel=True)])]
        Pipeline("beam <i>", steps).run(mode="local", project_job="r")
        output("r", "-o", "report.html")
        output("r", "-o", "largest.html", "--max")
    return folder


def assert_is_shown(shown):
    assert shown.console == []
    assert shown.facts["scroll_width"] <= shown.facts["width"]
    assert shown.facts["images"] == 0
    expected = {"convergence", "iterations", "scatter-0", "scatter-1", "scatter-2", "parallel", "timeline", "tasks-0"}
    # On a machine with many CPUs, each task evaluates one experiment: then no memory grows.
    assert set(shown.facts["ink"]) - {"memory"} == expected
    assert {name: ink for name, ink in shown.facts["ink"].items() if ink < 500} == {}
    text = shown.facts["text"]
    assert "beam <i>" in text
    assert HOSTILE in text
    for title in ("What was asked", "What was found", "Where the time went", "What failed", "Where it comes from"):
        assert title in text


class TestInABrowser:
    pytestmark = in_browser

    @pytest.mark.parametrize("width", [1280, 390])
    @pytest.mark.parametrize("dark", [False, True])
    def test_a_report_of_a_real_run_is_drawn(self, real, width, dark):
        shown = show(real / "report.html", width=width, dark=dark)
        assert_is_shown(shown)
        brightness = sum(map(int, re.findall(r"\d+", shown.facts["background"])[:3]))
        assert (brightness < 200) == dark

    def test_odd_values_are_drawn(self, workspace):
        odd_run()
        output("r", "-o", "odd.html")
        shown = show(workspace / "odd.html")
        assert shown.console == []
        assert min(shown.facts["ink"].values()) > 500

    def test_a_task_whose_memory_grows_is_drawn(self, results, workspace):
        for row in range(4):
            results.add(row, memory=218.0 + 35 * row, token="grows")
        (workspace / "grows.html").write_text(page_of(report(workspace)))
        shown = show(workspace / "grows.html", width=390)
        assert shown.console == []
        assert shown.facts["ink"]["memory"] > 500
        assert "Memory from one experiment to the next" in shown.facts["text"]

    @pytest.mark.slow
    def test_all_of_100_000_experiments_are_drawn_and_take_less_than_5_mb(self, records, workspace):
        records.add_run("r", "succeeded")
        domain = Domain()
        for name in ("a", "b", "c", "d"):
            domain.add_float(name, low=0.0, high=1.0)
        domain.add_output("y")
        numbers = np.random.default_rng(1)
        inputs = pd.DataFrame(numbers.random((100_000, 4)), columns=["a", "b", "c", "d"])
        outputs = pd.DataFrame({"y": (inputs["a"] - 0.3) ** 2 + inputs["b"]})
        ExperimentData(domain, inputs, outputs, project_dir=workspace / "r").store()
        found = report(workspace)
        assert len(found.charts.numbers) == found.charts.n == 100_000
        (workspace / "large.html").write_text(page_of(found))
        assert (workspace / "large.html").stat().st_size < 5_000_000
        shown = show(workspace / "large.html")
        assert shown.console == []
        assert set(shown.facts["ink"]) >= {"convergence", "scatter-0", "scatter-3", "parallel"}
        assert min(shown.facts["ink"].values()) > 500

    def test_the_largest_can_be_the_best(self, real):
        assert_is_shown(show(real / "largest.html"))


@pytest.mark.acceptance
@pytest.mark.skipif(program() is None, reason="there is no Chromium")
def test_an_open_page_of_an_active_run_shows_what_is_written_later(results, workspace):
    now, later = workspace / "now.html", workspace / "later.html"
    now.write_text(page_of(report(workspace), reload_after=0.2))
    later.write_text(page_of(report(workspace, where="x < 0.6")))
    before, after = show_replaced(now, later)
    assert "Only experiments with" not in before.facts["text"]
    assert "Only experiments with x < 0.6 count here." in after.facts["text"]
    assert after.facts["ink"].keys() == before.facts["ink"].keys()
    assert before.console == after.console == []


@pytest.mark.acceptance
def test_a_watched_report_is_written_until_the_run_has_ended(cli, workspace):
    """The page reloads itself as long as the run is active, and not any more when it has ended."""
    (workspace / "waits.py").write_text(WAITS)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    study = subprocess.Popen([sys.executable, "waits.py"], env=environment)
    page = workspace / "watched.html"
    try:
        wait_for(lambda: (workspace / "r/began").exists())
        command = [sys.executable, "-c", WATCH, "r", "-o", "watched.html", "--watch"]
        watch = subprocess.Popen(
            command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True
        )
        wait_for(page.exists)
        text = page.read_text()
        assert '"reload":0.2' in text
        assert "The run has not ended" in text
        (workspace / "go").touch()
        _, err = watch.communicate(timeout=60)
    finally:
        study.kill()
        study.wait()
    assert watch.returncode == 0
    assert err.splitlines()[-1] == "Run r: succeeded. Wrote watched.html for the last time."
    text = page.read_text()
    assert '"reload":null' in text
    assert "The run has not ended" not in text
    assert not list(workspace.glob(".*watched*"))
