"""What happens inside a job: evaluate, call, freeze, collect, fold. Opens no database and decides nothing."""
