"""What `submit`, and the verbs on a run of a cluster, print: the whole text, in a terminal of 80 columns."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from orchestrator.db.connection import session
from orchestrator.db.lease import Holder
from orchestrator.db.store import Store

LIMIT = (
    "sbatch: error: AssocMaxSubmitJobLimit\n"
    "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size "
    "and/or time limits)\n"
)
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"


def shown(done, cli):
    """Give exit code and what was printed, with the workspace's name taken out."""
    text = f"{done.out}{done.err}".replace(str(cli.workspace), "{workspace}")
    assert "Traceback" not in text
    return done.code, text


@pytest.fixture
def cluster(programs):
    programs.accepts()
    return programs


# --- what goes well ------------------------------------------------------------------------------


def test_submit_prints_the_run_the_job_and_what_to_type(here, cluster):
    done = here("submit", "slurm.py", "--project-job", "r")
    assert done.out == f"{here.workspace}/r\nWatch it: orchestrator status r\n"
    assert done.err == "Run r: nothing is job 1 (queued).\n"
    assert done.code == 0


def test_resume_of_a_run_that_goes_on_prints_the_same(here, cluster):
    here("submit", "slurm.py", "--project-job", "r")
    assert here("cancel", "r").out == "Run r was cancelled.\n"
    done = here("resume", "r", "--db", "orchestrator.db")
    assert done.out == f"{here.workspace}/r\nWatch it: orchestrator status r --db orchestrator.db\n"
    assert done.err == "Run r: nothing is job 3 (queued).\n"


def test_python_says_what_to_type_too(here, cluster):
    (here.workspace / "go.py").write_text(
        "from slurm import cluster, pipeline\n"
        "print(pipeline.run(mode='slurm', cluster=cluster, project_job='r', rootdir='my runs'))\n"
    )
    done = here.python("go.py")
    assert done.out == "r\n"
    assert done.err == "Run r: nothing is job 1 (queued).\nWatch it: orchestrator status r --rootdir 'my runs'\n"


# --- what does not -------------------------------------------------------------------------------


def test_no_slurm_here(here, programs):
    assert shown(here("submit", "slurm.py"), here) == (
        2,
        """\
Error: sbatch is not on PATH: this machine is no login node of a SLURM cluster.
Next: Type it on one, or run here: mode="local", or: orchestrator run STUDY.py
""",
    )
    assert not (here.workspace / "orchestrator.db").exists()


def test_no_cluster_in_the_study(here, cluster):
    for command in ("submit", "scripts"):
        assert shown(here(command, "study.py"), here) == (
            2,
            """\
Error: study.py holds no SlurmCluster named 'cluster'; its clusters: none.
Next: Define cluster = SlurmCluster(partition=..., account=...) in it, or give
--cluster FILE.yaml
""",
        )


def test_a_cluster_that_can_not_be(here, cluster):
    study = (here.workspace / "slurm.py").read_text()
    wrong = study.replace("account=None", 'account=None, wake="never", mem_per_cpu="lots"')
    (here.workspace / "slurm.py").write_text(wrong)
    for command in ("submit", "scripts"):
        assert shown(here(command, "slurm.py"), here) == (
            2,
            """\
Error: The cluster can't be used: 2 things must change.
  - mem_per_cpu='lots'; use the most memory per CPU, such as 3968M, or None
  - wake='never'; use 'job' or 'both'
Next: Nothing was written.
""",
        )
    assert not cluster.called("sbatch")


def test_a_step_with_the_name_of_the_runs_own_jobs(here, cluster):
    study = (here.workspace / "slurm.py").read_text()
    (here.workspace / "slurm.py").write_text(study.replace("Step(nothing)", 'Step(nothing, name="orchestrator")'))
    assert shown(here("submit", "slurm.py"), here) == (
        2,
        """\
Error: On a cluster, no step can be named 'orchestrator': that is the name of
the run's own jobs.
Next: Give the step another name.
""",
    )


def test_a_key_that_is_no_name_of_a_folder(here, cluster):
    assert shown(here("submit", "slurm.py", "--project-job", "../x"), here) == (
        2,
        """\
Error: project_job='../x' can't be the name of a run's folder.
Next: Use letters, digits and . _ - only; begin with a letter or digit; at most
128 characters.
""",
    )


def test_a_label_that_is_none(here, cluster):
    assert shown(here("scripts", "slurm.py", "create"), here) == (
        2,
        "Error: There is no script 'create'.\nNext: There are: nothing, orchestrator\n",
    )


def test_slurm_does_not_answer(here, programs):
    for program in ("sbatch", "squeue", "scancel", "scontrol"):
        programs.says(program, err=DOWN, code=1)
    assert shown(here("submit", "slurm.py", "--project-job", "r"), here) == (
        75,
        """\
Error: scontrol failed: slurm_load_jobs error: Unable to contact slurm
controller (connect failure)
Next: Nothing was changed. Try again when it answers; `squeue --me` shows
whether it does.
""",
    )
    assert not (here.workspace / "orchestrator.db").exists()


def test_slurm_takes_no_job_now(here, cluster):
    cluster.says("sbatch", err=LIMIT, code=1)
    assert shown(here("submit", "slurm.py", "--project-job", "r"), here) == (
        75,
        """\
Error: Run r is recorded, but its next job is not in the queue: sbatch:
AssocMaxSubmitJobLimit; Batch job submission failed: Job violates accounting/QOS
policy (job submit limit, user's size and/or time limits).
Next: Go on when that has passed: orchestrator resume r
""",
    )
    status = here("status", "r").out
    assert status.startswith("Run r (quiet): stalled\n  its next job is not in the queue: sbatch: AssocMax")
    assert status.endswith("\nTo go on from nothing: orchestrator resume r\n")


def test_a_job_that_was_refused_says_so_while_it_is_tried_again(here, cluster):
    cluster.says("sbatch", err=LIMIT, code=1)
    here("submit", "slurm.py", "--project-job", "r")
    sbatch, seen = cluster.folder / "sbatch", here.workspace / "seen"
    look = f"{sys.executable} -m orchestrator status r --db {here.workspace}/orchestrator.db"
    sbatch.write_text(sbatch.read_text().replace("printf", f"{look} > {seen}\nprintf", 1))

    here("resume", "r")

    now = r"^      job \w{10} submitting \(tried again after: sbatch: AssocMaxSubmitJob\.\.\.$"
    assert re.search(now, seen.read_text(), re.M)
    assert "not in the queue: sbatch: AssocMaxSubmitJobLimit" in here("status", "r").out


def test_slurm_may_have_taken_the_job(here, cluster):
    cluster.says("sbatch", err="sbatch: error: Batch job submission failed: Socket timed out\n", code=1)
    assert shown(here("submit", "slurm.py", "--project-job", "r"), here) == (
        75,
        """\
Error: Run r is recorded, but whether its next job was submitted is not known:
sbatch: Batch job submission failed: Socket timed out.
Next: Go on when that has passed: orchestrator resume r
""",
    )
    assert "Run r (quiet): stalled\n  whether its next job was submitted is not known" in here("status", "r").out


def test_slurm_refuses_the_job(here, cluster):
    words = "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified\n"
    cluster.says("sbatch", err=words, code=1)
    assert shown(here("submit", "slurm.py", "--project-job", "r"), here) == (
        1,
        """\
Error: Run r failed: step nothing failed: sbatch: Batch job submission failed:
Invalid account or account/partition combination specified.
Next: Once that is mended: orchestrator resume r
With what the study says now:
  orchestrator submit {workspace}/slurm.py --project-job r
""",
    )
    status = here("status", "r").out.replace(str(here.workspace), "{workspace}")
    assert status.endswith(
        """
To go on from nothing, once what failed is mended: orchestrator resume r
If you mended its resources or the cluster for that:
  orchestrator submit {workspace}/slurm.py --project-job r
"""
    )
    (cluster.folder.parent / "submitted").rmdir()
    cluster.accepts()
    study = here.workspace / "slurm.py"
    study.write_text(study.read_text().replace("account=None", 'account="mine"'))
    assert here("submit", "slurm.py", "--project-job", "r").err == "Run r: nothing is job 1 (queued).\n"
    assert "#SBATCH --account=mine\n" in cluster.submitted(1)


ENDS_SLOWLY = """\
#!{python}
# Takes the first job and refuses the second; the first is still there when squeue has been asked {n_looks} times.
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
    kept.write_text(sys.argv[-1])
    print(1)
"""


@pytest.fixture
def ends_slowly(here, cluster, monkeypatch):
    """Give what lets the cluster refuse the orchestrator job, and list the first job for so many looks."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))

    def ends_slowly(n_looks):
        text = ENDS_SLOWLY.format(python=sys.executable, folder=str(here.workspace), n_looks=n_looks)
        for program in ("sbatch", "squeue"):
            (cluster.folder / program).write_text(text)

    return ends_slowly


def test_slurm_refuses_the_orchestrator_job_and_ends_the_first_job_slowly(here, ends_slowly):
    ends_slowly(4)
    done = here("submit", "slurm.py", "--project-job", "r")
    why = "its orchestrator job was refused: sbatch: Memory specification can not be satisfied"
    assert shown(done, here) == (
        1,
        f"""\
its jobs are being ended: {why}; looks again in 1 s
Error: Run r failed: its orchestrator job was refused: sbatch: Memory
specification can not be satisfied.
Next: Once that is mended: orchestrator resume r
With what the study says now:
  orchestrator submit {{workspace}}/slurm.py --project-job r
""",
    )
    assert here("status", "r").out.startswith("Run r (quiet): failed\n")


def test_slurm_refuses_the_orchestrator_job_and_does_not_end_the_first_job(here, ends_slowly, monkeypatch):
    ends_slowly(1000)
    monkeypatch.setattr("orchestrator.engine.cluster.submit.LONGER", -90.0)
    done = here("submit", "slurm.py", "--project-job", "r")
    assert done.code == 75
    assert done.err.endswith(
        """\
Error: Run r is recorded, but its jobs are being ended: its orchestrator job was
refused: sbatch: Memory specification can not be satisfied.
Next: Go on when that has passed: orchestrator resume r
"""
    )
    to_type = """\
  it has to fail: its orchestrator job was refused: sbatch: Memory specification
  can not be satisfied
  to see it end: orchestrator advance r
"""
    assert here("status", "r").out.startswith("Run r (quiet): active\n")
    assert to_type in here("status", "r").out
    refreshed = here("status", "r", "--refresh").out
    assert to_type in refreshed
    assert "No orchestrator job waits" not in refreshed
    # What was cancelled has no tail that would go on, and whoever was to see it end has had the time.
    monkeypatch.setattr("orchestrator.db.stalled.ENDS_WITHIN", -1.0)
    later = here("status", "r").out
    assert later.startswith("Run r (quiet): stalled\n  nobody waits for the end of job 1\n")
    assert to_type in later
    ends_slowly(0)
    done = here("resume", "r")
    assert (done.code, done.err.splitlines()[0]) == (
        1,
        "Error: Run r failed: its orchestrator job was refused: sbatch: Memory",
    )


def test_a_run_that_somebody_else_advances(here, cluster, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    here("submit", "slurm.py", "--project-job", "r")
    store = Store(here.workspace / "orchestrator.db")
    store.take_lease("r", Holder("login2", "its boot", 4242, "1"), 1e9)
    for command in ("submit slurm.py --project-job r", "resume r", "advance r"):
        assert shown(here(*command.split()), here) == (
            75,
            """\
Error: Run r is being advanced by process 4242 on login2, since 01:46:40.
Next: Let it go on, and watch it: orchestrator status r
""",
        )


def test_a_run_of_this_machine_does_not_go_on_on_a_cluster(here, cluster):
    here("run", "slurm.py", "--project-job", "r")
    assert shown(here("submit", "slurm.py", "--project-job", "r"), here) == (
        2,
        """\
Error: Run r was begun with mode="local"; it can't go on with mode="slurm".
Next: Go on as it was begun: orchestrator resume r
""",
    )


def test_a_run_of_a_cluster_does_not_go_on_on_this_machine(here, cluster):
    here("submit", "slurm.py", "--project-job", "r")
    assert shown(here("run", "slurm.py", "--project-job", "r"), here) == (
        2,
        """\
Error: Run r was begun with mode="slurm"; it can't go on with mode="local".
Next: Go on as it was begun: orchestrator resume r
""",
    )


def interrupts(cluster, program):
    """Let the user press Ctrl-C while a program of SLURM is asked."""
    file = cluster.folder / program
    file.write_text("#!/bin/sh\nkill -INT $PPID\n")
    file.chmod(0o755)


@pytest.mark.parametrize("command", ["submit slurm.py --project-job r", "resume r"])
def test_ctrl_c_while_a_job_is_submitted(cli, cluster, command):
    if command.startswith("resume"):
        cluster.says("sbatch", err=LIMIT, code=1)
        cli("submit", "slurm.py", "--project-job", "r")
    interrupts(cluster, "sbatch")
    assert shown(cli(*command.split()), cli) == (
        1,
        """\
Error: Run r is recorded; whether it goes on by itself was not seen.
Next: See how it stands: orchestrator status r --refresh
""",
    )
    why = json.loads(cli("status", "r", "--json").out)["run"]["stalled"]
    died = "whether its next job was submitted is not known: the process that submitted it died"
    again = "; tried again after: sbatch: AssocMaxSubmitJobLimit" if command.startswith("resume") else ""
    assert why.startswith(died + again)
    assert bool(again) == (why != died)


def test_ctrl_c_while_a_run_is_cancelled(cli, cluster):
    cli("submit", "slurm.py", "--project-job", "r")
    interrupts(cluster, "scancel")
    assert shown(cli("cancel", "r"), cli) == (
        1,
        """\
Error: Run r was asked to stop, but its end was not seen.
Next: To see it end: orchestrator cancel r
""",
    )
    assert "  asked to stop; to see it end: orchestrator cancel r\n" in cli("status", "r").out
    # What a resume can't put back yet is not taken up again, and stays asked to stop.
    assert "still has live jobs" in cli("resume", "r", "--from-step", "nothing").err
    assert "  asked to stop; to see it end: orchestrator cancel r\n" in cli("status", "r").out
    # Whoever asks much later hears that nobody is at it.
    with session(cli.workspace / "orchestrator.db") as connection:
        connection.execute("UPDATE run SET cancel_requested_at = cancel_requested_at - 300")
        connection.execute("UPDATE event SET at = at - 300")
    assert "Run r (quiet): stalled\n" in cli("status", "r").out
    cluster.says("scancel")
    assert cli("cancel", "r").out == "Run r was cancelled.\n"


def test_a_resume_goes_on_with_what_a_cancel_stopped_but_did_not_end(here, cluster):
    here("submit", "slurm.py", "--project-job", "r")
    here("cancel", "r")
    # As the records are where the cancel was killed just before it wrote the end.
    with session(here.workspace / "orchestrator.db") as connection:
        connection.execute("UPDATE run SET state = 'active', ended_at = NULL, reason = NULL")
    status = here("status", "r").out
    assert "  asked to stop; to see it end: orchestrator cancel r\n" in status
    assert status.endswith("\nTo go on from nothing: orchestrator resume r\n")
    assert here("resume", "r").err == "Run r: nothing is job 3 (queued).\n"
    assert "asked to stop" not in here("status", "r").out


def test_slurm_answers_no_more(here, cluster):
    here("submit", "slurm.py", "--project-job", "r")
    cluster.says("squeue", err=DOWN, code=1)
    error = """\
Error: squeue failed: slurm_load_jobs error: Unable to contact slurm controller
(connect failure)
"""
    nothing = "Next: Nothing was changed. Try again when it answers; `squeue --me` shows\nwhether it does.\n"
    done = here("status", "r", "--refresh")
    assert (done.code, done.err) == (75, error + nothing)
    assert done.out.startswith("Run r (quiet): active\n")
    assert shown(here("advance", "r"), here) == (75, error + nothing)
    done = shown(here("resume", "r"), here)
    assert done == (75, error + "Next: Go on when it answers: orchestrator resume r\n")
    done = shown(here("cancel", "r"), here)
    kept = "Next: Run r was asked to stop, and ends when SLURM answers. To see it end:\n  orchestrator cancel r\n"
    assert done == (75, error + kept)


def test_slurms_programs_are_gone(here, cluster):
    here("submit", "slurm.py", "--project-job", "r")
    for program in cluster.folder.iterdir():
        program.unlink()
    assert shown(here("advance", "r"), here) == (
        75,
        """\
Error: squeue can't be started on this machine: No such file or directory.
Next: Type it on a login node of the cluster, or load the module that puts
SLURM's programs on PATH.
""",
    )
