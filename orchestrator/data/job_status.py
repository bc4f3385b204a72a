"""The states that an experiment can be in."""

from __future__ import annotations

from enum import Enum

__all__ = ["JobStatus"]


class JobStatus(Enum):
    """State of an experiment; the names are what the table holds."""

    OPEN = 0
    IN_PROGRESS = 1
    FINISHED = 2
    ERROR = 3

    def __str__(self) -> str:
        return self.name

    @classmethod
    def of(cls, status: str | JobStatus) -> JobStatus:
        """Find a state by its name.

        Parameters
        ----------
        status : str or JobStatus
            The name, in upper or lower case.

        Returns
        -------
        JobStatus
            The state.

        Raises
        ------
        ValueError
            There is no such state.
        """
        if isinstance(status, JobStatus):
            return status
        try:
            return cls[str(status).upper()]
        except KeyError:
            names = ", ".join(name.lower() for name in cls.__members__)
            raise ValueError(f"{status!r} is no status of an experiment; use {names}") from None
