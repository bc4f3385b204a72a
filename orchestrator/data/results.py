"""Result files: a task appends one line per experiment.

A line contains its own length and checksum, so that a reader detects an incomplete or changed line. A task only
appends lines; `orchestrator.data.fold` writes them to the table. The first line of a file says what all have in common:
an `Evaluation`.
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from orchestrator.damage import LARGEST_INT, Damaged, open_regular, parse_json, parse_object
from orchestrator.data.job_status import JobStatus
from orchestrator.data.references import Reference
from orchestrator.data.values import from_jsonable, is_missing, to_jsonable
from orchestrator.errors import DataError
from orchestrator.holes import skip_hole
from orchestrator.no_links import make_and_open
from orchestrator.sha256 import sha256_of
from orchestrator.table_folder import DATA_FOLDER
from orchestrator.trust import check_links

if TYPE_CHECKING:
    from orchestrator.data.result_lines import Lines

__all__ = [
    "Evaluation",
    "ResultFile",
    "ResultReader",
    "ResultWriter",
    "canonical_text",
    "expect_many_lines",
    "frame",
    "inputs_digest",
    "read_results",
    "unframe",
]

_HEADER = 18  # eight digits, a space, eight digits, a space
_SYNC_EVERY = 1.0  # seconds
_NUMBER_TYPES = {int, float}
_STATUSES = frozenset(JobStatus.__members__)
_ERROR = JobStatus.ERROR.name

LONGEST_LINE = 1 << 28
"""Size of a line in bytes that no result has."""

BLOCK = 1 << 20
"""Bytes that are read at once."""

MOST_SHOWN = 1000
"""Bytes of a damaged line that are kept in the quarantine; the file itself is archived."""


class Evaluation(NamedTuple):
    """What the results in a file have in common.

    Attributes
    ----------
    step, iteration : str
        Name of the step, and its iteration; empty outside loops.
    attempt : int
        Number of the job among those for the same batch, from 1.
    host : str
        Name of the machine.
    """

    step: str
    iteration: str
    attempt: int
    host: str


def frame(value: Mapping[str, Any]) -> bytes:
    """Encode a line with its length and checksum.

    Parameters
    ----------
    value : Mapping
        A JSON object. Convert outputs with `orchestrator.data.values.to_jsonable` first.

    Returns
    -------
    bytes
        Length and CRC-32 of the JSON, in eight hexadecimal digits each; the JSON; a newline.

    Raises
    ------
    TypeError
        If the value can't be written as JSON.
    ValueError
        If it is longer than `LONGEST_LINE` bytes.
    """
    body = _encoded_fast(value) or _encode(value).encode("ascii")
    if len(body) > LONGEST_LINE - _HEADER - 1:
        raise ValueError(f"a result of more than {LONGEST_LINE} bytes can't be stored: write it to a file of its own")
    return b"%08x %08x %s\n" % (len(body), zlib.crc32(body), body)


def expect_many_lines() -> None:
    """Import the encoder that is ten times as fast. That takes as long as some thousand lines, so few tasks need it."""
    global _dumps
    from orjson import dumps

    _dumps = dumps


_dumps: Callable[[Any], bytes] | None = None


def _encoded_fast(line: Mapping[str, Any]) -> bytes | None:
    """Return the JSON of the line of an experiment without an error, if the fast encoder can and shall write it."""
    if _dumps is None or line.get("error", "") is not None:
        return None
    try:
        body = _dumps(line)
    except TypeError:  # such as an integer of more than 64 bits
        return None
    # It writes null for NaN and the infinities, too. There must be only that of the error.
    return body if body.count(b"null") == 1 else None


def unframe(line: bytes) -> dict[str, Any]:
    """Decode a line that `frame` encoded.

    Parameters
    ----------
    line : bytes
        The line, with or without its newline.

    Returns
    -------
    dict
        The value.

    Raises
    ------
    DataError
        If the line is incomplete, its bytes have changed, or it is not a JSON object.
    """
    body = line.rstrip(b"\n")[_HEADER:]
    head = b"%08x %08x " % (len(body), zlib.crc32(body))
    if line[:_HEADER] != head:
        raise DataError("a line is torn: it is incomplete, or its bytes have changed")
    try:
        return parse_object(body)
    except Damaged as error:
        raise DataError(f"a line is no result: {error}") from None


def _is_cut(line: bytes) -> bool:
    """Whether a line is the begin of one that `frame` encoded: its writer was killed, or the disk was full."""
    head = re.match(rb"([0-9a-f]{8}) [0-9a-f]{8} (?=\{|$)", line)
    if head is None:
        return len(line) < _HEADER and re.fullmatch(rb"[0-9a-f ]+", line) is not None
    return len(line) - _HEADER < int(head[1], 16)


def _evaluation(value: dict[str, Any]) -> Evaluation | None:
    """Return what a first line says; None if a line is another one."""
    if value.keys() != set(Evaluation._fields):
        return None
    texts = (value["step"], value["iteration"], value["host"])
    is_one = type(value["attempt"]) is int and all(isinstance(text, str) for text in texts)
    return Evaluation(**value) if is_one else None


def _result(value: dict[str, Any]) -> dict[str, Any]:
    """Return the result that a line contains.

    Raises
    ------
    DataError
        If it is not what a task writes.
    """
    get = value.get
    row, status, error, outputs = get("row"), get("status"), get("error"), get("outputs")
    is_result = (
        type(row) is int
        and -LARGEST_INT < row < LARGEST_INT
        and type(get("inputs")) is str
        and type(status) is str
        and status in _STATUSES
        and type(outputs) is dict
        and (_is_error(error) if error is not None else status != _ERROR)
        # Each name by itself: a loop over the names takes longer than all the other checks.
        and type(get("started", 0)) in _NUMBER_TYPES
        and type(get("seconds", 0)) in _NUMBER_TYPES
        and type(get("cpu", 0)) in _NUMBER_TYPES
        and type(get("memory", 0)) in _NUMBER_TYPES
    )
    if not is_result:
        raise DataError("a line is no result: a field is missing, or has another type")
    try:
        for output in value["outputs"].values():
            if type(output) in (list, dict):
                from_jsonable(output)
    except Exception as broken:  # what the decoders of damaged content raise
        raise DataError(f"a line is no result: {type(broken).__name__}: {broken}") from broken
    return value


def _values(lines: Sequence[bytes]) -> Sequence[dict[str, Any] | None]:
    """Return what `unframe` returns for each line, which is faster for all at once; None for each if one is damaged."""
    bodies = [line[_HEADER:-1] for line in lines]
    try:
        heads = [b"%08x %08x " % (len(body), zlib.crc32(body)) for body in bodies]
        if heads == [line[:_HEADER] for line in lines]:
            values = parse_json(b"[%s]" % b",".join(bodies))
            if len(values) == len(lines) and set(map(type, values)) == {dict}:
                return values  # type: ignore[no-any-return]
    except Damaged:
        pass
    return [None] * len(lines)


def _checked(lines: Sequence[bytes]) -> Iterator[tuple[bytes, Evaluation | dict[str, Any] | None]]:
    """Yield each line with what it says: a first line, or a result; None if it is incomplete or damaged."""
    for line, known in zip(lines, _values(lines), strict=True):
        found = None
        with suppress(DataError):
            value = unframe(line) if known is None else known
            found = (None if "row" in value else _evaluation(value)) or _result(value)
        yield line, found


def _is_error(error: Any) -> bool:
    return (
        isinstance(error, dict)
        and {"type", "message"} <= error.keys()
        and all(isinstance(text, str) for text in error.values())
    )


def inputs_digest(inputs: Mapping[str, Any]) -> str:
    """Return a digest of the inputs of an experiment.

    Parameters
    ----------
    inputs : Mapping
        The inputs by name. A missing value (None, NaN) is the same as an absent one. Equal numbers of different types
        are the same. The order of the names does not matter.

    Returns
    -------
    str
        16 hexadecimal digits, the same in every process, also after the inputs were stored and loaded.

    Raises
    ------
    TypeError
        If an input has a type that can't be stored in a table.
    """
    # `orchestrator.data.row_texts` makes the same for whole columns.
    plain = {name: _canonical(value) for name, value in inputs.items() if value is not None and not is_missing(value)}
    return sha256_of(_encode_sorted(plain).encode("ascii"))[:16]


def canonical_text(value: Any) -> str:
    """Return the text of an input that is not missing in the JSON of `inputs_digest`."""
    return _encode_sorted(_canonical(value))


_encode = json.JSONEncoder(separators=(",", ":")).encode
_encode_sorted = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


def _canonical(value: Any) -> Any:
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() else value
    if kind is str or kind is int or kind is bool:
        return value
    if kind is Reference:
        return value.path
    if kind.__module__ == "numpy" and not hasattr(value, "__setitem__"):
        plain = value.item()
        if type(plain) is not kind:
            return _canonical(plain)
    return _canonical_json(to_jsonable(value))


def _canonical_json(value: Any) -> Any:
    if type(value) is float:
        return int(value) if value.is_integer() else value
    if type(value) is list:
        return [_canonical_json(item) for item in value]
    if type(value) is dict:
        return {key: _canonical_json(item) for key, item in value.items()}
    return value


class ResultWriter:
    """Append result lines to a file. A killed task loses at most the line that it was writing.

    Each line is one write, which readers see immediately. The file is synced to disk (fsync) at most once a second, and
    when it is closed. If the last line of the file is torn, the next one begins on a new line.

    Parameters
    ----------
    path : Path
        Path of the file. Its folder is created if it does not exist.
    evaluation : Evaluation, optional
        What the first line of a new file says.

    Examples
    --------
    >>> with ResultWriter(folder / "0.0.jsonl") as results:  # doctest: +SKIP
    ...     results.write({"row": 0, "inputs": "9f86d081884c7d65", "status": "FINISHED", ...})
    """

    def __init__(self, path: Path, evaluation: Evaluation | None = None) -> None:
        self.path = Path(path)
        self._first = b"" if evaluation is None else frame(evaluation._asdict())
        self._fd = -1
        self._torn = False
        self._synced = 0.0

    def __enter__(self) -> "ResultWriter":
        self._fd = _open_below(self.path)
        size = os.fstat(self._fd).st_size
        self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"
        self._first = b"" if size else self._first
        self._synced = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def write(self, line: Mapping[str, Any]) -> None:
        """Append one line.

        Parameters
        ----------
        line : Mapping
            The result as a JSON object; see `frame`.

        Raises
        ------
        OSError
            If the line can't be written completely. The next one begins on a new line.
        """
        content = self._first + frame(line)
        if self._torn:
            content = b"\n" + content
        self._torn = True
        while content:
            content = content[os.write(self._fd, content) :]
        self._first, self._torn = b"", False
        if time.monotonic() - self._synced >= _SYNC_EVERY:
            self.sync()

    def sync(self) -> None:
        """Wait until every line is on disk."""
        os.fsync(self._fd)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Sync and close the file. A second call does nothing."""
        if self._fd < 0:
            return
        try:
            self.sync()
        finally:
            os.close(self._fd)
            self._fd = -1


def _open_below(path: Path) -> int:
    """Open a result file to append to it. Below the folder of the table no link is followed."""
    parts = path.parent.parts
    first = len(parts) - parts[::-1].index(DATA_FOLDER) if DATA_FOLDER in parts else len(parts)
    above = Path(*parts[:first])
    above.mkdir(parents=True, exist_ok=True)
    check_links(above)
    folder = make_and_open(above, parts[first:])
    try:
        return os.open(path.name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666, dir_fd=folder)
    finally:
        os.close(folder)


class ResultFile(NamedTuple):
    """The content of a result file.

    Attributes
    ----------
    path : Path
        Path of the file.
    lines : Lines
        The valid lines, in the order in which they were written.
    n_torn : int
        Number of incomplete lines, which are skipped: their task was killed.
    damaged : sequence of bytes
        The begin of each other line that is not a result.
    end : int
        Offset in bytes after the last newline, from which the file can be read later.
    evaluation : Evaluation or None
        What the first line says; None if it was not read.
    """

    path: Path
    lines: "Lines"
    n_torn: int = 0
    end: int = 0
    damaged: Sequence[bytes] = ()
    evaluation: Evaluation | None = None

    @classmethod
    def read(cls, path: Path, offset: int = 0) -> "ResultFile":
        """Read a file from the start of a line.

        Parameters
        ----------
        path : Path
            Path of the file.
        offset : int, default 0
            Start of the first line to read, in bytes.

        Returns
        -------
        ResultFile
            Its lines. What is no regular file has one damaged line.
        """
        content, end, block = _Content(), offset, b"\n"
        try:
            with open_regular(Path(path)) as file:
                file.seek(offset)
                for block in _blocks(file):
                    content.add(block)
                end = file.tell() - (0 if block.endswith(b"\n") else len(block))
        except Damaged as error:
            content.damaged.append(str(error).encode())
        return cls(Path(path), content.lines, content.n_torn, end, content.damaged, content.evaluation)


class _Content:
    """What was read of a file; the attributes are those of `ResultFile`."""

    def __init__(self) -> None:
        from orchestrator.data.result_lines import Lines, runs_of  # Few tasks read results.

        self.lines, self.damaged, self.n_torn = Lines(), list[bytes](), 0
        self.evaluation: Evaluation | None = None
        self._runs_of = runs_of

    def add(self, block: bytes) -> None:
        """Add lines."""
        for run in self._runs_of(block):
            if not (run.is_plain and self.lines.add_plain(run)):
                for line, value in _checked(run.lines()):
                    self._add_line(line, value)

    def _add_line(self, line: bytes, value: Evaluation | dict[str, Any] | None) -> None:
        if isinstance(value, Evaluation):
            self.evaluation = value
        elif value is not None:
            self.lines.add(value)
        elif _is_cut(line):
            self.n_torn += 1
        else:
            self.damaged.append(line[:MOST_SHOWN])


class ResultReader:
    """Reads result files. One that has not changed is not read a second time."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[tuple[int, int, int] | None, ResultFile]] = {}

    def read(self, path: Path, offset: int = 0) -> ResultFile:
        """Return the content of a file; as of `ResultFile.read`."""
        if offset:
            return ResultFile.read(path, offset)
        now = _version_of(path)
        before, file = self._read.get(path, (None, None))
        if file is None or before is None or before != now:
            file = ResultFile.read(path)
            self._read[path] = now, file
        return file


def _version_of(path: Path) -> tuple[int, int, int] | None:
    """Return what changes with the content of a file; None if it is no regular one."""
    try:
        # A network file system asks its server when a file is opened, and may not when its size is asked for.
        with open_regular(path) as file:
            found = os.fstat(file.fileno())
    except Damaged:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file, many at once, but the first one alone, and a long one."""
    for line in _lines(file):
        yield line
        while content := file.read(BLOCK):
            end = content.rfind(b"\n") + 1
            file.seek(end - len(content), os.SEEK_CUR)
            if not end:  # a long line, or the last one
                break
            yield content[:end]


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of a file that are not empty; of one that is too long, only its begin and its newline."""
    while line := file.readline(LONGEST_LINE):
        begin = line
        while len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            skip_hole(file)
            begin, line = begin[:MOST_SHOWN] + b"\n", file.readline(LONGEST_LINE)
        if begin != b"\n":
            yield begin


def read_results(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the valid lines of a result file. Incomplete and damaged lines are skipped.

    Parameters
    ----------
    path : Path
        Path of the file.

    Yields
    ------
    dict
        One result.
    """
    yield from ResultFile.read(path).lines
