"""The files of a sandbox: slurm.conf, slurmdbd.conf and munge's key, all in its folder."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import re
import secrets
import socket
import subprocess
import sys
from pathlib import Path

from . import servers

# Below the ports that Linux gives to clients: a busy squeue never takes a node's port.
PORTS = range(20000, 32000)

SLURM = """\
ClusterName=sandbox
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=15
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
ReturnToService=2
MinJobAge=10
KillWait=2
InactiveLimit=0
MaxArraySize=1001
NodeName={nodes} NodeHostname={host} NodeAddr=127.0.0.1 Port={ports} CPUs=8 RealMemory=8000
PartitionName=batch Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

ACCOUNTING = """\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
AccountingStoragePass={folder}/munge/socket
AccountingStorageEnforce=associations,limits,qos
"""

SLURMDBD = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user}
PidFile={folder}/slurmdbd.pid
LogFile={folder}/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
"""

DISABLES_CGROUPS = (24, 5)
"""The first version that knows `CgroupPlugin=disabled`. Without that line newer ones do not start in a container."""


def write(folder: Path, n: int, *, accounting: bool, more: list[str]) -> None:
    """Write everything that a cluster of `n` nodes reads; the lines in `more` are added, or stand in place of ours."""
    # Munge and MariaDB answer every user who reaches their sockets, and jobs run as the owner of this folder.
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    for inner in (folder / "munge", folder / "state"):
        inner.mkdir()
    for number in range(1, n + 1):
        (folder / f"spool-n{number}").mkdir()
    write_secret(folder / "munge" / "key", secrets.token_bytes(1024))
    port_of_slurmctld, port_of_slurmdbd, *ports = free_ports(n + 2)
    slurm = SLURM.format(
        host=socket.gethostname().partition(".")[0],
        user=user(),
        port=port_of_slurmctld,
        folder=folder,
        nodes=",".join(f"n{number}" for number in range(1, n + 1)),
        ports=",".join(map(str, ports)),
    ).splitlines()
    if accounting:
        slurm = changed(slurm, ACCOUNTING.format(port=port_of_slurmdbd, folder=folder).splitlines())
        slurmdbd = SLURMDBD.format(port=port_of_slurmdbd, folder=folder, user=user())
        write_secret(folder / "slurmdbd.conf", slurmdbd.encode())
    if knows_how_to_disable_cgroups(version()):
        (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    (folder / "slurm.conf").write_text("\n".join([*changed(slurm, more), ""]))


def version() -> str:
    """Ask for SLURM's version: `slurm-wlm 22.05.8`."""
    return subprocess.run(
        ["slurmd", "-V"], env={"PATH": servers.PATH}, capture_output=True, text=True, check=True
    ).stdout


def knows_how_to_disable_cgroups(version: str) -> bool:
    """Whether SLURM has this option: a sandbox limits jobs without cgroups, which need root or systemd."""
    numbers = re.search(r"(\d+)\.(\d+)", version)
    return numbers is not None and tuple(map(int, numbers.groups())) >= DISABLES_CGROUPS


def changed(lines: list[str], more: list[str]) -> list[str]:
    """Replace lines that set the same option; for a partition, only the line of that partition."""

    def what(line: str) -> str:
        name, _, value = line.lower().partition("=")
        return f"{name}={value.split()[0]}" if name == "partitionname" else name

    return [*(line for line in lines if what(line) not in map(what, more)), *more]


def port_of(folder: Path, name: str) -> int:
    """Read a server's port from slurm.conf."""
    lines = (folder / "slurm.conf").read_text().splitlines()
    return int(next(line.partition("=")[2] for line in lines if line.startswith(f"{name}=")))


def user() -> str:
    """Return the user who really runs this: LOGNAME may name another."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        sys.exit(f"The user id {os.getuid()} has no name, and SLURM needs one. Start the sandbox as another user.")


def write_secret(path: Path, content: bytes) -> None:
    """Write a file that only its owner ever could read: munge and slurmdbd insist."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def free_ports(n: int) -> list[int]:
    """Find free ports; all stay bound until the last is found, so that they differ."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        for port in random.sample(PORTS, len(PORTS)):
            if len(found) == n:
                break
            one = stack.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind(("127.0.0.1", port))
                found.append(port)
    return found
