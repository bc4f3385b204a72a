import json
import math
from enum import Enum, IntEnum
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data.domain import CategoricalParameter, Domain, Parameter
from orchestrator.data.experiment_data import ExperimentData
from orchestrator.errors import DataError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "f3dasm"


def full_domain():
    domain = Domain()
    domain.add_float("x", -1, 1)
    domain.add_float("lr", 1e-5, 0.1, log=True)
    domain.add_int("n", 1, 10, step=2)
    domain.add_category("c", ["steel", 1, None, 2.5])
    domain.add_constant("g", 9.81)
    domain.add_array("a", (2, 3), 0, 1)
    domain.add_float("free")
    domain.add_parameter("mesh", to_disk=True, load_function=json.load, load_kwargs={"cls": None})
    domain.add_output("y")
    domain.add_output("field", to_disk=True)
    return domain


def test_a_domain_is_read_from_json_as_it_was_written():
    domain = full_domain()
    back = Domain.from_json(json.loads(json.dumps(domain.to_json())))
    assert back == domain
    assert back.input_names == domain.input_names
    assert back.output_names == ["y", "field"]
    assert back.input_space["mesh"].load_function is json.load
    assert back.input_space["mesh"].load_kwargs == {"cls": None}


def test_f3dasms_file_is_read_and_written_unchanged():
    path = FIXTURES / "all_types" / "domain.json"
    assert Domain.from_file(path).to_json() == json.loads(path.read_text())


def test_a_function_that_cannot_be_imported_here_is_not_lost():
    frozen = b"cnot_there\nload\n.".hex()
    content = full_domain().to_json()
    content["output_space"]["field"]["load_function"] = frozen
    back = Domain.from_json(content)
    assert back.to_json() == content
    with pytest.raises(ModuleNotFoundError):
        _ = back.output_space["field"].load_function


def test_numpy_bounds_and_categories_can_be_stored(tmp_path):
    domain = Domain()
    domain.add_float("x", np.float64(0), np.float32(1))
    domain.add_int("n", np.int64(0), np.int64(3))
    domain.add_category("c", np.array(["a", "b"]))
    domain.add_array("a", 2, np.zeros(2), np.ones(2))
    domain.store(tmp_path / "domain")
    assert Domain.from_file(tmp_path / "domain.json") == domain


def test_equal_bounds_make_a_constant():
    domain = Domain()
    domain.add_float("x", 1.0, 1.0)
    domain.add_int("n", 3, 3)
    assert [p.type_name for p in domain.input_space.values()] == ["constant", "constant"]


def test_names_are_unique():
    domain = full_domain()
    with pytest.raises(KeyError, match="'x'"):
        domain.add_int("x", 0, 1)
    with pytest.raises(KeyError, match="'y'"):
        domain.add_output("y")
    domain.add_output("y", exist_ok=True)


@pytest.mark.parametrize(
    "add",
    [
        lambda d: d.add_float("v", 1, 0),
        lambda d: d.add_float("v", 0, 1, log=True),
        lambda d: d.add_float("v", math.nan, 1),
        lambda d: d.add_int("v", 0, 5, step=0),
        lambda d: d.add_category("v", ["a", "a"]),
        lambda d: d.add_array("v", (0,)),
        lambda d: d.add("v", "complex"),
        lambda d: d.add_output("v", store_function=print),
    ],
)
def test_invalid_parameters_are_refused(add):
    domain = Domain()
    with pytest.raises(ValueError):
        add(domain)
    assert not domain


def test_domains_can_be_added():
    one, other = Domain(), Domain()
    one.add_float("x", 0, 1)
    one.add_constant("c", "a")
    other.add_float("x", 0.5, 2)
    other.add_constant("c", "b")
    other.add_output("y")
    both = one + other
    assert (both.input_space["x"].lower_bound, both.input_space["x"].upper_bound) == (0, 2)
    assert both.input_space["c"] == CategoricalParameter(["b", "a"])
    assert both.output_names == ["y"]


def test_a_file_without_a_valid_domain_is_refused(tmp_path):
    for text in ("{", "[]", "{}", '{"input_space": {"x": {"type": "odd"}}, "output_space": {}}'):
        (tmp_path / "domain.json").write_text(text)
        with pytest.raises(DataError):
            Domain.from_file(tmp_path / "domain")


def test_plain_parameters_differ_by_to_disk():
    assert Parameter() != Parameter(to_disk=True)


class Solver(str, Enum):  # noqa: UP042 - as users write it
    CG = "cg"
    LU = "lu"


class Level(IntEnum):
    LOW = 1
    HIGH = 3


class Plain(Enum):
    A = 1


def test_members_of_enums_are_categories_by_the_text_or_number_that_they_are(tmp_path):
    domain = Domain()
    domain.add_category("solver", list(Solver))
    domain.add_category("level", list(Level))
    domain.add_constant("unit", Solver.LU)
    assert [list(map(type, domain.input_space[name].categories)) for name in ("solver", "level")] == [
        [str] * 2,
        [int] * 2,
    ]
    rows = [{"solver": Solver.CG, "level": Level.LOW, "unit": Solver.LU}, {"solver": "lu", "level": 3, "unit": "lu"}]
    ExperimentData(domain, rows).store(tmp_path)
    assert (tmp_path / "experiment_data" / "input.csv").read_text() == ",solver,level,unit\n0,cg,1,lu\n1,lu,3,lu\n"
    read = ExperimentData.from_file(tmp_path)
    assert read.domain == domain
    assert [inputs for _, inputs, _ in read.open_rows()] == rows


@pytest.mark.parametrize(
    ("categories", "error", "words"),
    [
        ([Plain.A], TypeError, "the category is not valid: a member of an enum .*: use its value"),
        ([[1]], TypeError, "unhashable"),
        ([np.ma.masked, 1], ValueError, "it means a missing value; use None"),
        ([pd.NaT, 1], ValueError, "it means a missing value; use None"),
        ([1, math.nan], ValueError, "it means a missing value; use None"),
        ([10**5000], ValueError, "more than 4300 digits"),
        ([Solver.CG, "cg"], ValueError, "duplicate"),
        ([None, None], ValueError, "duplicate"),
        ("abc", TypeError, r"must be a list of values, not 'abc': write \['abc'\]"),
        (None, TypeError, "must be a list of values, not None"),
        (3, TypeError, r"write \[3\]"),
    ],
)
def test_a_category_that_would_not_come_back_is_refused(categories, error, words):
    with pytest.raises(error, match=words):
        Domain().add_category("c", categories)


@pytest.mark.parametrize("name", [1, None, b"x"])
def test_names_are_text(name):
    for add in (Domain().add_output, Domain().add_parameter):
        with pytest.raises(TypeError, match="must be text, not"):
            add(name)


@pytest.mark.parametrize("name", ["", "a\0b", "caf\udce9"])
def test_names_can_be_written_to_a_file(name):
    for add in (Domain().add_output, Domain().add_parameter):
        with pytest.raises(ValueError, match="can't have the name"):
            add(name)


choices = st.lists(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(), max_size=4),
    min_size=1,
    max_size=5,
    unique=True,
)


@given(choices, st.data())
def test_each_experiment_gets_the_category_that_its_row_has(tmp_path_factory, categories, data):
    folder = tmp_path_factory.mktemp("table")
    domain = Domain()
    domain.add_category("c", categories)
    drawn = data.draw(st.lists(st.sampled_from(categories), max_size=5))
    ExperimentData(domain, [{"c": value} for value in drawn]).store(folder)
    read = [inputs["c"] for _, inputs, _ in ExperimentData.from_file(folder).open_rows()]
    # A column of numbers may have one type.
    assert read == drawn
    assert [isinstance(value, bool) for value in read] == [isinstance(value, bool) for value in drawn]


def test_none_is_an_input_only_where_the_domain_says_so(tmp_path):
    domain = Domain()
    domain.add_category("penalty", ["l1", None])
    domain.add_constant("nothing", None)
    domain.add_parameter("optional")
    ExperimentData(domain, [{"penalty": None, "nothing": None, "optional": None}]).store(tmp_path)
    data = ExperimentData.from_file(tmp_path)
    [(label, inputs, _)] = data.open_rows()
    assert inputs == {"penalty": None, "nothing": None}
    sample = data.get_experiment_sample(label)
    assert sample.get("penalty") is None
    with pytest.raises(KeyError):
        sample.get("optional")
    replaced = data.replace_nan(0).get_experiment_sample(label)
    assert replaced.input_data == {"penalty": None, "nothing": None, "optional": 0}


@pytest.mark.parametrize("bounds", [(1.5, 3), (0, 3.2), (0, math.inf), (0, 10, 0.5)])
def test_a_bound_of_an_integer_input_is_not_rounded(bounds):
    with pytest.raises(ValueError, match="must be integers, not"):
        Domain().add_int("n", *bounds)


def test_a_bound_of_an_integer_input_may_have_any_type_of_number():
    domain = Domain()
    domain.add_int("n", np.int8(1), 3.0)
    assert domain.input_space["n"].to_json()["upper_bound"] == 3


def test_an_input_and_an_output_of_one_name_are_allowed_with_a_warning():
    domain = Domain()
    domain.add_float("x", 0, 1)
    with pytest.warns(UserWarning, match="'x' is both an input and an output"):
        domain.add_output("x")
    domain.add_output("y")
    with pytest.warns(UserWarning, match="'y' is both an input and an output"):
        domain.add_int("y", 0, 3)
