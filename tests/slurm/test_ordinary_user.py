"""An ordinary user with their own cluster."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys

import pytest

from tests.slurm.sandboxes import SCRIPT
from tests.slurm.studies import HEAD, ROOT

pytestmark = pytest.mark.slurm

STUDY = """
pipeline = Pipeline("ordinary", steps=[
    Step(create, name="create"),
    Step(double, name="run", parallel=True),
    Step(nothing, name="last"),
])
"""


def test_an_ordinary_user_submits_and_cancels(short_folder):
    nobody = pwd.getpwnam("nobody")
    # Not root: then all other tests are run by an ordinary user, and so is this one.
    switch = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"] * (os.getuid() == 0)
    if switch and subprocess.run([*switch, "sh", "-c", f"{sys.executable} -c ''"], check=False).returncode:
        # This Python is in a folder of root's: the user may read there, and all else is as for any user.
        switch += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    for package in ("orchestrator", "migrations", "scripts"):
        shutil.copytree(ROOT / package, short_folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    workspace = short_folder / "own" / "work"
    workspace.mkdir(parents=True)
    (workspace / "study.py").write_text(HEAD + STUDY)
    if switch:
        for folder in (workspace.parent, workspace):
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    script, cluster = short_folder / SCRIPT.relative_to(ROOT), workspace.parent / "cluster"
    environment = {"PATH": os.environ["PATH"], "HOME": str(workspace.parent), "PYTHONPATH": str(short_folder)}

    def as_user(*command: object) -> str:
        words = [*switch, *map(str, command)]
        done = subprocess.run(words, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def orchestrator(*words: object) -> str:
        shell = f'eval "$({script} env --dir {cluster})"; exec "$@"'
        return as_user("bash", "-c", shell, "bash", sys.executable, "-m", "orchestrator", *words)

    try:
        as_user(script, "up", "--dir", cluster, "--nodes", 1)
        orchestrator("submit", "study.py", "--project-job", "r")
        orchestrator("wait", "r", "--timeout", 120)
        assert (workspace / "r" / "experiment_data" / "output.csv").stat().st_uid == (workspace / "r").stat().st_uid
        orchestrator("submit", "study.py", "--project-job", "cancelled")
        assert "cancelled" in orchestrator("cancel", "cancelled")
    finally:
        if cluster.exists():
            as_user(script, "down", "--dir", cluster)
    assert workspace.stat().st_uid == (nobody.pw_uid if switch else os.getuid())
