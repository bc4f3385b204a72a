"""What sites do in their own way: complaints, comments, the environment of jobs, the place of Python."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

import pytest

from orchestrator.handoff.environment import read_environment
from orchestrator.workspace import Workspace
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
    assert (read_environment(Workspace.at(Path(studies.folder)).run("none")) or {})["SBATCH_EXPORT"] == "NONE"
