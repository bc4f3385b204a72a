"""The kinds of steps. Each task of an array imports them, and no other kinds."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["StepKind"]


class StepKind(StrEnum):
    """What runs a step."""

    CALL = "call"
    """One process calls a block or a callable."""
    BATCH = "batch"
    """A data generator evaluates experiments, in one task or in many."""
    UNTIL = "until"
    """One process calls a loop's `until`."""
