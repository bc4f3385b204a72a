"""A private MariaDB and slurmdbd, with one account that the user belongs to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from . import configuration, servers

# The database is temporary: protection from a power cut would only make it slow.
QUICK = ("--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0", "--skip-name-resolve")
ACCOUNT = "default"


def start(folder: Path, user: str) -> None:
    """Start the database and slurmdbd, and register cluster, account and user."""
    data = f"--datadir={folder / 'mariadb'}"
    # MariaDB runs as root only with this option.
    as_root = [f"--user={user}"] * (os.getuid() == 0)
    install(folder, data, *QUICK, *as_root)
    # Reached by a socket only, in a folder of the user's own: it has no password.
    reach = [f"--socket={folder / 'mariadb.socket'}", "--skip-networking", f"--pid-file={folder / 'mariadb.pid'}"]
    servers.start(folder, "mariadbd", "mariadbd", "--no-defaults", data, *reach, *QUICK, *as_root)
    servers.wait(folder, "the database", lambda: (folder / "mariadb.socket").exists())
    servers.start(folder, "slurmdbd", "slurmdbd", "-D")
    port = configuration.port_of(folder, "AccountingStoragePort")
    servers.wait(
        folder, "slurmdbd", lambda: servers.listens(port) and sacctmgr(folder, "list", "qos", "format=name").strip()
    )
    sacctmgr(folder, "add", "cluster", "sandbox")
    sacctmgr(folder, "add", "account", ACCOUNT, "cluster=sandbox")
    sacctmgr(folder, "add", "user", user, f"account={ACCOUNT}")
    # SLURM itself has put root into an account of that name.
    sacctmgr(folder, "modify", "user", user, "set", f"defaultaccount={ACCOUNT}")
    asked = ("list", "associations", f"user={user}", "format=account")
    servers.wait(folder, "the account", lambda: ACCOUNT in sacctmgr(folder, *asked).split())


def install(folder: Path, *options: str) -> None:
    command = ["mariadb-install-db", "--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]
    env = servers.environment(folder)
    done = subprocess.run([*command, *options], env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")


def sacctmgr(folder: Path, *words: str) -> str:
    return servers.run(folder, "sacctmgr", "--immediate", "--noheader", "--parsable2", *words)
