"""A database that this user may not write to is read without a lock, and what is read is one commit."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing

import pytest

from orchestrator.db import migrate, opening
from orchestrator.db.opening import open_database
from orchestrator.db.rows import scalar
from orchestrator.db.unlocked import MAGIC, read_unlocked
from orchestrator.errors import DatabaseBusy, DatabaseError
from orchestrator.sharing import allow


@pytest.fixture
def database(workspace):
    path = workspace / "orchestrator.db"
    migrate.create(path)
    return path


def connect(path):
    connection = sqlite3.connect(path, isolation_level=None, timeout=0)
    connection.execute("PRAGMA journal_mode = PERSIST")
    return closing(connection)


def content_of(snapshot):
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(snapshot)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return connection.execute("SELECT a, b FROM pair").fetchone()


def test_a_reader_that_stays_in_its_transaction_does_not_stop_a_writer(database, monkeypatch):
    monkeypatch.setattr(opening, "may_write", lambda path: False)
    with open_database(database, "read") as reader, connect(database) as writer:
        before = reader.execute("SELECT count(*) FROM run").fetchone()
        writer.execute("BEGIN EXCLUSIVE")
        writer.execute("CREATE TABLE more (x)")
        writer.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM run").fetchone() == before


def test_a_reader_in_a_shared_workspace_holds_no_lock(database, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    database.chmod(0o660)
    database.parent.chmod(0o2770)
    allow(database)
    with open_database(database, "read") as reader:
        assert scalar(reader, "SELECT count(*) FROM run") == 0
        # A second connection of this process would wait for the guard of the first one.
        with open_database(database, "write") as writer:
            writer.execute("CREATE TABLE more (x)")
    # What a process has left that died while it wrote is repaired by a command that does more than read.
    with open_database(database, "inspect") as checked:
        assert scalar(checked, "PRAGMA integrity_check") == "ok"


def test_what_is_read_while_others_write_is_one_commit(database):
    stop = threading.Event()

    def write():
        with connect(database) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE pair SET a = ?, b = zeroblob(20000)", (number,))
                connection.execute("UPDATE pair SET b = ?", (number,))
                connection.execute("COMMIT")

    with connect(database) as connection:
        connection.execute("CREATE TABLE pair (a, b)")
        connection.execute("INSERT INTO pair VALUES (0, 0)")
    writer = threading.Thread(target=write)
    writer.start()
    try:
        pairs = [content_of(read_unlocked(database)) for _ in range(50)]
    finally:
        stop.set()
        writer.join()
    assert all(a == b for a, b in pairs)
    assert len(set(pairs)) > 1


def test_a_database_that_is_being_written_is_not_read(database):
    with connect(database) as connection:
        connection.execute("CREATE TABLE pair (a, b)")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("INSERT INTO pair VALUES (1, 1)")
        assert content_of(read_unlocked(database)) is None
        connection.execute("ROLLBACK")
    journal = database.with_name("orchestrator.db-journal")
    # As a process leaves it that died while it wrote.
    journal.write_bytes(MAGIC + journal.read_bytes()[len(MAGIC) :])
    with pytest.raises(DatabaseBusy, match="was being written"):
        read_unlocked(database, seconds=0.05)


def test_a_fifo_in_place_of_a_journal_does_not_block_a_reader(database, monkeypatch):
    monkeypatch.setattr(opening, "may_write", lambda path: False)
    journal = database.with_name("orchestrator.db-journal")
    journal.unlink()
    os.mkfifo(journal)
    with pytest.raises(DatabaseError, match="it is no regular file"), open_database(database, "read"):
        pass
