"""The environment of SLURM's programs, without what would change what they do.

Inside a job there are variables of that job (`SLURM_ARRAY_TASK_ID`, ...), which sbatch hands on to the new one; and a
user's own settings (`SQUEUE_PARTITION`, `SBATCH_TIMELIMIT`, ...) would hide jobs from us, or win over a script.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["for_query", "for_submission", "where_slurm_is"]

KEPT = ("SLURM_CLUSTERS", "SLURM_CONF")

VARIABLES: dict[str, tuple[str, ...]] = {
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
"""Option of sbatch -> variables that set it or speak against it; where it isn't `SBATCH_` and the option's name."""

NEVER = ("array", "clusters", "wait")
"""Options that a job never takes from the environment: it would become an array, or go where we don't ask for it (as
all programs understand `SLURM_CLUSTERS`, that is the one to set), or sbatch would not return."""


def for_submission(environment: Mapping[str, str], taken: Iterable[str]) -> dict[str, str]:
    """Give the environment of sbatch.

    Parameters
    ----------
    environment : mapping
    taken : iterable of str
        Names of the options that we set, such as `mem-per-cpu`.
    """
    hidden = {variable for option in (*taken, *NEVER) for variable in _variables_of(option)}
    return {name: value for name, value in _without_slurm(environment).items() if name not in hidden}


def for_query(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the environment of all other programs: lists are not cut short, times are epoch seconds."""
    settings = ("SQUEUE_", "SACCT_", "SCANCEL_", "SCONTROL_")
    kept = {name: value for name, value in _without_slurm(environment).items() if not name.startswith(settings)}
    return {**kept, "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "%s"}


def where_slurm_is(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that say which cluster is meant, and where its configuration is."""
    return {name: environment[name] for name in KEPT if name in environment}


def _without_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("SLURM_") or name in KEPT}


def _variables_of(option: str) -> tuple[str, ...]:
    return (*VARIABLES.get(option, ()), f"SBATCH_{option.upper().replace('-', '_')}")
