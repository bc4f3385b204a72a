"""Every public name of f3dasm 2.4 with every public member: the same here, deliberately different, or not ours."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.interop, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "concepts" / "differences-from-f3dasm.md"

COMPARE = '''
"""Print what each public name and member of f3dasm is here: same, missing, or without some parameters."""
import importlib
import inspect
import json
import pkgutil

import f3dasm


def parameters(function):
    try:
        found = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    return {one.name: one.kind for one in found if one.name not in ("self", "cls")}


def compare(theirs, ours):
    if ours is None:
        return "missing"
    wanted, known = parameters(theirs), parameters(ours)
    if not callable(theirs) or wanted is None or known is None or inspect.Parameter.VAR_KEYWORD in known.values():
        return "same"
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    lacking = [name for name, kind in wanted.items() if kind in named and name not in known]
    return "without " + ", ".join(lacking) if lacking else "same"


def members(cls):
    fields = getattr(cls, "__dataclass_fields__", {})
    return sorted(name for name in {*dir(cls), *fields} if not name.startswith("_") or name == "_repr_html_")


def member(theirs, ours, name):
    if hasattr(ours, name):
        value = getattr(ours, name)
        return "same" if value is None else compare(getattr(theirs, name, None), value)
    return "same" if name in (parameters(ours) or {}) else "missing"


found = {}
modules = [module.name for module in pkgutil.walk_packages(f3dasm.__path__, "f3dasm.")]
for module in ["f3dasm", *(name for name in modules if "._" not in name)]:
    theirs = importlib.import_module(module)
    try:
        ours = importlib.import_module(module.replace("f3dasm", "orchestrator", 1))
    except ImportError:
        found[module] = "missing"
        continue
    for name in theirs.__all__:
        found[f"{module}.{name}"] = compare(getattr(theirs, name), getattr(ours, name, None))
        if inspect.isclass(getattr(theirs, name)) and hasattr(ours, name):
            for each in members(getattr(theirs, name)):
                found[f"{module}.{name}.{each}"] = member(getattr(theirs, name), getattr(ours, name), each)
print(json.dumps(found))
'''

NOT_OURS = {
    "f3dasm.ExperimentData.store_experimentsample_references": "objects are written when they are stored in a table",
    "f3dasm.ExperimentData.store_objects": "objects are written when they are stored in a table",
    "f3dasm.pipeline.run_step": "the program of f3dasm's own jobs",
}
"""Names of f3dasm that are missing here, with the reason."""

DIFFERENT: dict[str, str] = {}
"""Names of f3dasm that lack a parameter here, with the beginning of their line in the page of the differences."""


def test_every_public_name_of_f3dasm_is_here(f3dasm_python, tmp_path):
    environment = {"PYTHONPATH": str(ROOT)}
    command = [str(f3dasm_python), "-W", "ignore", "-c", COMPARE]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found) > 200
    assert {name for name, what in found.items() if what == "missing"} == NOT_OURS.keys()
    assert {name for name, what in found.items() if what.startswith("without")} == DIFFERENT.keys()


def test_what_is_different_or_not_ours_is_in_the_page_of_the_differences():
    page = PAGE.read_text()
    for name in NOT_OURS:
        assert name.rpartition(".")[2] in page
    for line in DIFFERENT.values():
        assert line in page
