"""What the user writes: what is refused before a run, how steps are named, which code is packed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import (
    Block,
    CollectArrayResults,
    DataGenerator,
    Domain,
    ExperimentData,
    ExperimentSample,
    Loop,
    Pipeline,
    SlurmCluster,
    SlurmResources,
    Step,
    create_sampler,
    datagenerator,
)
from orchestrator.addresses import slug
from orchestrator.definition.bundle import Bundle
from orchestrator.definition.bundling import prepare_bundle
from orchestrator.definition.flatten import plan_of, steps_by_path
from orchestrator.definition.injection import injected, seed_for
from orchestrator.definition.pipeline import PipelineDefinition, step_name
from orchestrator.definition.resources import memory_in_mb, time_in_seconds
from orchestrator.definition.study import load_study
from orchestrator.definition.validate import check_cluster, check_key, check_pipeline
from orchestrator.engine.cluster.check import script_texts
from orchestrator.engine.code import check
from orchestrator.errors import DataError, DefinitionError, StudyError
from orchestrator.machine.plan import Plan
from tests.isolation import as_in_a_process_of_its_own
from tests.studies import nothing, numbers, square

ROOT = Path(__file__).resolve().parents[2]


class Double(Block):
    def call(self, data, factor=2):
        return data


async def later(project_dir):
    pass


def piecewise(project_dir):
    yield


@datagenerator(output_names="y")
async def square_later(x):
    return x * x


class Later(Block):
    async def call(self, data):
        return data


async def ask_later(data):
    return False


def changed(step, **values):
    for name, value in values.items():
        setattr(step, name, value)
    return step


# --- refused before anything is written ----------------------------------------------------------


REFUSED = {
    "two steps of one name": [Step(nothing), Step(nothing)],
    "an element that is no step": [nothing],
    "negative iterations": [Loop(-3, [Step(nothing)])],
    "until is no function": [Loop(2, [Step(nothing)], until=3)],
    "a class as block": [Step(Double)],
    "a number as block": [Step(7, name="seven")],
    "a function in parallel": [Step(nothing, parallel=True)],
    "a block in parallel": [Step(Double(), parallel=True)],
    "a folder outside": [Step(nothing, project_dir="../other")],
    "an absolute folder": [Step(nothing, project_dir="/tmp")],
    "a hidden folder": [Step(nothing, project_dir=".orchestrator")],
    "a name with a slash": [Step(nothing, name="a/b")],
    "a name like an address": [Step(nothing, name="run@3")],
    "a time that is none": [Step(nothing, resources=SlurmResources(time="soon"))],
    "memory that is none": [Step(nothing, resources=SlurmResources(mem="much"))],
    "no CPUs": [Step(nothing, resources=SlurmResources(cpus_per_task=0))],
    "a share of failures over 1": [Step(square, max_failed=1.5)],
    "negative retries": [Step(square, retries=-1)],
    "a step instead of a list": Step(nothing),
    "a step instead of a loop's list": [Loop(2, Step(nothing))],
    "a step named until": [Loop(2, [Step(nothing, name="until")], until=len)],
    "kwargs of a chain": [Step(Double() >> Double(), kwargs={"power": 2})],
    "kwargs of a repetition": [Step(Double().loop(2), kwargs={"power": 2})],
    "kwargs of a generator": [Step(square, kwargs={"power": 2})],
    "the data as kwargs": [Step(Double(), kwargs={"data": 2})],
    "half a job": [Step(nothing, resources=SlurmResources(max_jobs_per_task=1.5))],
    "an option with a list": [Step(nothing, resources=SlurmResources(extra_sbatch={"qos": []}))],
    "the file of the log": [Step(nothing, resources=SlurmResources(extra_sbatch={"output": "x.log"}))],
    "options as a list": [Step(nothing, resources=SlurmResources(extra_sbatch=["--qos"]))],
    "kwargs of a function": [Step(nothing, kwargs={"n": 3})],
    "kwargs of a block": [Step(Double(), kwargs={"n": 3})],
    "a missing argument": [Step(lambda project_dir, n: None, name="f")],
    "pass_id": [Step(square, kwargs={"pass_id": True})],
    "an async function": [Step(later)],
    "a generator function": [Step(piecewise)],
    "an async data generator": [Step(square_later)],
    "an async block in a chain": [Step(Later() >> Double())],
    "an async until": [Loop(2, [Step(nothing)], until=ask_later)],
    "until without data": [Loop(2, [Step(nothing)], until=lambda: True)],
    "parallel as text": [Step(square, parallel="no")],
    "an unknown dependency": [changed(Step(nothing), dependency="never")],
    "the folder of tables": [Step(nothing, project_dir="experiment_data")],
    "the folder of samples": [Step(nothing, project_dir="a/experiment_sample")],
    "a folder with a long name": [Step(nothing, project_dir="é" * 150)],
    "resources as text": [Step(nothing, resources="4G")],
}


def test_a_refusal_says_what_to_change(golden):
    for label, steps in REFUSED.items():
        with golden.raises(DefinitionError, label):
            check_pipeline("p", steps)


def test_a_decorator_without_parentheses_says_how_to_write_it():
    with pytest.raises(TypeError, match=r'write @datagenerator\(output_names="y"\) above nothing'):
        datagenerator(nothing)
    with pytest.raises(TypeError, match=r'write @datagenerator\(output_names="y"\)$'):
        datagenerator(None)


def test_a_parameter_that_a_sampler_does_not_have_is_named():
    with pytest.raises(TypeError, match="the sampler 'latin' has no parameter 'sed'; its only one is 'seed'"):
        create_sampler("latin", sed=3)
    with pytest.raises(TypeError, match="its only one is 'stepsize_continuous_parameters'"):
        create_sampler("grid", seed=3)


@pytest.mark.parametrize("steps", [Step(nothing), {"a": Step(nothing)}, "ab", 3, (step for step in [Step(nothing)])])
def test_steps_that_are_no_list_are_refused_at_every_level(steps):
    sentence = f"must be a list, not {type(steps).__name__}"
    for run in (
        lambda: check(PipelineDefinition("p", steps), None, None),
        lambda: script_texts(PipelineDefinition("p", steps), SlurmCluster(), "r", Path.cwd()),
        lambda: check(PipelineDefinition("p", [Loop(2, steps)]), None, None),
        lambda: Pipeline("p", steps).run(),
        lambda: Pipeline("p", steps).from_step("nothing"),
    ):
        with pytest.raises(DefinitionError, match=sentence):
            run()


def test_what_is_wrong_with_several_steps_is_said_once():
    shared = SlurmResources(time="soon")
    with pytest.raises(DefinitionError, match="one thing must change") as refused:
        check_pipeline("p", [Step(square, "a", resources=shared), Loop(2, [Step(square, "b", resources=shared)])])
    assert "steps 0 ('a'), 1.0 ('b'): time='soon' is not a valid time" in str(refused.value)
    assert str(refused.value).count("soon") == 1


def test_all_errors_are_reported_at_once(golden):
    with golden.raises(DefinitionError):
        check_pipeline("p", [Step(nothing, retries=-1), Loop(-1, [Step(square)])])


def test_the_orchestrators_own_resources_are_checked(golden):
    for wrong in (SlurmResources(nodes=0), "4G"):
        with golden.raises(DefinitionError):
            Pipeline("p", [Step(nothing)], orchestrator_resources=wrong).run()


def test_kwargs_may_be_any_mapping():
    check_pipeline("p", [Step(Double(), kwargs=MappingProxyType({"factor": 3}))])


def test_the_same_name_on_another_level_is_valid():
    check_pipeline("p", [Step(square, name="run"), Loop(2, [Step(square, name="run"), Step(nothing)])])
    check_pipeline("p", [Step(nothing, kwargs={}), Step(Double(), kwargs={"factor": 3})])


@pytest.mark.parametrize("key", ["", "../x", "a/b", ".hidden", "logs", "orchestrator.db", "a\nb", "x" * 200, "my run"])
def test_keys_that_cannot_name_a_folder_are_refused(key):
    with pytest.raises(DefinitionError):
        check_key(key)


def test_a_refused_run_leaves_nothing(workspace, golden):
    with pytest.raises(DefinitionError):
        Pipeline(steps=[Loop(-1, [Step(nothing)])]).run(rootdir="new")
    with pytest.raises(DefinitionError):
        Pipeline(steps=[Step(nothing)]).run(project_job="../x")
    with golden.raises(DefinitionError):
        Pipeline(steps=[Step(nothing)]).run(mode="cloud")
    for jobs in (0, -1, "2", True):
        with golden.raises(DefinitionError):
            Pipeline(steps=[Step(nothing)]).run(jobs=jobs)
    with golden.raises(DefinitionError):
        Pipeline(steps=[Step(nothing)]).run(rootdir=5)
    assert list(workspace.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_left_alone(workspace, golden):
    Path("file").write_text("mine")
    with golden.raises(DefinitionError):
        Pipeline(steps=[Step(nothing)]).run(rootdir="file")
    assert Path("file").read_text() == "mine"


def test_constructors_check_no_more_than_those_of_f3dasm(golden):
    Step(7, max_failed="many")
    Loop(-3, [1, 2])
    SlurmResources(time="soon")
    with golden.raises(ValueError):
        Step(nothing, dependency="never")
    with pytest.raises(ValueError, match="max_jobs_per_task"):
        SlurmResources(max_jobs_per_task=0)


def test_from_step_counts_elements_and_finds_names(golden):
    pipeline = Pipeline("p", [Step(nothing), Loop(3, [Step(square), Step(Double(), name="double")]), Step(nothing)])
    assert pipeline.from_step("double").steps == pipeline.steps[1:]
    assert pipeline.from_step(-1).first_element == 2
    assert pipeline.from_step(1).from_step(1).first_element == 2
    assert pipeline.from_step(1).all_steps == pipeline.steps
    with golden.raises(ValueError):
        pipeline.from_step(99)
    with golden.raises(ValueError):
        pipeline.from_step("x")


# --- names, labels, injection --------------------------------------------------------------------


def test_steps_are_named_by_their_blocks():
    assert [step_name(Step(block)) for block in (nothing, square, Double(), lambda project_dir: None)] == [
        "nothing",
        "square",
        "Double",
        "step",
    ]
    assert step_name(Step("run", block=square)) == "run"
    assert Step("run", True, block=square).parallel is True


def test_an_error_about_an_address_says_which_there_are():
    loops = Loop(2, [Loop(3, [Step(nothing, name="mesh")]), Step(nothing, name="solve")])
    never = Loop(0, [Step(nothing, name="never")])
    plan = plan_of([Step(nothing, name="create"), Loop(4, [Step(square, name="simulate")]), loops, never])
    assert plan.existing("simulate@7") == "The iterations of step simulate are: 0 to 3"
    assert plan.existing("mesh@2") == "The iterations of step mesh are: 0.0 to 1.2"
    assert plan.existing("create@1") == "Step create is not in a loop: name it without an iteration"
    assert plan.existing("never@0") == "The loop of step never has no iterations"
    assert plan.existing("simulat@7").startswith("Did you mean simulate? Its steps are: create, simulate, mesh")
    with pytest.raises(DefinitionError, match=r"Did you mean nothing\? The steps are: nothing"):
        Pipeline("p", [Step(nothing)]).from_step("nothng")


def test_labels_are_those_of_f3dasm():
    plan = plan_of([Step(nothing, name="create"), Loop(2, [Step(square, name="run it!")])])
    assert [step.label for step in plan.steps()] == ["create", "loop1_run-it"]
    assert slug("$(rm -rf) 'x'") == "rm--rf-x"
    assert list(steps_by_path([Loop(1, [Step(nothing)], until=bool)])) == ["0.until", "0.0"]


@pytest.mark.parametrize(
    ("step", "collects"),
    [
        (Step(CollectArrayResults()), True),
        (Step(CollectArrayResults(), project_dir="other", dependency="afterany", retries=2), True),
        (Step(CollectArrayResults(), resources=SlurmResources()), True),
        (Step(CollectArrayResults(), resources=SlurmResources(mem="64G")), False),
        (Step(CollectArrayResults(cleanup=False)), False),
        (Step(type("Mine", (CollectArrayResults,), {})()), False),
        (Step(nothing), False),
    ],
)
def test_a_collecting_step_has_a_job_only_if_the_user_gives_it_options(step, collects):
    [planned] = plan_of([step]).steps()
    assert planned.collects is collects
    kept = json.loads(json.dumps(plan_of([step]).to_json()))
    assert Plan.from_json(kept) == plan_of([step])
    # A run that was created by a version without steps without jobs has a job for each of them.
    del kept["elements"][0]["collects"]
    [older] = Plan.from_json(kept).steps()
    assert older.collects is False


def test_labels_that_give_the_same_file_name_are_numbered():
    plan = plan_of([Step(nothing, name="a b"), Step(nothing, name="a:b"), Step(nothing, name="a-b")])
    assert [step.label for step in plan.steps()] == ["a-b", "a-b-2", "a-b-3"]


def test_a_block_gets_the_values_of_its_parameters_without_a_default():
    values = {"iteration": 3, "seed": 5, "project_job": "r"}

    def asks(data, iteration, seed=0, *, project_job):
        pass

    assert injected(asks, {}, values) == {"iteration": 3, "project_job": "r"}
    assert injected(asks, {"iteration"}, values) == {"project_job": "r"}
    assert injected(lambda **everything: None, {}, values) == {}
    assert injected(dict, {}, values) == {}


def test_seeds_never_change():
    expected = int.from_bytes(hashlib.sha256(b"job\0step\x003.1").digest()[:4], "big") >> 1
    assert seed_for("job", "step", "3.1") == expected
    expected = int.from_bytes(hashlib.sha256(b"5\0step\0").digest()[:4], "big") >> 1
    assert seed_for(5, "step", "") == expected


@given(st.integers(0, 2**64 - 1) | st.text(), st.text(alphabet="abc@ ü"), st.sampled_from(["", "0", "3.1"]))
def test_every_seed_is_accepted_by_the_libraries_that_take_the_fewest_bits(base, step, iteration):
    seed = seed_for(base, step, iteration)
    assert np.int32(seed) == seed
    np.random.RandomState(seed)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, True, "1", pytest.param(10**5000, id="long")])
def test_a_seed_that_is_no_integer_in_range_is_refused(seed):
    with pytest.raises(DefinitionError, match=r"seed=.* is not valid; use an integer from 0 to 2\*\*64 - 1"):
        check_pipeline("", [Step(nothing)], seed=seed)


@pytest.mark.parametrize("seed", [None, 0, 2**64 - 1, np.int64(3), np.uint8(3)])
def test_every_integer_in_range_is_a_seed_and_is_part_of_the_plan(seed):
    check_pipeline("", [Step(nothing)], seed=seed)
    plan = plan_of([Step(nothing)], seed)
    assert plan.seed == seed
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30", 1800), ("10:30", 630), ("01:00:00", 3600), ("1-12", 129600), ("1-00:30", 88200), ("UNLIMITED", None)],
)
def test_times_are_read_as_slurm_writes_them(text, seconds):
    assert time_in_seconds(text) == seconds


def test_memory_is_read_as_slurm_writes_it():
    assert [memory_in_mb(text) for text in ("512", "4G", "1T", "2048K", "1gb")] == [512, 4096, 1048576, 2, 1024]


def test_a_cluster_is_read_from_a_mapping(golden):
    cluster = SlurmCluster.from_yaml({"partition": None, "enabled": True, "env_vars": {"A": "1"}})
    assert cluster == SlurmCluster(partition=None, env_vars={"A": "1"})
    with golden.raises(DefinitionError):
        SlurmCluster.from_yaml({"partitoin": "x"})


CLUSTER = """\
enabled: true
partition: ${oc.env:PARTITION}
account: null
env_setup: [module load python]
env_vars: {DATA: "/data/${.name}", name: me}
mem_per_cpu: 3968M
wake: job
"""


@pytest.mark.parametrize("read", [str, Path, lambda path: __import__("omegaconf").OmegaConf.load(path)])
def test_a_cluster_is_read_from_a_file_or_from_hydra(tmp_path, monkeypatch, read):
    monkeypatch.setenv("PARTITION", "gpu")
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    cluster = SlurmCluster.from_yaml(read(path))
    assert cluster == SlurmCluster(
        partition="gpu",
        account=None,
        env_setup=["module load python"],
        env_vars={"DATA": "/data/me", "name": "me"},
        mem_per_cpu="3968M",
        wake="job",
    )
    assert type(cluster.env_vars) is dict
    assert SlurmCluster.from_json(json.loads(json.dumps(cluster.to_json()))) == cluster


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("- a\n- b\n", id="list"),
        pytest.param("partition: a\npartition: b\n", id="twice"),
        pytest.param("partition: ${nowhere}\n", id="variable"),
        pytest.param("partition: [\n", id="syntax"),
        pytest.param("partition: !!python/object/apply:os.system ['true']\n", id="code"),
        pytest.param("wake_up: job\n", id="field"),
        pytest.param("wake_up: job\n1: a\nno: b\n", id="fields"),
        pytest.param("env_setup: &a [*a]\n", id="recursive"),
    ],
)
def test_a_file_without_a_valid_cluster_is_refused(tmp_path, text, golden):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with golden.raises(DefinitionError):
        SlurmCluster.from_yaml(path)


SECRETS = [
    "{A: SECRET, A: SECRET}",
    "{SECRET=1: 1, A=SECRET: 2, A=SECRET: 3}",
    "{A: 'SECRET}",
    "{A: *SECRET}",
    "{A: !SECRET x}",
    "{A: !SECRET!x y}",
    "{A: !!python/name:SECRET x}",
    "{A: &SECRET 1, B: &SECRET 2}",
    "{A: SECRET: 1}",
    "{A: @SECRET}",
    '{A: "\\SECRET"}',
    "{A: !!int SECRET}",
    "{A: !!float SECRET}",
    "{A: !!bool SECRET}",
    "{A: !!binary SECRETé}",
    "{A: 'a${SECRET'}",
    "{A: '${SECRET x}'}",
    "{A: '${oc.env:SECRET}'}",
    "{<<: SECRET}",
    "SECRET",
    "[SECRET]",
    "[A: SECRET]",
    "{A=SECRET}",
    "{A:SECRET}",
    "{A: [SECRET]}",
    "{? [SECRET] : 1}",
]


@pytest.mark.parametrize("text", SECRETS)
@pytest.mark.parametrize("is_installed", [True, False])
def test_no_error_contains_a_value_of_env_vars(tmp_path, text, is_installed, monkeypatch):
    if not is_installed:
        monkeypatch.setitem(sys.modules, "omegaconf", None)
    path = tmp_path / "cluster.yaml"
    path.write_text("env_vars: " + text.replace("SECRET", "s3cr3tpw"), encoding="utf-8")
    with pytest.raises(DefinitionError) as refused:
        check_cluster(SlurmCluster.from_yaml(path))
    shown = "".join(traceback.format_exception(refused.value))
    assert "s3cr3tpw"[1:] not in shown
    assert "env_vars" in shown or "line 1, column" in shown or "fit its tag" in shown


BOMBS = {
    "aliases": "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" if n else "a0: &a0 [x]\n" for n in range(30)),
    "merges": "".join(
        f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" if n else "a0: &a0 {x: 1}\n" for n in range(30)
    ),
    "depth": "env_setup: " + "[" * 5000,
    "digits": f"grace: {'9' * 5000}",
    "size": f"# {'x' * 2_000_000}",
}


@pytest.mark.parametrize("text", BOMBS.values(), ids=BOMBS)
def test_a_file_that_needs_too_much_memory_or_time_is_refused(tmp_path, text):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    with pytest.raises(DefinitionError, match="The cluster can't be read from"):
        SlurmCluster.from_yaml(path)


def test_a_fifo_in_place_of_a_cluster_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "cluster.yaml")
    with pytest.raises(DefinitionError, match="it is no regular file"):
        SlurmCluster.from_yaml(tmp_path / "cluster.yaml")


@given(st.data())
def test_any_text_is_a_cluster_or_an_error_that_names_what_is_wrong(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("files") / "cluster.yaml"
    whole = CLUSTER.encode()
    begin, end = sorted((data.draw(st.integers(0, len(whole))), data.draw(st.integers(0, len(whole)))))
    piece = st.binary(max_size=4) | st.sampled_from(
        [
            b"\n",
            b": ",
            b"- ",
            b"&a ",
            b"*a",
            b"!!int ",
            b"!!binary ",
            b"? ",
            b"[",
            b"{",
            b"|",
            b"${",
            b"}",
            b'"',
            b"<<: ",
        ]
    )
    path.write_bytes(whole[:begin] + b"".join(data.draw(st.lists(piece, max_size=4))) + whole[end:])
    with suppress(DefinitionError):
        SlurmCluster.from_yaml(path)


def test_a_missing_cluster_file_is_reported(tmp_path, golden):
    with golden.raises(DefinitionError):
        SlurmCluster.from_yaml(tmp_path / "none.yaml")


def test_resources_and_a_cluster_take_the_containers_of_hydra(monkeypatch):
    monkeypatch.setenv("GPUS", "2")
    config = __import__("omegaconf").OmegaConf.create(
        {
            "gpu": "gpu:${oc.env:GPUS}",
            "resources": {"mem": "300M", "extra_sbatch": {"gres": "${gpu}"}},
            "cluster": {"env_setup": ["module load x"], "env_vars": {"GPU": "${gpu}"}},
        }
    )
    resources, cluster = SlurmResources(**config.resources), SlurmCluster(**config.cluster)
    assert resources == SlurmResources(mem="300M", extra_sbatch={"gres": "gpu:2"})
    assert cluster == SlurmCluster(env_setup=["module load x"], env_vars={"GPU": "gpu:2"})
    assert json.loads(json.dumps(resources.to_json()))["extra_sbatch"] == resources.extra_sbatch
    assert SlurmCluster.from_json(json.loads(json.dumps(cluster.to_json()))) == cluster


def test_resources_keep_their_own_copy_of_what_they_are_made_of():
    extra = {"gres": "gpu:1"}
    resources = SlurmResources(extra_sbatch=extra)
    extra["gres"] = "gpu:2"
    assert resources.extra_sbatch == {"gres": "gpu:1"}


@pytest.fixture
def without_omegaconf(monkeypatch):
    monkeypatch.setitem(sys.modules, "omegaconf", None)


def read_text(tmp_path, text):
    path = tmp_path / "cluster.yaml"
    path.write_text(text, encoding="utf-8")
    return SlurmCluster.from_yaml(path)


def test_a_file_is_read_without_an_extra(tmp_path, without_omegaconf):
    text = """\
        enabled: yes
        partition: 2024_01
        account: null
        env_setup:
          - module load python   # of the site
          - export LIBRARIES=${HOME}/lib:${LD_LIBRARY_PATH:-} ${#A[@]} $X \\${Y}
        env_vars: {DATA: "${HOME}/data", N: 3, RATIO: 2.5e-3, DAY: 2026-11-27, MASK: 0077, LIMIT: 1:30:00, FLAG: "on"}
        runner: ${CONDA_PREFIX}/bin/python
        mem_per_cpu: 3968M
        wake: job
        grace: 30
    """
    assert read_text(tmp_path, text) == SlurmCluster(
        partition="2024_01",
        account=None,
        env_setup=["module load python", "export LIBRARIES=${HOME}/lib:${LD_LIBRARY_PATH:-} ${#A[@]} $X ${Y}"],
        env_vars={
            "DATA": "${HOME}/data",
            "N": 3,
            "RATIO": 0.0025,
            "DAY": "2026-11-27",
            "MASK": "0077",
            "LIMIT": "1:30:00",
            "FLAG": "on",
        },
        runner="${CONDA_PREFIX}/bin/python",
        mem_per_cpu="3968M",
        wake="job",
        grace=30,
    )
    assert read_text(tmp_path, "") == SlurmCluster()


@pytest.mark.parametrize(
    "text", ["1:30:00", "00:10:00", "1-12:00:00", "10:00", "007", "0x1F", "1_000", "2026-11-27", "1.2.3"]
)
def test_what_is_not_a_plain_number_stays_text(tmp_path, text):
    assert read_text(tmp_path, f"partition: {text}\n").partition == text


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90), ("-1", -1), ("0", 0), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0)]
)
def test_a_decimal_number_is_a_number(tmp_path, text, value):
    grace = read_text(tmp_path, f"grace: {text}\n").grace
    assert (grace, type(grace)) == (value, type(value))


def test_a_key_that_is_merged_may_be_replaced(tmp_path):
    text = "env_vars:\n  <<: {A: one, B: two}\n  B: three\n"
    assert read_text(tmp_path, text).env_vars == {"A": "one", "B": "three"}


def test_variables_of_the_shell_and_interpolations_stand_side_by_side(tmp_path, monkeypatch):
    monkeypatch.setenv("WHERE", "/opt")
    text = "account: me\nrunner: ${oc.env:WHERE}/${CONDA_ENV}/python\nenv_vars: {WHO: '${account} at ${HOME%/}'}\n"
    cluster = read_text(tmp_path, text)
    assert cluster.runner == "/opt/${CONDA_ENV}/python"
    assert cluster.env_vars == {"WHO": "me at ${HOME%/}"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("partition: ${oc.env:PARTITION}\n", id="environment"),
        pytest.param("account: me\nenv_setup:\n- echo ${account}\n", id="key"),
        pytest.param("partition: ${NAME}\n", id="no shell"),
    ],
)
def test_an_interpolation_needs_an_extra(tmp_path, without_omegaconf, text, golden):
    with golden.raises(DefinitionError):
        read_text(tmp_path, text)


def test_a_valid_cluster_is_accepted():
    check_cluster(SlurmCluster())
    check_cluster(SlurmCluster(None, None, ["a b", "c\nd"], {"_A1": "x\ny", "N": 3}, "uv run", "l", "4G", "job", 0))


UNUSABLE = [
    {"partition": ""},
    {"partition": "a\n#SBATCH --hold"},
    {"account": 7},
    {"env_setup": "module load x"},
    {"env_setup": [1]},
    {"env_setup": ["a\rb"]},
    {"env_vars": ["A=1"]},
    {"env_vars": {"1A": "x"}},
    {"env_vars": {"A;id": "x"}},
    {"env_vars": {"A": True}},
    {"env_vars": {"A": None}},
    {"runner": ""},
    {"runner": "  "},
    {"runner": "python '"},
    {"runner": None},
    {"log_dir": "/tmp/logs"},
    {"log_dir": "/tmp/../{project_job}"},
    {"log_dir": "../{project_job}"},
    {"log_dir": "{run}"},
    {"log_dir": "{"},
    {"log_dir": "{}"},
    {"log_dir": "a\\b"},
    {"log_dir": ""},
    {"mem_per_cpu": "much"},
    {"mem_per_cpu": "0"},
    {"wake": "never"},
    {"grace": -1},
    {"grace": float("nan")},
    {"grace": True},
    {"grace": "90"},
]


@pytest.mark.parametrize("wrong", [{"env_setup": "export API_TOKEN=abc"}, {"runner": "A_KEY=abc python '"}])
def test_a_secret_in_an_invalid_command_is_not_printed(wrong):
    with pytest.raises(DefinitionError) as refused:
        check_cluster(SlurmCluster(**wrong))
    assert "abc" not in str(refused.value)
    assert "***" in str(refused.value)


def test_an_invalid_cluster_is_refused(golden):
    for changes in UNUSABLE:
        with golden.raises(DefinitionError, repr(changes)):
            check_cluster(SlurmCluster(**changes))


def test_all_errors_of_a_cluster_are_reported_at_once(golden):
    with golden.raises(DefinitionError):
        check_cluster(SlurmCluster(partition="", runner="", wake="x", grace=-1, log_dir=".."))
    with golden.raises(DefinitionError):
        check_cluster({"partition": "x"})


@pytest.mark.parametrize(
    "extra",
    [{"array": "0-3"}, {"--job_name": "x"}, {"gres x": 1}, {"": 1}, {"gres": "a\nb"}],
    ids=str,
)
def test_options_that_are_reserved_or_invalid_are_refused(extra, golden):
    with golden.raises(DefinitionError):
        check_pipeline("p", [Step(nothing, resources=SlurmResources(extra_sbatch=extra))])


# --- blocks --------------------------------------------------------------------------------------


def test_a_generator_outside_a_pipeline_marks_experiments_that_raise(caplog, golden):
    @datagenerator(output_names=["y", "z"])
    def pair(x, factor):
        if x == 1:
            raise ValueError("one is not welcome")
        return x * factor, -x

    data = pair.call(numbers(3, outputs=["y", "z"]), factor=10)
    assert [status.name for status in data.statuses()] == ["FINISHED", "ERROR", "FINISHED"]
    golden([message.splitlines()[0] for message in caplog.messages])
    assert "ValueError: one is not welcome" in caplog.text
    assert data.output_rows()(2) == {"y": 20.0, "z": -2.0}
    assert pair(2, 3) == (6, -2)


def test_inputs_override_kwargs_and_kwargs_override_defaults():
    @datagenerator(output_names="y")
    def total(x, a=1, b=1):
        return [x, a, b]

    data = total.call(numbers(1), x=7, a=5)
    assert data.output_rows()(0) == {"y": [0.0, 5, 1]}


def test_a_generator_knows_the_label_and_may_mark_an_experiment_as_failed():
    class Picky(DataGenerator):
        def execute(self, experiment_sample, id=None):
            experiment_sample.store("y", [id, experiment_sample.id])
            if experiment_sample.id == 2:
                experiment_sample.mark("error")

    data = numbers(3)[[1, 2]]
    assert [status.name for status in Picky().call(data).statuses()] == ["FINISHED", "ERROR"]
    assert Picky().call(data).output_rows()(0) == {"y": [None, 1]}
    assert Picky().call(data, pass_id=True).output_rows()(1) == {"y": [2, 2]}


def test_outputs_are_stored_on_disk_as_the_generators_domain_says(tmp_path):
    domain = Domain()
    domain.add_output("y", to_disk=True)

    @datagenerator(output_names="y", domain=domain)
    def spread(x):
        return {"x": x}

    data = ExperimentData(input_data=[{"x": 1.0}], project_dir=tmp_path)
    done = spread.call(data)
    assert done.to_pandas(keep_references=True)[1]["y"].tolist() == ["y/0.pkl"]
    assert done.to_pandas()[1]["y"].tolist() == [{"x": 1.0}]


def test_a_wrong_number_of_outputs_is_reported(golden):
    @datagenerator(output_names=["y", "z"])
    def one(x):
        return x

    with golden.raises(ValueError):
        one.execute(ExperimentSample({"x": 1.0}))
    with golden.raises(ValueError):
        square.execute(ExperimentSample({"w": 1.0}))


def test_blocks_are_chained_and_repeated():
    class Add(Block):
        def __init__(self, n):
            self.n = n

        def call(self, data, **kwargs):
            return data + numbers(self.n)

    assert len((Add(1) >> Add(2) >> Add(3)).call(numbers(0))) == 6
    assert len(Add(2).loop(4).call(numbers(1))) == 9


def test_a_sampler_is_found_by_its_name(golden):
    domain = numbers(0).domain
    one, two = (create_sampler("latin", seed=3).call(ExperimentData(domain=domain), n_samples=8) for _ in range(2))
    assert one == two
    assert len(one) == 8
    for name in ("Latin", "latin_sampler", "Latin Sampler", "LATIN-SAMPLER"):
        assert type(create_sampler(name)).__name__ == "Latin"
    with golden.raises(DefinitionError):
        create_sampler("halton")
    with golden.raises(DefinitionError):
        check_pipeline("p", [Step(create_sampler("latin"), kwargs={"n_sample": 100})])
    by_step = create_sampler("latin").call(ExperimentData(domain=domain), n_samples=8, seed=3)
    assert by_step == one


def test_result_files_of_f3dasms_tasks_are_collected(tmp_path):
    numbers(2).store(tmp_path)
    sample = ExperimentSample({"x": 1.0}, project_dir=tmp_path)
    sample.store("y", 42.0)
    sample.mark("finished")
    sample.store_as_json(1, tmp_path)
    block = CollectArrayResults()
    data = block.call(ExperimentData.from_file(tmp_path))
    assert data.output_rows()(1) == {"y": 42.0}
    data.store(tmp_path)
    block.after_store(tmp_path)
    assert not (tmp_path / "experiment_sample").exists()


def test_a_result_file_fills_only_its_own_experiment(tmp_path, caplog, golden):
    data = numbers(4)
    data.mark([3], "finished", in_place=True)
    data.store(tmp_path)
    for row, x, status in ((0, 0.0, "error"), (1, 5.0, "finished"), (2, 2.0, "in_progress"), (7, 7.0, "finished")):
        sample = ExperimentSample({"x": x}, {"y": 42.0}, status, tmp_path)
        sample.store_as_json(row, tmp_path)
    ExperimentSample({"x": 3.0}, {}, "error", tmp_path).store_as_json(3, tmp_path)
    block = CollectArrayResults()
    data = block.call(ExperimentData.from_file(tmp_path))
    assert [status.name for status in data.statuses()] == ["ERROR", "OPEN", "OPEN", "FINISHED"]
    assert data.output_rows()(1) == {}
    data.store(tmp_path)
    block.after_store(tmp_path)
    kept = sorted(path.name for path in (tmp_path / "experiment_sample").iterdir())
    assert kept == ["1.json", "2.json", "7.json"]
    golden(caplog.messages)


def test_a_truncated_result_file_is_named_and_not_removed(tmp_path, golden):
    numbers(1).store(tmp_path)
    (tmp_path / "experiment_sample").mkdir()
    (tmp_path / "experiment_sample" / "0.json").write_text('{"input_data": {')
    with golden.raises(DataError):
        CollectArrayResults().call(ExperimentData.from_file(tmp_path))
    assert (tmp_path / "experiment_sample" / "0.json").exists()


# --- studies -------------------------------------------------------------------------------------


@pytest.fixture
def own_process():
    with as_in_a_process_of_its_own():
        yield


PIPELINE = "from orchestrator import Pipeline, Step\ndef f(project_dir): pass\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x = 1\n", id="no pipeline"),
        pytest.param(PIPELINE + "a = Pipeline('a', [Step(f)])\nb = Pipeline('b', [Step(f)])\n", id="two pipelines"),
        pytest.param(PIPELINE + "if __name__ == '__main__':\n    p = Pipeline('a', [Step(f)])\n", id="guard"),
        pytest.param("import nowhere\n", id="import"),
        pytest.param("def f(:\n", id="syntax"),
        pytest.param("exit(3)\n", id="exit"),
        pytest.param(None, id="no file"),
    ],
)
def test_a_study_that_cannot_be_loaded_is_reported(own_process, workspace, text, golden):
    if text is not None:
        Path("s.py").write_text(text)
    with golden.raises(StudyError):
        load_study("s.py")


def test_the_only_pipeline_needs_no_name(own_process, workspace):
    Path("only.py").write_text(PIPELINE + "mine = Pipeline('a', [Step(f)])\nif __name__ == '__main__': 1 / 0\n")
    study = load_study("only.py")
    assert (study.attr, study.path) == ("mine", workspace / "only.py")
    assert load_study("only.py:mine").pipeline.name == "a"


# --- the code that travels -----------------------------------------------------------------------


def test_an_object_that_cannot_be_pickled_is_named_by_its_innermost_part(golden):
    class Solver(DataGenerator):
        def __init__(self):
            self.options = {"lock": threading.Lock()}

        def execute(self, experiment_sample):
            return experiment_sample

    class Slotted(Solver):
        __slots__ = "lock"

        def __init__(self):
            self.lock = threading.Lock()

    with golden.raises(DefinitionError):
        prepare_bundle({"0": Step(Solver(), parallel=True)}, None)
    with golden.raises(DefinitionError):
        prepare_bundle({"0": Step(Slotted(), parallel=True)}, None)
    prepared = prepare_bundle({"0": Step(Solver())}, None)
    golden(prepared.missing["0"])


def test_another_version_of_python_does_not_load_the_code_of_a_run(tmp_path, monkeypatch, golden):
    """The node's `python` is not always that of the login node."""
    folder = tmp_path / prepare_bundle({"0": Step(square)}, None).write(tmp_path)
    golden.replace(f"Python {sys.version_info.major}.{sys.version_info.minor}", "this Python")
    monkeypatch.setattr("orchestrator.definition.bundle.PYTHON", "3.99")
    monkeypatch.setattr("orchestrator.definition.bundle._prepared", None)
    with golden.raises(DataError):
        Bundle(folder).load_step("0")


def test_a_bundle_is_private_and_checked(tmp_path, golden):
    digest = prepare_bundle({"0": Step(square, kwargs={"a": 1})}, None).write(tmp_path)
    folder = tmp_path / digest
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    loaded = Bundle(folder).load_step("0")
    assert (loaded.block(3), loaded.kwargs) == (9, {"a": 1})
    (folder / "0.pkl").write_bytes((folder / "0.pkl").read_bytes() + b".")
    with golden.raises(DataError):
        Bundle(folder).load_step("0")


def test_a_queued_run_uses_the_code_that_was_submitted(workspace):
    """Also of a module beside the study, after both were edited."""
    Path("helper.py").write_text("def value():\n    return 'old'\n")
    Path("study.py").write_text(
        "import helper\nfrom orchestrator import Pipeline, Step\n"
        "def f(project_dir):\n    return helper.value() + ' study'\n"
        "pipeline = Pipeline('p', [Step(f)])\n"
    )
    run = [sys.executable, "-c"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    make = (
        "from pathlib import Path; from orchestrator.definition.study import load_study;"
        "from orchestrator.definition.bundling import prepare_bundle;"
        "from orchestrator.definition.flatten import steps_by_path;"
        "study = load_study('study.py');"
        "print(prepare_bundle(steps_by_path(study.pipeline.steps), study.source).write(Path('b')))"
    )
    done = subprocess.run([*run, make], capture_output=True, text=True, check=True, env=environment)
    Path("helper.py").write_text("def value():\n    return 'new'\n")
    Path("study.py").unlink()
    load = (
        "from pathlib import Path; from orchestrator.definition.bundle import Bundle;"
        f"print(Bundle(Path('b/{done.stdout.strip()}').resolve()).load_step('0').block(None))"
    )
    done = subprocess.run([*run, load], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "old study\n"


def test_an_error_in_a_module_beside_the_study_names_the_module(own_process, workspace, golden):
    (workspace / "beside_it.py").write_text("x = 1\n1 / 0\n")
    (workspace / "study.py").write_text("import beside_it\n")
    with golden.raises(StudyError):
        load_study(str(workspace / "study.py"))
    assert "study" not in sys.modules


def test_an_argument_that_the_block_does_not_take_is_refused(golden):
    with pytest.raises(TypeError, match="factr"):
        square.execute(ExperimentSample({"x": 1.0, "other": 2.0}), factr=3)
    assert square.execute(ExperimentSample({"x": 3.0, "other": 2.0})).output_data == {"y": 9.0}
    with golden.raises(ValueError):
        datagenerator(output_names=[])


def test_a_block_is_armed_once_for_all_iterations():
    class Counts(Block):
        armed = 0

        def arm(self, data):
            self.armed += 1

        def call(self, data):
            return data

    one, data = Counts(), numbers(1)
    repeated = (one >> Counts()).loop(3)
    repeated.arm(data)
    repeated.call(data)
    assert one.armed == 1


@pytest.mark.parametrize("names", [[], "", ["y", ""], ["y", "y"], "caf\udce9", "a\0b"])
def test_names_of_outputs_that_would_be_lost_are_refused(names):
    with pytest.raises(ValueError, match=r"output_names|can't have the name"):
        datagenerator(output_names=names)


def test_a_name_of_an_output_is_text():
    with pytest.raises(TypeError, match="the name of an output must be text, not int"):
        datagenerator(output_names=["y", 1])


def test_the_steps_of_a_pipeline_with_their_iterations():
    a, b, c = (Step(nothing, name=name) for name in "abc")
    pipeline = Pipeline("p", [a, Loop(2, [b, Loop(1, [c])]), Loop(3, [])])
    assert pipeline._flatten() == [(a, 0, 1), (b, 0, 2), (c, 0, 1), (b, 1, 2), (c, 0, 1)]


def test_chains_are_joined():
    class Same(Block):
        def call(self, data, **kwargs):
            return data

    one, two, three, four = (Same() for _ in range(4))
    assert ((one >> two) >> (three >> four)).blocks == (one >> (two >> three >> four)).blocks == [one, two, three, four]
