"""Files of a run that say a terabyte, because a part of them was never written: no command reads that."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.slow


def grow(path, more=b""):
    with path.open("r+b") as file:
        file.truncate(1 << 40)
        file.seek(0, 2)
        file.write(more)


@pytest.fixture
def run(here):
    """Return the folder of a run with ten experiments, of which the third has failed."""
    assert here("run", "batch.py", "--project-job", "r", "--jobs", "1").code == 3
    return here.workspace / "r"


def test_the_holes_of_a_log_are_left_out(here, run):
    log = min((here.workspace / "logs" / "r").glob("evaluate.*.0.log"))
    before = log.read_text()
    grow(log, b"\nafter the hole\n")
    for words in ("logs r evaluate --task 0", "logs r evaluate --task 0 --follow"):
        done = here(*words.split())
        assert done.out == f"{before}\nafter the hole\n"
        assert f"bytes of {log} were never written, and are left out" in done.err


def test_the_output_of_an_experiment_is_found_in_results_with_holes(here, run):
    before = here("logs", "r", "evaluate", "--experiment", "3")
    assert "three comes" in before.out
    for path in run.rglob("*.jsonl"):
        if path.parent.name != "manifests" and path.name != "manifest.jsonl":
            grow(path)
    assert here("logs", "r", "evaluate", "--experiment", "3") == before


def test_results_with_holes_are_not_lost(here, run):
    whole = here("table", "r", "--csv", "-").out
    results = list(run.glob("experiment_data/.archive/*/*.jsonl"))
    assert results
    for path in results:
        folder = run / "experiment_data" / ".results" / path.parent.name
        folder.parent.mkdir(exist_ok=True)
        grow(path)
        path.parent.rename(folder)
        break
    assert here("table", "r", "--csv", "-").out == whole
    assert here("failures", "r").code == 0


@pytest.mark.parametrize("name", ["domain.json", "input.csv", "output.csv", "jobs.csv"])
def test_a_table_with_holes_is_named_by_each_command_and_other_runs_work(here, run, name):
    here("run", "study.py", "--project-job", "other")
    grow(run / "experiment_data" / name)
    for words in ("table r", "failures r", "report r", "efficiency r", "resume r --from-step evaluate"):
        done = here(*words.split())
        assert done.code == 1, words
        text = " ".join(done.err.split())
        assert f"{name} can't be used: it has a size of 1.1 TB, but nothing was written after byte" in text, words
    for words in (
        "status r",
        "list",
        "logs r evaluate",
        "snapshots r",
        "diff r other",
        "status other",
        "clean r --yes",
    ):
        assert here(*words.split()).code == 0, words
