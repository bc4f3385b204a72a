"""Text in the database."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from orchestrator.db.rows import as_parameter, as_row, as_text, insert, update


@pytest.fixture
def connection():
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.row_factory, connection.text_factory = as_row, as_text
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, why TEXT, detail TEXT)")
        yield connection


@pytest.mark.parametrize("text", ["", "é", "/caf\udce9/study.py", "a\0b"])
def test_a_path_that_is_not_utf8_is_read_as_it_was_written(connection, text):
    insert(connection, "t", {"why": text, "detail": {"path": text}})
    update(connection, "t", {"why": text}, id=1)
    [row] = connection.execute("SELECT *, typeof(why) AS kind FROM t")
    assert (row.why, row.detail, row.kind) == (text, {"path": text}, "text")
    assert (
        connection.execute("SELECT count(*) AS n FROM t WHERE CAST(? AS TEXT) = why", (as_parameter(text),))
        .fetchone()
        .n
    )


def test_surrogates_that_no_path_has_are_stored_as_escapes(connection):
    insert(connection, "t", {"why": "\ud800"})
    assert connection.execute("SELECT why FROM t").fetchone().why == "\\ud800"
