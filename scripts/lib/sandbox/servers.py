"""The processes of a sandbox: started here, known by pid and start time, and ended without touching others."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

GIVEN_PATH = os.environ.get("PATH", "").split(":")
# Debian's daemons are in /usr/sbin, which ordinary users may not have on their PATH.
PATH = ":".join([*GIVEN_PATH, *(folder for folder in ("/usr/bin", "/usr/sbin") if folder not in GIVEN_PATH)])
SECONDS_TO_START = 60.0
SECONDS_TO_END = 10.0
SECONDS_FOR_JOBS = 1.0
SECONDS_TO_ANSWER = 10.0


class Server(NamedTuple):
    """A server as noted in servers.json. Pids are reused, so its start time shows whether it is the same process."""

    name: str
    command: list[str]
    pid: int
    birth: str | None

    @property
    def lives(self) -> bool:
        return self.birth is not None and birth_of(self.pid) == self.birth


def birth_of(pid: int) -> str | None:
    """Read when a process started; None where it is no more."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def wait_for_exit(pid: int) -> None:
    """Wait for the end of a process that need not be a child of this one."""
    birth = birth_of(pid)
    while birth is not None and birth_of(pid) == birth:
        time.sleep(0.2)


def known(folder: Path) -> list[Server]:
    """List the servers in the order of their first start."""
    try:
        return [Server(*one) for one in json.loads((folder / "servers.json").read_text())]
    except FileNotFoundError:
        return []


def environment(folder: Path) -> dict[str, str]:
    """Return what a program needs to find this cluster, and slurmdbd its database; no other settings."""
    others = ("SLURM_", "SBATCH_", "SQUEUE_", "SINFO_", "SACCT_", "SCANCEL_")
    given = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    mine = {"SLURM_CONF": str(folder / "slurm.conf"), "MYSQL_UNIX_PORT": str(folder / "mariadb.socket"), "PATH": PATH}
    return given | mine


def start(folder: Path, name: str, *command: str) -> None:
    """Start a server, and note it before anything else happens."""
    with (folder / f"{name}.out").open("ab") as output:
        process = subprocess.Popen(
            command,
            env=environment(folder),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    server = Server(name, list(command), process.pid, birth_of(process.pid))
    all_of_them = {one.name: one for one in known(folder)} | {name: server}
    (folder / "servers.json").write_text(json.dumps(list(all_of_them.values())))


def run(folder: Path, *command: str, show: bool = False) -> str:
    """Run a client of the sandbox; return its output, empty if it fails or hangs."""
    pipe = None if show else subprocess.PIPE
    process = subprocess.Popen(command, env=environment(folder), stdout=pipe, stderr=pipe, text=True)
    try:
        printed, _ = process.communicate(timeout=SECONDS_TO_ANSWER)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
    return "" if process.returncode else printed or ""


def listens(port: int) -> bool:
    """Whether a server takes calls: clients of SLURM that come too early sleep for a second."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def wait(folder: Path, what: str, is_there: Callable[[], object]) -> None:
    """Wait for a fact, as long as all servers live."""
    end = time.monotonic() + SECONDS_TO_START
    while not is_there():
        for server in known(folder):
            if not server.lives:
                sys.exit(f"{server.name} ended at once. Its last words:\n{last_words(folder, server.name)}")
        if time.monotonic() > end:
            words = "\n".join(last_words(folder, server.name) for server in known(folder))
            sys.exit(f"{what} did not come within {SECONDS_TO_START:.0f} s. The servers' last words:\n{words}")
        time.sleep(0.05)


def last_words(folder: Path, name: str) -> str:
    texts = [path.read_text(errors="replace") for path in folder.glob(f"{name}.*") if path.suffix in (".log", ".out")]
    return "\n".join("\n".join(texts).strip().splitlines()[-10:])


def cancel_jobs(folder: Path, user: str) -> None:
    """Cancel all jobs and wait a little; processes that do not end are killed later."""
    if any(server.lives for server in known(folder) if server.name == "slurmctld"):
        run(folder, "scancel", "--user", user)
        limit = time.monotonic() + SECONDS_FOR_JOBS
        while list(of_jobs(folder)) and time.monotonic() < limit:
            time.sleep(0.02)


def end(servers: list[Server], number: int) -> None:
    """End servers, the last started first: each needs those before it to end well."""
    for server in reversed(servers):
        for one in (number, signal.SIGKILL):
            kill(server.pid, server.birth, one)
            limit = time.monotonic() + SECONDS_TO_END
            while server.lives and time.monotonic() < limit:
                time.sleep(0.01)


def kill(pid: int, birth: str | None, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        if birth is not None and birth_of(pid) == birth:
            os.kill(pid, number)


def kill_leftovers(folder: Path) -> None:
    """Kill the remaining processes of jobs, until none is left."""
    limit = time.monotonic() + SECONDS_TO_END
    while (left := list(of_jobs(folder))) and time.monotonic() < limit:
        for pid, birth in left:
            kill(pid, birth, signal.SIGKILL)
        time.sleep(0.02)


def of_jobs(folder: Path) -> Iterator[tuple[int, str | None]]:
    """Find processes of this cluster's jobs by their environment.

    That of a user's shell may name the cluster, too; only inside a job it also names a job.
    """
    mine = f"SLURM_CONF={folder / 'slurm.conf'}".encode()
    for path in Path("/proc").glob("[0-9]*"):
        pid, birth = int(path.name), birth_of(int(path.name))
        with contextlib.suppress(OSError):
            variables = (path / "environ").read_bytes().split(b"\0")
            is_step = (path / "comm").read_text().startswith("slurmstepd")
            if mine in variables and (is_step or any(one.startswith(b"SLURM_JOB_ID=") for one in variables)):
                yield pid, birth
