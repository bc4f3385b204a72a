"""The table's files on disk."""
