"""A run on a SLURM cluster: its own jobs run its steps and submit the next ones."""
