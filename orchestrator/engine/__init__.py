"""Advance runs: look at the world, decide, act, record."""
