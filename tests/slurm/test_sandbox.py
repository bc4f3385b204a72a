"""The throwaway cluster: real jobs, several side by side, nothing left behind."""

from __future__ import annotations

import pytest

from tests.slurm.sandboxes import slurm_sandbox

pytestmark = pytest.mark.slurm


def test_two_clusters_side_by_side_run_their_own_jobs(start_sandbox, tmp_path):
    clusters = {name: start_sandbox(nodes=2) for name in ("one", "two")}
    for name, cluster in clusters.items():
        output = tmp_path / name
        job_id = cluster.sbatch("--output", output, "--wrap", f"echo ran on {name} as $SLURM_JOB_ID")
        assert job_id == "1"
        cluster.wait_until_idle()
        assert output.read_text() == f"ran on {name} as 1\n"


def test_what_is_not_there_is_said(tmp_path):
    done = slurm_sandbox("env", "--dir", tmp_path / "none")
    assert done.returncode == 1
    assert done.stderr.startswith(f"There is no sandbox in {tmp_path}/none. Start one:\n  scripts/slurm-sandbox up")
