"""What the script of a job contains: its options of sbatch, its environment and its command.

All values are computed here; the template only inserts them.

The name of a job is not in its script: `options_of` in `orchestrator.engine.cluster.scripts`.
"""

from __future__ import annotations

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
from orchestrator.expansion import VARIABLE, home_expanded
from orchestrator.sha256 import sha256_of

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = [
    "JOB_FILE",
    "TOKEN",
    "Values",
    "cpus",
    "digest",
    "directives",
    "exports",
    "literal_path",
    "render",
    "runner_words",
    "values",
]

TOKEN, JOB_FILE = "$1", "$2"
"""Stand in a command for the arguments of the script: the job's token, and the SHA-256 of its job file.

Everything else in a command is literal.
"""

Values = Mapping[str, Any]
"""The values that the template inserts."""

TEMPLATE = Path(__file__).parent / "templates" / "job.sh.j2"

_EXCLUDE_EACH_OTHER = ({"mem", "mem-per-cpu", "mem-per-gpu"}, {"requeue", "no-requeue"})
_PLAIN = r"[A-Za-z0-9%+,./:=@_-]*"


def directives(
    resources: Mapping[str, Any], cluster: SlurmCluster, *, chdir: str, requeue: bool
) -> dict[str, str | None]:
    """Return the options of sbatch for a job.

    Parameters
    ----------
    resources : mapping
        The fields of `SlurmResources`.
    cluster : SlurmCluster
        The cluster that the job is submitted to.
    chdir : str
        Working directory of the job.
    requeue : bool
        Whether SLURM may requeue the job.

    Returns
    -------
    dict of str to str or None
        Value of each option, by its name without dashes; None for an option without a value.

    Raises
    ------
    DefinitionError
        If a value contains a character that is not possible in an `#SBATCH` line.
    """
    asked = SlurmResources(**resources)
    memory = _memory(asked, cluster)
    ours: dict[str, Any] = {
        "time": asked.time,
        **memory,
        "ntasks": asked.ntasks,
        "cpus-per-task": _cpus(asked, cluster),
    }
    # With memory per CPU, `--nodes=1` has no effect, and SLURM prints a warning.
    if "mem" in memory or asked.nodes != 1:
        ours["nodes"] = asked.nodes
    ours |= {"partition": cluster.partition, "account": cluster.account, "chdir": chdir}
    ours |= {"requeue" if requeue else "no-requeue": True, "open-mode": "append"}
    for name, value in asked.extra_sbatch.items():
        _override(ours, option_name(name), value)
    return {name: _value(name, value) for name, value in ours.items() if value is not None and value is not False}


def cpus(resources: Mapping[str, Any], cluster: SlurmCluster) -> int:
    """Return the number of CPUs of each task: more than requested if the cluster allocates memory per CPU."""
    asked = SlurmResources(**resources)
    for name, value in asked.extra_sbatch.items():
        if option_name(name) == "cpus-per-task" and str(value).isdecimal():
            return int(value)
    return _cpus(asked, cluster)


def literal_path(path: str) -> str:
    """Return the path of a log's folder for sbatch, with each `%` escaped.

    Raises
    ------
    DefinitionError
        If the path contains a backslash: then SLURM would not replace patterns such as `%j`.
    """
    if "\\" in path:
        raise DefinitionError(
            f"SLURM can't write logs to {path!r}.",
            "Use a folder without a backslash in its path: SLURM gives it a special meaning.",
        )
    return path.replace("%", "%%")


def values(
    *,
    directives: Mapping[str, str | None],
    env_setup: Sequence[str],
    env_vars: Mapping[str, Any],
    runner: Sequence[str],
    threads: int,
    command: Sequence[str],
    env_file: Mapping[str, str] | None = None,
    by_hand: Sequence[str] = (),
    guard: Mapping[str, str] | None = None,
) -> Values:
    """Return the values for a job's script.

    Parameters
    ----------
    directives : mapping of str to str or None
        Options of sbatch, as `directives` returns them.
    env_setup : sequence of str
        Shell commands; the first one that fails ends the job.
    env_vars : mapping
        Environment variables. In their values only `$NAME` and `${NAME}` are expanded; an unset variable is empty.
    runner : sequence of str
        The words that start Python, from `runner_words`.
    threads : int
        Number of threads of numerical libraries.
    command : sequence of str
        The module to run, and its arguments; `TOKEN` and `JOB_FILE` stand for the arguments of the script.
    env_file : mapping, optional
        `path` and `sha256` of a file with more environment variables, which contains `exports`.
    by_hand : sequence of str, default ()
        The module to run instead, and its arguments, if the script has no arguments. By default it fails then.
    guard : mapping, optional
        `variable`, `in_order` and `jobs`, if the script waits for its worker; see `orchestrator.worker.guarded`. By
        default the worker takes the place of the shell.

    Raises
    ------
    DefinitionError
        If a value can't be written for sbatch or the shell.
    """
    words = [*runner, "-m", *map(_argument, command)]
    return {
        "directives": [_directive(name, value) for name, value in directives.items()],
        "folder": directives.get("chdir"),
        "takes_token": TOKEN in command,
        "takes_job_file": JOB_FILE in command,
        "env_setup": [text.strip() for text in env_setup if _has_command(text)],
        "env_vars": exports(env_vars),
        "env_file": env_file,
        "threads": threads,
        "command": " ".join(words),
        "by_hand": " ".join([*runner, "-m", *map(_argument, by_hand)]) if by_hand else "",
        "guard": guard,
    }


def exports(env_vars: Mapping[str, Any]) -> list[str]:
    """Return the commands of the shell that set environment variables; as for `values`."""
    return [f"export {_variable_name(name)}={_double_quoted(str(value))}" for name, value in env_vars.items()]


def runner_words(command: str) -> list[str]:
    """Return the words of a command for the shell of a job: only `~`, `$NAME` and `${NAME}` are expanded, on the node.

    A variable that is not set there ends the job.
    """
    return [_shell_word(word) for word in shlex.split(command)]


def digest(values: Values, comment: str) -> str:
    """Return 8 hexadecimal digits of the SHA-256 of everything that a script depends on."""
    text = json.dumps([values, comment, TEMPLATE.read_text(encoding="utf-8")], sort_keys=True)
    return sha256_of(text.encode())[:8]


def render(values: Values, comment: str) -> str:
    """Return the text of a job's script.

    Parameters
    ----------
    values : mapping
        From `values`.
    comment : str
        Describes the script; written at its beginning.
    """
    return _template().render(comment=comment.splitlines(), **values)


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined  # its import takes longer than everything else here

    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    )
    environment.filters["q"] = shlex.quote
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8"))


def _memory(asked: SlurmResources, cluster: SlurmCluster) -> dict[str, str]:
    """Return the option that requests memory: for each CPU if the step or the cluster says so, else for the node."""
    if asked.mem_per_cpu is not None:
        return {"mem-per-cpu": asked.mem_per_cpu}
    if cluster.mem_per_cpu is not None:
        return {"mem-per-cpu": f"{math.ceil(_whole_mb(asked.mem) / _cpus(asked, cluster))}M"}
    return {"mem": asked.mem}


def _cpus(asked: SlurmResources, cluster: SlurmCluster) -> int:
    """Return the number of CPUs: of a cluster that allocates memory per CPU, as many as it takes to get the memory."""
    if asked.mem_per_cpu is not None or cluster.mem_per_cpu is None:
        return asked.cpus_per_task
    return max(asked.cpus_per_task, math.ceil(_whole_mb(asked.mem) / _whole_mb(cluster.mem_per_cpu)))


def _whole_mb(text: str) -> int:
    return math.ceil(memory_in_mb(text))


def _override(ours: dict[str, Any], name: str, value: Any) -> None:
    """Replace one of our options by the user's, and remove options that exclude it."""
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
        raise DefinitionError(f"The value of --{name} can't be passed to sbatch: {text!r}.", "Remove the line breaks.")
    return text


def _directive(name: str, value: str | None) -> str:
    """Return an option as sbatch reads it: in double quotes, a backslash makes the next character literal."""
    value = _value(name, True if value is None else value)
    if value is None:
        return f"--{name}"
    if re.fullmatch(_PLAIN, value):
        return f"--{name}={value}"
    return f'--{name}="' + re.sub(r'([\\"])', r"\\\1", value) + '"'


def _argument(word: str) -> str:
    return {TOKEN: '"$job_token"', JOB_FILE: '"$job_file"'}.get(word) or shlex.quote(word)


def _has_command(text: str) -> bool:
    return any(line.strip() and not line.strip().startswith("#") for line in text.splitlines())


def _variable_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise DefinitionError(f"env_vars: {name!r} is not a valid name of a variable.", "Use letters, digits and _.")
    return name


def _shell_word(word: str) -> str:
    home = "$HOME" if re.match(r"~(/|$)", word) else ""
    word = home + word.removeprefix("~") if home else home_expanded(word)
    return _double_quoted(word) if re.search(VARIABLE, word) else shlex.quote(word)


def _double_quoted(text: str) -> str:
    """Return a value in double quotes, in which the shell expands only variables."""
    if "\0" in text:
        raise DefinitionError("A value of env_vars contains a NUL character.", "Remove the character.")
    literals, variables = re.split(VARIABLE, text), re.findall(VARIABLE, text)
    quoted = [re.sub(r'([\\"`$])', r"\\\1", literal) for literal in literals]
    return '"' + "".join(a + b for a, b in zip(quoted, [*variables, ""], strict=True)) + '"'
