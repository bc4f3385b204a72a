"""Sample a function at 40 points, evaluate them in parallel, report the lowest.

Run it with one of

    orchestrator run docs/examples/quickstart.py
    python docs/examples/quickstart.py
"""

import math
from pathlib import Path

from orchestrator import (
    CollectArrayResults,
    Domain,
    ExperimentData,
    Pipeline,
    Step,
    create_sampler,
    datagenerator,
)


def create(project_dir: Path, n_samples: int, seed: int) -> None:
    """Write a table of open experiments into `project_dir`."""
    domain = Domain()
    domain.add_float("x", low=-5.0, high=10.0)
    domain.add_float("y", low=0.0, high=15.0)
    domain.add_output("height")
    data = ExperimentData(domain=domain, project_dir=project_dir)
    sampler = create_sampler("latin", seed=seed)
    sampler.arm(data)
    sampler.call(data, n_samples=n_samples).store(project_dir)


@datagenerator(output_names="height")
def branin(x: float, y: float) -> float:
    """Evaluate one experiment: Branin's function, whose minimum is 0.398."""
    valley = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def report(project_dir: Path) -> None:
    """Print the best experiment found."""
    inputs, outputs = ExperimentData.from_file(project_dir).to_pandas()
    best = outputs["height"].idxmin()
    x, y, height = inputs.loc[best, "x"], inputs.loc[best, "y"], outputs.loc[best, "height"]
    print(f"best of {len(outputs)} experiments: branin({x:.3f}, {y:.3f}) = {height:.3f}")


pipeline = Pipeline(
    name="quickstart",
    steps=[
        Step(create, name="create", kwargs={"n_samples": 40, "seed": 1}),
        Step(branin, name="evaluate", parallel=True),
        Step(CollectArrayResults(), name="collect"),
        Step(report, name="report"),
    ],
)

if __name__ == "__main__":
    pipeline.run(mode="local")
