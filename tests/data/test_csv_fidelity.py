import io
import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.data.cell_texts import decode_column, encode_column
from orchestrator.data.column import Column
from orchestrator.data.columns import plain_cells
from orchestrator.data.csv_files import csv_parts, read_csv
from orchestrator.data.domain import Domain
from orchestrator.data.experiment_data import ExperimentData
from orchestrator.data.labels import Labels
from orchestrator.data.unquoted_csv import read_unquoted
from orchestrator.data.values import from_jsonable, is_missing, to_jsonable
from orchestrator.errors import DataError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "f3dasm"

cell_kinds = [
    st.floats(allow_nan=False),
    st.integers(),
    st.booleans(),
    st.text() | st.sampled_from(["", "nan", "NA", "001", "True", "1.0", " x ", 'a,"b"', "\r\n"]),
    st.lists(st.integers() | st.text(max_size=3), max_size=3),
]
columns = st.one_of(
    *(st.lists(kind | st.none(), max_size=8) for kind in cell_kinds),
    st.lists(st.one_of(*cell_kinds, st.none()), max_size=8),
)


@pytest.mark.slow
@settings(max_examples=2 * settings.default.max_examples)
@given(columns)
def test_every_cell_is_read_as_it_was_written(cells):
    encoded = encode_column(Column(cells))
    content = b"".join(csv_parts(Labels(range(len(cells))), {"a": encoded, "b,\n": encoded}))
    labels, read = read_csv(content, "input.csv")
    assert list(labels) == list(range(len(cells)))
    for name in ("a", "b,\n"):
        back = decode_column(read[name], json.loads(json.dumps(encoded.note)), None)
        assert repr(back) == repr(cells)


@pytest.mark.slow
@settings(max_examples=2 * settings.default.max_examples)
@given(columns)
def test_a_file_without_quotation_marks_is_read_as_it_was_written(cells):
    encoded = encode_column(Column(cells))
    content = b"".join(csv_parts(Labels(range(len(cells))), {"a": encoded, "b": encoded}))
    read = read_unquoted(content, dict.fromkeys("ab", json.loads(json.dumps(encoded.note))))
    if b'"' in content:
        assert read is None
        return
    assert list(read[0]) == list(range(len(cells)))
    for name in "ab":
        assert repr(read[1][name].cells()) == repr(cells)
    for changed in (content[:-1], content + b"7,\n", content.replace(b",a,", b",c,"), b""):
        assert read_unquoted(changed, dict.fromkeys("ab", encoded.note)) is None


def test_a_table_of_many_experiments_is_read_without_pandas(tmp_path):
    ExperimentData(input_data=[{"x": row / 7, "n": row} for row in range(20_000)], project_dir=tmp_path).store()
    code = "import sys; from orchestrator import ExperimentData; data = ExperimentData.from_file(sys.argv[1]); "
    code += "print(len(data), data.get_experiment_sample(7).input_data, 'pandas' in sys.modules)"
    read = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert read.stdout == "20000 {'x': 1.0, 'n': 7} False\n"


VALUES = {
    "text": ["", "nan", "NA", "001", "True", None],
    "empty": ["", "a", "b", "c", "d", "e"],
    "float": [0.1 + 0.2, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), None],
    "int": [1, 2, 3, 2**53 + 1, -5, 0],
    "holes": [1, None, 3, 2**53 + 1, None, 0],
    "bool": [True, False, True, True, False, False],
    "maybe": [True, None, None, True, False, False],
    "list": [[1, "a"], [], None, {"k": [1.5]}, (1, 2), [None]],
    "big": [2**70, 1, 2, 3, 4, 5],
    "mixed": [1, 1.0, "1", True, None, ""],
}


def test_a_table_is_read_from_its_files_as_it_was_written(tmp_path):
    rows = [dict(zip(VALUES, row, strict=True)) for row in zip(*VALUES.values(), strict=True)]
    data = ExperimentData(input_data=rows, output_data=rows, project_dir=tmp_path)
    data.store()
    back = ExperimentData.from_file(tmp_path)
    assert back == data
    for rows_of in (back.input_rows(), back.output_rows()):
        for at, row in enumerate(rows):
            present = {name: cell for name, cell in row.items() if cell is not None}
            assert repr(rows_of(at)) == repr(present)


def test_arrays_are_read_as_they_were_written(tmp_path):
    arrays = [np.arange(4.0).reshape(2, 2), np.array([1, 2], dtype="int8"), np.zeros(100_000)]
    data = ExperimentData(None, {"x": [1, 2, 3]}, {"a": arrays}, project_dir=tmp_path)
    data.store()
    back = [sample.get("a") for _, sample in ExperimentData.from_file(tmp_path)]
    for one, other in zip(arrays, back, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


def test_pandas_columns_have_the_type_of_their_cells(tmp_path):
    frame = pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in VALUES.items()})
    data = ExperimentData(input_data=frame[["float", "int", "holes", "bool", "maybe", "text"]])
    inputs, _ = data.to_pandas()
    assert [str(kind) for kind in inputs.dtypes] == [
        "float64", "int64", "Int64", "bool", "boolean", "object",
    ]  # fmt: skip


def test_text_columns_of_pandas_and_numpy_scalars_become_python_values():
    frame = pd.DataFrame({"t": ["a", None], "f": np.float32([0.5, np.nan]), "i": np.int8([1, 2])})
    data = ExperimentData(input_data=frame)
    assert list(data.open_rows()) == [(0, {"t": "a", "f": 0.5, "i": 1}, {}), (1, {"i": 2}, {})]
    assert plain_cells([np.int64(1), np.bool_(True), pd.NA, pd.NaT]) == [1, True, None, None]


def test_all_types_of_f3dasm_are_read(tmp_path):
    shutil.copytree(FIXTURES / "all_types", tmp_path / "experiment_data")
    data = ExperimentData.from_file(tmp_path)
    assert list(data.jobs) == ["FINISHED", "ERROR", "IN_PROGRESS", "OPEN"]
    samples = [sample for _, sample in data]
    assert samples[0].input_data == {"x0": 0.25, "lr": 0.001, "n": 3, "mat": "al, 6061", "g": 9.81}
    assert samples[1].get("mat") == '"pvc"'
    assert samples[0].get("label") == "buckled"
    assert samples[0].get("field").shape
    assert samples[3].output_data == {}
    data.store()
    again = ExperimentData.from_file(tmp_path)
    assert again == data
    for name in ("input.csv", "output.csv", "jobs.csv"):
        new = (tmp_path / "experiment_data" / name).read_text()
        assert new == (FIXTURES / "all_types" / name).read_text()


@pytest.mark.parametrize("name", ["experiment_data_open", "experiment_data_collected"])
def test_studies_of_f3dasm_are_read_and_written_alike(tmp_path, name):
    shutil.copytree(FIXTURES / name, tmp_path / "experiment_data")
    ExperimentData.from_file(tmp_path).store()
    for path in (FIXTURES / name).glob("*.csv"):
        assert (tmp_path / "experiment_data" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("texts", "cells"),
    [
        (["1", "2"], [1, 2]),
        (["1.0", ""], [1.0, None]),
        (["True", "False"], [True, False]),
        (["a", "nan", ""], ["a", None, None]),
        (["1e5", "inf"], [1e5, float("inf")]),
        (["1_0", "2"], ["1_0", "2"]),
    ],
)
def test_columns_without_a_recorded_type_get_the_type_of_their_cells(texts, cells):
    assert repr(decode_column(texts, None, None)) == repr(cells)


def test_a_recorded_type_that_does_not_match_is_ignored():
    assert decode_column(["a", "2"], {"kind": "int"}, None) == ["a", "2"]
    assert decode_column(["1", "2"], {"kind": "mixed", "codes": "i"}, None) == [1, 2]


def test_categories_in_files_of_f3dasm_have_their_type(tmp_path):
    shutil.copytree(FIXTURES / "all_types", tmp_path / "experiment_data")
    for name, old, new in (("domain.json", "steel", "001"), ("input.csv", "steel", "001")):
        path = tmp_path / "experiment_data" / name
        path.write_text(path.read_text().replace(old, new))
    assert ExperimentData.from_file(tmp_path).to_pandas()[0]["mat"].tolist()[2:] == ["001", "001"]


def test_truncated_files_are_refused(tmp_path):
    data = ExperimentData(None, [{"x": 1.5, "z": 2.5}] * 9, [{"y": 2}] * 9, project_dir=tmp_path)
    data.store()
    for name in ("input.csv", "output.csv", "jobs.csv", "domain.json"):
        path = tmp_path / "experiment_data" / name
        whole = path.read_bytes()
        for cut in (0, len(whole) // 2):
            path.write_bytes(whole[:cut])
            with pytest.raises(DataError):
                ExperimentData.from_file(tmp_path)
        path.write_bytes(whole)


def test_a_value_that_cannot_be_stored_is_refused_by_name(tmp_path, golden):
    data = ExperimentData(None, [{"x": 1}], [{"model": object()}], project_dir=tmp_path)
    with golden.raises(TypeError):
        data.store()
    assert not (tmp_path / "experiment_data").exists()


every_text = st.text(st.characters() | st.sampled_from('\0\r\n\t\x1b,"\ud800\udce9'), max_size=8)


@given(st.lists(every_text | st.none() | st.integers(), max_size=6))
def test_every_text_is_read_back_and_the_file_is_utf8(cells):
    encoded = encode_column(Column(cells))
    content = b"".join(csv_parts(Labels(range(len(cells))), {"x": encoded}))
    assert "\0" not in content.decode("utf-8")
    _, read = read_csv(content, "x.csv")
    assert decode_column(read["x"], json.loads(json.dumps(encoded.note)), None) == cells
    frame = pd.read_csv(io.BytesIO(content), index_col=0, keep_default_na=False, dtype=str)
    assert len(frame) == len(cells)


def test_an_integer_that_python_does_not_print_is_refused_with_the_name_of_its_column(tmp_path):
    data = ExperimentData(None, [{"n": 10**5000}], project_dir=tmp_path)
    with pytest.raises(ValueError, match="input 'n': an integer of more than 4300 digits can't be stored"):
        data.store()


def test_digits_of_another_program_that_python_does_not_read_stay_text():
    texts = ["1", "9" * 5000]
    assert decode_column(texts, None, None) == texts
    assert decode_column(texts, {"kind": "int"}, None) == texts


@pytest.mark.parametrize(
    ("value", "back"),
    [
        (np.float32(0.1), float(np.float32(0.1))),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.str_("a"), "a"),
        (np.bytes_(b""), b""),
        (np.longdouble(1) / 3, np.longdouble(1) / 3),
        (np.complex64(1j), np.complex64(1j)),
        (np.datetime64("2026-01-01"), np.datetime64("2026-01-01")),
        (3 + 4j, 3 + 4j),
        (Path("a/b"), Path("a/b")),
        ("caf\udce9 \0", "caf\udce9 \0"),
        ((1, [2, {"a": None}]), (1, [2, {"a": None}])),
    ],
    ids=repr,
)
def test_an_output_comes_back_as_the_documents_say(tmp_path, value, back):
    ExperimentData(None, [{"x": 1}], [{"y": value}], project_dir=tmp_path).store()
    read = ExperimentData.from_file(tmp_path).get_experiment_sample(0).output_data["y"]
    assert read == back
    assert type(read) is type(back)


@pytest.mark.parametrize(
    "missing", [None, math.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT", "s"), np.ma.masked], ids=repr
)
def test_every_kind_of_missing_value_is_a_missing_value(tmp_path, missing):
    ExperimentData(None, {"x": [1, missing]}, [{"y": missing}, {"y": 2}], project_dir=tmp_path).store()
    data = ExperimentData.from_file(tmp_path)
    assert [data.input_rows()(row) for row in range(2)] == [{"x": 1}, {}]
    assert [data.output_rows()(row) for row in range(2)] == [{}, {"y": 2}]
    assert is_missing(from_jsonable(json.loads(json.dumps(to_jsonable(missing)))))


def test_a_masked_column_has_missing_values(tmp_path):
    values = np.ma.array([1.0, 2.0], mask=[0, 1])
    for source in ({"x": values}, values.reshape(2, 1)):
        domain = Domain()
        domain.add_float("x")
        assert [row for _, row, _ in ExperimentData(domain, source).open_rows()] == [{"x": 1.0}, {}]


ARRAYS = {
    "floats": [np.array([0.1, -0.0, 5e-324, np.inf]), None, np.array([[1.5], [np.nan]])],
    "half floats": [np.array([0.1, 2.0], dtype="f2")],
    "big-endian": [np.array([1.0, 2.0], dtype=">f8")],
    "integers": [np.array([2**64 - 1], dtype="u8"), np.array([], dtype="u8")],
    "truth values": [np.array([[True, False]])],
    "no dimension": [np.array(2.5)],
    "other shapes of nothing": [np.empty((0, 3)), np.empty((2, 0))],
    "other NaN": [np.array([0x7FF8000000000001], dtype="u8").view("f8")],
    "long floats": [np.array([1.1], dtype="longdouble")],
    "complex": [np.array([1 + 2j])],
    "types that differ": [np.array([1.0]), np.array([1])],
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_an_array_comes_back_bit_for_bit(tmp_path, kind):
    cells = ARRAYS[kind]
    ExperimentData(input_data={"n": list(range(len(cells)))}, output_data={"y": cells}, project_dir=tmp_path).store()
    rows = ExperimentData.from_file(tmp_path).output_rows()
    for at, cell in enumerate(cells):
        back = rows(at).get("y")
        assert (back is None) == (cell is None)
        if cell is not None:
            assert (back.dtype, back.shape, back.tobytes()) == (cell.dtype, cell.shape, cell.tobytes())


def test_an_array_is_a_list_in_the_file(tmp_path):
    cells = [np.array([0.1, 2.0]), None]
    ExperimentData(input_data={"n": [0, 1]}, output_data={"y": cells}, project_dir=tmp_path).store()
    assert (tmp_path / "experiment_data" / "output.csv").read_text() == ',y\n0,"[0.1, 2.0]"\n1,\n'
