"""Amounts of data as text."""

import pytest

from orchestrator.amounts import size_text


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (20_500_000, "20.5 MB"), (3.2e9, "3.2 GB"), (1 << 40, "1.1 TB")],
)
def test_an_amount_has_the_unit_in_which_it_is_short(n_bytes, text):
    assert size_text(n_bytes) == text
