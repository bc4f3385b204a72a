"""Control characters in what a study says do not reach the terminal."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

from orchestrator.cli.errors import show_bug
from orchestrator.engine.progress import Bars, Lines

ROOT = Path(__file__).resolve().parents[2]

NOISE = "\x1b]52;c;cm0gLXJm\x07\x1b]0;TITLE\x07\x1b[2J\x9b31m\x9d0;C1\x9c\r\x08\u202egnp\u202c\u2028x"

NOISY = f"""
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers
NOISE = {NOISE!r}
@datagenerator(output_names="y")
def evaluate(x):
    print("SAID" + NOISE)
    if x:
        raise ValueError("MESSAGE" + NOISE)
    return x
class Boom(Exception):
    pass
Boom.__name__ = "Boom" + NOISE
def last(project_dir):
    print("SAID" + NOISE)
    raise Boom("LAST" + NOISE)
pipeline = Pipeline("noisy", [Step(store_numbers(2)), Step(evaluate, parallel=True, max_failed=5), Step(last)])
"""


def strange(text):
    hidden = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return sorted({hex(ord(char)) for char in text if char not in "\n\t" and unicodedata.category(char) in hidden})


@pytest.fixture
def noisy(cli):
    (cli.workspace / "noisy.py").write_text(NOISY)
    run = cli("run", "noisy.py", "--project-job", "r", "--jobs", "1")
    assert run.code == 1
    # The step's own output is the user's program speaking.
    assert strange(run.err.replace("SAID" + NOISE, "")) == []
    return cli


def on_terminal(workspace, *words):
    """Return what a command writes to a terminal."""
    terminal, side = os.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli.main", *words],
        cwd=workspace,
        stdin=subprocess.DEVNULL,
        stdout=side,
        stderr=side,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "NO_COLOR": "1"},
    ):
        os.close(side)
        parts = []
        try:
            while part := os.read(terminal, 1 << 16):
                parts.append(part)
        except OSError:  # the end of a terminal
            pass
    os.close(terminal)
    return b"".join(parts).decode().replace("\r\n", "\n")


@pytest.mark.slow
def test_escapes_are_shown_on_a_terminal(noisy):
    for words, texts in [
        ("status r", ["MESSAGE\\x1b]52", "LAST\\x1b]52", "Boom\\x1b]52"]),
        ("list", ["noisy"]),
        ("wait r", ["LAST\\x1b]52"]),
        ("advance r", ["LAST\\x1b]52"]),
        ("logs r evaluate", ["SAID\\x1b]52", "MESSAGE\\x1b]52"]),
        ("logs r last", ["SAID\\x1b]52", "LAST\\x1b]52"]),
        ("logs r evaluate --experiment 1", ["SAID\\x1b]52"]),
        ("logs r last -f", ["SAID\\x1b]52", "LAST\\x1b]52"]),
    ]:
        shown = on_terminal(noisy.workspace, *words.split())
        assert strange(shown) == [], words
        assert [text for text in texts if text not in shown] == [], words


HOSTILE_NAMES = f"""
from orchestrator import Domain, ExperimentData, Pipeline, Step, datagenerator
NOISE = {NOISE!r}
def create(project_dir):
    domain = Domain()
    domain.add_category("kind" + NOISE, ["a" + NOISE, "b" + NOISE])
    domain.add_float("x", low=0.0, high=9.0)
    for name in ("y", "text" + NOISE):
        domain.add_output(name)
    rows = [{{"kind" + NOISE: kind + NOISE, "x": float(i)}} for i, kind in enumerate("aba")]
    ExperimentData(domain=domain, input_data=rows).store(project_dir)
@datagenerator(output_names=["y", "text" + NOISE])
def evaluate(x, **more):
    if x == 1:
        raise ValueError("MESSAGE" + NOISE)
    return x, "VALUE" + NOISE
pipeline = Pipeline("names", [Step(create), Step(evaluate, name="evaluate", parallel=True, max_failed=5)])
"""


@pytest.mark.slow
def test_names_and_values_of_a_table_are_shown_on_a_terminal(cli):
    (cli.workspace / "names.py").write_text(HOSTILE_NAMES)
    done = cli("run", "names.py", "--project-job", "r")
    assert done.code == 3, done.err
    assert strange(done.err) == []
    assert cli("run", "names.py", "--project-job", "other").code == 3
    for words, text in [
        ("table r", "kind\\x1b]52"),
        ("table r --csv -", "VALUE\\x1b]52"),
        ("table r --json", "VALUE\\u001b]52"),
        ("table r --columns nothing", "kind\\x1b]52"),
        ("table r --where nothing", "kind\\x1b]52"),
        ("best r --output y", "kind\\x1b]52"),
        ("diff r other", ""),
        ("failures r", "MESSAGE\\x1b]52"),
        ("efficiency r", ""),
        ("snapshots r", ""),
        ("fork r --from evaluate --dry-run", ""),
        ("retry r --dry-run", ""),
        ("clean r --dry-run", ""),
        ("archive r -o a.tar", ""),
        ("import a.tar --project-job b", ""),
        ("report r --output nothing", "text\\x1b]52"),
        ("report r", ""),
        ("set r evaluate --mem 1G", ""),
        ("hold r", ""),
    ]:
        shown = on_terminal(cli.workspace, *words.split())
        assert strange(shown) == [], words
        assert text in shown, (words, shown)
        assert "bug in orchestrator" not in shown, (words, shown)
    assert strange((cli.workspace / "report-r.html").read_text(encoding="utf-8")) == []


def test_logs_are_unchanged_in_a_pipe(noisy):
    command = [sys.executable, "-m", "orchestrator.cli.main", "logs", "r", "last"]
    done = subprocess.run(command, cwd=noisy.workspace, capture_output=True, check=True)
    [log] = (noisy.workspace / "logs" / "r").glob("last*.log")
    assert done.stdout.startswith(log.read_bytes())
    assert f"LAST{NOISE}".encode() in done.stdout  # the traceback


def test_json_keeps_every_character(noisy):
    status = json.loads(noisy("status", "r", "--json").out)
    assert status["failures"][0]["why"] == f"ValueError: MESSAGE{NOISE}"
    assert json.loads(noisy("list", "--json").out)[0]["reason"] == status["run"]["reason"]


def test_errors_show_escapes(here, capsys):
    try:
        raise ValueError(NOISE)
    except ValueError as error:
        show_bug(error)
    printed = capsys.readouterr().err
    assert strange(printed) == []
    assert "\\x1b]52" in printed
    assert strange(here("run", f"none{NOISE}.py").err) == []
    assert strange(here("logs", "a\x1b[2J", "b").err) == []
    for option in ("--db", "--rootdir"):
        assert strange(here("status", option, "a\x1b[2J").err) == []


@pytest.mark.parametrize("kind", [Lines, Bars])
def test_progress_shows_escapes(kind, capsys):
    progress = kind(sys.stderr)
    progress.say(f"step {NOISE}")
    progress.close()
    assert strange(capsys.readouterr().err) == []


def test_only_coloured_text_is_printed_past_the_escapes():
    """`echo` shows escapes. `click.echo` is left where a text has our own colours; its values are shown before."""
    uses = {
        path.name: len(re.findall(r"click\.echo\(|\bprint\(", path.read_text()))
        for path in sorted((ROOT / "orchestrator/cli").glob("*.py"))
    }
    assert {name: n for name, n in uses.items() if n} == {
        "best.py": 1,
        "diff.py": 1,
        "errors.py": 2,
        "failures.py": 1,
        "list.py": 1,
        "main.py": 1,
        "reference.py": 1,
        "render.py": 2,
        "status.py": 1,
        "table.py": 1,
        "tail.py": 1,
        "watch.py": 1,
    }
