"""What to do next, as a pure function of recorded state and observed facts.

Standard library only: no clock, no path, no SQL, no randomness. Times are arguments, tokens are derived.
"""
