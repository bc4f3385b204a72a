"""Experiments that run a program: `run_command`, and a data generator that also writes its input files."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.definition.data_generators import DataGenerator
from orchestrator.errors import DefinitionError

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["CommandFailed", "CommandGenerator", "run_command"]

LOG = "command.log"
LAST_LINES = 10
LAST_BYTES = 4000


class CommandFailed(RuntimeError):
    """A program was not found, ended with an exit code other than 0, or was ended by a signal.

    Parameters
    ----------
    message : str
        What happened.
    last_lines : str, default ""
        The last lines that it has printed. They are also below the traceback.

    Examples
    --------
    >>> folder = ExperimentSample({"x": 2.0}).scratch_dir
    >>> try:
    ...     run_command(["sh", "-c", "echo no licence; exit 3"], folder)
    ... except CommandFailed as error:
    ...     print(error, "and", error.last_lines)
    sh ended with exit code 3 and no licence
    """

    def __init__(self, message: str, last_lines: str = "") -> None:
        super().__init__(message)
        self.last_lines = last_lines
        if last_lines:
            self.add_note("\n".join(["Its last lines:", *(f"  {line}" for line in last_lines.splitlines())]))

    def __reduce__(self) -> tuple[type[CommandFailed], tuple[str, str]]:
        return type(self), (str(self), self.last_lines)


def run_command(command: str | Sequence[str | os.PathLike[str]], folder: Path | str, log: str = LOG) -> Path:
    """Run a program in a folder, and write all that it prints to a file there.

    Parameters
    ----------
    command : str or sequence of str or path
        The program and its arguments. Text is split into words as by a shell, but no shell runs.
    folder : Path or str
        Its working folder, such as `ExperimentSample.scratch_dir`.
    log : str, default "command.log"
        Name of the file in `folder`. If it exists, it is continued.

    Returns
    -------
    Path
        The file with the output.

    Raises
    ------
    CommandFailed
        If the program is not found, or fails. The last lines that it has printed are below the traceback.

    Examples
    --------
    >>> folder = ExperimentSample({"x": 2.0}).scratch_dir
    >>> output = run_command(["echo", "42"], folder)
    >>> int(output.read_text())
    42
    """
    words = shlex.split(command) if isinstance(command, str) else [os.fspath(word) for word in command]
    if not words:
        raise DefinitionError("the command is empty.", "Name a program: run_command(['ccx', '-i', 'deck'], folder)")
    path = Path(folder) / log
    with path.open("ab") as output:
        try:
            done = subprocess.run(
                words, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False
            )
        except OSError as error:
            raise CommandFailed(
                f"{words[0]} can't be run on {os.uname().nodename}: {error.strerror}. If a module of the cluster has "
                "it: SlurmCluster(env_setup=['module load NAME'])"
            ) from error
    if done.returncode:
        raise CommandFailed(f"{Path(words[0]).name} {_how_ended(done.returncode)}", _last_lines(path))
    return path


def _how_ended(code: int) -> str:
    if code > 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:  # a real-time signal
        return f"was ended by signal {-code}"


def _last_lines(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LAST_BYTES))
        lines = [line.rstrip() for line in file.read().decode(errors="backslashreplace").splitlines()]
    return "\n".join([line for line in lines if line][-LAST_LINES:])


class CommandGenerator(DataGenerator):
    """A data generator that runs a program: writes its input files from templates, runs it, and reads its results.

    Each experiment runs in its own folder, `ExperimentSample.scratch_dir`. Templates are those of Jinja; they get the
    inputs of the experiment, the arguments in `Step.kwargs`, and what `prepare` returns. A name without a value is an
    error. All that the program prints is in ``command.log`` in this folder.

    Parameters
    ----------
    command : str or sequence of str
        The program and its arguments. Each word is a template. Text is split into words as by a shell, but no shell
        runs.
    read : callable
        ``read(folder)`` returns a dict with the outputs, and raises an exception if the program has not computed them.
        A path is a file of the program that is kept as an output.
    files : mapping of str to str or Path, default {}
        The input files: for each name in the folder the template, as text or as the path of a file. A file is read when
        this object is created, so that a run keeps it.
    prepare : callable, optional
        ``prepare(**values)`` returns a dict with further values for the templates, such as a mesh. An exception is
        the failure of the experiment.
    to_disk : sequence of str, default ()
        Outputs that are written to their own files, such as fields.

    Raises
    ------
    DefinitionError
        If the command is empty, or a template is not valid.
    OSError
        If the file of a template can't be read.

    Examples
    --------
    >>> def read(folder):
    ...     return {"y": float((folder / "command.log").read_text())}
    >>> square = CommandGenerator("awk -f square.awk", read, files={"square.awk": "BEGIN { print {{ x }}^2 }"})
    >>> step = Step(square, name="square", parallel=True, timeout=60, keep_scratch="on_error")
    """

    def __init__(
        self,
        command: str | Sequence[str],
        read: Callable[[Path], Mapping[str, Any]],
        *,
        files: Mapping[str, str | Path] | None = None,
        prepare: Callable[..., Mapping[str, Any]] | None = None,
        to_disk: Sequence[str] = (),
    ) -> None:
        self.command = _words(command) if isinstance(command, str) else [str(word) for word in command]
        if not self.command:
            raise DefinitionError(
                "the command is empty.", "Name a program: CommandGenerator(['ccx', '-i', 'deck'], ...)"
            )
        self.read = read
        self.files = {
            name: text.read_text(encoding="utf-8") if isinstance(text, Path) else text
            for name, text in (files or {}).items()
        }
        self.prepare = prepare
        self.to_disk = tuple(to_disk)
        for name, text in {**{word: word for word in self.command}, **self.files}.items():
            _check_template(name, text)

    def execute(self, experiment_sample: ExperimentSample, **kwargs: Any) -> ExperimentSample:
        """Write the input files, run the program, and store what `read` returns."""
        values = {**kwargs, **experiment_sample.input_data}
        if self.prepare is not None:
            values.update(self.prepare(**values))
        folder = experiment_sample.scratch_dir
        for name, text in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(_rendered(name, text, values), encoding="utf-8")
        run_command([_rendered(word, word, values) for word in self.command], folder)
        outputs = self.read(folder)
        if not isinstance(outputs, Mapping):
            raise TypeError(f"read must return a dict of outputs, not {type(outputs).__name__}")
        for name, value in outputs.items():
            experiment_sample.store(name, value, to_disk=name in self.to_disk or isinstance(value, Path))
        return experiment_sample


def _words(command: str) -> list[str]:
    """Split text as a shell does, but not within the braces of a template."""
    braces = re.findall(r"\{\{.*?\}\}", command)
    words = shlex.split(re.sub(r"\{\{.*?\}\}", "\0", command))
    whole = iter(braces)
    return [re.sub("\0", lambda _: next(whole), word) for word in words]


@lru_cache(maxsize=100)
def _template(text: str) -> Template:
    from jinja2 import Environment, StrictUndefined

    return Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(text)


def _check_template(name: str, text: str) -> None:
    from jinja2 import TemplateSyntaxError

    try:
        _template(text)
    except TemplateSyntaxError as error:
        raise DefinitionError(
            f"the template {name!r} is not valid: {error.message} (line {error.lineno}).",
            "See https://jinja.palletsprojects.com/templates",
        ) from error


def _rendered(name: str, text: str, values: Mapping[str, Any]) -> str:
    from jinja2 import UndefinedError

    try:
        return _template(text).render(values)
    except UndefinedError as error:
        raise ValueError(
            f"the template {name!r} can't be filled in: {error.message}. Add an input of this name, a value in kwargs, "
            "or return it from prepare"
        ) from error
