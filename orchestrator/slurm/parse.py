"""What the output of SLURM's programs says. Output that can't be parsed is an error, and never means "no jobs".

Names may contain anything, even line breaks, so lines do not separate records: each record of squeue
begins with `RECORD`, fields are separated by `FIELD`, and free text comes last. The header proves that the output is
from the program itself: output without it is refused. A wrapper of the site may print lines before it.

What unexpected output of sbatch means is decided in `orchestrator.slurm.messages`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Set
from typing import NamedTuple

from orchestrator.machine.facts import Seen
from orchestrator.slurm.job_states import meaning

__all__ = [
    "FIELD",
    "MEMORY_FIELDS",
    "RECORD",
    "SACCT_FIELDS",
    "SQUEUE_FORMAT",
    "Line",
    "config_values",
    "is_live",
    "submitted_id",
    "peak_memory",
    "sacct_lines",
    "squeue_lines",
    "token_of_name",
    "seen_by_id",
]

RECORD, FIELD = "\x1e", "\x1f"

_SQUEUE_FIELDS = ("%i", "%T", "%r", "%S", "%e", "%j", "%k")
SQUEUE_FORMAT = RECORD + FIELD.join(_SQUEUE_FIELDS)

SACCT_FIELDS = ("JobID", "State", "ExitCode", "Submit", "Start", "End", "JobName")

MEMORY_FIELDS = ("JobID", "MaxRSS")

_ID = r"(?P<base>[0-9]{1,18})(?:\+[0-9]+)?(?:_(?:(?P<index>[0-9]{1,9})|\[(?P<list>[^\]]+)\]))?"
_SPAN = r"([0-9]{1,9})(?:-([0-9]{1,9})(?::([0-9]{1,9}))?)?"
_MOST_TASKS = 5_000_000  # SLURM's limit is four million
_TOKEN = r"[a-z2-7]{10}"
_NO_TIME = frozenset({"", "N/A", "NONE", "UNKNOWN"})


class Line(NamedTuple):
    """One line of squeue or sacct.

    Attributes
    ----------
    job_id : str
        Id of the job, or of the whole array.
    indexes : tuple of int or None
        Indexes of the array's tasks in this line; None if the job is not an array.
    state, reason : str
        As SLURM writes them. sacct has no reason.
    token : str
        From the name: the first part that looks like one; empty if there is none.
    started_at, ended_at : float or None
        Epoch seconds; None if the job has not started or ended, even if SLURM prints an expected time.
    exit_code : str
        Status and signal as `1:0`; only from sacct.
    name : str
        Name of the job.
    comment : str
        Comment of the job, which belongs to the site; only from squeue.
    """

    job_id: str
    indexes: tuple[int, ...] | None
    state: str
    reason: str
    token: str
    started_at: float | None
    ended_at: float | None
    exit_code: str = ""
    name: str = ""
    comment: str = ""

    @property
    def tokens(self) -> frozenset[str]:
        """All that may be its token: a part of a label can look like one, too."""
        return frozenset({self.token, *_tokens_in(self.name)} - {""})

    def has_token(self, token: str) -> bool:
        """Whether this is the job with the token."""
        return token in self.tokens

    def other_token(self, tokens: Set[str]) -> str | None:
        """Return one of the tokens that its comment has, if its name has another one of them."""
        in_comment = tokens & set(re.findall(r"[a-z2-7]+", self.comment)) - self.tokens
        return min(in_comment) if in_comment and tokens & self.tokens else None


def submitted_id(text: str) -> str | None:
    """Return the id of a job from the output of `sbatch --parsable`; None if there is none. Other lines are ignored.

    A line without its newline may have lost digits.
    """
    lines = text.split("\n")[:-1]
    ids = [match[1] for line in lines if (match := re.fullmatch(r"([0-9]{1,18})(;\S+)?\r?", line))]
    return ids[-1] if ids else None


def token_of_name(name: str) -> str:
    """Return the token in `<label>_<token>_<pipeline>`: the first part that looks like one; else empty."""
    return next(iter(_tokens_in(name)), "")


def _tokens_in(name: str) -> list[str]:
    return [part for part in name.split("_")[1:-1] if re.fullmatch(_TOKEN, part)]


def squeue_lines(text: str) -> list[Line]:
    """Parse the output of squeue with `SQUEUE_FORMAT` and a header.

    Raises
    ------
    ValueError
        If the output is not complete.
    """
    records = [record.removesuffix("\n").split(FIELD) for record in text.split(RECORD)[1:]]
    if not records or records[0][0] != "JOBID":
        raise ValueError(f"the output of squeue has no header: {_shortened(text)}")
    if not text.endswith("\n"):
        raise ValueError(f"the output of squeue is incomplete: {_shortened(text[-200:])}")
    # With several clusters, each has its own header.
    return [_squeue_line(fields, len(records[0])) for fields in records if fields[0] != "JOBID"]


def _squeue_line(fields: list[str], n_fields: int) -> Line:
    if len(fields) < n_fields or n_fields < len(_SQUEUE_FIELDS) - 1:
        raise ValueError(f"a record of squeue has only {len(fields)} fields: {_shortened(' '.join(fields))}")
    written_id, state, reason, start, end, name = fields[:6]
    comment = FIELD.join(fields[6:])
    base, indexes = _id(written_id)
    started_at, ended_at = _times(state, start, end)
    return Line(base, indexes, state, reason, token_of_name(name), started_at, ended_at, name=name, comment=comment)


def is_live(scheduler_id: str, lines: Iterable[Line]) -> bool:
    """Whether squeue lists a job, or a task of an array such as `12_3`, as not ended."""
    base, _, index = scheduler_id.partition("_")
    return any(
        line.job_id == base
        and (not index or line.indexes is None or int(index) in line.indexes)
        and meaning(line.state).seen is not Seen.OVER
        for line in lines
    )


def seen_by_id(lines: Iterable[Line]) -> dict[str, Seen]:
    """Return how jobs are listed, by id: running if any of its lines says so, else waiting, else over."""
    order = (Seen.RUNNING, Seen.QUEUED, Seen.OVER)
    seen: dict[str, set[Seen]] = {}
    for line in lines:
        seen.setdefault(line.job_id, set()).add(meaning(line.state).seen)
    return {job_id: next(state for state in order if state in states) for job_id, states in seen.items()}


def sacct_lines(text: str) -> list[Line]:
    """Parse the output of `sacct -X -P` with `SACCT_FIELDS` and a header. Of a requeued job only the last start counts.

    Raises
    ------
    ValueError
        If the output is not complete.
    """
    latest: dict[str, tuple[float, Line]] = {}
    for fields in _sacct_records(text):
        written_id, state, exit_code, submit, start, end, name = fields
        base, indexes = _id(written_id)
        started_at, ended_at = _times(state, start, end)
        line = Line(base, indexes, state, "", token_of_name(name), started_at, ended_at, exit_code, name)
        submitted_at = _time(submit) or 0.0
        known = latest.get(written_id)
        if known is None or submitted_at >= known[0]:
            latest[written_id] = (submitted_at, line)
    return [line for _, line in latest.values()]


def _sacct_records(text: str) -> Iterator[list[str]]:
    """Split the output into records. A line without a separator continues the job name of the record before."""
    header = FIELD.join(SACCT_FIELDS) + "\n"
    _, found, rest = ("\n" + text).partition("\n" + header)
    if not found:
        raise ValueError(f"the output of sacct has no header: {_shortened(text)}")
    if rest and not rest.endswith("\n"):
        raise ValueError(f"the output of sacct is incomplete: {_shortened(rest[-200:])}")
    record: list[str] = []
    for line in rest.removesuffix("\n").split("\n") if rest else []:
        fields = line.split(FIELD)
        if len(fields) == 1 and record:
            record[-1] += f"\n{line}"
            continue
        if len(fields) != len(SACCT_FIELDS):
            raise ValueError(
                f"a record of sacct has {len(fields)} fields instead of {len(SACCT_FIELDS)}: {_shortened(line)}"
            )
        if record:
            yield record
        record = fields
    if record:
        yield record


def peak_memory(text: str) -> dict[str, float]:
    """Parse the output of `sacct -P --units=K` with `MEMORY_FIELDS` and a header.

    Returns
    -------
    dict of str to float
        Peak memory in MB by the id of the job: of the largest process of all its tasks. A job of which SLURM has
        measured nothing is missing.

    Raises
    ------
    ValueError
        If the output has no header.
    """
    _, found, rest = ("\n" + text).partition("\n" + FIELD.join(MEMORY_FIELDS) + "\n")
    if not found:
        raise ValueError(f"the output of sacct has no header: {_shortened(text)}")
    memory: dict[str, float] = {}
    for line in rest.splitlines():
        match = re.fullmatch(rf"([0-9]{{1,18}})[^{FIELD}]*{FIELD}([0-9]{{1,15}}(?:\.[0-9]+)?)K?", line)
        if match is not None and float(match[2]):
            memory[match[1]] = max(memory.get(match[1], 0.0), float(match[2]) / 1024)
    return memory


def _id(text: str) -> tuple[str, tuple[int, ...] | None]:
    """Parse `12`, `12_3`, `12_[0-5,9%3]` or, for a part of a heterogeneous job, `12+1`."""
    match = re.fullmatch(_ID, text)
    if match is None:
        raise ValueError(f"{_shortened(text)} is not a complete job id")
    if match["list"] is not None:
        return match["base"], _indexes(match["list"])
    return match["base"], None if match["index"] is None else (int(match["index"]),)


def _indexes(text: str) -> tuple[int, ...]:
    indexes: list[int] = []
    for span in text.partition("%")[0].split(","):
        match = re.fullmatch(_SPAN, span)
        if match is None:
            raise ValueError(f"{_shortened(text)} is not a list of array indexes")
        first, last, step = match.groups()
        span_of_indexes = range(int(first), int(last or first) + 1, int(step or 1))
        if len(indexes) + len(span_of_indexes) > _MOST_TASKS:
            raise ValueError(f"{_shortened(text)} are more tasks than an array has")
        indexes.extend(span_of_indexes)
    return tuple(indexes)


def _times(state: str, start: str, end: str) -> tuple[float | None, float | None]:
    """Return when a job started and ended; None instead of a time that SLURM only expects."""
    seen = meaning(state).seen
    started_at, ended_at = _time(start), _time(end)
    return (None if seen is Seen.QUEUED else started_at), (ended_at if seen is Seen.OVER else None)


def _time(text: str) -> float | None:
    if text.upper() in _NO_TIME:
        return None
    if not re.fullmatch(r"[0-9]{1,12}", text):
        raise ValueError(f"{_shortened(text)} is not a time in epoch seconds")
    return float(text)


def config_values(text: str) -> dict[str, str]:
    """Parse the output of `scontrol show config`."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        match = re.fullmatch(r"(\S+)\s+=\s?(.*)", line)
        if match is not None:
            values.setdefault(match[1], match[2].strip())
    return values


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "...")
