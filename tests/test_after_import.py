"""Act when a module is imported, which short processes may never need."""

from __future__ import annotations

import subprocess
import sys

import pytest

BEGIN = """
import sys
from orchestrator.after_import import after_import, not_after_import

def act():
    print("acts", "colorsys" in sys.modules)

"""


def printed_by(code):
    done = subprocess.run([sys.executable, "-c", BEGIN + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    "importing",
    ["import colorsys", "from colorsys import rgb_to_hls", "import importlib; importlib.import_module('colorsys')"],
)
def test_it_acts_once_and_before_the_importing_code_continues(importing):
    code = f"after_import('colorsys', act)\nprint('begins')\n{importing}\nprint('continues')\nimport colorsys"
    assert printed_by(code) == ["begins", "acts True", "continues"]


def test_it_acts_at_once_if_the_module_was_imported():
    assert printed_by("import colorsys\nafter_import('colorsys', act)\nprint('continues')") == [
        "acts True",
        "continues",
    ]


def test_a_search_for_the_module_does_not_count():
    code = "after_import('colorsys', act)\nimport importlib.util\nprint(importlib.util.find_spec('colorsys').name)\n"
    assert printed_by(code + "import colorsys") == ["colorsys", "acts True"]


def test_several_acts_and_one_that_was_withdrawn():
    code = "for each in (act, print, lambda: act()):\n    after_import('colorsys', each)\n"
    assert printed_by(f"{code}not_after_import('colorsys', print)\nimport colorsys") == ["acts True", "acts True"]
    code = "after_import('colorsys', act)\nnot_after_import('colorsys', act)\nnot_after_import('colorsys', act)"
    assert printed_by(f"{code}\nimport colorsys\nnot_after_import('colorsys', act)") == []


def test_the_module_is_as_it_would_be():
    code = "after_import('colorsys', act)\nimport colorsys, inspect\n"
    code += "print(inspect.getsource(colorsys.rgb_to_hls)[:3], colorsys.__spec__.origin == colorsys.__file__)"
    assert printed_by(code) == ["acts True", "def True"]
