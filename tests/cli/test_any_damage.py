"""Any file of a run is damaged in any way: errors have a name, other runs continue, and what is named to type works."""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import suppress
from itertools import product
from zlib import crc32

import pytest

from tests.conftest import EXAMPLES, ROOT
from tests.damage import NOT_JSON, put_in_place

pytestmark = pytest.mark.slow

# Its first run dies while it evaluates experiment 4: experiment 0 has a result that is not in the table yet.
STUDY = """
import os, signal
from pathlib import Path
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

@datagenerator(output_names="y")
def evaluate(x):
    print("experiment", x)
    if x == 1:
        raise ValueError("one")
    if x == 4 and not Path("again").exists():
        Path("again").touch()
        os.kill(os.getppid(), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
    return x * 2

pipeline = Pipeline("damages", [Step(store_numbers(6), name="create"), Step(evaluate, parallel=True, max_failed=3)])
"""


def of_batch(rest):
    return lambda run: next(
        path.parent / rest
        for path in run.glob(".orchestrator/jobs/*/job.json")
        if '"role": "batch"' in path.read_text()
    )


def first(pattern):
    return lambda run: min(run.glob(pattern))


FILES = {
    "job file": of_batch("job.json"),
    "claim": of_batch("claim"),
    "receipt": of_batch("receipts/0.0.json"),
    "running": of_batch("running/0.0"),
    "counts": of_batch("counts/0.0.1.1.d8ae9547e36c"),
    "stop": of_batch("stop"),
    "manifest": first(".orchestrator/steps/*/manifest.jsonl"),
    "index of the code": first(".orchestrator/bundle/*/bundle.json"),
    "modules": first(".orchestrator/bundle/*/modules.json"),
    "pickle": first(".orchestrator/bundle/*/1.pkl"),
    "compiled study": first(".orchestrator/bundle/*/study.code"),
    "note of a kept table": first(".orchestrator/tables/1.*/snapshot.json"),
    "kept table": first(".orchestrator/tables/1.*/input.csv"),
    "domain": lambda run: run / "experiment_data/domain.json",
    "statuses": lambda run: run / "experiment_data/jobs.csv",
    "results": lambda run: run / "experiment_data/.results" / of_batch("job.json")(run).parent.name / "0.0.jsonl",
    "folded results": first("experiment_data/.archive/*/0.0.jsonl"),
    "commit record": lambda run: run / "experiment_data/.table/commit.json",
    "lock of the table": lambda run: run / "experiment_data/.lock",
    "lock of the database": lambda run: run.parent / "orchestrator.db.guard",
    "log": lambda run: min((run.parent / "logs/r").glob("evaluate.*.0.log")),
    "orchestrator log": lambda run: run.parent / "logs/r/orchestrator.log",
}

WRONG_TYPES = b'{"state": 5, "started_at": NaN, "n": 1e999, "input_space": [1], "columns": 7, "consumed": 9}'


def written(content):
    def write(path):
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        path.chmod(0o600)

    return write


def cut(path):
    written(path.read_bytes()[: path.stat().st_size // 2] if path.exists() else b"")(path)


def short(path):
    written(path.read_bytes()[:-1] if path.exists() else b"")(path)


def flipped(path):
    """Change one bit of a file; which one depends on its name and size only."""
    content = bytearray(path.read_bytes() if path.exists() else b"x")
    if content:
        content[crc32(path.name.encode()) % len(content)] ^= 1 << len(content) % 8
    written(bytes(content))(path)


def of_another_user(path):
    """Replace a file by one of another user, if this one may do so; else by one that others may write to."""
    written(path.read_bytes() if path.exists() else b"")(path)
    path.chmod(0o666)
    with suppress(PermissionError):
        os.chown(path, 65534, 65534)


def grown(path):
    """Let a file end with a hole of a terabyte, as programs leave it that write at a wrong place."""
    with path.open("ab") as file:
        file.truncate(1 << 40)


DAMAGES = {
    "folder": lambda path: put_in_place("folder", path),
    "fifo": lambda path: put_in_place("fifo", path),
    "empty": written(b""),
    "wrong types": written(WRONG_TYPES),
    "cut": cut,
    "link": lambda path: put_in_place("loop", path),
    "deep": written(NOT_JSON["deep"]),
    "NUL": written(b"\0" * 5000),
    "device": lambda path: put_in_place("device", path),
    "missing": lambda path: path.unlink(missing_ok=True),
    "large": lambda path: put_in_place("large", path),
    "grown": grown,
    "short": short,
    "flipped": flipped,
    "of another user": of_another_user,
}

LOOKS = (
    *("status r", "status r --json", "list", "logs r evaluate", "logs r evaluate --experiment 4", "failures r"),
    *("table r", "efficiency r", "snapshots r"),
)

FOLDERS = {
    "engine": lambda run: run / ".orchestrator",
    "jobs": lambda run: run / ".orchestrator/jobs",
    "job": of_batch("."),
    "receipts": of_batch("receipts"),
    "bundles": lambda run: run / ".orchestrator/bundle",
    "bundle": first(".orchestrator/bundle/*"),
    "steps": lambda run: run / ".orchestrator/steps",
    "kept tables": lambda run: run / ".orchestrator/tables",
    "data": lambda run: run / "experiment_data",
    "results": lambda run: run / "experiment_data/.results",
    "generations": lambda run: run / "experiment_data/.generations",
    "current table": lambda run: run / "experiment_data/.table",
    "logs": lambda run: run.parent / "logs/r",
    "run": lambda run: run,
}


def away(path):
    path.rename(path.with_name(f"{path.name}.away"))


def then(put):
    def replace(path):
        if os.path.lexists(path):
            away(path)
        put(path)

    return replace


DAMAGES_OF_FOLDERS = {
    "missing": then(lambda path: None),
    "file": then(lambda path: path.write_bytes(b"x")),
    "empty": then(lambda path: path.mkdir()),
    "fifo": then(lambda path: os.mkfifo(path)),
    "loop": then(lambda path: path.symlink_to(path)),
    "link": then(lambda path: path.symlink_to(f"{path.name}.away")),
    "open": then(lambda path: (path.mkdir(), path.chmod(0o777))),
}

CASES = list(product(FILES, DAMAGES))
SHORT = [(file, list(DAMAGES)[number % len(DAMAGES)]) for number, file in enumerate(FILES)]
CASES_OF_FOLDERS = list(product(FOLDERS, DAMAGES_OF_FOLDERS))


def pytest_generate_tests(metafunc):
    if "damage" in metafunc.fixturenames:
        cases = CASES if metafunc.config.getoption("--examples") > EXAMPLES else SHORT
        metafunc.parametrize(("file", "damage"), cases)
    if "damage_of_folder" in metafunc.fixturenames:
        cases = CASES_OF_FOLDERS if metafunc.config.getoption("--examples") > EXAMPLES else CASES_OF_FOLDERS[::13]
        metafunc.parametrize(("folder", "damage_of_folder"), cases)


@pytest.fixture(scope="module")
def stopped_run(tmp_path_factory):
    """Return a folder with a run that has died, and one that has succeeded."""
    made = tmp_path_factory.mktemp("stopped")
    (made / "study.py").write_text(STUDY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for key in ("r", "other"):
        command = [
            sys.executable,
            "-m",
            "orchestrator.cli.main",
            "run",
            "study.py",
            "--project-job",
            key,
            "--jobs",
            "1",
        ]
        subprocess.run(command, cwd=made, env=environment, capture_output=True)
    assert (made / "again").exists()
    return made


def is_named(done):
    return done.code in (0, 1, 2, 3, 75) and "bug in orchestrator" not in done.err and "Traceback (" not in done.err


def offered_by(done):
    """Return what an error names to type: first what puts a file right."""
    text = done.err.rpartition("Error:")[2].replace("STUDY.py", "study.py")
    flat = re.sub(r"\n(?!Next|To |If |Then )", " ", text)
    found = re.findall(r"(?:mv|rm|ln|orchestrator (?:resume|retry)) [^\n]*", flat)
    found = [command.rstrip(". ") if not command.startswith("orchestrator") else command for command in found]
    return sorted(found, key=lambda command: command.startswith("orchestrator"))


def copy_of(stopped_run, here):
    for path in stopped_run.iterdir():
        if path.is_dir():
            shutil.copytree(path, here.workspace / path.name, symlinks=True)
        else:
            shutil.copy2(path, here.workspace)


def test_a_damaged_folder_is_named_by_each_command_and_other_runs_continue(here, stopped_run, folder, damage_of_folder):
    copy_of(stopped_run, here)
    DAMAGES_OF_FOLDERS[damage_of_folder](FOLDERS[folder](here.workspace / "r"))
    for words in (*LOOKS, "report r", "archive r -o r.tar", "fork r --from evaluate --dry-run", "resume r", *LOOKS):
        done = here(*words.split())
        assert is_named(done), (words, done.err)
        if moves := [command for command in offered_by(done) if command.startswith("mv ")]:
            subprocess.run(moves[0], shell=True, check=True)
            assert is_named(here(*words.split()))
    assert here("status", "other").code == 0
    assert here("resume", "other").code in (0, 3)


def test_a_damaged_file_is_named_and_what_is_named_to_type_continues_the_run(here, stopped_run, file, damage):
    copy_of(stopped_run, here)
    damaged = FILES[file](here.workspace / "r")
    damaged.parent.mkdir(parents=True, exist_ok=True)
    DAMAGES[damage](damaged)
    for words in LOOKS:
        done = here(*words.split())
        assert is_named(done), (words, done.err)
    if file != "lock of the database":
        assert here("status", "other").code == 0
    typed = ["orchestrator resume r"]
    done = here("resume", "r")
    while done.code not in (0, 3):
        assert is_named(done), (typed, done.err)
        named = [command for command in offered_by(done) if command not in typed]
        assert named, (typed, done.err)
        typed.append(named[0])
        if named[0].startswith("orchestrator"):
            done = here(*shlex.split(named[0])[1:])
        else:
            subprocess.run(named[0], shell=True, check=True)
            done = here("resume", "r")
    rows = csv.DictReader(io.StringIO(here("table", "r", "--csv", "-").out))
    # Experiment 1 always fails.
    assert [row["y"] for row in rows] == ["0.0", "", "4.0", "6.0", "8.0", "10.0"], (typed, done.err)
