"""How a pipeline uses a cluster: check it, and print its scripts, before anything is written."""

from __future__ import annotations

from pathlib import Path

from orchestrator.definition.flatten import plan_of
from orchestrator.definition.pipeline import PipelineDefinition
from orchestrator.definition.resources import SlurmCluster
from orchestrator.definition.validate import check_cluster, check_key, check_pipeline
from orchestrator.engine.cluster.config import ClusterConfig, orchestrator_resources
from orchestrator.engine.cluster.scripts import Scripts, all_scripts
from orchestrator.errors import DefinitionError
from orchestrator.machine.plan import Plan
from orchestrator.slurm.client import Client
from orchestrator.workspace import DATABASE, RunFolder

__all__ = ["config_with_limits", "config_for", "print_scripts"]


def config_for(cluster: SlurmCluster | None, pipeline: PipelineDefinition) -> ClusterConfig:
    """Check how a pipeline uses a cluster, without a query to SLURM.

    Raises
    ------
    DefinitionError
        If there is no cluster, or something can't work.
    """
    if cluster is None:
        raise DefinitionError(
            'mode="slurm" requires a cluster.',
            'Add one: cluster=SlurmCluster(partition="...", account="...")',
        )
    check_cluster(cluster)
    return ClusterConfig(cluster, orchestrator_resources(pipeline.orchestrator_resources), str(Path.cwd()))


def config_with_limits(cluster: SlurmCluster | None, pipeline: PipelineDefinition, plan: Plan) -> ClusterConfig:
    """Check how a pipeline uses a cluster, and query SLURM once for its limits.

    Raises
    ------
    DefinitionError
        If something can't work, or SLURM's programs are not installed here.
    SchedulerUnreachable
        If SLURM does not answer.
    """
    config = config_for(cluster, pipeline)
    # What sbatch can't express is refused now, and not when the step is submitted.
    all_scripts(Scripts(config, RunFolder(Path("/"), "x", config.cluster.log_dir), Path("/"), pipeline.name), plan)
    client = Client()
    missing = client.missing_program()
    if missing is not None:
        raise DefinitionError(
            f"{missing} is not on PATH: this machine is not a login node of a SLURM cluster.",
            'Submit from a login node, or run on this machine: mode="local", or: orchestrator run STUDY.py',
        )
    limits = client.config()
    return config._replace(max_array_size=limits.max_array_size, has_accounting=limits.has_accounting)


def print_scripts(
    pipeline: PipelineDefinition, cluster: SlurmCluster, project_job: str, rootdir: Path
) -> dict[str, str]:
    """Return the text of each script that a run would submit, by label.

    Raises
    ------
    DefinitionError
        If something can't work.
    """
    steps = list(pipeline.all_steps)
    check_pipeline(pipeline.name, steps, pipeline.orchestrator_resources)
    check_key(project_job)
    config = config_for(cluster, pipeline)
    workspace = rootdir.absolute()
    folder = RunFolder(workspace, project_job, config.cluster.log_dir)
    scripts = all_scripts(Scripts(config, folder, workspace / DATABASE, pipeline.name), plan_of(steps))
    return {label: script.text for label, script in scripts.items()}
