"""Three real users of this machine, for tests that root runs: the owner, a colleague of a group, and a stranger."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

from tests.temporary import ON_DISK, short_root

ROOT = Path(__file__).resolve().parents[1]
NAMES = {"owner": "games", "colleague": "man", "stranger": "news"}
GROUP = "games"

PACKAGES = sysconfig.get_path("purelib")
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": f"{ROOT}:{PACKAGES}",
    "COLUMNS": "80",
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
}

FILE_SYSTEMS = ("memory", "disk", "two mounts")
"""Where a test is repeated. With two mounts, each user has a mount of one folder, as on two machines of a cluster."""

on_each_file_system = pytest.mark.parametrize("workspace", FILE_SYSTEMS, indirect=True)
"""For a test of the command line: its workspace is on each of the file systems."""


@lru_cache
def why_not() -> str | None:
    """Return why tests can't run as several users here; None if they can."""
    if os.geteuid() != 0:
        return "needs root, to be three users"
    try:
        users = [pwd.getpwnam(name) for name in NAMES.values()]
        grp.getgrnam(GROUP)
    except KeyError as error:
        return f"needs three users: {error}"
    return None if readable_python(users[2].pw_uid) else "needs a Python and packages that all users can read"


@lru_cache
def readable_python(uid: int) -> str | None:
    """Return a Python of this version with which a user can import the package."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        command = [python, "-c", "import orchestrator, pandas, sqlite3"]
        with suppress(OSError):
            if subprocess.run(command, user=uid, env=ENVIRONMENT, capture_output=True, cwd="/").returncode == 0:
                return python
    return None


@dataclass
class Done:
    """The outcome of a command."""

    exact = False
    command: str
    code: int
    out: str
    err: str


@dataclass
class User:
    """A user with a home folder; calling it runs `orchestrator` as that user."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    python: str
    home: Path
    folder: Path

    def __call__(self, *arguments: str, umask: int = 0o022, folder: Path | None = None) -> Done:
        done = self.run(self.python, "-m", "orchestrator", *arguments, umask=umask, folder=folder)
        return Done(" ".join(["orchestrator", *arguments]), done.returncode, done.stdout, done.stderr)

    def run(self, *command: str, umask: int = 0o022, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program to its end."""
        with self.started(*command, umask=umask, folder=folder) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def started(
        self, *command: str, umask: int = 0o022, folder: Path | None = None, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        """Start a program."""
        return subprocess.Popen(
            command,
            cwd=folder or self.folder,
            env={**ENVIRONMENT, "USER": self.name, "HOME": str(self.home)},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            user=self.uid,
            group=self.gid,
            extra_groups=self.groups,
            umask=umask,
        )

    def write(self, path: Path, text: str) -> Path:
        """Write a file of this user."""
        path.write_text(text)
        os.chown(path, self.uid, self.gid)
        return path


@dataclass
class Users:
    """The three, with a folder that all can pass; `path` is where the owner works, `there` where the others look."""

    path: Path
    there: Path
    owner: User
    colleague: User
    stranger: User


@contextmanager
def two_views(file_system: str) -> Iterator[tuple[Path, Path]]:
    """Make a folder that all users can pass, and return two paths of it: as two machines see it, or the same path.

    Parameters
    ----------
    file_system : str
        One of `FILE_SYSTEMS`.
    """
    top = Path(tempfile.mkdtemp(prefix="users-", dir=short_root() if file_system == "memory" else ON_DISK))
    top.chmod(0o755)
    at = {name: top / name for name in ("disk", "a", "b")}
    for folder in at.values():
        folder.mkdir(mode=0o755)
    mounted: list[Path] = []
    try:
        if file_system == "two mounts":
            for name in ("a", "b"):
                subprocess.run(["bindfs", "-o", "allow_other", str(at["disk"]), str(at[name])], check=True)
                mounted.append(at[name])
        yield (at["a"], at["b"]) if mounted else (at["disk"], at["disk"])
    finally:
        for mount in mounted:
            subprocess.run(["umount", "--lazy", str(mount)], check=True)
        shutil.rmtree(top)


@contextmanager
def three_users(file_system: str) -> Iterator[Users]:
    """Make folders for three users, on one of `FILE_SYSTEMS`."""
    with two_views(file_system) as (path, there):
        top = path.parent
        gid = grp.getgrnam(GROUP).gr_gid
        python = readable_python(pwd.getpwnam(NAMES["stranger"]).pw_uid)
        assert python is not None
        users = {}
        for role, name in NAMES.items():
            found = pwd.getpwnam(name)
            home = top / role
            home.mkdir(mode=0o700)
            os.chown(home, found.pw_uid, found.pw_gid)
            groups = (gid,) if role != "stranger" else ()
            users[role] = User(name, found.pw_uid, found.pw_gid, groups, python, home, home)
        work = path / "work"
        work.mkdir(mode=0o755)
        os.chown(work, users["owner"].uid, users["owner"].gid)
        users["owner"].folder = work
        users["colleague"].folder = users["stranger"].folder = there / "work"
        yield Users(work, there / "work", **users)


def has_two_mounts() -> bool:
    """Whether a folder can be mounted twice here."""
    return os.geteuid() == 0 and shutil.which("bindfs") is not None and Path("/dev/fuse").exists()
