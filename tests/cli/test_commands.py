"""The output of each command."""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
from pathlib import Path

import click
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
        "python -m orchestrator.cli.reference --write docs/reference/cli.md"
    )
    for name in COMMANDS:
        assert f"## `orchestrator {name}`" in document()


def test_the_list_of_commands_says_what_their_help_says():
    context = click.Context(group)
    for name, what in COMMANDS.items():
        assert group.get_command(context, name).get_short_help_str(100) == what


def test_a_run_prints_its_folder_and_status_its_steps(cli, golden):
    done = cli("run", "batch.py", "--project-job", "r", "--jobs", "2")
    golden(done)
    status = cli("status")
    assert max(map(len, status.out.splitlines())) <= 80 + len(str(cli.workspace))
    golden(status)


def test_logs_print_what_was_printed_and_why_it_failed(cli, golden):
    cli("run", "batch.py", "--project-job", "r", "--jobs", "1")
    assert cli("logs", "look@1").out == "look 1\n"
    assert cli("logs", "r", "look").out == "look 2\n"
    golden(cli("logs", "evaluate"))
    assert cli("logs", "evaluate", "--task", "3").out == "three comes\n"
    assert cli("logs", "evaluate", "--task", "0").out == ""
    assert cli("logs", "look", "-f").out == "look 2\n"
    paths = json.loads(cli("logs", "evaluate", "--json").out)["logs"]
    assert [Path(log["path"]).name.split(".")[-2] for log in paths] == ["0", "1", "2", "3"]
    assert [log["task"] for log in paths] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "typed",
    [
        "logs r nothing@7",
        "logs r sleep",
        "logs r nothing --task 3",
        "status x",
        "wait --timeout 1h",
        "resume r --from-step sleep",
        "logs a b c",
        "status --rootdir . --db x",
        "stat",
        "run",
        "run study.py:nothing",
        "run study.py:nowhere",
        "run none.py",
        "run study.py --from-step x",
        "run study.py --project-job ../x",
    ],
)
def test_usage_errors_exit_with_2(cli, typed, golden):
    cli("run", "study.py", "--project-job", "r")
    done = cli(*typed.split())
    golden(done)
    assert done.code == 2


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


def test_a_run_whose_process_died_is_stalled(cli, golden):
    cli("run", "study.py", "--project-job", "r")
    with sqlite3.connect(cli.workspace / "orchestrator.db") as connection:
        connection.execute("UPDATE run SET state = 'active', ended_at = NULL")
    connection.close()
    golden(cli("status"))
    assert cli("list").out.splitlines()[1].split()[:2] == ["r", "stalled"]


def test_resume_after_a_failure(cli, golden):
    assert cli("run", "fails.py", "--project-job", "r").code == 1
    golden(cli("status"))
    assert 'raise ValueError("no licence")' in cli("logs", "fails").out
    fixed = (cli.workspace / "fails.py").read_text().replace('raise ValueError("no licence")', "print('fixed')")
    (cli.workspace / "fails.py").write_text(fixed)
    old = cli("resume")
    golden(old)
    assert cli("resume", "--update", "fails.py").code == 0
    assert cli("logs", "fails").out.endswith("fixed\n")


def test_advance_and_cancel_of_an_ended_run_have_nothing_to_do(cli, golden):
    cli("run", "study.py", "--project-job", "r")
    golden(cli("advance"))
    golden(cli("cancel", "r"))
    golden(cli("resume"))


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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["~", "$HOME", "${HOME}"])
def test_a_home_folder_that_the_shell_does_not_expand_is_expanded(cli, name):
    home = str(cli.workspace)
    done = cli("run", "study.py", "--project-job", "r", f"--rootdir={name}/studies", HOME=home)
    assert done.code == 0, done.err
    assert (
        cli("list", ORCHESTRATOR_DB=f"{name}/studies/orchestrator.db", HOME=home).out.splitlines()[1].startswith("r ")
    )
    assert cli("status", "r", f"--db={name}/studies/orchestrator.db", HOME=home).code == 0
    assert f"{home}/studies/" in cli("scripts", "slurm.py", f"--rootdir={name}/studies", HOME=home).out
    assert sorted(path.name for path in cli.workspace.iterdir() if path.name[0] in "~$") == []


def test_a_variable_of_a_workspace_that_is_not_set_is_named(cli):
    done = cli("list", "--rootdir", "$NO_SUCH/studies")
    assert (done.code, one_line(done.err)) == (
        2,
        "Error: --rootdir='$NO_SUCH/studies' contains $NO_SUCH, which is not set. Next: Set it: export NO_SUCH=...",
    )


def test_commands_that_are_printed_can_be_typed_as_they_are(cli, monkeypatch, golden):
    study, there = str(cli.workspace / "fails.py"), str(cli.workspace / "my runs")
    monkeypatch.chdir("/")
    done = cli("run", study, "--project-job", "r", "--rootdir", there)
    golden(done)
    named = re.findall(r"orchestrator ((?:failures|resume) .*)", cli("status", "--rootdir", there).out)
    assert [shlex.split(command)[0] for command in named] == ["failures", "resume", "resume"]
    assert "no licence" in cli(*shlex.split(named[0])).out
    assert "no licence" in cli(*shlex.split(named[1])).err


@pytest.fixture
def read_only(cli):
    """Return the command line of a user who may not write to the workspace; file modes do not restrict root."""
    cli("run", "study.py", "--project-job", "r")
    cli.workspace.chmod(0o555)
    cli.before = ("setpriv", "--bounding-set=-dac_override") if os.geteuid() == 0 else ()
    yield cli
    cli.workspace.chmod(0o755)


def one_line(text):
    return " ".join(text.split())


def everything_in(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_a_user_with_read_permission_can_read_everything(read_only, golden):
    before = everything_in(read_only.workspace)
    for command in ("status", "list", "logs nothing", "db check"):
        golden(read_only(*command.split()))
    assert json.loads(read_only("db", "info", "--json").out)["writable"] is False
    assert everything_in(read_only.workspace) == before


def test_a_user_with_read_permission_can_change_nothing(read_only, golden):
    before = everything_in(read_only.workspace)
    for command in ("run study.py", "resume --from-step nothing", "cancel", "advance"):
        done = read_only(*command.split())
        golden(done)
    assert everything_in(read_only.workspace) == before


def test_a_database_without_read_permission(cli, golden):
    cli("run", "study.py", "--project-job", "r")
    database = cli.workspace / "orchestrator.db"
    database.chmod(0o000)
    cli.before = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()
    done = cli("status")
    golden(done)


def test_a_database_that_can_not_be_used_leaves_no_run_behind(cli):
    (cli.workspace / "foreign.db").write_text("foreign\n" * 100)
    before = everything_in(cli.workspace)
    assert cli("run", "study.py", "--db", "foreign.db").code == 1
    assert everything_in(cli.workspace).keys() - before.keys() <= {cli.workspace / "foreign.db.guard"}
    assert not [path for path in cli.workspace.iterdir() if path.name.isdecimal()]


def test_a_key_that_is_a_file_and_a_workspace_inside_a_file(cli, golden):
    done = cli("run", "study.py", "--project-job", "other.py")
    golden(done)
    done = cli("run", "study.py", "--rootdir", "other.py/inside")
    golden(done)
    refused = cli("run", "study.py", "--rootdir", "/proc/inside").err
    announced = "New run: nothing.\nIts folder is a new one in /proc/inside\n"
    assert refused.startswith(f"{announced}Error: The folder /proc/inside can't be")


def test_colours_are_only_for_terminals_that_support_them(monkeypatch):
    from orchestrator.cli import render

    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert render.coloured("failed") == "\x1b[31mfailed\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert render.coloured("failed") == "failed"


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


STUDY_WITH_A_TABLE = """
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers
@datagenerator(output_names="y")
def evaluate(x):
    return len(str(x))
pipeline = Pipeline("lengths", [Step(store_numbers(3), name="create"), Step(evaluate, parallel=True)])
"""


def test_a_damaged_table_is_refused_with_the_cell_and_taken_as_edited(here):
    (here.workspace / "study.py").write_text(STUDY_WITH_A_TABLE)
    assert here("run", "study.py", "--project-job", "r").code == 0
    folder = here.workspace / "r" / "experiment_data"
    for name, old, new in (("input", "\n1,1.0", "\n1,nothing"), ("jobs", "FINISHED", "OPEN")):
        file = folder / f"{name}.csv"
        file.write_text(file.read_text().replace(old, new))
    refused = here("resume", "r", "--from-step", "evaluate")
    assert refused.code == 1
    assert "'nothing' in the row 1 is not of the type of its column" in " ".join(refused.err.split())
    taken = here("resume", "r", "--as-edited")
    assert taken.code == 0, taken.err
    assert (folder / "output.csv").read_text().splitlines()[1:] == ["0,3", "1,7", "2,3"]
