"""Which modules an import and `--help` load, and which names are public."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from importlib import import_module
from pathlib import Path

import pytest

import orchestrator
from orchestrator.worker.guarded import IN_ORDER
from orchestrator.workspace import TASK_MARK

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"numpy", "pandas", "scipy", "sqlalchemy", "alembic", "cloudpickle", "rich", "sklearn", "pyarrow"}

NOT_FOR_TASKS = {"hashlib", "pickletools", "platform", "uuid"}

NEVER_IN_A_TASK = (
    {"base64", "ctypes", "datetime", "logging", "numbers", "pickle", "shlex", "shutil", "subprocess", "tempfile"}
    | {"textwrap", "threading", "traceback"}
    | {
        f"orchestrator.data.{name}"
        for name in ("column", "contents", "generations", "layout", "named_rows", "open_table", "table")
    }
    | {
        f"orchestrator.{name}"
        for name in ("definition.samplers", "definition.f3dasm_blocks", "machine.kinds", "sharing")
    }
    | {f"orchestrator.worker.{name}" for name in ("log_handler", "openmp", "random_numbers", "supervisor")}
    | {"orchestrator.db", "orchestrator.slurm", "orchestrator.engine"}
)
"""What no task of an array needs, unless its study uses it."""

NOT_FOR_STUDIES = HEAVY | {"click", "jinja2", "mako", "omegaconf", "yaml"}


def modules_loaded_by(code: str, cwd: Path) -> set[str]:
    """Run `code` in a new interpreter; return the top-level modules that it left loaded."""
    return {name.partition(".")[0] for name in all_modules_loaded_by(code, cwd)}


def all_modules_loaded_by(code: str, cwd: Path) -> set[str]:
    """Run `code` in a new interpreter; return the modules that it left loaded, with those inside packages."""
    script = (
        "import sys, json\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"try:\n    {code}\n"
        "except SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_probe_finds_a_heavy_module(tmp_path):
    assert "numpy" in modules_loaded_by("import numpy", tmp_path)


def test_import_loads_nothing_heavy(tmp_path):
    loaded = modules_loaded_by("import orchestrator", tmp_path)
    assert "orchestrator" in loaded
    assert not loaded & HEAVY


def test_the_public_names_load_nothing_that_only_the_use_of_a_table_needs(tmp_path):
    loaded = all_modules_loaded_by("exec('from orchestrator import *')", tmp_path)
    assert "orchestrator.data.experiment_data" in loaded
    assert not loaded & {
        f"orchestrator.data.{name}" for name in ("generations", "layout", "matching", "open_table", "sources")
    }


@pytest.mark.parametrize("name", ["*", *orchestrator.__all__])
def test_a_public_name_loads_nothing_heavy(tmp_path, name):
    script = f"exec('from orchestrator import {name}')"
    assert not modules_loaded_by(script, tmp_path) & NOT_FOR_STUDIES


STUDY = """
from orchestrator import *

domain = Domain()
domain.add_float("x", low=0.0, high=1.0, log=False)
domain.add_int("n", low=1, high=5)
domain.add_category("c", ["a", "b"])
domain.add_constant("k", 3)
domain.add_array("v", 3)
domain.add_parameter("p", to_disk=True)
domain.add_output("y")
domain.add_output("loaded")


class Model(DataGenerator):
    def execute(self, experiment_sample):
        experiment_sample.store("y", experiment_sample.input_data["x"])
        return experiment_sample


class Update(Block):
    def call(self, data):
        return data


def create(project_dir):
    rows = [{"x": 0.5, "n": 1, "c": "a", "k": 3, "v": [1.0, 2.0, 3.0]} for _ in range(4)]
    ExperimentData(domain=domain, input_data=rows).store(project_dir)


@datagenerator(output_names=["y", "loaded"])
def evaluate(x, n):
    import sys

    return x * n, ",".join(sorted({name.partition(".")[0] for name in sys.modules}))


cluster = SlurmCluster(partition="compute", env_setup=["module load python"])
resources = SlurmResources(time="00:10:00", cpus_per_task=2)
table = ExperimentData(domain=domain, input_data=[{"x": 0.5, "v": [1.0, 2.0, 3.0]}])
unused = [Step(Model(), parallel=True, resources=resources), Step(create_sampler("latin"), kwargs={"n_samples": 9})]
pipeline = Pipeline(
    "light",
    steps=[
        Step(create),
        Loop(n_iterations=2, steps=[Step(evaluate, name="evaluate", parallel=True), Step(Update(), name="update")]),
        Step(CollectArrayResults(), name="collect"),
    ],
)
"""


def test_a_study_loads_nothing_heavy(tmp_path):
    """Each task imports the study."""
    (tmp_path / "light.py").write_text(STUDY)
    loaded = all_modules_loaded_by("sys.path.insert(0, '.'); import light", tmp_path)
    assert {"light", "orchestrator.api"} <= loaded
    assert not {name.partition(".")[0] for name in loaded} & (NOT_FOR_STUDIES | {"logging", "textwrap"})
    assert "orchestrator.db" not in loaded


@pytest.mark.acceptance
def test_a_task_loads_nothing_heavy_that_its_study_does_not_import(workspace):
    (workspace / "light.py").write_text(STUDY)
    subprocess.run([sys.executable, "-m", "orchestrator", "run", "light.py"], cwd=workspace, check=True, timeout=300)
    [table] = workspace.glob("*/experiment_data")
    data = orchestrator.ExperimentData.from_file(table.parent)
    found = {data.get_experiment_sample(label).output_data["loaded"] for label in range(4)}
    assert all("orchestrator" in loaded.split(",") for loaded in found)
    assert not {name for loaded in found for name in loaded.split(",")} & (NOT_FOR_STUDIES | NOT_FOR_TASKS)


LIGHT = """
from orchestrator import CollectArrayResults, Domain, ExperimentData, Pipeline, Step, datagenerator


def create(project_dir):
    domain = Domain()
    domain.add_float("x", low=0.0, high=1.0)
    ExperimentData(domain=domain, input_data=[{"x": 0.5}]).store(project_dir)


@datagenerator(output_names="y")
def evaluate(x):
    return x


pipeline = Pipeline("light", [Step(create), Step(evaluate, parallel=True), Step(CollectArrayResults())])
"""

WORKER = """
import json, os, runpy, sys

def end(code):
    print(code, json.dumps(sorted(set(sys.modules) - before)), flush=True)
    leave(code)

before, leave, os._exit = set(sys.modules) - {"runpy"}, os._exit, end
runpy.run_module("orchestrator.worker", run_name="__main__", alter_sys=True)
"""


@pytest.mark.acceptance
def test_a_task_of_an_array_loads_only_what_it_needs(workspace):
    """All tasks of an array start at once, so what each imports takes much of the time of short ones."""
    (workspace / "light.py").write_text(LIGHT)
    run = [sys.executable, "-m", "orchestrator", "run", "light.py", "--project-job", "r"]
    subprocess.run(run, cwd=workspace, check=True, timeout=300)
    jobs = workspace / "r" / ".orchestrator" / "jobs"
    [batch] = [job for path in jobs.glob("*/job.json") if (job := json.loads(path.read_text()))["kind"] == "batch"]
    (jobs / "array").mkdir(mode=0o700)
    content = json.dumps({**batch, "token": "array", "tasks": "0-1", "database": None}).encode()
    (jobs / "array" / "job.json").write_bytes(content)
    (jobs / "array" / "job.json").chmod(0o600)
    # As the script of its job does.
    slurm = {"SLURM_JOB_ID": "1", "SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "0", TASK_MARK: "array.1"}
    command = [sys.executable, "-P", "-c", WORKER, "job", str(workspace), "r", "array", sha256(content).hexdigest()]
    environment = {**os.environ, **slurm, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == IN_ORDER, done.stderr
    loaded = set(json.loads(done.stdout.partition(" ")[2]))
    assert {"light", "orchestrator.data.experiment_data", "orchestrator.worker.alone"} <= loaded
    assert not loaded & NEVER_IN_A_TASK
    assert len({name for name in loaded if name.startswith("orchestrator.")}) <= 75


def test_a_table_loads_nothing_heavy_before_its_arrays_are_used(tmp_path):
    work = (
        "from orchestrator import Domain, ExperimentData; domain = Domain(); domain.add_float('x', 0.0, 1.0); "
        "ExperimentData(domain=domain, input_data=[{'x': 0.5}, {'x': 0.25}]).store('.'); "
        "data = ExperimentData.from_file('.'); data.mark(0, 'finished', in_place=True); "
        "data.add_experiments(data.select_with_status('open'), in_place=True); data.store('.'); "
        "from orchestrator.worker.table_work import fold_all; from orchestrator.workspace import RunFolder; "
        "from pathlib import Path; fold_all(RunFolder(Path().absolute(), '.'), ['.'])"
    )
    assert not modules_loaded_by(work, tmp_path) & HEAVY
    assert {"numpy", "pandas"} <= modules_loaded_by(f"{work}; print(data[0].to_pandas())", tmp_path)


def test_asking_slurm_loads_nothing_heavy(tmp_path):
    loaded = modules_loaded_by("import orchestrator.slurm.client, orchestrator.slurm.script", tmp_path)
    assert not loaded & (HEAVY | {"jinja2", "omegaconf", "yaml"})


@pytest.mark.parametrize(
    ("module", "slow"),
    [
        ("orchestrator.cli.tail", {"pandas"}),  # it reads tables, whose module for files loads pickles
        ("orchestrator.worker.job", {"pickle"}),
    ],
)
def test_each_advance_and_each_task_of_an_array_load_little(tmp_path, module, slow):
    loaded = all_modules_loaded_by(f"import {module}", tmp_path)
    assert module in loaded
    assert not loaded & ({"shutil", "logging", "textwrap", "traceback", "hashlib", "numpy"} | slow)
    assert not loaded & {
        f"orchestrator.{name}" for name in ("definition.pipeline", "definition.data_generators", "db.views")
    }


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["status", "--help"]])
def test_help_loads_nothing_heavy(tmp_path, arguments):
    code = f"from orchestrator.cli.main import main; sys.argv[1:] = {arguments!r}; main()"
    loaded = all_modules_loaded_by(code, tmp_path)
    assert not {name.partition(".")[0] for name in loaded} & (HEAVY | {"hashlib", "signal", "unicodedata"})
    assert not loaded & {f"orchestrator.{name}" for name in ("expansion", "sharing", "handoff", "engine", "db.store")}
    assert arguments != ["--help"] or "orchestrator.machine" not in loaded


@pytest.mark.acceptance
def test_status_and_an_idle_advance_load_nothing_heavy(workspace):
    (workspace / "study.py").write_text(
        "from orchestrator import Pipeline, Step\n\n\n"
        "def note(project_dir):\n    (project_dir / 'note.txt').write_text('done')\n\n\n"
        "pipeline = Pipeline(name='note', steps=[Step(note)])\n"
    )
    main = "from orchestrator.cli.main import main; sys.argv[1:] = {}; main()"
    modules_loaded_by(main.format(["run", "study.py"]), workspace)
    [note] = workspace.glob("*/note.txt")

    for arguments in (["status"], ["status", "--json"], ["advance", note.parent.name]):
        loaded = modules_loaded_by(main.format(arguments), workspace)
        assert not loaded & {"numpy", "pandas", "scipy", "cloudpickle", "alembic", "sqlalchemy", "hashlib"}, arguments


OF_F3DASM = {
    "orchestrator.datageneration": {"DataGenerator", "create_datagenerator", "datagenerator"},
    "orchestrator.design": {"Domain", "grid", "latin", "make_nd_continuous_domain", "random", "sobol"},
    "orchestrator.hydra_tools": {"update_config_with_experiment_sample"},
    "orchestrator.optimization": {"cg", "create_optimizer", "lbfgsb", "nelder_mead", "tpesampler"},
    "orchestrator.pipeline": {"CollectArrayResults", "Loop", "Pipeline", "SlurmCluster", "SlurmResources", "Step"},
}


INSIDE_F3DASM = {
    "orchestrator.design": {
        "ArrayParameter",
        "CategoricalParameter",
        "ConstantParameter",
        "ContinuousParameter",
        "DiscreteParameter",
        "Parameter",
    },
}
"""Names that f3dasm's documentation imports from its inside."""


@pytest.mark.parametrize("name", OF_F3DASM)
def test_a_submodule_has_the_names_that_it_has_in_f3dasm(tmp_path, name):
    assert not modules_loaded_by(f"exec('from {name} import *')", tmp_path) & NOT_FOR_STUDIES
    module = import_module(name)
    assert set(module.__all__) == OF_F3DASM[name] | INSIDE_F3DASM.get(name, set())
    for public in OF_F3DASM[name] & set(orchestrator.__all__):
        assert getattr(module, public) is getattr(orchestrator, public)


def test_public_names_are_sorted_and_resolve():
    assert list(orchestrator.__all__) == sorted(orchestrator.__all__)
    assert len(set(orchestrator.__all__)) == len(orchestrator.__all__)
    for name in orchestrator.__all__:
        assert getattr(orchestrator, name) is not None, name
    assert set(orchestrator.__all__) <= set(dir(orchestrator))


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        orchestrator.no_such_name  # noqa: B018
