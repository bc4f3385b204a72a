"""Stands for f3dasm where it is not installed: the classes of f3dasm that a pipeline needs, in the same shape."""

from dataclasses import dataclass, field


class Block:
    def arm(self, data):
        pass

    def __rshift__(self, other):
        return ChainedBlock([self, other])

    def loop(self, n_iterations):
        return LoopBlock(self, n_iterations)


class ChainedBlock(Block):
    def __init__(self, blocks):
        self.blocks = blocks

    def call(self, data, **kwargs):
        for block in self.blocks:
            data = block.call(data=data, **kwargs)
        return data


class LoopBlock(Block):
    def __init__(self, block, n_iterations):
        self.block, self.n_iterations = block, n_iterations

    def call(self, data, **kwargs):
        for _ in range(self.n_iterations):
            data = self.block.call(data=data, **kwargs)
        return data


class CollectArrayResults(Block):
    def __init__(self, cleanup=True):
        self.cleanup = cleanup

    def call(self, data, **kwargs):
        raise AssertionError("ours collects")


class DataGenerator:
    def arm(self, data):
        pass

    def execute(self, experiment_sample, **kwargs):
        raise NotImplementedError

    def call(self, data, mode="sequential", pass_id=False, **kwargs):
        raise AssertionError("ours calls execute")


class FunctionDataGenerator(DataGenerator):
    def __init__(self, f):
        self.f = f

    def arm(self, data):
        raise ValueError("it does not know the kwargs of the step")

    def execute(self, experiment_sample, **kwargs):
        experiment_sample.store("y", self.f(**experiment_sample.input_data, **kwargs))
        return experiment_sample


@dataclass
class SlurmResources:
    time: str = "01:00:00"
    mem: str = "4G"
    extra_sbatch: dict = field(default_factory=dict)


@dataclass
class SlurmCluster:
    partition: str = "batch"
    account: str = "default"


@dataclass
class Step:
    block: object
    name: str = ""
    parallel: bool = False
    resources: SlurmResources = field(default_factory=SlurmResources)
    kwargs: dict = field(default_factory=dict)


@dataclass
class Loop:
    n_iterations: int = 1
    steps: list = field(default_factory=list)


@dataclass
class Pipeline:
    name: str = ""
    steps: list = field(default_factory=list)
    orchestrator_resources: SlurmResources = None
