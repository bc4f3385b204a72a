"""Result files: a task appends one line per experiment.

A line contains its own length and checksum, so that a reader detects an incomplete or changed line. A task only
appends lines; `orchestrator.data.fold` writes them to the table.
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
    """
    body = json.dumps(value, separators=(",", ":")).encode("ascii")
    return b"%08x %08x %s\n" % (len(body), zlib.crc32(body), body)


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
        If the line is torn: incomplete or changed.
    """
    body = line.rstrip(b"\n")[_HEADER:]
    head = b"%08x %08x " % (len(body), zlib.crc32(body))
    if line[:_HEADER] != head:
        raise DataError("a line is torn: it is incomplete, or its bytes have changed")
    value: dict[str, Any] = json.loads(body)
    return value


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
    """Append result lines to a file. A killed task loses at most the line that it was writing.

    Each line is one write, which readers see immediately. The file is synced to disk (fsync) at most once a second, and
    when it is closed. If the last line of the file is torn, the next one begins on a new line.

    Parameters
    ----------
    path : Path
        Path of the file. Its folder is created if it does not exist.

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
        self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o666)
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
            The result as a JSON object; see `frame`.

        Raises
        ------
        OSError
            If the line can't be written completely. The next one begins on a new line.
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


class ResultFile(NamedTuple):
    """The content of a result file.

    Attributes
    ----------
    path : Path
        Path of the file.
    lines : sequence of dict
        The valid lines, in the order in which they were written.
    n_torn : int
        Number of torn lines, which are skipped.
    end : int
        Offset in bytes after the last newline, from which the file can be read later.
    """

    path: Path
    lines: Sequence[dict[str, Any]] = ()
    n_torn: int = 0
    end: int = 0

    @classmethod
    def read(cls, path: Path, offset: int = 0) -> ResultFile:
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
            Its lines. An incomplete last line counts as torn.
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
    """Yield the valid lines of a result file. Torn lines are skipped.

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
