"""SLURM's programs with the output that a test sets: small shell scripts, first on PATH."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from orchestrator.slurm.parse import FIELD, RECORD

HEADER = RECORD + FIELD.join(("JOBID", "STATE", "REASON", "START_TIME", "END_TIME", "NAME")) + "\n"

CONFIG = "MaxArraySize            = 1001\nAccountingStorageType   = accounting_storage/none\n"


def squeue_answer(*jobs):
    """Return the output of squeue; for each job its id, state, reason and token, and optionally its label."""
    written = []
    for job_id, state, reason, token, *label in jobs:
        name = f"{(label or ['step'])[0]}_{token}_study"
        written.append(RECORD + FIELD.join((job_id, state, reason, "N/A", "N/A", name)) + "\n")
    return HEADER + "".join(written)


class Programs:
    """A folder that is the whole PATH, except for that of Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.calls = folder.parent / "calls"

    @property
    def path(self) -> str:
        return os.pathsep.join([str(self.folder), str(Path(sys.executable).parent)])

    def says(self, program: str, out: str = "", err: str = "", code: int = 0) -> None:
        """Let a program print this text; it records each of its calls."""
        file = self.folder / program
        lines = [
            "#!/bin/sh",
            f'echo {program} "$@" >> {shlex.quote(str(self.calls))}',
            f"printf %s {shlex.quote(out)}",
            f"printf %s {shlex.quote(err)} >&2",
            f"exit {code}",
        ]
        file.write_text("\n".join(lines) + "\n")
        file.chmod(0o755)

    def accepts(self) -> None:
        """Be a cluster that accepts every job, the first one as job 1, and stores a copy of each script."""
        counter, scripts = self.folder.parent / "n", self.folder.parent / "submitted"
        scripts.mkdir()
        counter.write_text("0\n")
        self.says("scontrol", CONFIG)
        self.says("squeue", HEADER)
        self.says("scancel")
        self.says("sbatch")
        file = self.folder / "sbatch"
        lines = [
            *file.read_text().splitlines()[:2],
            f"read n < {shlex.quote(str(counter))}",
            "n=$((n + 1))",
            f"echo $n > {shlex.quote(str(counter))}",
            # The script is the first argument that is no option; the token follows.
            'while [ "${1#--}" != "$1" ]; do shift; done',
            f'while IFS= read -r line; do printf "%s\\n" "$line"; done < "$1" > {shlex.quote(str(scripts))}/$n.sh',
            "echo $n",
        ]
        file.write_text("\n".join(lines) + "\n")

    def submitted(self, number: int) -> str:
        """Return the script of a job."""
        return (self.folder.parent / "submitted" / f"{number}.sh").read_text()

    def called(self, program: str) -> list[str]:
        """Return the calls of a program, with their arguments."""
        lines = self.calls.read_text().splitlines() if self.calls.exists() else []
        return [line for line in lines if line.split()[0] == program]
