"""The command `orchestrator`: finds the command that was typed, loads it, and ends with the right exit code."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from orchestrator import __version__
from orchestrator.cli.errors import show
from orchestrator.errors import OrchestratorError

__all__ = ["cli", "main"]

COMMANDS = ("run", "status", "list", "logs", "resume", "advance", "cancel", "db")


class _Lazy(click.Group):
    """A group whose commands are modules, each loaded when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"orchestrator.cli.{cmd_name}").command
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(__version__, prog_name="orchestrator")
def cli() -> None:
    """Run studies made of many experiments, and forget nothing.

    A workspace is a folder with a database, orchestrator.db, and one folder per run. It is found upwards from the
    current folder.

    \b
    Examples:
      orchestrator run study.py
      orchestrator status
      orchestrator resume
    """


def main() -> None:
    """Run the command line; never returns."""
    try:
        code = cli.main(prog_name="orchestrator", standalone_mode=False)
    except OrchestratorError as error:
        show(error)
        code = error.exit_code
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        code = 1
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain about it while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
