"""The command `orchestrator`: finds the command that was typed, loads it, and ends with the right exit code."""

from __future__ import annotations

import errno
import os
import sys
from importlib import import_module

import click

from orchestrator import __version__
from orchestrator.cli.errors import NEEDED, show, show_bug, show_missing, show_system, show_usage
from orchestrator.cli.workspace import Place, examples
from orchestrator.errors import OrchestratorError
from orchestrator.fast_imports import fast_imports

__all__ = ["cli", "main"]

# A group without a command shows its help; click tells so by an exception since 8.2.
_HELP = getattr(click.exceptions, "NoArgsIsHelpError", ())

# What the user or the machine's owner can mend; all else that escapes is a bug.
_OF_THE_SYSTEM = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE),
    *(errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG),
}

COMMANDS = ("run", "submit", "status", "list", "logs", "wait", "resume", "advance", "cancel", "scripts", "db")


class _Lazy(click.Group):
    """A group whose commands are modules, each loaded when it is named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        with fast_imports():
            command: click.Command = import_module(f"orchestrator.cli.{cmd_name}").command
        return command


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog=examples("orchestrator run study.py", "orchestrator status", "orchestrator resume"),
)
@click.version_option(__version__, prog_name="orchestrator")
def cli() -> None:
    """Run studies made of many experiments, and forget nothing.

    A workspace is a folder with a database, orchestrator.db, and one folder per run. It is found upwards from the
    current folder, as far as the folders are yours and only you may write to them.
    """


def main() -> None:
    """Run the command line; never returns."""
    place = Place()
    try:
        code = cli.main(prog_name="orchestrator", standalone_mode=False, obj=place)
        # Here, and not while Python ends: a reader who has gone is met below.
        sys.stdout.flush()
    except OrchestratorError as error:
        show(error, place=place.words)
        code = error.exit_code
    except _HELP as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        show_usage(error)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        print("Interrupted.", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        # Whoever read our output has seen enough; Python must not complain about it while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name in NEEDED:
            show_missing(error)
        elif isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
            show_system(error, place.words)
        else:
            show_bug(error, place.words)
        code = 1
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
