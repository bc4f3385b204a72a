"""Print the script of a job. Everything is computed here; the template only places it."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.definition.resources import SlurmCluster, SlurmResources, memory_in_mb, option_name
from orchestrator.errors import DefinitionError

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["TOKEN", "Values", "cpus", "digest", "directives", "literal_path", "render", "values"]

TOKEN = "$1"
"""Stands in a command for the argument that the script itself gets; all else in a command is taken literally."""

Values = Mapping[str, Any]
"""What a template places."""

TEMPLATE = Path(__file__).parent / "templates" / "job.sh.j2"

_EXCLUDE_EACH_OTHER = ({"mem", "mem-per-cpu", "mem-per-gpu"}, {"requeue", "no-requeue"})
_PLAIN = r"[A-Za-z0-9%+,./:=@_-]*"
_VARIABLE = r"\$(?:[A-Za-z_][A-Za-z0-9_]*|\{[A-Za-z_][A-Za-z0-9_]*\})"


def directives(
    resources: Mapping[str, Any], cluster: SlurmCluster, *, chdir: str, requeue: bool
) -> dict[str, str | None]:
    """Say what a job asks of sbatch.

    Parameters
    ----------
    resources : mapping
        The fields of `SlurmResources`.
    cluster : SlurmCluster
    chdir : str
        The folder that it runs in.
    requeue : bool
        Whether SLURM may run it again by itself.

    Returns
    -------
    dict of str to str or None
        Option, without dashes -> value; None for a flag.

    Raises
    ------
    DefinitionError
        If a value holds what no directive can hold.
    """
    asked = SlurmResources(**resources)
    memory = _memory(asked, cluster)
    ours: dict[str, Any] = {
        "time": asked.time,
        **memory,
        "ntasks": asked.ntasks,
        "cpus-per-task": _cpus(asked, cluster),
    }
    # SLURM warns of one node beside memory per CPU, where it says nothing.
    if "mem" in memory or asked.nodes != 1:
        ours["nodes"] = asked.nodes
    ours |= {"partition": cluster.partition, "account": cluster.account, "chdir": chdir}
    ours |= {"requeue" if requeue else "no-requeue": True, "open-mode": "append"}
    for name, value in asked.extra_sbatch.items():
        _override(ours, option_name(name), value)
    return {name: _value(name, value) for name, value in ours.items() if value is not None and value is not False}


def cpus(resources: Mapping[str, Any], cluster: SlurmCluster) -> int:
    """Count the CPUs that each task gets: more than asked for where the cluster gives memory only with CPUs."""
    asked = SlurmResources(**resources)
    for name, value in asked.extra_sbatch.items():
        if option_name(name) == "cpus-per-task" and str(value).isdecimal():
            return int(value)
    return _cpus(asked, cluster)


def literal_path(path: str) -> str:
    """Write a path so that sbatch takes it literally as that of a log; `%j` and the like are put behind it.

    Raises
    ------
    DefinitionError
        If it holds a backslash: with one, SLURM fills in nothing.
    """
    if "\\" in path:
        raise DefinitionError(f"SLURM can't write logs to {path!r}.", "Use a folder without a backslash in its path.")
    return path.replace("%", "%%")


def values(
    *,
    directives: Mapping[str, str | None],
    env_setup: Sequence[str],
    env_vars: Mapping[str, Any],
    runner: str,
    threads: int,
    command: Sequence[str],
) -> Values:
    """Compute what a job's script says.

    Parameters
    ----------
    directives : mapping of str to str or None
        As the function of that name gives them, and what the caller adds.
    env_setup : sequence of str
        Shell commands; the first that fails ends the job.
    env_vars : mapping
        In their values only `$NAME` and `${NAME}` are filled in, with nothing where there is no such variable.
    runner : str
        Words as a shell would read them.
    threads : int
        Of the libraries for numbers.
    command : sequence of str
        The module to run, and its arguments; `TOKEN` for the script's own.

    Raises
    ------
    DefinitionError
        If something in it can't be said to sbatch or the shell.
    """
    words = [*map(shlex.quote, shlex.split(runner)), "-m", *map(_argument, command)]
    return {
        "directives": [_directive(name, value) for name, value in directives.items()],
        "folder": directives.get("chdir"),
        "takes_token": TOKEN in command,
        "env_setup": [text.strip() for text in env_setup if _does_something(text)],
        "env_vars": {_variable_name(name): _expanding(str(value)) for name, value in env_vars.items()},
        "threads": threads,
        "command": " ".join(words),
    }


def digest(values: Values, comment: str) -> str:
    """Name a script before it is printed: 8 hexadecimal digits of a SHA-256 of all that it is made of."""
    text = json.dumps([values, comment, TEMPLATE.read_text()], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def render(values: Values, comment: str) -> str:
    """Print a job's script.

    Parameters
    ----------
    values : mapping
    comment : str
        What it is, for whoever reads it.
    """
    return _template().render(comment=comment.splitlines(), **values)


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined  # costs more than all the rest here

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["q"] = shlex.quote
    return environment.from_string(TEMPLATE.read_text())


def _memory(asked: SlurmResources, cluster: SlurmCluster) -> dict[str, str]:
    if asked.mem_per_cpu is not None:
        return {"mem-per-cpu": asked.mem_per_cpu}
    if cluster.mem_per_cpu is not None:
        return {"mem-per-cpu": f"{math.ceil(_whole_mb(asked.mem) / _cpus(asked, cluster))}M"}
    return {"mem": asked.mem}


def _cpus(asked: SlurmResources, cluster: SlurmCluster) -> int:
    if asked.mem_per_cpu is not None or cluster.mem_per_cpu is None:
        return asked.cpus_per_task
    return max(asked.cpus_per_task, math.ceil(_whole_mb(asked.mem) / _whole_mb(cluster.mem_per_cpu)))


def _whole_mb(text: str) -> int:
    return math.ceil(memory_in_mb(text))


def _override(ours: dict[str, Any], name: str, value: Any) -> None:
    """Let an option of the user's replace ours, and what sbatch would refuse or prefer beside it."""
    for group in _EXCLUDE_EACH_OTHER:
        if name in group:
            for other in group:
                ours.pop(other, None)
    ours[name] = True if value == "" else value


def _value(name: str, value: Any) -> str | None:
    if value is True:
        return None
    text = str(value)
    if re.search(r"[\n\r\0]", text):
        raise DefinitionError(f"--{name}={text!r} can't be given to sbatch.", "Take the line breaks out of it.")
    return text


def _directive(name: str, value: str | None) -> str:
    """Write an option as sbatch reads it: within double quotes, a backslash makes the next character literal."""
    value = _value(name, True if value is None else value)
    if value is None:
        return f"--{name}"
    if re.fullmatch(_PLAIN, value):
        return f"--{name}={value}"
    return f'--{name}="' + re.sub(r'([\\"])', r"\\\1", value) + '"'


def _argument(word: str) -> str:
    return '"$job_token"' if word == TOKEN else shlex.quote(word)


def _does_something(text: str) -> bool:
    return any(line.strip() and not line.strip().startswith("#") for line in text.splitlines())


def _variable_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise DefinitionError(f"env_vars: {name!r} is no name of a variable.", "Use letters, digits and _.")
    return name


def _expanding(text: str) -> str:
    """Write a value in double quotes in which nothing but variables means anything to the shell."""
    if "\0" in text:
        raise DefinitionError(f"env_vars: {text!r} can't be a value.", "Take the NUL out of it.")
    literals, variables = re.split(_VARIABLE, text), re.findall(_VARIABLE, text)
    quoted = [re.sub(r'([\\"`$])', r"\\\1", literal) for literal in literals]
    return '"' + "".join(a + b for a, b in zip(quoted, [*variables, ""], strict=True)) + '"'
