"""How a pipeline uses a cluster: check it, and show its scripts, before anything is written."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from orchestrator.definition.f3dasm_blocks import our_settings
from orchestrator.definition.flatten import plan_of
from orchestrator.definition.pipeline import PipelineDefinition
from orchestrator.definition.resources import SlurmCluster
from orchestrator.definition.validate import check_cluster, check_key, check_pipeline
from orchestrator.engine.cluster.config import ClusterConfig, orchestrator_resources
from orchestrator.engine.cluster.scripts import Scripts, all_scripts
from orchestrator.errors import DefinitionError
from orchestrator.expansion import expanded, unset_variables
from orchestrator.machine.plan import Plan
from orchestrator.slurm.client import Client, SlurmConfig
from orchestrator.workspace import DATABASE, RunFolder

__all__ = ["config_with_limits", "config_for", "script_texts"]


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
    cluster = our_settings(SlurmCluster, cluster)
    check_cluster(cluster)
    cluster = replace(cluster, log_dir=expanded(cluster.log_dir, "log_dir"))
    check_cluster(cluster)
    return ClusterConfig(cluster, orchestrator_resources(pipeline.resources), str(Path.cwd()))


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
    _check_runner(config.cluster)
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
    _check_arrays(limits, plan)
    return config._replace(max_array_size=limits.max_array_size, has_accounting=limits.has_accounting)


def _check_runner(cluster: SlurmCluster) -> None:
    """Raise `DefinitionError` if the runner contains a variable that will not be set in a job."""
    # What env_setup sets is known only after it has run.
    missing = [] if cluster.env_setup else unset_variables(cluster.runner, os.environ, cluster.env_vars)
    if missing:
        raise DefinitionError(
            f"runner={cluster.runner!r} contains ${missing[0]}, which is not set: the jobs could not start Python.",
            f'Set it: export {missing[0]}=..., or SlurmCluster(env_vars={{"{missing[0]}": "..."}})',
        )


def _check_arrays(limits: SlurmConfig, plan: Plan) -> None:
    """Raise `DefinitionError` if a step is parallel, and the cluster has no job arrays."""
    parallel = next((step.name for step in plan.steps() if step.parallel), None)
    if limits.max_array_size < 2 and parallel is not None:
        raise DefinitionError(
            f"Step {parallel!r} is parallel, but this cluster has no job arrays: its MaxArraySize is "
            f"{limits.max_array_size}.",
            f"Evaluate its experiments one after the other in one job: Step(..., name={parallel!r}, parallel=False)\n"
            "Or ask the administrators of the cluster for job arrays.",
        )


def script_texts(
    pipeline: PipelineDefinition, cluster: SlurmCluster, project_job: str, rootdir: Path
) -> dict[str, str]:
    """Return the text of each script that a run would submit, by label.

    Raises
    ------
    DefinitionError
        If something can't work.
    """
    steps = pipeline.all_steps
    check_pipeline(pipeline.name, steps, pipeline.resources)
    check_key(project_job)
    config = config_for(cluster, pipeline)
    workspace = rootdir.absolute()
    folder = RunFolder(workspace, project_job, config.cluster.log_dir)
    scripts = all_scripts(Scripts(config, folder, workspace / DATABASE, pipeline.name), plan_of(steps))
    return {label: script.text for label, script in scripts.items()}
