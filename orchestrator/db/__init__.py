"""The records: one SQLite file per workspace, and everything that may be done to it."""
