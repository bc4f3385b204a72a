"""Mistakes of a new user: each message names a command that works."""

from __future__ import annotations

import errno
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow

STUDY = """
from orchestrator import CollectArrayResults, Domain, ExperimentData, Pipeline, Step, datagenerator

def create(project_dir):
    domain = Domain()
    domain.add_float("x")
    domain.add_output("y")
    ExperimentData(domain=domain, input_data=[{"x": float(x)} for x in range(6)]).store(project_dir)

@datagenerator(output_names="y")
def evaluate(x):
    return x * 2

pipeline = Pipeline("mistakes", [
    Step(create),
    Step(evaluate, name="evaluate", parallel=True),
    Step(CollectArrayResults(), name="collect"),
])
"""


def write(text: str = STUDY) -> None:
    Path("study.py").write_text(text.lstrip())


def run(cli, text: str):
    write(text)
    return cli("run", "study.py", "--project-job", "r")


def commands_in(text: str) -> list[str]:
    """Return the commands that a message offers."""
    found = [line.rpartition("orchestrator ")[2] for line in text.splitlines() if "orchestrator " in line]
    return [command for command in found if command.split()[0] in {"resume", "logs", "failures", "fork", "run"}]


def test_a_failed_run_says_the_exception_and_which_command_takes_a_fix_of_the_study(cli):
    failed = run(cli, STUDY.replace("return x * 2", "raise ValueError('the mesh is too coarse')"))
    assert failed.code == 1
    assert "ValueError: the mesh is too coarse" in failed.err
    assert "failures r" in commands_in(failed.err)
    assert any(command.startswith("resume r --update ") for command in commands_in(failed.err))
    write()
    assert cli("resume", "r", "--update", "study.py").code == 0


def test_most_of_several_exceptions_is_shown(cli):
    text = STUDY.replace("return x * 2", "raise [ValueError('a few'), KeyError('most')][x > 1]")
    failed = run(cli, text.replace("parallel=True", "max_failed=5"))
    assert "4 of them: KeyError: 'most'" in failed.err


def test_after_a_forgotten_store_a_command_repeats_the_step_that_has_to_store(cli):
    failed = run(cli, STUDY.replace(".store(project_dir)", ""))
    assert "no step has stored one" in failed.err
    offered = [command for command in commands_in(failed.err) if "--from-step create --update" in command]
    shown = cli("status", "r").out
    assert offered[0] in shown
    write()
    assert cli(*offered[0].split()).code == 0


CALLS = """
from orchestrator import CommandGenerator
evaluate = CommandGenerator(["sh", "-c", "echo no convergence; exit {{ code }}"], lambda folder: {"y": 1})
"""


def test_experiments_whose_program_ended_in_the_same_way_have_one_cause_and_no_lines_of_this_package(cli):
    text = STUDY.replace('domain.add_float("x")', 'domain.add_int("code", low=0, high=2)').replace(
        '{"x": float(x)}', '{"code": x % 3}'
    )
    run(cli, text.replace("\npipeline", f"{CALLS}\npipeline"))
    shown = cli("failures", "r").out
    assert "4 of 6 experiments failed, 2 causes" in shown
    assert "sh ended with exit code 1" in shown
    assert "sh ended with exit code 2" in shown
    assert ".py" not in shown.partition("To evaluate the failed experiments again")[0]
    assert commands_in(shown)[0] == "logs r evaluate --experiment 1"
    log = cli(*commands_in(shown)[0].split())
    assert "experiment 1 failed: CommandFailed: sh ended with exit code 1" in log.err
    assert "no convergence" in log.err


@pytest.mark.parametrize("words", [(), ("r",)])
def test_logs_without_a_step_lists_the_steps(here, words):
    run(here, STUDY)
    listed = here("logs", *words)
    assert "The steps of run r: create, evaluate, collect" in listed.err
    assert here(*commands_in(listed.err)[0].split()).code == 0


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (".", ". is a folder"),
        ("notes.txt", "notes.txt is not a Python file"),
        ("README.md", "There is no study README.md"),
        ("broken.py", "SyntaxError: '(' was never closed (line 1)."),
    ],
)
def test_what_is_no_study_is_named(here, name, why):
    Path("notes.txt").write_text("hello\n")
    Path("broken.py").write_text("x = (\n")
    refused = here("run", name)
    assert refused.code == 2
    assert why in " ".join(refused.err.split())


def test_a_study_in_a_package_is_checked_as_a_module(here):
    package = Path("beams/fibre")
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "study.py").write_text("from . import missing\n")
    refused = " ".join(here("run", "beams/fibre/study.py").err.split())
    assert f"check in the folder {Path('beams').absolute()} with: python -m fibre.study" in refused
    (package / "study.py").rename(package / "other.py")
    Path("beams/fibre").rename("fibre")
    assert "check with: python -m fibre.other" in " ".join(here("run", "fibre/other.py").err.split())


def test_a_misspelt_command_is_corrected_and_a_folder_without_a_workspace_says_how_to_get_one(here):
    assert "Did you mean run?" in here("rum", "study.py").err
    assert "orchestrator run STUDY.py" in here("status").err


def test_an_archive_gets_the_name_of_the_run_and_a_table_the_folder_that_is_named(here):
    run(here, STUDY)
    assert here("archive", "r").code == 0
    assert Path("r.tar.gz").is_file()
    assert here("table", "--csv", "new/table.csv").code == 0
    assert Path("new/table.csv").read_text().startswith("experiment,status,x,y")


def test_a_run_that_has_succeeded_is_forked_with_a_longer_loop_by_one_command(here):
    more = """
from orchestrator import Block, Loop
class Grow(Block):
    def call(self, data, iteration):
        return data + ExperimentData(domain=data.domain, input_data=[{"x": 10.0 + iteration}])
def report(project_dir):
    pass
loop = Loop(LENGTH, [Step(Grow(), name="grow"), Step(evaluate, name="again", parallel=True)])
pipeline = Pipeline("longer", [Step(create), Step(evaluate, name="evaluate", parallel=True), loop, Step(report)])
"""
    text = STUDY + more
    assert run(here, text.replace("LENGTH", "2")).code == 0
    refused = here("fork", "r")
    assert here(*commands_in(refused.err)[0].split()).code == 0
    write(text.replace("LENGTH", "4"))
    announced = here("fork", "r", "--project-job", "longer", "--update", "study.py", "--dry-run").out
    assert "New run longer: continues run r with grow@2.\nIts table is that of run r when report began.\n" in announced
    assert here("fork", "r", "--project-job", "longer", "--update", "study.py").code == 0
    assert list(pd.read_csv("longer/experiment_data/output.csv").y[-2:]) == [24.0, 26.0]
    assert len(pd.read_csv("r/experiment_data/output.csv")) == 8
    assert here("fork", "r", "--from", "grow@2", "--update", "study.py", "--dry-run").code == 0
    assert here("fork", "r", "--from", "grow@3", "--update", "study.py", "--dry-run").code == 2


@pytest.mark.parametrize(
    "words",
    [["retry", "r"], ["resume", "r", "--from-step", "evaluate"], ["resume", "r", "--accept-failed"]],
    ids=["retry", "from a step", "accept failed"],
)
def test_a_command_that_uses_the_stored_code_names_the_one_that_uses_the_new_code(here, words):
    failing = STUDY.replace("return x * 2", "return 1 / (x > 2)")
    run(here, failing.replace("parallel=True", "parallel=True, max_failed=LIMIT").replace("LIMIT", "2"))
    write(STUDY.replace("parallel=True", "parallel=True, max_failed=2"))
    said = here(*words).err
    assert f"To use the new code: orchestrator {' '.join(words)} --update {here.workspace}/study.py\n" in said


def test_before_an_experiment_has_finished_there_is_no_best_one(here):
    run(here, STUDY.replace("return x * 2", "raise ValueError('no licence')"))
    said = here("best", "r").err
    assert "No experiment of run r has finished." in said


def test_a_fork_of_a_run_whose_study_has_changed_says_that_once(here):
    run(here, STUDY)
    write(STUDY.replace("* 2", "* 3"))
    said = here("fork", "r", "--from", "evaluate").err
    assert said.count("has changed since") == 1


def test_an_edited_study_under_the_key_of_a_run_that_has_succeeded_is_said_with_what_to_type(here):
    run(here, STUDY)
    edited = STUDY.replace("* 2", "* 3")
    said = run(here, edited)
    assert said.code == 0
    assert "Attention: run r has succeeded with code that differs from" in said.err
    assert "Attention" in here("resume", "r").err
    assert "Attention" in here("resume", "r", "--update", "study.py", "--dry-run").out
    assert here(*commands_in(said.err)[0].split()).code == 0
    assert list(pd.read_csv("r/experiment_data/output.csv").y) == [0.0, 3.0, 6.0, 9.0, 12.0, 15.0]
    assert "Attention" not in run(here, edited).err


OTHER = """
from orchestrator import Pipeline, Step
pipeline = Pipeline("other", [Step(lambda project_dir: None, name="nothing")])
"""


@pytest.mark.parametrize(
    "words",
    [
        ["run", "other.py", "--project-job", "r"],
        ["resume", "r", "--update", "other.py"],
        ["fork", "r", "--update", "other.py"],
    ],
)
def test_another_study_can_only_be_a_new_run_as_the_error_says(here, words):
    run(here, STUDY)
    (here.workspace / "other.py").write_text(OTHER)
    said = here(*words)
    assert said.code == 1
    assert "it has no create at the" in said.err
    [command] = commands_in(said.err)
    assert command.startswith("run ")
    assert here(*command.split()).code == 0


def test_a_resume_from_a_step_that_evaluates_says_that_results_are_kept_and_how_they_are_not(here):
    run(here, STUDY)
    announced = here("resume", "r", "--from-step", "evaluate", "--dry-run").out
    said = "Experiments that have a result now are not evaluated again; with resume --table-as-then they are."
    assert said in " ".join(announced.split())
    put_back = here("resume", "r", "--from-step", "evaluate", "--table-as-then")
    assert "not evaluated again" not in put_back.err
    assert "6 open experiments" in put_back.err
    assert "Nothing to do: run r has succeeded.\n" in here("resume", "r", "--dry-run").out


def test_a_run_whose_folder_was_deleted_says_so_and_can_be_removed(here):
    run(here, STUDY)
    shutil.rmtree("r")
    for words in (["resume", "r"], ["fork", "r", "--from", "evaluate"], ["table", "r"], ["best", "r"]):
        refused = here(*words)
        assert refused.code == 1
        assert "The folder of run r is missing" in refused.err
        assert "orchestrator clean r" in refused.err
    assert here("clean", "r").code == 0


def test_a_run_that_has_not_ended_and_whose_folder_was_deleted_is_first_cancelled(here):
    run(here, STUDY)
    with closing(sqlite3.connect("orchestrator.db")) as connection:
        connection.execute("UPDATE run SET state = 'active', ended_at = NULL")
        connection.commit()
    shutil.rmtree("r")
    said = here("resume", "r").err
    offered = [line.rpartition("orchestrator ")[2].split() for line in said.splitlines() if "orchestrator " in line]
    assert offered == [["cancel", "r"], ["clean", "r"]]
    assert [here(*words).code for words in offered] == [0, 0]


def test_a_hint_names_the_run_that_the_command_is_about(here):
    run(here, STUDY)
    table = Path("r/experiment_data/input.csv")
    table.write_text(table.read_text().replace("2.0", "two"))
    assert "orchestrator resume r --as-edited" in here("table").err


def test_a_database_with_other_tables_is_said_to_be_of_another_version(here):
    run(here, STUDY)
    with closing(sqlite3.connect("orchestrator.db")) as connection:
        connection.execute("ALTER TABLE run DROP COLUMN held_at")
        connection.execute("ALTER TABLE run DROP COLUMN max_tables")
        connection.commit()
    for words in (["status"], ["list"], ["resume", "r"], ["run", "study.py"]):
        refused = here(*words)
        assert "was made by another version of orchestrator, or is damaged" in " ".join(refused.err.split())
        assert refused.err.endswith("orchestrator run STUDY.py --rootdir FOLDER\n")
    assert here("run", "study.py", "--rootdir", "another").code == 0


def test_a_status_uses_the_width_of_the_terminal(here, monkeypatch):
    run(here, STUDY.replace("return x * 2", f"raise ValueError('{'much to say ' * 12}')"))
    monkeypatch.setenv("COLUMNS", "120")
    widths = [len(line) for line in here("status").out.splitlines() if str(here.workspace) not in line]
    assert 100 < max(widths) <= 120


def test_a_fork_that_finds_no_space_says_so_in_one_sentence(here, monkeypatch):
    run(here, STUDY)

    def full(source, target, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr("shutil.copyfile", full)
    refused = here("fork", "r", "--from", "evaluate")
    assert refused.code == 1
    assert "Run r can't be forked: " in " ".join(refused.err.split())
    assert refused.err.count("No space left on device") == 1
    assert "[(" not in refused.err


def test_a_step_that_began_without_a_table_is_repeated_by_the_command_that_is_offered(here):
    run(here, STUDY)
    refused = here("resume", "r", "--from-step", "create", "--table-as-then")
    assert refused.code == 2
    for command in commands_in(refused.err):
        assert here(*command.split()).code == 0


def test_a_run_whose_table_was_deleted_is_refused_at_once_with_the_command_that_puts_it_back(here):
    broken = STUDY.replace("return x * 2", "raise ValueError('the mesh is too coarse')")
    run(here, broken)
    table = Path("r/experiment_data")
    shutil.rmtree(table)
    log = sorted(Path("r").rglob("*.log"))
    for more in ((), ("--dry-run",), ("--accept-failed",)):
        refused = here("resume", "r", *more)
        assert refused.code == 1
        words = " ".join(refused.err.split())
        assert "The table of run r is missing: " in words
        assert "It was deleted after evaluate had begun." in words
    assert sorted(Path("r").rglob("*.log")) == log
    [command] = commands_in(refused.err)
    assert command == "resume r --from-step evaluate --table-as-then"
    write()
    assert here(*command.split(), "--update", "study.py").code == 0
    assert here("best", "r").out.startswith("Run r (mistakes): smallest y of 6 finished experiments")


def test_without_a_kept_table_a_deleted_one_is_made_again_and_no_experiment_is_evaluated_before(here):
    run(here, STUDY.replace("return x * 2", "raise ValueError('the mesh is too coarse')"))
    assert here("snapshots", "r", "--keep", "0", "--yes").code == 0
    shutil.rmtree("r/experiment_data")
    write()
    log = sorted(Path("r").rglob("*.log"))
    for words in (["resume", "r"], ["resume", "r", "--dry-run"], ["run", "study.py", "--project-job", "r"]):
        refused = here(*words)
        assert refused.code == 1
        assert "no earlier one is kept" in " ".join(refused.err.split())
    assert sorted(Path("r").rglob("*.log")) == log
    [command] = commands_in(refused.err)
    assert here(*command.split(), "--update", "study.py").code == 0


TABLE_LOST = """
    import os, shutil
    from pathlib import Path
    with Path("tries").open("a") as file:
        file.write("x")
    shutil.rmtree("r/experiment_data")
    os.kill(os.getppid(), 9)
"""


def test_a_step_whose_table_is_deleted_while_it_runs_is_not_retried_without_it(here):
    text = STUDY.replace("    return x * 2\n", TABLE_LOST.lstrip("\n")).replace("range(6)", "range(1)")
    failed = run(here, text.replace("parallel=True", "parallel=True, retries=2"))
    assert "there is no table in" in " ".join(failed.err.split())
    assert Path("tries").read_text() == "x"


def test_results_without_their_table_are_said_in_a_sentence(here):
    run(here, STUDY)
    table = Path("r/experiment_data")
    shutil.rmtree(table)
    (table / ".results" / "token").mkdir(parents=True)
    (table / ".results" / "token" / "0.jsonl").write_bytes(b"")
    refused = here("resume", "r", "--from-step", "create", "--yes")
    words = " ".join(refused.err.split())
    assert "has results of experiments, but no table: it was deleted" in words + here("failures", "r").out
    assert "FileNotFoundError" not in refused.err


def test_an_output_that_was_added_to_the_domain_is_taken_by_the_command_that_is_offered(here):
    refused = run(here, STUDY.replace('output_names="y"', 'output_names="z"'))
    assert "A run has stored its domain" in " ".join(refused.err.split())
    write(STUDY.replace('output_names="y"', 'output_names="z"').replace('add_output("y")', 'add_output("z")'))
    commands = [command for command in commands_in(refused.err) if "--update" in command]
    assert [command.split(" /")[0] for command in commands] == ["resume r --from-step create --update"]
    assert "resume r --from-step create --update" in here("status", "r").out
    assert here(*commands[0].split(), "--yes").code == 0


def test_experiments_without_a_value_are_counted_by_best(here):
    run(here, STUDY.replace("return x * 2", "return x * 2 if x < 4 else float('nan')"))
    assert here("best").out.startswith("Run r (mistakes): smallest y of 6 finished experiments; 2 have no value of y\n")


def test_a_word_that_is_almost_right_is_suggested(here, programs):
    here("run", "batch.py", "--project-job", "beam")
    programs.accepts()
    here("submit", "slurm.py", "--project-job", "cluster")
    for meant, words in {
        "beam": ("clean", "beem"),
        "status": ("table", "beam", "--where", "stauts == 'ERROR'"),
        "seconds": ("table", "beam", "--columns", "second"),
        "y": ("best", "beam", "--output", "yy"),
        "orchestrator": ("set", "cluster", "orchestrater", "--mem", "8G"),
    }.items():
        assert f"Did you mean {meant}?" in here(*words).err, words


def test_a_new_run_says_where_it_begins(cli):
    write()
    said = cli("run", "study.py", "--project-job", "r", "--from-step", "evaluate", "--dry-run")
    assert said.out.startswith("New run r: create, evaluate, collect.\nBegins with evaluate.\n")
    assert f"\nIts folder: {cli.workspace / 'r'}\n" in said.out
