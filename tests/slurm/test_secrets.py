"""The values of `env_vars` may be secrets: they are in one private file, which a script uses only if it is its own."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.definition.flatten import plan_of
from orchestrator.definition.pipeline import Step
from orchestrator.definition.resources import SlurmCluster
from orchestrator.definition.validate import check_cluster
from orchestrator.engine.cluster.check import script_texts
from orchestrator.engine.cluster.config import ClusterConfig, orchestrator_resources
from orchestrator.engine.cluster.probe import _script, probe_here
from orchestrator.engine.cluster.scripts import Scripts
from orchestrator.engine.cluster.slurm_scheduler import SlurmScheduler
from orchestrator.pipeline import Pipeline
from orchestrator.workspace import RunFolder

SECRET = "s3cr3t"


@pytest.fixture
def run(tmp_path):
    folder = RunFolder(tmp_path, "r")
    given = SlurmCluster("p", env_vars={"API_TOKEN": SECRET, "WHERE": '$FROM_SETUP "x" $(id) é'}, runner="printenv")
    config = ClusterConfig(given, orchestrator_resources(None), str(tmp_path))
    return folder, config, config.stored(folder)


def create(project_dir):
    """Do nothing."""


def execute(script, **variables):
    """Execute a script of which only the end is another."""
    text = script.text.replace("printenv -m", "printenv API_TOKEN WHERE #")
    environment = {"PATH": os.environ["PATH"], **variables}
    command = ["bash", "-c", text, "bash", "token", "digest"]
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)


def of_step(config, folder):
    return Scripts(config, folder, folder.workspace / "orchestrator.db", "p").of_step(
        "a", {}, in_loop=False, parallel=False
    )


def test_values_of_env_vars_are_only_in_a_private_file(run):
    folder, _, stored = run
    script = of_step(stored, folder)
    script.write(None)
    assert SECRET not in json.dumps(stored.to_json())
    found = [path for path in folder.path.rglob("*") if path.is_file() and SECRET in path.read_text()]
    assert found == [folder.env_vars(stored.env_vars)]
    assert stat.S_IMODE(found[0].stat().st_mode) == 0o600
    assert ClusterConfig.from_json(json.loads(json.dumps(stored.to_json()))) == stored


def test_a_script_that_is_only_printed_does_not_contain_them(run, tmp_path):
    pipeline = Pipeline("p", [Step(create, name="a")])
    texts = script_texts(pipeline, run[1].cluster, "r", tmp_path)
    assert "env_vars.SHA256" in texts["a"]
    assert SECRET not in "".join(texts.values())


def test_a_job_gets_them_as_they_were_given(run):
    folder, _, stored = run
    done = execute(of_step(stored, folder), FROM_SETUP="here")
    assert done.stdout.splitlines() == [SECRET, 'here "x" $(id) é']


@pytest.mark.parametrize("option", ["x", "v", "xv"])
def test_no_log_contains_them_although_env_setup_traces_the_commands(run, option):
    folder, config, _ = run
    given = config._replace(cluster=replace(config.cluster, env_setup=[f"set -{option}", "echo it is traced"]))
    done = execute(of_step(given.stored(folder), folder))
    assert done.stdout.splitlines()[:2] == ["it is traced", SECRET]
    assert ("echo it is traced" in done.stderr, SECRET in done.stderr) == (True, False)


@pytest.mark.parametrize("how", ["changed", "removed"])
def test_a_job_does_not_start_with_others(run, how):
    folder, _, stored = run
    file = folder.env_vars(stored.env_vars)
    if how == "changed":
        file.write_text(file.read_text().replace(SECRET, "$(touch planted)"))
    else:
        file.unlink()
    done = execute(of_step(stored, folder))
    assert (done.returncode, done.stdout) == (1, "")
    assert "were changed" in done.stderr
    assert not Path("planted").exists()


def test_the_same_values_get_another_digest_in_another_run(run, tmp_path):
    """The path of a script is visible to all users: its digest must not allow to guess a value."""
    _, config, stored = run
    other = config.stored(RunFolder(tmp_path, "s"))
    assert other.env_vars != stored.env_vars


def test_a_script_that_was_changed_is_written_again(run):
    folder, _, stored = run
    plan = plan_of([Step(print, name="a")])
    database = folder.workspace / "orchestrator.db"
    written = SlurmScheduler(folder, stored, "p", database, shared=False).write_scripts(plan)
    recorded = stored._replace(scripts=written)
    paths = list(folder.engine.glob("scripts/*.sh"))
    assert {path.name for path in paths} == written.keys()
    before = {path: path.read_text() for path in paths}
    for path in paths:
        path.write_text("touch planted")
    assert SlurmScheduler(folder, recorded, "p", database, shared=False).write_scripts(plan) == written
    assert {path: path.read_text() for path in paths} == before


@pytest.mark.parametrize("limit", [None, "4G", 4000])
def test_a_memory_limit_is_recorded_as_it_was_accepted(limit):
    cluster = SlurmCluster("p", mem_per_cpu=limit)
    check_cluster(cluster)
    config = ClusterConfig(cluster, orchestrator_resources(None), "/")
    assert ClusterConfig.from_json(json.loads(json.dumps(config.to_json()))).cluster.mem_per_cpu == limit


def test_no_error_of_the_probe_contains_them(run, monkeypatch):
    _, config, _ = run
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    cluster = replace(config.cluster, env_setup=["set -xv"], runner="/no/such/python")
    said = []
    probe_here(config._replace(cluster=cluster), None, said.append)
    assert ("/no/such/python" in said[0], SECRET in said[0]) == (True, False)
    script = _script(config._replace(cluster=cluster), {}, None)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert ("/no/such/python" in done.stderr, SECRET in done.stderr) == (True, False)
