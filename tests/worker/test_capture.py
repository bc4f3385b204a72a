"""What a process prints reaches its log: at once, in linear time, and whatever its streams are."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys

import pytest

from orchestrator.worker.capture import tee

MEGABYTES = 50


@pytest.fixture
def log(tmp_path):
    return tmp_path / "logs" / "step.log"


def run(log, body, *, is_printed=True, **more):
    """Run code whose output goes to a log, in a process of its own, because its descriptors must be real."""
    code = f"""
import os, subprocess, sys, time
from pathlib import Path
from orchestrator.worker.capture import log_position, tee
log = Path({str(log)!r})
with tee(log, is_printed={is_printed}):
{body}
"""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    done = subprocess.run([sys.executable, "-c", code], text=True, timeout=60, **streams)
    assert done.returncode == 0, done.stderr
    return done


def test_the_streams_stay_apart_and_both_are_in_the_log(log):
    body = """
    print("printed")
    print("error", file=sys.stderr)
    subprocess.run(["echo", "by a child"])
"""
    done = run(log, body)
    assert (done.stdout, done.stderr) == ("printed\nby a child\n", "error\n")
    assert sorted(log.read_text().splitlines()) == ["by a child", "error", "printed"]


def test_streams_that_are_not_printed_keep_their_order_in_the_log(log):
    body = """
    for number in range(200):
        print("printed", number)
        print("error", number, file=sys.stderr)
"""
    done = run(log, body, is_printed=False)
    assert (done.stdout, done.stderr) == ("", "")
    assert log.read_text().splitlines() == [
        f"{word} {number}" for number in range(200) for word in ("printed", "error")
    ]


@pytest.mark.parametrize("text", ["\r 57/100 [#####     ]", "."])
def test_much_output_without_a_newline_takes_little_time_and_memory(log, text, tmp_path):
    body = f"""
    text = {text!r} * 1000
    begin = time.process_time()
    for _ in range({MEGABYTES} * 1_000_000 // len(text)):
        sys.stdout.write(text)
    sys.stdout.flush()
    seconds = time.process_time() - begin
    [peak] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
    Path({str(tmp_path / "used")!r}).write_text(f"{{seconds}} {{peak}}")
"""
    with (tmp_path / "out").open("wb") as out:
        run(log, body, stdout=out)
    seconds, kilobytes = map(float, (tmp_path / "used").read_text().split())
    assert log.read_bytes() == (tmp_path / "out").read_bytes() == text.encode() * (log.stat().st_size // len(text))
    assert log.stat().st_size > (MEGABYTES - 1) * 1_000_000
    # Quadratic time would be hours.
    assert seconds < 10
    assert kilobytes < MEGABYTES * 1000


@pytest.mark.parametrize("text", ["\r 57/100 [#####     ]", "57/100..."])
def test_an_unfinished_line_is_in_the_log_while_the_step_runs(log, text):
    body = f"""
    print({text!r}, end="", flush=True)
    end = time.monotonic() + 30
    while log.read_bytes() != {text.encode()!r} and time.monotonic() < end:
        time.sleep(0.01)
    assert time.monotonic() < end
"""
    run(log, body)
    assert log.read_bytes() == text.encode()


def test_the_position_includes_all_that_was_printed_before(log):
    body = """
    with log_position() as position:
        for number in range(200):
            begin = position()
            print(f"{number} unfinished ", end="")
            sys.stderr.write("error ")
            os.write(1, b"by descriptor\\n")
            if number % 50 == 0:
                subprocess.run(["echo", "by a child"])
            end = position()
            words = f"{number} unfinished error by descriptor" + " by a child" * (number % 50 == 0)
            part = log.read_bytes()[begin:end].decode()
            assert sorted(part.split()) == sorted(words.split()), part
"""
    run(log, body)


def test_what_a_library_in_c_has_buffered_is_in_the_part_of_its_caller(log):
    body = """
    import ctypes
    c = ctypes.CDLL(None)
    with log_position() as position:
        begin = position()
        c.printf(b"by printf")
        end = position()
        assert log.read_bytes()[begin:end] == b"by printf"
"""
    run(log, body)


def test_a_stream_that_is_closed_or_has_few_characters_is_no_failure(log):
    body = """
    print("h\\u00e4\\udcff")
    print("error", file=sys.stderr)
    subprocess.run(["echo", "by a child"], check=True)
"""
    done = run(log, body, env={**os.environ, "PYTHONIOENCODING": "ascii:strict"})
    assert done.stdout == "h\\xe4\\udcff\nby a child\n"
    log.unlink()

    def close():
        os.close(1)
        os.close(2)

    run(log, body, stdout=None, stderr=None, preexec_fn=close)
    assert sorted(log.read_text(errors="replace").splitlines()) == ["by a child", "error", "hä\\udcff"]


def test_streams_that_are_no_descriptors_as_in_a_notebook(log, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    handler = logging.StreamHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    with tee(log):
        logging.warning("by a handler that was there before")
        print("printed", file=sys.stderr)
    assert log.read_text() == shown.getvalue() == "by a handler that was there before\nprinted\n"
    assert handler.stream is sys.stderr is shown


def test_a_worker_prints_any_text_to_its_log_and_each_line_at_once(log):
    code = f"""
import os
from pathlib import Path
from orchestrator.worker.capture import redirect
redirect(Path({str(log)!r}))
print("h\\u00e4\\udcff")
os.kill(os.getpid(), 9)
"""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    subprocess.run([sys.executable, "-c", code], env=environment, timeout=60)
    assert log.read_bytes() == "hä\\udcff\n".encode()


def test_output_continues_after_its_reader_has_ended(log):
    body = """
    for number in range(20_000):
        print(number)
"""
    out, into = os.pipe()
    os.close(out)
    run(log, body, stdout=into)
    os.close(into)
    assert log.read_text().splitlines()[-1] == "19999"
