"""Which earlier jobs have done work that a job must not repeat.

The job gets their tokens, and finds their receipts and result files by these.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.machine.kinds import Role
from orchestrator.machine.model import Job, StepRun

__all__ = ["counts_all_epochs", "earlier_tokens"]


def counts_all_epochs(step_run: StepRun, job: Job) -> bool:
    """Whether a job must not repeat the work of jobs of earlier epochs of its step run either.

    A block must not be applied again to a table that is already its result. For a batch, the jobs of this epoch are
    enough: finished experiments of earlier epochs are in the table, and failed ones are evaluated again.
    """
    return job.role is Role.STEP and step_run.epoch > 0


def earlier_tokens(step_run: StepRun, job: Job, of_all_epochs: Iterable[str]) -> list[str]:
    """Return the tokens of the jobs whose work a job must not repeat.

    Parameters
    ----------
    step_run : StepRun
        The step run of the job.
    job : Job
        The job.
    of_all_epochs : iterable of str
        The tokens of the step run's jobs of all epochs that are not forgotten; used only if `counts_all_epochs`.
    """
    if counts_all_epochs(step_run, job):
        return [token for token in of_all_epochs if token != job.token]
    return [old.token for old in step_run.jobs if old.batch == job.batch and old.attempt < job.attempt]
