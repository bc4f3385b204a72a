import json
import math
import os
import subprocess
import sys
import zlib
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.data import results
from orchestrator.data.results import (
    ResultFile,
    ResultWriter,
    frame,
    inputs_digest,
    read_results,
    unframe,
)
from orchestrator.errors import DataError
from tests.damage import NOT_JSON


def line(row, **more):
    return {"row": row, "inputs": "0" * 16, "status": "FINISHED", "outputs": {"y": row / 3}, **more}


def with_checksum(body):
    return b"%08x %08x %s\n" % (len(body), zlib.crc32(body), body)


def test_a_line_is_read_as_it_was_written():
    value = line(1, error={"message": "ü\n\x00\ud800"})
    assert unframe(frame(value)) == value
    assert frame(value).count(b"\n") == 1


def test_a_truncated_or_changed_line_is_refused():
    whole = frame(line(1))
    for cut in range(len(whole) - 1):
        with pytest.raises(DataError):
            unframe(whole[:cut])
    for at in range(len(whole) - 1):
        changed = bytearray(whole)
        changed[at] ^= 1
        with pytest.raises(DataError):
            unframe(bytes(changed))


def test_results_are_appended_and_read(tmp_path):
    path = tmp_path / "deep" / "0.0.jsonl"
    for row in range(2):
        with ResultWriter(path) as writer:
            writer.write(line(row))
    assert list(read_results(path)) == [line(0), line(1)]


def test_a_line_can_be_read_before_the_file_is_closed(tmp_path):
    with ResultWriter(tmp_path / "r") as writer:
        writer.write(line(0))
        assert list(read_results(tmp_path / "r")) == [line(0)]


def test_an_incomplete_last_line_damages_no_later_line(tmp_path):
    path = tmp_path / "r"
    path.write_bytes(frame(line(0)) + frame(line(1))[:30])
    with ResultWriter(path) as writer:
        writer.write(line(2))
    read = ResultFile.read(path)
    assert list(read.lines) == [line(0), line(2)]
    assert read.n_torn == 1
    assert read.end == path.stat().st_size


def test_reading_continues_after_the_last_complete_line(tmp_path):
    path = tmp_path / "r"
    path.write_bytes(frame(line(0)) + frame(line(1))[:30])
    first = ResultFile.read(path)
    assert (list(first.lines), first.n_torn) == ([line(0)], 1)
    path.write_bytes(frame(line(0)) + frame(line(1)))
    assert list(ResultFile.read(path, first.end).lines) == [line(1)]


def test_a_full_disk_loses_only_one_line(tmp_path, monkeypatch):
    real = os.write
    full = [False, True, False]

    def write(fd, data):
        if full and full.pop(0):
            real(fd, data[:10])
            raise OSError(28, "No space left on device")
        return real(fd, data)

    monkeypatch.setattr(results.os, "write", write)
    with ResultWriter(tmp_path / "r") as writer:
        writer.write(line(0))
        with pytest.raises(OSError, match="No space"):
            writer.write(line(1))
        writer.write(line(2))
    assert list(ResultFile.read(tmp_path / "r").lines) == [line(0), line(2)]


def test_lines_are_synced_at_most_once_a_second_and_at_the_end(tmp_path, monkeypatch):
    now = [100.0]
    synced = []
    monkeypatch.setattr(results.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(results.os, "fsync", lambda fd: synced.append(now[0]))
    with ResultWriter(tmp_path / "r") as writer:
        for step in range(6):
            now[0] = 100 + step * 0.5
            writer.write(line(step))
    assert synced == [101.0, 102.0, 102.5]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1, "b": 2.5}, {"b": 2.5, "a": 1.0}),
        ({"a": 1, "b": None}, {"a": 1, "b": math.nan}),
        ({"a": 1, "b": None}, {"a": 1}),
        ({"a": np.int64(1), "b": np.float64(0.1)}, {"a": 1, "b": 0.1}),
        ({"a": np.int8(1), "b": "x"}, {"a": 1, "b": np.str_("x")}),
        ({"a": np.True_}, {"a": True}),
        ({"a": [1.0, 2.5]}, {"a": [1, 2.5]}),
        ({"a": 0.0}, {"a": -0.0}),
    ],
)
def test_equal_inputs_have_the_same_digest(one, other):
    assert inputs_digest(one) == inputs_digest(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"b": 1}),
        ({"a": ""}, {"a": None}),
        ({"a": 0.1}, {"a": math.nextafter(0.1, 1)}),
        ({"a": True}, {"a": "True"}),
        ({"a": 2**53}, {"a": 2**53 + 1}),
        ({"a": [1, 2]}, {"a": [2, 1]}),
    ],
)
def test_different_inputs_have_different_digests(one, other):
    assert inputs_digest(one) != inputs_digest(other)


def test_infinite_inputs_have_a_digest():
    assert inputs_digest({"a": math.inf}) != inputs_digest({"a": -math.inf})


def test_the_digest_is_the_same_in_every_process():
    inputs = {"x": 0.1, "c": "steel", "n": 3, "l": [1, "a"]}
    code = f"from orchestrator.data.results import inputs_digest; print(inputs_digest({inputs!r}))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "7"},
    )
    assert run.stdout.strip() == inputs_digest(inputs)
    assert len(inputs_digest(inputs)) == 16


RESULT = line(3, error=None, started=1795531215.25, seconds=2e-06, cpu=0.0, memory=33.4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("row", "0"),
        ("row", True),
        ("row", 2**64),
        ("inputs", None),
        ("status", "nosuch"),
        ("status", []),
        ("status", "ERROR"),
        ("outputs", None),
        ("outputs", {"y": {"$nosuch": 1}}),
        ("outputs", {"y": {"$array": 7}}),
        ("outputs", {"y": {"$array": {"dtype": "f8", "shape": [10**12], "data": ""}}}),
        ("error", "no"),
        ("error", {"type": "E"}),
        ("error", {"type": "E", "message": 1}),
        ("started", "now"),
    ],
)
def test_a_line_that_no_task_writes_is_damaged(tmp_path, field, value):
    body = json.dumps({**RESULT, field: value}, separators=(",", ":")).encode()
    (tmp_path / "r").write_bytes(frame(line(0)) + with_checksum(body) + frame(line(1)))
    read = ResultFile.read(tmp_path / "r")
    assert (list(read.lines), read.n_torn, len(read.damaged)) == ([line(0), line(1)], 0, 1)


@pytest.mark.parametrize("content", NOT_JSON.values())
def test_a_line_with_the_right_checksum_that_is_no_object_is_damaged(tmp_path, content):
    body = content.replace(b"\n", b" ")
    head = b"%08x %08x " % (len(body), zlib.crc32(body))
    (tmp_path / "r").write_bytes(head + body + b"\n" + frame(line(1)))
    read = ResultFile.read(tmp_path / "r")
    assert (list(read.lines), len(read.damaged)) == ([line(1)], 1)


def test_a_line_that_is_too_long_is_damaged_and_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "LONGEST_LINE", 200)
    monkeypatch.setattr(results, "BLOCK", 150)
    (tmp_path / "r").write_bytes(frame(line(0)) + b"x" * 1000 + b"\n" + frame(line(1)) + b"y" * 1000)
    read = ResultFile.read(tmp_path / "r")
    assert list(read.lines) == [line(0), line(1)]
    assert [set(damaged) for damaged in read.damaged] == [set(b"x\n"), set(b"y\n")]
    with pytest.raises(ValueError, match="more than 200 bytes"):
        frame(line(0, error="e" * 200))


@given(st.data())
def test_damage_costs_only_the_lines_that_it_hits(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("results") / "r"
    whole = [frame(line(row)) for row in range(3)]
    content = b"".join(whole)
    block = data.draw(st.sampled_from([16, 100, 200, 1 << 20]))
    at = data.draw(st.integers(0, len(content) - 1))
    new = data.draw(st.binary(max_size=40))
    n_lost = data.draw(st.integers(0, 40))
    path.write_bytes(content[:at] + new + content[at + n_lost :])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "BLOCK", block)
        read = ResultFile.read(path)
    first, last = (content[: min(end, len(content))].count(b"\n") for end in (at, at + n_lost))
    kept = [line(row) for row in range(3) if row < first or row > last]
    assert [found for found in read.lines if found in kept] == kept
    assert all(found in [line(row) for row in range(3)] for found in read.lines)


@pytest.mark.parametrize("block", [1, 100, 500, 1 << 20])
def test_lines_are_read_in_blocks_as_one_by_one(tmp_path, monkeypatch, block):
    monkeypatch.setattr(results, "BLOCK", block)
    lines = [line(row, error=None, note="n" * (row * 7 % 90)) for row in range(300)]
    damaged = frame(line(7)).replace(b"FINISHED", b"finished")
    content = b"".join(map(frame, lines[:150])) + damaged + b"\n\n" + b"".join(map(frame, lines[150:]))
    (tmp_path / "r").write_bytes(content + frame(line(9))[:-4])
    read = ResultFile.read(tmp_path / "r")
    assert (list(read.lines), read.damaged, read.n_torn, read.end) == (lines, [damaged], 1, len(content))


usual = st.sampled_from([0, 0.0, 1.5, 1e-06, 33.4])
numbers = usual | usual | st.sampled_from([5e-324, 1e300, 10**17, 10**400, -1.5, True, None, "x"])
outputs = st.dictionaries(
    st.text(max_size=3) | st.sampled_from(["y", 'a "name"', "},{", "[1]", "\\", "\n"]),
    st.floats() | st.integers() | st.booleans() | st.none() | st.text(max_size=5) | st.lists(st.floats(), max_size=2),
    max_size=2,
)
any_line = st.builds(
    lambda one, more: {**one, **more},
    st.fixed_dictionaries(
        {
            "row": st.integers(-5, 5) | st.sampled_from([2**62, 10**18, 2**63, 1.0]),
            "inputs": st.sampled_from(["0" * 16, "0123456789abcdef", "0" * 15, "F" * 16]),
            "status": st.sampled_from(["FINISHED"] * 5 + ["ERROR", "OPEN", "DONE"]),
            "outputs": outputs,
            "error": st.none() | st.just({"type": "E", "message": "m", "traceback": ""}),
            "started": st.just(1795531215.25) | numbers,
            "seconds": numbers,
            "cpu": numbers,
            "memory": numbers,
        }
    ),
    st.just({}) | st.fixed_dictionaries({"log": st.lists(st.integers(0, 99), min_size=2, max_size=2)}),
)


@given(st.data(), st.booleans())
def test_lines_are_read_as_columns_as_they_are_read_one_by_one(tmp_path_factory, data, are_many):
    with encoder(are_many=are_many):
        lines = [frame(line) for line in data.draw(st.lists(any_line, max_size=6))]
    if lines and data.draw(st.booleans()):
        lines[0] = lines[0].replace(b"0", b"1", 1)
    is_read_as_one_by_one(tmp_path_factory.mktemp("results") / "r", lines)


def is_read_as_one_by_one(path, lines):
    path.write_bytes(b"".join(lines))
    read = ResultFile.read(path)
    one_by_one = []
    for part in lines:
        path.write_bytes(part[:-1])  # a line without its end is read alone
        one_by_one += ResultFile.read(path).lines
    assert repr(list(read.lines)) == repr(one_by_one)  # NaN is not equal to itself
    for column, field in (("rows", "row"), ("digests", "inputs"), ("statuses", "status"), ("outputs", "outputs")):
        assert repr(getattr(read.lines, column)) == repr([one[field] for one in one_by_one])
    assert len(read.damaged) + read.n_torn == len(lines) - len(one_by_one)


@pytest.mark.parametrize("text", [b"0", b"-", b"}", b"{", b"]", b'"', b",", b" ", b"\\", b"e", b"}, {", b'":1,"'])
def test_other_json_than_a_task_writes_is_read_in_the_same_way_with_the_right_checksum(tmp_path, text):
    whole, lines = frame({**RESULT, "log": [0, 7]}), []
    body = whole[18:-1]
    for at in range(len(body) + 1):
        for changed in (body[:at] + text + body[at:], body[:at] + text + body[at + len(text) :]):
            lines += [whole, *[with_checksum(changed)] * 2]
    is_read_as_one_by_one(tmp_path / "r", lines)


@contextmanager
def encoder(*, are_many):
    """Encode lines as a task of a few experiments does, or one of many."""
    before, results._dumps = results._dumps, None
    try:
        if are_many:
            results.expect_many_lines()
        yield
    finally:
        results._dumps = before


numbers_and_texts = [
    0.1,
    -0.0,
    1e300,
    1e16,
    1e-7,
    5e-324,
    1,
    2**53 + 1,
    2**64,
    10**400,
    True,
    "x",
    "null",
    "é\ud800",
    "",
]


@pytest.mark.parametrize("are_many", [False, True])
@pytest.mark.parametrize(
    "value",
    [*numbers_and_texts, math.nan, math.inf, -math.inf, None, [1.5, [math.nan]], {"a": {"b": None}}, {"$tuple": [1]}],
)
def test_a_line_has_the_same_values_however_many_there_are(value, are_many):
    numbers = {"started": 1795531215.25, "seconds": 2e-06, "cpu": 0.0, "memory": 33.4}
    result = {**line(0, error=None), "outputs": {'a "name" é': 0.5, "y": value}, **numbers}
    with encoder(are_many=are_many):
        whole = frame(result)
    assert repr(unframe(whole)) == repr(result)  # NaN is not equal to itself
    assert repr(list(results._checked([whole]))) == repr([(whole, result)])


def test_a_file_is_read_again_only_if_it_has_changed(tmp_path, monkeypatch):
    reads = []
    read = ResultFile.read
    monkeypatch.setattr(ResultFile, "read", lambda *given: reads.append(given) or read(*given))
    path, reader = tmp_path / "r", results.ResultReader()
    with ResultWriter(path) as writer:
        writer.write(line(0))
        assert list(reader.read(path).lines) == list(reader.read(path).lines) == [line(0)]
        assert len(reads) == 1
        writer.write(line(1))
    assert list(reader.read(path).lines) == [line(0), line(1)]
    assert list(reader.read(path, reader.read(path).end).lines) == []
    path.unlink()
    path.mkdir()
    assert len(reader.read(path).damaged) == 1
