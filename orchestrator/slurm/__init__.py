"""Calls of SLURM's programs, their output, and the scripts of jobs. No other package starts these programs."""
