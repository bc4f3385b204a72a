import json
import math
import subprocess
import sys
from datetime import date, datetime
from enum import Enum, IntEnum, StrEnum
from pathlib import Path, PureWindowsPath
from threading import Lock

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
        "import orchestrator.data.experiment_sample, orchestrator.data.fold, orchestrator.data.generations;"
        "sys.exit(', '.join({'numpy', 'pandas', 'scipy', 'filelock'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


class Solver(str, Enum):  # noqa: UP042 - as users write it
    CG = "cg"
    LU = "lu\udce9"


class Level(IntEnum):
    LOW = 1


class Unit(StrEnum):
    M = "m"


class Share(float, Enum):
    HALF = 0.5


class Plain(Enum):
    A = 1


class Odd(int):
    """An int that calls itself something else."""

    def __int__(self):
        return 7

    def __index__(self):
        return 7

    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    "member", [Solver.CG, Solver.LU, Level.LOW, Unit.M, Share.HALF, pytest.param(Odd(3), id="odd")]
)
def test_a_member_of_an_enum_that_is_text_or_a_number_becomes_the_equal_text_or_number(member):
    back = through_json(member)
    assert back == member
    assert type(back) in (str, int, float)


LOOP: list = []
LOOP.append(LOOP)
DEEP: list = []
for _ in range(5000):
    DEEP = [DEEP]
STRUCTURE = np.array([(1, 2.0)], dtype=[("a", int), ("b", float)])

REFUSED = {
    "an enum": (Plain.A, "a member of an enum of type .*test_values.Plain .*: use its value"),
    "a generator": ((i for i in range(3)), "builtins.generator"),
    "a lock": (Lock(), "lock"),
    "a loop": (LOOP, "nested more than 100 levels deep, or contains itself"),
    "deeply nested": (DEEP, "nested more than 100 levels deep"),
    "a long integer": (7**6000, "more than 4300 digits .* hex"),
    "a long integer inside": ({"a": [-(10**4300)]}, "more than 4300 digits"),
    "a masked array": (np.ma.array([1, 2], mask=[0, 1]), r"value.filled\(...\)"),
    "a subclass": (np.arange(2).view(type("Mine", (np.ndarray,), {"__module__": "numpy.mine"})), "numpy.mine.Mine"),
    "a structure": (STRUCTURE, "a NumPy value of type"),
    "one of a structure": (STRUCTURE[0], "a NumPy value of type"),
    "records": (STRUCTURE.view(np.recarray), "numpy.recarray|numpy.rec.recarray"),
    "raw bytes": (np.void(b"abc"), "a NumPy value of type"),
    "a type": (np.dtype("f8"), "numpy"),
    "random numbers": (np.random.default_rng(0), "numpy.random"),
    "a path of Windows": (PureWindowsPath("a/b"), "PureWindowsPath"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_value_that_would_not_come_back_is_refused_with_words(case):
    value, words = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=f"(?s){words}") as raised:
        to_jsonable(value)
    assert "can't be stored in the table" in str(raised.value)


@pytest.mark.parametrize(
    "value",
    [
        np.bytes_(b""),
        np.bytes_(b"a\0b"),
        np.array([], dtype="U"),
        np.array(["", ""], dtype="S"),
        np.float16(1.5),
        np.longdouble(1) / 3,
        np.datetime64("2026-01-01T00:00:01"),
        np.timedelta64(3, "D"),
        np.complex64(1j),
    ],
)
def test_numpy_values_of_rare_types_are_read_with_their_type(value):
    back = through_json(value)
    assert (type(back), back.dtype) == (type(value), value.dtype)
    assert np.array_equal(back, value)


@given(st.text(st.characters()), st.integers(-(10**4300) + 1, 10**4300 - 1))
def test_every_text_and_every_integer_that_python_prints_is_read_equal(text, number):
    assert through_json([text, number]) == [text, number]
