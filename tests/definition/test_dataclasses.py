"""The classes of a definition are dataclasses for a user who treats them as such, as those of f3dasm are."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import InitVar, asdict, dataclass, fields, is_dataclass, replace

import pytest

from orchestrator import Domain, Loop, Pipeline, SlurmCluster, SlurmResources, Step
from orchestrator.data.parameters import ArrayParameter, CategoricalParameter, ContinuousParameter, Parameter
from orchestrator.data.references import Reference

RESOURCES = SlurmResources(time="02:00:00", extra_sbatch={"gres": "gpu:1"})


def note(project_dir):
    pass


VALUES = [
    RESOURCES,
    SlurmCluster(partition=None, env_vars={"A": "1"}),
    Step(note, "note", resources=RESOURCES, kwargs={"a": 1}),
    Loop(3, steps=[Step(note)]),
    Pipeline("p", [Step(note)], seed=7),
    Domain({"x": ContinuousParameter(0.0, 1.0)}),
    ContinuousParameter(0.5, 1.0, True),
    CategoricalParameter(["a", "b"]),
    ArrayParameter(3),
    Reference("x/0.npy"),
]
KINDS = [type(value).__name__ for value in VALUES]


@pytest.mark.parametrize("value", VALUES, ids=KINDS)
def test_dataclasses_takes_the_objects_and_the_classes(value):
    assert is_dataclass(value)
    names = [field.name for field in fields(type(value))]
    assert list(asdict(value)) == names
    assert all(hasattr(value, name) for name in names)
    assert replace(value) == value


def test_a_replaced_field_is_checked_as_a_new_one():
    longer = replace(RESOURCES, time="04:00:00")
    assert (longer.time, longer.extra_sbatch, RESOURCES.time) == ("04:00:00", {"gres": "gpu:1"}, "02:00:00")
    with pytest.raises(ValueError, match="max_jobs_per_task=0"):
        replace(RESOURCES, max_jobs_per_task=0)
    with pytest.raises(TypeError, match="memory"):
        replace(RESOURCES, memory="8G")


@pytest.mark.parametrize("value", VALUES, ids=KINDS)
def test_a_copy_is_equal_and_the_repr_names_the_fields(value):
    assert copy.deepcopy(value) == value == copy.copy(value)
    assert pickle.loads(pickle.dumps(value)) == value
    assert repr(value).startswith(f"{type(value).__name__}(")
    with pytest.raises(TypeError):
        hash(value)


def test_another_value_or_another_class_is_not_equal():
    assert SlurmResources() == SlurmResources()
    assert SlurmResources() != SlurmResources(mem="8G")
    assert SlurmResources() != SlurmCluster()
    assert Domain(found_outputs={"y"}) == Domain()
    assert repr(SlurmResources(mem="8G")).startswith("SlurmResources(time='01:00:00', mem='8G', cpus_per_task=1, ")


def test_no_two_objects_share_a_default():
    one, other = SlurmResources(), SlurmResources()
    one.extra_sbatch["gres"] = "gpu:1"
    Pipeline().steps.append(Step(note))
    assert (other.extra_sbatch, Pipeline().steps, Loop().steps, Domain().notes) == ({}, [], [], {})


def test_a_dataclass_may_derive_from_one():
    @dataclass
    class WithGpu(SlurmResources):
        gpus: int = 1

    resources = WithGpu(mem="8G", gpus=2, extra_sbatch={"gres": "gpu:2"})
    assert isinstance(resources, SlurmResources)
    assert (resources.mem, resources.time, resources.gpus) == ("8G", "01:00:00", 2)


@dataclass
class WithGpus(SlurmResources):
    gpus: int = 0


def test_a_dataclass_of_a_user_takes_the_arguments_of_its_base_in_order_and_is_checked_as_it():
    resources = WithGpus("02:00:00", gpus=2)
    assert (resources.time, resources.gpus, resources.extra_sbatch) == ("02:00:00", 2, {})
    with pytest.raises(ValueError, match="max_jobs_per_task=0 is not valid"):
        WithGpus(max_jobs_per_task=0)


def test_omegaconf_takes_resources_as_an_object_and_as_a_class():
    omegaconf = pytest.importorskip("omegaconf").OmegaConf
    for config in (omegaconf.create({"it": SlurmResources()}).it, omegaconf.structured(SlurmResources)):
        assert SlurmResources(**config) == SlurmResources()


def test_what_a_derived_class_adds_is_not_stored():
    class WithNote(SlurmResources):
        def __init__(self, note, **resources):
            super().__init__(**resources)
            self.note = note

    assert WithNote("mine", mem="2G").to_json() == SlurmResources(mem="2G").to_json() == WithGpus(mem="2G").to_json()


# --- classes that users derive -------------------------------------------------------------------


@pytest.mark.parametrize("value", VALUES, ids=KINDS)
def test_the_fields_can_be_matched_by_position(value):
    kind = type(value)
    assert kind.__match_args__ == tuple(field.name for field in fields(kind))
    match value:
        case SlurmResources(time, "4G"):
            assert time == "02:00:00"
        case Step(_, name, False):
            assert name == "note"
        case Loop(n, [Step(block)]):
            assert (n, block) == (3, note)
        case Domain({"x": ContinuousParameter(low, high)}):
            assert (low, high) == (0.0, 1.0)
        case Pipeline(name):
            assert name == "p"
        case CategoricalParameter(["a", *more]):
            assert more == ["b"]


def test_the_default_of_a_field_is_an_attribute_of_its_class():
    assert (SlurmResources.mem, SlurmCluster.partition, Step.parallel, Loop.n_iterations) == ("4G", "batch", False, 1)
    assert not hasattr(SlurmResources, "extra_sbatch")
    assert ContinuousParameter.log is False


@dataclass
class LargeByDataclass(SlurmResources):
    mem: str = "64G"
    cpus_per_task: int = 16


def test_a_derived_dataclass_changes_a_default():
    large = LargeByDataclass("02:00:00", cpus_per_task=8)
    assert (large.time, large.mem, large.cpus_per_task) == ("02:00:00", "64G", 8)
    assert (SlurmResources().mem, SlurmResources.mem) == ("4G", "4G")


def test_none_stands_for_an_empty_dict_or_list_of_a_cluster_or_of_resources():
    assert SlurmCluster.from_yaml({"env_setup": None, "env_vars": None}) == SlurmCluster()
    assert SlurmResources(extra_sbatch=None) == SlurmResources()


def test_a_property_of_a_derived_class_takes_what_is_set():
    class InGigabytes(SlurmResources):
        @property
        def mem(self):
            return f"{self._gigabytes}G"

        @mem.setter
        def mem(self, text):
            self._gigabytes = int(text.removesuffix("G"))

    assert [InGigabytes(cpus_per_task=2).mem, InGigabytes(mem="8G").mem] == ["4G", "8G"]


def test_a_derived_class_may_end_its_initialization_with_post_init():
    class Gpu(SlurmResources):
        def __post_init__(self):
            super().__post_init__()
            self.extra_sbatch["mem"] = self.mem

    class MoreGpus(Gpu):
        pass

    assert [kind(mem="8G").extra_sbatch for kind in (Gpu, MoreGpus)] == [{"mem": "8G"}, {"mem": "8G"}]

    class OneTry(Step):
        def __post_init__(self):
            super().__post_init__()
            self.retries = 0

    assert OneTry("note", block=note, retries=3) == OneTry(note, "note")

    @dataclass
    class GpuOfDataclass(SlurmResources):
        gpus: InitVar[int] = 0

        def __post_init__(self, gpus):
            super().__post_init__()
            self.extra_sbatch["gres"] = f"gpu:{gpus}"

    assert GpuOfDataclass(gpus=2).extra_sbatch == {"gres": "gpu:2"}
    assert GpuOfDataclass().extra_sbatch == {"gres": "gpu:0"}


def test_dataclasses_may_derive_from_a_derived_dataclass():
    @dataclass(kw_only=True)
    class WithNodes(WithGpus):
        racks: int

    class Named(WithNodes):
        def __init__(self, name):
            super().__init__(gpus=3, racks=2)
            self.name = name

    resources = WithNodes("03:00:00", gpus=2, racks=1)
    assert (resources.time, resources.gpus, resources.racks) == ("03:00:00", 2, 1)
    assert replace(resources, racks=4).gpus == 2
    assert (Named("n").gpus, Named("n").racks, Named("n").name, Named("n").mem) == (3, 2, "n", "4G")


@dataclass
class WithUnit(ContinuousParameter):
    unit: str = "m"


@dataclass
class Note(Parameter):
    author: str = "me"


@dataclass
class OwnedStep(Step):
    owner: str = ""


@dataclass
class OwnedLoop(Loop):
    owner: str = ""


@dataclass
class OwnedPipeline(Pipeline):
    owner: str = ""


@dataclass
class OwnedDomain(Domain):
    owner: str = ""


@dataclass
class OwnedCluster(SlurmCluster):
    owner: str = ""


DERIVED = [
    WithUnit(0.5, 1.0, True, "s"),
    Note("you"),
    OwnedStep(note, "n", owner="x"),
    OwnedLoop(3, [Step(note)], owner="x"),
    OwnedPipeline("p", [Step(note)], owner="x"),
    OwnedDomain({"x": ContinuousParameter(0.0, 1.0)}, owner="x"),
    OwnedCluster("fast", owner="x"),
    LargeByDataclass("02:00:00"),
]


@pytest.mark.parametrize("value", DERIVED, ids=lambda value: type(value).__name__)
def test_a_derived_dataclass_is_one_in_every_way(value):
    added = [name for name in type(value).__annotations__ if name not in ("mem", "cpus_per_task")]
    base = type(value).__mro__[1]
    inherited = fields(base) if is_dataclass(base) else ()
    assert [field.name for field in fields(value)] == [*(field.name for field in inherited), *added]
    assert replace(value) == value == copy.deepcopy(value) == pickle.loads(pickle.dumps(value))
    assert all(replace(value, **{name: "other"}) != value for name in added)
    assert all(f"{name}={getattr(value, name)!r}" in repr(value) for name in added)


def test_a_derived_parameter_keeps_its_functions():
    parameter = WithUnit(0.0, 1.0)
    assert (parameter.to_disk, parameter.store_function, parameter.unit) == (False, None, "m")
    assert Domain({"x": parameter}).input_space["x"].to_json() == ContinuousParameter(0.0, 1.0).to_json()
    assert (Note("you").to_disk, Note("you").load_function, Note("you").author) == (False, None, "you")


def test_a_frozen_dataclass_may_not_derive():
    with pytest.raises(TypeError, match="cannot inherit frozen dataclass from a non-frozen one"):

        @dataclass(frozen=True)
        class Frozen(SlurmResources):
            gpus: int = 0


def test_a_run_uses_classes_that_the_study_derives(tmp_path):
    # By value: the study of an interactive session is no module.
    import cloudpickle

    script = """
import cloudpickle, sys
from dataclasses import dataclass
from orchestrator import SlurmResources, Step

class Large(SlurmResources):
    def __post_init__(self):
        self.time = "09:00:00"

@dataclass
class Owned(Step):
    owner: str = ""

step = Owned(print, "n", resources=Large(nodes=2), owner="x")
sys.stdout.buffer.write(cloudpickle.dumps((step, Large)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    step, large = cloudpickle.loads(done.stdout)
    assert (step.owner, step.resources.time, step.resources.nodes) == ("x", "09:00:00", 2)
    assert (large(nodes=3).nodes, large().time) == (3, "09:00:00")


@pytest.mark.parametrize(
    ("cls", "wrong", "right"),
    [
        (Step, "paralell", "parallel"),
        (Loop, "untill", "until"),
        (Pipeline, "stpes", "steps"),
        (SlurmResources, "cpu_per_task", "cpus_per_task"),
        (SlurmCluster, "acount", "account"),
    ],
)
def test_an_argument_that_a_class_does_not_have_is_named_with_the_most_similar_one(cls, wrong, right):
    with pytest.raises(TypeError) as caught:
        cls(**{wrong: 1})
    assert str(caught.value).startswith(f"{cls.__name__} has no argument {wrong!r}. Did you mean {right}? ")
