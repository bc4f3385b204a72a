"""The study that is timed; the same text for orchestrator and f3dasm, and the hand-made chain calls its functions.

python study.py PACKAGE N_EXPERIMENTS N_ITERATIONS TASKS     TASKS: at most so many in an array, or `each`
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__" and sys.argv[1] == "f3dasm":
    from f3dasm import Block, ExperimentData, datagenerator
    from f3dasm.design import Domain
    from f3dasm.pipeline import CollectArrayResults, Loop, Pipeline, SlurmCluster, SlurmResources, Step
else:
    from orchestrator import (
        Block,
        CollectArrayResults,
        Domain,
        ExperimentData,
        Loop,
        Pipeline,
        SlurmCluster,
        SlurmResources,
        Step,
        datagenerator,
    )


def table(n: int, **where: Path) -> ExperimentData:
    """Make a table of open experiments."""
    domain = Domain()
    domain.add_float("x", low=0.0, high=1.0)
    domain.add_output("y")
    return ExperimentData(domain=domain, input_data=[{"x": i / n} for i in range(n)], **where)


def create(project_dir: Path, n: int, **kwargs: object) -> None:
    table(n, project_dir=project_dir).store(project_dir)


@datagenerator(output_names="y")
def square(x: float) -> float:
    return x * x


class Update(Block):
    """Adds as many open experiments as there were in the beginning."""

    def call(self, data: ExperimentData, n: int, **kwargs: object) -> ExperimentData:
        data.add_experiments(table(n), in_place=True)
        return data


def report(project_dir: Path, **kwargs: object) -> None:
    data = ExperimentData.from_file(project_dir)
    n_finished = len(data.select_with_status("finished"))
    (Path(project_dir) / "report.json").write_text(json.dumps({"n": len(data), "n_finished": n_finished}))


def main(n: int, n_iterations: int, tasks: str) -> None:
    each = SlurmResources() if tasks == "each" else SlurmResources(max_array_size=int(tasks), max_jobs_per_task=None)
    loop = [
        Step(block=square, name="evaluate", parallel=True, resources=each),
        Step(block=CollectArrayResults(), name="collect"),
        Step(block=Update(), name="update", kwargs={"n": n}),
    ]
    steps = [
        Step(block=create, name="create", kwargs={"n": n}),
        Loop(n_iterations=n_iterations, steps=loop),
        Step(block=report, name="report"),
    ]
    Pipeline(name="bench", steps=steps).run(mode="slurm", cluster=SlurmCluster(), project_job="bench")


if __name__ == "__main__":
    main(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
