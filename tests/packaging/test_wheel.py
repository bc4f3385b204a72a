"""The wheel, installed alone in a fresh environment far from the repository, does the whole job."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from orchestrator.version import __version__
from tests.environments import PIP, build_wheel, make_environment

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]

STUDY = """\
from orchestrator import (
    CollectArrayResults, Domain, ExperimentData, Pipeline, Step, datagenerator
)


def create(project_dir):
    domain = Domain()
    domain.add_float("x", low=0.0, high=4.0)
    domain.add_output("y")
    rows = [{"x": float(number)} for number in range(5)]
    ExperimentData(domain=domain, input_data=rows).store(project_dir)


@datagenerator(output_names="y")
def double(x):
    return 2 * x


pipeline = Pipeline(
    name="tiny",
    steps=[
        Step(create, name="create"),
        Step(double, name="double", parallel=True),
        Step(CollectArrayResults(), name="collect"),
    ],
)
"""


def succeed(command: list[str | Path], **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = build_wheel(ROOT, folder)
    assert done.returncode == 0, done.stderr
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel and its dependencies, nothing else, into a new environment."""
    folder = tmp_path_factory.mktemp("installed alone")  # a path with spaces must work, too
    done = make_environment(folder, wheel)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture
def run(bin_folder: Path, workspace: Path):
    """Run one of the environment's programs in an empty folder, without the repository."""
    hidden = {"PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["PATH"] = f"{bin_folder}{os.pathsep}{environment['PATH']}"

    def run(program: str, *arguments: str) -> str:
        return succeed([bin_folder / program, *arguments], cwd=workspace, env=environment)

    return run


def test_the_wheel_holds_the_package_and_its_migrations_only(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    migrations = {
        f"orchestrator/_migrations/{path.relative_to(ROOT / 'migrations')}"
        for path in (ROOT / "migrations").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "orchestrator/_migrations/env.py" in migrations
    assert migrations <= set(names)
    assert {"orchestrator/py.typed", "orchestrator/slurm/templates/job.sh.j2"} <= set(names)
    assert {name.split("/")[0] for name in names} == {"orchestrator", f"slurm_orchestrator-{__version__}.dist-info"}
    assert not [name for name in names if "__pycache__" in name]


def test_the_name_that_messages_install_is_that_of_the_wheel(bin_folder):
    """An extra of the installed distribution is resolved without a look at the distributions of that name on PyPI."""
    here = [*PIP, "--python", bin_folder / "python"]
    shown = succeed([*here, "install", "--dry-run", "--no-deps", "--no-index", "slurm-orchestrator[hydra]"])
    assert "Requirement already satisfied: slurm-orchestrator[hydra]" in shown


def test_the_package_is_imported_from_the_environment(run, bin_folder):
    script = "import orchestrator, pathlib; print(pathlib.Path(orchestrator.__file__).parent)"
    package = Path(run("python", "-c", script).strip())
    assert bin_folder.parent in package.parents
    assert (package / "py.typed").is_file()


def test_the_command_is_installed(run):
    page = run("orchestrator", "--help")
    assert "Usage: orchestrator" in page
    assert "status" in page


def test_the_installed_command_writes_a_report_and_the_wheel_has_the_licence_of_its_charts(run, workspace, wheel):
    (workspace / "study.py").write_text(STUDY)
    run("orchestrator", "run", "study.py", "--project-job", "r")
    run("orchestrator", "report", "r", "-o", "report.html")
    assert "Apache Software Foundation" in (workspace / "report.html").read_text(encoding="utf-8")
    licences = [name.rpartition("/")[2] for name in zipfile.ZipFile(wheel).namelist() if "dist-info/licenses/" in name]
    assert sorted(licences) == ["LICENSE", "LICENSE", "LICENSE-d3", "NOTICE"]


def test_the_installed_command_runs_a_study_and_shows_its_status(run, workspace):
    (workspace / "study.py").write_text(STUDY)
    run("orchestrator", "run", "study.py")

    assert "succeeded" in run("orchestrator", "status")
    assert "succeeded" in json.dumps(json.loads(run("orchestrator", "status", "--json")))

    [table] = workspace.glob("*/experiment_data/output.csv")
    read = (
        "import sys; from orchestrator import ExperimentData\n"
        "data = ExperimentData.from_file(sys.argv[1])\n"
        "inputs, outputs = data.to_pandas()\n"
        "assert (outputs['y'] == 2 * inputs['x']).all()\n"
        "print(*data.jobs.astype(str), sep='\\n')"
    )
    statuses = run("python", "-c", read, str(table.parent.parent)).split()
    assert statuses == ["FINISHED"] * 5


def test_the_cluster_is_read_from_yaml_without_an_extra(run, workspace):
    (workspace / "cluster.yaml").write_text("partition: compute\nenv_vars: {LIMIT: 1:30:00}\n")
    read = "from orchestrator import SlurmCluster; print(SlurmCluster.from_yaml('cluster.yaml').env_vars['LIMIT'])"
    assert run("python", "-c", read) == "1:30:00\n"


MIGRATE = """
import sqlite3
from orchestrator.db import migrate
new, migrated = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
migrate.create_tables(new)
migrate.migrate(migrated)
print(migrate.definitions(new) == migrate.definitions(migrated))
"""


def test_the_installed_migrations_make_the_tables(run, workspace):
    (workspace / "study.py").write_text(STUDY)
    run("orchestrator", "run", "study.py")
    run("orchestrator", "db", "upgrade")
    run("orchestrator", "db", "check")
    assert run("python", "-c", MIGRATE) == "True\n"
    [newest] = (ROOT / "migrations" / "versions").glob("*.py")
    assert newest.stem.partition("_")[0] in run("orchestrator", "db", "info")
