"""The texts of many floats are those of Python, float by float."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data.float_texts import texts_of_floats


def of_python(values):
    return [repr(value) for value in values.tolist()]


@given(st.lists(st.floats(), max_size=50))
def test_each_text_is_the_repr_of_its_float(cells):
    values = np.array(cells, dtype=np.float64)
    assert texts_of_floats(values) == of_python(values)


@pytest.mark.parametrize("seed", range(3))
def test_random_bits_of_each_size_are_written_as_by_python(seed):
    random = np.random.default_rng(seed)
    bits = random.integers(0, 2**64, 20_000, dtype=np.uint64).view(np.float64)
    sizes = 10.0 ** random.uniform(-6, 18, 60_000)
    short = np.round(random.uniform(-1e6, 1e6, 20_000), 3)
    values = np.concatenate([bits, sizes, -sizes, short])
    assert texts_of_floats(values) == of_python(values)


def test_limits_between_the_two_ways_of_writing():
    limits = [1e-4, 1e16, 1e15, 2.0**53, 0.0, 5e-324, float("inf"), float("nan")]
    around = [x for limit in limits for x in (limit, np.nextafter(limit, 0), np.nextafter(limit, np.inf))]
    values = np.array([sign * x for x in around for sign in (1, -1)])
    assert texts_of_floats(values) == of_python(values)


def test_every_other_float_of_an_array():
    values = np.arange(20.0)[::2]
    assert texts_of_floats(values) == of_python(values)
