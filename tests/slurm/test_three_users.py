"""Three users of one cluster: others see the names of jobs, and can read and stop nothing else of a run."""

from __future__ import annotations

import os

import pytest

from tests.slurm.sandboxes import wait_until
from tests.users import three_users

pytestmark = [pytest.mark.slurm, pytest.mark.users]

STUDY = """
import time
from pathlib import Path
from orchestrator import Pipeline, SlurmCluster, Step
def waits(project_dir):
    Path("began").touch()
    while not Path("go").exists():
        time.sleep(0.1)
def last(project_dir):
    pass
pipeline = Pipeline("private", [Step(waits), Step(last)])
cluster = SlurmCluster(grace=2, env_vars={"API_TOKEN": "abc123secret"})
"""


@pytest.fixture
def users(start_sandbox):
    """Return three users of a cluster, each with a method `slurm` that runs a program there."""
    sandbox = start_sandbox(nodes=1)
    # The clusters of tests are for one user; on a real one, all can authenticate.
    for folder in (sandbox.folder, sandbox.folder / "munge"):
        folder.chmod(0o755)
    names = {key: value for key, value in sandbox.environment.items() if os.environ.get(key) != value}
    settings = [f"{key}={value}" for key, value in names.items()]
    with three_users("memory") as users:
        for user in (users.owner, users.colleague, users.stranger):
            user.slurm = lambda *words, user=user: user.run("env", *settings, *words)
            user.orchestrator = lambda *words, user=user: user.slurm(user.python, "-m", "orchestrator", *words)
        yield users


def one_line(done):
    return " ".join((done.stdout + done.stderr).split())


def test_other_users_see_the_names_of_jobs_and_can_stop_nothing(users):
    owner, others = users.owner, (users.colleague, users.stranger)
    owner.write(users.path / "study.py", STUDY)
    submitted = owner.orchestrator("submit", "study.py", "--project-job", "r")
    assert submitted.returncode == 0, one_line(submitted)
    wait_until((users.path / "began").exists, 60)
    queue = owner.slurm("squeue", "--noheader", "--format=%i %j").stdout.split("\n")
    job, name = next(line for line in queue if "waits_" in line).split()
    engine = users.path / "r" / ".orchestrator"
    secrets = [path for path in engine.rglob("*") if path.is_file()]
    assert any(b"abc123secret" in path.read_bytes() for path in secrets)
    database = f"{users.there}/orchestrator.db"
    for user in others:
        # What a cluster shows to all its users contains no secret, and no digest of one.
        shown = user.slurm("scontrol", "show", "job", job)
        assert name in shown.stdout
        assert "abc123secret" not in shown.stdout
        refused = user.slurm("scancel", job)
        assert "denied" in one_line(refused).lower()
        assert user.slurm("scontrol", "hold", job).returncode != 0
        for path in secrets:
            assert "denied" in one_line(user.run("cat", str(path)))
        for command in ("status", "cancel", "resume"):
            assert user.orchestrator(command, "r", "--db", database).returncode != 0
        # A job of another user has the name and the comment of ours, and ends badly.
        token = name.split("_")[1]
        words = (f"--job-name={name}", f"--comment={token}", "--chdir=/", "--output=/dev/null", "--wrap=false")
        assert user.slurm("sbatch", *words).returncode == 0
    for path in users.path.glob("orchestrator.db*"):
        path.chmod(0o644)
    for user in others:
        assert "belongs to games" in one_line(user.orchestrator("status", "r", "--db", database))
        for command in ("cancel", "resume", "advance", "hold"):
            refused = user.orchestrator(command, "r", "--db", database)
            assert refused.returncode == 1, (command, one_line(refused))
    assert job in owner.slurm("squeue", "--noheader", "--format=%i").stdout
    owner.write(users.path / "go", "")
    waited = owner.orchestrator("wait", "r", "--timeout", "120")
    assert waited.returncode == 0, one_line(waited)
    # The last job of the run ends a moment after it has recorded the end.
    for user in others:
        wait_until(lambda user=user: user.slurm("squeue", "--noheader", "--user=games").stdout.strip() == "", 30)
