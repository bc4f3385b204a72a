"""How a user names a step run."""

from __future__ import annotations

import pytest

from orchestrator.addresses import format_address, parse_address


@pytest.mark.parametrize(
    ("address", "name", "iteration"),
    [("run", "run", ""), ("run@4", "run", "4"), ("run@3.1", "run", "3.1"), ("a@b@0", "a@b", "0")],
)
def test_an_address_is_read_as_it_is_written(address, name, iteration):
    assert parse_address(address) == (name, iteration)
    assert format_address(name, iteration) == address


@pytest.mark.parametrize("name", ["a@b", "@3", "a@", "a@3.", "a@3.b", "a@-1"])
def test_text_without_an_iteration_at_its_end_is_a_name(name):
    assert parse_address(name) == (name, "")
