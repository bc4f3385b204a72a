"""Give each process that evaluates its own random numbers.

A fork has the random number generators of its worker, in the same state: without this, all tasks would draw the same
numbers where the study has set no seed. A seed that the study has set when it was imported holds. Python's own `random`
gets another seed at each fork by itself.
The seed of a step: `seed_for` in `orchestrator.definition.injection`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from orchestrator.worker.library_code import is_of_a_library

__all__ = ["draw_own_numbers", "unseeded_generators"]

ENTROPY_OF_SYSTEM = 1 << 64
"""NumPy asks the system for 128 bits where no seed is given; a seed that a user writes is shorter."""


def unseeded_generators() -> list[Any]:
    """Return the bit generators of NumPy that have no seed: the global one, and those in modules of the user."""
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is None:
        return []
    found = [numpy_random.get_bit_generator()]
    for value in _values_of_modules():
        if isinstance(value, numpy_random.Generator):
            found.append(value.bit_generator)
        elif isinstance(value, numpy_random.RandomState):
            found.append(value._bit_generator)
    return [bits for bits in found if _has_entropy_of_system(bits)]


def draw_own_numbers(generators: list[Any]) -> None:
    """Set generators to other states, which no other process has."""
    for bits in generators:
        bits.state = type(bits)().state


def _has_entropy_of_system(bits: Any) -> bool:
    # After `numpy.random.seed` there is no sequence.
    entropy = getattr(getattr(bits, "seed_seq", None), "entropy", None)
    return isinstance(entropy, int) and entropy >= ENTROPY_OF_SYSTEM


def _values_of_modules() -> Iterator[Any]:
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and not is_of_a_library(file):
            yield from list(vars(module).values())
