"""What the engine and the tasks pass each other on disk; standard library only."""
