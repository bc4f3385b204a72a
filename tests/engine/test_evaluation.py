"""What surrounds an experiment: its time, its process, the programs that it starts, and how it begins."""

from __future__ import annotations

import bz2
import contextlib
import ctypes.util
import gzip
import lzma
import os
import resource
import shutil
import signal
import sysconfig
import time
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from orchestrator import DataGenerator, Pipeline, Step, datagenerator
from orchestrator.engine import commands
from orchestrator.errors import DefinitionError, Interrupted, RunFailed
from orchestrator.workspace import Workspace
from tests.engine.test_interruptions import wait_for
from tests.processes import lives
from tests.studies import square, store_numbers


def statuses(data):
    return [status.name for status in data.statuses()]


def why_failed(rows):
    return rows("SELECT why FROM event WHERE what = 'experiments failed' ORDER BY id")


def logs_of(workspace, name):
    return "".join(path.read_text() for path in sorted((workspace / "logs").rglob(f"{name}*.log")))


# --- files --------------------------------------------------------------------------------------


@datagenerator(output_names="y")
def one_prints(x):
    if x == 7:
        print("seven")
    return x


def test_a_task_leaves_three_files_however_many_experiments_it_has(workspace, rows, table):
    steps = [Step(store_numbers(200)), Step(one_prints, name="step", parallel=True)]
    Pipeline(steps=steps).run(project_job="r", jobs=2)
    assert table("r").is_all_finished()
    [(token, n_tasks)] = rows("SELECT token, n_tasks FROM job WHERE role = 'batch'")
    names = [path.relative_to(workspace) for path in workspace.rglob("*") if token in str(path) and path.is_file()]
    of_job = [name for name in names if name.parent.name == token and name.name in ("job.json", "claim")]
    assert len(names) - len(of_job) == 3 * n_tasks, names


def test_the_digest_of_each_job_file_is_recorded(workspace, rows, table):
    Pipeline(steps=[Step(store_numbers(2)), Step(one_prints, parallel=True)]).run(project_job="r", jobs=1)
    for token, digest in rows("SELECT token, job_file FROM job"):
        assert digest == sha256((workspace / f"r/.orchestrator/jobs/{token}/job.json").read_bytes()).hexdigest()


# --- time ---------------------------------------------------------------------------------------


@datagenerator(output_names="y")
def the_second_hangs(x):
    if x == 1 and not Path("fixed").exists():
        print(f"waiting for {x}")
        time.sleep(600)
    return x


@pytest.mark.parametrize("parallel", [True, False])
def test_an_experiment_that_hangs_is_ended_and_has_failed(workspace, rows, table, parallel):
    step = Step(the_second_hangs, name="hangs", parallel=parallel, timeout=0.5)
    Pipeline(steps=[Step(store_numbers(6)), step]).run(project_job="r", jobs=1)
    assert statuses(table("r")) == ["FINISHED", "ERROR", *["FINISHED"] * 4]
    assert why_failed(rows) == ["timeout: it ran longer than the timeout of 0.5 s"]
    assert "waiting for 1.0" in logs_of(workspace, "hangs")


def test_a_resume_evaluates_an_experiment_again_that_took_too_long(workspace, table):
    step = Step(the_second_hangs, parallel=True, timeout=0.5, max_failed=0)
    with pytest.raises(RunFailed):
        Pipeline(steps=[Step(store_numbers(3)), step]).run(project_job="r")
    (workspace / "fixed").touch()
    commands.resume(Workspace.at(workspace), "r")
    assert statuses(table("r")) == ["FINISHED"] * 3


class OwnCall(DataGenerator):
    def execute(self, experiment_sample):
        return experiment_sample

    def call(self, data, **kwargs):
        return data


@pytest.mark.parametrize("timeout", ["10 minutes", "00:00:00", 0, -1, float("nan"), float("inf"), True, [1]])
def test_a_timeout_that_is_no_time_is_refused(workspace, timeout, golden):
    with golden.raises(DefinitionError, "each"):
        Pipeline(steps=[Step(square, name="square", timeout=timeout)]).run()


def test_a_timeout_needs_experiments(workspace, golden):
    steps = [Step(store_numbers(1), name="create", timeout=1), Step(OwnCall(), name="own", timeout=1)]
    with golden.raises(DefinitionError):
        Pipeline(steps=steps).run()


# --- processes ----------------------------------------------------------------------------------


@datagenerator(output_names="y")
def the_second_crashes_once(x):
    with Path("order").open("a") as file:
        file.write(f"{x:.0f} ")
    if x == 1 and not Path("crashed").exists():
        Path("crashed").touch()
        os._exit(3)
    return x


def test_an_experiment_whose_process_died_is_retried_after_the_others(workspace, table):
    # A step that is not parallel has one task.
    Pipeline(steps=[Step(store_numbers(4)), Step(the_second_crashes_once, timeout=60)]).run(project_job="r")
    assert statuses(table("r")) == ["FINISHED"] * 4
    assert (workspace / "order").read_text().split() == ["0", "1", "2", "3", "1"]


@datagenerator(output_names="y")
def the_second_interrupts_itself(x):
    if x == 1:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(600)
    return x


def test_an_experiment_that_interrupts_itself_fails_alone(workspace, rows, table):
    steps = [Step(store_numbers(3)), Step(the_second_interrupts_itself, parallel=True)]
    Pipeline(steps=steps).run(project_job="r", jobs=1)
    assert statuses(table("r")) == ["FINISHED", "ERROR", "FINISHED"]
    [why] = why_failed(rows)
    assert why.startswith("KeyboardInterrupt")


@datagenerator(output_names="y")
def the_second_forbids_to_write(x):
    if x == 1:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
    return x


def test_an_experiment_whose_result_cannot_be_written_fails_alone(workspace, rows, table):
    steps = [Step(store_numbers(3)), Step(the_second_forbids_to_write, timeout=60)]
    Pipeline(steps=steps).run(project_job="r")
    assert statuses(table("r")) == ["FINISHED", "ERROR", "FINISHED"]
    assert why_failed(rows) == ["crashed: its process failed: OSError: [Errno 27] File too large, 2 times"]


LEAVES = """
import multiprocessing, os, subprocess, sys, threading, time
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

def note():
    with open("left", "a") as file:
        file.write(f"{os.getpid()}\\n")

def thread():
    threading.Thread(target=time.sleep, args=(600,)).start()

def process():
    multiprocessing.Process(target=time.sleep, args=(600,)).start()

def program():
    subprocess.Popen(["sh", "-c", "echo $$ >> left; exec sleep 600"], start_new_session=True)

def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            note()
            time.sleep(600)
        os._exit(0)
    os.wait()

@datagenerator(output_names="y")
def evaluate(x):
    {what}()
    return x

pipeline = Pipeline("p", [Step(store_numbers(4)), Step(evaluate, name="evaluate", parallel=True)])
if __name__ == "__main__":
    pipeline.run(project_job="r", jobs=2)
"""


@pytest.mark.acceptance
@pytest.mark.parametrize("what", ["thread", "process", "program", "daemon"])
def test_what_an_experiment_leaves_behind_holds_nothing_and_ends(workspace, script, table, what):
    process = script(LEAVES.replace("{what}", what))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert statuses(table("r")) == ["FINISHED"] * 4
    left = (workspace / "left").read_text().split() if what in ("program", "daemon") else []
    assert len(left) == (4 if left else 0)
    assert not any(lives(pid) for pid in left)
    if what != "thread":
        assert "left processes behind" in logs_of(workspace, "evaluate")


SHARES = """
import atexit, subprocess
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

@datagenerator(output_names="name")
def share(x):
    atexit.register(Path(f"exited{x}").touch)
    subprocess.Popen(["sleep", "600"])
    return SharedMemory(create=True, size=64).name

if __name__ == "__main__":
    Pipeline("p", [Step(store_numbers(2, outputs=["name"])), Step(share, parallel=True)]).run(project_job="r", jobs=1)
"""


@pytest.mark.acceptance
def test_what_an_experiment_leaves_is_removed_by_its_exit_functions_and_resource_trackers(workspace, script, table):
    _, err = script(SHARES).communicate(timeout=60)
    data = table("r")
    assert statuses(data) == ["FINISHED"] * 2, err
    for place in (0, 1):
        assert not (Path("/dev/shm") / data.output_rows()(place)["name"]).exists()
        assert (workspace / f"exited{place}.0").exists()


PROGRAMS = """
import os, subprocess
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

def run_program():
    with open("evaluators", "a") as file:
        file.write(f"{os.getpid()}\\n")
    subprocess.run(["sh", "-c", "echo $$ >> programs; setsid sleep 600 & exec sleep 600"])

@datagenerator(output_names="y")
def evaluate(x):
    run_program()
    return x

def call(project_dir):
    run_program()

steps = [Step(store_numbers(2)), Step(call) if KIND == "call" else Step(evaluate, parallel=KIND == "parallel")]
if __name__ == "__main__":
    Pipeline("p", steps).run(project_job="r", jobs=2)
"""


def numbers_in(file):
    return [int(word) for word in file.read_text().split()] if file.exists() else []


def programs(workspace):
    """Return the programs of the experiments, with those that these have started in sessions of their own."""
    found = []
    for pid in numbers_in(workspace / "programs"):
        with contextlib.suppress(OSError):
            found += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        found.append(pid)
    return found


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def started(workspace, n=2):
    wait_for(lambda: len(programs(workspace)) == 2 * n)
    return programs(workspace)


@pytest.mark.acceptance
@pytest.mark.parametrize("number", ["INT", "TERM", "HUP", "KILL"])
def test_no_program_of_an_experiment_survives_the_run(workspace, script, number):
    process = script(PROGRAMS.replace("KIND", repr("parallel")))
    running = started(workspace)
    process.send_signal(signal.Signals[f"SIG{number}"])
    process.communicate(timeout=40)
    wait_for(lambda: not any(lives(pid) for pid in running))


@pytest.mark.acceptance
@pytest.mark.parametrize("generation", [0, 1, 2], ids=["evaluator", "worker", "reaper"])
def test_no_program_survives_a_kill_of_the_processes_around_it(workspace, script, generation):
    script(PROGRAMS.replace("KIND", repr("parallel")))
    running = started(workspace)
    pid = numbers_in(workspace / "evaluators")[0]
    for _ in range(generation):
        pid = parent_of(pid)
    # Only the programs of the killed process are ended if another one takes its place.
    ended = running if generation else [child for child in running if parent_of(child) == pid]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(lives(child) for child in ended))


@pytest.mark.acceptance
@pytest.mark.parametrize("kind", ["call", "sequential"])
@pytest.mark.parametrize("number", ["INT", "TERM", "HUP"])
def test_no_program_of_a_step_in_the_process_of_the_run_survives_it(workspace, script, kind, number):
    process = script(PROGRAMS.replace("KIND", repr(kind)))
    running = started(workspace, 1)
    process.send_signal(signal.Signals[f"SIG{number}"])
    process.communicate(timeout=40)
    wait_for(lambda: not any(lives(pid) for pid in running))


@pytest.mark.acceptance
@pytest.mark.parametrize("kind", ["parallel", "call"])
def test_a_cancel_ends_the_programs(workspace, script, kind):
    process = script(PROGRAMS.replace("KIND", repr(kind)))
    running = started(workspace, 2 if kind == "parallel" else 1)
    commands.cancel(Workspace.at(workspace), "r")
    process.communicate(timeout=40)
    wait_for(lambda: not any(lives(pid) for pid in running))


IGNORES = """
import signal, time
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

signal.signal(signal.SIGCHLD, signal.SIG_IGN)

@datagenerator(output_names="ignores")
def evaluate(x):
    if x == 1:
        time.sleep(600)
    return signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN

steps = [Step(store_numbers(3, outputs=["ignores"])), Step(evaluate, parallel=True, timeout=0.5)]
if __name__ == "__main__":
    Pipeline("p", steps).run(project_job="r", jobs=2)
"""


@pytest.mark.acceptance
def test_a_study_may_ignore_the_ends_of_processes(script, table):
    _, err = script(IGNORES).communicate(timeout=60)
    assert "Traceback" not in err
    data = table("r")
    assert statuses(data) == ["FINISHED", "ERROR", "FINISHED"]
    assert [data.output_rows()(place)["ignores"] for place in (0, 2)] == [True, True]


# --- surroundings -------------------------------------------------------------------------------


SURROUNDINGS = ["folder", "variables", "handlers"]


@datagenerator(output_names=SURROUNDINGS)
def disturbs(x):
    found = (str(Path.cwd()), sorted(os.environ), str(signal.getsignal(signal.SIGTERM)))
    os.chdir("/")
    os.environ["LEFT_BEHIND"] = "1"
    os.environ.pop("HOME")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.alarm(600)
    return found[0], " ".join(found[1]), found[2]


@pytest.mark.parametrize("parallel", [True, False])
def test_each_experiment_begins_in_the_same_surroundings(workspace, table, parallel):
    before = Path.cwd(), dict(os.environ)
    steps = [Step(store_numbers(5, outputs=SURROUNDINGS)), Step(disturbs, name="disturbs", parallel=parallel)]
    Pipeline(steps=steps).run(project_job="r", jobs=1)
    data = table("r")
    outputs = [data.output_rows()(place) for place in range(5)]
    assert all(row == outputs[0] for row in outputs)
    assert outputs[0]["folder"] == str(workspace)
    assert "LEFT_BEHIND" not in outputs[0]["variables"]
    assert (Path.cwd(), dict(os.environ)) == before
    said = logs_of(workspace, "disturbs")
    for what in ("the working folder", "os.environ", "a signal handler"):
        assert said.count(f"changed {what}, which was put back") in range(1, 5)


def test_a_step_does_not_change_the_surroundings_of_the_next(workspace, table):
    def moves_away(project_dir):
        os.chdir("/")
        os.environ["LEFT_BEHIND"] = "1"

    steps = [Step(store_numbers(2, outputs=SURROUNDINGS)), Step(moves_away), Step(disturbs, parallel=True)]
    Pipeline(steps=steps).run(project_job="r", jobs=1)
    data = table("r")
    assert data.output_rows()(0)["folder"] == str(workspace)
    assert "LEFT_BEHIND" not in data.output_rows()(0)["variables"]


def test_the_working_folder_may_be_removed(workspace, table):
    @datagenerator(output_names="y")
    def removes(x):
        shutil.rmtree("gone", ignore_errors=True)
        Path("gone").mkdir()
        os.chdir("gone")
        Path("../gone").resolve().rmdir()
        return x

    Pipeline(steps=[Step(store_numbers(3)), Step(removes, parallel=True)]).run(project_job="r", jobs=1)
    assert statuses(table("r")) == ["FINISHED"] * 3


# --- workers stay warm --------------------------------------------------------------------------


@pytest.mark.acceptance
def test_a_run_loads_its_study_once_in_its_workers(workspace, script, table):
    (workspace / "helper.py").write_text(
        "import os\nwith open('imported', 'a') as file:\n    file.write(f'{os.getppid()} ')\nseen = []\n"
    )
    process = script(
        "from orchestrator import Loop, Pipeline, Step, datagenerator\nimport helper\n"
        "from tests.studies import store_numbers\n"
        "@datagenerator(output_names='y')\n"
        "def evaluate(x):\n    helper.seen.append(x)\n    return len(helper.seen)\n"
        "def again(project_dir):\n    store_numbers(4)(project_dir)\n"
        "if __name__ == '__main__':\n"
        "    Pipeline('p', [Loop(3, [Step(again), Step(evaluate, parallel=True)])]).run(project_job='r', jobs=4)\n"
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    # The script itself has imported it, too.
    assert len((workspace / "imported").read_text().split()) == 2
    data = table("r")
    assert [data.output_rows()(place)["y"] for place in range(4)] == [1] * 4


@pytest.mark.acceptance
def test_a_worker_that_cannot_load_the_study_says_so(workspace, script):
    (workspace / "helper.py").write_text(
        "import os\nif os.path.exists('broken'):\n    raise OSError('no licence here')\n"
    )
    process = script(
        "import helper\nfrom pathlib import Path\n"
        "from orchestrator import Pipeline, Step, datagenerator\nfrom tests.studies import numbers\n"
        "def create(project_dir):\n    numbers(3).store(project_dir)\n    Path('broken').touch()\n"
        "@datagenerator(output_names='y')\ndef evaluate(x):\n    return helper.os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    Pipeline('p', [Step(create), Step(evaluate, parallel=True)]).run(project_job='r', jobs=2)\n"
    )
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "3 of 3 tasks failed (exception): OSError: no licence here" in err
    assert "no licence here" in logs_of(workspace, "evaluate")


INHERITED = """
import random
import numpy as np
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

unseeded = np.random.default_rng()
seeded = np.random.default_rng(7)
notes = open("notes", "a")
notes.write("begins\\n")

names = ["own", "fixed", "old", "python"]

@datagenerator(output_names=names)
def draw(x):
    notes.write(f"{x}\\n")
    return float(unseeded.random()), float(seeded.random()), float(np.random.rand()), random.random()

if __name__ == "__main__":
    Pipeline("p", [Step(store_numbers(4, outputs=names)), Step(draw, parallel=True)]).run(project_job="r", jobs=2)
"""


@pytest.mark.acceptance
def test_tasks_draw_other_random_numbers_and_lose_nothing_that_they_write(workspace, script, table):
    process = script(INHERITED)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    data = table("r")
    rows = [data.output_rows()(place) for place in range(4)]
    for name, n in (("own", 4), ("old", 4), ("python", 4), ("fixed", 1)):
        assert len({row[name] for row in rows}) == n, name
    # The study is imported by the script and by its worker.
    written = (workspace / "notes").read_text().split()
    assert sorted(written) == ["0.0", "1.0", "2.0", "3.0", "begins", "begins"]


THREADS = """
from concurrent.futures import ThreadPoolExecutor
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

executor = ThreadPoolExecutor(1, thread_name_prefix="reads")
data = list(executor.map(len, ["a", "bb"]))

@datagenerator(output_names="y")
def evaluate(x):
    return executor.submit(float, x).result()

if __name__ == "__main__":
    steps = [Step(store_numbers(1)), Step(evaluate, name="evaluate", parallel=True, timeout=0.5)]
    Pipeline("p", steps).run(project_job="r", jobs=1)
"""


@pytest.mark.acceptance
def test_the_log_says_that_a_study_has_started_threads_too_early(workspace, script, table):
    script(THREADS).communicate(timeout=60)
    assert statuses(table("r")) == ["ERROR"]
    said = logs_of(workspace, "evaluate")
    assert said.count("has started threads when it was imported (reads_0)") == 1
    assert "start them in the function that uses them" in said


OPENMP = """
import ctypes
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

library = ctypes.CDLL({library!r})
nothing = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda data: None)

def compute():
    library.GOMP_parallel(nothing, None, 2, 0)  # what a parallel loop of OpenMP is compiled to

compute()

@datagenerator(output_names="y")
def evaluate(x):
    compute()
    return x

if __name__ == "__main__":
    Pipeline("p", [Step(store_numbers(2)), Step(evaluate, parallel=True, timeout=5)]).run(project_job="r", jobs=1)
"""


@pytest.mark.acceptance
def test_a_study_may_use_openmp_when_it_is_imported(script, table):
    bundled = Path(sysconfig.get_path("purelib")).glob("*.libs/libgomp*")  # as scikit-learn has it
    library = ctypes.util.find_library("gomp") or next(map(str, bundled), None)
    if library is None:
        pytest.skip("needs OpenMP of GCC")
    _, err = script(OPENMP.format(library=library)).communicate(timeout=60)
    assert statuses(table("r")) == ["FINISHED"] * 2, err


KEPT = """
import bz2, gzip, lzma, zipfile
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers

kept = []

@datagenerator(output_names="y")
def write(x):
    for name, file in (
        ("plain", open(f"plain{x}", "w+b")), ("gz", gzip.open(f"gz{x}", "wb")), ("bz2", bz2.open(f"bz2{x}", "wb")),
        ("xz", lzma.open(f"xz{x}", "wb")), ("text", gzip.open(f"text{x}", "wt")),
    ):
        file.write("abc" if name == "text" else b"abc")
        kept.append(file)
    kept.append(zipfile.ZipFile(f"zip{x}", "w"))
    kept[-1].writestr("member", "abc")
    return x

if __name__ == "__main__":
    Pipeline("p", [Step(store_numbers(2)), Step(write, parallel=True)]).run(project_job="r", jobs=1)
"""


@pytest.mark.acceptance
def test_files_that_a_study_keeps_open_are_complete_at_the_end_of_a_task(workspace, script):
    process = script(KEPT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    opened = {"plain": open, "gz": gzip.open, "bz2": bz2.open, "xz": lzma.open, "text": gzip.open}
    for name, function in opened.items():
        for x in (0.0, 1.0):
            with function(f"{name}{x}", "rb") as file:
                assert file.read() == b"abc", name
    assert zipfile.ZipFile("zip1.0").read("member") == b"abc"


# --- what the user changes in the table ----------------------------------------------------------


def interrupted_at_the_second(parallel):
    @datagenerator(output_names="y")
    def evaluate(x):
        if x == 1:
            Path("was evaluated").touch()
            if parallel:
                os.kill(os.getppid(), signal.SIGKILL)  # the worker
                time.sleep(600)
            raise KeyboardInterrupt
        return x

    return evaluate


def mark_as_failed(data, label):
    data.mark([label], "error", in_place=True)
    return data


def drop(data, label):
    return data.select([other for other in data.labels() if other != label])


@pytest.mark.parametrize("change", [mark_as_failed, drop])
@pytest.mark.parametrize("parallel", [True, False])
def test_a_resume_leaves_out_what_the_user_has_taken_out(workspace, table, change, parallel):
    steps = [Step(store_numbers(4)), Step(interrupted_at_the_second(parallel), parallel=parallel)]
    with pytest.raises((RunFailed, Interrupted)):
        Pipeline(steps=steps).run(project_job="r", jobs=1)
    (workspace / "was evaluated").unlink()
    change(table("r"), 1).store(workspace / "r")
    commands.resume(Workspace.at(workspace), "r")
    assert not (workspace / "was evaluated").exists()
    left = statuses(table("r"))
    assert left == (["FINISHED"] * 3 if change is drop else ["FINISHED", "ERROR", "FINISHED", "FINISHED"])
