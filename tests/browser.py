"""A headless Chromium that opens a file and says what it shows."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")

# Runs in the page: when all charts are drawn, it prints what they look like.
FACTS = """
<script>
(() => {
  const ink = chart => [...chart.querySelectorAll("canvas")].reduce((sum, canvas) => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    let n = 0;
    for (let i = 3; i < data.length; i += 4) n += data[i] > 0;
    return sum + n;
  }, 0);
  const look = () => {
    const root = document.documentElement;
    if (!root.dataset.drawn) return void setTimeout(look, 5);
    const charts = [...document.querySelectorAll(".chart")];
    console.log("FACTS" + JSON.stringify({
      ms: Number(root.dataset.drawnAfter),
      ink: Object.fromEntries(charts.map(chart => [chart.id, ink(chart)])),
      width: innerWidth, scroll_width: root.scrollWidth,
      background: getComputedStyle(document.body).backgroundColor,
      text: document.body.innerText, images: document.images.length,
    }));
  };
  look();
})();
</script>
"""


@dataclass
class Shown:
    """What a page shows.

    Attributes
    ----------
    facts : dict
        `ms` until it was drawn; `ink`, painted pixels of each chart; `width`, `scroll_width`, `background`, `text`.
    console : list of str
        What it wrote to the console: errors and refused requests, too.
    """

    facts: dict[str, Any]
    console: list[str]


def program() -> str | None:
    """Return the path of a Chromium; None if there is none."""
    return next((path for path in map(shutil.which, PROGRAMS) if path), None)


def show(page: Path, *, width: int = 1280, dark: bool = False, seconds: float = 60.0) -> Shown:
    """Open a page and return what it shows when all charts are drawn."""
    with _opened(_with_facts(page), width, seconds, dark=dark) as process:
        return _read(process)


def show_replaced(page: Path, later: Path, *, seconds: float = 60.0) -> tuple[Shown, Shown]:
    """Open a page that reloads itself, replace its file, and return what it shows before and after that."""
    opened, replacement = _with_facts(page), _with_facts(later)
    with _opened(opened, 1280, seconds, dark=False) as process:
        first = shown = _read(process)
        replacement.replace(opened)
        while shown.facts["text"] == first.facts["text"]:
            shown = _read(process)
        return first, shown


def _with_facts(page: Path) -> Path:
    """Write a copy of a page that prints what it shows."""
    copy = page.with_name(f"{page.stem}.shown.html")
    # The library contains this tag, too.
    before, end, after = page.read_text(encoding="utf-8").rpartition("</body>")
    copy.write_text(before + FACTS + end + after, encoding="utf-8")
    return copy


@contextmanager
def _opened(page: Path, width: int, seconds: float, *, dark: bool) -> Iterator[subprocess.Popen[str]]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [*_command(profile, width, dark=dark), "--remote-debugging-port=0", page.as_uri()],
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        # Reading the output ends when all its processes have ended.
        limit = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
        limit.start()
        try:
            yield process
        finally:
            limit.cancel()
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert process.stderr is not None
            process.stderr.close()


def screenshot(page: Path, image: Path, *, width: int = 1280, height: int = 4000, dark: bool = False) -> None:
    """Write a picture of a page."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [*_command(profile, width, height, dark=dark), "--virtual-time-budget=5000", f"--screenshot={image}"]
        subprocess.run([*command, page.as_uri()], check=True, capture_output=True, timeout=120)


def _command(profile: str, width: int, height: int = 900, *, dark: bool) -> list[str]:
    chromium = program()
    assert chromium is not None
    headless = [] if chromium.endswith("headless-shell") else ["--headless=new"]
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    options = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr", scheme]
    return [chromium, *headless, *options, f"--user-data-dir={profile}", f"--window-size={width},{height}"]


def _read(process: subprocess.Popen[str]) -> Shown:
    console: list[str] = []
    lines: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        lines.append(line)
        found = re.search(r'CONSOLE[^\]]*\] "(.*)", source: .*', line)
        if found is None:
            continue
        if found[1].startswith("FACTS"):
            return Shown(json.loads(found[1].removeprefix("FACTS")), console)
        console.append(found[1])
    raise AssertionError(f"the page was not drawn: {console or ''.join(lines[-5:])}")
