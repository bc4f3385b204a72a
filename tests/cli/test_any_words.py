"""Any words on the command line: each is carried out, or is an error for the user."""

from __future__ import annotations

import random

import pytest

from orchestrator.cli.main import COMMANDS

pytestmark = pytest.mark.slow

OPTIONS = (
    *("--rootdir", "--db", "--json", "--refresh", "--project-job", "--from-step", "--jobs", "--update", "--force"),
    *(
        "--cluster",
        "--probe",
        "--no-probe",
        "--group",
        "--experiment",
        "--task",
        "--as-edited",
        "-h",
        "--",
        "-",
        "--x=1",
    ),
)
WORDS = (
    *("r", "evaluate", "nothing", "nothing@0", "@", "@@", "nothing@-1", "nothing@99999999999999999999", "study.py"),
    *("study.py:", "study.py:x", "broken.py", "none.py", "os", "os.path", ".", "..", "/", "/etc/passwd", "~", "$HOME"),
    *("", " ", "\n", "\x1b[2J", "\udcff", "é", "-1", "0", "1e9", "9" * 5000, "a" * 5000, "a/b", "%s", "{}", "'", "\\"),
)


def test_any_words_are_a_command_or_an_error(here, pytestconfig):
    assert here("run", "study.py", "--project-job", "r").code == 0
    by_chance = random.Random(11)
    for _ in range(pytestconfig.getoption("--examples")):
        command = by_chance.choice([*(name for name in COMMANDS if name != "wait"), "db", "db", "odd"])
        more = [by_chance.choice(("info", "check", "upgrade", "allow"))] * (
            command == "db" and by_chance.random() < 0.9
        )
        words = [
            by_chance.choice(OPTIONS if by_chance.random() < 0.4 else WORDS) for _ in range(by_chance.randrange(5))
        ]
        done = here(command, *more, *words)
        assert "Traceback" not in done.err, (command, more, words)
        assert "This is a bug" not in done.err, (command, more, words)
        assert done.code in (0, 1, 2, 3, 75), (command, more, words)
        assert not done.code or done.err, (command, more, words)
    # The run is as it was.
    assert here("status", "r", "--rootdir", str(here.workspace)).code == 0
