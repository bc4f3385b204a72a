"""Old, new and foreign files."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.db import file_systems, guard, migrate, revision
from orchestrator.db.connection import session
from orchestrator.db.lease_holder import Holder
from orchestrator.db.opening import revision_of
from orchestrator.db.rows import scalar
from orchestrator.db.store import NewRun, Store
from orchestrator.errors import DatabaseBusy, DatabaseError, DatabaseTooNew, DatabaseTooOld, NotADatabase, NotFound
from orchestrator.machine.changes import AddJob, AddStepRun, MoveStepRun
from orchestrator.machine.plan import Plan, PlannedStep
from orchestrator.machine.states import StepRunState


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "orchestrator.db"
    migrate.create(path)
    return path


@pytest.fixture
def a_run(path):
    store = Store(path)
    plan = Plan((PlannedStep("0", "create"),))
    store.create_run(NewRun("r", "salt", "name", "local", plan, 0, None, None, None, None, None, {}), 1.0)
    changes = [AddStepRun(0, "", "create", "call"), MoveStepRun(0, StepRunState.ACTIVE), AddJob("t", "step", 0)]
    store.write("r", store.leases.take("r", Holder.this_process(), 2.0), changes, 3.0)


@pytest.fixture
def newer_code(tmp_path, monkeypatch):
    """Code that knows one revision more."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrate.migrations(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "0002_more.py").write_text(
        "from alembic import op\nrevision = '0002'\ndown_revision = '0001'\n"
        "def upgrade():\n    op.execute('CREATE TABLE more (id INTEGER)')\n"
    )
    monkeypatch.setattr(migrate, "migrations", lambda: folder)
    monkeypatch.setattr(revision, "REVISION", "0002")
    return folder


def tables(path):
    connection = sqlite3.connect(path)
    try:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    finally:
        connection.close()


def test_an_old_database_is_upgraded_after_a_backup(path, newer_code, golden):
    with golden.raises(DatabaseTooOld), session(path, False):
        pass
    with session(path) as connection:
        assert revision_of(connection) == 2
    assert "more" in tables(path)
    [backup] = path.parent.glob("orchestrator.db.backup-0001-*")
    assert "more" not in tables(backup)
    assert migrate.upgrade(path) is None


def test_an_upgrade_keeps_every_row(path, a_run, newer_code):
    """Also where SQLite has to replace a table to change it, while other rows point to its rows."""
    before = {table: rows(path, table) for table in ("run", "step_run", "job", "event")}
    assert all(before.values())
    (newer_code / "versions" / "0002_more.py").write_text(
        "import sqlalchemy\nfrom alembic import op\nrevision = '0002'\ndown_revision = '0001'\n"
        "def upgrade():\n    with op.batch_alter_table('step_run', recreate='always') as table:\n"
        "        table.add_column(sqlalchemy.Column('more', sqlalchemy.Integer, server_default='7'))\n"
    )
    assert migrate.upgrade(path) is not None
    after = {table: rows(path, table) for table in before}
    assert after == {**before, "step_run": [{**row, "more": 7} for row in before["step_run"]]}


def rows(path, table):
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY id")]


def test_an_upgrade_that_fails_changes_nothing(path, newer_code):
    script = newer_code / "versions" / "0002_more.py"
    script.write_text(script.read_text() + "    op.execute('NONSENSE')\n")
    before = tables(path)
    with pytest.raises(Exception, match="NONSENSE"):
        migrate.upgrade(path)
    assert tables(path) == before
    assert migrate.info(path).revision == "0001"


def test_a_newer_database_is_refused(path, golden):
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 7")
    connection.commit()
    connection.close()
    with golden.raises(DatabaseTooNew), session(path):
        pass


@pytest.mark.parametrize("content", [b"a text file\n" * 200, b"x"])
def test_another_file_is_not_changed(tmp_path, content, golden):
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    for attempt in (lambda: migrate.create(path), lambda: session(path).__enter__()):
        with golden.raises(NotADatabase):
            attempt()
    assert path.read_bytes() == content


def test_another_programs_database_is_not_changed(tmp_path):
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (id INTEGER)")
    connection.commit()
    connection.close()
    with pytest.raises(NotADatabase):
        migrate.create(path)
    assert tables(path) == {"theirs"}


def test_reading_creates_no_file(tmp_path):
    with pytest.raises(NotFound), session(tmp_path / "orchestrator.db", write=False):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_guard_that_is_not_released_is_reported_as_busy(path, monkeypatch, golden):
    monkeypatch.setattr(guard, "WAIT", 0.05)
    with session(path), golden.raises(DatabaseBusy), session(path):
        pass


def test_the_journal_is_not_removed_so_that_other_machines_see_it(path):
    with session(path) as connection:
        assert scalar(connection, "PRAGMA journal_mode") == "persist"
        assert scalar(connection, "PRAGMA synchronous") == 2
    assert Path(f"{path}-journal").exists()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me/study", "nfs4"),
        ("/scratch", "lustre"),
        ("/scratch/local/x", "xfs"),
        ("/with space/x", "tmpfs"),
        ("/etc", "ext4"),
    ],
)
def test_the_file_system_is_found_by_the_longest_mount(folder, kind):
    mounts = (
        "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
        "23 22 0:40 / /home rw shared:1 - nfs4 server:/home rw\n"
        "24 22 0:41 / /scratch rw - lustre mds:/s rw\n"
        "25 24 8:2 / /scratch/local rw - xfs /dev/sdb rw\n"
        "26 22 0:42 / /with\\040space rw - tmpfs tmpfs rw\n"
    )
    assert file_systems.file_system_in(mounts, folder) == kind
    assert (kind in file_systems.LOCAL_FILE_SYSTEMS) == (kind in ("xfs", "tmpfs", "ext4"))


def test_a_file_system_without_locks_is_reported(path, monkeypatch, golden):
    def refuse(fd, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with (
        golden.raises(DatabaseError),
        session(path),
    ):
        pass
