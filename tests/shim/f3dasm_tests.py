"""Run f3dasm's own tests against our objects, and compare their outcomes with `outcomes.tsv`.

    python -m tests.shim.f3dasm_tests FOLDER            the folder that holds f3dasm's `tests`
    python -m tests.shim.f3dasm_tests FOLDER --write    and write the outcomes

An outcome is `passes`, `differs` (docs/concepts/differences-from-f3dasm.md says how) or `not ours` (the test is about
the inside of f3dasm). The reason of each failure follows from its message, by the rules below.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[2]
SHIM = Path(__file__).parent
OUTCOMES = SHIM / "outcomes.tsv"

SETTINGS = """
[pytest]
markers =
    smoke
    requires_dependency(name)
"""

PATIENCE = """
from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("patient")
"""

INTERNAL = "a name of f3dasm's inside"

RULES = (
    # (pattern of `test: message`, outcome, reason)
    (r": .*\bNotOurs\b|collection failure|spec not found for the module 'f3dasm", "not ours", INTERNAL),
    (r"No such file or directory: 'test_\w+\.csv'", "not ours", "replaces pandas.read_csv, to test how f3dasm reads"),
    (r"BENCHMARK_BOUNDS", "not ours", INTERNAL),
    (r"test_optional_deps", "not ours", "about the packaging of f3dasm"),
    (r"No module named 'matplotlib'", "not ours", INTERNAL),
    (r"test_mpi_utils|TestMPI", "not ours", INTERNAL),
    (r"has no parameter 'seed'", "differs", "a benchmark function refuses parameters that it does not have"),
    (r"mode='cluster", "differs", "modes of DataGenerator.call for clusters"),
    (r"There is no sampler", "differs", "the type of the error for an unknown sampler"),
    (r"test_create_sampler_short_name_warns", "differs", "short names of samplers give no warning"),
    (r"test_create_sampler_rejects_non_str_non_", "differs", "create_sampler returns a block unchanged"),
    (r"Regex pattern did not match", "differs", "the words of a message"),
    (r"test_str_method|test_parameter_str|test_repr", "differs", "str() of a domain and of a parameter"),
    (r"must be integers, not", "differs", "bounds of integers that are not integers are refused"),
    (r"test_add_combination|test_add_discrete_to_constant", "differs", "the upper bound of an integer is a value, too"),
    (r"TestArrayParameter", "differs", "bounds of an array parameter are lists or a number"),
    (r"test_invalid_status_string", "differs", "the type of the error for an unknown status"),
    (r"test_call_cleans_up_directory", "differs", "CollectArrayResults deletes files after the table is stored"),
    (r"Can't instantiate abstract class DataGenerator", "differs", "a DataGenerator is a Block"),
    (r"which the table names, does not exist", "differs", "an object on disk whose file is missing is an error"),
    (r"test_add_experiments_invalid_type", "differs", "the type of the error for an argument of another type"),
    (r"test_tpesampler_factory_returns_update_step", "not ours", INTERNAL),
)


class Outcome(NamedTuple):
    """What became of a test, and why it did not pass."""

    outcome: str
    why: str


def run(folder: Path) -> dict[str, Outcome]:
    """Run the tests in a copy of `FOLDER/tests`."""
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        shutil.copytree(folder / "tests", copy / "tests")
        (copy / "pytest.ini").write_text(SETTINGS)
        (copy / "conftest.py").write_text(PATIENCE)
        environment = {**os.environ, "PYTHONPATH": f"{SHIM}{os.pathsep}{ROOT}"}
        options = ["-q", "--tb=no", "--continue-on-collection-errors", "--timeout=60", "--junitxml=report.xml"]
        plugins = ["-p", "no:cacheprovider", "-p", "no:xdist"]
        command = [sys.executable, "-m", "pytest", *options, *plugins, "tests"]
        subprocess.run(command, cwd=copy, env=environment, check=False, capture_output=True)
        return dict(_outcomes(ElementTree.parse(copy / "report.xml")))


def _outcomes(report: ElementTree.ElementTree) -> Iterator[tuple[str, Outcome]]:
    for case in report.iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}".lstrip(":")
        failed = [found for found in case if found.tag in ("failure", "error")]
        if any(found.tag == "skipped" for found in case):
            continue
        message = (failed[0].get("message") or "").split("\n")[0] if failed else ""
        yield name, _judged(f"{name}: {message}") if failed else Outcome("passes", "")


def _judged(text: str) -> Outcome:
    for pattern, outcome, why in RULES:
        if re.search(pattern, text):
            return Outcome(outcome, why)
    return Outcome("fails", text)


def recorded() -> dict[str, Outcome]:
    """Return the outcomes in the file, by test."""
    lines = OUTCOMES.read_text(encoding="utf-8").splitlines()
    return {name: Outcome(outcome, why) for name, outcome, why in (line.split("\t") for line in lines)}


def write(outcomes: Mapping[str, Outcome]) -> None:
    """Write the file."""
    lines = (f"{name}\t{found.outcome}\t{found.why}\n" for name, found in sorted(outcomes.items()))
    OUTCOMES.write_text("".join(lines), encoding="utf-8")


def main() -> int:
    """Run the tests that the command line names."""
    found = run(Path(sys.argv[1]))
    if "--write" in sys.argv:
        write(found)
    print(dict(Counter(one.outcome for one in found.values())))
    expected = recorded()
    others = [f"{name}: {one.outcome} {one.why}" for name, one in found.items() if expected.get(name) != one]
    print("\n".join(others) or "as recorded")
    return bool(others) or any(one.outcome == "fails" for one in found.values())


if __name__ == "__main__":
    sys.exit(main())
