"""Archives with tar: compressed as their name says, and extracted so that nothing is written elsewhere."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from gzip import BadGzipFile
from importlib import import_module
from io import BytesIO
from lzma import LZMAError
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from orchestrator.damage import open_regular
from orchestrator.errors import DataError, DefinitionError, NotFound, OrchestratorError
from orchestrator.holes import written_parts

__all__ = ["Size", "add", "check_format", "extract", "not_an_archive", "reading", "writing"]

COPY_AGAIN = "Copy it again from where it was made."

ZSTD = b"\x28\xb5\x2f\xfd"
"""How a file begins that is compressed with Zstandard."""

HOLES = 1 << 24
"""Bytes that were never written from which a file is stored without them."""

_DAMAGED = (tarfile.TarError, EOFError, BadGzipFile, LZMAError, zlib.error, ValueError, OverflowError)
"""What the standard library raises about a damaged archive; ValueError about the parts of a file with holes."""

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


def add(tar: tarfile.TarFile, path: Path, name: str) -> None:
    """Add a file to an archive; of a regular one with large holes only what was written, as GNU tar does (PAX 1.0)."""
    entry = tar.gettarinfo(path, name)
    if not entry.isreg() or entry.size < HOLES:
        tar.add(path, name, recursive=False)
        return
    with open_regular(path) as file:
        parts = written_parts(file)
        if entry.size - sum(size for _, size in parts) < HOLES:
            file.seek(0)
            tar.addfile(entry, file)
            return
        # GNU tar notes an end that was not written as a part without bytes.
        numbers = [len(parts) + 1, *(number for part in parts for number in part), entry.size, 0]
        index = "".join(f"{number}\n" for number in numbers).encode()
        index += bytes(-len(index) % tarfile.BLOCKSIZE)
        real = {"major": "1", "minor": "0", "name": name, "realsize": str(entry.size)}
        entry.pax_headers = {f"GNU.sparse.{key}": value for key, value in real.items()}
        entry.size = len(index) + sum(size for _, size in parts)
        tar.addfile(entry, _Parts(index, file, parts))  # type: ignore[arg-type]


class _Parts:
    """What is stored of a file with holes: the index of its parts, then the parts."""

    def __init__(self, index: bytes, file: BinaryIO, parts: Sequence[tuple[int, int]]) -> None:
        self._file = file
        self._begun = BytesIO(index)
        self._left = list(reversed(parts))

    def read(self, n: int) -> bytes:
        """Return the next `n` bytes; fewer only at the end."""
        content = self._begun.read(n)
        while len(content) < n and self._left:
            begin, size = self._left.pop()
            self._file.seek(begin)
            part = self._file.read(min(size, n - len(content)))
            if 0 < len(part) < size:
                self._left.append((begin + len(part), size - len(part)))
            content += part
        return content


def _zstandard() -> Any:
    try:
        return import_module("zstandard")
    except ImportError:
        raise DefinitionError(
            "Archives with Zstandard need the package zstandard, which is not installed.",
            "Install it: pip install zstandard\nOr use another format: -o FILE.tar.gz",
        ) from None


class Size(NamedTuple):
    """How many files, folders and links an archive has, and how many bytes its files have."""

    n_files: int
    n_bytes: int


def extract(tar: tarfile.TarFile, target: Path, folders: Collection[str], but: str, expected: Size) -> list[str]:
    """Extract the files in some folders.

    Links are created last, so nothing can be written through one. The filter of the standard library alone is not
    enough: before Python 3.11.13, 3.12.11 and 3.13.4 it believes a chain of links that is longer than a path can be.

    Parameters
    ----------
    tar : TarFile
        From `reading`.
    target : Path
        Where to: an empty folder.
    folders : collection of str
        The folders at the top of the archive. Any other file is an error.
    but : str
        The name of the first file, which is not extracted.
    expected : Size
        What its records say. More is an error: a small archive can fill a disk.

    Returns
    -------
    list of str
        The links that lead elsewhere or to nothing, which are left out.
    """
    links: list[tarfile.TarInfo] = []
    n_files = n_bytes = 0

    def checked(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
        nonlocal n_files, n_bytes
        if member.name == but and member.offset == 0:
            return None
        parts = member.name.split("/")
        if parts[0] not in folders or ".." in parts:
            raise tarfile.ReadError(f"it has a file {member.name!r}, which does not belong to a run")
        n_files, n_bytes = n_files + 1, n_bytes + member.size
        if n_files > expected.n_files or n_bytes > expected.n_bytes:
            raise tarfile.ReadError("it contains more than its records say")
        written: Iterable[tuple[int, int]] = getattr(member, "sparse", None) or ()  # not documented
        if not all(0 <= begin <= begin + size <= member.size for begin, size in written):
            raise tarfile.ReadError(f"it has a file {member.name!r} with parts that are not in it")
        if member.issym():
            links.append(member)
            return None
        return tarfile.data_filter(member, path)

    tar.extractall(target, filter=checked)
    return _make_links(links, target.resolve(strict=True))


def _make_links(links: Sequence[tarfile.TarInfo], target: Path) -> list[str]:
    """Create links, and return the names of those that are left out."""
    left_out: list[str] = []
    made: list[str] = []
    for member in links:
        (made if _make_link(member, target) else left_out).append(member.name)
    for name in made:
        if not _stays_inside(target / name, target / name.partition("/")[0]):
            (target / name).unlink()
            left_out.append(name)
    return left_out


def _make_link(member: tarfile.TarInfo, target: Path) -> bool:
    path = target / member.name
    with suppress(OSError):
        # A folder on the way may be a link that was created before.
        if path.parent.resolve(strict=True) == path.parent and not Path(member.linkname).is_absolute():
            path.symlink_to(member.linkname)
            return True
    return False


def _stays_inside(link: Path, folder: Path) -> bool:
    with suppress(OSError, RuntimeError):  # RuntimeError: a loop, before Python 3.13
        return link.resolve(strict=True).is_relative_to(folder)
    return False


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
        if isinstance(error, OrchestratorError):
            raise
        if isinstance(error, _DAMAGED) or type(error).__module__.startswith("zstandard"):
            raise not_an_archive(file, str(error)) from error
        raise


def not_an_archive(file: Path, why: str) -> DataError:
    """Return the error about a file that is not an archive of a run."""
    return DataError(f"{file} is not an archive of a run, or is damaged: {why}.", COPY_AGAIN)
