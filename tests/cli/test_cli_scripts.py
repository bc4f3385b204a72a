"""`generate_scripts` and `orchestrator scripts`: they show what is submitted, and write nothing."""

from __future__ import annotations

import re

import pytest

from orchestrator import (
    CollectArrayResults,
    Loop,
    Pipeline,
    SlurmCluster,
    SlurmResources,
    Step,
    datagenerator,
)
from orchestrator.errors import DefinitionError
from tests.studies import numbers

STUDY = """
from orchestrator import CollectArrayResults, Loop, Pipeline, SlurmCluster, SlurmResources, Step, datagenerator
def create(project_dir):
    pass
@datagenerator(output_names="y")
def evaluate(x):
    return x
steps = [Step(create), Loop(2, [Step(evaluate, name="run", parallel=True, resources=SlurmResources(mem="2G"))])]
pipeline = Pipeline("my study", steps)
looped = Pipeline("looped", [steps[1]])
collects = Pipeline("collects", [steps[0], Step(CollectArrayResults(), name="collect")])
cluster = SlurmCluster(partition="gpu", account=None, log_dir="runlogs/{project_job}/x")
"""


def create(project_dir):
    pass


@datagenerator(output_names="y")
def evaluate(x):
    return x


PIPELINE = Pipeline("my study", [Step(create), Loop(2, [Step(evaluate, name="run", parallel=True)])])
CLUSTER = SlurmCluster(partition="gpu", account=None, log_dir="runlogs/{project_job}/x")


def comment(script):
    """Return the command line in the script, without what differs between scripts of that label."""
    [line] = [line for line in script.splitlines() if line.startswith("# sbatch ")]
    return re.sub(r"\.[0-9a-f]{8}\.sh ", ".sh ", line)


def test_a_step_without_a_job_has_no_script(workspace):
    steps = [Step(create), Step(CollectArrayResults(), name="collect")]
    assert list(Pipeline("p", steps).generate_scripts(CLUSTER)) == ["create", "orchestrator"]
    steps[1].resources = SlurmResources(mem="64G")
    assert "--mem=64G" in Pipeline("p", steps).generate_scripts(CLUSTER)["collect"]


def test_the_script_of_a_step_without_a_job(here, golden):
    (here.workspace / "study.py").write_text(STUDY)
    done = here("scripts", "study.py:collects", "collect")
    assert done.code == 2
    golden(done)


def test_labels_and_placeholders(workspace, golden):
    scripts = PIPELINE.generate_scripts(CLUSTER)
    assert list(scripts) == ["create", "loop1_run", "orchestrator"]
    for label, script in scripts.items():
        golden(comment(script), label)
        assert "#SBATCH --partition=gpu\n" in script


def test_showing_scripts_writes_nothing(workspace, programs):
    for program in ("sbatch", "squeue", "scancel", "scontrol", "sacct", "sinfo"):
        programs.says(program)
    assert PIPELINE.generate_scripts(CLUSTER, "r", workspace / "not there")
    assert not programs.calls.exists()
    assert list(workspace.iterdir()) == []
    for program in programs.folder.iterdir():
        program.unlink()
    assert PIPELINE.generate_scripts(CLUSTER)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda: Pipeline("", [Step(create), Step(create)]).generate_scripts(CLUSTER), id="names"),
        pytest.param(lambda: PIPELINE.generate_scripts(SlurmCluster(wake="never")), id="wake"),
        pytest.param(lambda: PIPELINE.generate_scripts(None), id="no cluster"),
        pytest.param(lambda: PIPELINE.generate_scripts(CLUSTER, "../x"), id="key"),
        pytest.param(
            lambda: Pipeline("", [Step(create)], SlurmResources(time="soon")).generate_scripts(CLUSTER), id="time"
        ),
    ],
)
def test_scripts_that_could_not_be_submitted_are_not_shown(workspace, wrong, golden):
    with golden.raises(DefinitionError):
        wrong()


def test_the_command_shows_the_same(here, golden):
    (here.workspace / "study.py").write_text(STUDY)
    shown = here("scripts", "study.py", "--project-job", "r").out
    one = here("scripts", "study.py", "loop1_run", "--project-job", "r").out
    assert f"==> loop1_run <==\n{one}\n==> orchestrator <==\n" in shown
    assert "#SBATCH --mem=2G\n" in one
    golden(shown)


def test_what_is_shown_is_what_is_submitted(here, programs):
    """Also the array of a step in a loop: its table exists already."""
    programs.accepts()
    (here.workspace / "study.py").write_text(STUDY)
    numbers(2).store(here.workspace / "b")
    for attr, key, label, first in (("pipeline", "a", "create", 1), ("looped", "b", "loop0_run", 3)):
        done = here("submit", f"study.py:{attr}", "--project-job", key)
        assert done.code == 0, done.err
        for number, name in ((first, label), (first + 1, "orchestrator")):
            shown = here("scripts", f"study.py:{attr}", name, "--project-job", key).out
            assert programs.submitted(number) == shown, name
    # The placeholders were filled in at submission.
    [array] = [call for call in programs.called("sbatch") if "--array" in call]
    assert "--array=0-1%64 " in array
    assert f"--output={here.workspace}/runlogs/b/x/loop0_run@0." in array
    assert ".%a.log " in array


@pytest.mark.parametrize(
    ("resources", "patience"),
    [
        (SlurmResources(time="00:10:00"), 480),
        (SlurmResources(extra_sbatch={"time": "5"}), 180),
        (SlurmResources(extra_sbatch={"time": None}), 600),
        (SlurmResources(time="0"), 600),  # to SLURM: no limit
    ],
)
def test_an_orchestrator_job_ends_before_its_time_is_up(workspace, resources, patience):
    pipeline = Pipeline("p", [Step(create)], orchestrator_resources=resources)
    assert f" --patience {patience}\n" in pipeline.generate_scripts(CLUSTER)["orchestrator"]
