"""What a run records about each experiment, seen from Python."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from orchestrator import Block, ExperimentData, Loop, Pipeline, Step, datagenerator
from orchestrator.engine import commands
from orchestrator.workspace import Workspace
from tests.studies import numbers, square, store_numbers

pytestmark = pytest.mark.slow


class AddThree(Block):
    def call(self, data, iteration):
        return data.add_experiments(numbers(3, first=3 * iteration))


def store_empty(project_dir):
    numbers(0).store(project_dir)


@pytest.mark.parametrize("parallel", [True, False])
def test_each_experiment_has_its_step_iteration_host_and_memory(workspace, parallel):
    loop = Loop(3, [Step(AddThree(), name="add"), Step(square, name="solve", parallel=parallel)])
    Pipeline(steps=[Step(store_empty), loop]).run(project_job="r")
    found = ExperimentData.from_file("r").records
    assert found.step.tolist() == ["solve"] * 9
    assert found.iteration.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert found.attempt.tolist() == [1] * 9
    assert found.host.unique().tolist() == [os.uname().nodename]
    assert (found.seconds > 0).all()
    assert found.memory.between(5, 100_000).all()
    assert found.groupby("iteration").started_at.min().is_monotonic_increasing


_kept = []


@datagenerator(output_names="y")
def keeps_memory(x):
    _kept.append(b"x" * 20_000_000)
    return x


def test_the_growth_of_a_worker_is_seen(workspace):
    Pipeline(steps=[Step(store_numbers(4)), Step(keeps_memory, timeout=600)]).run(project_job="r")
    memory = ExperimentData.from_file("r").records.memory
    assert memory.is_monotonic_increasing
    assert memory[3] - memory[0] > 40


@datagenerator(output_names="y")
def sleeps_or_fails(x):
    if x == 1 and not Path("licence").exists():
        raise LookupError("no licence")
    if x == 2:
        time.sleep(60)
    return x


def test_failures_timeouts_and_attempts_are_recorded(workspace):
    solve = Step(sleeps_or_fails, name="solve", parallel=True, timeout=0.5)
    Pipeline(steps=[Step(store_numbers(3)), solve]).run(project_job="r")
    found = ExperimentData.from_file("r").records
    assert found.error.tolist() == [None, "LookupError", "timeout"]
    assert found.seconds[2] >= 0.5
    assert found.memory[2] > 5
    Path("licence").touch()
    commands.retry(Workspace.at(workspace), "r")
    again = ExperimentData.from_file("r").records
    assert again.attempt.tolist() == [1, 2, 2]
    assert again.error.tolist() == [None, None, "timeout"]
