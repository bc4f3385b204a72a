"""What a terminal shows, at 80 and at 120 columns, and that it can be read on a light and on a dark background."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace

import pytest
from cli_records import T0, Records, on_slurm
from click.testing import CliRunner
from rich.terminal_theme import DEFAULT_TERMINAL_THEME as LIGHT
from rich.terminal_theme import MONOKAI as DARK
from rich.terminal_theme import TerminalTheme
from run_results import Results, exception

from orchestrator.cli import efficiency, render
from orchestrator.cli.main import cli
from orchestrator.cli.reports.usage import Efficiency, Request, TaskUsage, usage_of
from orchestrator.cli.workspace import TypedOptions
from orchestrator.db.status import run_status

COMMANDS = ("list", "status", "failures", "table", "best", "logs evaluate", "snapshots")
ESCAPE = re.compile(r"\x1b\[([\d;]*)m")
LEAST_CONTRAST = 3.0
"""Of the Web Content Accessibility Guidelines, for large text and for what is also said otherwise."""


@pytest.fixture
def records(workspace, monkeypatch):
    """A run that has failed on a cluster, and others that were stopped, held and cancelled, or have succeeded."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for name in ("status", "list"):
        monkeypatch.setattr(f"orchestrator.cli.{name}.time", SimpleNamespace(time=lambda: T0 + 9000))
    records = Records(workspace)
    records.add_run("first", "succeeded", name="a study with a name that says a lot about it, and more than is needed")
    records.add_run("second", stopped_at=T0 + 500, stopped_by="SIGINT")
    records.add_run("third", held_at=T0 + 500)
    records.add_run("fourth", "cancelled")
    reason = "7 of 40 experiments failed"
    records.add_run("r", "failed", reason=f"evaluate failed: {reason}", **on_slurm(), queue_seconds=40)
    records.add_step_run(0, "succeeded", seconds=12)
    records.add_job("succeeded", seconds=10)
    records.add_step_run(
        1,
        "failed",
        begin=15,
        seconds=100,
        queue_seconds=40,
        n_experiments=40,
        n_tasks=2,
        n_finished=33,
        n_failed=7,
        reason=reason,
    )
    records.add_job("succeeded", begin=15, seconds=100, role="batch", tasks="0-1", n_tasks=2, started_at=T0 + 55)
    why = (
        "ValueError: the Jacobian of element 4711 is not positive, at the third of the integration points of the plate"
    )
    records.add_failed_experiments(why, [5, 6, 7], n=7, traceback="Traceback\n")
    results = Results(workspace, 40)
    for row in range(38):
        error = exception("ValueError", f"singular at x = {row / 8}", 17, "solve(x)") if row in (5, 6, 7) else None
        results.add(row, error, y=10.0 / 3 - row, task=row % 2, memory=218.0 + row)
    yield records
    monkeypatch.undo()
    time.tzset()


@pytest.fixture(params=[80, 120])
def columns(request, monkeypatch):
    """A terminal of this width."""
    monkeypatch.setenv("COLUMNS", str(request.param))
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr("click.testing._NamedTextIOWrapper.isatty", lambda _: True)
    return request.param


def shown(command):
    done = CliRunner().invoke(cli, command.split(), obj=TypedOptions(), color=True, catch_exceptions=False)
    return done.output


def usage():
    """What two steps have used."""
    task = TaskUsage("evaluate", "evaluate", "", 0, 1, T0, 544.0, 500.0, 312.0, 218.0, "node07", 20, 0, False, 65.0)
    requests = {"create": Request(4096.0, 3600.0, 1), "evaluate": Request(4096.0, 3600.0, 4)}
    tasks = [
        task._replace(step="create", seconds=0.5, cpu_seconds=0.5, first_memory=None, queue_seconds=3.0),
        *(task._replace(task=n) for n in range(32)),
    ]
    return Efficiency("r", "tasks", usage_of(tasks, requests, {}))


def test_a_screen_has_the_width_of_its_terminal(records, columns, golden):
    screens = {command: shown(command) for command in COMMANDS}
    screens["efficiency"] = efficiency.render(run_status(records.path, "r", T0 + 9000).run, usage())
    for command, text in screens.items():
        lines = ESCAPE.sub("", text).splitlines()
        assert max(map(len, lines)) <= columns, command
        golden(text.replace("\x1b", "ESC"), command)
    # What does not fit into 80 columns is there in 120.
    assert ("third of the" in screens["status"]) == (columns == 120)


def test_only_colours_of_the_palette_are_used_and_no_background(records, columns):
    """A terminal's palette fits to its background, whatever that is; black and white would not."""
    used = {code for command in COMMANDS for codes in ESCAPE.findall(shown(command)) for code in codes.split(";")}
    assert {"31", "32", "33"} <= used
    assert used <= {"0", *map(str, render._COLOURS.values())}


def luminance(colour):
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in (part / 255 for part in colour)]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_each_state_can_be_read(theme: TerminalTheme):
    for state, code in render._COLOURS.items():
        if code >= 30:
            assert contrast(theme.ansi_colors[code - 30], theme.background_color) >= LEAST_CONTRAST, state
