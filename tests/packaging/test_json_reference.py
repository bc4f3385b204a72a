"""The reference of the JSON agrees with the docstrings of the values."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "json.md"


def json_reference(*arguments):
    script = ROOT / "scripts" / "json-reference"
    return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)


def test_the_page_says_what_the_docstrings_say():
    done = json_reference("--check", PAGE)
    assert done.returncode == 0, done.stderr


def test_a_stale_page_is_found_and_replaced(tmp_path):
    page = tmp_path / "json.md"
    page.write_text(PAGE.read_text().replace("Name of the pipeline.", "A name."))
    stale = json_reference("--check", page)
    assert (stale.returncode, f"scripts/json-reference --write {page}" in stale.stderr) == (1, True)
    assert json_reference("--write", page).returncode == 0
    assert page.read_text() == PAGE.read_text()
