"""Advance runs: observe, reconcile, decide, perform, record."""
