"""The links by which the files of a table are read, and the numbers of its generations.

When a generation is made and removed is decided in `orchestrator.data.generations`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from shlex import quote

from orchestrator.errors import DataError
from orchestrator.table_folder import TABLE_FILES

__all__ = [
    "CURRENT",
    "GENERATIONS",
    "command_to_link",
    "generation_numbers",
    "generation_of",
    "in_the_way",
    "is_link_of_a_file",
    "is_link_of_a_table",
    "put_links",
]

CURRENT = ".table"
"""In the folder of a table: the link to the folder of its generation."""

GENERATIONS = ".generations"
"""In the folder of a table: a folder for each generation, named by its number."""


def generation_of(base: Path) -> int:
    """Return the number of the generation that the link names; without a link the largest one, or 0."""
    number = _generation_named_by(base / CURRENT)
    if number is not None:
        return number
    try:
        return max(generation_numbers(base), default=0)
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _generation_named_by(link: Path) -> int | None:
    """Return the number of the generation that a link names; None if it is not such a link."""
    with suppress(OSError):
        found = re.fullmatch(rf"{re.escape(GENERATIONS)}/([1-9][0-9]{{0,17}})", str(link.readlink()))
        return int(found[1]) if found else None
    return None


def generation_numbers(base: Path) -> list[int]:
    """Return the numbers of the generations whose folders are there."""
    return [int(path.name) for path in (base / GENERATIONS).iterdir() if path.name.isdecimal()]


def is_link_of_a_table(path: Path) -> bool:
    """Whether a file is one of the links by which a table is read; they lead to files beside them."""
    return is_link_of_a_file(path) or (
        path.name == CURRENT and path.is_symlink() and _generation_named_by(path) is not None
    )


def is_link_of_a_file(path: Path) -> bool:
    """Whether a file is the link by which one of the four files is read."""
    return path.name in TABLE_FILES and path.is_symlink() and path.readlink() == Path(CURRENT, path.name)


def put_links(base: Path, names: Iterable[str]) -> None:
    """Put the links to the files of a table where nothing is. Before the first table they lead nowhere."""
    for name in names:
        with suppress(FileExistsError):
            (base / name).symlink_to(f"{CURRENT}/{name}")


def command_to_link(path: Path) -> str:
    """Return the command that puts the link of a file back."""
    return f"ln -s {CURRENT}/{path.name} {quote(str(path))}"


def in_the_way(path: Path, why: str = "it is no regular file") -> DataError:
    """Return the error of what can't be used in the place of a file of a table; the way out is in its message."""
    away = f"mv {quote(str(path))} {quote(f'{path}.damaged')}"
    if path.name in TABLE_FILES and (path.parent / CURRENT / path.name).is_file():
        away += f" && {command_to_link(path)}"
    return DataError(f"{path} can't be used: {why}. To put it right: {away}")
