"""Refuse the outputs of a data generator that are not what its study expects: none, undeclared ones, or missing values.

A task imports this module, so it imports nothing that takes time.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.data.values import is_missing

__all__ = ["UNDECLARED", "check_declared", "check_outputs", "check_values"]

UNDECLARED = "which the domain does not declare"
"""Words of the error of such an output. The domain is stored with the table, so new code alone does not change it."""


def check_declared(who: str, names: Iterable[str], expected: Sequence[str] | None) -> None:
    """Check that the domain declares outputs.

    Parameters
    ----------
    who : str
        Name of the data generator, for the message.
    names : iterable of str
        Names of the outputs that it stores.
    expected : sequence of str or None
        Names of the outputs that it may store; None: all.

    Raises
    ------
    ValueError
        If a name is not expected.
    """
    for name in names:
        if expected is not None and name not in expected:
            declared = ", ".join(map(repr, expected))
            raise ValueError(
                f"{who} stores the output {name!r}, {UNDECLARED}; it declares {declared}. "
                f"Use one of these names, or add it to the domain: domain.add_output({name!r}). "
                "A run has stored its domain: the step that creates the table must run again, too"
            )


def check_outputs(
    who: str, sample: ExperimentSample, before: Mapping[str, Any], expected: Sequence[str] | None
) -> None:
    """Check what a data generator has stored in an experiment that it does not call an error.

    Parameters
    ----------
    who : str
        Name of the data generator, for the message.
    sample : ExperimentSample
        The experiment that it returned.
    before : mapping of str to Any
        The outputs that the experiment had before.
    expected : sequence of str or None
        Names of the outputs that it may store; None: all, or none.

    Raises
    ------
    ValueError
        If it has stored nothing, or an output that is not expected.
    """
    stored = sample.stored_outputs(before)
    check_declared(who, stored, expected)
    if expected is not None and not stored:
        names = ", ".join(map(repr, expected))
        raise ValueError(
            f"{who} stored no output, but the domain declares {names}. "
            "Store each with experiment_sample.store(name, value); None is a missing value"
        )


def check_values(who: str, outputs: Mapping[str, Any]) -> None:
    """Check that no output is a missing value, or an array, list or dict with NaN.

    Raises
    ------
    ValueError
        If one is.
    """
    for name, value in outputs.items():
        if is_missing(value) or _has_nan(value):
            what = "an array with NaN" if hasattr(value, "shape") and value.shape else repr(value)
            raise ValueError(f"{who} has allow_nan=False, but its output {name!r} is {what}")


def _has_nan(value: Any) -> bool:
    if isinstance(value, complex):
        return value != value
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return any((item is not None and is_missing(item)) or _has_nan(item) for item in value)
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, numpy.ndarray) or value.dtype.kind not in "fc":
        return False
    return bool(numpy.isnan(value).any())
