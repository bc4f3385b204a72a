"""Exit codes and messages after errors of the system, bugs and wrong usage."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from orchestrator.cli import main as module
from orchestrator.cli.errors import REQUIRED_PACKAGES, show
from orchestrator.cli.main import main
from orchestrator.errors import RunFailed

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def broken(monkeypatch):
    """Make `orchestrator list` raise the given error; return the exit code."""

    def run(error):
        def fail(*arguments):
            raise error

        monkeypatch.setattr("orchestrator.db.status.list_runs", fail)
        monkeypatch.setattr("sys.argv", ["orchestrator", "list", "--db", "the file.db"])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    return run


def test_an_interrupt(broken, capsys, golden):
    assert broken(KeyboardInterrupt()) == 130
    golden(capsys.readouterr())


def test_a_full_disk_is_not_a_bug(broken, capsys, golden):
    assert broken(OSError(errno.ENOSPC, "No space left on device", "/w/r/table.csv")) == 1
    golden(capsys.readouterr())


def test_a_bug_is_reported_as_a_bug(broken, capsys, golden):
    assert broken(KeyError("a surprise")) == 1
    golden(capsys.readouterr())


def test_a_python_in_which_it_is_not_installed(broken, capsys, monkeypatch, golden):
    """The `python` of a job may import orchestrator from its path without the packages that it needs."""
    monkeypatch.setattr("sys.executable", "/usr/bin/python3")
    assert broken(ModuleNotFoundError("No module named 'sqlalchemy'", name="sqlalchemy")) == 1
    golden(capsys.readouterr())
    assert broken(ModuleNotFoundError("No module named 'unknown'", name="unknown")) == 1


def test_every_required_package_is_listed():
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.match(r"[a-z0-9]+", line)[0] for line in needed}
    imported = {{"pyyaml": "yaml"}.get(name, name) for name in names}
    # Without click no command line can report it.
    assert imported - {"click"} == REQUIRED_PACKAGES


def test_too_little_memory_is_not_a_bug(broken, capsys, golden):
    assert broken(MemoryError()) == 1
    golden(capsys.readouterr())


def test_a_missing_file_is_a_bug(broken, capsys, golden):
    assert broken(FileNotFoundError(errno.ENOENT, "No such file", "x")) == 1
    golden(capsys.readouterr())


def test_a_closed_pipe_is_not_an_error(workspace):
    command = [sys.executable, "-m", "orchestrator.cli.main", "--help"]
    from_here = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **from_here) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode in (0, 1)


@pytest.mark.parametrize(
    "typed",
    ["stat", "run", "resume --jobs 0", "logs a b c", "db upgrade --db x --rootdir ."],
)
def test_wrong_usage_is_printed_like_every_other_error(typed, monkeypatch, capsys, golden):
    monkeypatch.setattr("sys.argv", ["orchestrator", *typed.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    golden(capsys.readouterr())


def test_a_group_alone_shows_its_help(capsys, monkeypatch, golden):
    monkeypatch.setattr("sys.argv", ["orchestrator", "db"])
    with pytest.raises(SystemExit):
        main()
    golden(capsys.readouterr())


def test_commands_in_hints_find_the_workspace_that_was_named(capsys, golden):
    hint = "See the traceback: orchestrator logs r fails\nTo continue after a fix: orchestrator resume r"
    show(RunFailed("Run r failed.", hint), options=" --rootdir '/data/my runs'")
    golden(capsys.readouterr())


def test_a_command_inside_a_sentence_is_not_moved_to_its_own_line(capsys, golden):
    hint = "See what is left: orchestrator db check. A copy from before an upgrade is named x.backup-..."
    show(RunFailed("Damaged.", hint), options=" --db x")
    golden(capsys.readouterr())


def test_a_status_and_the_list_of_commands_load_nothing_that_they_do_not_use():
    script = (
        "import sys\nimport orchestrator.cli.main, orchestrator.cli.status, orchestrator.db.status\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    unused = {"difflib", "shutil", "textwrap", "traceback", "orchestrator.machine.changes", "orchestrator.engine.live"}
    assert not unused & set(done.stdout.split())


def test_only_the_command_that_was_typed_is_loaded():
    script = (
        "import sys\nfrom orchestrator.cli.main import cli\n"
        "cli(['status', '--help'], standalone_mode=False)\n"
        "print([m for m in sys.modules if m.startswith('orchestrator.cli.')], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stderr
    assert "cli.status" in loaded
    assert not [name for name in module.COMMANDS if name != "status" and f"cli.{name}'" in loaded]
