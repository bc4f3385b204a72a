"""The program `orchestrator`: load and run one command, print its error, return the exit code."""

from __future__ import annotations

import gc

from orchestrator.fast_imports import fast_imports

with fast_imports():
    import errno
    import os
    import sys
    from collections.abc import Iterator
    from contextlib import contextmanager
    from importlib import import_module
    from pathlib import Path

    import click

    from orchestrator import __version__
    from orchestrator.cli.errors import REQUIRED_PACKAGES, show, show_bug, show_missing, show_system, show_usage
    from orchestrator.cli.workspace import TypedOptions, examples
    from orchestrator.errors import DamagedRecords, OrchestratorError
    from orchestrator.hidden_modules import hidden_module
    from orchestrator.host import drop_output, open_streams, print_any_text
    from orchestrator.text import did_you_mean

__all__ = ["cli", "main"]

# Since click 8.2, a group without a command raises this to show its help.
_NO_COMMAND = getattr(click.exceptions, "NoArgsIsHelpError", ())

NEW_OBJECTS = 50_000
"""Number of new objects after which they are searched for garbage."""

# Errors that the user or an administrator can fix; any other exception is a bug.
_FIXABLE_ERRNOS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE),
    *(errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EEXIST, errno.EISDIR),
}

COMMANDS = {
    "run": "Run a study on this machine until it ends.",
    "submit": "Submit a study to a SLURM cluster.",
    "status": "Show what a run did, what failed and why, and what is next.",
    "list": "List the runs of the workspace, latest first.",
    "logs": "Print the log of a step, and the tracebacks of its failures.",
    "failures": "Show why experiments, tasks and steps of a run have failed.",
    "table": "Print the experiments of a run, or write them to a file.",
    "best": "Print the best finished experiment of a run.",
    "diff": "Show the differences between two runs.",
    "report": "Write what a run has found into one HTML file.",
    "efficiency": "Compare requested with used memory, time and CPUs.",
    "wait": "Wait until a run has ended; the exit code tells how.",
    "resume": "Continue a run from where it stopped, or from a step.",
    "retry": "Evaluate the failed experiments of a run again.",
    "advance": "Advance a run as far as possible now.",
    "cancel": "Cancel a run, wherever it runs, or a step of it.",
    "hold": "Hold a run: no step and no job is started until `release`.",
    "release": "Release a run that was held: it continues.",
    "set": "Change the resources of a step, for later jobs.",
    "fork": "Begin a new run at a step of another one.",
    "snapshots": "Show which tables of a run are kept, as they were.",
    "clean": "Delete ended runs, or parts of them.",
    "archive": "Write an ended run to one file, which `import` reads.",
    "import": "Read a run from a file that `archive` wrote.",
    "takeover": "Make a run of another user yours.",
    "scripts": "Print the scripts that `submit` would pass to sbatch.",
    "db": "Maintain the database of the workspace.",
}
"""The commands in order, and the first sentence of the help of each, because `--help` imports no other module."""

_MODULES = {"import": "import_"}
"""Commands whose name can't be that of a module."""


class _Lazy(click.Group):
    """A group whose commands are modules; a module is imported when its command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        with fast_imports():
            command: click.Command = import_module(f"orchestrator.cli.{_MODULES.get(cmd_name, cmd_name)}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            similar = did_you_mean(args[0], COMMANDS)
            if not similar or "?" in error.message:
                raise
            raise click.UsageError(f"{error.message} {similar}".rstrip(), ctx) from error


@click.group(
    cls=_Lazy,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
    epilog=examples("orchestrator run study.py", "orchestrator status", "orchestrator resume"),
)
@click.version_option(__version__, prog_name="orchestrator")
def cli() -> None:
    """Run studies of many experiments, and record every step.

    A workspace is a folder that holds a database, orchestrator.db, and one folder per run. Without --rootdir or --db,
    it is the current folder or the nearest one above it that holds a database. The search ends at a folder that is not
    yours, or that other users may write to.
    """


def main() -> None:
    """Run the command line; never returns."""
    # What a command imports is not garbage, and by default would be searched dozens of times.
    gc.set_threshold(NEW_OBJECTS)
    open_streams()
    print_any_text()
    options = TypedOptions()
    try:
        code = cli.main(prog_name="orchestrator", standalone_mode=False, obj=options)
        # Flush now, so that a closed pipe is handled below.
        sys.stdout.flush()
    except OrchestratorError as error:
        code = error.exit_code
        with _if_terminal_exists():
            show(error, options=options.text, run=options.run)
    except _NO_COMMAND as error:
        error.show()
        code = error.exit_code
    except click.ClickException as error:
        show_usage(error)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        code = 130
        with _if_terminal_exists():
            print("Interrupted.", file=sys.stderr)
    except BrokenPipeError:
        # The reader of the output has closed the pipe: not an error. Python must not report it at exit.
        drop_output(sys.stdout)
        code = 0
    except Exception as error:
        hidden = hidden_module(error)
        code = 1 if hidden is None else hidden.exit_code
        with _if_terminal_exists():
            if hidden is None:
                _show_other(error, options)
            else:
                show(hidden, options=options.text)
    sys.exit(code or 0)


@contextmanager
def _if_terminal_exists() -> Iterator[None]:
    """Ignore that the terminal was closed; Python must not report it at exit either."""
    try:
        yield
    except OSError:
        for stream in (sys.stdout, sys.stderr):
            drop_output(stream)


def _show_other(error: Exception, options: TypedOptions) -> None:
    """Print an error of the system, of the installation, of damaged records, or a bug."""
    if isinstance(error, ModuleNotFoundError) and error.name in REQUIRED_PACKAGES:
        show_missing(error)
    elif isinstance(error, FileNotFoundError) and not _has_current_folder():
        show(OrchestratorError("The current folder has been removed.", "Change to a folder that exists: cd FOLDER"))
    elif isinstance(error, MemoryError):
        why = "There was not enough memory for this command. What was recorded is kept."
        show(OrchestratorError(why, "Type it again on a machine, or in a job, with more memory."), options=options.text)
    elif isinstance(error, OSError) and error.errno in _FIXABLE_ERRNOS:
        show_system(error, options.text)
    elif (damage := _damage(options.database)) is not None:
        show(damage, options=options.text)
    else:
        show_bug(error, options.text)


def _damage(database: Path | None) -> OrchestratorError | None:
    """Return the error about damaged records, which can cause any other one."""
    from orchestrator.db.wrong_values import check_values

    if database is not None:
        try:
            check_values(database)
        except DamagedRecords as error:
            return error
        except OrchestratorError:
            return None
    return None


def _has_current_folder() -> bool:
    try:
        os.getcwd()  # noqa: PTH109 - Path.cwd() is the same
    except FileNotFoundError:
        return False
    return True


if __name__ == "__main__":
    main()
