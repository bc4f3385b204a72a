"""Results into the table."""
