"""A workspace that was moved with its study: a local run continues with its code and with the files beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator import ExperimentData

HELPER = """
from pathlib import Path
factor = float((Path(__file__).parent / "factor.txt").read_text())
"""

STUDY = """
from pathlib import Path
from orchestrator import Pipeline, Step, datagenerator
from tests.studies import store_numbers
import helper

@datagenerator(output_names="y")
def evaluate(x):
    import late
    if x > 1 and not Path("allowed").exists():
        raise RuntimeError("not yet")
    return x * helper.factor * late.one

pipeline = Pipeline("moved", [Step(store_numbers(4)), Step(evaluate, name="evaluate", parallel=True, max_failed=0)])
"""


@pytest.mark.slow
@pytest.mark.parametrize("runs", [".", "runs"])
def test_a_moved_run_continues_on_this_machine(cli, monkeypatch, runs):
    old, new = cli.workspace / "old", cli.workspace / "new"
    old.mkdir()
    for name, text in {"study.py": STUDY, "helper.py": HELPER, "factor.txt": "2", "late.py": "one = 1.0"}.items():
        (old / name).write_text(text)
    monkeypatch.chdir(old)
    assert cli("run", "study.py", "--project-job", "k", "--rootdir", runs).code == 1
    old.rename(new)
    monkeypatch.chdir(new)
    Path("allowed").touch()

    shown = cli("status", "k", "--rootdir", runs)
    assert f"study {new}/study.py" in shown.out
    done = cli("resume", "k", "--rootdir", runs)

    assert (done.code, "has changed" in done.err) == (0, False), done.err
    assert ExperimentData.from_file(new / runs / "k").to_pandas()[1]["y"].tolist() == [0.0, 2.0, 4.0, 6.0]
    assert not old.exists()
