"""Which revision of the database this code needs; comparing it costs no import of Alembic."""

__all__ = ["APPLICATION_ID", "REVISION"]

APPLICATION_ID = 0x6F726368
"""`orch`: tells our files from other SQLite databases."""

REVISION = "0001"
"""The newest migration; the file keeps the number as its `user_version`."""
