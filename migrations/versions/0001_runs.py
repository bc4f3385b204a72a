"""Runs, step runs, jobs and their history.

Until the first release this migration executes the current `schema.sql`. The release freezes it with
`scripts/schema --freeze`, which copies `schema.sql` to this folder. After that, each change of the tables needs a new
migration.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

from orchestrator.db.migrate import SCHEMA, statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

FROZEN = Path(__file__).with_suffix(".sql")


def upgrade() -> None:
    for statement in statements(FROZEN if FROZEN.is_file() else SCHEMA):
        op.get_bind().exec_driver_sql(statement)
