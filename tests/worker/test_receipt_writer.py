"""What is recorded of an exception, whatever its class does."""

from __future__ import annotations

import asyncio
import errno
import getpass
import io
import json
import os
import pdb
import pickle
from pathlib import Path

import pytest

from orchestrator.failure_groups import MAX_CAUSES, FailureGroup, group_of
from orchestrator.text import is_clean
from orchestrator.worker.receipt_writer import LONGEST_MESSAGE, LONGEST_TRACEBACK, describe_exception

ROOM = 100  # for the line that says what is left out


class NoText(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class ExitText(Exception):
    def __str__(self):
        raise SystemExit(3)


class NotText(Exception):
    def __str__(self):
        return 3


class BrokenNotes(Exception):
    @property
    def __notes__(self):
        raise ValueError("no notes")


class NoModule(Exception):
    pass


NoModule.__module__ = None

ODD = {
    "no text": NoText(),
    "exit text": ExitText(),
    "not text": NotText(),
    "broken notes": BrokenNotes("n"),
    "no module": NoModule("n"),
    "long": RuntimeError("x" * 5_000_000),
    "long key": KeyError("x" * 5_000_000),
    "long name": type("N" * 10**6, (Exception,), {})("x"),
    "group": ExceptionGroup("g\udce9", [ValueError(str(i)) for i in range(1000)]),
    "surrogate": RuntimeError("caf\udce9 \0"),
    "file": OSError(5, "Input/output error", "f\udce9"),
    "long integer": ValueError(10**5000),
    "cancelled": asyncio.CancelledError(),
}


@pytest.mark.parametrize("case", ODD)
def test_every_exception_is_described_by_short_clean_text(case):
    try:
        raise ODD[case]
    except BaseException as error:
        described = describe_exception(error)
    assert all(map(is_clean, described.values()))
    assert described["type"]
    assert len(described["message"]) <= LONGEST_MESSAGE + ROOM
    assert len(described["traceback"]) <= LONGEST_TRACEBACK + ROOM
    json.dumps(described).encode("ascii")


def test_the_message_of_an_endless_recursion_and_of_a_circular_cause_is_short():
    def deep(n):
        return deep(n + 1)

    try:
        try:
            deep(0)
        except RecursionError as inner:
            outer = RuntimeError("again")
            inner.__context__ = outer
            raise outer from inner
    except RuntimeError as error:
        described = describe_exception(error)
    assert described["message"] == "again"
    assert "RecursionError" in described["traceback"]


def test_ctrl_c_is_not_taken_for_an_error_of_the_text():
    class Interrupts(Exception):
        def __str__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        describe_exception(Interrupts())


def test_of_many_different_errors_only_the_first_are_recorded_with_their_text_and_all_are_counted():
    groups: dict[tuple[str, str], FailureGroup] = {}
    for row in range(10_000):
        group_of(groups, {"type": "ValueError", "message": f"x = {row}", "traceback": "..."}).add(1, [row])
    assert len(groups) == MAX_CAUSES + 1
    assert sum(group.n for group in groups.values()) == 10_000
    *_, others = groups.values()
    assert others.first["type"] == "other errors"
    assert others.n == 10_000 - MAX_CAUSES


def _raises_in_a_library():
    json.loads("{")


def _prints_a_traceback_of_its_own():
    raise RuntimeError('sh failed\n  File "/tmp/57/script.py", line 3, in solve')


@pytest.mark.parametrize("function", [_raises_in_a_library, _prints_a_traceback_of_its_own])
def test_the_place_of_an_exception_is_the_last_line_of_the_users_code(function):
    with pytest.raises(Exception) as raised:
        function()
    file, _, line = describe_exception(raised.value)["place"].rpartition(":")
    assert file == __file__
    assert int(line) == function.__code__.co_firstlineno + 1


def test_an_exception_that_was_not_raised_has_no_place():
    assert describe_exception(ValueError("no"))["place"] == ""


def _leaves():
    exit(3)


def _types():
    return input("value? ")


def _types_a_secret():
    return getpass.fallback_getpass(stream=io.StringIO())


def _debugs():
    pdb.Pdb(stdin=io.StringIO(), stdout=io.StringIO()).set_trace()
    return 0


def _measures_the_terminal():
    with Path(os.devnull).open() as file:
        return os.get_terminal_size(file.fileno())


def _described(function, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(BaseException) as raised:
        function()
    return describe_exception(raised.value)


def test_the_place_of_an_exit_is_the_line_of_the_user(monkeypatch):
    described = _described(_leaves, monkeypatch)
    assert described["place"] == f"{__file__}:{_leaves.__code__.co_firstlineno + 1}"
    assert described["message"].startswith("3 (exit() is a failure here: ")


@pytest.mark.filterwarnings("ignore::getpass.GetPassWarning")
@pytest.mark.parametrize("function", [_types, _types_a_secret, _debugs, _measures_the_terminal])
def test_what_needs_a_terminal_fails_with_advice(function, monkeypatch):
    described = _described(function, monkeypatch)
    assert "a job has no terminal" in described["message"]
    assert "Advice: a job has no terminal" in described["traceback"].splitlines()[-1]


def test_the_end_of_a_file_is_not_about_a_terminal(monkeypatch):
    described = _described(lambda: pickle.loads(b""), monkeypatch)
    assert described["message"] == "Ran out of input"
    assert "terminal" not in described["traceback"]


def _fills_the_disk():
    raise OSError(errno.ENOSPC, "No space left on device", "/scratch/a")


def test_a_full_disk_is_named(monkeypatch):
    message = _described(_fills_the_disk, monkeypatch)["message"]
    assert message.endswith("(no space is left on the disk of /scratch/a, or the quota is used up: make room)")
