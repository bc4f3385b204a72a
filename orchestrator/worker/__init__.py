"""What happens inside a job: evaluate, call, freeze, fold. Opens no database and decides nothing."""
