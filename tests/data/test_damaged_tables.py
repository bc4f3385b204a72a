"""A file of a table that was damaged is refused by name; an edit that keeps the types of the columns is taken."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

from orchestrator import Domain, ExperimentData
from orchestrator.errors import DataError, OrchestratorError

FILES = ("domain.json", "input.csv", "output.csv", "jobs.csv")


@pytest.fixture
def seeds(pytestconfig):
    """Return the seeds of the damages of one kind."""
    return range(pytestconfig.getoption("--examples") * 3 // 2)


@pytest.fixture
def table(tmp_path):
    """Return the folder of a stored table with every type of column."""
    domain = Domain()
    domain.add_float("x", low=0.0, high=2.0)
    domain.add_int("n", low=0, high=9)
    domain.add_category("c", ["a", "b,c", 'q"r', "None"])
    domain.add_array("a", (2, 2), 0, 1)
    domain.add_output("y")
    domain.add_output("j")
    categories = ["a", "b,c", 'q"r', "None"]
    inputs = [{"x": i / 7, "n": i, "c": categories[i % 4], "a": np.full((2, 2), i / 9)} for i in range(8)]
    outputs = [{"y": i * 1.5, "j": [1, {"z": i}] if i % 3 else "text"} for i in range(8)]
    data = ExperimentData(domain=domain, input_data=inputs, output_data=outputs, project_dir=tmp_path)
    data.mark(range(8), "finished", in_place=True)
    data.store(tmp_path)
    return tmp_path / "experiment_data"


def use(table):
    """Read the table and look at all of it."""
    data = ExperimentData.from_file(table.parent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about objects that may not be loaded
        data.to_pandas()
    assert repr(data)
    for _, sample in data:
        sample.to_dict()
    data.store(table.parent / "again")


def why_refused(table):
    """Return the message of the error; None if the table can be used. Any other exception is a bug."""
    try:
        use(table)
    except OrchestratorError as error:
        return error.message
    return None


@pytest.mark.parametrize(
    ("name", "old", "new", "why"),
    [
        ("input.csv", b"3,0.42857142857142855", b"3,0.4285714285714285O", "'0.4285714285714285O' in the row 3"),
        ("input.csv", b"\n3,0.42857142857142855,3,", b"\n3,0.42857142857142855,1.5,", "'1.5' in the row 3"),
        ("input.csv", b"3,0.42857142857142855", b"3,0.4285714285714_855", "'0.4285714285714_855' in the row 3"),
        ("output.csv", b",10.5,", b",1_0.5,", "'1_0.5' in the row 7"),
        ("input.csv", b"\n3,", b"\nzz,", "the label 'zz' is not an integer"),
        ("input.csv", b"\n3,", b"\n2,", "the label '2' is not an integer, or occurs twice"),
        ("output.csv", b'""z"": 4', b'""z"": ', "in the row 4"),
        ("output.csv", b",y,", b",z,", "it has no column 'y'"),
        ("jobs.csv", b"3,FINISHED", b"3,FINISHEX", "'FINISHEX' in the row 3 is not a status"),
        ("output.csv", b",10.5,", b",10.5", "in the row 7"),
        ("domain.json", b'"columns"', b'"colulns"', "it has 'colulns'"),
        ("domain.json", b'"columns": {', b'"columns": {}, "stored_by": {', "has a damaged note"),
        ("domain.json", b'"folded": {},', b"", "it has no 'folded'"),
        ("domain.json", b'"upper_bound"', b'"uqper_bound"', "a parameter has other fields"),
        ("domain.json", b'"output_space": {\n        "y"', b'"output_space": {\n        "x"', "it has no output 'y'"),
    ],
)
def test_a_damaged_cell_is_named_and_no_other_cell_changes(table, name, old, new, why):
    content = (table / name).read_bytes()
    assert old in content
    (table / name).write_bytes(content.replace(old, new))
    with pytest.raises(DataError) as raised:
        use(table)
    assert name in raised.value.message
    assert why in raised.value.message


@pytest.mark.parametrize("name", FILES[1:])
def test_a_file_that_was_cut_in_its_last_cell_is_refused(table, name):
    content = (table / name).read_bytes()
    (table / name).write_bytes(content[:-2])
    with pytest.raises(DataError, match=r"last line is not complete|fields"):
        use(table)


def test_values_that_were_edited_are_taken(table):
    content = (table / "output.csv").read_bytes()
    (table / "output.csv").write_bytes(content.replace(b"\n3,4.5,", b"\n3,4.25,"))
    jobs = (table / "jobs.csv").read_bytes()
    (table / "jobs.csv").write_bytes(jobs.replace(b"5,FINISHED", b"5,ERROR"))
    data = ExperimentData.from_file(table.parent)
    assert data.get_experiment_sample(3).output_data["y"] == 4.25
    assert data.get_experiment_sample(5).is_status("error")


@pytest.mark.parametrize(
    ("old", "new", "name", "upper"),
    [
        (b'"upper_bound": 2.0', b'"upper_bound": 3', "x", 3.0),
        (b'"upper_bound": 2.0', b'"upper_bound": 2.5', "x", 2.5),
        (b'"upper_bound": 2.0', b'"upper_bound": 12345678901234567890', "x", 12345678901234567890.0),
        (b'"upper_bound": 2.0', b'"upper_bound": Infinity', "x", float("inf")),
        (b'"upper_bound": 1.0', b'"upper_bound": 2', "a", 2.0),
        (b'"upper_bound": 9', b'"upper_bound": 12', "n", 12),
        (b'"upper_bound": 9', b'"upper_bound": 12.0', "n", 12),
        (b'"upper_bound": 9', b'"upper_bound": 1.2e1', "n", 12),
    ],
)
def test_a_bound_that_was_edited_is_taken(table, old, new, name, upper):
    content = (table / "domain.json").read_bytes()
    assert old in content
    (table / "domain.json").write_bytes(content.replace(old, new))
    assert ExperimentData.from_file(table.parent).domain.input_space[name].upper_bound == upper


def test_pandas_can_write_a_file_again(table):
    for name in ("input.csv", "output.csv"):
        frame = pd.read_csv(table / name, index_col=0, dtype=str, keep_default_na=False)
        frame.to_csv(table / name)
    use(table)


def test_the_named_command_takes_a_file_with_other_types(table):
    content = (table / "input.csv").read_bytes()
    (table / "input.csv").write_bytes(content.replace(b"\n3,0.42857142857142855,3,", b"\n3,0.42857142857142855,1.5,"))
    with pytest.raises(DataError) as raised:
        use(table)
    assert raised.value.hint is not None
    command = raised.value.hint.partition("python -c ")[2]
    subprocess.run(f"{sys.executable} -c {command}", shell=True, check=True)
    inputs, _ = ExperimentData.from_file(table.parent).to_pandas()
    assert inputs["n"].tolist() == [0.0, 1.0, 2.0, 1.5, 4.0, 5.0, 6.0, 7.0]


PIECES = [b"NaN", b"1e999", b"-1", b"9" * 5000, b"null", b"[]", b'"', b",", b"\n", b"\0", b"\xff", b"true", b"[[[["]


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Change a byte, remove some, insert a piece, cut the end off, or repeat a part; once or several times."""
    changed = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0:
                changed[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del changed[at : at + rng.choice([1, 3, 20])]
            case 2:
                changed[at : at + rng.choice([0, 4])] = rng.choice(PIECES)
            case 3:
                del changed[at:]
            case 4:
                changed[at:at] = changed[rng.randrange(at + 1) : at][:200]
    return bytes(changed)


def test_a_table_with_damaged_bytes_is_read_or_refused_by_name(table, seeds):
    whole = {name: (table / name).read_bytes() for name in FILES}
    for seed in seeds:
        rng = random.Random(seed)
        damaged = FILES[seed % 4]
        for name, content in whole.items():
            (table / name).write_bytes(mutated(content, rng) if name == damaged else content)
        why = why_refused(table)
        assert why is None or damaged in why or "don't belong together" in why, (seed, why)


REPLACEMENTS = [
    *(None, True, -1, 0, 10**400, 1e308, float("nan"), "", "x", "80", "<f8", "O", 10**12, "f" * 10000),
    *([], {}, [1], {"a": 1}, [[[]]], [10**9, 10**9], {"$array": {"dtype": "<f8", "shape": [10**12], "data": ""}}),
]


def places(value, path=()):
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


def replaced(value, path, new):
    if not path:
        return new
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


def test_a_domain_with_other_values_is_read_or_refused(table, seeds):
    whole = (table / "domain.json").read_bytes()
    for seed in seeds:
        rng = random.Random(seed)
        domain = json.loads(whole)
        path = rng.choice(list(places(domain)))
        (table / "domain.json").write_text(json.dumps(replaced(domain, path, rng.choice(REPLACEMENTS))))
        why = why_refused(table)
        assert why is None or str(table) in why, (seed, why)
