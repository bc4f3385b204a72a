"""Any words on the command line: each is carried out, or is an error for the user."""

from __future__ import annotations

import random

import click
import pytest

from orchestrator.cli.main import COMMANDS, cli

pytestmark = pytest.mark.slow

LEFT_OUT = {"-o", "--csv", "--parquet", "--watch", "--follow", "--yes"}
"""Options that write to any path, that do not end, or that would delete the run."""

WORDS = (
    *("r", "evaluate", "nothing", "nothing@0", "@", "@@", "nothing@-1", "nothing@99999999999999999999", "study.py"),
    *("study.py:", "study.py:x", "broken.py", "none.py", "os", "os.path", ".", "..", "/", "/etc/passwd", "~", "$HOME"),
    *("8G", "02:00:00", "7d", "y", "x > 1", "y == y", "1 +", "__import__('os')", "evaluate@0", "failed", "r,r", "0-3"),
    *("", " ", "\n", "\x1b[2J", "\udcff", "é", "-1", "0", "1e9", "9" * 5000, "a" * 5000, "a/b", "%s", "{}", "'", "\\"),
)


def options_of(command):
    """Return the options of a command, with some that it may not have."""
    found = cli.get_command(click.Context(cli), command)
    own = [name for option in found.params if isinstance(option, click.Option) for name in option.opts]
    return [*sorted(set(own) - LEFT_OUT), "-h", "--", "-", "--x=1", "--force"]


def test_any_words_are_a_command_or_an_error(here, pytestconfig):
    assert here("run", "study.py", "--project-job", "r").code == 0
    by_chance = random.Random(11)
    for _ in range(pytestconfig.getoption("--examples")):
        command = by_chance.choice([*(name for name in COMMANDS if name != "wait"), "db", "db", "odd"])
        more = [by_chance.choice(("info", "check", "upgrade", "allow"))] * (
            command == "db" and by_chance.random() < 0.9
        )
        more += ["--dry-run"] * (command == "clean")
        more += ["r"] * (by_chance.random() < 0.5)
        options = options_of("list" if command == "odd" else command)
        words = [
            by_chance.choice(options if by_chance.random() < 0.5 else WORDS) for _ in range(by_chance.randrange(6))
        ]
        done = here(command, *more, *words)
        assert "Traceback" not in done.err, (command, more, words)
        assert "This is a bug" not in done.err, (command, more, words)
        assert done.code in (0, 1, 2, 3, 75), (command, more, words)
        assert not done.code or done.err, (command, more, words)
    # The run is as it was.
    assert here("status", "r", "--rootdir", str(here.workspace)).code == 0
