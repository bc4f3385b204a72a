"""The output of `diff`: what is different between two runs."""

from __future__ import annotations

import json

import pytest
from cli_records import documented

pytestmark = pytest.mark.slow

STUDY = """
import math
from helpers import offset
from orchestrator import Block, DataGenerator, Loop, Pipeline, SlurmResources, Step
from tests.studies import numbers, store_numbers


class Solver(DataGenerator):
    def __init__(self, tolerance):
        self.tolerance = tolerance
    def execute(self, experiment_sample, factor):
        x = experiment_sample.input_data["x"]
        experiment_sample.store("y", x * factor + offset())
        return experiment_sample


class Add(Block):
    def call(self, data):
        return data.add_experiments(numbers(1, first=len(data)))


solve = Step(Solver(1e-6), name="solve", parallel=True, kwargs={"factor": 2})
pipeline = Pipeline("beam", [Step(store_numbers(4)), solve, Loop(2, [Step(Add(), name="add")])])
"""

HELPERS = """
def offset():
    return 0.0
"""


@pytest.fixture
def run(here, workspace):
    def run(key, study=STUDY, helpers=HELPERS, name="study.py"):
        (workspace / name).write_text(study)
        (workspace / "helpers.py").write_text(helpers)
        done = here("run", name, "--project-job", key)
        assert done.code == 0, done.err

    return run


def test_two_runs_of_the_same_study_differ_only_in_how_they_were_started(run, here):
    run("one")
    run("two")
    found = json.loads(here("diff", "one", "two", "--json").out)
    assert [each["name"] for each in found["settings"]] == ["argv"]
    assert [found[name] for name in ("code", "tables", "outputs", "notes")] == [[], [], [], []]
    assert list(found) == documented("Run diff")


def test_a_run_and_itself(run, here):
    run("one")
    assert here("diff", "one", "one").out == "Runs one and one have the same settings, code and tables.\n"


def test_settings_arguments_code_and_outputs_are_compared(run, here, golden, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    run("one")
    study = STUDY.replace('"factor": 2}', '"factor": 3}, max_failed=3, resources=SlurmResources(mem="8G")')
    study = (
        study.replace("Solver(1e-6)", "Solver(1e-3)").replace("Loop(2,", "Loop(5,").replace("numbers(4)", "numbers(6)")
    )
    run("two", study, HELPERS.replace("0.0", "1 / 2"))
    found = json.loads(here("diff", "one", "two", "--json").out)
    settings = {each["name"]: (each["one"], each["other"]) for each in found["settings"]}
    settings.pop("argv")
    assert settings == {
        "loop (add): iterations": ("2", "5"),
        "solve: max_failed": (None, "3"),
        "solve: resources.mem": ("4G", "8G"),
        "create: arguments": ("4", "6"),
        "solve: factor": ("2", "3"),
        "solve: tolerance": ("1e-06", "0.001"),
    }
    assert [(each["file"].rpartition("/")[2], each["n_added"], each["n_removed"]) for each in found["code"]] == [
        ("study.py", 2, 2),
        ("helpers.py", 1, 1),
    ]
    [y] = found["outputs"]
    assert (y["name"], y["n_compared"], y["n_differ"], y["experiment"]) == ("y", 4, 4, 3)
    assert (y["one"], y["other"]) == ("6.0", "9.5")
    shown = here("diff", "one", "two").out
    settings_at_80 = shown.partition("\n\nCode of ")[0]
    assert max(map(len, settings_at_80.splitlines())) <= 80
    # How the tests are started varies.
    golden(settings_at_80.partition("\n  argv")[0], "settings")
    golden(shown.partition("\n\nTable")[2], "table")
    assert "  -    return 0.0\n  +    return 1 / 2\n" in shown
    monkeypatch.setenv("COLUMNS", "120")
    settings_at_120 = here("diff", "one", "two").out.partition("\n\nCode of ")[0]
    assert max(map(len, settings_at_120.splitlines())) <= 120


def test_studies_of_different_names_are_compared_with_each_other(run, here):
    run("one")
    run("two", STUDY.replace("* factor", "* (factor + 1)"), name="another.py")
    found = json.loads(here("diff", "one", "two", "--json").out)
    assert [(each["n_added"], each["n_removed"]) for each in found["code"]] == [(1, 1)]
    assert {each["name"] for each in found["settings"]} == {"study", "argv"}


def test_no_code_of_a_run_is_executed(run, here, workspace):
    run("one", STUDY + "\nfrom pathlib import Path\nPath('imported').write_text('x')\n")
    run("two", STUDY + "\nfrom pathlib import Path\nPath('imported').write_text('y')\n")
    (workspace / "imported").unlink()
    assert "Code of" in here("diff", "one", "two").out
    assert not (workspace / "imported").exists()


def test_a_run_without_a_table_and_one_whose_table_is_damaged(run, here, workspace):
    run("one")
    (workspace / "other.py").write_text(
        "from orchestrator import Pipeline, Step\ndef nothing(project_dir): ...\n"
        'pipeline = Pipeline("other", [Step(nothing)])\n'
    )
    here("run", "other.py", "--project-job", "none")
    found = json.loads(here("diff", "one", "none", "--json").out)
    assert found["tables"] == [{"name": "table", "one": "exists", "other": None}]
    assert {"name": "solve: parallel", "one": "true", "other": None} in found["settings"]
    domain = workspace / "one/experiment_data/domain.json"
    domain.write_text("{")
    [note] = json.loads(here("diff", "one", "none", "--json").out)["notes"]
    assert note.startswith("The tables were not compared: ")
    assert "\nThe tables were not compared:\n" in here("diff", "one", "none").out


def test_an_unknown_run(run, here, golden):
    run("one")
    golden(here("diff", "one", "two"))
    golden(here("diff", "one"))


WITH_TOKEN = """
import os
from orchestrator import Pipeline, Step
def fetch(project_dir, api_token, size): ...
step = Step(fetch, kwargs={"api_token": os.environ["FETCH"], "size": int(os.environ["SIZE"])})
pipeline = Pipeline("fetch", [step])
"""


def test_secrets_in_the_arguments_of_steps_are_not_shown(run, here, monkeypatch):
    for key, secret, size in (("one", "aaa111", "1"), ("two", "bbb222", "2")):
        monkeypatch.setenv("FETCH", secret)
        monkeypatch.setenv("SIZE", size)
        run(key, WITH_TOKEN)
    shown = here("diff", "one", "two").out
    assert "api_token" in shown
    assert "size" in shown
    printed = shown + here("diff", "one", "two", "--json").out + here("status", "one", "--json").out
    assert not [secret for secret in ("aaa111", "bbb222") if secret in printed]


def test_experiments_that_only_one_run_has_are_counted_in_one_line(run, here):
    run("one")
    run("two", STUDY.replace("numbers(4)", "numbers(2)").replace("numbers(1, first=len(data))", "numbers(1, first=9)"))
    found = json.loads(here("diff", "one", "two", "--json").out)
    [line] = [each for each in found["tables"] if "only" in each["name"]]
    assert (line["name"], line["one"], line["other"]) == ("experiments that only this run has", "4", "2")
