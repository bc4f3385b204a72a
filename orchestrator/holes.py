"""Parts of a file that were never written: a file with such holes has a larger size than it takes on the disk.

They are read as zeros, which can take hours. Programs leave them that write at a wrong place, or to a log that another
program has shortened.
"""

from __future__ import annotations

import os
from errno import ENXIO
from typing import BinaryIO

__all__ = ["CHUNK", "copy_written", "first_hole", "skip_hole", "written_parts"]

CHUNK = 1 << 20
"""Bytes that are copied at once."""


def first_hole(file: BinaryIO) -> int:
    """Return where the first hole of an open file begins; its size if it has none, or the file system knows none."""
    before = file.tell()
    try:
        return file.seek(0, os.SEEK_HOLE)
    except OSError:  # it is empty, or the file system knows no holes
        return os.fstat(file.fileno()).st_size
    finally:
        file.seek(before)


def skip_hole(file: BinaryIO, end: int | None = None) -> bool:
    """Move to what was written next, or to an end, if an open file is in a hole; return whether it was."""
    before = file.tell()
    try:
        file.seek(before, os.SEEK_DATA)
    except OSError as error:
        if error.errno != ENXIO:  # the file system knows no holes
            return False
        file.seek(0, os.SEEK_END)
    if end is not None and file.tell() > end:
        file.seek(end)
    return file.tell() > before


def written_parts(file: BinaryIO) -> list[tuple[int, int]]:
    """Return the begin and the size of each part of an open file that was written."""
    size, parts, end = os.fstat(file.fileno()).st_size, [], 0
    try:
        while end < size:
            begin = file.seek(end, os.SEEK_DATA)
            if begin >= size:  # it has grown meanwhile
                break
            end = min(size, file.seek(begin, os.SEEK_HOLE))
            parts.append((begin, end - begin))
    except OSError as error:
        if error.errno != ENXIO:  # the file system knows no holes
            return [(0, size)]
    return parts


def copy_written(source: BinaryIO, target: BinaryIO) -> None:
    """Copy an open file into one that is new, with its holes."""
    size = os.fstat(source.fileno()).st_size
    skip_hole(source)
    while source.tell() < size:
        target.seek(source.tell())
        content = source.read(min(CHUNK, size - source.tell()))
        if not content:  # it was shortened meanwhile
            break
        target.write(content)
        skip_hole(source)
    target.truncate(max(target.tell(), size))
