"""Commands that change a run: what they say first, what they ask, and their exit codes."""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import sys

import pytest

from orchestrator import ExperimentData
from orchestrator.db.store import Store
from orchestrator.engine.cluster.session import config_of

pytestmark = pytest.mark.slow

STUDY = """
from pathlib import Path
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers
@datagenerator(output_names="y")
def evaluate(x):
    if x in (3, 4) and not Path("licence").exists():
        raise ValueError("no licence")
    return x
def report(project_dir):
    print("reported")
pipeline = Pipeline("p", [Step(store_numbers(6)), Step(evaluate, max_failed=LIMIT), Step(report)])
"""


@pytest.fixture
def study(here):
    def write(limit):
        (here.workspace / "study.py").write_text(STUDY.replace("LIMIT", str(limit)))

    write(2)
    return write


def test_a_run_with_failures_within_the_limits_ends_with_3_and_names_retry(here, study, golden):
    golden(here("run", "study.py", "--project-job", "r"))
    assert here("wait", "r").code == 3
    assert here("resume", "r").code == 3
    dry = here("retry", "r", "--dry-run")
    golden(dry)
    assert here("logs", "r", "report").out == "reported\n"
    (here.workspace / "licence").touch()
    golden(here("retry", "r"))
    assert here("wait", "r").code == 0
    assert here("logs", "r", "report").out == "reported\nreported\n"


def test_a_run_with_too_many_failures_ends_with_1_and_names_accept(here, study, golden):
    study(1)
    golden(here("run", "study.py", "--project-job", "r"))
    assert here("wait", "r").code == 1
    golden(here("status", "r").out.partition("\n\n")[2], exact=False)
    golden(here("resume", "r", "--accept-failed", "--dry-run"))
    golden(here("resume", "r", "--accept-failed"))
    assert here("wait", "r").code == 3


def test_a_repetition_of_finished_work_is_asked_on_a_terminal_only(cli, study):
    cli("run", "study.py", "--project-job", "r")
    assert cli("resume", "r", "--from-step", "evaluate").err.count("Runs again: evaluate, report.") == 1

    def on_terminal(*words, answer=b""):
        pid, terminal = pty.fork()
        if pid == 0:
            os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
            os.execv(sys.executable, [sys.executable, "-m", "orchestrator.cli.main", *words])
        os.write(terminal, answer)
        shown = b""
        try:
            while content := os.read(terminal, 4096):
                shown += content
        except OSError:
            pass
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()

    code, shown = on_terminal("resume", "r", "--from-step", "report", answer=b"n\n")
    assert (code, "Continue?" in shown, "Nothing was changed" in shown) == (0, True, True)
    code, shown = on_terminal("resume", "r", "--from-step", "report", "--yes")
    assert (code, "Continue?" in shown) == (3, False)


LOOP = """
from orchestrator import Loop, Pipeline, Step
def look(project_dir, iteration):
    print("look", iteration)
def report(project_dir):
    print("reported")
pipeline = Pipeline("p", [Loop(N, [Step(look)]), Step(report)])
"""


def test_a_longer_loop_is_announced_before_it_runs(here, golden):
    study = here.workspace / "study.py"
    study.write_text(LOOP.replace("N", "2"))
    here("run", "study.py", "--project-job", "r")
    study.write_text(LOOP.replace("N", "4"))
    golden(here("run", "study.py", "--project-job", "r"))
    golden(here("resume", "r", "--update", "study.py", "--dry-run"))
    golden(here("resume", "r", "--update", "study.py"))
    study.write_text(LOOP.replace("N", "1"))
    golden(here("resume", "r", "--update", "study.py", "--dry-run"))
    # With other code, and the same steps: said, and not used.
    study.write_text(LOOP.replace("N", "4").replace("reported", "reported again"))
    golden(here("run", "study.py", "--project-job", "r"))


def test_a_resume_after_the_loop_has_become_longer_offers_the_command_that_continues_with_it(here):
    study = here.workspace / "study.py"
    study.write_text(LOOP.replace("N", "2"))
    here("run", "study.py", "--project-job", "r")
    study.write_text(LOOP.replace("N", "3"))
    offered = f"orchestrator resume r --update {study}"
    assert offered in here("resume", "r").err.splitlines()[1]
    assert "look@2" in here(*offered.split()[1:], "--dry-run").out


UNTIL = """
from orchestrator import Domain, ExperimentData, Loop, Pipeline, Step
def look(project_dir):
    domain = Domain()
    domain.add_float("x")
    ExperimentData(domain=domain, input_data=[{"x": 1.0}]).store(project_dir)
def enough(data):
    return True
pipeline = Pipeline("p", [Loop(3, [Step(look)], until=enough)])
"""


def test_a_fork_is_not_offered_at_the_until_that_ended_the_loop(here):
    (here.workspace / "study.py").write_text(UNTIL)
    assert here("run", "study.py", "--project-job", "r").code == 0
    offered = "orchestrator fork r --from look@0"
    assert offered in here("fork", "r").err
    assert "New run r-2: begins with look@0" in here(*offered.split()[1:], "--dry-run").out


def test_a_finished_run_keeps_the_code_with_which_it_was_made(here):
    study = here.workspace / "study.py"
    study.write_text(LOOP.replace("N", "1"))
    here("run", "study.py", "--project-job", "r")
    assert "Attention" not in here("resume", "r", "--update", "study.py").err
    study.write_text(LOOP.replace("N", "1").replace("reported", "reported again"))
    for _ in range(2):
        said = here("resume", "r", "--update", "study.py").err
        assert ("Attention: run r has succeeded with code that differs" in said, "Nothing to do" in said) == (
            True,
            True,
        )
    # After it was used, it is the code of the run.
    study.write_text(LOOP.replace("N", "2").replace("reported", "reported again"))
    assert "Runs again: report." in here("resume", "r", "--update", "study.py").err
    assert "Attention" not in here("resume", "r", "--update", "study.py").err


@pytest.mark.parametrize("words", [("run", "study.py", "--project-job", "r"), ("resume", "r", "--update", "study.py")])
def test_an_edited_study_of_a_run_that_failed_is_said_before_it_runs(here, words):
    study = here.workspace / "study.py"
    study.write_text(LOOP.replace("N", "2").replace('print("reported")', "1 / 0"))
    assert here("run", "study.py", "--project-job", "r").code == 1
    assert "Attention" not in here(*words, "--dry-run").out
    assert "has changed" not in here("resume", "r", "--dry-run").out
    study.write_text(LOOP.replace("N", "2"))
    # A resume without --update uses the stored code, and a dry run says that.
    dry = here("resume", "r", "--dry-run").out
    assert ("study.py has changed" in dry, "--update" in dry, "Runs again: report." in dry) == (True, True, True)
    for said in (here(*words, "--dry-run").out, here(*words).err):
        assert said.index("Attention: the study has changed.") < said.index("Runs again: report.")
    assert here("status", "r", "--json").out.count("succeeded") > 1


def test_a_dry_run_of_a_run_that_has_succeeded_says_that_nothing_runs(here):
    study = here.workspace / "study.py"
    study.write_text(LOOP.replace("N", "2"))
    assert here("run", "study.py", "--project-job", "r").code == 0
    verbs = [("run", "study.py", "--project-job", "r"), ("resume", "r")]
    for words in verbs:
        dry = here(*words, "--dry-run")
        said = "Nothing to do: run r has succeeded.\nNothing was changed (--dry-run).\n"
        assert (dry.code, dry.out, dry.err) == (0, said, ""), dry
    study.write_text(LOOP.replace("N", "2").replace("reported", "reported again"))
    for words in verbs:
        dry = here(*words, "--dry-run")
        flat = " ".join(dry.out.split())
        assert (dry.code, "the run continues" in flat, "Nothing runs again." in flat) == (0, False, True), dry
        assert flat.endswith("Nothing to do: run r has succeeded. Nothing was changed (--dry-run).")
        # The same as without --dry-run.
        assert flat.removesuffix(" Nothing was changed (--dry-run).") == " ".join(here(*words).err.split())


def test_a_dry_run_of_a_run_that_has_ended_with_failures_ends_with_0(here, study):
    study(2)
    words = ("run", "study.py", "--project-job", "r")
    assert here(*words).code == 3
    dry = here(*words, "--dry-run")
    assert (dry.code, dry.out.splitlines()[-1]) == (0, "Nothing was changed (--dry-run)."), dry
    assert here(*words).code == 3


def test_a_dry_run_submits_no_probe(here, programs):
    programs.accepts()
    words = ("submit", "slurm.py", "--project-job", "r", "--probe", "--dry-run")
    assert here("submit", "slurm.py", "--project-job", "r").code == 0
    here("cancel", "r")
    n_before = len(programs.called("sbatch"))
    assert here(*words).code == 0
    assert len(programs.called("sbatch")) == n_before


def test_update_takes_a_changed_cluster(here, programs):
    programs.accepts()
    here("submit", "slurm.py", "--project-job", "r")
    here("cancel", "r")
    study = here.workspace / "slurm.py"
    study.write_text(study.read_text().replace("partition=None", "partition='night'"))
    done = here("resume", "r", "--update", "slurm.py")
    assert done.code == 0, done.err
    assert "'night'" in str(Store(here.workspace / "orchestrator.db").record("r").cluster)


def test_retry_with_update_takes_a_changed_cluster(here, programs):
    programs.accepts()
    study = here.workspace / "slurm.py"
    here("submit", "slurm.py", "--project-job", "r")
    store = Store(here.workspace / "orchestrator.db")
    with sqlite3.connect(store.path) as connection:  # as after a run whose experiments have failed
        connection.execute("UPDATE job SET state = 'succeeded', started_at = 1, ended_at = 1")
        connection.execute("UPDATE step_run SET state = 'succeeded', kind = 'batch', n_failed = 2, ended_at = 1")
        connection.execute("UPDATE run SET state = 'succeeded', ended_at = 1")
    study.write_text(study.read_text().replace("partition=None", "partition='night'"))
    done = here("retry", "r", "--update", "slurm.py")
    assert done.code == 0, done.err
    assert "'night'" in str(store.record("r").cluster)


def test_a_step_that_waits_in_the_queue_can_be_forked_and_the_next_one_not(here, programs):
    programs.accepts()
    (here.workspace / "two.py").write_text(
        (here.workspace / "slurm.py")
        .read_text()
        .replace("[Step(nothing)]", "[Step(nothing), Step(nothing, name='report')]")
    )
    here("submit", "two.py", "--project-job", "r")
    for words in ((), ("--from", "nothing")):
        assert "New run r-2: begins with nothing, as it is in run r." in here("fork", "r", *words, "--dry-run").out
    for words in (("fork", "r", "--from", "report"), ("resume", "r", "--from-step", "report")):
        refused = here(*words)
        assert (refused.code, "has not reached report" in refused.err) == (2, True)
    # The task has begun, and the records do not know it yet.
    [job] = (here.workspace / "r" / ".orchestrator" / "jobs").iterdir()
    (job / "claim").write_text("x")
    assert "as it was when nothing began is not kept any more" in here("fork", "r", "--dry-run").err


def test_a_step_that_was_cancelled_in_the_queue_has_not_begun(here, programs):
    programs.accepts()
    here("submit", "slurm.py", "--project-job", "r")
    assert here("cancel", "r").code == 0
    back = ("resume", "r", "--from-step", "nothing", "--table-as-then")
    for _ in range(2):
        for words in (("fork", "r"), ("fork", "r", "--from", "nothing"), back):
            done = here(*words, "--dry-run")
            assert (done.code, done.err) == (0, ""), done
        assert here("resume", "r").code == 0
        assert here("cancel", "r").code == 0


def test_a_dry_run_of_a_run_that_was_stopped_says_with_what_it_continues(here):
    (here.workspace / "stops.py").write_text(
        LOOP.replace("N", "1").replace('print("reported")', "raise KeyboardInterrupt")
    )
    assert here("run", "stops.py", "--project-job", "r").code == 130
    for words in (("run", "stops.py", "--project-job", "r"), ("resume", "r")):
        assert here(*words, "--dry-run").out.startswith("Continues run r with report.\n")


def test_a_held_run_that_is_advanced_says_that_it_is_held(here, programs):
    programs.accepts()
    here("submit", "slurm.py", "--project-job", "r")
    here("hold", "r")
    assert "It is held: nothing new is started." in here("advance", "r").err


def test_a_killed_run_is_held_without_waiting_for_a_step(cli):
    killed = LOOP.replace("N", "1").replace('print("reported")', "__import__('os').kill(__import__('os').getpid(), 9)")
    (cli.workspace / "killed.py").write_text(killed)
    assert cli("run", "killed.py", "--project-job", "r").code == -9
    said = cli("hold", "r").err
    assert ("No process works on step report now." in said, "first runs to its end" in said) == (True, False)


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(here, golden):
    study = here.workspace / "study.py"
    study.write_text(LOOP.replace("N", "2"))
    golden(here("run", "study.py", "--project-job", "r", "--dry-run"))
    assert not (here.workspace / "orchestrator.db").exists()
    here("run", "study.py", "--project-job", "r")
    golden(here("run", "study.py", "--project-job", "r", "--from-step", "report", "--dry-run"))
    golden(here("run", "study.py", "--project-job", "r", "--from-step", "report"))
    golden(here("cancel", "r", "--dry-run"))


def test_a_dry_run_on_a_cluster_submits_nothing(here, programs, golden):
    programs.accepts()
    golden(here("submit", "slurm.py", "--project-job", "r", "--dry-run"))
    assert not (here.workspace / "orchestrator.db").exists()
    here("submit", "slurm.py", "--project-job", "r")
    golden(here("cancel", "r", "--dry-run"))
    assert here("cancel", "r", "--yes").out == "Run r was cancelled.\n"


HOLDS_ITSELF = """
import time
from orchestrator import Pipeline, Step
from orchestrator.db.store import Store
def first(project_dir):
    Store(project_dir.parent / "orchestrator.db").set_held("r", time.time(), is_held=True)
def second(project_dir):
    pass
pipeline = Pipeline("p", [Step(first), Step(second)])
"""


def test_the_end_of_a_released_run_is_printed_once(here, golden):
    (here.workspace / "study.py").write_text(HOLDS_ITSELF)
    here("run", "study.py", "--project-job", "r")
    golden(here("release", "r"))


def test_an_ended_run_is_neither_held_nor_released_and_has_no_step_to_cancel(here, golden):
    here("run", "study.py", "--project-job", "r")
    for words in (["hold", "r"], ["hold", "r", "--dry-run"], ["release", "r"], ["release", "r", "--dry-run"]):
        golden(here(*words))
    golden(here("cancel", "r", "--step", "nothing"))


def test_a_run_that_is_held_already_is_not_called_ended(here, programs):
    programs.accepts()
    here("submit", "slurm.py", "--project-job", "r")
    here("hold", "r")
    tried = here("hold", "r", "--dry-run").out
    assert tried.startswith("Nothing to do: run r is held already. To continue it: orchestrator release r\n")


def test_a_job_on_a_cluster_is_held_and_its_step_cancelled_only_when_that_is_said(here, programs, golden):
    programs.accepts()
    here("submit", "slurm.py", "--project-job", "r")
    golden(here("hold", "r", "--dry-run"))
    golden(here("cancel", "r", "--step", "nothing", "--dry-run"))
    assert "active" in here("list").out


def test_resources_are_changed_only_if_they_are_valid_and_the_run_is_on_a_cluster(here, programs, golden):
    programs.accepts()
    here("run", "study.py", "--project-job", "local")
    here("submit", "slurm.py", "--project-job", "r")
    golden(here("set", "local", "nothing", "--mem", "8G"))
    golden(here("set", "r", "nothing", "--mem", "8G", "--time", "2:00:00", "--dry-run"))
    for words in (
        ["nothing"],
        ["other", "--mem", "8G"],
        ["nothing@3", "--mem", "8G"],
        ["nothing", "--mem", "much"],
        ["nothing", "--time", "soon"],
        ["nothing", "--sbatch", "gres"],
        ["nothing", "--sbatch", "array=3"],
        ["nothing", "--mem", "4G"],
    ):
        golden(here("set", "r", *words))
    assert Store(here.workspace / "orchestrator.db").load("r").plan.slot(0).step.resources["mem"] == "4G"
    golden(here("set", "r", "nothing", "--mem", "8G", "--sbatch", "gres=gpu:1"))
    resources = Store(here.workspace / "orchestrator.db").load("r").plan.slot(0).step.resources
    assert (resources["mem"], resources["extra_sbatch"]) == ("8G", {"gres": "gpu:1"})
    golden(here("set", "r", "nothing", "--sbatch", "mem=9G"))
    golden(here("set", "r", "nothing", "--mem", "10G"))


BATCH_ON_CLUSTER = """
from orchestrator import SlurmCluster
cluster = SlurmCluster(partition=None, account=None)
from batch import pipeline
"""


def test_each_field_that_is_set_reaches_the_script(here, programs):
    programs.accepts()
    (here.workspace / "array.py").write_text(BATCH_ON_CLUSTER)
    here("submit", "array.py", "--project-job", "r")
    store = Store(here.workspace / "orchestrator.db")

    def resources():
        return next(step.resources for step in store.load("r").plan.steps() if step.name == "evaluate")

    for option, value in (
        ("time", "1-12"),
        ("mem", "7G"),
        ("cpus-per-task", "3"),
        ("nodes", "2"),
        ("ntasks", "2"),
        ("mem-per-cpu", "2G"),
    ):
        assert here("set", "r", "evaluate", f"--{option}", value).code == 0
        [name] = [name for name in config_of(store.record("r")).scripts if name.startswith("evaluate.")]
        [script] = (here.workspace / "r").rglob(name)
        assert f"#SBATCH --{option}={value}\n" in script.read_text()
    assert here("set", "r", "evaluate", "--max-concurrent", "5").code == 0
    assert resources()["max_concurrent"] == 5


NESTED = """
from orchestrator import Loop, Pipeline, SlurmCluster, Step
from tests.studies import nothing
cluster = SlurmCluster(partition=None, account=None, grace=1)
inner = Loop(2, [Step(nothing, name="deep")])
pipeline = Pipeline("p", [
    Step(nothing, name="begin"),
    Step(nothing, name="twice"),
    Loop(2, [Step(nothing, name="propose"), Step(nothing, name="twice"), Step(nothing, name="solve"), inner]),
])
"""


def test_a_step_in_a_loop_gets_other_resources_and_all_steps_of_a_name_do(here, programs):
    programs.accepts()
    (here.workspace / "loop.py").write_text(NESTED)
    here("submit", "loop.py", "--project-job", "r")
    for name in ("solve", "deep", "twice"):
        assert here("set", "r", name, "--mem", "8G").code == 0
    steps = Store(here.workspace / "orchestrator.db").load("r").plan.steps()
    memory = [(step.name, step.resources["mem"]) for step in steps]
    assert memory == [
        ("begin", "4G"), ("twice", "8G"), ("propose", "4G"), ("twice", "8G"), ("solve", "8G"), ("deep", "8G"),
    ]  # fmt: skip


def test_set_names_the_command_for_the_orchestrator_jobs(here, programs, golden):
    programs.accepts()
    here("submit", "slurm.py", "--project-job", "r")
    golden(here("set", "r", "nothing", "--sbatch", "partition=long", "--sbatch", "gres=gpu:1"))
    named = ["set", "r", "orchestrator", "--sbatch", "partition=long"]
    golden(here(*named))
    golden(here(*named))
    golden(here("set", "r", "orchestrator", "--time", "soon"))
    store = Store(here.workspace / "orchestrator.db")
    config = config_of(store.record("r"))
    assert config.orchestrator["extra_sbatch"] == {"partition": "long"}
    [name] = [name for name in config.scripts if name.startswith("orchestrator.")]
    [script] = (here.workspace / "r").rglob(name)
    assert "#SBATCH --partition=long\n" in script.read_text()


GROWING = """
from orchestrator import Block, ExperimentData, Loop, Pipeline, Step, datagenerator
from tests.studies import store_numbers
class Grow(Block):
    def call(self, data, iteration):
        return data + ExperimentData(domain=data.domain, input_data=[{"x": 10.0 + iteration}])
@datagenerator(output_names="y")
def solve(x):
    return FACTOR * x
loop = Loop(3, [Step(Grow(), name="grow"), Step(solve)])
pipeline = Pipeline("growing", [Step(store_numbers(2), name="create"), loop])
"""


def test_a_run_is_forked_step_a_step_and_its_kept_tables_are_shown(here, golden):
    study = here.workspace / "study.py"
    study.write_text(GROWING.replace("FACTOR", "1"))
    here("run", "study.py", "--project-job", "r")
    golden.replace(here.workspace, "<workspace>")
    golden(here("fork", "r", "--dry-run"))
    golden(here("fork", "r", "--from", "grow@1", "--dry-run"))
    assert not (here.workspace / "r-2").exists()
    golden(here("fork", "r", "--from", "grow@1"))
    golden(here("status", "r-2"))
    shown = here("snapshots", "r")
    assert [line.split()[0] for line in shown.out.splitlines()[1:-1]] == [
        *("create", "grow@0", "solve@0", "grow@1", "solve@1", "grow@2", "solve@2")
    ]
    assert shown.out.splitlines()[-1].endswith("Rule: the last 50.")
    golden(here("snapshots", "r", "--keep", "2", "--dry-run"))
    golden(here("snapshots", "r", "--keep", "2"))
    golden(here("fork", "r", "--from", "grow@1"))
    golden(here("snapshots", "r", "--keep", "few"))
    golden(here("resume", "r", "--from-step", "solve@2", "--table-as-then", "--dry-run"))
    assert here("resume", "r", "--from-step", "solve@2", "--table-as-then").code == 0
    golden(here("resume", "r", "--from-step", "grow@1", "--table-as-then"))


def test_a_fork_shows_the_run_that_it_was_made_of(here):
    (here.workspace / "growing.py").write_text(GROWING.replace("FACTOR", "1"))
    here("run", "growing.py", "--project-job", "r")
    here("fork", "r", "--from", "solve@1")
    [fork, run] = here("list").out.splitlines()[1:]
    assert ("(fork of r)" in fork, "fork" in run) == (True, False)
    assert "forked from run r at solve@1" in here("status", "r-2").out
    shown = [json.loads(here(*words, "--json").out) for words in (("list",), ("status", "r-2"))]
    shown[1] = shown[1]["run"]
    assert [(each["forked_from"], each["forked_step"]) for each in (shown[0][0], shown[1])] == [("r", "solve@1")] * 2


def test_an_edited_study_is_said_before_a_fork_and_used_only_with_update(here, golden):
    study = here.workspace / "study.py"
    study.write_text(GROWING.replace("FACTOR", "1"))
    here("run", "study.py", "--project-job", "r")
    study.write_text(GROWING.replace("FACTOR", "7"))
    golden.replace(here.workspace, "<workspace>")
    golden(here("fork", "r", "--from", "solve@2"))
    golden(here("fork", "r", "--from", "solve@2", "--update", "study.py"))
    old, new = (ExperimentData.from_file(here.workspace / key) for key in ("r-2", "r-3"))
    assert [old.output_rows()(place)["y"] for place in range(5)] == [0.0, 1.0, 10.0, 11.0, 12.0]
    assert [new.output_rows()(place)["y"] for place in range(5)] == [0.0, 1.0, 10.0, 11.0, 84.0]


def test_each_printed_command_has_the_options_that_name_the_workspace_once(here, programs, monkeypatch, tmp_path):
    programs.accepts()
    here("submit", "slurm.py", "--project-job", "r")
    here("run", "study.py", "--project-job", "done")
    monkeypatch.chdir(tmp_path)
    options = f" --rootdir {here.workspace}"
    for words in (
        ["hold", "r"],
        ["report", "done", "--project-dir", "missing"],
        ["table", "done", "--where", "missing == 1"],
        ["best", "done"],
        ["logs", "done", "create", "--experiment", "77"],
        ["wait", "r", "--timeout", "0"],
    ):
        done = here(*words, *options.split())
        for line in (done.out + done.err).splitlines():
            if ": orchestrator " in line or line.startswith("  orchestrator "):
                assert line.endswith(options), (words, line)
                assert line.count(options) == 1, (words, line)


def test_a_new_run_says_what_its_jobs_request_also_with_options_of_sbatch(here, programs):
    programs.accepts()
    study, text = here.workspace / "slurm.py", (here.workspace / "slurm.py").read_text()
    options = '{"time": "3-00", "mem-per-gpu": "8G", "--gres": "gpu:2", "comment": "a-secret"}'
    resources = f"SlurmResources(cpus_per_task=4, nodes=2, extra_sbatch={options})"
    text = text.replace("Step(nothing)", f"Step(nothing, resources={resources})")
    study.write_text(text.replace("import Pipeline", "import SlurmResources, Pipeline"))
    said = " ".join(here("submit", "slurm.py", "--project-job", "r", "--dry-run").out.split())
    expected = "time 3-00, cpus_per_task 4, nodes 2, mem_per_gpu 8G, gres gpu:2."
    assert f"Each job of nothing requests {expected}" in said
    assert "a-secret" not in said


def test_a_limit_that_new_code_changes_is_recorded_as_that_of_set_is(here):
    study = """
from orchestrator import Pipeline, SlurmResources, Step
from tests.studies import nothing
limits = SlurmResources(time="5", mem="1G")
pipeline = Pipeline("p", [Step(nothing, name="a", resources=limits), Step(nothing, name="b")])
"""
    (here.workspace / "limits.py").write_text(study)
    here("run", "limits.py", "--project-job", "r")
    (here.workspace / "limits.py").write_text(study.replace('time="5", mem="1G"', 'time="10", mem="8G"'))
    assert here("resume", "r", "--from-step", "a", "--update", "limits.py", "-y").code == 0
    history = json.loads(here("status", "r", "--json").out)["history"]
    assert [event["why"] for event in history if event["what"] == "resources"] == ["a: time=10, mem=8G"]
