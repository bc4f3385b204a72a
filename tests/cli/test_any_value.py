"""Any value in any column of the database: each command works or names the damage, and other runs continue."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest

from orchestrator.db.tables import metadata
from tests.cli.test_any_damage import STUDY, is_named
from tests.conftest import EXAMPLES, ROOT

pytestmark = pytest.mark.slow

VALUES = {
    "NULL": None,
    "text": "x",
    "empty": "",
    "negative": -1,
    "zero": 0,
    "one": 1,
    "large": 2**40,
    "largest": 2**63 - 1,
    "infinite": float("inf"),
    "real": 1.5,
    "bytes": b"\xff\xfe\x00",
    "control": "a\x1b[2Jb",
    "path": "../../x",
    "long": "9" * 5000,
}
COLUMNS = [(table.name, column.name) for table in metadata.sorted_tables for column in table.columns]
LOOKS = (
    *("status r", "status r --json", "list", "logs r evaluate", "logs r evaluate --experiment 4", "failures r"),
    *("table r", "efficiency r", "snapshots r", "report r", "diff r other", "clean r --dry-run", "db check"),
    *("archive r -o r.tar", "fork r --from evaluate --dry-run", "advance r", "cancel r", "resume r"),
)


def pytest_generate_tests(metafunc):
    if "value" in metafunc.fixturenames:
        cases = [(*column, value) for column in COLUMNS for value in VALUES]
        if metafunc.config.getoption("--examples") <= EXAMPLES:
            cases = [*cases[:: len(VALUES) * 5 + 1], ("step_run", "run_id", "large")]
        metafunc.parametrize(("table", "column", "value"), cases)


def put(path, table, column, value):
    """Write a value to each row of a table, whatever its constraints say."""
    with sqlite3.connect(path) as connection:
        schema = dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
        rows = connection.execute(f"SELECT rowid FROM {table} ORDER BY rowid").fetchall()
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute("PRAGMA writable_schema = ON")
        for name, sql in schema.items():
            changed = re.sub("(?<! IS) NOT NULL", "", sql)
            connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (changed, name))
    connection.close()
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        for (row,) in rows[:2]:
            try:
                connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))
            except sqlite3.IntegrityError:
                pytest.skip("an index excludes it")
        connection.execute("PRAGMA writable_schema = ON")
        for name, sql in schema.items():
            connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (sql, name))
    connection.close()


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory):
    """Return a folder with a run that has died, and one that has succeeded."""
    made = tmp_path_factory.mktemp("stopped")
    (made / "study.py").write_text(STUDY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for key in ("r", "other"):
        words = ["run", "study.py", "--project-job", key, "--jobs", "1"]
        command = [sys.executable, "-m", "orchestrator.cli.main", *words]
        subprocess.run(command, cwd=made, env=environment, capture_output=True)
    return made


def test_each_command_works_or_names_the_damage(here, stopped_run, table, column, value):
    for path in stopped_run.iterdir():
        if path.is_dir():
            shutil.copytree(path, here.workspace / path.name, symlinks=True)
        else:
            shutil.copy2(path, here.workspace)
    put(here.workspace / "orchestrator.db", table, column, VALUES[value])
    for words in LOOKS:
        done = here(*words.split())
        assert is_named(done), (words, done.err)
        assert "\x1b" not in done.out + done.err, words
