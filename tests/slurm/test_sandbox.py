"""The throwaway cluster: real jobs, several side by side, nothing left behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.skipif(
        any(shutil.which(name, path=PATH) is None for name in ("slurmctld", "slurmd", "munged")),
        reason="needs: apt-get install slurmctld slurmd slurm-client munge",
    ),
]


def sandbox(*arguments):
    command = [str(ROOT / "scripts/slurm-sandbox"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def up(tmp_path_factory):
    """Give a function that starts a sandbox; all are stopped in the end."""
    folders = []

    def start(name):
        # Munge refuses a socket below a folder that others may not pass.
        folder = Path(f"/tmp/sandbox-test-{os.getpid()}-{name}")
        folders.append(folder)
        done = sandbox("up", "--dir", folder, "--nodes", 2)
        assert done.returncode == 0, done.stderr
        conf = done.stdout.strip().removeprefix("export SLURM_CONF=")
        return {**os.environ, "SLURM_CONF": conf}

    yield start
    for folder in folders:
        done = sandbox("down", "--dir", folder)
        assert done.returncode == 0, done.stderr
        assert not folder.exists()


def submit(environment, folder, command):
    done = subprocess.run(
        ["sbatch", "--parsable", "--output", str(folder / "%j.out"), "--wrap", command],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def wait_for_text(path, text):
    end = time.monotonic() + 30
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < end, f"{text!r} did not come"
        time.sleep(0.05)


def test_two_clusters_side_by_side_run_their_own_jobs(up, tmp_path):
    environments = {name: up(name) for name in ("one", "two")}
    for name, environment in environments.items():
        (tmp_path / name).mkdir()
        job_id = submit(environment, tmp_path / name, f"echo ran on {name} as $SLURM_JOB_ID")
        assert job_id == "1"
        wait_for_text(tmp_path / name / "1.out", f"ran on {name} as 1")


def test_what_is_not_there_is_said(tmp_path):
    done = sandbox("env", "--dir", tmp_path / "none")
    assert done.returncode == 1
    assert done.stderr.startswith(f"There is no sandbox in {tmp_path}/none. Start one:\n  scripts/slurm-sandbox up")
