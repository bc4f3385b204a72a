"""Evaluation by several processes, outside of a pipeline."""

from __future__ import annotations

import os
import threading

import pytest

from orchestrator import DataGenerator, datagenerator
from orchestrator.errors import DataError
from tests.slurm.sandboxes import wait_until
from tests.studies import numbers


def test_several_processes_evaluate_and_give_the_same_results(caplog, tmp_path):
    factor = threading.local()  # it can't be pickled
    factor.value = 3

    @datagenerator(output_names=["y", "pid"])
    def evaluate(x, offset):
        if x == 2:
            raise ValueError("two is not welcome")
        # Otherwise one process might evaluate all of them before the other has started.
        (tmp_path / str(os.getpid())).touch()
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        return x * 3 + offset, os.getpid()

    data = evaluate.call(numbers(8, outputs=["y", "pid"]), mode="parallel", nodes=2, offset=1)
    rows = [data.output_rows()(at) for at in range(8)]
    assert [row.get("y") for row in rows] == [1.0, 4.0, None, 10.0, 13.0, 16.0, 19.0, 22.0]
    assert [status.name for status in data.statuses()].count("ERROR") == 1
    assert os.getpid() not in {row.get("pid") for row in rows}
    assert len({row["pid"] for row in rows if row}) == 2
    assert "ValueError: two is not welcome" in caplog.text


def test_labels_and_what_was_stored_before_a_failure_come_back():
    class Stores(DataGenerator):
        def execute(self, experiment_sample, id):
            experiment_sample.store("y", float(id))
            if id == 1:
                raise ValueError

    data = Stores().call(numbers(3), mode="parallel", pass_id=True)
    assert data.to_pandas()[1]["y"].tolist() == [0.0, 1.0, 2.0]
    assert [status.name for status in data.statuses()] == ["FINISHED", "ERROR", "FINISHED"]


def test_a_process_that_dies_is_an_error_with_words(golden):
    @datagenerator(output_names="y")
    def crashes(x):
        os._exit(3)

    with golden.raises(DataError):
        crashes.call(numbers(3), mode="parallel", nodes=2)


def test_an_output_that_cannot_be_sent_is_an_error_with_words():
    @datagenerator(output_names="y")
    def locks(x):
        return threading.Lock()

    with pytest.raises(DataError, match="can't be sent to another process"):
        locks.call(numbers(1), mode="parallel")


@pytest.mark.parametrize("mode", ["cluster", "mpi", "cluster_array"])
def test_a_mode_of_a_cluster_says_what_to_use(mode, golden):
    with golden.raises(ValueError):
        datagenerator(output_names="y")(lambda x: x).call(numbers(1), mode=mode)
