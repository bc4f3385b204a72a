"""Files of a run that were cut at any length, or of which any byte differs: read as they were, or a named error."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from orchestrator import ExperimentData
from orchestrator.damage import Damaged
from orchestrator.data.kept_table import read_kept
from orchestrator.data.records import records_of
from orchestrator.definition.bundle import Bundle
from orchestrator.errors import OrchestratorError
from orchestrator.handoff.claim import claimed_by
from orchestrator.handoff.environment import read_environment, write_environment
from orchestrator.handoff.jobfile import digest_of, read_jobfile
from orchestrator.handoff.manifest import Manifest
from orchestrator.handoff.receipt import read_receipt
from orchestrator.table_folder import data_folder
from orchestrator.workspace import RunFolder
from tests.conftest import EXAMPLES

pytestmark = pytest.mark.slow


class Read(NamedTuple):
    """How a file is read."""

    path: Path
    read: Callable[[], object]


def files_of(run: RunFolder) -> dict[str, Read]:
    job = next(run.job(path.name) for path in run.jobs.iterdir() if '"batch"' in (path / "job.json").read_text())
    job_digest = digest_of(read_jobfile(job.file))
    receipt = job.receipt(0)
    [manifest] = run.engine.glob("steps/*/manifest.jsonl")
    manifest_digest = Manifest.open(manifest).sha256
    [bundle] = run.bundles.iterdir()
    kept = max(run.kept_tables.iterdir())
    environment = write_environment(run)
    table = data_folder(run.path)

    def of_manifest() -> object:
        opened = Manifest.open(manifest, manifest_digest)
        return repr([*opened, opened.expected_outputs()])

    found = {
        "job file": Read(job.file, lambda: repr(read_jobfile(job.file, job_digest))),
        "claim": Read(job.claim, lambda: claimed_by(job)),
        "receipt": Read(receipt, lambda: vars(read_receipt(receipt))),
        "manifest": Read(manifest, of_manifest),
        "note of a kept table": Read(kept / "snapshot.json", lambda: read_kept(kept).contents),
        "environment": Read(run.environment, lambda: read_environment(run, environment)),
        "domain": Read(table / "domain.json", lambda: cells_of(run)),
        "inputs": Read(table / "input.csv", lambda: cells_of(run)),
        "outputs": Read(table / "output.csv", lambda: cells_of(run)),
        "statuses": Read(table / "jobs.csv", lambda: cells_of(run)),
        "folded results": Read(next(table.glob(".archive/*/*.jsonl")), lambda: lines_of(run)),
    }
    found |= {f"code: {path.name}": Read(path, lambda: code_of(bundle)) for path in bundle.iterdir()}
    return found


def cells_of(run: RunFolder) -> object:
    data = ExperimentData.from_file(run.path)
    inputs, outputs = data.input_rows(), data.output_rows()
    rows = [repr((inputs(row), outputs(row), status.name)) for row, status in enumerate(data.statuses())]
    return [*rows, repr(data.domain.to_json())]


def lines_of(run: RunFolder) -> object:
    return [repr(record) for record in records_of(ExperimentData.from_file(run.path))]


def code_of(bundle: Path) -> object:
    opened = Bundle(bundle)
    return [opened.pickle_of("0"), opened.pickle_of("1"), repr(opened.modules())]


STUDY = """
from orchestrator import Domain, ExperimentData, Pipeline, Step, datagenerator

def create(project_dir):
    domain = Domain()
    domain.add_float("x", low=0.0, high=9.5)
    domain.add_int("n", low=0, high=9)
    domain.add_category("c", ["a", "007", "b,c"])
    domain.add_output("y")
    rows = [{"x": row / 3, "n": row, "c": ["a", "007", "b,c"][row % 3]} for row in range(6)]
    ExperimentData(domain=domain, input_data=rows).store(project_dir)

@datagenerator(output_names="y")
def evaluate(x, n, c):
    if n == 3:
        raise ValueError("three")
    return x * n

pipeline = Pipeline("bytes", [Step(create), Step(evaluate, parallel=True, max_failed=2)])
"""


@pytest.fixture
def run(here) -> RunFolder:
    (here.workspace / "study.py").write_text(STUDY)
    assert here("run", "study.py", "--project-job", "r", "--jobs", "1").code in (0, 3)
    return RunFolder(here.workspace, "r")


def damages(content: bytes, n: int, rng: random.Random) -> Iterator[bytes]:
    """Yield a content that was cut, and one of which a byte differs: at each place, or at `n` by chance."""
    size = len(content)
    for at in range(size) if n >= size else sorted(rng.sample(range(size), n)):
        yield content[:at]
        yield content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


EDITS = {"domain", "inputs", "outputs"}
"""Of these, a value of the same type in the place of another one is an edit of the user."""

LOST = {"folded results"}
"""Of these, a damaged line counts as missing."""


def is_right(name: str, now: list[str], before: list[str]) -> bool:
    """Whether what was read from a damaged file is right: of an edit, at most one row differs."""
    if name in EDITS:
        return sum(row != then for row, then in zip(now, before, strict=True)) <= 1
    if name in LOST:
        return all(line in (then, "None") for line, then in zip(now, before, strict=True))
    return now == before


def test_a_file_with_any_damage_is_read_as_it_was_or_refused_by_name(run, pytestconfig):
    n = pytestconfig.getoption("--examples")
    rng = random.Random(0 if n == EXAMPLES else None)
    for name, file in files_of(run).items():
        path = file.path.resolve()
        whole, before = path.read_bytes(), file.read()
        for content in damages(whole, n, rng):
            path.write_bytes(content)
            with suppress(OrchestratorError, Damaged):
                now = file.read()
                assert is_right(name, now, before), (name, content)
                assert name not in EDITS or len(content) == len(whole), (name, content)
        path.write_bytes(whole)
        assert file.read() == before
