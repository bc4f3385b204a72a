"""Names, paths and settings are taken literally, and jobs run the code of the submission."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from orchestrator import ExperimentData
from orchestrator.definition.injection import seed_for
from tests.slurm.studies import Studies

pytestmark = pytest.mark.slurm

ODD = 'a\'; echo $(hostname) "b"'

ODD_STUDY = '''
cluster = SlurmCluster(
    grace=2,
    log_dir="my logs/of $(hostname)/{project_job}",
    env_setup=["export FROM_SETUP='it works'", "# only words", "true && cd ."],
    env_vars={"PATH": "$PWD/bin:$PATH", "ODD": """it's $(hostname) `id` "x" \\\\ $FROM_SETUP ${NO_SUCH}!"""},
    runner="fake-uv run",
)


def note(project_dir):
    (project_dir / "noted").write_text(os.environ["ODD"] + "|" + os.environ["RUN_BY"] + "|" + os.getcwd())


pipeline = Pipeline("""it's $(id) "x" \\\\ ; *""", steps=[
    Step(create, name="cre ate", project_dir="a $(id) 'table'"),
    Step(double, name="""r'un "$(touch pwned)" """.strip(), parallel=True, project_dir="a $(id) 'table'"),
    Step(note, name="no*te[1];", project_dir="a $(id) 'table'"),
])
'''


def test_shell_syntax_in_folders_names_and_settings_has_no_effect(studies):
    folder = studies.folder / ODD
    (folder / "bin").mkdir(parents=True)
    fake = folder / "bin" / "fake-uv"
    fake.write_text(f'#!/bin/bash\n[ "$1" = run ] || exit 9\nshift\nRUN_BY=fake exec {sys.executable} "$@"\n')
    fake.chmod(0o755)
    odd = Studies(folder, studies.cluster)

    key = odd.submit(ODD_STUDY)
    odd.wait(key)

    table = folder / key / "a $(id) 'table'"
    assert ExperimentData.from_file(table).to_pandas()[1]["y"].tolist() == [0, 2, 4]
    noted, run_by, cwd = (table / "noted").read_text().split("|")
    assert noted == """it's $(hostname) `id` "x" \\ it works !"""
    assert run_by == "fake"
    assert Path(cwd) == folder
    assert not list(studies.folder.rglob("pwned"))
    logs = folder / "my logs" / "of $(hostname)" / key
    assert len(list(logs.iterdir())) >= 2 + 3
    assert not (folder / "logs").exists()


def test_a_failing_env_setup_fails_the_run_with_its_message(studies, golden):
    """It fails in every job of the run, also in those that would end the run."""
    body = """
cluster = SlurmCluster(grace=2, env_setup=["no_such_module load gcc"])
pipeline = Pipeline("setup", steps=[Step(create, name="create"), Step(nothing, name="last")])
"""
    key = studies.submit(body)
    # All its jobs have died, and no process was left that would record it.
    impatient = "from orchestrator.cli import main, wait; wait.SLURM_POLL_SECONDS = 0.5; main.main()"
    waited = studies.run(sys.executable, "-c", impatient, "wait", key, "--timeout", "60", code=75)
    golden(waited, exact=False)
    assert "no_such_module load gcc" in studies.orchestrator("logs", key, "orchestrator").stdout

    # From a machine that does not use it.
    studies.orchestrator("advance", key)
    printed = studies.wait(key, code=1)
    golden.replace(socket.gethostname(), "host")
    golden.replace(f"job {studies.jobs(key, 'create')[-1]['scheduler_id']}", "job")
    golden(printed, exact=False)
    assert "no_such_module" in studies.orchestrator("logs", key, "create").stdout


SCRIPT = '''
from functools import partial

from helping import factor


class Scale(DataGenerator):
    """Its attribute is a lambda of this script."""

    def __init__(self):
        self.f = lambda x: factor() * x

    def execute(self, experiment_sample):
        experiment_sample.store("y", self.f(experiment_sample.input_data["x"]))
        return experiment_sample


def report(project_dir, text):
    Path("reported.txt").write_text(text + " " + str(factor()))


pipeline = Pipeline("script", steps=[
    Step(lambda project_dir: create(project_dir, n=4), name="create"),
    Step(Scale(), name="run", parallel=True, resources=SlurmResources(max_jobs_per_task=2)),
    Step(partial(report, text="was"), name="report"),
])

if __name__ == "__main__":
    print(pipeline.run(mode="slurm", cluster=cluster, rootdir="out put"))
'''


def test_a_script_runs_the_code_that_was_submitted(studies, golden):
    """Functions of `__main__`, lambdas, a module beside it; all are edited while the run waits in the queue."""
    beside = studies.folder / "helping.py"
    beside.write_text("def factor():\n    return 3\n")
    script = studies.write(SCRIPT)
    studies.cluster.scontrol("update", "PartitionName=batch", "State=DOWN")
    try:
        key = studies.run(sys.executable, "study.py").stdout.split()[-1]
        waits = studies.orchestrator("wait", "--timeout", "0.5", "--rootdir", "out put", code=124)
        golden(waits, exact=False)
        beside.write_text("raise ImportError('edited')\n")
        script.write_text("raise ImportError('edited')\n")
    finally:
        studies.cluster.scontrol("update", "PartitionName=batch", "State=UP")

    studies.orchestrator("wait", key, "--rootdir", "out put")
    there = Studies(studies.folder / "out put", studies.cluster)
    assert there.outputs(key) == [0, 3, 6, 9]
    # Relative to where it was submitted from.
    assert (studies.folder / "reported.txt").read_text() == "was 3"


def test_an_object_that_cannot_be_pickled_is_refused_before_anything_is_written(studies, golden):
    body = """
import threading

@datagenerator(output_names="y")
def locked(x, lock):
    with lock:
        return x


run = Step(locked, name="run", parallel=True, kwargs={"lock": threading.Lock()})
pipeline = Pipeline("locked", steps=[Step(create, name="create"), run])
"""
    studies.write(body)
    before = sorted(path.name for path in studies.folder.iterdir())
    done = studies.orchestrator("submit", "study.py", code=2)
    golden(done)
    assert sorted(path.name for path in studies.folder.iterdir() if path.name != "__pycache__") == before


NOT_UTF8 = """
TEXT = b"caf\\xe9".decode("utf-8", "surrogateescape")


@datagenerator(output_names="y")
def odd(x):
    print(TEXT)
    if x == 0:
        raise RuntimeError("the solver said: " + TEXT)
    return 7**6000 if x == 1 else TEXT


def report(project_dir, seed):
    (project_dir / "seed").write_text(str(seed))


steps = [Step(create, name="create"), Step(odd, name="odd", parallel=True), Step(report, name="report")]
pipeline = Pipeline("größe", steps=steps, seed=1)
"""


def test_text_and_folders_that_are_not_utf8_fail_no_run(studies):
    folder = studies.folder / os.fsdecode(b"caf\xe9 x")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    odd = Studies(folder, studies.cluster)
    odd.variables = {**odd.variables, "ODD": os.fsdecode(b"\xe9")}

    key = odd.submit(NOT_UTF8)
    odd.wait(key, code=3)

    assert odd.states(key) == {"create": "succeeded", "odd": "succeeded", "report": "succeeded"}
    data = odd.data(key)
    assert [status.name for status in data.statuses()] == ["ERROR", "ERROR", "FINISHED"]
    assert data.output_rows()(2) == {"y": os.fsdecode(b"caf\xe9")}
    printed = odd.orchestrator("logs", key, "odd").stdout
    assert "RuntimeError: the solver said: caf\\udce9" in printed
    assert "can't be stored in the table" in printed
    assert (folder / key / "seed").read_text() == str(seed_for(1, "report", ""))
