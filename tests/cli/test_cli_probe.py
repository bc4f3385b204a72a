"""`env_setup` and `runner` are tried before a run is recorded: what is certain is refused, what is doubtful is said."""

from __future__ import annotations

import sys

import pytest

from orchestrator.engine.cluster import probe
from orchestrator.slurm.startup import MARK, trouble_in


@pytest.fixture
def submit(here, programs, monkeypatch):
    """Return a function that submits a study whose cluster has these settings."""
    programs.accepts()
    monkeypatch.setenv("PATH", f"{programs.path}:/usr/bin:/bin")
    study = (here.workspace / "slurm.py").read_text()

    def submit(settings, *options):
        (here.workspace / "slurm.py").write_text(study.replace("account=None", f"account=None, {settings}"))
        done = here("submit", "slurm.py", "--project-job", "r", *options)
        assert (here.workspace / "orchestrator.db").exists() == (done.code == 0)
        return done

    return submit


REFUSED = {
    "a file that is missing here": 'env_setup=["cd .", "source ./no-such-venv/bin/activate"]',
    "a file that is missing at home": 'env_setup=["source ~/no-such-venv/bin/activate"]',
    "a Python that is missing": 'runner="./no-such-venv/bin/python"',
}


@pytest.mark.parametrize("settings", REFUSED.values(), ids=REFUSED)
def test_what_fails_on_every_node_is_refused(submit, settings, golden, monkeypatch, here):
    monkeypatch.setenv("HOME", str(here.workspace))
    golden(submit(settings), exact=False)


def test_a_python_without_orchestrator_is_refused(submit, here, golden):
    python = here.workspace / "python"
    python.write_text(f'#!/bin/sh\nunset PYTHONPATH\nexec {sys._base_executable} -I -S "$@"\n')
    python.chmod(0o755)
    done = submit('runner="./python"')
    assert done.code == 2
    assert "No module named 'orchestrator'" in " ".join(done.err.split())
    assert submit('runner="./python"', "--no-probe").code == 0


def test_another_version_of_python_is_refused(submit, here, golden):
    python = here.workspace / "python"
    python.write_text("#!/bin/sh\necho orchestrator-probe 3 1\n")
    python.chmod(0o755)
    done = submit('runner="./python"')
    golden.replace("{}.{}".format(*sys.version_info), "3.x")
    golden(done)


DOUBTFUL = {
    "a command that login nodes may lack": 'env_setup=["module load no-such-module"]',
    "a test that holds in jobs only": """env_setup=['[ -n "$SLURM_JOB_ID" ]']""",
    "a Python of the nodes": 'runner="/no/such/python"',
}


@pytest.mark.parametrize("settings", DOUBTFUL.values(), ids=DOUBTFUL)
def test_what_may_be_different_on_the_nodes_is_only_said(submit, settings, golden):
    done = submit(settings)
    assert done.code == 0
    golden(done, exact=False)


def test_what_does_not_end_is_only_said(submit, monkeypatch):
    monkeypatch.setattr(probe, "SECONDS_HERE", 0.3)
    done = submit('env_setup=["sleep 60"]')
    assert done.code == 0
    assert "did not end within 0 s" in done.err


def test_what_works_is_not_mentioned(submit, here):
    (here.workspace / "env.sh").write_text(f"export MY_PYTHON={sys.executable}\n")
    done = submit('env_setup=["source env.sh"], runner="$MY_PYTHON"')
    assert (done.code, "Warning" in done.err) == (0, False)


def test_without_the_environment_of_this_shell_nothing_is_certain(submit, monkeypatch):
    monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    assert submit('env_setup=["source ./no-such-file"]').code == 0


def test_what_only_this_shell_has_is_missing_in_jobs_that_do_not_get_its_environment(submit, monkeypatch):
    monkeypatch.setenv("ONLY_HERE", "x")
    setup = """env_setup=['[ -n "$ONLY_HERE" ]'], runner="$MY_PYTHON", env_vars={"MY_PYTHON": "PYTHON"}"""
    setup = setup.replace('PYTHON"}', f'{sys.executable}"}}')
    assert "Warning" not in submit(setup).err
    monkeypatch.setenv("SBATCH_EXPORT", "NONE")
    assert "env_setup fails on this machine at: [ -n" in submit(setup).err


def test_the_output_of_a_probe_on_a_node_names_what_failed(golden):
    printed = "/var/spool/job1/script: line 20: exec: uv: not found"
    golden(trouble_in(printed, "uv run", "/study", "on a node").why)
    assert trouble_in("{} {} {}\n".format(MARK, *sys.version_info), "uv run", "/study", "on a node") is None
