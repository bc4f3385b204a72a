"""Which resources and clusters can't be used, and why.

Times and amounts of memory are read in `orchestrator.definition.resources`.
"""

from __future__ import annotations

import math
import re
import shlex
import string
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from orchestrator.definition.resources import SlurmCluster, SlurmResources, memory_in_mb, option_name, time_in_seconds
from orchestrator.errors import DefinitionError
from orchestrator.redact import redacted

__all__ = ["cluster_problems", "resource_problems"]

MANAGED_OPTIONS = ("array", "clusters", "dependency", "job-name", "parsable", "test-only", "wait", "wrap")
"""Options of sbatch that the orchestrator sets for each job."""


def resource_problems(resources: Any) -> Iterator[str]:
    """Yield what is wrong with the resources of a step."""
    if not isinstance(resources, SlurmResources):
        yield f"resources: must be a SlurmResources, not {type(resources).__name__}"
        return
    texts = {"time": (time_in_seconds, resources.time), "mem": (memory_in_mb, resources.mem)}
    if resources.mem_per_cpu is not None:
        texts["mem_per_cpu"] = (memory_in_mb, resources.mem_per_cpu)
    for read, text in texts.values():
        try:
            read(text)
        except DefinitionError as error:
            yield f"{error.message}; {error.hint}"
    for name in ("cpus_per_task", "nodes", "ntasks", "max_array_size", "max_concurrent"):
        value = getattr(resources, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            yield f"resources: {name}={value!r} is not valid; use an integer, 1 or more"
    per_task = resources.max_jobs_per_task
    if per_task is not None and (isinstance(per_task, bool) or not isinstance(per_task, int)):
        yield f"resources: max_jobs_per_task={per_task!r} is not valid; use an integer, 1 or more, or None"
    yield from _directive_problems(resources.extra_sbatch)


def _directive_problems(directives: Any) -> Iterator[str]:
    if not isinstance(directives, Mapping) or not all(isinstance(name, str) for name in directives):
        yield "resources: extra_sbatch must be a dict with names of options as keys"
        return
    for name, value in directives.items():
        if not isinstance(value, str | int | float | None):
            yield f"resources: extra_sbatch[{name!r}]={value!r} is not valid; use text, a number, True or None"
        elif isinstance(value, str) and re.search(r"[\n\r\0]", value):
            yield f"resources: extra_sbatch[{name!r}]={value!r} is not valid; use text without line breaks"
        option = option_name(name)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", option):
            yield f"resources: extra_sbatch: {name!r} is not an option of sbatch; use a long name, such as 'gres'"
        elif option == "output":
            yield "resources: extra_sbatch: 'output' can't be set; the folder of the logs is SlurmCluster(log_dir=...)"
        elif option in MANAGED_OPTIONS:
            yield f"resources: extra_sbatch: {name!r} can't be set; the orchestrator sets it for each job"


def cluster_problems(cluster: SlurmCluster) -> Iterator[str]:
    """Yield what is wrong with a cluster, as the user wrote it or as the records contain it."""
    for name in ("partition", "account"):
        value = getattr(cluster, name)
        if value is not None and not (isinstance(value, str) and value.strip() and value.isprintable()):
            yield f"{name}={value!r} is not valid; use its name, or None for SLURM's default"
    yield from _env_problems(cluster.env_setup, cluster.env_vars)
    yield from _runner_problems(cluster.runner)
    yield from _log_dir_problems(cluster.log_dir)
    if cluster.mem_per_cpu is not None:
        yield from _memory_limit_problems(cluster.mem_per_cpu)
    if cluster.wake not in ("job", "both"):
        yield f"wake={cluster.wake!r} is not valid; use 'job' or 'both'"
    grace = cluster.grace
    if isinstance(grace, bool) or not isinstance(grace, int | float) or not 0 <= grace < math.inf:
        yield f"grace={grace!r} is not valid; use a number of seconds, 0 or more"


def _env_problems(setup: Any, variables: Any) -> Iterator[str]:
    if not isinstance(setup, list | tuple) or not all(isinstance(command, str) for command in setup):
        yield f"env_setup={_shown(setup)} is not valid; use a list of shell commands"
    elif any("\0" in command or "\r" in command for command in setup):
        yield "env_setup: a command contains a NUL or a carriage return; remove it"
    if not isinstance(variables, Mapping):
        # A value may be a secret, and what is printed here may be kept in a log: so it is not printed.
        yield f"env_vars is of type {type(variables).__name__}; use a dict of names and values"
        return
    for name, value in variables.items():
        if not isinstance(name, str):
            yield f"env_vars: a name is of type {type(name).__name__}; use text"
            continue
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            # As in {"NAME=value"} and {NAME:value}, where the value is a part of the name.
            begin = re.findall("^[A-Za-z0-9_]*", name)[0]
            yield f"env_vars: the name that begins with {begin!r} is not valid; use letters and _, then also digits"
            continue
        if value is None or isinstance(value, bool):
            yield f"env_vars[{name!r}]={value} is not valid; use text or a number"
        elif not isinstance(value, str | int | float):
            yield f"env_vars[{name!r}] is of type {type(value).__name__}; use text or a number"
        elif "\0" in str(value):
            yield f"env_vars[{name!r}] contains a NUL character; remove it"


def _shown(value: Any) -> str:
    """Return commands as they may be printed, because what is printed may be kept in a log."""
    if isinstance(value, str):
        return repr(" ".join(redacted(value.split(" "))))
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value) if value is None or isinstance(value, bool | int | float) else f"<{type(value).__name__}>"


def _runner_problems(runner: Any) -> Iterator[str]:
    try:
        words = shlex.split(runner) if isinstance(runner, str) else []
    except ValueError:  # a quote is not closed
        words = []
    if not words or not runner.isprintable():
        yield f"runner={_shown(runner)} is not valid; use a command that runs Python on the node: 'python', 'uv run'"


def _log_dir_problems(log_dir: Any) -> Iterator[str]:
    if not isinstance(log_dir, str) or not log_dir.strip() or not log_dir.isprintable() or "\\" in log_dir:
        yield f"log_dir={log_dir!r} is not valid; use the path of a folder"
        return
    try:
        placeholders = {name for _, name, _, _ in string.Formatter().parse(log_dir) if name is not None}
        path = PurePath(log_dir.format(project_job="x"))
    except (ValueError, LookupError, AttributeError):
        yield f"log_dir={log_dir!r} is not valid; the only placeholder is {{project_job}}"
        return
    if placeholders - {"project_job"}:
        yield f"log_dir={log_dir!r} is not valid; the only placeholder is {{project_job}}"
    if ".." in path.parts:
        yield f"log_dir={log_dir!r} is not valid; use a folder inside the workspace, or an absolute path"
    elif path.is_absolute() and "project_job" not in placeholders:
        yield f"log_dir={log_dir!r} would be the folder of all runs; add {{project_job}} to it"


def _memory_limit_problems(limit: Any) -> Iterator[str]:
    try:
        if memory_in_mb(limit) > 0:
            return
    except DefinitionError:
        pass
    yield f"mem_per_cpu={limit!r} is not valid; use the largest memory per CPU, such as '3968M', or None"
