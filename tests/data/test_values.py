import json
import math
import subprocess
import sys
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data.values import from_jsonable, is_missing, to_jsonable

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.datetimes().map(lambda moment: moment.replace(fold=0))
    | st.dates()
    | st.complex_numbers(allow_nan=False)
)
nested = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=3)
        | st.dictionaries(st.sampled_from(["$array", "$x", "a"]), inner, max_size=2)
    ),
    max_leaves=6,
)


def through_json(value):
    return from_jsonable(json.loads(json.dumps(to_jsonable(value))))


@given(nested)
def test_a_value_is_read_equal_and_of_the_same_type(value):
    back = through_json(value)
    assert back == value
    assert repr(back) == repr(value)  # tells 1 from 1.0 and True, and 0.0 from -0.0


@pytest.mark.parametrize("value", [math.inf, -math.inf, -0.0, 5e-324, 0.1 + 0.2])
def test_floats_are_read_exactly(value):
    assert np.float64(through_json(value)).tobytes() == np.float64(value).tobytes()


def test_nan_is_read_as_nan():
    assert math.isnan(through_json(math.nan))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6.0).reshape(2, 3),
        np.arange(3, dtype=">i2"),
        np.zeros((0, 4)),
        np.array(3.5),
        np.array(["a", "bc"]),
        np.array([True, False]),
        np.array(["2026-01-01"], dtype="datetime64[ns]"),
        np.array([1 + 2j]),
        np.array([1, "a", None], dtype=object),
        np.arange(6).reshape(2, 3).T,
    ],
)
def test_an_array_is_read_with_its_type_and_shape(array):
    back = through_json(array)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert np.array_equal(back, array)
    assert back.flags.writeable


def test_numpy_scalars_become_python_values():
    plain = through_json({"f": np.float64(0.1), "i": np.int64(7), "b": np.bool_(True), "s": np.str_("x")})
    assert plain == {"f": 0.1, "i": 7, "b": True, "s": "x"}
    assert [type(value) for value in plain.values()] == [float, int, bool, str]
    single = through_json(np.float32(0.1))
    assert type(single) is np.float32
    assert single == np.float32(0.1)


def test_paths_and_sets_are_read_as_they_were_written():
    assert through_json(Path("a/b")) == Path("a/b")
    assert through_json({1, "a"}) == {1, "a"}
    assert through_json((date(2026, 1, 2), datetime(2026, 1, 2, 3))) == (
        date(2026, 1, 2),
        datetime(2026, 1, 2, 3),
    )


def test_an_unknown_type_is_refused_and_the_error_says_what_to_do():
    class Model:
        pass

    with pytest.raises(TypeError, match=r"Model.*to_disk=True"):
        to_jsonable({"model": [Model()]})


def test_an_unknown_tag_is_refused():
    with pytest.raises(ValueError, match=r"\$new"):
        from_jsonable({"$new": 1})


@pytest.mark.parametrize("value", [None, math.nan, np.float32("nan"), np.datetime64("NaT", "ns")])
def test_missing_values_are_recognised(value):
    assert is_missing(value)


@pytest.mark.parametrize("value", ["", "nan", 0, False, [], np.array([np.nan]), np.float32(0)])
def test_other_values_are_not_missing(value):
    assert not is_missing(value)


def test_a_task_imports_no_heavy_module():
    code = (
        "import sys, orchestrator.data.values, orchestrator.data.results, orchestrator.data.domain;"
        "import orchestrator.data.experiment_sample, orchestrator.data.fold, orchestrator.data.files;"
        "sys.exit(', '.join({'numpy', 'pandas', 'scipy', 'filelock'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
