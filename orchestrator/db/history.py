"""What the records say about the step runs of a run, as the engine asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from orchestrator.addresses import format_address
from orchestrator.db.connection import session
from orchestrator.db.model_of_rows import COUNTS, first_failed
from orchestrator.db.rows import Row, member, scalar, scalars
from orchestrator.db.run_rows import run_row
from orchestrator.machine.earlier_tables import Recorded
from orchestrator.machine.kinds import StepKind
from orchestrator.machine.rewind import ValidStepRun
from orchestrator.machine.states import StepRunState

__all__ = ["History", "LatestStepRun"]

RecordedAt = tuple[int, int, str]
"""Position and epoch of a step run, and the digest of its manifest."""


class LatestStepRun(NamedTuple):
    """A step run, and the results of its jobs.

    Attributes
    ----------
    position : int
        Its position.
    has_succeeded : bool
        Whether it has ended well.
    is_batch : bool
        Whether it evaluates experiments of a manifest.
    tokens : str
        Tokens of its jobs, joined by commas.
    n_experiments : int
        Number of experiments in the receipts of these jobs.
    """

    position: int
    has_succeeded: bool
    is_batch: bool
    tokens: str
    n_experiments: int


class History:
    """The step runs of the runs of a workspace. It is only read.

    Parameters
    ----------
    path : Path
        The database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def next_epoch(self, key: str, position: int) -> tuple[int, int, bool]:
        """Return the epoch and the first attempt of the next step run at a position.

        Also return whether the failed experiments of the one before were accepted, if that is not forgotten.
        """
        latest = "SELECT * FROM step_run WHERE run_id = ? AND position = ? ORDER BY epoch DESC LIMIT 1"
        with session(self.path) as connection:
            here = (run_row(connection, key).id, position)
            last: Row | None = connection.execute(latest, here).fetchone()
            if last is None:
                return 0, 1, False
            attempts = (
                "SELECT max(attempt) FROM job JOIN step_run ON job.step_run_id = step_run.id "
                "WHERE step_run.run_id = ? AND position = ?"
            )
            accepts_failed = last.accepts_failed and last.forgotten_at is None
            return last.epoch + 1, (scalar(connection, attempts, here) or 0) + 1, accepts_failed

    def first_failed(self, key: str) -> int | None:
        """Return the position of the first step run that failed or was cancelled and is not withdrawn."""
        with session(self.path) as connection:
            return first_failed(connection, run_row(connection, key).id)

    def step_runs(self, key: str) -> list[tuple[int, str, str]]:
        """Return position, name and iteration of every step run that counts."""
        query = f"SELECT position, name, iteration FROM step_run WHERE run_id = ? AND {COUNTS} ORDER BY position"
        with session(self.path) as connection:
            rows = connection.execute(query, (run_row(connection, key).id,))
            return [(row.position, row.name, row.iteration) for row in rows]

    def valid_step_runs(self, key: str) -> list[ValidStepRun]:
        """Return every step run that is not withdrawn, in order."""
        query = "SELECT * FROM step_run WHERE run_id = ? AND withdrawn_at IS NULL ORDER BY position"
        with session(self.path) as connection:
            rows = connection.execute(query, (run_row(connection, key).id,))
            return [
                ValidStepRun(
                    row.position,
                    format_address(row.name, row.iteration),
                    member(StepKind, row.kind),
                    member(StepRunState, row.state),
                    row.n_failed,
                    row.until,
                )
                for row in rows
            ]

    def began(self, key: str, position: int = 0) -> list[Recorded]:
        """Return the step runs from a position on, in the order in which they were recorded, also forgotten ones.

        A position counts if it has one that is not forgotten, and then only with the step of that one.
        """
        query = """
            SELECT position, epoch, forgotten_at, state, EXISTS (
                SELECT 1 FROM job WHERE step_run_id = each.id AND started_at IS NOT NULL
            ) AS has_begun
            FROM step_run AS each WHERE run_id = ? AND position >= ? AND kind != ? AND EXISTS (
                SELECT 1 FROM step_run AS mine WHERE mine.run_id = each.run_id AND mine.position = each.position
                AND mine.name = each.name AND mine.iteration = each.iteration AND mine.forgotten_at IS NULL
            ) ORDER BY id
        """
        with session(self.path) as connection:
            rows = connection.execute(query, (run_row(connection, key).id, position, StepKind.UNTIL))
            return [
                Recorded(
                    row.position, row.epoch, row.forgotten_at, bool(row.has_begun), row.state != StepRunState.SKIPPED
                )
                for row in rows
            ]

    def accepts_failed(self, key: str, position: int, epoch: int) -> bool:
        """Whether the user has accepted the failed experiments of a step run."""
        query = "SELECT accepts_failed FROM step_run WHERE run_id = ? AND position = ? AND epoch = ?"
        with session(self.path) as connection:
            return bool(scalar(connection, query, (run_row(connection, key).id, position, epoch)))

    def kinds_at(self, key: str, position: int) -> dict[str, str | None]:
        """Return the kinds of failure of all jobs of the step at a position, by token, without forgotten epochs."""
        query = """
            SELECT job.token, job.kind FROM step_run AS mine
            JOIN step_run AS each USING (run_id, position, iteration, name)
            JOIN job ON job.step_run_id = each.id
            WHERE mine.run_id = ? AND mine.position = ? AND mine.withdrawn_at IS NULL AND each.forgotten_at IS NULL
            ORDER BY job.id
        """
        with session(self.path) as connection:
            rows = connection.execute(query, (run_row(connection, key).id, position))
            return {row.token: row.kind for row in rows}

    def manifests_at(self, key: str, position: int) -> dict[str, str]:
        """Return the digests of the manifests of the step at a position, by epoch; only those that are recorded."""
        query = """
            SELECT each.epoch, each.manifest FROM step_run AS mine
            JOIN step_run AS each USING (run_id, position, iteration, name)
            WHERE mine.run_id = ? AND mine.position = ? AND mine.withdrawn_at IS NULL AND each.manifest IS NOT NULL
        """
        with session(self.path) as connection:
            rows = connection.execute(query, (run_row(connection, key).id, position))
            return {str(row.epoch): row.manifest for row in rows}

    def manifests_before_a_move(self, key: str, position: int) -> tuple[list[RecordedAt], list[RecordedAt]]:
        """Return the manifests that a step had at other positions, before a loop became longer, and those that count.

        Parameters
        ----------
        key : str
            The run's key.
        position : int
            Where the step is now.

        Returns
        -------
        moved : list of tuple
            Position, epoch and digest of the manifests of this step in this iteration at other positions.
        counted : list of tuple
            The same of all step runs before it that are not withdrawn; empty if nothing has moved.
        """
        moved = """
            SELECT each.position, each.epoch, each.manifest FROM step_run AS mine
            JOIN step_run AS each USING (run_id, path, iteration, name)
            WHERE mine.run_id = ? AND mine.position = ? AND mine.withdrawn_at IS NULL
            AND each.position != mine.position AND each.withdrawn_at IS NOT NULL AND each.manifest IS NOT NULL
        """
        counted = """
            SELECT position, epoch, manifest FROM step_run
            WHERE run_id = ? AND position < ? AND withdrawn_at IS NULL AND manifest IS NOT NULL
        """
        with session(self.path) as connection:
            values = (run_row(connection, key).id, position)
            found = [(row.position, row.epoch, row.manifest) for row in connection.execute(moved, values)]
            if not found:
                return [], []
            return found, [(row.position, row.epoch, row.manifest) for row in connection.execute(counted, values)]

    def latest_step_runs(self, key: str, before: int | None, n: int) -> list[LatestStepRun]:
        """Return the last step runs of a run, the last first, with the experiments that receipts count.

        Parameters
        ----------
        key : str
            The run's key.
        before : int or None
            Only step runs at smaller positions.
        n : int
            Number of step runs.
        """
        query = """
            SELECT each.position, each.state, each.n_tasks IS NOT NULL AS is_batch,
                group_concat(job.token) AS tokens, COALESCE(SUM(job.n_finished + job.n_failed), 0) AS n_experiments
            FROM step_run AS each LEFT JOIN job ON job.step_run_id = each.id
            WHERE each.run_id = ? AND each.withdrawn_at IS NULL AND each.position < ?
            GROUP BY each.id ORDER BY each.position DESC LIMIT ?
        """
        with session(self.path) as connection:
            last = 2**62 if before is None else before
            rows = connection.execute(query, (run_row(connection, key).id, last, n))
            ended_well = StepRunState.SUCCEEDED
            return [
                LatestStepRun(
                    row.position, row.state == ended_well, bool(row.is_batch), row.tokens or "", row.n_experiments
                )
                for row in rows
            ]

    def tokens(self, key: str) -> set[str]:
        """Return the tokens of all jobs of a run."""
        with session(self.path) as connection:
            run_id = run_row(connection, key).id
            return set(scalars(connection, "SELECT token FROM job WHERE run_id = ?", (run_id,)))
