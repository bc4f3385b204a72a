"""Parts of the small studies of tests: tables of numbers, and steps that do almost nothing.

Studies that tests write into files import it, too: `from tests.studies import numbers`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from orchestrator import Domain, ExperimentData, datagenerator


def numbers(n: int, first: int = 0, outputs: Sequence[str] = ("y",)) -> ExperimentData:
    """Return a table of open experiments x = first, first + 1, ..., by default with the output y."""
    domain = Domain()
    domain.add_float("x", low=0.0, high=1000.0)
    for name in outputs:
        domain.add_output(name)
    return ExperimentData(domain=domain, input_data=[{"x": float(first + i)} for i in range(n)])


def store_numbers(n: int, first: int = 0, outputs: Sequence[str] = ("y",)) -> Callable[[Path], None]:
    """Return a first step that stores such a table."""

    def create(project_dir: Path) -> None:
        numbers(n, first, outputs).store(project_dir)

    return create


@datagenerator(output_names="y")
def square(x: float) -> float:
    return x * x


def nothing(project_dir: Path) -> None:
    pass
