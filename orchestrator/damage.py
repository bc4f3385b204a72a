"""Read files of ours that something may have damaged: a bad disk, another program, the code of a study.

Only regular files are read: a FIFO, a device or a folder in place of a file must not block a command. No link is
followed. What a file contains is checked before it is used.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from errno import EIO, ELOOP, ENOTCONN, ENXIO, ESHUTDOWN, ESTALE, ETIMEDOUT
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from orchestrator.amounts import size_text
from orchestrator.errors import DataError
from orchestrator.holes import first_hole
from orchestrator.text import clean

__all__ = [
    "LARGEST",
    "LARGEST_INT",
    "LATEST",
    "NETWORK_ERRORS",
    "Damaged",
    "check_size",
    "checked_fields",
    "cleaned",
    "open_regular",
    "parse_json",
    "parse_object",
    "read_limited",
    "read_small",
    "read_whole",
    "refuse",
    "written_part",
]

LARGEST = 1 << 24
"""Size in bytes from which a file that is read as a whole is not one of ours."""

LARGEST_INT = 1 << 63
"""SQLite has no larger integers."""

NETWORK_ERRORS = frozenset({EIO, ENOTCONN, ESHUTDOWN, ESTALE, ETIMEDOUT})
"""Errors of a network file system that does not answer at the moment: the file is not damaged."""

LATEST = 1e11
"""Epoch seconds that no clock shows."""


class Damaged(Exception):
    """A file is not what was written; the message says why."""


def refuse(why: str) -> NoReturn:
    """Raise `Damaged`."""
    raise Damaged(why)


def open_regular(path: Path, *, follow: bool = False) -> BinaryIO:
    """Open a regular file to read it; never waits, as for the writer of a FIFO.

    Parameters
    ----------
    path : Path
        The file.
    follow : bool, default False
        Whether it may be a link to a regular file.

    Raises
    ------
    Damaged
        If it is something else: a link, a folder, a device.
    OSError
        If it does not exist, or can't be read now.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    except OSError as error:
        if error.errno in (ELOOP, ENXIO):  # a link; a socket
            raise Damaged("it is no regular file") from None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Damaged("it is no regular file")
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor


def read_small(path: Path, largest: int = LARGEST) -> bytes:
    """Return the content of a regular file.

    Raises
    ------
    Damaged
        If it is something else, or larger than `largest` bytes.
    OSError
        If it does not exist, or can't be read now.
    """
    with open_regular(path) as file:
        return read_limited(file, largest)


def read_limited(file: BinaryIO, largest: int) -> bytes:
    """Return the content of an open file; raise `Damaged` if it has more than `largest` bytes."""
    content = file.read(largest + 1)
    return content if len(content) <= largest else refuse(f"it has more than {largest} bytes")


def read_whole(path: Path) -> bytes:
    """Return the content of a file of text, which may be a link to a regular file.

    Raises
    ------
    DataError
        If it is something else, or as of `check_size`.
    OSError
        If it does not exist, or can't be read now.
    """
    try:
        with open_regular(path, follow=True) as file:
            check_size(file)
            return file.read()
    except Damaged as error:
        raise DataError(f"{path} can't be read: {error}.") from error


def written_part(path: Path) -> bytes:
    """Return the content of a regular file up to its first hole, which ends a text.

    Raises
    ------
    Damaged
        If it is something else, or larger than the memory here.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        written = size if size <= LARGEST else first_hole(file)
        _check_memory(written)
        return file.read(written)


def check_size(file: BinaryIO) -> None:
    """Raise `Damaged` if an open file of text is larger than what was written to it, or than the memory here.

    A file can have any size on a disk that is almost empty: where nothing was written, it has a hole, which is read as
    zeros. Text has none.
    """
    size = os.fstat(file.fileno()).st_size
    if size <= LARGEST:  # the content says it
        return
    hole = first_hole(file)
    if hole < size:
        refuse(f"it has a size of {size_text(size)}, but nothing was written after byte {hole}")
    _check_memory(size)


def _check_memory(size: int) -> None:
    if size <= LARGEST:
        return
    from orchestrator.host import usable_memory  # not needed for small files

    memory = usable_memory()
    if size > memory:
        refuse(f"it has a size of {size_text(size)}, and only {size_text(memory)} of memory can be used here")


_decode = json.JSONDecoder().decode


def parse_json(content: bytes) -> Any:
    """Return a JSON value.

    Raises
    ------
    Damaged
        If it is not JSON in UTF-8.
    """
    try:
        return _decode(content.decode())
    except RecursionError:
        raise Damaged("its lists and objects are nested too deeply") from None
    except ValueError as error:
        raise Damaged(f"it is not JSON: {error}") from None


def parse_object(content: bytes) -> dict[str, Any]:
    """Return a JSON object; otherwise as `parse_json`."""
    value = parse_json(content)
    return value if isinstance(value, dict) else refuse(f"it contains {_kind(value)}, not an object")


def cleaned(value: Any) -> Any:
    """Return a JSON value whose texts can be stored in the records: without lone surrogates and NUL."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    if isinstance(value, dict):
        return {clean(name): cleaned(item) for name, item in value.items()}
    return value


# --- fields -------------------------------------------------------------------------------------

Check = Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST_INT


def _is_number(value: Any) -> bool:
    # False for NaN. An integer may be too large for a float.
    return type(value) in (int, float) and 0 <= value < LATEST


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_nothing(value: Any) -> bool:
    return value is None


def _is_list_of(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _is_object_of(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _is_anything(value: Any) -> bool:
    return True


_CHECKS: dict[str, Check] = {
    "str": _is_text,
    "int": _is_count,
    "float": _is_number,
    "bool": _is_bool,
    "None": _is_nothing,
    "BaseException": lambda value: False,
    "StepKind": _is_text,
    "Sequence[str]": _is_list_of(_is_text),
    "Mapping[str, str]": _is_object_of(_is_text),
    "Mapping[str, Any]": _is_object_of(_is_anything),
    "list[dict[str, Any]]": _is_list_of(_is_object_of(_is_anything)),
}
"""Whether a JSON value fits a field, by the type in the field's annotation. Integers and numbers are not negative."""


def checked_fields(kind: type, values: Mapping[str, Any], required: Iterable[str]) -> dict[str, Any]:
    """Check the values of the fields of a class.

    Parameters
    ----------
    kind : type
        The class.
    values : mapping
        JSON values by the name of the field.
    required : iterable of str
        Fields without a default.

    Returns
    -------
    dict of str to value
        The values.

    Raises
    ------
    Damaged
        If a field is missing or unknown, or a value does not fit the type of its field.
    """
    annotations = {name: _name_of(of) for name, of in kind.__annotations__.items()}
    for name in required:
        if name not in values:
            raise Damaged(f"it has no {name}")
    for name, value in values.items():
        if name not in annotations:
            raise Damaged(f"it has the unknown field {name!r}")
        if not any(_CHECKS[part](value) for part in annotations[name].split(" | ")):
            raise Damaged(f"its {name} is {_kind(value)}, not {annotations[name]}")
    return dict(values)


def _name_of(annotation: Any) -> str:
    """Return a type as it is written; it is a text already in a module with `from __future__ import annotations`."""
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return text.replace("collections.abc.", "").replace("typing.", "")


def _kind(value: Any) -> str:
    """Return what a JSON value is, in a few words."""
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "an object"
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
