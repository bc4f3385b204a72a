"""The work of a job: evaluate, call, freeze, collect, fold. It opens no database and makes no decisions."""
