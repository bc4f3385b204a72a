"""The rows that a manifest gets, made column by column, are those that single rows give."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data.column import Column
from orchestrator.data.domain import Domain
from orchestrator.data.experiment_data import ExperimentData
from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.labels import Labels
from orchestrator.data.results import inputs_digest
from orchestrator.data.row_texts import digests_of, open_rows_of
from orchestrator.data.table import Table
from orchestrator.data.values import to_jsonable

cells = [
    st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 1.0, 1e22, 1e300, math.inf, -math.inf]),
    st.integers(),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.text(max_size=3) | st.sampled_from(["", "nan", "%s", '"', "\ud800"]),
    st.lists(st.integers() | st.floats(allow_nan=False) | st.text(max_size=3), max_size=3),
    st.binary(max_size=3),
]
names = st.sampled_from(["x", "a,b", "%d", 'q"', "ä", "X", "long name"])


@st.composite
def tables(draw):
    """Return columns of one type or of several, with or without missing cells."""
    n = draw(st.integers(0, 6))
    kinds = [*cells, st.one_of(*cells)]
    kinds += [kind | st.none() for kind in kinds]
    return n, draw(
        st.dictionaries(names, st.sampled_from(kinds).flatmap(lambda k: st.lists(k, min_size=n, max_size=n)))
    )


@pytest.mark.slow
@settings(max_examples=2 * settings.default.max_examples)
@given(tables(), tables(), st.data())
def test_the_rows_of_columns_are_those_of_single_rows(inputs, outputs, data):
    n = min(inputs[0], outputs[0])
    domain = Domain()
    if "x" in inputs[1] and data.draw(st.booleans()):
        domain.add_category("x", [None, "a"])
    jobs = data.draw(st.lists(st.sampled_from(["OPEN", "FINISHED", "ERROR"]), min_size=n, max_size=n))
    columns = [{name: column[:n] for name, column in part[1].items()} for part in (inputs, outputs)]
    table = ExperimentData(domain, *columns, jobs)
    found = [
        (label, digest, json.loads(given), json.loads(known))
        for label, digest, given, known in zip(*open_rows_of(table), strict=True)
    ]
    assert repr(found) == repr(
        [
            (
                label,
                inputs_digest(given),
                *({name: to_jsonable(v) for name, v in part.items()} for part in (given, known)),
            )
            for label, given, known in table.open_rows()
        ]
    )


def test_the_digest_of_a_row_is_that_of_its_inputs():
    rows = [{"x": 0.5, "n": 3, "name": "a"}, {"x": 2.0, "n": None, "name": "b"}, {"x": None, "n": 2**70, "name": None}]
    columns = {name: Column([row[name] for row in rows]) for name in ("x", "n", "name")}
    assert digests_of(Table(Labels(range(3)), columns, {}, bytearray(3))) == [inputs_digest(row) for row in rows]
    assert digests_of(Table(Labels(range(2)), {}, {}, bytearray(2))) == [inputs_digest({})] * 2


def digests_are_right(data):
    assert digests_of(data._contents.table) == [inputs_digest(sample.input_data) for _, sample in data]


def test_digests_are_those_of_the_table_as_it_is_now(tmp_path):
    for n, cells in enumerate([[1, 2], ["1", "2"], [[1], [2]]]):
        ExperimentData(input_data={"x": cells}, project_dir=tmp_path / str(n)).store()
        data = ExperimentData.from_file(tmp_path / str(n))  # two of them have the same input.csv
        digests_are_right(data)
        digests_are_right(data)
        data.store_experimentsample(ExperimentSample({"x": "new"}), 0)
        digests_are_right(data)
    lists = ExperimentData.from_file(tmp_path / "2")
    digests_are_right(lists)
    lists._contents.table.inputs["x"][1].append(3)
    digests_are_right(lists)


def test_an_object_on_disk_is_a_reference_in_its_row(tmp_path):
    domain = Domain()
    domain.add_parameter("mesh", to_disk=True)
    data = ExperimentData(domain, [{"mesh": [1, 2]}, {"mesh": None}], project_dir=tmp_path)
    rows = open_rows_of(data)
    [(_, first, _), (_, second, _)] = list(data.open_rows())
    assert json.loads(rows.inputs[0]) == {"mesh": to_jsonable(first["mesh"])}
    assert json.loads(rows.inputs[1]) == second == {}
    assert rows.digests == [inputs_digest(first), inputs_digest(second)]
