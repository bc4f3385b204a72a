"""The tables are defined once: `schema.sql` and the migrations make what `orchestrator/db/tables.py` declares."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from orchestrator.db import migrate
from orchestrator.db.rows import BOOLEANS, JSON

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def copy(tmp_path):
    """A copy of the parts of the repository that define the tables."""
    for name in ("orchestrator", "migrations", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def run(root, *arguments):
    done = subprocess.run([sys.executable, *arguments], cwd=root, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_file_is_written_from_the_tables(copy):
    assert run(copy, "scripts/schema")[0] == 0
    written = (copy / "orchestrator" / "db" / "schema.sql").read_text()
    assert migrate.SCHEMA.read_text() == written, "type: .venv/bin/python scripts/schema"


def test_the_check_says_how_to_write_a_file_that_is_out_of_date(copy):
    assert run(copy, "scripts/schema", "--check") == (0, "")
    schema = copy / "orchestrator" / "db" / "schema.sql"
    schema.write_text(schema.read_text().replace("salt", "pepper"))
    code, printed = run(copy, "scripts/schema", "--check")
    assert (code, printed.splitlines()[-1]) == (1, "  .venv/bin/python scripts/schema")


def test_a_new_database_is_what_the_migrations_make():
    with closing(sqlite3.connect(":memory:")) as new, closing(sqlite3.connect(":memory:")) as migrated:
        migrate.create_tables(new)
        migrate.migrate(migrated)
        assert migrate.definitions(new) == migrate.definitions(migrated)
        for question in ("SELECT * FROM alembic_version", "PRAGMA user_version", "PRAGMA application_id"):
            assert new.execute(question).fetchall() == migrated.execute(question).fetchall()


def test_values_are_written_and_read_with_the_types_of_the_tables():
    from sqlalchemy import JSON as JsonType
    from sqlalchemy import Boolean

    from orchestrator.db.tables import metadata

    columns = [column for table in metadata.tables.values() for column in table.columns]
    assert {column.name for column in columns if isinstance(column.type, JsonType)} == JSON
    assert {column.name for column in columns if isinstance(column.type, Boolean)} == BOOLEANS


MIGRATED = """
import sqlite3
from orchestrator.db import migrate
connection = sqlite3.connect(":memory:")
migrate.migrate(connection)
print("shoe_size" in migrate.definitions(connection)["run"])
"""


def test_before_the_first_release_the_first_migration_follows_the_tables(copy):
    add_a_column(copy)
    assert run(copy, "-c", MIGRATED) == (0, "True\n")


def test_a_release_freezes_the_first_migration(copy, golden):
    code, printed = run(copy, "scripts/schema", "--freeze")
    assert code == 0
    golden(printed, "frozen")
    add_a_column(copy)
    assert run(copy, "-c", MIGRATED) == (0, "False\n")

    code, printed = run(copy, "scripts/schema", "--freeze")
    assert code == 1
    golden(printed, "frozen already")


def add_a_column(root):
    tables = root / "orchestrator" / "db" / "tables.py"
    text = tables.read_text()
    assert text.count('    Column("salt", Text, nullable=False),\n') == 1
    tables.write_text(text.replace('    Column("salt"', '    Column("shoe_size", Integer),\n    Column("salt"'))
    assert run(root, "scripts/schema")[0] == 0
