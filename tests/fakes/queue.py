"""A queue in memory: takes jobs, starts them when time passes, forgets them when they are over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

MINUTE = 60.0
WAITS, RUNS = "PENDING", "RUNNING"
LIVE = (WAITS, RUNS)


class Killed(BaseException):
    """A process is killed here; only code that watches processes may catch this."""


@dataclass
class Entry:
    """One job, in SLURM's words."""

    job_id: str
    token: str
    after: str | None
    arrives_at: float
    indexes: tuple[int, ...] | None = None
    state: str = WAITS
    started_at: float | None = None
    ended_at: float | None = None
    process: Iterator[float] = field(default_factory=lambda: iter(()))
    goes_on_at: float = 0.0
    is_held: bool = False

    @property
    def is_live(self) -> bool:
        return self.state in LIVE


class Queue:
    """Time passes with `tick`: what waits starts, unless it waits for another job; what is over is forgotten.

    Parameters
    ----------
    start : callable
        Returns the process of a job: what it does until it ends, with the seconds of each pause that it makes.
    taken : callable, optional
        Called after each job that it takes.

    Attributes
    ----------
    now : float
        Its clock.
    keeps : float
        Seconds for which it lists what is over.
    """

    def __init__(self, start: Callable[[Entry], Iterator[float]], taken: Callable[[], None] = lambda: None) -> None:
        self.now = 1_000_000.0
        self.keeps = MINUTE
        self._start = start
        self._taken = taken
        self._entries: list[Entry] = []
        self._all: list[Entry] = []
        self._runs: Entry | None = None
        self._last_id = 100

    def take(
        self, token: str, after: str | None = None, indexes: tuple[int, ...] | None = None, delay: float = 0.0
    ) -> str:
        self._last_id += 1
        self._all.append(Entry(str(self._last_id), token, after, self.now + delay, indexes))
        self._entries.append(self._all[-1])
        self._taken()
        return str(self._last_id)

    @property
    def live(self) -> list[Entry]:
        """All jobs that have not ended, whether they have arrived or not."""
        return [entry for entry in self._entries if entry.is_live]

    @property
    def listed(self) -> list[Entry]:
        """All jobs that have arrived and are not forgotten."""
        return [entry for entry in self._entries if entry.arrives_at <= self.now]

    @property
    def arrived(self) -> list[Entry]:
        """All jobs that have ever arrived, as accounting knows them."""
        return [entry for entry in self._all if entry.arrives_at <= self.now]

    def cancel(self, ids: Sequence[str]) -> None:
        for entry in self.listed:
            if entry.job_id in ids and entry.is_live:
                self._end(entry, "CANCELLED")
        if self._runs is not None and not self._runs.is_live:
            raise Killed

    def set_dependency(self, job_id: str, after: str) -> bool:
        for entry in self.listed:
            if entry.job_id == job_id and entry.state == WAITS:
                entry.after = after
                return True
        return False

    def hold(self, job_id: str, *, is_held: bool) -> None:
        for entry in self.listed:
            if entry.job_id == job_id and entry.state == WAITS:
                entry.is_held = is_held

    def tick(self) -> None:
        """Let a minute pass."""
        self.now += MINUTE
        self._entries = [e for e in self._entries if e.ended_at is None or self.now - e.ended_at < self.keeps]
        for entry in self.listed:
            if entry.state == WAITS and self._may_start(entry):
                entry.state, entry.started_at = RUNS, self.now
                entry.process = self._start(entry)
            if entry.state == RUNS and entry.goes_on_at <= self.now:
                self._go_on(entry)

    def _may_start(self, entry: Entry) -> bool:
        """Wait for a job that is live. An unknown job is not waited for."""
        return not entry.is_held and all(entry.after != other.job_id for other in self.live)

    def _go_on(self, entry: Entry) -> None:
        self._runs = entry
        try:
            entry.goes_on_at = self.now + next(entry.process)
        except StopIteration:
            self._end(entry, "COMPLETED")
        except Killed:
            self._end(entry, "FAILED")
        finally:
            self._runs = None

    def _end(self, entry: Entry, state: str) -> None:
        if entry.is_live:
            entry.state, entry.ended_at = state, self.now
