"""The example studies and the README's, run as a reader would run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import ExperimentData, ExperimentSample
from tests.environments import ENVIRONMENT

pytestmark = [pytest.mark.acceptance]

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
SOME_FAILED = 3
"""Exit code of a run that has succeeded, with failed experiments."""


def succeed(*arguments: str | Path, code: int = 0) -> str:
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert done.returncode == code, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def orchestrator(*arguments: str | Path, code: int = 0) -> str:
    return succeed("-c", "from orchestrator.cli.main import main; main()", *arguments, code=code)


def test_the_quickstart_runs_by_the_command(workspace):
    orchestrator("run", EXAMPLES / "quickstart.py")
    assert "succeeded" in orchestrator("status")
    log = next((workspace / "logs").glob("*/report*.log")).read_text()
    assert re.search(r"best of 40 experiments: branin\(\S+, \S+\) = \d+\.\d{3}", log)


def test_the_quickstart_runs_in_python(workspace):
    succeed(EXAMPLES / "quickstart.py")
    assert "succeeded" in orchestrator("status")


needs_calculix = pytest.mark.skipif(
    shutil.which("ccx") is None, reason="needs CalculiX: sudo apt-get install calculix-ccx"
)


def shortened(folder: Path, name: str, **values: object) -> Path:
    """Copy an example, with other values of some of its constants, and return its path."""
    text = (EXAMPLES / name).read_text()
    for constant, value in values.items():
        text, n = re.subn(rf"\b{constant} ?= ?[^,\n]+?(?=,|\n|  #)", f"{constant}={value}", text, count=1)
        assert n == 1, constant
    for template in EXAMPLES.glob("*.jinja"):
        shutil.copy(template, folder)
    (folder / name).write_text(text)
    return folder / name


@needs_calculix
def test_the_plate_study_finds_a_lighter_plate_although_some_fail(workspace):
    orchestrator(
        "run", shortened(workspace, "plate_calculix.py", n_iterations=2), "--project-job", "r", code=SOME_FAILED
    )
    best = json.loads((workspace / "r" / "best.json").read_text())
    data = ExperimentData.from_file(workspace / "r")
    inputs, outputs = data.to_pandas()
    # The solver fails where the hole cuts the edge of the plate, and nowhere else.
    failed = outputs.index[outputs["stress"].isna()].tolist()
    assert failed == inputs.index[(inputs["a"] > 50) | (inputs["b"] > 50)].tolist()
    assert len(failed) == best["failed"] > 0
    # The first experiments are 12. The proposed ones are better.
    assert best["stress"] <= 220
    assert outputs["volume"][outputs["stress"] <= 220].min() < outputs["volume"][:12][outputs["stress"] <= 220].min()
    field = data.get_experiment_sample(int(outputs["stress"].idxmin())).output_data["field"]
    assert field[:, 2].max() == outputs["stress"].min()
    assert (workspace / "r" / "plate.png").stat().st_size > 10_000
    # Of the folders in which the program ran, those of failures are kept.
    kept = sorted(path.relative_to(workspace / "r" / "scratch") for path in workspace.glob("r/scratch/*/*"))
    assert kept == sorted(Path("solve", str(row)) for row in failed)
    assert "nonpositive jacobian" in (workspace / "r/scratch/solve" / str(failed[0]) / "command.log").read_text()
    [named] = re.findall(r"Scratch folder: (.+)", orchestrator("logs", "r", "solve"))
    assert Path(named).relative_to(workspace / "r" / "scratch") in kept


@needs_calculix
def test_the_plate_study_computes_the_stress_at_a_small_hole(tmp_path, monkeypatch):
    """Kirsch's solution for a hole in an infinite plate: three times the one tension minus the other."""
    monkeypatch.syspath_prepend(EXAMPLES)
    from plate_calculix import LOADS, solve

    sample = solve.execute(ExperimentSample({"a": 3.0, "b": 3.0}, project_dir=tmp_path), **LOADS)
    expected = 3 * LOADS["tension_x"] - LOADS["tension_y"]
    assert sample.output_data["stress"] == pytest.approx(expected, rel=0.03)
    assert sample.output_data["volume"] == pytest.approx(2500 - 9 * 3.14159 / 4, rel=1e-4)


def test_the_study_with_optuna_is_told_failures_and_a_resume_proposes_the_same(workspace):
    study = shortened(workspace, "tumours_optuna.py", n_iterations=3, PER_ROUND=5)
    orchestrator("run", study, "--project-job", "whole", code=SOME_FAILED)
    inputs, outputs = ExperimentData.from_file(workspace / "whole").to_pandas()
    does_not_exist = (inputs["penalty"] == "l1") & (inputs["loss"] == "hinge")
    assert len(inputs) == 15
    assert does_not_exist.any()
    assert outputs["accuracy"].isna().tolist() == does_not_exist.tolist()
    best = json.loads((workspace / "whole" / "best.json").read_text())
    assert best["accuracy"] > 0.96
    assert best["failed"] == does_not_exist.sum()
    assert (workspace / "whole" / "tumours.png").stat().st_size > 10_000

    first_line = "        study, space = told(data, seed)\n"
    assert first_line in study.read_text()
    stop = "        assert len(data) < 10 or Path('go').exists()\n"
    study.write_text(study.read_text().replace(first_line, stop + first_line))
    orchestrator("run", study, "--project-job", "interrupted", code=1)
    (workspace / "go").touch()
    orchestrator("resume", "interrupted", code=SOME_FAILED)
    whole, interrupted = (
        {path.name: path.read_text() for path in (workspace / key / "experiment_data").glob("*.csv")}
        for key in ("whole", "interrupted")
    )
    assert interrupted == whole


@pytest.mark.timeout(900)
def test_the_demo_works_on_a_fresh_checkout(workspace):
    """`scripts/demo` makes its environment and tunes a good model on the digits."""
    checkout = workspace / "fresh checkout"
    leave_out = shutil.ignore_patterns(".*_cache", ".git", ".venv", "demo-runs", "__pycache__")
    shutil.copytree(ROOT, checkout, ignore=leave_out)
    study = checkout / "docs" / "examples" / "digits_svm.py"
    study.write_text(study.read_text().replace("SAMPLES_PER_ROUND = 16", "SAMPLES_PER_ROUND = 8"))
    done = subprocess.run(
        [checkout / "scripts" / "demo", workspace / "runs"],
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in ENVIRONMENT.items() if name != "PYTHONPATH"} | {"COLUMNS": "80"},
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "succeeded" in done.stdout

    [best_file] = workspace.glob("runs/*/best.json")
    best = json.loads(best_file.read_text())
    assert best["cross_validated_accuracy"] > 0.98
    assert best["test_accuracy"] > 0.97
    # The loop ended because a round gained nothing, not because its iterations ran out.
    assert best["evaluations"] % 8 == 0
    assert 16 <= best["evaluations"] < 8 * 6


def without_numbers(status: str) -> list[str]:
    """Return the words of a status that do not depend on time and place."""
    without_durations = re.sub(r"\d[\d.]*\s+(ms|s|min|h|d)\b", "", status)
    return [word for word in without_durations.split() if not re.search(r"[\d/]", word)]


def test_the_readme_shows_the_status_of_its_study(workspace):
    readme = (ROOT / "README.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    [shown] = re.findall(r"```text\n(.*?)```", readme, re.DOTALL)
    (workspace / "study.py").write_text(code)
    orchestrator("run", "study.py")
    assert without_numbers(orchestrator("status")) == without_numbers(shown)
    [outputs] = workspace.glob("*/experiment_data/output.csv")
    assert len(outputs.read_text().splitlines()) == 101
