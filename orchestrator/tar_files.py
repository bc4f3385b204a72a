"""Archives with tar: compressed as their name says, and extracted so that nothing is written elsewhere."""

from __future__ import annotations

import os
import tarfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from gzip import BadGzipFile
from importlib import import_module
from lzma import LZMAError
from pathlib import Path
from typing import IO, Any

from orchestrator.errors import DataError, DefinitionError, NotFound

__all__ = ["check_format", "extract", "not_an_archive", "reading", "writing"]

COPY_AGAIN = "Copy it again from where it was made."

ZSTD = b"\x28\xb5\x2f\xfd"
"""How a file begins that is compressed with Zstandard."""

_DAMAGED = (tarfile.TarError, EOFError, BadGzipFile, LZMAError, zlib.error)

_MODES = {".tar": "w|", ".tgz": "w|gz", ".gz": "w|gz", ".xz": "w|xz"}


def check_format(path: Path) -> None:
    """Raise `DefinitionError` if the name of a file does not say how it is compressed, or that is not possible here."""
    if path.suffix == ".zst":
        _zstandard()
    elif path.suffix not in _MODES:
        raise DefinitionError(
            f"The name {path.name!r} does not say how to compress the archive.",
            "Use a name that ends with .tar.zst, .tar.gz, .tar.xz or .tar.",
        )


@contextmanager
def writing(file: IO[bytes], path: Path) -> Iterator[tarfile.TarFile]:
    """Write an archive to an open file, compressed as the name of its path says."""
    if path.suffix != ".zst":
        with tarfile.open(fileobj=file, mode=_MODES[path.suffix]) as tar:  # type: ignore[call-overload]
            yield tar
        return
    with (
        _zstandard().ZstdCompressor().stream_writer(file, closefd=False) as compressed,
        tarfile.open(fileobj=compressed, mode="w|") as tar,
    ):
        yield tar


def _zstandard() -> Any:
    try:
        return import_module("zstandard")
    except ImportError:
        raise DefinitionError(
            "Archives with Zstandard need the package zstandard, which is not installed.",
            "Install it: pip install zstandard\nOr use another format: -o FILE.tar.gz",
        ) from None


def extract(tar: tarfile.TarFile, target: Path, folders: Collection[str], but: str) -> list[str]:
    """Extract the files in some folders.

    Parameters
    ----------
    tar : TarFile
        From `reading`.
    target : Path
        Where to.
    folders : collection of str
        The folders at the top of the archive. Any other file is an error.
    but : str
        The name of the first file, which is not extracted.

    Returns
    -------
    list of str
        The links that lead elsewhere, which are left out.
    """
    left_out: list[str] = []

    def checked(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        if member.name == but and member.offset == 0:
            return None
        top = member.name.partition("/")[0]
        if top not in folders:
            raise tarfile.ReadError(f"it has a file {member.name!r}, which does not belong to a run")
        is_link = member.issym() or member.islnk()
        if is_link and _target(member).partition("/")[0] != top:
            left_out.append(member.name)
            return None
        try:
            return tarfile.data_filter(member, path)
        except (tarfile.AbsoluteLinkError, tarfile.LinkOutsideDestinationError):
            left_out.append(member.name)
            return None

    tar.extractall(target, filter=checked)
    return left_out


def _target(member: tarfile.TarInfo) -> str:
    """Return the name in the archive of what a link leads to."""
    if member.issym():
        return os.path.normpath(f"{Path(member.name).parent}/{member.linkname}")
    return os.path.normpath(member.linkname)


@contextmanager
def reading(file: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive to read its files in their order.

    Raises
    ------
    NotFound
        If there is no such file.
    DataError
        If it is not an archive, or damaged; also if that is found in the block.
    DefinitionError
        If this Python can't read it.
    """
    if not hasattr(tarfile, "data_filter"):
        raise DefinitionError("This Python can't read archives safely.", "Use Python 3.11.4 or newer.")
    try:
        with file.open("rb") as opened:
            is_zstd = opened.read(len(ZSTD)) == ZSTD
            opened.seek(0)
            source: Any = _zstandard().ZstdDecompressor().stream_reader(opened) if is_zstd else opened
            with tarfile.open(fileobj=source, mode="r|" if is_zstd else "r|*") as tar:
                yield tar
    except FileNotFoundError:
        raise NotFound(f"There is no file {file}.", "Name an archive that `orchestrator archive` wrote.") from None
    except Exception as error:
        if isinstance(error, _DAMAGED) or type(error).__module__.startswith("zstandard"):
            raise not_an_archive(file, str(error)) from error
        raise


def not_an_archive(file: Path, why: str) -> DataError:
    """Return the error about a file that is not an archive of a run."""
    return DataError(f"{file} is not an archive of a run, or is damaged: {why}.", COPY_AGAIN)
