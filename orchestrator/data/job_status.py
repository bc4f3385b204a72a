"""The status of an experiment."""

from __future__ import annotations

from enum import Enum

__all__ = ["JobStatus"]


class JobStatus(Enum):
    """Status of an experiment. The table contains the names."""

    OPEN = 0
    IN_PROGRESS = 1
    FINISHED = 2
    ERROR = 3

    def __str__(self) -> str:
        return self.name

    @classmethod
    def of(cls, status: str | JobStatus) -> JobStatus:
        """Return the status with a name.

        Parameters
        ----------
        status : str or JobStatus
            The name, in upper or lower case.

        Returns
        -------
        JobStatus
            The status.

        Raises
        ------
        ValueError
            If there is no such status.
        """
        if isinstance(status, JobStatus):
            return status
        try:
            return cls[str(status).upper()]
        except KeyError:
            names = ", ".join(name.lower() for name in cls.__members__)
            raise ValueError(f"{status!r} is not a valid status; use {names}") from None
