"""Refuse an optimizer whose output or options do not exist, before experiments are evaluated for nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

from orchestrator.data.job_status import JobStatus
from orchestrator.errors import DefinitionError

if TYPE_CHECKING:
    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["check_output", "refuse_options"]


def check_output(data: ExperimentData, name: str) -> None:
    """Check that a table has, or will have, the output that is minimized.

    Nothing is known while the domain declares no output and no experiment has finished with one.

    Parameters
    ----------
    data : ExperimentData
        The table.
    name : str
        The output.

    Raises
    ------
    DefinitionError
        If there are other outputs, but not this one.
    """
    declared = data.domain.expected_outputs
    names = dict.fromkeys(declared or ())
    if declared is None:
        outputs = data.output_rows()
        for position, status in enumerate(data.statuses()):
            if status is JobStatus.FINISHED:
                names |= dict.fromkeys(outputs(position))
    if names and name not in names:
        raise DefinitionError(
            f"There is no output {name!r} to minimize; there is: {', '.join(names)}.",
            f"Name one of them: create_optimizer(..., output_name={_nearest(name, names)!r})\n"
            f"If a step after this one stores it, declare it: domain.add_output({name!r})",
        )


def refuse_options(optimizer: str, unknown: Iterable[str], own: Collection[str]) -> None:
    """Raise an error if there are unknown options.

    Parameters
    ----------
    optimizer : str
        Name of the optimizer.
    unknown : iterable of str
        Options that neither it nor its library has.
    own : collection of str
        Its own options, one of which may be meant.

    Raises
    ------
    DefinitionError
        If there is one.
    """
    for name in unknown:
        nearest = get_close_matches(name, own, n=1)
        raise DefinitionError(
            f"The optimizer {optimizer!r} has no option {name!r}.",
            f"Did you mean {nearest[0]!r}?" if nearest else f"Its own options are: {', '.join(own)}",
        )


def _nearest(name: str, names: Collection[str]) -> str:
    return (get_close_matches(name, names, n=1) or list(names))[0]
