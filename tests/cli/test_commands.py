"""What each command prints."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli.main import COMMANDS
from orchestrator.cli.main import cli as group
from orchestrator.cli.reference import document, pages
from orchestrator.cli.render import clock, duration, shorten, to_json

ROOT = Path(__file__).resolve().parents[2]


PAGES = dict(pages(group, "orchestrator"))


@pytest.mark.parametrize("name", PAGES)
def test_every_help_page_ends_with_examples_of_itself(name):
    _, _, examples = PAGES[name].partition("\n\n  Examples:\n")
    assert examples
    assert all(line.startswith(f"    {name} ") or line == f"    {name}" for line in examples.splitlines())
    assert "..." not in PAGES[name].replace("[ARGS]...", "")
    assert max(map(len, PAGES[name].splitlines())) <= 80


@pytest.mark.parametrize("arguments", [["-h"], ["status", "--help"], ["db", "check", "-h"]])
def test_help_prints_the_page_of_the_reference(arguments):
    shown = CliRunner().invoke(group, arguments, prog_name="orchestrator", terminal_width=80)
    assert shown.output == PAGES[" ".join(["orchestrator", *arguments[:-1]])] + "\n"


def test_the_reference_is_what_help_says():
    assert (ROOT / "docs/reference/cli.md").read_text() == document(), (
        "python -m orchestrator.cli.reference > docs/reference/cli.md"
    )
    for name in COMMANDS:
        assert f"## `orchestrator {name}`" in document()


def without_times(text):
    text = re.sub(r"\d+\.\d s|\d+ min \d\d s", "T", text)
    text = re.sub(r"began \d\d:\d\d:\d\d", "began NOW", text)
    return re.sub(r" +(?=(T|TIME)\b)", " ", text)


def test_a_run_says_where_it_is_and_status_what_it_did(cli):
    done = cli("run", "batch.py", "--project-job", "r", "--jobs", "2")
    assert done.code == 0
    assert done.out == f"look 0\nlook 1\nlook 2\n{cli.workspace / 'r'}\nWhat happened in it: orchestrator status r\n"
    assert done.err.splitlines() == [
        "create: done",
        "evaluate: 10 open experiments",
        "evaluate: done, 9 experiments (1 of 10 experiments failed)",
        "look@0: done",
        "look@1: done",
        "look@2: done",
        "Run r has succeeded.",
    ]
    status = cli("status")
    assert status.code == 0
    assert max(map(len, status.out.splitlines())) <= 80 + len(str(cli.workspace))
    assert without_times(status.out) == (
        "Run r (batch): succeeded\n"
        "  began NOW, took T\n"
        f"  study {cli.workspace}/batch.py\n"
        "\n"
        "STEP      STATE      ITERATIONS  FINISHED  FAILED TIME\n"
        "create    succeeded T\n"
        "evaluate  succeeded                     9       1 T\n"
        "  look    succeeded      3 of 3 T\n"
        "\n"
        "Failures:\n"
        "  evaluate: 1 experiment failed (3)\n"
        "    ValueError: three is not welcome\n"
        "  Tracebacks: orchestrator logs r evaluate\n"
    )


def test_logs_print_what_was_printed_and_why_it_failed(cli):
    cli("run", "batch.py", "--project-job", "r", "--jobs", "1")
    assert cli("logs", "look@1").out == "look 1\n"
    assert cli("logs", "r", "look").out == "look 2\n"
    evaluated = cli("logs", "evaluate").out
    assert evaluated.startswith("==> task 3 <==\nthree comes\n==> 1 experiment failed: 3 <==\nTraceback")
    assert evaluated.endswith("ValueError: three is not welcome\n")
    assert cli("logs", "evaluate", "--task", "3").out == "three comes\n"
    assert cli("logs", "evaluate", "--task", "0").out == ""
    assert cli("logs", "look", "-f").out == "look 2\n"
    paths = json.loads(cli("logs", "evaluate", "--json").out)["logs"]
    assert [Path(log["path"]).name.split(".")[-2] for log in paths] == ["0", "1", "2", "3"]
    assert [log["task"] for log in paths] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["logs", "r", "nothing@7"], "Run r has no step 'nothing@7'. Next: Its steps are: nothing"),
        (["logs", "r", "sleep"], "Run r has no step 'sleep'."),
        (["logs", "r", "nothing", "--task", "3"], "Step nothing has no task 3; it has one task: 0."),
        (["status", "x"], "There is no run x in this workspace. Its latest are: r."),
        (["resume", "r", "--from-step", "sleep"], "Run r has no step 'sleep'."),
        (["logs", "a", "b", "c"], "Give a run and a step, or only a step."),
        (["status", "--rootdir", ".", "--db", "x"], "--rootdir and --db both name the workspace"),
        (["stat"], "No such command 'stat'"),
        (["run"], "Missing argument 'STUDY.py[:ATTR]'"),
        (["run", "study.py:nothing"], "nothing in study.py is no Pipeline but function. Next: Name one of its"),
        (["run", "study.py:nowhere"], "study.py holds no pipeline named 'nowhere'; its pipelines: pipeline."),
        (["run", "none.py"], "There is no study file none.py."),
        (["run", "study.py", "--from-step", "x"], "no step is named 'x'"),
        (["run", "study.py", "--project-job", "../x"], "can't be the name of a run's folder"),
    ],
)
def test_usage_errors_exit_with_2(cli, arguments, said):
    cli("run", "study.py", "--project-job", "r")
    done = cli(*arguments)
    assert said in " ".join(done.err.split())
    assert done.code == 2
    assert "Traceback" not in done.err


def test_json_has_times_in_utc_and_seconds(cli):
    cli("run", "batch.py", "--project-job", "r")
    status = json.loads(cli("status", "--json").out)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", status["run"]["ended_at"])
    assert [step["name"] for step in status["steps"]] == ["create", "evaluate", "look"]
    assert isinstance(status["steps"][0]["seconds"], float)
    assert status["failures"][0]["rows"] == [3]
    assert "three is not welcome" in status["failures"][0]["traceback"]
    assert status["step_runs"][1]["jobs"][0]["state"] == "succeeded"
    [listed] = json.loads(cli("list", "--json").out)
    assert (listed["key"], listed["n_finished"], listed["n_failed"]) == ("r", 9, 1)
    assert json.loads(cli("db", "info", "--json").out)["runs"] == 1
    assert json.loads(cli("db", "check", "--json").out)["problems"] == []


def test_a_run_whose_process_died_is_stalled(cli):
    cli("run", "study.py", "--project-job", "r")
    with sqlite3.connect(cli.workspace / "orchestrator.db") as connection:
        connection.execute("UPDATE run SET state = 'active', ended_at = NULL")
    connection.close()
    status = cli("status").out
    assert status.startswith("Run r (quiet): stalled\n  no process advances it\n")
    assert status.endswith("\n\nTo go on: orchestrator resume r\n")
    assert cli("list").out.splitlines()[1].split()[:2] == ["r", "stalled"]


def test_resume_after_a_failure(cli):
    assert cli("run", "fails.py", "--project-job", "r").code == 1
    status = cli("status").out
    assert "  fails: failed, exception\n    ValueError: no licence\n" in status
    assert "\n\nTo go on from fails, once what failed is mended: orchestrator resume r\n" in status
    assert f"orchestrator resume r --update {cli.workspace}/fails.py\n" in status
    assert 'raise ValueError("no licence")' in cli("logs", "fails").out
    mended = (cli.workspace / "fails.py").read_text().replace('raise ValueError("no licence")', "print('mended')")
    (cli.workspace / "fails.py").write_text(mended)
    old = cli("resume")
    assert old.code == 1
    assert "has changed since this run was submitted; the run keeps its old code." in old.err
    assert f"To take the new code: orchestrator resume r --update {cli.workspace}/fails.py" in old.err
    assert cli("resume", "--update", "fails.py").code == 0
    assert cli("logs", "fails").out.endswith("mended\n")


def test_advance_and_cancel_of_an_ended_run_say_so(cli):
    cli("run", "study.py", "--project-job", "r")
    assert cli("advance").out == "Nothing to do: run r has succeeded.\n"
    assert cli("cancel", "r").out == "Nothing to do: run r has succeeded.\n"
    assert cli("resume").err == "Nothing to do: run r has succeeded.\n"


def test_the_workspace_is_found(cli, monkeypatch):
    cli("run", "study.py", "--project-job", "r")
    (cli.workspace / "deep/er").mkdir(parents=True)
    monkeypatch.chdir(cli.workspace / "deep/er")
    assert cli("list").out.splitlines()[1].startswith("r ")
    monkeypatch.chdir("/")
    assert cli("list").code == 2
    assert cli("list", "--rootdir", str(cli.workspace)).code == 0
    assert cli("list", "--db", str(cli.workspace / "orchestrator.db")).code == 0
    assert cli("list", ORCHESTRATOR_DB=str(cli.workspace / "orchestrator.db")).code == 0


def test_commands_that_are_printed_can_be_typed_as_they_are(cli, monkeypatch):
    study, there = str(cli.workspace / "fails.py"), str(cli.workspace / "my runs")
    monkeypatch.chdir("/")
    done = cli("run", study, "--project-job", "r", "--rootdir", there)
    assert f"Next: See the traceback: orchestrator logs r fails --rootdir '{there}'" in " ".join(done.err.split())
    named = re.findall(r"orchestrator ((?:logs|resume) .*)", cli("status", "--rootdir", there).out)
    assert [shlex.split(command)[0] for command in named] == ["logs", "resume", "resume"]
    assert "no licence" in cli(*shlex.split(named[0])).out
    assert "no licence" in cli(*shlex.split(named[1])).err


@pytest.fixture
def read_only(cli):
    """Give the command line to somebody who may not write to the workspace; to root, too, whom no mode stops."""
    cli("run", "study.py", "--project-job", "r")
    cli.workspace.chmod(0o555)
    cli.before = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()
    yield cli
    cli.workspace.chmod(0o755)


def one_line(text):
    return " ".join(text.split())


def everything_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_whoever_may_only_read_can_read_all(read_only):
    before = everything_in(read_only.workspace)
    for command in ("status", "list", "logs nothing", "db info", "db check"):
        done = read_only(*command.split())
        assert (done.code, done.err) == (0, ""), command
        assert "writable  yes" not in done.out
    assert everything_in(read_only.workspace) == before


def test_whoever_may_only_read_changes_nothing_and_is_told(read_only):
    before = everything_in(read_only.workspace)
    for command in ("run study.py", "resume --from-step nothing", "cancel", "advance"):
        done = read_only(*command.split())
        assert done.code == 1, command
        assert f"You may not write to {read_only.workspace}/orchestrator.db," in one_line(done.err), command
    assert everything_in(read_only.workspace) == before


def test_a_database_that_may_not_even_be_read(cli):
    cli("run", "study.py", "--project-job", "r")
    database = cli.workspace / "orchestrator.db"
    database.chmod(0o000)
    cli.before = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    done = cli("status")
    assert done.code == 1
    assert f"Error: You may not read {database}." in one_line(done.err)


def test_a_database_that_can_not_be_had_leaves_no_run_behind(cli):
    (cli.workspace / "foreign.db").write_text("foreign\n" * 100)
    before = everything_in(cli.workspace)
    assert cli("run", "study.py", "--db", "foreign.db").code == 1
    assert everything_in(cli.workspace).keys() - before.keys() <= {cli.workspace / "foreign.db.guard"}
    assert not [path for path in cli.workspace.iterdir() if path.name.isdecimal()]


def test_a_key_that_is_a_file_and_a_workspace_that_is_none(cli):
    done = cli("run", "study.py", "--project-job", "other.py")
    assert done.code == 2
    assert (
        f"Error: project_job='other.py' can't be the name of a run's folder: {cli.workspace} holds a file"
        in one_line(done.err)
    )
    done = cli("run", "study.py", "--rootdir", "other.py/inside")
    assert done.code == 1
    assert f"Error: {cli.workspace}/other.py/inside: Not a directory." in one_line(done.err)


def test_colours_are_for_terminals_that_want_them(monkeypatch):
    from orchestrator.cli import render

    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert render.paint("failed") == "\x1b[31mfailed\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert render.paint("failed") == "failed"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.04, "0.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7620, "2 h 07 min"),
        (273600, "3 d 04 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_small_renderings():
    assert shorten("a\nb  c", 10) == "a b c"
    assert shorten("abcdefghij", 8) == "abcde..."
    assert clock(None, 0.0) == ""
    assert json.loads(to_json({"a": [{"b_at": 0.5}], "c_at": None})) == {
        "a": [{"b_at": "1970-01-01T00:00:00.500Z"}],
        "c_at": None,
    }
