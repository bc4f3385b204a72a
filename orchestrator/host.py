"""What this host gives a process: CPUs, memory, a terminal, the name of its user, and an end with its parent.

Linux, macOS and containers differ in what they offer; every difference is handled here or in
`orchestrator.db.lease_holder` (which process is dead) and `orchestrator.db.guard` (which file system is local).
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

__all__ = [
    "WATCH",
    "adopt_orphans",
    "c_function",
    "children",
    "count_cpus",
    "count_threads",
    "cpus_in_quota",
    "die_with_parent",
    "drop_output",
    "has_width",
    "is_device",
    "is_main_thread",
    "is_screen",
    "is_terminal",
    "oom_kills",
    "open_streams",
    "print_any_text",
    "rss_in_mb",
    "terminal_width",
    "usable_cpus",
    "usable_memory",
    "user_name",
]

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PARENT_POLL = 0.5
"""Seconds between two checks of the parent, where the kernel does not report its end."""

WATCH = "looks for the parent"
"""Name of the thread that does that."""


# --- CPUs ---------------------------------------------------------------------------------------


def usable_cpus(root: Path = Path("/")) -> int:
    """Return the number of CPUs that this process may use.

    Parameters
    ----------
    root : Path, default "/"
        Where `/proc` and `/sys` are.

    Returns
    -------
    int
        The smallest of: the CPUs that the kernel lets this process run on, SLURM_CPUS_PER_TASK, and the quotas of its
        control group and of those above it; at least 1.
    """
    affinity = getattr(os, "sched_getaffinity", None)
    allowed = os.cpu_count() if affinity is None else len(affinity(0))
    return count_cpus(allowed, os.environ.get("SLURM_CPUS_PER_TASK"), _quotas(root))


def count_cpus(allowed: int | None, slurm: str | None, quotas: Iterable[float]) -> int:
    """Return the number of usable CPUs: the smallest of all limits, rounded down, at least 1.

    Parameters
    ----------
    allowed : int or None
        CPUs that the kernel lets the process run on; None if that is not known.
    slurm : str or None
        SLURM_CPUS_PER_TASK; a text that is not a positive number is ignored.
    quotas : iterable of float
        CPU time per time of each control group.
    """
    limits = [*quotas, *([] if allowed is None else [allowed])]
    if slurm is not None and slurm.isascii() and slurm.isdigit() and int(slurm) > 0:
        limits.append(int(slurm))
    return max(1, int(min(limits, default=1)))


def cpus_in_quota(quota: str, period: str) -> float | None:
    """Return the CPUs of a control group's quota; None if it has no limit.

    Parameters
    ----------
    quota, period : str
        Microseconds, as the kernel writes them. A quota of `max` (version 2) or -1 (version 1) is no limit.
    """
    try:
        time, each = int(quota), int(period)
    except ValueError:
        return None
    return time / each if time > 0 and each > 0 else None


def _quotas(root: Path) -> Iterator[float]:
    for folder, version in _control_groups(root, "cpu"):
        names = ("cpu.max",) if version == 2 else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        numbers = " ".join(_text(folder / name) for name in names).split()
        quota = cpus_in_quota(*numbers) if len(numbers) == 2 else None
        if quota is not None:
            yield quota


def _control_groups(root: Path, controller: str) -> Iterator[tuple[Path, int]]:
    """Yield the folder of each control group that this controller may limit, with the version of control groups."""
    mounted = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            yield from ((folder, 2) for folder in _folders(mounted, group))
        elif controller in controllers.split(","):
            for mount in (mounted / controllers, mounted / controller):
                yield from ((folder, 1) for folder in _folders(mount, group))


def _folders(mount: Path, group: str) -> list[Path]:
    """Return the folders of a control group and of those above it; in a container only the uppermost may exist."""
    path = Path(group.lstrip("/"))
    return [mount / part for part in (path, *path.parents)] if path.parts else [mount]


def _text(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(encoding="utf-8", errors="replace")
    return ""


# --- memory -------------------------------------------------------------------------------------


def usable_memory(root: Path = Path("/")) -> int:
    """Return how many bytes of memory this process may use at most, whether they are free now or not.

    Parameters
    ----------
    root : Path, default "/"
        Where `/proc` and `/sys` are.

    Returns
    -------
    int
        The smallest of: the memory of this machine, the limit of the address space (`ulimit -v`), and the limits of its
        control group and of those above it.
    """
    from resource import RLIM_INFINITY, RLIMIT_AS, getrlimit

    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    address_space, _ = getrlimit(RLIMIT_AS)
    if address_space != RLIM_INFINITY:
        limits.append(address_space)
    for folder, version in _control_groups(root, "memory"):
        text = _text(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes")).strip()
        if text.isascii() and text.isdigit():  # `max` is no limit
            limits.append(int(text))
    return min(limits)


# --- user ---------------------------------------------------------------------------------------


def user_name() -> str:
    """Return the name of this process's user; its number if it has no name, as in many containers."""
    import getpass  # not needed by most commands

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # KeyError before Python 3.13
        return f"uid {os.getuid()}"


# --- standard streams ---------------------------------------------------------------------------


def is_terminal(stream: IO[Any] | None) -> bool:
    """Whether a stream is a terminal. It may be closed, or replaced by an object that can only be written to."""
    try:
        return stream is not None and stream.isatty()
    except (AttributeError, ValueError):
        return False


def is_screen(stream: IO[Any] | None) -> bool:
    """Whether a stream is a terminal that can show colours, and draw a line again."""
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def has_width(stream: IO[Any] | None) -> bool:
    """Whether lines for a stream have a width: it is a terminal, or the environment variable `COLUMNS` is set."""
    return is_terminal(stream) or _columns() > 0


def terminal_width(default: int) -> int:
    """Return the number of columns of the terminal, as `shutil.get_terminal_size` does, which takes 3 ms to import.

    Parameters
    ----------
    default : int
        The answer if there is no terminal, and no environment variable `COLUMNS`.
    """
    if columns := _columns():
        return columns
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or default  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return default


def _columns() -> int:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() else 0


def open_streams() -> None:
    """Open each closed standard stream (as of a daemon) on ``/dev/null``.

    Otherwise the next file, such as the database, gets its descriptor, and what is printed is written into that file.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def print_any_text() -> None:
    """Let this process print any text: what the encoding of its output lacks becomes a backslash sequence."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def is_device(stream: IO[Any]) -> bool:
    """Whether a stream is a terminal or another device, open or not, and no file or pipe."""
    return stat.S_ISCHR(os.fstat(stream.fileno()).st_mode)


def drop_output(stream: IO[Any]) -> None:
    """Drop what is printed to a stream from now on: its terminal, or the reader of its pipe, is gone."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


# --- processes ----------------------------------------------------------------------------------


def die_with_parent(parent: int | None = None, number: int | None = None) -> None:
    """Let this process get a signal when its parent dies, because nothing would record its work after that.

    Linux does that by itself. Elsewhere a thread looks for the parent.

    Parameters
    ----------
    parent : int, optional
        The parent; by default the one that it has now. If it has died already, this process ends.
    number : int, optional
        The signal; by default SIGKILL.
    """
    if number is None:
        from signal import SIGKILL  # its module makes members of enums, which most commands do not need

        number = SIGKILL
    parent = os.getppid() if parent is None else parent
    if not _prctl(_PR_SET_PDEATHSIG, number):
        _watch(parent, number)
    if os.getppid() != parent:
        sys.exit("The process that started this worker has ended.")


def adopt_orphans(adopt: bool = True) -> None:
    """Become the parent of each descendant whose own parent dies, so that it can be found; only on Linux.

    Parameters
    ----------
    adopt : bool, default True
        Whether it becomes the parent from now on, or no longer.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, int(adopt))


def children() -> list[int]:
    """Return the child processes of this process, of all its threads; none where there is no `/proc`."""
    found: list[int] = []
    with suppress(OSError):
        for thread in Path("/proc/self/task").iterdir():
            found += map(int, _text(thread / "children").split())
    return found


def count_threads() -> int:
    """Return how many threads of Python there are; none but this one before the import of `threading`."""
    threading = sys.modules.get("threading")
    return 1 if threading is None else threading.active_count()


def is_main_thread() -> bool:
    """Whether this is the main thread, as every one is before the import of `threading`."""
    threading = sys.modules.get("threading")
    return threading is None or threading.current_thread() is threading.main_thread()


def oom_kills() -> int:
    """Return how many processes the kernel has killed on this host because there was no memory left."""
    for line in _text(Path("/proc/vmstat")).splitlines():
        name, _, number = line.partition(" ")
        if name == "oom_kill":
            return int(number)
    return 0


def _prctl(option: int, value: int) -> bool:
    prctl = c_function("prctl")
    return prctl is not None and prctl(option, value) == 0  # only Linux has it


@cache
def c_function(name: str) -> Callable[..., int] | None:
    """Return a function of the C library that returns an `int`; None if there is none of this name.

    `ctypes` has the same, but defines all types of C when it is imported: that takes longer than a short experiment.
    """
    try:
        import _ctypes  # not needed by most processes

        address = _ctypes.dlsym(_ctypes.dlopen(None, 0), name)  # type: ignore[arg-type]  # None: this program
    except (ImportError, OSError):
        return None

    class Int(_ctypes._SimpleCData):  # type: ignore[type-arg]
        _type_ = "i"

    class Function(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL
        _restype_ = Int

    return Function(address)


def _watch(parent: int, number: int) -> None:
    import threading
    import time

    def wait() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_POLL)
        os.kill(os.getpid(), number)

    threading.Thread(target=wait, name=WATCH, daemon=True).start()


def rss_in_mb(max_rss: int) -> float:
    """Return the megabytes of `ru_maxrss`, which the kernel counts in bytes on macOS, else in KiB."""
    return round(max_rss / (1024**2 if sys.platform == "darwin" else 1024), 1)
