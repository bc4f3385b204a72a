"""The whole output of `submit` and of other commands on a run of a cluster, in a terminal of 80 columns."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from programs import CONFIG, HEADER, squeue_answer

from orchestrator.db.connection import session
from orchestrator.db.lease_holder import Holder
from orchestrator.db.store import Store
from orchestrator.engine.commands import resume
from orchestrator.errors import LeaseHeld
from orchestrator.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]

LIMIT = (
    "sbatch: error: AssocMaxSubmitJobLimit\n"
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size "
    "and/or time limits)\n"
)
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"


@pytest.fixture
def cluster(programs):
    programs.accepts()
    return programs


# --- success -------------------------------------------------------------------------------------


def test_submit_prints_the_run_the_job_and_what_to_type(here, cluster, golden):
    done = here("submit", "slurm.py", "--project-job", "r")
    golden(done)


def test_resume_of_an_active_run_prints_the_same(here, cluster, golden):
    here("submit", "slurm.py", "--project-job", "r")
    golden(here("cancel", "r"))
    done = here("resume", "r", "--db", "orchestrator.db")
    golden(done)


def test_a_second_submission_of_an_active_run_says_that_nothing_was_submitted(here, cluster):
    first = here("submit", "slurm.py", "--project-job", "r")
    assert "exists already" not in first.err
    queue_of_first_run(cluster, here.workspace)
    n_submitted = len(cluster.called("sbatch"))
    again = here("submit", "slurm.py", "--project-job", "r")
    assert (again.code, len(cluster.called("sbatch"))) == (0, n_submitted)
    assert "Run r exists already and is active; nothing new was submitted.\n" in again.err


def test_a_submission_from_python_prints_what_to_type(here, cluster, golden):
    (here.workspace / "go.py").write_text(
        "from slurm import cluster, pipeline\n"
        "print(pipeline.run(mode='slurm', cluster=cluster, project_job='r', rootdir='my runs'))\n"
    )
    done = here.python("go.py")
    golden(done)


def test_a_workspace_whose_path_is_not_utf8_is_submitted_as_it_is(cli, cluster):
    folder = cli.workspace / os.fsdecode(b"caf\xe9 x")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    (cli.workspace / "slurm.py").rename(folder / "slurm.py")
    program = [sys.executable, "-m", "orchestrator"]
    for command in (["scripts", "slurm.py"], ["submit", "slurm.py", "--project-job", "r"], ["status", "--refresh"]):
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([*program, *command], cwd=folder, env=env, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert b"caf\\udce9 x/slurm.py" in done.stdout
    scripts = list(folder.glob("r/.orchestrator/scripts/*.sh"))
    assert any(b"caf\xe9 x" in script.read_bytes() for script in scripts)


# --- failures ------------------------------------------------------------------------------------


def test_no_slurm_here(here, programs, golden):
    golden(here("submit", "slurm.py"))
    assert not (here.workspace / "orchestrator.db").exists()


def test_no_cluster_in_the_study(here, cluster, golden):
    for command in ("submit", "scripts"):
        golden(here(command, "study.py"))


def test_a_cluster_with_errors_is_refused(here, cluster, golden):
    study = (here.workspace / "slurm.py").read_text()
    wrong = study.replace("account=None", 'account=None, wake="never", mem_per_cpu="lots"')
    (here.workspace / "slurm.py").write_text(wrong)
    for command in ("submit", "scripts"):
        golden(here(command, "slurm.py"))
    assert not cluster.called("sbatch")


def test_a_runner_with_a_variable_that_is_not_set_is_refused(here, cluster, golden):
    study = (here.workspace / "slurm.py").read_text()
    (here.workspace / "slurm.py").write_text(study.replace("account=None", 'account=None, runner="$NO_ENV/bin/python"'))
    golden(here("submit", "slurm.py"))
    assert not (here.workspace / "orchestrator.db").exists()


def test_a_log_folder_is_checked_after_its_expansion(here, cluster, golden, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WHO", "me")
    monkeypatch.setenv("ABOVE", "..")
    study = (here.workspace / "slurm.py").read_text()
    above = study.replace("account=None", 'account=None, log_dir="$ABOVE/{project_job}"')
    (here.workspace / "slurm.py").write_text(above)
    golden(here("submit", "slurm.py"))
    (here.workspace / "slurm.py").write_text(study.replace("account=None", 'account=None, log_dir="~/{project_job}"'))
    here("submit", "slurm.py", "--project-job", "q")
    assert (tmp_path / "q").is_dir()
    assert f"--output={tmp_path}/q/" in str(cluster.called("sbatch"))
    (here.workspace / "slurm.py").write_text(
        study.replace("account=None", 'account=None, log_dir="$WHO/{project_job}"')
    )
    here("submit", "slurm.py", "--project-job", "r")
    assert (here.workspace / "me" / "r").is_dir()


def test_a_cluster_without_job_arrays_is_refused_for_a_parallel_step(here, cluster, golden):
    cluster.says("scontrol", CONFIG.replace("1001", "0"))
    golden(here("submit", "slurm.py", "--project-job", "r"))
    parallel = (here.workspace / "slurm.py").read_text().replace("[Step(nothing)]", "[Step(double, parallel=True)]")
    double = "@datagenerator(output_names='y')\ndef double(x):\n    return 2 * x\npipeline ="
    study = parallel.replace("pipeline =", double).replace("import ", "import datagenerator, ")
    (here.workspace / "slurm.py").write_text(study)
    golden(here("submit", "slurm.py", "--project-job", "s"))
    assert not (here.workspace / "s").exists()


def test_the_comment_of_a_site_is_passed_to_sbatch(here, cluster):
    study = (here.workspace / "slurm.py").read_text()
    comment = 'Step(nothing, resources=SlurmResources(extra_sbatch={"comment": "project-a"}))'
    study = study.replace("Step(nothing)", comment).replace("import ", "import SlurmResources, ")
    (here.workspace / "slurm.py").write_text(study)
    here("submit", "slurm.py", "--project-job", "r")
    assert "#SBATCH --comment=project-a\n" in cluster.submitted(1)
    assert not [call for call in cluster.called("sbatch") if "--comment" in call]


# --- a workspace that was moved or copied ---------------------------------------------------------


@pytest.fixture
def moved(cli, cluster, monkeypatch):
    """Return a folder with a run on a cluster, and a function that moves or copies it and makes the copy current."""
    old = cli.workspace / "old"
    old.mkdir()
    (cli.workspace / "slurm.py").rename(old / "slurm.py")
    monkeypatch.chdir(old)

    def move(how):
        new = cli.workspace / "new"
        how(old, new)
        monkeypatch.chdir(new)
        return new

    return move


def queue_of_first_run(cluster, folder):
    """Let squeue list the jobs of the run in a folder as PENDING."""
    tokens = sorted(path.name for path in (folder / "r" / ".orchestrator" / "jobs").iterdir())
    cluster.says("squeue", squeue_answer(*((str(n + 1), "PENDING", "None", token) for n, token in enumerate(tokens))))


def test_a_moved_run_continues_in_the_new_place(cli, cluster, moved, golden):
    cli("submit", "slurm.py", "--project-job", "r")
    cli("cancel", "r")
    new = moved(Path.rename)
    shown = cli("status", "r").out
    assert f"study {new}/slurm.py" in shown

    golden(cli("resume", "r"))

    assert not (cli.workspace / "old").exists()
    script = cluster.submitted(3)
    assert f"cd -- {new} || exit 1\n" in script
    assert "/old" not in script.replace(f"{cli.workspace}/programs", "")
    record = Store(new / "orchestrator.db").record("r")
    assert (record.root, record.study, record.cluster["cwd"]) == (str(new), f"{new}/slurm.py", str(new))


def test_a_moved_run_whose_jobs_are_in_the_queue_is_not_continued(cli, cluster, moved, golden):
    cli("submit", "slurm.py", "--project-job", "r")
    new = moved(Path.rename)
    queue_of_first_run(cluster, new)
    golden(cli("resume", "r"))
    # The command that it names takes the jobs away.
    scancel = cluster.folder / "scancel"
    cluster.says("squeue", HEADER)
    assert scancel.exists()
    assert cli("cancel", "r").code == 0
    assert cli("resume", "r").code == 0


def test_a_copy_does_not_touch_the_jobs_of_its_original(cli, cluster, moved, golden):
    cli("submit", "slurm.py", "--project-job", "r")
    new = moved(shutil.copytree)
    queue_of_first_run(cluster, new)
    for command in ("cancel", "resume"):
        golden(cli(command, "r"))
    assert not cluster.called("scancel")


def test_a_step_with_the_name_of_the_runs_own_jobs(here, cluster, golden):
    study = (here.workspace / "slurm.py").read_text()
    (here.workspace / "slurm.py").write_text(study.replace("Step(nothing)", 'Step(nothing, name="orchestrator")'))
    golden(here("submit", "slurm.py"))


def test_a_key_that_can_not_name_a_folder(here, cluster, golden):
    golden(here("submit", "slurm.py", "--project-job", "../x"))


def test_an_unknown_label(here, cluster, golden):
    golden(here("scripts", "slurm.py", "create"))


def test_slurm_does_not_answer(here, programs, golden):
    for program in ("sbatch", "squeue", "scancel", "scontrol"):
        programs.says(program, err=DOWN, code=1)
    golden(here("submit", "slurm.py", "--project-job", "r"))
    assert not (here.workspace / "orchestrator.db").exists()


def test_slurm_accepts_no_job_now(here, cluster, golden):
    cluster.says("sbatch", err=LIMIT, code=1)
    golden(here("submit", "slurm.py", "--project-job", "r"))
    golden(here("status", "r"))


def test_a_refused_job_is_shown_while_its_submission_is_retried(here, cluster, golden):
    cluster.says("sbatch", err=LIMIT, code=1)
    here("submit", "slurm.py", "--project-job", "r")
    sbatch, seen = cluster.folder / "sbatch", here.workspace / "seen"
    look = f"{sys.executable} -m orchestrator status r --db {here.workspace}/orchestrator.db"
    sbatch.write_text(sbatch.read_text().replace("printf", f"{look} > {seen}\nprintf", 1))

    here("resume", "r")

    golden(seen.read_text(), exact=False)
    golden(here("status", "r"))


def test_slurm_may_have_accepted_the_job(here, cluster, golden):
    cluster.says("sbatch", err="sbatch: error: Batch job submission failed: Socket timed out\n", code=1)
    golden(here("submit", "slurm.py", "--project-job", "r"))
    golden(here("status", "r"))


def test_a_resume_repeats_a_job_whose_grace_ends_while_it_begins(here, cluster):
    """As where SLURM's answers take longer than the grace: the first one shows the doubt, the second one ends it."""
    study = here.workspace / "slurm.py"
    study.write_text(study.read_text().replace("grace=1", "grace=1e-6"))
    here("submit", "slurm.py", "--project-job", "r")  # squeue lists no job
    n_before = len(cluster.called("sbatch"))

    resumed = here("resume", "r")

    assert resumed.code == 0, resumed.err
    assert len(cluster.called("sbatch")) > n_before
    assert "Run r (quiet): active" in here("status", "r").out


DENIED = "sbatch: error: Batch job submission failed: Access/permission denied\n"


def test_nodes_that_may_not_submit_leave_the_run_to_a_login_node(here, cluster, monkeypatch, golden):
    sbatch = (cluster.folder / "sbatch").read_text()
    cluster.says("sbatch", err=DENIED, code=1)
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    golden(here("submit", "slurm.py", "--project-job", "r"))
    golden(here("status", "r"))
    golden(here("wait", "r"))
    golden(here("wait", "r", "--drive"))
    # It was refused once, and nodes do not try again.
    assert here("advance", "r").code == 0
    assert len(cluster.called("sbatch")) == 1

    monkeypatch.delenv("SLURM_JOB_ID")
    (cluster.folder / "sbatch").write_text(sbatch)
    # Its time is over as soon as it has submitted, and not before.
    clock = SimpleNamespace(monotonic=lambda: 60.0 * len(cluster.called("sbatch")), time=time.time, sleep=time.sleep)
    for module in ("cli.wait", "engine.cluster.drive"):
        monkeypatch.setattr(f"orchestrator.{module}.time", clock)
    golden(here("wait", "r", "--drive", "--timeout", "60"))
    golden(here("status", "r"))
    assert len(cluster.called("sbatch")) == 2
    # With a new cluster it is found out again whether nodes may submit.
    (cluster.folder / "squeue").write_text("#!/bin/sh\nexit 1\n")
    here("submit", "slurm.py", "--project-job", "r")
    assert Store(here.workspace / "orchestrator.db").load("r").login_only is None


def test_on_a_login_node_the_same_refusal_is_final(here, cluster, golden):
    cluster.says("sbatch", err=DENIED, code=1)
    golden(here("submit", "slurm.py", "--project-job", "r"))


def test_a_run_of_this_machine_is_not_driven(here, golden):
    here("run", "study.py", "--project-job", "r")
    golden(here("wait", "r", "--drive"))


def test_slurm_refuses_the_job(here, cluster, golden):
    words = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified\n"
    cluster.says("sbatch", err=words, code=1)
    golden(here("submit", "slurm.py", "--project-job", "r"))
    golden(here("status", "r"))
    (cluster.folder.parent / "submitted").rmdir()
    cluster.accepts()
    study = here.workspace / "slurm.py"
    study.write_text(study.read_text().replace("account=None", 'account="mine"'))
    golden(here("submit", "slurm.py", "--project-job", "r"))
    assert "#SBATCH --account=mine\n" in cluster.submitted(1)


ENDS_SLOWLY = """\
#!{python}
# Accepts the first job and refuses the second; squeue lists the first job for its first {n_looks} calls.
import sys
from pathlib import Path
from tests.cli.programs import squeue_answer
kept = Path({folder!r}) / "kept"
said = kept.read_text().split() if kept.exists() else []
if sys.argv[0].endswith("squeue"):
    state = "COMPLETING" if said.count("looked") < {n_looks} else "CANCELLED"
    print(squeue_answer(("1", state, "None", said[0])), end="")
    kept.write_text(" ".join([*said, "looked"]))
elif said:
    sys.exit("sbatch: error: Memory specification can not be satisfied")
else:
    _script, token, *_digest = (word for word in sys.argv[1:] if not word.startswith("--"))
    kept.write_text(token)
    print(1)
"""


@pytest.fixture
def ends_slowly(here, cluster, monkeypatch):
    """Return a function that makes the cluster refuse the orchestrator job and list the first job n times."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    def ends_slowly(n_looks):
        text = ENDS_SLOWLY.format(python=sys.executable, folder=str(here.workspace), n_looks=n_looks)
        for program in ("sbatch", "squeue"):
            (cluster.folder / program).write_text(text)

    return ends_slowly


def test_slurm_refuses_the_orchestrator_job_and_ends_the_first_job_slowly(here, ends_slowly, golden):
    ends_slowly(8)
    done = here("submit", "slurm.py", "--project-job", "r")
    golden(done)
    golden(here("status", "r"))


def test_slurm_refuses_the_orchestrator_job_and_does_not_end_the_first_job(here, ends_slowly, monkeypatch, golden):
    ends_slowly(1000)
    monkeypatch.setattr("orchestrator.engine.cluster.submit.EXTRA_WAIT", -90.0)
    done = here("submit", "slurm.py", "--project-job", "r")
    golden(done)
    golden(here("status", "r"))
    golden(here("status", "r", "--refresh"))
    # A cancelled job has no tail that would advance the run, and the process that cancelled has had its time.
    monkeypatch.setattr("orchestrator.machine.stalled.ENDING_TIMEOUT", -1.0)
    golden(here("status", "r"))
    refreshed = here("status", "r", "--refresh").out
    assert refreshed.splitlines()[:2] == here("status", "r").out.splitlines()[:2]
    ends_slowly(0)
    done = here("resume", "r")
    golden(done)


def test_a_run_that_another_process_advances(here, cluster, monkeypatch, golden):
    monkeypatch.setenv("TZ", "UTC")
    here("submit", "slurm.py", "--project-job", "r")
    store = Store(here.workspace / "orchestrator.db")
    store.leases.take("r", Holder("login2", "its boot", 4242, "1"), 1e9)
    for command in ("submit slurm.py --project-job r", "resume r", "advance r"):
        done, dry = here(*command.split()), here(*command.split(), "--dry-run")
        golden(done)
        assert (dry.code, dry.out, dry.err) == (done.code, done.out, done.err)


def test_a_study_that_has_changed_is_not_said_of_a_run_that_another_process_advances(here, cluster, capsys):
    here("submit", "slurm.py", "--project-job", "r")
    workspace = Workspace.at(here.workspace)
    Store(workspace.database).leases.take("r", Holder("login2", "its boot", 4242, "1"), 1e9)
    with (here.workspace / "slurm.py").open("a") as study:
        study.write("more = 1\n")
    with pytest.raises(LeaseHeld):
        resume(workspace, "r")
    assert "changed" not in capsys.readouterr().err


def test_a_run_whose_process_was_part_of_a_job_that_has_ended_continues(here, cluster):
    here("submit", "slurm.py", "--project-job", "r")
    store = Store(here.workspace / "orchestrator.db")
    store.leases.take("r", Holder("node7", "its boot", 77, "1", "9"), 1e9)
    dry = here("advance", "r", "--dry-run")
    assert (dry.code, dry.out.splitlines()[0].startswith("Asks SLURM about the jobs of run r")) == (0, True), dry
    assert here("advance", "r").code == 0


def test_a_run_of_this_machine_does_not_continue_on_a_cluster(here, cluster, golden):
    here("run", "slurm.py", "--project-job", "r")
    golden(here("submit", "slurm.py", "--project-job", "r"))


def test_a_run_of_a_cluster_does_not_continue_on_this_machine(here, cluster, golden):
    here("submit", "slurm.py", "--project-job", "r")
    golden(here("run", "slurm.py", "--project-job", "r"))


@pytest.fixture
def ctrl_c_works():
    """A shell without job control starts background commands with Ctrl-C ignored, and child processes inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupts(cluster, program):
    """Let the user press Ctrl-C while a program of SLURM is asked."""
    file = cluster.folder / program
    file.write_text("#!/bin/sh\nkill -INT $PPID\n")
    file.chmod(0o755)


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c_works")
@pytest.mark.parametrize("command", ["submit slurm.py --project-job r", "resume r"])
def test_ctrl_c_while_a_job_is_submitted(cli, cluster, command, golden):
    if command.startswith("resume"):
        cluster.says("sbatch", err=LIMIT, code=1)
        cli("submit", "slurm.py", "--project-job", "r")
    interrupts(cluster, "sbatch")
    golden(cli(*command.split()))
    why = json.loads(cli("status", "r", "--json").out)["run"]["stalled"]
    golden(why)


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c_works")
def test_ctrl_c_while_a_run_is_cancelled(cli, cluster, golden):
    study = cli.workspace / "slurm.py"
    study.write_text(study.read_text().replace("grace=1", "grace=120"))
    cli("submit", "slurm.py", "--project-job", "r")
    interrupts(cluster, "scancel")
    golden(cli("cancel", "r"))
    golden(cli("status", "r"))
    # A run that a resume can't reopen yet does not continue, and its cancel stays requested.
    golden(cli("resume", "r", "--from-step", "nothing"))
    golden(cli("status", "r"))
    # Much later, the status says that no process is cancelling it.
    with session(cli.workspace / "orchestrator.db") as connection:
        connection.execute("UPDATE run SET cancel_requested_at = cancel_requested_at - 300")
        connection.execute("UPDATE event SET at = at - 300")
        connection.execute("UPDATE job SET doubt_since = doubt_since - 300")
    golden(cli("status", "r"))
    cluster.says("scancel")
    golden(cli("cancel", "r"))


def test_a_resume_continues_a_run_whose_cancel_was_not_completed(here, cluster, golden):
    here("submit", "slurm.py", "--project-job", "r")
    here("cancel", "r")
    # The records after a cancel that was killed just before it recorded the end.
    with session(here.workspace / "orchestrator.db") as connection:
        connection.execute("UPDATE run SET state = 'active', ended_at = NULL, reason = NULL")
    golden(here("status", "r"))
    golden(here("resume", "r"))
    golden(here("status", "r"))


def test_slurm_stops_answering(here, cluster, golden):
    here("submit", "slurm.py", "--project-job", "r")
    cluster.says("squeue", err=DOWN, code=1)
    golden(here("status", "r", "--refresh"))
    golden(here("advance", "r"))
    golden(here("resume", "r"))
    golden(here("cancel", "r"))


def test_slurms_programs_are_gone(here, cluster, golden):
    here("submit", "slurm.py", "--project-job", "r")
    for program in cluster.folder.iterdir():
        program.unlink()
    golden(here("advance", "r"))


IMPATIENT = """
import sys
import time
from orchestrator.cli.main import main
from orchestrator.db import guard, opening
guard.WAIT = opening.BUSY_TIMEOUT = 0.2
main()
"""


def test_an_orchestrator_job_waits_while_another_process_locks_the_records(here, cluster):
    assert here("submit", "slurm.py", "--project-job", "r").code == 0
    with session(here.workspace / "orchestrator.db", write=False) as connection:
        [(token,)] = connection.execute("SELECT token FROM job WHERE role = 'orchestrator'").fetchall()
    words = ["advance", "r", "--job", token, "--patience", "3", "--rootdir", "."]
    with (here.workspace / "orchestrator.db.guard").open() as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        job = subprocess.Popen(
            [sys.executable, "-c", IMPATIENT, *words],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        said = job.stdout.readline()
        assert "polls again" in said, said
    said += job.communicate()[0]
    assert job.returncode == 0, said
    assert f"Orchestrator job {token} is done." in said
    assert "job 1: the scheduler does not list it" in said
