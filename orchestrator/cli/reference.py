"""`python -m orchestrator.cli.reference > docs/reference/cli.md`: every help page, as one document."""

from __future__ import annotations

from collections.abc import Iterator

import click

from orchestrator.cli.main import cli

__all__ = ["document", "pages"]

HEAD = """# The command line

Every help page, printed by `python -m orchestrator.cli.reference`.

| exit code | meaning |
|---|---|
| 0 | success |
| 1 | the command or the run failed, or an interrupt stopped the run |
| 2 | wrong usage, or no such run or step |
| 75 | busy: nothing was changed, try again later |
| 130 | interrupted; no run was stopped by it |

`orchestrator wait` has exit codes of its own, see below.

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


if __name__ == "__main__":
    print(document(), end="")
