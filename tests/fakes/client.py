"""SLURM's programs, answered by a queue in memory."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

from orchestrator.errors import SchedulerUnreachable
from orchestrator.indexes import parse_indexes
from orchestrator.machine.answers import Accepted, Answer, RefusedForNow, Unanswered
from orchestrator.slurm.client import Client
from orchestrator.slurm.parse import Line
from tests.fakes.queue import WAITS, Entry, Queue


class FakeClient(Client):
    """What `SlurmScheduler` talks to.

    Parameters
    ----------
    queue : Queue
    lies : random.Random, optional
        Draws the failures between us and the cluster.
    late : float
        Seconds after which a job arrives that comes late.

    Attributes
    ----------
    is_silent : bool
        Whether every question fails.
    """

    def __init__(self, queue: Queue, lies: random.Random | None = None, late: float = 0.0) -> None:
        super().__init__()
        self.is_silent = False
        self._queue = queue
        self._lies = lies
        self._late = late
        self._left_out: dict[str, float] = {}

    def sbatch(self, arguments: Sequence[str], options: Iterable[str]) -> Answer:
        given = dict(
            word.removeprefix("--").split("=", 1) for word in arguments if word.startswith("--") and "=" in word
        )
        array, dependency = given.get("array"), given.get("dependency")
        indexes = tuple(parse_indexes(array.partition("%")[0])) if array else None
        after = dependency.removeprefix("afterany:") if dependency else None
        _script, token, *_digest = (word for word in arguments if not word.startswith("--"))
        return self._take(token, after, indexes)

    def _take(self, token: str, after: str | None, indexes: tuple[int, ...] | None) -> Answer:
        lie = self._draw("refuses", "hears nothing", "answer is lost", "comes late", "takes it twice")
        if lie == "refuses":
            return RefusedForNow("the queue is full")
        if lie != "hears nothing":
            job_id = self._queue.take(token, after, indexes, delay=self._late if lie == "comes late" else 0.0)
        if lie == "takes it twice":
            self._queue.take(token, after, indexes)
        return Unanswered("Socket timed out") if lie not in (None, "takes it twice") else Accepted(job_id)

    def squeue(self) -> list[Line]:
        self._answer()
        left_out = {token for token in {entry.token for entry in self._queue.listed} if self._leaves_out(token)}
        return [_line(entry) for entry in self._queue.listed if entry.token not in left_out]

    def sacct(self, job_ids: Sequence[str], since: float | None) -> list[Line]:
        self._answer()
        asked = [e for e in self._queue.arrived if e.job_id in job_ids or (since is not None and e.arrives_at >= since)]
        return [_line(entry) for entry in asked]

    def scancel(self, job_ids: Sequence[str], *, only_waiting: bool = False) -> None:
        self._answer()
        if only_waiting:
            waiting = {entry.job_id for entry in self._queue.listed if entry.state == WAITS}
            job_ids = [job_id for job_id in job_ids if job_id in waiting]
        self._queue.cancel(job_ids)

    def set_dependency(self, job_id: str, after: str) -> bool:
        self._answer()
        return self._queue.set_dependency(job_id, after)

    def hold(self, job_id: str, *, is_held: bool) -> None:
        self._answer()
        self._queue.hold(job_id, is_held=is_held)

    def _answer(self) -> None:
        if self.is_silent or self._draw("silent", "answers", "answers") == "silent":
            raise SchedulerUnreachable("squeue did not end within 60 s.", "Try again.")

    def _leaves_out(self, token: str) -> bool:
        """Leave out a job that it has, in one answer only: after a second one the job would count as gone."""
        if self._draw("leaves out") is None:
            return False
        return self._left_out.setdefault(token, self._queue.now) == self._queue.now

    def _draw(self, *whats: str) -> str | None:
        if self._lies is None or self._lies.randrange(4):
            return None
        return self._lies.choice(whats)


def _line(entry: Entry) -> Line:
    return Line(entry.job_id, entry.indexes, entry.state, "None", entry.token, entry.started_at, entry.ended_at)


class SaidClient(Client):
    """A client with prepared answers: states by written id, such as `7_1` or `7_[0-2]`.

    Attributes
    ----------
    listed, accounted : dict
        What squeue and sacct say.
    tokens, comments : dict
        By job id; every other job is that of `t`, and has no comment.
    n_asked : int
        How often sacct was asked, and at last for which `ids_asked`, or `asked_since` when.
    cancelled : list of str
    """

    def __init__(self) -> None:
        super().__init__()
        self.listed: dict[str, str] = {}
        self.accounted: dict[str, str] = {}
        self.tokens: dict[str, str] = {}
        self.comments: dict[str, str] = {}
        self.n_asked = 0
        self.ids_asked: list[str] = []
        self.asked_since: float | None = None
        self.cancelled: list[str] = []

    def squeue(self) -> list[Line]:
        return self._lines(self.listed)

    def sacct(self, job_ids: Sequence[str], since: float | None) -> list[Line]:
        self.n_asked += 1
        self.ids_asked, self.asked_since = list(job_ids), since
        return self._lines(self.accounted)

    def scancel(self, job_ids: Sequence[str], *, only_waiting: bool = False) -> None:
        self.cancelled += job_ids

    def _lines(self, states: dict[str, str]) -> list[Line]:
        return [self._line(written_id, state) for written_id, state in states.items()]

    def _line(self, written_id: str, state: str) -> Line:
        job_id, _, index = written_id.partition("_")
        indexes = tuple(parse_indexes(index.strip("[]"))) if index else None
        comment = self.comments.get(job_id, "")
        return Line(job_id, indexes, state, "None", self.tokens.get(job_id, "t"), 1.0, 2.0, comment=comment)
