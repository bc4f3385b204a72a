"""A run on this machine: one process runs its steps to the end, with workers for parallel steps."""
