"""Run the migrations in the transaction of the caller, `orchestrator.db.migrate`, which holds guard and connection."""

from __future__ import annotations

from alembic import context

from orchestrator.db.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
