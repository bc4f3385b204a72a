"""Notes of every Python and every program of SLURM that a run has started, and what they add up to."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
PROGRAMS = ("sbatch", "squeue", "sacct", "scontrol", "scancel")
WORK = ("-m orchestrator.worker job", "-m f3dasm.pipeline.run_step", "chain.py")
"""How the words of a Python begin that does a step's work in a job; every other one only orchestrates."""
WAIT = "-m orchestrator wait"
"""The user, who waits; not part of the measurement."""


@dataclass(frozen=True)
class Process:
    """One that ran; `cpu` with that of all processes that it called, `own_cpu` without."""

    me: str
    caller: str
    program: str
    job: str
    task: str
    begin: float
    end: float
    code: int
    words: str
    cpu: float
    own_cpu: float = 0.0

    @property
    def works(self) -> bool:
        return self.program == "python" and self.job != "" and self.words.startswith(WORK)


class Notes:
    """Makes programs note what they do, and reads that.

    `bin` is the first folder of PATH. There, `python` is that of a venv with all that the given Python has.
    """

    def __init__(self, folder: Path, python: str, path: str) -> None:
        self.notes = folder / "notes"
        self.notes.mkdir(parents=True)
        self.bin = folder / "venv" / "bin"
        subprocess.run([python, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        (self.bin / "python").rename(self.bin / "python.real")
        asked = "import json, site; print(json.dumps(site.getsitepackages()))"
        packages = json.loads(subprocess.run([python, "-c", asked], capture_output=True, check=True).stdout)
        lines = [f"import site; site.addsitedir({one!r})\n" for one in packages]
        next((folder / "venv").glob("lib/python*/site-packages/")).joinpath("given.pth").write_text("".join(lines))
        for program in ("python", *PROGRAMS):
            real = shutil.which(program, path=path)
            if real is not None or program == "python":
                self._put(program, Path(real or "").parent)

    def _put(self, program: str, real_folder: Path) -> None:
        text = (HERE / "noting.sh").read_text()
        text = text.replace("REAL_FOLDER", str(real_folder)).replace("NOTES_FOLDER", str(self.notes))
        (self.bin / program).write_text(text)
        (self.bin / program).chmod(0o755)

    def read(self) -> list[Process]:
        """Read all notes, in the order in which the processes began."""
        processes = [_process(path.read_text()) for path in self.notes.iterdir()]
        of_called: dict[str, float] = defaultdict(float)
        for one in processes:
            of_called[one.caller] += one.cpu
        whole = [Process(**{**vars(one), "own_cpu": one.cpu - of_called[one.me]}) for one in processes]
        return sorted(whole, key=lambda one: one.begin)


def _process(text: str) -> Process:
    me, caller, program, job, task, begin, end, code, _, cpu, words = text.split("\n", 10)
    clock = [float(number.replace(",", ".")) for number in (begin, end)]
    return Process(me, caller, program, job, task, *clock, int(code), words.rstrip(), sum(map(_seconds, cpu.split())))


def _seconds(text: str) -> float:
    minutes, seconds = text.replace(",", ".").removesuffix("s").split("m")
    return 60 * float(minutes) + float(seconds)


def ends_of_work(folder: Path) -> dict[str, float]:
    """Return when the last task of each of our jobs left its receipt, by the job's token: its tail starts before."""
    receipts = folder.glob(".orchestrator/jobs/*/receipts/*.json")
    ends: dict[str, float] = defaultdict(float)
    for path in receipts:
        token = path.parent.parent.name
        ends[token] = max(ends[token], json.loads(path.read_text())["ended_at"])
    return ends


def without_job(workspace: Path) -> list[tuple[float, float]]:
    """Return when each of our steps without a job started and ended, as it is recorded."""
    database = workspace / "orchestrator.db"
    if not database.exists():
        return []
    query = (
        "SELECT started_at, ended_at FROM step_run WHERE state = 'succeeded' AND withdrawn_at IS NULL"
        " AND NOT EXISTS (SELECT 1 FROM job WHERE step_run_id = step_run.id)"
    )
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def figures(
    processes: list[Process], begin: float, ends: Mapping[str, float], jobless: list[tuple[float, float]]
) -> dict[str, float]:
    """Add up what a run that was submitted at a time has cost, by the name of the figure."""
    work = [one for one in processes if one.works]
    tasks = [one for one in work if one.task]
    steps = sorted([*_steps(processes, ends), *jobless])
    hops = [after[0] - before[1] for before, after in pairwise(steps)]
    queued = [hop for hop, step in zip(hops, steps[1:], strict=True) if step not in jobless]
    calls = Counter(one.program for one in processes)
    orchestrating = (one.own_cpu for one in processes if not one.works and not one.words.startswith(WAIT))
    return {
        "makespan, s": max(one.end for one in work) - begin,
        "in steps, s": sum(end - begin for begin, end in steps),
        "between steps, s": sum(hops),
        "a hop (median), s": median(hops),
        "the same, to a job, s": median(queued),
        "jobs (an array is one)": sum(one.program == "sbatch" and one.code == 0 for one in processes),
        "tasks of arrays": len({(one.job, one.task) for one in tasks}),
        **{f"calls of {program}": calls[program] for program in PROGRAMS},
        "orchestrating, CPU s": sum(orchestrating),
        "task of an array, CPU s": sum(one.own_cpu for one in tasks) / len(tasks),
    }


def _steps(processes: list[Process], ends: Mapping[str, float]) -> Iterator[tuple[float, float]]:
    """Return when the first process of each step that had a job began, and when the work of its last one was done."""
    by_job: dict[str, list[Process]] = defaultdict(list)
    for one in processes:
        if one.works:
            by_job[one.job].append(one)
    for ones in by_job.values():
        token = next((word for word in ones[0].words.split() if word in ends), None)
        yield ones[0].begin, max(one.end for one in ones) if token is None else ends[token]
