"""What scripts/slurm-sandbox is made of: its configuration, its servers, its database of accounts."""
