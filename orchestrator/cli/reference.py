"""`python -m orchestrator.cli.reference > docs/reference/cli.md`: every help page, as one document."""

from __future__ import annotations

from collections.abc import Iterator

import click

from orchestrator.cli.main import cli

__all__ = ["document", "pages"]

HEAD = """# The command line

Every help page, printed by `python -m orchestrator.cli.reference`.

Exit codes: 0 done; 1 it failed, or the run did; 2 wrong usage; 75 busy, try again later;
130 interrupted (1 where that stopped a run, or left one whose further way was not seen).
"""

JSON = """## JSON

Names that end in `_at` are times, ISO 8601 in UTC (`2026-11-24T06:00:00.000Z`); `seconds` are floats.

- `status --json`: one object.
  - `run`: its columns; `stalled` says why, or is null; `holder` is the process that advances it; `failing` is why it
    has to fail once its jobs have ended. On a cluster, `wake`, `log_dir`, and `n_fruitless`: orchestrator jobs since
    SLURM last took a job of a step.
  - `steps`: the pipeline's steps in order, each with sums over its iterations: `n` of `n_planned` step runs, how many
    are in which state (`step_runs`), experiments (`n_finished`, `n_failed`), `seconds`; `n_put_back` step runs were
    withdrawn by a resume. One that collects without a job has `needs_job` false.
  - `step_runs`: each step at each iteration, with its `jobs`; what was put back has a `withdrawn_at`. A job's
    `scheduler_id` is SLURM's; `absent_since_at` is since when it is in doubt.
  - `orchestrators`: all orchestrator jobs, as jobs; `waits_for` is the id of the job after whose end one starts.
  - `failures`: one for each cause at each address: `what`, `why`, `kind`, how many (`n`), the first 100 experiments
    (`rows`), `tasks`, whether it was `tried_again`, `traceback`.
  - `notes`: what became of results that are not in the table: `address`, `what`, `why`, how many (`n`, or null), and of
    files the first 100 numbers (`rows`).
  - `now`: the open step run; `next`: address of what comes after it; `resume_from`: where a resume begins.
  - `history`: what happened to the run itself. `provenance`: versions, git commit, arguments, host, user.
  - `slurm`, with `--refresh`: what SLURM said when it was `asked_at`, or null if it did not answer. `jobs`, each with
    `scheduler_id`, `token`, `what` (an address, or `orchestrator`), `states` (`state` and `reason` in SLURM's words,
    with `n_tasks`), `stuck` (the reason that does not pass by waiting, or null), and whether SLURM knows it
    (`is_known`), calls it live (`is_live`), and the records call it ended (`has_ended`). `stalled` is derived from
    both.
- `list --json`: an array of runs, the latest first, with `n_finished` and `n_failed` experiments.
- `logs --json`: `step_run`, with its `jobs`, `failures` and `notes` (null for `orchestrator`); `logs`, an array of
  `path` and `task`.
- `db info --json`, `db check --json`: one object each; `problems` is empty if all is well.
"""


def document() -> str:
    """Write the document."""
    written = [f"## `{name}`\n\n```text\n{text}\n```\n" for name, text in pages(cli, "orchestrator")]
    return "\n".join([HEAD, *written, JSON])


def pages(command: click.Command, name: str, parent: click.Context | None = None) -> Iterator[tuple[str, str]]:
    """Give every command's name and help page."""
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
