"""Failures with one cause are counted, and the first experiments are named."""

from __future__ import annotations

from orchestrator.failure_groups import MAX_ROWS, FailureGroup


def test_a_group_counts_all_failures_and_names_the_first_experiments():
    group = FailureGroup({"type": "ValueError", "message": "no"})
    group.add(150, range(200, 350))
    group.add(2, [7, 3])
    assert group.n == 152
    assert group.rows == [3, 7, *range(200, 200 + MAX_ROWS - 2)]
    assert group.to_json() == {"type": "ValueError", "message": "no", "n": 152, "rows": group.rows}
