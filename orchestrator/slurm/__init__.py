"""What is said to SLURM and what it answers; the only package that starts its programs."""
