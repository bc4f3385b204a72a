"""f3dasm's own tests, with our objects under f3dasm's names: those that its distribution on PyPI contains."""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from tests.environments import ENVIRONMENT, PIP
from tests.interop.conftest import REQUIREMENT
from tests.shim.f3dasm_tests import recorded, run

pytestmark = [pytest.mark.acceptance, pytest.mark.interop, pytest.mark.timeout(900)]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "concepts" / "differences-from-f3dasm.md"


@pytest.fixture(scope="module")
def distribution(request, tmp_path_factory):
    """Return the unpacked source distribution of f3dasm."""
    archive = os.environ.get("ORCHESTRATOR_F3DASM_SDIST")
    if archive is None:
        folder = Path(request.config.cache.mkdir("f3dasm-2.4.0-sdist"))
        if not list(folder.glob("*.tar.gz")):
            options = ["--quiet", "--no-deps", "--no-binary", "f3dasm", "--dest", str(folder), REQUIREMENT]
            subprocess.run([*PIP, "download", *options], check=True, env=ENVIRONMENT)
        [archive] = folder.glob("*.tar.gz")
    unpacked = tmp_path_factory.mktemp("f3dasm")
    with tarfile.open(archive) as file:
        file.extractall(unpacked, filter="data")
    [folder] = unpacked.iterdir()
    return folder


def test_the_tests_of_f3dasm_have_the_recorded_outcomes(distribution):
    found, expected = run(distribution), recorded()
    assert len(found) > 50
    assert {name: one for name, one in found.items() if expected.get(name) != one} == {}


def test_the_page_of_the_differences_has_the_numbers_and_the_reasons():
    outcomes, page = recorded().values(), PAGE.read_text()
    n = Counter(one.outcome for one in outcomes)
    assert f"Of {len(outcomes)} tests {n['passes']} pass, {n['differs']} differ deliberately" in page
    assert f"and {n['not ours']} are not ours" in page
    assert set(n) == {"passes", "differs", "not ours"}
    for (outcome, why), number in Counter(outcomes).items():
        if outcome == "differs":
            assert f"| {number} | {why} |" in page
