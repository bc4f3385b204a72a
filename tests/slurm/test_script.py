"""The script of a job: what it requests from SLURM, and how a shell executes it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import SlurmCluster
from orchestrator.errors import DefinitionError
from orchestrator.slurm.client import Client
from orchestrator.slurm.script import TOKEN, cpus, digest, directives, literal_path, render, runner_words, values
from tests.slurm.sandboxes import wait_until

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "slurm"
PLAIN = SlurmCluster(partition=None, account=None)
ODD = """a'; echo $(hostname) "b" `id` \\ #x %j"""


def asked(cluster=PLAIN, requeue=False, **resources):
    return directives(resources, cluster, chdir="/study", requeue=requeue)


def script(**changes):
    given = {
        "directives": {"chdir": "/"},
        "env_setup": [],
        "env_vars": {},
        "runner": ["python"],
        "threads": 1,
        "command": ["module"],
    }
    comment = changes.pop("comment", "A job")
    return render(values(**(given | changes)), comment)


# --- what is requested ---------------------------------------------------------------------------


@pytest.mark.parametrize("row", json.loads((FIXTURES / "f3dasm_directives.json").read_text()), ids=str)
def test_the_requested_resources_are_those_of_f3dasm_2_4(row):
    cluster = SlurmCluster(partition=None, account=None, mem_per_cpu=row["cap"])
    ours = asked(cluster, **row["resources"])
    for name in ("chdir", "no-requeue", "open-mode"):
        del ours[name]
    assert ours == row["directives"]
    assert cpus(row["resources"], cluster) == int(row["directives"]["cpus-per-task"])


def test_a_plain_job_has_these_directives():
    assert directives({}, SlurmCluster(), chdir="/study", requeue=False) == {
        "time": "01:00:00",
        "mem": "4G",
        "ntasks": "1",
        "cpus-per-task": "1",
        "nodes": "1",
        "partition": "batch",
        "account": "default",
        "chdir": "/study",
        "no-requeue": None,
        "open-mode": "append",
    }


def test_options_that_are_none_are_not_written():
    assert not {"partition", "account"} & set(asked())


def test_only_orchestrator_jobs_are_requeued_by_slurm():
    assert "requeue" in asked(requeue=True)
    assert "no-requeue" not in asked(requeue=True)


@pytest.mark.parametrize(
    ("extra", "present", "absent"),
    [
        ({"time": "5"}, {"time": "5"}, ()),
        ({"--time": "5"}, {"time": "5"}, ()),
        ({"cpus_per_task": 3}, {"cpus-per-task": "3"}, ()),
        ({"gres": "gpu:1", "nice": 10}, {"gres": "gpu:1", "nice": "10"}, ()),
        ({"exclusive": True, "contiguous": ""}, {"exclusive": None, "contiguous": None}, ()),
        ({"nodes": None, "open-mode": False}, {}, ("nodes", "open-mode")),
        ({"mem": None}, {}, ("mem",)),
        ({"mem-per-gpu": "8G"}, {"mem-per-gpu": "8G"}, ("mem",)),  # sbatch refuses both
        ({"requeue": True}, {"requeue": None}, ("no-requeue",)),
    ],
)
def test_extra_options_override_ours(extra, present, absent):
    got = asked(extra_sbatch=extra)
    assert present.items() <= got.items()
    assert not set(absent) & set(got)


def test_threads_follow_the_cpus_that_the_job_gets():
    capped = SlurmCluster(mem_per_cpu="2G")
    assert cpus({"mem": "8G"}, capped) == 4
    assert cpus({"mem": "8G", "mem_per_cpu": "8G"}, capped) == 1
    assert cpus({"extra_sbatch": {"--cpus-per-task": "6"}}, PLAIN) == 6


@pytest.mark.parametrize("bad", ["a\nb", "a\n#SBATCH --hold", "a\rb", "a\0b"])
def test_a_line_break_never_becomes_a_directive(bad, golden):
    with golden.raises(DefinitionError):
        asked(extra_sbatch={"comment": bad})
    with golden.raises(DefinitionError):
        script(directives={"output": bad})


def test_the_path_of_a_log_is_taken_literally():
    assert literal_path("/a b/100%j/") + "%j.out" == "/a b/100%%j/%j.out"
    with pytest.raises(DefinitionError, match="backslash"):
        literal_path("/a\\b")


# --- what is printed -----------------------------------------------------------------------------


def test_a_script_can_be_read_by_a_user(golden):
    cluster = SlurmCluster(env_setup=["module load python"], env_vars={"DATA": "$HOME/data"}, runner="uv run")
    printed = script(
        directives={**asked(cluster), "output": "/runs/1/logs/create_%j.out"},
        env_setup=cluster.env_setup,
        env_vars=cluster.env_vars,
        runner=runner_words(cluster.runner),
        threads=1,
        command=["orchestrator.worker", "/runs/1", TOKEN],
        comment="Step 'create' of run 1",
    )
    golden(printed)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("uv run", ["uv", "run"]),
        ("~/env/bin/python", ['"$HOME/env/bin/python"']),
        ("$HOME/env/bin/python", ['"$HOME/env/bin/python"']),
        ("'${CONDA_PREFIX}/my env/python' -X dev", ['"${CONDA_PREFIX}/my env/python"', "-X", "dev"]),
        ("/a~b/$(id)/$1/python", ["'/a~b/$(id)/$1/python'"]),
        ("$A/`id`/python", ['"$A/\\`id\\`/python"']),
    ],
)
def test_only_the_home_folder_and_variables_of_a_runner_are_expanded(command, words):
    assert runner_words(command) == words


def test_a_comment_is_only_a_comment():
    printed = script(comment="a\nSBATCH --hold\r#SBATCH --hold\n$(touch x)")
    assert [line for line in printed.splitlines() if "hold" in line] == ["# SBATCH --hold", "# #SBATCH --hold"]


def test_the_name_of_a_script_depends_on_its_content():
    plain = {"directives": {}, "env_setup": [], "env_vars": {}, "runner": ["python"], "threads": 1, "command": ["m"]}
    other = {
        "directives": {"mem": "1G"},
        "env_setup": ["module load x"],
        "env_vars": {"A": "1"},
        "runner": ["uv", "run"],
        "threads": 2,
        "command": ["m", TOKEN],
    }
    names = [digest(values(**plain), "a"), digest(values(**plain), "b")]
    names += [digest(values(**(plain | {name: other[name]})), "a") for name in other]
    assert len(set(names)) == 8
    assert digest(values(**plain), "a") == names[0]


# --- what a shell makes of it --------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path):
    """Run a script; return its exit code, what it printed, and what the program at its end was given."""
    given = tmp_path / "given.json"
    probe = tmp_path / "a probe.py"
    probe.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"json.dump([sys.argv[1:], dict(os.environ), os.getcwd()], open({str(given)!r}, 'w'))\n"
    )
    probe.chmod(0o755)

    def run(*arguments, **changes):
        text = script(**({"runner": [shlex.quote(str(probe))]} | changes))
        given.unlink(missing_ok=True)
        done = subprocess.run(["bash", "-s", *arguments], input=text, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr, json.loads(given.read_text()) if given.exists() else None

    return run


def test_arguments_are_passed_unchanged(shell):
    words = ["module", ODD, "$HOME", "", "--x=$1"]
    _, _, (arguments, environment, folder) = shell("abcdefghi2", command=[*words, TOKEN])
    assert arguments == ["-m", *words, "abcdefghi2"]
    assert environment["PYTHONSAFEPATH"] == "1"
    assert folder == "/"


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
NO_VARIABLES = st.text(st.characters(exclude_characters="\0$", exclude_categories=("Cs",)), max_size=20)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(TEXTS, max_size=12), st.lists(NO_VARIABLES, max_size=12), TEXTS)
def test_every_text_arrives_unchanged(shell, words, variables, comment):
    env_vars = {f"V{number}": text for number, text in enumerate(variables)}
    code, printed, given_ = shell("abcdefghi2", command=["module", *words, TOKEN], env_vars=env_vars, comment=comment)
    assert (code, printed) == (0, "")
    arguments, environment, _ = given_
    assert arguments == ["-m", "module", *words, "abcdefghi2"]
    assert {name: environment[name] for name in env_vars} == env_vars


def test_the_folder_of_a_job_may_have_any_name(shell, tmp_path):
    folder = tmp_path / ODD.replace("/", "")
    folder.mkdir()
    _, _, (_, _, where) = shell(directives={"chdir": str(folder)})
    assert where == str(folder)


def test_a_folder_that_env_setup_changes_to_is_not_that_of_the_job(shell, tmp_path):
    venv = tmp_path / "a project"
    venv.mkdir()
    (venv / "activate").write_text("export ACTIVE=yes\n")
    commands = [f"cd {shlex.quote(str(venv))}", "source ./activate"]
    code, printed, given = shell(directives={"chdir": str(tmp_path)}, env_setup=commands)
    assert (code, printed) == (0, "")
    assert (given[1]["ACTIVE"], given[2]) == ("yes", str(tmp_path))


def test_a_job_does_not_run_in_another_folder(shell, tmp_path):
    code, printed, given = shell(directives={"chdir": str(tmp_path / "gone")})
    assert (code, given) == (1, None)
    assert "gone: No such file or directory" in printed


def test_without_its_token_a_script_advances_the_run(shell):
    code, _, (arguments, environment, _) = shell(command=["module", TOKEN], by_hand=["orchestrator", "advance", ODD])
    assert code == 0
    assert arguments == ["-m", "orchestrator", "advance", ODD]
    assert environment["PYTHONSAFEPATH"] == "1"
    _, _, (arguments, _, _) = shell("abcdefghi2", command=["module", TOKEN], by_hand=["orchestrator", "advance"])
    assert arguments == ["-m", "module", "abcdefghi2"]


def test_without_its_token_a_script_does_nothing(shell, golden):
    code, printed, given = shell(command=["module", TOKEN])
    assert code != 0
    assert given is None
    golden(printed)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("$WHO/x:${WHO}y", "me/x:mey"),
        ("/x:$NOT_SET_AT_ALL", "/x:"),
        ("$(echo no) `echo no` ${WHO:-no} $1 $$ $? \\$WHO", "$(echo no) `echo no` ${WHO:-no} $1 $$ $? \\me"),
        ('a "quoted" \'word\' \\ and \\" more', 'a "quoted" \'word\' \\ and \\" more'),
        ("two\nlines", "two\nlines"),
        ("!! * ? ~ #", "!! * ? ~ #"),
        ("$", "$"),
        (4, "4"),
    ],
)
def test_only_variables_are_expanded(shell, value, expected):
    code, printed, given = shell(env_vars={"WHO": "me", "VALUE": value})
    assert (code, printed) == (0, "")
    assert given[1]["VALUE"] == expected


def test_threads_are_limited_unless_the_user_sets_them(shell):
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    _, _, (_, environment, _) = shell(threads=3, env_vars={"MKL_NUM_THREADS": "1"})
    assert [environment[name] for name in names] == ["3", "1", "3", "3"]


@pytest.mark.parametrize("name", ["1A", "A B", "A=B", "", "A;id", "Ä"])
def test_an_invalid_variable_name_is_refused(name, golden):
    with golden.raises(DefinitionError):
        script(env_vars={name: "x"})


@pytest.mark.parametrize(
    "command",
    [
        *("false", "false  # never", "true; nonsense-command", "source /nonexistent/activate", "(exit 3)"),
        *(
            "true\nfalse",
            "false\ntrue",
            "if true; then\n  false\nfi\ntrue",
            "load() { false; }\nload\ntrue",
            "true && false",
        ),
        # Commands that end the shell itself, so that no trap for errors runs.
        *(
            "exit 3",
            "exit 0",
            "set -u\necho $UNSET_BEFORE",
            "echo ${UNSET_BEFORE:?is not set}",
            "set -e\nload() { false; }\nload",
        ),
    ],
)
def test_a_command_of_env_setup_that_fails_ends_the_job(shell, command):
    code, printed, given = shell(env_setup=["true", command, "echo never"])
    assert (code, given) == (1, None)
    assert f"at: {command}" in printed
    assert printed.count("orchestrator: ") == 1


def test_a_script_that_env_setup_sources_may_end_the_job_and_the_log_says_where(shell, tmp_path):
    sourced = tmp_path / "strict"
    sourced.write_text("set -e\nfalse\n")
    code, printed, given = shell(env_setup=["true", f"source {sourced}", "echo never"])
    assert (code, given) == (1, None)
    assert printed.count("orchestrator: ") == 1
    assert printed.endswith(f" at: source {sourced}\n")


def test_env_setup_runs_in_the_jobs_own_shell_as_modules_and_conda_need_it(shell, tmp_path):
    sourced = tmp_path / "activate"
    sourced.write_text('export FOUND="$UNSET_BEFORE:$#"\nfalse\nload() { false; export LOADED=yes; }\n')
    several = f"if false; then\n  exit 7\nfi\nfalse || true\nsource {sourced}\n! false"
    commands = [
        f"source {sourced}",
        several,
        "load",
        "",
        "# nothing here",
        "export A=1  # ours",
        "cat > /dev/null <<'X'\n}\nX",
    ]
    code, printed, given = shell("abcdefghi2", env_setup=commands, command=["module", TOKEN])
    assert (code, printed) == (0, "")
    environment = given[1]
    assert (environment["FOUND"], environment["LOADED"], environment["A"]) == (":0", "yes", "1")


# --- the real SLURM ------------------------------------------------------------------------------

VALUES = [
    *("a b", " a", "a ", "a'b", 'a"b', "a\\b", "\\", "'", '"', "#b", "a #b", "a#b", "$(hostname)", "$HOME", "`id`"),
    *(
        "a;b",
        "a|b",
        "a&b",
        "a\tb",
        "é",
        "*",
        "-x",
        "--hold",
        "a=b",
        "%j",
        ODD,
        "x\\\\y",
        "'a'",
        '"a"',
        "\\n",
        "x" * 900,
    ),
]


@pytest.mark.slurm
def test_sbatch_reads_every_value_exactly(sandbox):
    path = sandbox.folder / "values.sh"
    got = {}
    for value in VALUES:
        path.write_text(script(directives={"comment": value, "hold": None, "output": "/dev/null"}))
        job = sandbox.sbatch(path)
        got[value] = sandbox.run("squeue", "--noheader", f"--jobs={job}", "--format=%k\x1e").stdout.partition("\x1e")[0]
        sandbox.scancel(job)
    assert got == {value: value for value in VALUES}


def run_really(sandbox, **changes):
    """Submit a script, wait for its end; return the state and the log."""
    folder = sandbox.folder / ODD.replace("\\", "")
    folder.mkdir(exist_ok=True)
    path = sandbox.folder / "really.sh"
    settings = {**directives({"mem": "100M", "time": "5"}, PLAIN, chdir=str(folder), requeue=False)}
    settings["output"] = literal_path(str(folder)) + "/log_%j"
    path.write_text(script(**({"directives": settings} | changes)))
    client = Client(sandbox.environment)
    answer = client.sbatch(["--job-name=really", str(path), "abcdefghi2"], settings)
    states = []

    def is_over():
        states.extend(line.state for line in client.squeue() if line.job_id == answer.scheduler_id)
        return states[-1] in ("COMPLETED", "FAILED")

    wait_until(is_over, 60, lambda: f"{answer} {states}")
    return states[-1], (folder / f"log_{answer.scheduler_id}").read_text(), folder


@pytest.mark.slurm
def test_a_job_runs_in_a_folder_with_any_name(sandbox):
    probe = sandbox.folder / "probe"
    probe.write_text('#!/bin/bash\necho "$PWD" $OMP_NUM_THREADS "$@"\n')
    probe.chmod(0o755)
    state, log, folder = run_really(sandbox, runner=[str(probe)], threads=2, command=["module", TOKEN])
    assert (state, log) == ("COMPLETED", f"{folder} 2 -m module abcdefghi2\n")


@pytest.mark.slurm
def test_a_job_whose_env_setup_fails_has_failed_and_names_the_command(sandbox):
    state, log, _ = run_really(sandbox, env_setup=["true", "module load nonsense"], command=["module", TOKEN])
    assert state == "FAILED"
    assert log.endswith(" at: module load nonsense\n")
