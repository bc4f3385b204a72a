"""A run on this machine: the process that was started runs its steps, to the end."""
