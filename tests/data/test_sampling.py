import numpy as np
import pandas as pd
import pytest

from orchestrator.data.domain import Domain
from orchestrator.data.sampling import sample_latin, sample_random
from orchestrator.errors import DefinitionError

both = pytest.mark.parametrize("sample", [sample_random, sample_latin])


@pytest.fixture
def domain():
    domain = Domain()
    domain.add_float("x", -5, 5)
    domain.add_float("lr", 1e-5, 1e-1, log=True)
    domain.add_int("n", 1, 10, step=3)
    domain.add_category("c", ["001", 1, None])
    domain.add_constant("g", 9.81)
    return domain


@both
def test_samples_cover_the_domain(domain, sample):
    frame = sample(domain, 200, seed=1)
    assert list(frame) == domain.input_names
    assert frame["x"].between(-5, 5).all()
    assert frame["lr"].between(1e-5, 1e-1).all()
    assert 60 < (frame["lr"] < 1e-3).sum() < 140
    assert set(frame["n"]) == {1, 4, 7, 10}
    assert {repr(value) for value in frame["c"]} == {"'001'", "1", "None"}
    assert set(frame["g"]) == {9.81}


@both
def test_the_seed_determines_the_samples(domain, sample):
    pd.testing.assert_frame_equal(sample(domain, 20, 3), sample(domain, 20, 3))
    assert not sample(domain, 20, 3).equals(sample(domain, 20, 4))
    assert not sample(domain, 20).equals(sample(domain, 20))


def test_latin_has_one_sample_in_every_slice(domain):
    frame = sample_latin(domain, 50, seed=0)
    unit = {
        "x": (frame["x"] + 5) / 10,
        "lr": (np.log10(frame["lr"]) + 5) / 4,
    }
    for values in unit.values():
        assert sorted((values * 50).astype(int)) == list(range(50))


@both
def test_zero_samples_are_an_empty_table(domain, sample):
    assert sample(domain, 0, 1).shape == (0, 5)
    assert sample(Domain(), 3, 1).shape == (3, 0)


@both
def test_a_domain_that_cannot_be_sampled_is_refused(sample, golden):
    free, array = Domain(), Domain()
    free.add_float("x", 0)
    empty = Domain()
    empty.add_category("c", [])
    array.add_array("a", 3, 0, 1)
    for domain, n in ((free, 1), (array, 1), (Domain(), -1), (empty, 1)):
        with golden.raises(DefinitionError):
            sample(domain, n, 0)


@both
@pytest.mark.parametrize(("low", "high"), [(0, 2**63), (-(10**30), 0), (-(2**62), 2**62)])
def test_integers_of_more_than_64_bits_are_refused_and_not_drawn_wrongly(sample, low, high):
    domain = Domain()
    domain.add_int("n", low, high)
    with pytest.raises(DefinitionError, match="input 'n' can't be sampled: its range is too large"):
        sample(domain, 3)


@both
def test_integers_of_64_bits_are_drawn(sample):
    domain = Domain()
    domain.add_int("n", 2**62, 2**63 - 1)
    assert sample(domain, 100, seed=1)["n"].between(2**62, 2**63 - 1).all()
