"""How a pipeline would use a cluster: checked, and shown as scripts, before anything is written."""

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

__all__ = ["ask_cluster", "config_for", "print_scripts"]


def config_for(cluster: SlurmCluster | None, pipeline: PipelineDefinition) -> ClusterConfig:
    """Check how a pipeline would use a cluster, without asking the cluster.

    Raises
    ------
    DefinitionError
    """
    if cluster is None:
        raise DefinitionError(
            'mode="slurm" needs to know the cluster.',
            'Say which: cluster=SlurmCluster(partition="...", account="...")',
        )
    check_cluster(cluster)
    return ClusterConfig(cluster, orchestrator_resources(pipeline.orchestrator_resources), str(Path.cwd()))


def ask_cluster(cluster: SlurmCluster | None, pipeline: PipelineDefinition, plan: Plan) -> ClusterConfig:
    """Check how a pipeline would use a cluster, and ask the cluster, once, what it bears.

    Raises
    ------
    DefinitionError
        If something can't work, or SLURM's programs are not here.
    SchedulerUnreachable
    """
    config = config_for(cluster, pipeline)
    # Whatever can't be said to sbatch is refused now, and not when its turn comes.
    all_scripts(Scripts(config, RunFolder(Path("/"), "x", config.cluster.log_dir), Path("/"), pipeline.name), plan)
    client = Client()
    missing = client.missing_program()
    if missing is not None:
        raise DefinitionError(
            f"{missing} is not on PATH: this machine is no login node of a SLURM cluster.",
            'Type it on one, or run here: mode="local", or: orchestrator run STUDY.py',
        )
    said = client.config()
    return config._replace(max_array_size=said.max_array_size, has_accounting=said.has_accounting)


def print_scripts(
    pipeline: PipelineDefinition, cluster: SlurmCluster, project_job: str, rootdir: Path
) -> dict[str, str]:
    """Print the scripts that a run would hand to sbatch, by label.

    Raises
    ------
    DefinitionError
    """
    steps = list(pipeline.all_steps)
    check_pipeline(pipeline.name, steps, pipeline.orchestrator_resources)
    check_key(project_job)
    config = config_for(cluster, pipeline)
    workspace = rootdir.absolute()
    folder = RunFolder(workspace, project_job, config.cluster.log_dir)
    scripts = all_scripts(Scripts(config, folder, workspace / DATABASE, pipeline.name), plan_of(steps))
    return {label: script.text for label, script in scripts.items()}
