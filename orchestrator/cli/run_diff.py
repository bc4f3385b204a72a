"""What is different between two runs: settings, code and tables. No code of the runs is executed."""

from __future__ import annotations

import difflib
import json
import pickletools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.cli.run_table import RunTable, tables_of
from orchestrator.errors import OrchestratorError
from orchestrator.machine.value import value
from orchestrator.redact import HIDDEN, is_secret

if TYPE_CHECKING:
    from orchestrator.db.runs import RunSettings
    from orchestrator.definition.finder import KeptModule
    from orchestrator.workspace import Workspace

__all__ = ["CodeDifference", "Difference", "OutputDifference", "RunDiff", "diff_of"]

OF_STEP = ("path", "label", "name")
"""Fields of a step that say only where it is."""

OF_CLUSTER = ("env_vars", "environment", "scripts", "max_array_size", "has_accounting")
"""Parts of the recorded cluster that are not settings of the user; the values of `env_vars` may be secret."""

IN_EVERY_RUN = ("pid",)
"""Provenance that always differs."""

MOST_ARGUMENTS = 20
"""Values in the pickle of a step that are compared one by one."""

LONGEST_VALUE = 200

STUDY = "the study"
"""In place of the name of the module that is the study."""


@value
class Difference(NamedTuple):
    """Something that has another value in the other run.

    Attributes
    ----------
    name : str
        What it is, such as `evaluate: max_failed`.
    one : str or None
        Its value in the first run; null if it is not there.
    other : str or None
        Its value in the second run; null if it is not there.
    """

    name: str
    one: str | None
    other: str | None


@value
class CodeDifference(NamedTuple):
    """A module of the study whose text differs.

    Attributes
    ----------
    file : str
        Path of its file.
    n_added : int
        Number of lines that only the second run has.
    n_removed : int
        Number of lines that only the first run has.
    diff : str
        The lines, as a unified diff.
    """

    file: str
    n_added: int
    n_removed: int
    diff: str


@value
class OutputDifference(NamedTuple):
    """An output that differs in experiments with the same inputs.

    Attributes
    ----------
    project_dir : str
        Folder of the table, relative to the run's folder.
    name : str
        Name of the output.
    n_compared : int
        Number of experiments with the same inputs that have a value in both runs.
    n_differ : int
        Number of those whose values differ.
    experiment : int
        Row label, in the first run, of the experiment with the largest difference.
    one : str
        Its value there.
    other : str
        The value in the second run.
    """

    project_dir: str
    name: str
    n_compared: int
    n_differ: int
    experiment: int
    one: str
    other: str


@value
class RunDiff(NamedTuple):
    """The differences between two runs.

    Attributes
    ----------
    one : str
        Key of the first run.
    other : str
        Key of the second run.
    settings : tuple of Difference
        Steps, loops, resources, cluster and seed; versions, commit, host, user, folder and arguments.
    code : tuple of CodeDifference
        Modules of the study.
    tables : tuple of Difference
        Domain, and numbers of experiments.
    outputs : tuple of OutputDifference
        Outputs of experiments with the same inputs.
    notes : tuple of str
        What could not be compared.
    """

    one: str
    other: str
    settings: tuple[Difference, ...]
    code: tuple[CodeDifference, ...]
    tables: tuple[Difference, ...]
    outputs: tuple[OutputDifference, ...]
    notes: tuple[str, ...]


def diff_of(workspace: Workspace, one: str, other: str) -> RunDiff:
    """Return the differences between two runs of a workspace.

    Raises
    ------
    NotFound
        If there is no such run.
    """
    from orchestrator.db.runs import settings_of

    pair = [settings_of(workspace.database, key) for key in (one, other)]
    settings = list(_different(*map(_flat_settings, pair)))
    code: list[CodeDifference] = []
    tables: list[Difference] = []
    outputs: list[OutputDifference] = []
    notes: list[str] = []
    try:
        found, arguments = _code(workspace, *pair)
        code += found
        settings += arguments
    except OrchestratorError as error:
        notes.append(f"The code was not compared: {error.message}")
    try:
        for name, table, theirs in _pairs(*([tables_of(workspace, each.key) for each in pair])):
            more, differ = _tables(name, table, theirs)
            tables += more
            outputs += differ
    except OrchestratorError as error:
        notes.append(f"The tables were not compared: {error.message}")
    return RunDiff(one, other, tuple(settings), tuple(code), tuple(tables), tuple(outputs), tuple(notes))


# --- settings ------------------------------------------------------------------------------------


def _flat_settings(settings: RunSettings) -> dict[str, str | None]:
    """Return the settings of a run by name, in order."""
    plan = settings.plan.to_json()
    elements = plan["elements"]
    flat: dict[str, Any] = {"pipeline": settings.name, "mode": settings.mode, "study": settings.study}
    flat["seed"], flat["steps"] = plan["seed"], ", ".join(_outline(elements))
    flat |= dict(_of_elements(elements))
    cluster = {name: part for name, part in settings.cluster.items() if name not in OF_CLUSTER}
    flat |= _flat("cluster", cluster.pop("cluster", {})) | _flat("orchestrator jobs", cluster.pop("orchestrator", {}))
    flat |= _flat("cluster", cluster)
    came_from = {name: part for name, part in settings.provenance.items() if name not in IN_EVERY_RUN}
    if isinstance(came_from.get("argv"), list):
        came_from["argv"] = " ".join(map(str, came_from["argv"]))
    libraries = came_from.pop("libraries", None)
    flat |= _flat("library", libraries) if isinstance(libraries, Mapping) else {}
    flat |= came_from
    return {name: None if part is None else _text(part) for name, part in flat.items()}


def _outline(elements: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for element in elements:
        yield f"loop ({', '.join(_outline(element['body']))})" if "body" in element else str(element["name"])


def _of_elements(elements: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for element in elements:
        if "body" in element:
            yield f"loop ({', '.join(_outline(element['body']))}): iterations", element["n_iterations"]
            yield from _of_elements(element["body"])
        else:
            fields = {name: part for name, part in element.items() if name not in OF_STEP}
            yield from _flat(str(element["name"]), fields).items()


def _flat(title: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested mappings as one, whose names say the way: `evaluate: resources.mem`."""
    flat: dict[str, Any] = {}
    for name, part in values.items():
        if isinstance(part, Mapping):
            inner = _flat("", part)
            flat |= {f"{title}: {name}.{deep[2:]}" if title else f": {name}.{deep[2:]}": v for deep, v in inner.items()}
        else:
            flat[f"{title}: {name}"] = part
    return flat


def _text(part: Any) -> str:
    text = part if isinstance(part, str) else json.dumps(part, default=str)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _different(one: Mapping[str, str | None], other: Mapping[str, str | None]) -> Iterator[Difference]:
    for name in {**one, **other}:
        if one.get(name) != other.get(name):
            yield Difference(name, one.get(name), other.get(name))


# --- code ----------------------------------------------------------------------------------------


def _code(workspace: Workspace, one: RunSettings, other: RunSettings) -> tuple[list[CodeDifference], list[Difference]]:
    """Return the modules that differ, and the values in the pickles of steps."""
    from orchestrator.definition.bundle import Bundle

    if not (one.bundle_digest and other.bundle_digest):
        return [], []
    bundles = [Bundle(workspace.run(each.key).bundle(each.bundle_digest or "")) for each in (one, other)]
    # The files of the two studies may have different names.
    names = [bundle.study_name() for bundle in bundles]
    mine, theirs = (
        {STUDY if name == main else name: module for name, module in bundle.modules().items()}
        for bundle, main in zip(bundles, names, strict=True)
    )
    changed = [
        _module(mine.get(name), theirs.get(name))
        for name in sorted({**mine, **theirs}, key=lambda name: (name != STUDY, name))
        if _text_of(mine.get(name)) != _text_of(theirs.get(name))
    ]
    paths = {step.path: step.name for step in other.plan.steps()}
    arguments: list[Difference] = []
    for step in one.plan.steps():
        pickles = [bundle.pickle_of(step.path) for bundle in bundles] if paths.get(step.path) == step.name else []
        if None not in pickles and len(set(pickles)) == 2:
            values = [_values_in(content or b"", main) for content, main in zip(pickles, names, strict=True)]
            arguments += _arguments(step.name, *values)
            if values[0] == values[1] and names[0] == names[1]:
                arguments.append(Difference(f"{step.name}: arguments", "(as pickled)", "(differ)"))
    return changed, arguments


def _text_of(module: KeptModule | None) -> str:
    return "" if module is None else module.text or ""


def _module(one: KeptModule | None, other: KeptModule | None) -> CodeDifference:
    mine, theirs = (str(module.origin) if module is not None and module.origin else "" for module in (one, other))
    lines = list(
        difflib.unified_diff(_text_of(one).splitlines(), _text_of(other).splitlines(), mine, theirs, lineterm="", n=2)
    )
    changes = [line[:1] for line in lines[2:]]
    return CodeDifference(theirs or mine, changes.count("+"), changes.count("-"), "\n".join(lines))


def _arguments(step: str, one: Sequence[_Value], other: Sequence[_Value]) -> list[Difference]:
    """Return the values in the pickles of a step that differ: its `kwargs`, and attributes of its block."""
    found: list[Difference] = []
    matcher = difflib.SequenceMatcher(None, [each.text for each in one], [each.text for each in other], autojunk=False)
    for what, begin, end, start, stop in matcher.get_opcodes():
        if what == "equal":
            continue
        parts = one[begin:end], other[start:stop]
        name = next((each.name for each in (*parts[0], *parts[1]) if each.name), "arguments")
        mine, theirs = (_text(", ".join(each.shown for each in part)) if part else None for part in parts)
        found.append(Difference(f"{step}: {name}", mine, theirs))
    return found[:MOST_ARGUMENTS]


class _Value(NamedTuple):
    """A value in a pickle, and the text before it: its name, if it is in a dict."""

    name: str
    text: str

    @property
    def shown(self) -> str:
        return HIDDEN if is_secret(self.name) else self.text


def _values_in(content: bytes, study: str) -> list[_Value]:
    """Return the numbers and texts in a pickle, without loading it."""
    values: list[_Value] = []
    name = ""
    try:
        for code, argument, _ in pickletools.genops(content):
            if code.name in _NUMBERS_AND_TEXTS or code.name in _CONSTANTS:
                shown = STUDY if argument == study and study else argument
                values.append(_Value(name, _CONSTANTS.get(code.name) or _text(shown)))
                is_name = isinstance(argument, str) and argument.isidentifier() and not argument.startswith("_")
                name = str(argument) if is_name else ""
    except Exception:  # what a damaged pickle raises
        return []
    return values


_NUMBERS_AND_TEXTS = frozenset(
    ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8")
)
_CONSTANTS = {"NEWTRUE": "true", "NEWFALSE": "false", "NONE": "null"}


# --- tables --------------------------------------------------------------------------------------


def _pairs(
    ours: Sequence[RunTable], theirs: Sequence[RunTable]
) -> Iterator[tuple[str, RunTable | None, RunTable | None]]:
    mine, others = ({table.project_dir: table for table in tables} for tables in (ours, theirs))
    for name in {**mine, **others}:
        yield name, mine.get(name), others.get(name)


def _tables(name: str, one: RunTable | None, other: RunTable | None) -> tuple[list[Difference], list[OutputDifference]]:
    title = "" if name == "." else f"{name}: "
    if one is None or other is None:
        return [Difference(f"{title}table", *(None if table is None else "exists" for table in (one, other)))], []
    rows = [_by_digest(table) for table in (one, other)]
    facts = [_facts(table) for table in (one, other)]
    differences = [each._replace(name=f"{title}{each.name}") for each in _different(*facts)]
    both = rows[0].keys() & rows[1].keys()
    alone = [_n_alone(*rows), _n_alone(*reversed(rows))]
    if any(alone):
        differences.append(Difference(f"{title}experiments that only this run has", *map(str, alone)))
    pairs = [(rows[0][digest][0], rows[1][digest][0]) for digest in both]
    return differences, list(_outputs(name, one, other, sorted(pairs)))


def _n_alone(one: Mapping[str, Sequence[int]], other: Mapping[str, Sequence[int]]) -> int:
    """Return the number of rows whose inputs the other table does not have, or has fewer times."""
    return sum(max(0, len(places) - len(other.get(digest, ()))) for digest, places in one.items())


def _by_digest(table: RunTable) -> dict[str, list[int]]:
    """Return the positions of the rows by the digest of their inputs."""
    from orchestrator.data.row_texts import digests_of

    rows: dict[str, list[int]] = {}
    for position, digest in enumerate(digests_of(table.data._contents.table)):
        rows.setdefault(digest, []).append(position)
    return rows


def _facts(table: RunTable) -> dict[str, str]:
    from orchestrator.data.job_status import JobStatus

    statuses = table.data.statuses()
    facts = {"experiments": str(len(statuses))}
    facts |= {status.name: str(n) for status in JobStatus if (n := statuses.count(status))}
    domain = table.data.domain.to_json()
    return facts | {name: _text(part) for name, part in _of_domain(domain)}


def _of_domain(domain: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for space, title in (("input_space", "input"), ("output_space", "output")):
        for name, parameter in domain.get(space, {}).items():
            yield from _flat(f"{title} {name}", parameter).items()


def _outputs(name: str, one: RunTable, other: RunTable, pairs: Sequence[tuple[int, int]]) -> Iterator[OutputDifference]:
    mine, theirs, labels = one.data.output_rows(), other.data.output_rows(), one.data.labels()
    cells = [(labels[at], mine(at), theirs(there)) for at, there in pairs]
    for output in [output for output in one.data.domain.output_names if output in other.data.domain.output_names]:
        both = [(label, a[output], b[output]) for label, a, b in cells if output in a and output in b]
        differ = [(_distance(a, b), label, a, b) for label, a, b in both]
        differ = [each for each in differ if each[0] > 0]
        if differ:
            _, label, largest, their_largest = max(differ, key=lambda each: each[0])
            shown = (_text(_plain(largest)), _text(_plain(their_largest)))
            yield OutputDifference(name, output, len(both), len(differ), label, *shown)


def _distance(one: Any, other: Any) -> float:
    """Return how much two values differ: numbers by their difference, others by 1; 0 if they are equal."""
    if all(type(cell) in (int, float) for cell in (one, other)):
        distance = abs(one - other)
        return 0.0 if one == other else (distance if distance == distance else float("inf"))
    return float(_plain(one) != _plain(other))


def _plain(cell: Any) -> Any:
    from orchestrator.data.values import to_jsonable

    return to_jsonable(cell)
