import numpy as np
import pandas as pd
import pytest

from orchestrator.data.domain import Domain
from orchestrator.data.sampling import sample_grid, sample_latin, sample_random, sample_sobol
from orchestrator.errors import DefinitionError

each = pytest.mark.parametrize("sample", [sample_random, sample_latin, sample_sobol])


@pytest.fixture
def domain():
    domain = Domain()
    domain.add_float("x", -5, 5)
    domain.add_float("lr", 1e-5, 1e-1, log=True)
    domain.add_int("n", 1, 10, step=3)
    domain.add_category("c", ["001", 1, None])
    domain.add_constant("g", 9.81)
    domain.add_array("v", (2, 2), [[0, 10], [20, 30]], [[1, 11], [21, 31]])
    return domain


@each
def test_samples_cover_the_domain(domain, sample):
    frame = sample(domain, 200, seed=1)
    assert list(frame) == domain.input_names
    assert frame["x"].between(-5, 5).all()
    assert frame["lr"].between(1e-5, 1e-1).all()
    assert 60 < (frame["lr"] < 1e-3).sum() < 140
    assert set(frame["n"]) == {1, 4, 7, 10}
    assert {repr(value) for value in frame["c"]} == {"'001'", "1", "None"}
    assert set(frame["g"]) == {9.81}
    elements = np.stack(frame["v"].tolist()) - [[0, 10], [20, 30]]
    assert elements.shape == (200, 2, 2)
    assert ((elements >= 0) & (elements <= 1)).all()


@each
def test_the_seed_determines_the_samples(domain, sample):
    again, drop = sample(domain, 20, 3), {"columns": "v"}
    pd.testing.assert_frame_equal(sample(domain, 20, 3).drop(**drop), again.drop(**drop))
    assert np.array_equal(np.stack(sample(domain, 20, 3)["v"]), np.stack(again["v"]))
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


@each
def test_zero_samples_are_an_empty_table(domain, sample):
    assert sample(domain, 0, 1).shape == (0, 6)
    assert sample(Domain(), 3, 1).shape == (3, 0)


@each
def test_a_domain_that_cannot_be_sampled_is_refused(sample, golden):
    free, array, other = Domain(), Domain(), Domain()
    free.add_float("x", 0)
    empty = Domain()
    empty.add_category("c", [])
    array.add_array("a", 3, 0)
    other.add_parameter("p")
    for domain, n in ((free, 1), (array, 1), (other, 1), (Domain(), -1), (empty, 1)):
        with golden.raises(DefinitionError):
            sample(domain, n, 0)


@each
@pytest.mark.parametrize(("low", "high"), [(0, 2**63), (-(10**30), 0), (-(2**62), 2**62)])
def test_integers_of_more_than_64_bits_are_refused_and_not_drawn_wrongly(sample, low, high):
    domain = Domain()
    domain.add_int("n", low, high)
    with pytest.raises(DefinitionError, match="input 'n' can't be sampled: its range is too large"):
        sample(domain, 3)


@each
def test_integers_of_64_bits_are_drawn(sample):
    domain = Domain()
    domain.add_int("n", 2**62, 2**63 - 1)
    assert sample(domain, 100, seed=1)["n"].between(2**62, 2**63 - 1).all()


def test_a_sobol_sequence_fills_the_space_evenly(domain):
    frame = sample_sobol(domain, 64, seed=1)
    assert sorted(((frame["x"] + 5) / 10 * 64).astype(int)) == list(range(64))
    first = np.stack(frame["v"])[:, 0, 0]
    assert len(set(np.round(first, 9))) > 16


def test_the_last_input_of_a_grid_changes_first():
    domain = Domain()
    domain.add_float("x", 0, 1)
    domain.add_int("n", 1, 5, step=2)
    domain.add_category("c", ["a", None])
    domain.add_constant("k", 3)
    rows = sample_grid(domain, 0.5).to_numpy().tolist()
    assert rows == [[x, n, c, 3] for x in (0.0, 0.5) for n in (1, 3, 5) for c in ("a", None)]
    assert sample_grid(domain, {"x": 0.25})["x"].nunique() == 4
    assert sample_grid(Domain()).shape == (0, 0)


def test_a_grid_of_an_array_combines_its_elements():
    domain = Domain()
    domain.add_array("v", 2, [0, 10], [1, 11])
    arrays = [array.tolist() for array in sample_grid(domain, 0.5)["v"]]
    assert arrays == [[0.0, 10.0], [0.0, 10.5], [0.5, 10.0], [0.5, 10.5]]


def test_a_grid_of_floats_needs_a_step(golden):
    domain = Domain()
    domain.add_float("x", 0, 1)
    for step in (None, 0, -1.0, {"y": 1.0}, True, float("nan")):
        with golden.raises(DefinitionError):
            sample_grid(domain, step)
