"""What sites do in their own way: complaints, comments, the environment of jobs, the place of Python."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.workspace import Workspace
from tests.slurm.sandboxes import wait_until
from tests.slurm.studies import Studies

pytestmark = pytest.mark.slurm


def put_first(studies: Studies, program: str, lines: str) -> None:
    """Put a program in front of SLURM's own, whose path is in `$real`."""
    folder = studies.folder / "bin"
    folder.mkdir(exist_ok=True)
    real = shutil.which(program, path=studies.cluster.environment["PATH"])
    script = folder / program
    script.write_text(f"#!/bin/bash\nreal={shlex.quote(str(real))}\n{lines}\n")
    script.chmod(0o755)
    studies.variables["PATH"] = f"{folder}:{studies.cluster.environment['PATH']}"


DEMANDS_A_COMMENT = """
for word in "$@"; do
    [ ! -f "$word" ] || comment=$(sed -n 's/^#SBATCH --comment=//p' "$word")
done
for word in "$@"; do
    case $word in --comment=*) comment=${word#--comment=} ;; esac
done
[ "$comment" = project-a ] || { echo "sbatch: error: jobs need --comment=<project>" >&2; exit 1; }
exec "$real" "$@"
"""

ODD_SITE = """
R = SlurmResources(extra_sbatch={"comment": "project-a"})
cluster = SlurmCluster(grace=2, runner="~/env/bin/python")
pipeline = Pipeline("odd", orchestrator_resources=R, steps=[
    Step(create, name="create", resources=R),
    Step(double, name="run", parallel=True, resources=R),
])
"""

NOISE = "error: Ignoring BackupController since SlurmctldHost is set."


def test_a_run_ends_on_a_site_that_complains_wants_a_comment_and_has_python_at_home(studies):
    env = studies.folder / "home" / "env" / "bin"
    env.mkdir(parents=True)
    (env / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (env / "python").chmod(0o755)
    studies.variables["HOME"] = str(studies.folder / "home")
    for program in ("squeue", "scontrol", "scancel"):
        put_first(studies, program, f'echo "{program}: {NOISE}" >&2\nexec "$real" "$@"')
    put_first(studies, "sbatch", f'echo "sbatch: {NOISE}" >&2\n{DEMANDS_A_COMMENT}')
    studies.write(ODD_SITE)

    done = studies.orchestrator("submit", "study.py", "--project-job", "r")

    assert [done.stderr.count(f"{program}: {NOISE}") for program in ("scontrol", "sbatch")] == [1, 1]
    studies.wait("r")
    assert studies.outputs("r") == [0, 2, 4]
    assert f"sbatch: {NOISE}" in studies.orchestrator("logs", "r", "orchestrator").stdout


LOOK = """
@datagenerator(output_names="y")
def look(x):
    return os.environ.get("MY_DATA", "nothing") + os.environ.get("GIVEN", "")

cluster = SlurmCluster(grace=2, env_vars={"GIVEN": " and given"})
pipeline = Pipeline("env", steps=[
    Step(create, name="create", kwargs={"n": 1}),
    Step(look, name="look", parallel=True, resources=SlurmResources(extra_sbatch=EXTRA)),
])
"""


def test_with_sbatch_export_none_jobs_have_only_what_the_cluster_and_the_resources_give_them(studies):
    studies.variables["MY_DATA"] = "mine"
    studies.submit(LOOK.replace("EXTRA", "{}"), "--project-job", "all")
    studies.variables["SBATCH_EXPORT"] = "NONE"
    studies.submit(LOOK.replace("EXTRA", "{}"), "--project-job", "none")
    studies.submit(LOOK.replace("EXTRA", "{'export': 'ALL'}"), "--project-job", "again")
    seen = {}
    for key in ("all", "none", "again"):
        studies.wait(key)
        (seen[key],) = studies.outputs(key)
    assert seen == {"all": "mine and given", "none": "nothing and given", "again": "mine and given"}
    kept = Workspace.at(Path(studies.folder)).run("none").environment
    assert json.loads(kept.read_bytes())["SBATCH_EXPORT"] == "NONE"


BROKEN = f"""
cluster = SlurmCluster(grace=2, runner={shlex.quote(sys.executable)!r}, env_setup=["source ./no-such-venv/activate"])
pipeline = Pipeline("broken", steps=[Step(create, name="create"), Step(nothing, name="last")])
"""


def test_a_probe_in_a_job_finds_what_fails_on_a_node_and_leaves_nothing(studies):
    only_in_jobs = BROKEN.replace("source ./no-such-venv/activate", '[ -z \\"$SLURM_JOB_ID\\" ]')
    studies.write(only_in_jobs)
    done = studies.orchestrator("submit", "study.py", "--probe", code=2)
    assert "env_setup fails on a node" in " ".join(done.stderr.split())
    assert not [path.name for path in studies.folder.iterdir() if path.name not in ("study.py", "__pycache__")]

    studies.submit(BROKEN.replace("source ./no-such-venv/activate", "true"), "--project-job", "r", "--probe")
    studies.wait("r")


def test_a_run_whose_jobs_die_at_once_is_stalled_shows_their_log_and_continues_with_the_corrected_study(studies):
    studies.submit(BROKEN, "--project-job", "r", "--no-probe")
    wait_until(lambda: not studies.cluster.jobs_left(), 60)
    eager = "from orchestrator.cli import main, status; status.QUIET = 0.0; main.main()"
    shown = studies.run(sys.executable, "-c", eager, "status", "r").stdout
    assert "stalled" in shown
    assert "./no-such-venv/activate: No such file or directory" in shown
    assert "study.py --project-job r" in shown
    assert "orchestrator resume" not in shown

    studies.submit(BROKEN.replace("source ./no-such-venv/activate", "true"), "--project-job", "r")
    studies.wait("r")
    assert studies.states("r") == {"create": "succeeded", "last": "succeeded"}


FAILS_FIRST = """
@datagenerator(output_names="y")
def allowed(x):
    with open("evaluated.txt", "a") as file:
        file.write(f"{x}\\n")
    if x > 0 and not Path("allowed").exists():
        raise RuntimeError("not yet")
    return 2 * x

pipeline = Pipeline("moved", steps=[
    Step(create, name="create"),
    Step(allowed, name="run", parallel=True, max_failed=0),
    Step(nothing, name="last"),
])
"""


def test_a_moved_workspace_continues_in_the_new_place(studies, tmp_path):
    old = Studies(tmp_path / "old", studies.cluster)
    old.folder.mkdir()
    old.submit(FAILS_FIRST, "--project-job", "r")
    old.wait("r", code=1)
    wait_until(lambda: not studies.cluster.jobs_left(), 30)
    new = Studies(old.folder.rename(tmp_path / "new"), studies.cluster)
    (new.folder / "allowed").touch()

    new.orchestrator("resume", "r")
    new.wait("r")

    assert new.outputs("r") == [0, 2, 4]
    evaluated = (new.folder / "evaluated.txt").read_text().split()
    # The step stopped with the first failure, so the last experiment may have been evaluated only after the move.
    assert (set(evaluated), evaluated.count("0.0")) == ({"0.0", "1.0", "2.0"}, 1)
    assert not old.folder.exists()


DENIES_NODES = """
if [ "$(ps -o sid= -p $$)" != "$LOGIN" ]; then
    echo "sbatch: error: Batch job submission failed: Access/permission denied" >&2
    exit 1
fi
exec "$real" "$@"
"""

THREE = """
@datagenerator(output_names="y")
def note(x):
    with open("evaluated.txt", "a") as file:
        file.write(f"{x}\\n")
    return 2 * x

pipeline = Pipeline("login", steps=[
    Step(create, name="create"),
    Step(note, name="run", parallel=True),
    Step(nothing, name="last"),
])
"""


def test_where_nodes_may_not_submit_the_run_ends_from_the_login_node(studies):
    session = studies.run("ps", "-o", "sid=", "-p", str(os.getpid())).stdout.rstrip("\n")
    put_first(studies, "sbatch", f"LOGIN={session!r}\n{DENIES_NODES}")
    studies.submit(THREE, "--project-job", "r")
    waited = studies.orchestrator("wait", "r", "--timeout", "60", code=75)
    assert "orchestrator wait r --drive" in waited.stderr
    shown = " ".join(studies.orchestrator("status", "r").stdout.split())
    assert "nodes of this cluster may not submit jobs" in shown
    assert "Access/permission denied" in shown
    assert "on a login node: orchestrator wait r --drive" in shown
    wait_until(lambda: not studies.cluster.jobs_left(), 30)

    driven = studies.orchestrator("wait", "r", "--drive", "--timeout", "100")

    assert "Run r has succeeded." in driven.stdout
    assert studies.outputs("r") == [0, 2, 4]
    assert sorted((studies.folder / "evaluated.txt").read_text().split()) == ["0.0", "1.0", "2.0"]
    assert [len(studies.jobs("r", step)) for step in ("create", "run", "last")] == [1, 1, 1]


WAITS = """
import time

def wait():
    Path("waits").touch()
    while not Path("go").exists():
        time.sleep(0.1)
    return 0
"""


def test_ctrl_c_ends_only_the_process_that_drives(studies):
    studies.submit(WAITS + THREE.replace("return 2 * x", "return wait()"), "--project-job", "r")
    # Before it drives, Ctrl-C would only end the start of Python.
    notes = (
        "from pathlib import Path; from orchestrator.cli import main; from orchestrator.engine.cluster import drive; "
        "hold = drive._Driver.lease_and_advance; "
        "drive._Driver.lease_and_advance = lambda self: (Path('drives').touch(), hold(self)); main.main()"
    )
    command = [sys.executable, "-c", notes, "wait", "r", "--drive"]
    environment = studies.cluster.environment | studies.variables
    with subprocess.Popen(command, cwd=studies.folder, env=environment, stderr=subprocess.PIPE, text=True) as driver:
        wait_until((studies.folder / "waits").exists)
        wait_until((studies.folder / "drives").exists)
        driver.send_signal(signal.SIGINT)
        _, said = driver.communicate(timeout=60)
    assert driver.returncode == 130
    assert "Run r is no longer driven" in said
    assert "orchestrator wait r --drive" in said
    assert studies.cluster.jobs_left()
    (studies.folder / "go").touch()
    studies.wait("r")
