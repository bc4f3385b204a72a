"""The revision of the database that this code needs. To compare it, Alembic is not imported.

`orchestrator.db.opening` compares it when it opens a database.
"""

__all__ = ["APPLICATION_ID", "REVISION"]

APPLICATION_ID = 0x6F726368
"""`orch`: marks our files among other SQLite databases."""

REVISION = "0001"
"""The newest migration. The database stores the number as its `user_version`."""
