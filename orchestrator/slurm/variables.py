"""The environment of SLURM's programs, without variables that would change what they do.

In a job, sbatch passes variables of this job (`SLURM_ARRAY_TASK_ID`, ...) to the new one. The user's own settings
(`SQUEUE_PARTITION`, `SBATCH_TIMELIMIT`, ...) would hide jobs, or replace options of a script.

The environment that a run stores for its jobs, from which sbatch gets the rest: `orchestrator.handoff.environment`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.workspace import TASK_MARK

__all__ = ["for_query", "for_submission", "cluster_variables", "kept_by_login", "passes_environment"]

KEPT = ("SLURM_CLUSTERS", "SLURM_CONF")

VARIABLES_OF: dict[str, tuple[str, ...]] = {
    "array": ("SBATCH_ARRAY_INX",),
    "core-spec": ("SBATCH_CORE_SPEC", "SBATCH_THREAD_SPEC"),
    "exclusive": ("SBATCH_EXCLUSIVE", "SBATCH_OVERSUBSCRIBE"),
    "mem": ("SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"),
    "mem-per-cpu": ("SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"),
    "mem-per-gpu": ("SBATCH_MEM_PER_NODE", "SBATCH_MEM_PER_CPU", "SBATCH_MEM_PER_GPU"),
    "no-requeue": ("SBATCH_NO_REQUEUE", "SBATCH_REQUEUE"),
    "requeue": ("SBATCH_NO_REQUEUE", "SBATCH_REQUEUE"),
    "switches": ("SBATCH_REQ_SWITCH", "SBATCH_WAIT4SWITCH"),
    "time": ("SBATCH_TIMELIMIT",),
    "verbose": ("SBATCH_DEBUG",),
}
"""Variables that set or contradict an option of sbatch, besides `SBATCH_` and the option's name."""

NOT_INHERITED = ("array", "clusters", "wait")
"""Options that a job never takes from the environment.

It would become an array; sbatch would not return; or the job would go to a cluster that the other programs don't ask.
`SLURM_CLUSTERS`, which all of them read, is kept."""


def for_submission(environment: Mapping[str, str], options: Iterable[str]) -> dict[str, str]:
    """Return the environment of sbatch.

    Parameters
    ----------
    environment : mapping
        Environment of the submitting process.
    options : iterable of str
        Names of the options that are set otherwise, such as `mem-per-cpu`: their variables are removed.
    """
    removed = {variable for option in (*options, *NOT_INHERITED) for variable in _variables_of(option)}
    return {name: value for name, value in _without_slurm(environment).items() if name not in removed}


def for_query(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of all other programs: lists are not shortened, times are epoch seconds."""
    settings = ("SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_")
    kept = {name: value for name, value in _without_slurm(environment).items() if not name.startswith(settings)}
    return {**kept, "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "%s"}


def cluster_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that name the cluster and its configuration file."""
    return {name: environment[name] for name in KEPT if name in environment}


def passes_environment(environment: Mapping[str, str]) -> bool:
    """Whether sbatch passes the whole environment to a job."""
    return environment.get("SBATCH_EXPORT", "ALL") == "ALL"


def kept_by_login(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a new login of the user has, too."""
    return {name: environment[name] for name in ("HOME", "LOGNAME", "SHELL", "USER") if name in environment}


def _without_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in environment.items() if not name.startswith("SLURM_") or name in KEPT}
    kept.pop(TASK_MARK, None)
    return kept


def _variables_of(option: str) -> tuple[str, ...]:
    return (*VARIABLES_OF.get(option, ()), f"SBATCH_{option.upper().replace('-', '_')}")
