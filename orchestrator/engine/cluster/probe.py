"""Try `env_setup` and `runner` before a run is recorded: on this machine, or in a job of a minute.

What fails here is refused if it is certain that it fails on nodes, too (`trouble_in` in `orchestrator.slurm.startup`),
and else only said; so is a timeout, and all of it with `SBATCH_EXPORT=NONE`. What fails in a job is refused.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.engine.cluster.config import ClusterConfig
from orchestrator.engine.cluster.scripts import runner_of
from orchestrator.engine.interrupts import interrupted_as
from orchestrator.errors import Busy, DefinitionError, SchedulerUnreachable
from orchestrator.machine.answers import Accepted, Refused, RefusedHere
from orchestrator.sha256 import sha256_of
from orchestrator.slurm.client import Client
from orchestrator.slurm.parse import is_live
from orchestrator.slurm.script import cpus, directives, literal_path, render, values
from orchestrator.slurm.startup import CODE, Stage, Trouble, trouble_in
from orchestrator.slurm.variables import for_submission, kept_by_login, passes_environment

__all__ = ["probe_here", "probe_in_job"]

SECONDS_HERE = 60.0
POLL_EVERY, SECONDS_FOR_LOG = 1.0, 20.0
"""Seconds between two queries to SLURM, and for the log of an ended job to become visible here."""


def probe_here(config: ClusterConfig, study: str | None, say: Callable[[str], None]) -> None:
    """Run `env_setup` and `runner` once on this machine, for at most a minute.

    What only this machine may lack, such as the command `module`, is said and is no error.

    Parameters
    ----------
    config : ClusterConfig
        The cluster.
    study : str or None
        File of the study, for the commands that are named.
    say : callable
        Called with each line to print.

    Raises
    ------
    DefinitionError
        If the jobs can't start.
    """
    cluster = config.cluster
    if not cluster.env_setup and cluster.runner == "python":
        return  # that is this Python
    trouble = _trouble_here(config)
    if trouble is None:
        return
    command = f"orchestrator submit {shlex.quote(study) if study else 'STUDY.py'}"
    if trouble.is_certain:
        raise DefinitionError(
            f"The jobs can't start: {trouble.why}.",
            f"Fix {trouble.stage} of the cluster.\nTo submit without this check, add the option: {command} --no-probe",
        )
    say(
        f"Warning: {trouble.why}. This may be different on the nodes. "
        f"To check it in a job first, add the option: {command} --probe"
    )


def _trouble_here(config: ClusterConfig) -> Trouble | None:
    is_same = passes_environment(os.environ)
    # Otherwise jobs get the environment of a new login, of which this is only like.
    environment = for_submission(os.environ, ()) if is_same else kept_by_login(os.environ)
    # The command line of a process is visible to all users, and `env_vars` may contain secrets: these are in a file.
    with tempfile.TemporaryFile() as output, tempfile.NamedTemporaryFile() as file:
        content = config.env_vars_content()
        file.write(content)
        file.flush()
        env_file = {"path": file.name, "sha256": sha256_of(content)}
        script = _script(config, {}, env_file if config.cluster.env_vars else None)
        shell = subprocess.Popen(
            ["/bin/bash", *([] if is_same else ["-l"]), "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            shell.wait(SECONDS_HERE)
        except subprocess.TimeoutExpired:
            why = f"env_setup and runner did not end within {SECONDS_HERE:.0f} s on this machine"
            return Trouble(Stage.SETUP, why, is_certain=False)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGKILL)
                shell.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    found = trouble_in(text, config.cluster.runner, config.cwd, "on this machine")
    return found if found is None or is_same else found._replace(is_certain=False)


def _script(config: ClusterConfig, options: dict[str, str | None], env_file: dict[str, str] | None) -> str:
    cluster = config.cluster
    runner = runner_of(cluster)
    given = values(
        directives=options or {"chdir": config.cwd},
        env_setup=cluster.env_setup,
        env_vars={} if env_file else cluster.env_vars,
        env_file=env_file,
        runner=runner,
        threads=cpus(config.orchestrator, cluster),
        command=[],
    )
    return render({**given, "command": " ".join([*runner, "-c", shlex.quote(CODE)])}, "Try env_setup and runner")


# --- in a job ------------------------------------------------------------------------------------


def probe_in_job(config: ClusterConfig, root: Path, say: Callable[[str], None]) -> None:
    """Run `env_setup` and `runner` in a job of a minute, and wait for its end.

    Parameters
    ----------
    config : ClusterConfig
        The cluster.
    root : Path
        Folder that the nodes share; the files of the probe are removed again.
    say : callable
        Called with each line to print.

    Raises
    ------
    DefinitionError
        If SLURM refuses the job, or the job can't start Python.
    Busy
        If SLURM does not accept the job now.
    Interrupted
        On Ctrl-C.
    """
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".orchestrator-probe-", dir=root))
    try:
        text = _output_of_job(config, folder, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    trouble = trouble_in(text, config.cluster.runner, config.cwd, "on a node")
    if trouble is not None:
        raise DefinitionError(
            f"The jobs can't start: {trouble.why}.", f"Fix {trouble.stage} of the cluster. Nothing was submitted."
        )
    say("The probe has started Python on a node.")


def _output_of_job(config: ClusterConfig, folder: Path, say: Callable[[str], None]) -> str:
    client, log = Client(), folder / "log"
    job_id = _submit(config, folder, client)
    say(f"The probe is job {job_id}; waiting for its end.")
    interruptible = interrupted_as("The probe was stopped. Nothing was submitted.", "Type the same command again.")
    with interruptible:
        try:
            _wait_for_end(client, job_id, say)
        except KeyboardInterrupt:
            client.scancel([job_id])
            raise
        end = time.monotonic() + SECONDS_FOR_LOG
        while not log.exists() and time.monotonic() < end:
            time.sleep(POLL_EVERY)
    return log.read_text(errors="replace") if log.exists() else f"job {job_id} has left no log"


def _submit(config: ClusterConfig, folder: Path, client: Client) -> str:
    resources = {**config.orchestrator, "time": "00:01:00"}
    options = directives(resources, config.cluster, chdir=config.cwd, requeue=False)
    script = folder / "probe.sh"
    script.write_text(_script(config, options, None))
    arguments = ["--job-name=orchestrator_probe", f"--output={literal_path(str(folder))}/log", str(script)]
    answer = client.sbatch(arguments, (*options, "job-name", "output"))
    if isinstance(answer, Accepted):
        return answer.scheduler_id
    reason = "; ".join(answer.reason.splitlines())
    if isinstance(answer, Refused | RefusedHere):
        raise DefinitionError(f"SLURM refuses the probe: {reason}", "Fix the cluster or its resources in the study.")
    raise Busy(f"SLURM does not accept the probe now: {reason}", "Type the same command again later.")


def _wait_for_end(client: Client, job_id: str, say: Callable[[str], None]) -> None:
    """Wait until two answers in a row say that the job is not live."""
    n_without, said = 0, ""
    while n_without < 2:
        time.sleep(POLL_EVERY)
        try:
            n_without = 0 if is_live(job_id, client.squeue()) else n_without + 1
        except SchedulerUnreachable as error:
            if error.message != said:
                said = error.message
                say(said)
