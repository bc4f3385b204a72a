"""The result log: what tasks append, one line per experiment, and how it is read.

A line carries its own length and checksum, so whoever reads it knows whether it was written whole.
The engine's side folds these lines into the table (`orchestrator.data.fold`); a task only appends.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from orchestrator.data.references import Reference
from orchestrator.data.values import is_missing, to_jsonable
from orchestrator.errors import DataError

__all__ = ["ResultFile", "ResultWriter", "frame", "inputs_digest", "read_results", "unframe"]

_HEADER = 18  # eight digits, a space, eight digits, a space
_SYNC_EVERY = 1.0  # seconds


def frame(value: Mapping[str, Any]) -> bytes:
    """Make a line that checks itself.

    Parameters
    ----------
    value : Mapping
        What ``json.dumps`` takes; outputs go through `orchestrator.data.values.to_jsonable` first.

    Returns
    -------
    bytes
        Length and CRC-32 of the JSON in eight hexadecimal digits each, the JSON, a newline.

    Raises
    ------
    TypeError
        The value holds something that JSON has not.
    """
    body = json.dumps(value, separators=(",", ":")).encode("ascii")
    return b"%08x %08x %s\n" % (len(body), zlib.crc32(body), body)


def unframe(line: bytes) -> dict[str, Any]:
    """Read a line that `frame` made.

    Parameters
    ----------
    line : bytes
        The line, with its newline or without.

    Returns
    -------
    dict
        The value.

    Raises
    ------
    DataError
        The line is torn: cut short, or its bytes changed.
    """
    body = line.rstrip(b"\n")[_HEADER:]
    head = b"%08x %08x " % (len(body), zlib.crc32(body))
    if line[:_HEADER] != head:
        raise DataError("a line is torn: it was cut short, or its bytes changed")
    value: dict[str, Any] = json.loads(body)
    return value


def inputs_digest(inputs: Mapping[str, Any]) -> str:
    """Name an experiment by its inputs.

    Parameters
    ----------
    inputs : Mapping
        The inputs by name. Missing values (None, NaN) count as absent, numbers that are equal
        count as the same whatever their type, the order of the names does not matter.

    Returns
    -------
    str
        16 hexadecimal digits, the same in every process and after a trip through the table.

    Raises
    ------
    TypeError
        An input is of a type that can't be kept in the table.
    """
    plain = {name: _canonical(value) for name, value in inputs.items() if not is_missing(value)}
    text = json.dumps(plain, separators=(",", ":"), sort_keys=True)
    return sha256(text.encode("ascii")).hexdigest()[:16]


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
    """Append result lines to a file, so that a killed task loses at most the line it was writing.

    Each line is one write, seen by readers at once; the disk is asked to keep it (fsync) at most once
    a second and on closing. On a file whose last line is torn, the next line starts afresh.

    Parameters
    ----------
    path : Path
        The file; its folder is made where it isn't there.

    Examples
    --------
    >>> with ResultWriter(folder / "0.0.jsonl") as results:  # doctest: +SKIP
    ...     results.write({"row": 0, "inputs": "9f86d081884c7d65", "status": "FINISHED", ...})
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._fd = -1
        self._torn = False
        self._synced = 0.0

    def __enter__(self) -> ResultWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
        size = os.fstat(self._fd).st_size
        self._torn = size > 0 and os.pread(self._fd, 1, size - 1) != b"\n"
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
            The result; everything in it is JSON already (see `frame`).

        Raises
        ------
        OSError
            The line could not be written whole; a later one will start afresh.
        """
        content = frame(line)
        if self._torn:
            content = b"\n" + content
        self._torn = True
        while content:
            content = content[os.write(self._fd, content) :]
        self._torn = False
        if time.monotonic() - self._synced >= _SYNC_EVERY:
            self.sync()

    def sync(self) -> None:
        """Wait until the disk has every line."""
        os.fsync(self._fd)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Sync and close; closing twice is harmless."""
        if self._fd < 0:
            return
        try:
            self.sync()
        finally:
            os.close(self._fd)
            self._fd = -1


class ResultFile(NamedTuple):
    """What a result file holds.

    Attributes
    ----------
    path : Path
        The file.
    lines : sequence of dict
        The whole lines, in the order in which they were written.
    n_torn : int
        How many lines were torn, and left out.
    end : int
        Where the last ended line ends, in bytes; reading may go on from there later.
    """

    path: Path
    lines: Sequence[dict[str, Any]] = ()
    n_torn: int = 0
    end: int = 0

    @classmethod
    def read(cls, path: Path, offset: int = 0) -> ResultFile:
        """Read a file from a line's start on.

        Parameters
        ----------
        path : Path
            The file.
        offset : int, default 0
            Where to start, in bytes.

        Returns
        -------
        ResultFile
            Its lines; a last line without a newline that isn't whole counts as torn.
        """
        with Path(path).open("rb") as file:
            file.seek(offset)
            content = file.read()
        lines, n_torn = [], 0
        for line in content.split(b"\n"):
            if not line:
                continue
            try:
                lines.append(unframe(line))
            except (DataError, ValueError):
                n_torn += 1
        return cls(Path(path), lines, n_torn, offset + content.rfind(b"\n") + 1)


def read_results(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the whole lines of a result file; torn ones are left out.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    dict
        One result.
    """
    yield from ResultFile.read(path).lines
