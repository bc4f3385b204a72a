"""The size of a file is checked before it is read: against what was written, and against the memory here."""

from __future__ import annotations

import os

import pytest

from orchestrator import Domain, ExperimentData, ExperimentSample
from orchestrator.damage import LARGEST, Damaged, check_size, read_whole, written_part
from orchestrator.data.kept_table import keep_table, read_kept
from orchestrator.errors import DataError
from tests.damage import put_in_place

HOLE = "it has a size of 1.1 TB, but nothing was written after byte"


@pytest.fixture
def table(tmp_path):
    """Return the folder of a stored table."""
    data = ExperimentData(input_data=[{"x": 0.5}], output_data=[{"y": 1}], project_dir=tmp_path)
    data.store(tmp_path)
    return tmp_path / "experiment_data"


@pytest.mark.parametrize("name", ["domain.json", "input.csv", "output.csv", "jobs.csv"])
@pytest.mark.parametrize("as_edited", [False, True])
def test_a_table_is_not_read_that_says_a_terabyte(table, name, as_edited):
    with (table / name).open("ab") as file:
        file.truncate(1 << 40)
    with pytest.raises(DataError, match=f"{name} can't be used: {HOLE}") as raised:
        ExperimentData.from_file(table.parent, as_edited=as_edited)
    assert raised.value.hint == "Restore it from a copy."


@pytest.mark.parametrize("name", ["domain.json", "input.csv", "output.csv", "jobs.csv"])
def test_a_table_that_is_larger_than_the_memory_is_not_read(table, name, monkeypatch):
    with (table / name).open("ab") as file:
        file.write(b" " * (2 * LARGEST))
    monkeypatch.setattr("orchestrator.host.usable_memory", lambda: 1_500_000)
    with pytest.raises(
        DataError, match=f"{name} can't be used: it has a size of [0-9.]+ MB, and only 1.5 MB of memory"
    ):
        ExperimentData.from_file(table.parent)


def test_a_table_that_was_kept_is_not_read_that_says_a_terabyte(table, tmp_path):
    keep_table(tmp_path, tmp_path / "kept")
    (tmp_path / "kept" / "input.csv").unlink()
    put_in_place("large", tmp_path / "kept" / "input.csv")
    with pytest.raises(DataError, match=HOLE):
        read_kept(tmp_path / "kept")


@pytest.mark.parametrize("what", ["large", "fifo", "folder", "device", "loop"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("x.csv", lambda path: ExperimentData(input_data=path)),
        ("x.csv", lambda path: ExperimentData(input_data=[{"x": 1}], jobs=path)),
        ("x.json", Domain.from_file),
        ("x.json", ExperimentSample.from_json),
    ],
    ids=["inputs", "statuses", "domain", "experiment"],
)
def test_a_file_of_the_user_is_an_error_that_names_it(tmp_path, name, read, what):
    (tmp_path / name).touch()
    put_in_place(what, tmp_path / name)
    with pytest.raises(DataError, match=f"{name} can't be read: it (is no regular file|has a size)"):
        read(tmp_path / name)


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", "[" * 100_000, '{"input_data": 5}'])
def test_a_file_that_is_no_experiment_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(DataError, match=r"x\.json is not a file of an experiment, or is damaged"):
        ExperimentSample.from_json(tmp_path / "x.json")


def test_a_large_file_without_holes_is_read(tmp_path):
    (tmp_path / "x").write_bytes(b"x" * (LARGEST + 1))
    assert read_whole(tmp_path / "x") == written_part(tmp_path / "x") == b"x" * (LARGEST + 1)


def test_a_file_is_read_up_to_its_hole(tmp_path):
    (tmp_path / "x").write_bytes(b"begin")
    os.truncate(tmp_path / "x", 1 << 40)
    assert written_part(tmp_path / "x").rstrip(b"\0") == b"begin"
    with (tmp_path / "x").open("rb") as file:
        file.read(2)
        with pytest.raises(Damaged, match=HOLE):
            check_size(file)
        assert file.read(3) == b"gin"
