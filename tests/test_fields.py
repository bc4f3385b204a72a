"""The classes of a definition are dataclasses for a user who treats them as such, as those of f3dasm are."""

from __future__ import annotations

import copy
import pickle
from dataclasses import asdict, dataclass, fields, is_dataclass, replace

import pytest

from orchestrator import Domain, Loop, Pipeline, SlurmCluster, SlurmResources, Step
from orchestrator.data.parameters import ArrayParameter, CategoricalParameter, ContinuousParameter
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
