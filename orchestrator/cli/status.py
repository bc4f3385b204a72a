"""`orchestrator status`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.render import clock, duration, paint, shorten, table, to_json
from orchestrator.cli.workspace import database, key_of, options

__all__ = ["command", "render"]

MOST_FAILURES = 5
MOST_ROWS = 6


@click.command()
@click.argument("run", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print everything that is known, as JSON.")
@options
def command(run: str | None, as_json: bool, rootdir: Path | None, db: Path | None) -> None:
    """Show what a run has done, what failed and why, and what comes next.

    RUN is the latest run where it is left out.

    \b
    Examples:
      orchestrator status
      orchestrator status 1795531215 --json
    """
    from orchestrator.db.queries import run_status

    path = database(rootdir, db)
    found = run_status(path, key_of(path, run))
    _count_live(path.parent, found)
    click.echo(to_json(found) if as_json else render(found, time.time()))


def _count_live(workspace: Path, found: dict[str, Any]) -> None:
    """Look how many tasks of the batch that runs have ended: one listing of a folder."""
    from orchestrator.handoff.folder import RunFolder
    from orchestrator.handoff.receipt import receipts_of

    for job in (found["now"] or {"jobs": []})["jobs"]:
        if job["ended_at"] is None and job["role"] == "batch":
            folder = RunFolder(workspace, found["run"]["key"]).job(job["token"])
            job["n_tasks_ended"] = len(receipts_of(folder))


def render(found: dict[str, Any], now: float) -> str:
    """Write a status for a terminal of 80 columns."""
    run = found["run"]
    lines = [*_headline(run, now), "", *_steps(found["steps"])]
    if found["now"] is not None and run["stalled"] is None:
        lines += ["", *_now(found["now"], now)]
    if found["next"] is not None and run["stalled"] is None:
        lines += [f"Next: {found['next']}"]
    if found["failures"]:
        lines += ["", *_failures(found["failures"], run["key"])]
    return "\n".join([*lines, *_to_type(run, found["failures"])])


def _headline(run: dict[str, Any], now: float) -> list[str]:
    state = "stalled" if run["stalled"] else run["state"]
    name = f" ({run['name']})" if run["name"] else ""
    lines = [f"Run {run['key']}{name}: {paint(state)}"]
    why = run["stalled"] or run["reason"]
    if why:
        lines += [f"  {shorten(why, 76)}"]
    begin = run["started_at"] or run["created_at"]
    took = duration((run["ended_at"] or now) - begin)
    lines += [f"  began {clock(begin, now)}, {'took' if run['ended_at'] else 'for'} {took}"]
    if run["study"]:
        lines += [f"  study {run['study']}"]
    if run["cancel_requested_at"] and run["state"] == "active":
        lines += ["  asked to stop: it ends with what runs now"]
    return lines


def _steps(steps: list[dict[str, Any]]) -> list[str]:
    rows = []
    for step in steps:
        in_loop = step["depth"] > 0
        count = f"{step['n']} of {step['n_planned']}" if in_loop else ""
        failed = str(step["n_failed"]) if step["n_failed"] else ""
        finished = str(step["n_finished"]) if step["n_finished"] or step["n_failed"] else ""
        name = "  " * step["depth"] + shorten(step["name"], 26)
        rows.append([name, step["state"], count, finished, failed, duration(step["seconds"])])
    return table(["STEP", "STATE", "ITERATIONS", "FINISHED", "FAILED", "TIME"], rows, right=(2, 3, 4, 5))


def _now(step_run: dict[str, Any], now: float) -> list[str]:
    begin = step_run["started_at"] or step_run["created_at"]
    lines = [f"Now:  {step_run['address']}, for {duration(now - begin)}"]
    for job in step_run["jobs"]:
        if job["ended_at"] is None:
            tasks = f", {job['n_tasks_ended']} of {job['n_tasks']} tasks ended" if "n_tasks_ended" in job else ""
            why = f" ({job['reason']})" if job["reason"] else ""
            lines.append(f"      job {job['scheduler_id'] or job['token']} {job['state']}{tasks}{why}")
    return lines


def _failures(failures: list[dict[str, Any]], key: str) -> list[str]:
    lines = ["Failures:"]
    for failure in failures[:MOST_FAILURES]:
        lines += [f"  {failure['address']}: {_who(failure)}", f"    {shorten(failure['why'], 74)}"]
    if len(failures) > MOST_FAILURES:
        lines += [f"  and {len(failures) - MOST_FAILURES} more: orchestrator status {key} --json"]
    return [*lines, f"  With tracebacks: orchestrator logs {key} {_quoted(failures[0]['address'])}"]


def _who(failure: dict[str, Any]) -> str:
    if failure["what"] == "experiments failed":
        rows = ", ".join(map(str, failure["rows"][:MOST_ROWS]))
        more = ", ..." if failure["n"] > MOST_ROWS else ""
        return f"{failure['n']} experiment{'s' if failure['n'] > 1 else ''} failed ({rows}{more})"
    if failure["what"] == "task failed":
        n = len(failure["tasks"])
        tasks = ", ".join(map(str, failure["tasks"][:MOST_ROWS]))
        return f"{n} task{'s' if n > 1 else ''} failed, {failure['kind']} ({tasks}{', ...' if n > MOST_ROWS else ''})"
    return f"failed, {failure['kind']}"


def _to_type(run: dict[str, Any], failures: list[dict[str, Any]]) -> list[str]:
    if run["stalled"] or run["state"] in ("failed", "cancelled"):
        mend = "To go on, when what failed is mended" if run["state"] == "failed" else "To go on"
        return ["", f"{mend}: orchestrator resume {run['key']}"]
    return []


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
