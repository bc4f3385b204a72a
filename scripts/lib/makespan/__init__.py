"""What scripts/bench/makespan is made of: what it runs, and how it counts what ran."""
