"""The time in which a step run only waited in the queue."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.machine.queue_time import queue_seconds


class Job(NamedTuple):
    queued_at: float | None
    started_at: float | None = None
    ended_at: float | None = None


@pytest.mark.parametrize(
    ("jobs", "seconds"),
    [
        ([], 0),
        ([Job(None)], 0),  # not accepted yet
        ([Job(10)], 90),  # still in the queue
        ([Job(10, 30)], 20),
        ([Job(10, 30, 50)], 20),
        ([Job(10, None, 40)], 30),  # cancelled in the queue
        ([Job(10, 30, 50), Job(20, 45, 60)], 20),  # the second one waited while the first one ran
        ([Job(10, 30, 50), Job(20, 70, 80)], 40),  # and then alone
        ([Job(20, 70, 80), Job(10, 30, 50)], 40),
        ([Job(10, 30, 50), Job(60, 65, 80)], 25),  # nothing was in the queue from 50 to 60
        ([Job(10), Job(20)], 90),
        ([Job(10, 10, 90), Job(20, None, 30)], 0),
        ([Job(0, 60, 70), Job(40, 50, 55)], 55),  # the first one in the queue is the last one to leave it
        ([Job(0, 60, 70), Job(40, None, 50)], 60),
        ([Job(0, 60, 70), Job(10, 20, 30), Job(15, 40, 50)], 40),
        ([Job(10, 5, 50)], 0),  # the clock of the node is behind
    ],
)
def test_time_counts_if_a_job_waits_and_none_runs(jobs, seconds):
    assert queue_seconds(jobs, 100.0) == seconds


HORIZON = 12

TIMES = st.integers(0, HORIZON) | st.none()


@settings(max_examples=200)
@given(st.lists(st.builds(Job, TIMES, TIMES, TIMES), max_size=5))
def test_it_is_the_count_second_by_second(jobs):
    def waits(job, second):
        left = next((at for at in (job.started_at, job.ended_at) if at is not None), HORIZON)
        return job.queued_at is not None and job.queued_at <= second < left

    def runs(job, second):
        ended = HORIZON if job.ended_at is None else job.ended_at
        return job.started_at is not None and job.started_at <= second < ended

    alone = [
        second
        for second in range(HORIZON)
        if any(waits(job, second) for job in jobs) and not any(runs(job, second) for job in jobs)
    ]
    assert queue_seconds(jobs, HORIZON) == len(alone)
