"""A persistent state-machine pipeline orchestrator for SLURM, backed by SQLite."""
