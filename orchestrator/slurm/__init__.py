"""SLURM as a scheduler: not done yet."""
