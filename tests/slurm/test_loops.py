"""Loops that add experiments: each array has as many tasks as open experiments at its submission."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slurm

GROWS = '''
from orchestrator import Block

MORE = (1, 3, 0, 2, 1)


class Append(Block):
    """Add experiments to the table, in each round another number of them."""

    def __init__(self, begin, numbers):
        self.begin, self.numbers = begin, numbers

    def call(self, data, iteration):
        n = self.numbers[iteration]
        return data + rows(self.begin + 10 * iteration, n) if n else data


class Update(Append):
    """Add experiments after the round, and note that all before have a value."""

    def call(self, data, iteration):
        inputs, outputs = data.to_pandas()
        assert (outputs["y"] == 2 * inputs["x"]).all(), outputs
        return super().call(data, iteration)


grows = Pipeline("grows", steps=[
    Step(create, name="create", kwargs={"n": 2}),
    Loop(5, steps=[
        Step(Append(100, MORE), name="before"),
        Step(double, name="run", parallel=True),
        Step(CollectArrayResults(), name="collect"),
        Step(Update(1000, (2, 0, 0, 1, 4)), name="after"),
    ]),
])


def enough(data):
    return len(data) >= 5


asks = Pipeline("asks", steps=[
    Step(create, name="create", kwargs={"n": 2}),
    Loop(1, steps=[
        Loop(4, until=enough, steps=[
            Step(Append(100, (1, 2)), name="more"),
            Step(double, name="run", parallel=True),
        ]),
        Step(nothing, name="then"),
    ]),
])
'''


def test_experiments_are_added_in_each_iteration_before_and_after_the_parallel_step(studies, golden):
    key = studies.finish(GROWS, attr="grows")

    sizes = {}
    for iteration in range(5):
        runs = studies.jobs(key, f"run@{iteration}")
        sizes[iteration] = [job["n_tasks"] for job in runs]
    # Open in round i: what `before` adds, and what `after` added in the round before it.
    assert sizes == {0: [2 + 1], 1: [3 + 2], 2: [], 3: [2], 4: [1 + 1]}
    # The process that advances the run collects: no job waits for that.
    assert [studies.jobs(key, f"collect@{iteration}") for iteration in range(5)] == [[]] * 5
    golden(studies.orchestrator("logs", key, "collect@1").stderr, exact=False)
    skipped = studies.step_runs(key)["run@2"]
    assert skipped["state"] == "skipped"
    inputs, outputs = studies.data(key).to_pandas()
    assert len(inputs) == 2 + 7 + 7
    evaluated = outputs["y"].notna()
    assert (outputs["y"][evaluated] == 2 * inputs["x"][evaluated]).all()
    assert inputs["x"][~evaluated].tolist() == [1040.0, 1041.0, 1042.0, 1043.0]


def test_a_question_ends_an_inner_loop_though_no_process_of_the_last_step_can_answer_it(studies):
    """After an array it is asked by a job of its own."""
    key = studies.finish(GROWS, attr="asks")

    rounds = [f"{name}@0.{iteration}" for iteration in (0, 1) for name in ("more", "run", "until")]
    assert studies.states(key) == dict.fromkeys(["create", *rounds, "then@0"], "succeeded")
    assert [studies.jobs(key, f"run@0.{iteration}")[0]["n_tasks"] for iteration in (0, 1)] == [3, 2]
    assert studies.outputs(key) == [0, 2, 200, 220, 222]
