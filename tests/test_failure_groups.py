"""Failures with one cause are counted, and the first experiments are named."""

from __future__ import annotations

import pytest

from orchestrator.failure_groups import MAX_ROWS, FailureGroup, without_numbers


def test_a_group_counts_all_failures_and_names_the_first_experiments():
    group = FailureGroup({"type": "ValueError", "message": "no"})
    group.add(150, range(200, 350))
    group.add(2, [7, 3])
    assert group.n == 152
    assert group.rows == [3, 7, *range(200, 200 + MAX_ROWS - 2)]
    assert group.to_json() == {"type": "ValueError", "message": "no", "n": 152, "rows": group.rows}


@pytest.mark.parametrize(
    ("one", "other"), [("bad 1.6155", "bad -0.69"), ("x=2e-7", "x=+3.1E+10"), ("got nan", "got -inf")]
)
def test_messages_that_differ_in_their_numbers_only_are_one_cause(one, other):
    assert without_numbers(one) == without_numbers(other)


def test_messages_with_other_words_are_other_causes():
    assert without_numbers("information 1 is missing") != without_numbers("1 is missing")
    assert without_numbers("no licence") == "no licence"
