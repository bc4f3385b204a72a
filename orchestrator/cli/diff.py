"""`orchestrator diff`."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.render import echo, plural, screen_width, shorten, to_json
from orchestrator.cli.workspace import examples, typed_options, workspace_of, workspace_options
from orchestrator.visible import visible_values

if TYPE_CHECKING:
    from orchestrator.cli.run_diff import CodeDifference, Difference, OutputDifference, RunDiff

__all__ = ["command", "render"]

MOST_LINES = 40
"""Lines of the difference of a module that are shown; `--json` has all."""

NOTHING = "-"
"""In place of what only the other run has."""


@click.command(epilog=examples("orchestrator diff 1795531215 1795534127", "orchestrator diff first second --json"))
@click.argument("one")
@click.argument("other")
@click.option("--json", "as_json", is_flag=True, help="Print all differences as JSON.")
@workspace_options
def command(one: str, other: str, as_json: bool, rootdir: Path | None, db: Path | None) -> None:
    """Show the differences between two runs.

    Settings are those of steps, loops, resources and the cluster, arguments of steps, seeds, versions, and where each
    run was started. Code is the text of the study and of its modules, as each run has stored it; nothing of it is
    executed. In the tables, the outputs of experiments with the same inputs are compared.
    """
    from orchestrator.cli.run_diff import diff_of

    found = diff_of(workspace_of(rootdir, db), one, other)
    if as_json:
        echo(to_json(found))
        return
    shown: RunDiff = visible_values(found)
    click.echo(render(shown, typed_options(), screen_width()))


def render(diff: RunDiff, options: str = "", width: int = 80) -> str:
    """Write the differences between two runs for a terminal.

    Parameters
    ----------
    diff : RunDiff
        The differences.
    options : str, default ""
        The options that name the workspace, for the commands that are shown.
    width : int, default 80
        Columns of the terminal.
    """
    paragraphs = [
        _values("Settings", diff, diff.settings, width),
        *(_code(module, diff, options) for module in diff.code),
        _values("Table", diff, diff.tables, width),
        _outputs(diff.outputs, width),
        [line for note in diff.notes for line in textwrap.wrap(note, width, break_on_hyphens=False)],
    ]
    shown = ["\n".join(lines) for lines in paragraphs if lines]
    return "\n\n".join(shown) or f"Runs {diff.one} and {diff.other} have the same settings, code and tables."


def _values(title: str, diff: RunDiff, differences: Sequence[Difference], width: int) -> list[str]:
    if not differences:
        return []
    rows = [(title, diff.one, diff.other)]
    rows += [(f"  {each.name}", _or_nothing(each.one), _or_nothing(each.other)) for each in differences]
    first = min(max(len(name) for name, _, _ in rows), width // 2)
    second = min(max(len(one) for _, one, _ in rows), (width - first - 4) // 2)
    sizes, indents = (first, second, width - first - second - 4), ("    ", "", "")
    lines = []
    for row in rows:
        # textwrap keeps the indent of a name.
        cells = [
            textwrap.wrap(cell, size, subsequent_indent=indent)
            for cell, size, indent in zip(row, sizes, indents, strict=True)
        ]
        for number in range(max(map(len, cells))):
            name, one, other = (part[number] if number < len(part) else "" for part in cells)
            lines.append(f"{name.ljust(first)}  {one.ljust(second)}  {other}".rstrip())
    return lines


def _or_nothing(text: str | None) -> str:
    return NOTHING if text is None else " ".join(text.split())


def _code(module: CodeDifference, diff: RunDiff, options: str) -> list[str]:
    head = f"Code of {module.file}: {plural(module.n_added, 'line')} added, {module.n_removed} removed"
    lines = module.diff.splitlines()[2:]
    shown = [f"  {line}".rstrip() for line in lines[:MOST_LINES]]
    if len(lines) > MOST_LINES:
        command = f"orchestrator diff {diff.one} {diff.other} --json{options}"
        shown.append(f"  {plural(len(lines) - MOST_LINES, 'more line')}; to see all: {command}")
    return [head, *shown]


def _outputs(outputs: Sequence[OutputDifference], width: int) -> list[str]:
    if not outputs:
        return []
    lines = ["Outputs of experiments with the same inputs"]
    for each in outputs:
        where = "" if each.project_dir == "." else f"{each.project_dir}: "
        text = f"{where}{each.name} differs in {each.n_differ} of {each.n_compared}, most in experiment "
        text += f"{each.experiment}: {shorten(each.one, 24)} and {shorten(each.other, 24)}"
        lines += textwrap.wrap(text, width, initial_indent="  ", subsequent_indent="    ")
    return lines
