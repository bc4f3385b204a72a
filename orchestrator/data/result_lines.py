"""`Lines`: the results in a file as columns. Most are of finished experiments with a few plain outputs.

For these, only the outputs are decoded. The rest of a line is looked at when it is asked for.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import Any, TypeAlias

from orchestrator.damage import Damaged, parse_json, parse_object

__all__ = ["Lines", "Run", "runs_of"]

_Found: TypeAlias = "tuple[bytes, ...]"
"""Groups of `_line`."""


class Lines(Sequence[dict[str, Any]]):
    """The results in a file, in the order in which they were written.

    Attributes
    ----------
    rows : list of int
        The label of each one's row.
    digests : list of str
        The digest of its inputs.
    statuses : list of str
        Its status.
    outputs : list of dict
        Its outputs, as JSON.
    """

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.digests: list[str] = []
        self.statuses: list[str] = []
        self.outputs: list[dict[str, Any]] = []
        self._lines: list[dict[str, Any] | bytes] = []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: Any) -> Any:
        line = self._lines[at]
        return line if isinstance(line, dict) else parse_object(line)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self.__getitem__, range(len(self)))

    def add(self, line: dict[str, Any]) -> None:
        """Add a line that was decoded and checked."""
        self.rows.append(line["row"])
        self.digests.append(line["inputs"])
        self.statuses.append(line["status"])
        self.outputs.append(line["outputs"])
        self._lines.append(line)

    def add_plain(self, run: Run) -> bool:
        """Add a run that is plain; return False, and add nothing, if a line of it is damaged."""
        heads, bodies, rows, digests, texts, _ = zip(*run.found, strict=True)
        n = len(bodies)
        numbers = struct.unpack(f">{2 * n}I", bytes.fromhex(b"".join(heads).decode()))
        if numbers[::2] != tuple(map(len, bodies)) or numbers[1::2] != tuple(map(zlib.crc32, bodies)):
            return False
        try:
            outputs = parse_json(b"[%s]" % b",".join(texts))
        except Damaged:
            return False
        if len(outputs) != n:
            return False
        self.rows += map(int, rows)
        self.digests += b" ".join(digests).decode().split()
        self.statuses += ["FINISHED"] * n
        self.outputs += outputs
        self._lines += bodies
        return True


class Run:
    """Successive lines of a file.

    Attributes
    ----------
    is_plain : bool
        Whether they can be read as columns, by `Lines.add_plain`.
    """

    def __init__(self, is_plain: bool, found: list[_Found]) -> None:
        self.is_plain = is_plain
        self.found = found

    def lines(self) -> list[bytes]:
        """Return the lines that are not empty."""
        if self.is_plain:
            return [b"%s%s\n" % found[:2] for found in self.found]
        return [line for *_, line in self.found if line != b"\n"]


def runs_of(block: bytes) -> Iterator[Run]:
    """Divide lines into runs of those that can be read as columns, and of others."""
    for other, found in groupby(_line().findall(block), key=lambda found: found[-1] != b""):
        yield Run(not other, list(found))


@cache
def _line() -> re.Pattern[bytes]:
    """Return the pattern of a line, which is compiled only where results are read.

    Without brackets and braces, the outputs have no lists and objects; joined by commas, they are as many objects as
    before, if they are JSON.
    """
    # JSON has no leading zeros. A quantifier with a plus at its end never gives back what it has matched.
    whole = rb"(?!0\d)\d{1,18}+"
    time, number = rb"[1-9]\d{0,17}+\.\d{1,20}+", whole + rb"(?:\.\d{1,20}+)?+(?:e-\d{1,3}+)?+"
    plain = (
        rb'([0-9a-f]{8} [0-9a-f]{8} )(\{"row":(0|-?[1-9]\d{0,17}+),"inputs":"([0-9a-f]{16})","status":"FINISHED",'
        rb'"outputs":(\{[^][{}\n]*+\}),"error":null,"started":%s,"seconds":%s,"cpu":%s,"memory":%s'
        rb'(?:,"log":\[%s,%s\])?+\})\n' % (time, number, number, number, whole, whole)
    )
    return re.compile(plain + rb"|([^\n]*\n|[^\n]+)")
