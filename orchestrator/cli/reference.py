"""Write every help page as one document.

python -m orchestrator.cli.reference                              print the document
python -m orchestrator.cli.reference --check docs/reference/cli.md  exit 1 if the document differs
python -m orchestrator.cli.reference --write docs/reference/cli.md  replace the document
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from orchestrator.cli.main import cli

__all__ = ["document", "pages"]

HEAD = """# The command line

Every help page, printed by `python -m orchestrator.cli.reference`.

| exit code | meaning |
|---|---|
| 0 | success; the run succeeded, and no experiment failed |
| 1 | the command failed, or the run failed |
| 2 | wrong usage, or no such run or step |
| 3 | the run succeeded, but some experiments or steps failed, within the limits or accepted |
| 4 | the run was cancelled |
| 75 | busy: type the command that the message names, later. The run is held, or `wait` finds it stalled |
| 124 | `wait --timeout`: the time is over |
| 129, 130, 143 | stopped: the terminal was closed (SIGHUP), Ctrl-C, SIGTERM |

3, 4 and 1 for the run are exit codes of the commands that see its end: `run` and `wait`, and for a run on this machine
`resume`, `retry`, `fork` and `release`.

The output of `--json` is described in [JSON](json.md).
"""


def document() -> str:
    """Return the document."""
    written = [f"## `{name}`\n\n```text\n{text}\n```\n" for name, text in pages(cli, "orchestrator")]
    return "\n".join([HEAD, *written])


def pages(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """Yield the name and the help page of every command."""
    context = click.Context(
        command, info_name=name.split()[-1], parent=parent, terminal_width=80, **command.context_settings
    )
    yield name, command.get_help(context)
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None:
                yield from pages(found, f"{name} {inner}", context)


def main() -> None:
    """Print, check or write the document."""
    parser = argparse.ArgumentParser(description="Print the reference of the command line.")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", type=Path, metavar="DOCUMENT")
    action.add_argument("--write", type=Path, metavar="DOCUMENT")
    options = parser.parse_args()
    if options.check:
        if options.check.read_text(encoding="utf-8") != document():
            command = f"python -m orchestrator.cli.reference --write {options.check}"
            sys.exit(f"{options.check} is out of date; type:\n  {command}")
    elif options.write:
        options.write.write_text(document(), encoding="utf-8")
    else:
        print(document(), end="")


if __name__ == "__main__":
    main()
