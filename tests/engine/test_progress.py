"""What a user sees while a run continues."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import pty
import re
import threading

import pytest

from orchestrator import Pipeline, Step, datagenerator
from orchestrator.engine.progress import Bars, Lines, progress_for
from orchestrator.errors import RunFailed
from orchestrator.wrapping import options_of_commands, screen_lines, with_command
from tests.studies import nothing, store_numbers


@datagenerator(output_names="y")
def evaluate(x):
    return x


@pytest.fixture
def watch(workspace, monkeypatch):
    """Return a function that runs a pipeline with a progress on a stream."""

    def run(progress):
        for module in ("commands", "local.run"):
            monkeypatch.setattr(f"orchestrator.engine.{module}.progress_for", lambda *_: progress)
        Pipeline(steps=[Step(store_numbers(12)), Step(evaluate, parallel=True)]).run(project_job="r", jobs=1)

    return run


@pytest.fixture
def terminal(monkeypatch):
    """Return a stream that is a terminal, and a function that gives what was written to it."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = os.fdopen(theirs, "w")
    received = []

    def listen():
        # All the time: a writer to a terminal blocks if the terminal is not read.
        with contextlib.suppress(OSError):  # the other end was closed
            while text := os.read(ours, 65536):
                received.append(text)

    listener = threading.Thread(target=listen)
    listener.start()

    def written():
        stream.close()
        listener.join()
        return b"".join(received).decode()

    yield stream, written
    written()
    os.close(ours)


def test_progress_is_printed_as_plain_lines_without_a_terminal(watch, golden):
    stream = io.StringIO()
    watch(Lines(stream))
    golden(stream.getvalue())
    assert isinstance(progress_for(stream), Lines)
    assert not isinstance(progress_for(stream), Bars)


def test_a_message_of_the_study_is_no_command(workspace, monkeypatch):
    def refuse(project_dir):
        raise ValueError("the solver said: orchestrator run it with more memory")

    stream = io.StringIO()
    for module in ("commands", "local.run"):
        monkeypatch.setattr(f"orchestrator.engine.{module}.progress_for", lambda *_: Lines(stream))
    pipeline = Pipeline(steps=[Step(refuse)])
    with options_of_commands(" --rootdir W"), pytest.raises(RunFailed):
        pipeline.run(project_job="r")
    assert "the solver said: orchestrator run it with more memory" in stream.getvalue()
    assert "memory) --rootdir W" not in stream.getvalue()


def test_a_command_that_names_a_workspace_gets_no_other():
    named = "Begin another: orchestrator run STUDY.py --rootdir FOLDER"
    unnamed = "To continue: orchestrator resume r"
    with options_of_commands(" --rootdir W"):
        assert screen_lines(f"{named}\n{unnamed}", has_width=False) == [named, f"{unnamed} --rootdir W"]
        assert with_command("", named, " --rootdir W") == [named]


def test_a_bar_counts_experiments_in_a_terminal(watch, terminal):
    stream, written = terminal
    assert isinstance(progress_for(stream), Bars)
    watch(Bars(stream))
    text = written()
    assert "12/12" in text
    assert "evaluate" in text


def test_no_color_is_respected(watch, terminal, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    stream, written = terminal
    watch(Bars(stream))
    text = written()
    assert "12/12" in text
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m|\x1b\[9[0-9]m", text)


class OnlyWritten:
    """What a program may replace sys.stderr by."""

    def __init__(self, encoding, error=None):
        self.text, self.encoding, self.error = "", encoding, error

    def write(self, text):
        if self.error is not None:
            raise self.error
        text.encode(self.encoding)
        self.text += text

    def flush(self):
        pass


@pytest.mark.parametrize(
    ("stream", "shown"),
    [
        (OnlyWritten("ascii"), "gr\\xf6\\xdfe: done\n"),
        (OnlyWritten("utf-8"), "größe: done\n"),
        (OnlyWritten("utf-8", BrokenPipeError()), ""),
        (OnlyWritten("utf-8", OSError(errno.EIO, "the terminal is gone")), ""),
    ],
)
def test_a_run_ends_as_usual_whatever_its_lines_are_written_to(workspace, monkeypatch, stream, shown):
    monkeypatch.setattr("orchestrator.engine.local.run.progress_for", lambda _: progress_for(stream))
    Pipeline(steps=[Step(nothing, name="größe")]).run(project_job="r")
    assert stream.text.startswith(shown)


@pytest.mark.parametrize("width", [80, 120])
def test_in_a_terminal_long_lines_are_wrapped_between_words(monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    stream = io.StringIO()
    Bars(stream).say(
        "evaluate: FAILED (20 of 200 experiments failed: " + "the matrix is singular, " * 9 + "max_failed=10)"
    )
    lines = stream.getvalue().splitlines()
    assert len(lines) > 1
    assert all(len(line) <= width for line in lines)
    assert {line[:2] for line in lines[1:]} == {"  "}
    assert " ".join(map(str.strip, lines)).count("the matrix is singular,") == 9
