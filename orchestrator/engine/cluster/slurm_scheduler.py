"""The scheduler of runs on a SLURM cluster: submit jobs, find them by token or id, return what became of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from pathlib import Path

from orchestrator.engine.cluster.config import ClusterConfig
from orchestrator.engine.cluster.job_log import last_log_lines
from orchestrator.engine.cluster.scripts import ORCHESTRATOR, Script, Scripts, all_scripts, options_of
from orchestrator.errors import DataError, DefinitionError, SchedulerUnreachable
from orchestrator.handoff.claim import allow_again, claimed_by, give_up, has_begun
from orchestrator.handoff.environment import read_environment
from orchestrator.handoff.jobfile import JobFile, digest_of, read_jobfile
from orchestrator.handoff.receipt import receipts_of
from orchestrator.indexes import format_indexes, parse_indexes
from orchestrator.machine.answers import Accepted, Answer, Refused
from orchestrator.machine.batches import Limits
from orchestrator.machine.facts import JobFact, Seen
from orchestrator.machine.kinds import Wake
from orchestrator.machine.model import Job
from orchestrator.machine.plan import Plan
from orchestrator.machine.states import FailureKind
from orchestrator.machine.submissions import choose
from orchestrator.no_links import folder_of_logs
from orchestrator.slurm.client import Client
from orchestrator.slurm.job_states import meaning
from orchestrator.slurm.parse import Line, is_live, seen_by_id
from orchestrator.trust import check_folder
from orchestrator.workspace import RunFolder

__all__ = ["SlurmScheduler"]

LINES_OF_SHELL = 2
"""Last lines of a log that the reason of a failure quotes if the job has not begun its work."""


class SlurmScheduler:
    """Submits, observes and cancels the jobs of one run.

    Parameters
    ----------
    folder : RunFolder
        The run's folder.
    config : ClusterConfig
        The cluster, and how the run uses it.
    pipeline : str
        The pipeline's name, for the names of jobs.
    database : Path
        Where the run is recorded.
    shared : bool
        Whether other machines write to the run's folder, so that a file may become visible later.
    client : Client, optional
        Calls SLURM's programs.

    Attributes
    ----------
    folder, config
        As given.
    """

    is_local = False

    def __init__(
        self,
        folder: RunFolder,
        config: ClusterConfig,
        pipeline: str,
        database: Path,
        *,
        shared: bool,
        client: Client | None = None,
    ) -> None:
        self.limits = Limits(max_batch_size=config.max_array_size)
        self.grace = float(config.cluster.grace)
        self.has_tail = Wake(config.cluster.wake) is Wake.BOTH
        self.folder = folder
        self.config = config
        self._pipeline = pipeline
        self._scripts = Scripts(config, folder, database, pipeline)
        self._written = dict(config.scripts)
        self._shared = shared
        self._client = client or Client()

    def environment(self) -> Mapping[str, str] | None:
        """Return the environment that the run was submitted in; None if it was not recorded, or can't be used."""
        with suppress(DataError):  # then no job is submitted either
            return read_environment(self.folder, self.config.environment)
        return None

    # --- submitting ------------------------------------------------------------------------------

    def write_scripts(self, plan: Plan) -> dict[str, str]:
        """Write all scripts now, so that a process that submits a step later need not import what renders them.

        Returns
        -------
        dict of str to str
            The SHA-256 of each, by the name of its file.
        """
        written: dict[str, str] = {}
        # An option that sbatch can't express fails its step when the step is submitted.
        with suppress(DefinitionError):
            for script in all_scripts(self._scripts, plan).values():
                written[script.path.name] = self._write(script)
        return written

    def _write(self, script: Script) -> str:
        name = script.path.name
        self._written[name] = script.write(self._written.get(name))
        return self._written[name]

    def submit(self, job: JobFile) -> Answer:
        """Submit a job of a step; a parallel batch is an array."""
        with suppress(DataError):  # then the job says so
            allow_again(self.folder.job(job.token))
        log = self.folder.log(job.label, job.iteration, *((job.token, "%a") if job.parallel else ()))
        try:
            script = self._scripts.of_step(job.label, job.resources, in_loop=bool(job.iteration), parallel=job.parallel)
        except DefinitionError as error:
            return Refused(error.message)
        more = [f"--array={_array(job)}"] if job.parallel else []
        return self._sbatch(script, job.label, job.token, log, more, digest_of(job))

    def submit_orchestrator(self, token: str, after: str) -> Answer:
        """Submit an orchestrator job that starts after the end of the job with the id `after`."""
        try:
            script = self._scripts.of_orchestrator()
        except DefinitionError as error:
            return Refused(error.message)
        log = self.folder.orchestrator_log
        return self._sbatch(script, ORCHESTRATOR, token, log, [f"--dependency=afterany:{after}"])

    def _sbatch(
        self, script: Script, label: str, token: str, log: Path, more: Sequence[str], job_file: str | None = None
    ) -> Answer:
        """Submit a script: sbatch gets the options that differ between jobs, its path, the token and the digest.

        The other options are in the script (`orchestrator.slurm.script`). Without a safe folder for the log, or without
        the environment that was stored for the jobs, the job is refused.
        """
        words = [token] if job_file is None else [token, job_file]
        arguments = [*options_of(label, token, self._pipeline, log), *more, str(script.path), *words]
        try:
            # If the folder of the log is missing, SLURM fails the job silently. SLURM follows links.
            folder_of_logs(log.parent)
            check_folder(log.parent)
            self._write(script)
            answer = self._client.sbatch(arguments, script.options)
        except DataError as error:
            return Refused(error.message.rstrip("."))
        if isinstance(answer, Accepted):
            return answer
        return answer._replace(reason=_quoted(answer.reason))

    def set_dependency(self, scheduler_id: str, after: str) -> bool:
        """Make a waiting orchestrator job start after the end of another job; cancel it if that fails.

        Returns
        -------
        bool
            False if it no longer waits.
        """
        if self._client.set_dependency(scheduler_id, after):
            return True
        # A successor will be planned.
        self._client.scancel([scheduler_id], only_waiting=True)
        return False

    def cancel(self, jobs: Sequence[Job]) -> None:
        """Cancel jobs in one call, in this order; but no other job that has the id of one of them.

        A controller that has lost its state gives its ids again. A submission whose answer was lost has no id yet, and
        may arrive later: it will do nothing.
        """
        for job in jobs:
            if not job.is_orchestrator:
                # A full disk must not prevent the cancel. A claim that can't be read stops every submission, too.
                with suppress(DataError, OSError):
                    give_up(self.folder.job(job.token))
        if any(job.scheduler_id is not None for job in jobs):
            listed = self._client.squeue()
            self.cancel_ids([job.scheduler_id for job in jobs if job.scheduler_id and not _is_reused(job, listed)])

    def cancel_ids(self, ids: Sequence[str]) -> None:
        """Cancel the jobs with these SLURM ids."""
        if ids:
            self._client.scancel(ids)

    def cancel_waiting(self, job: Job) -> None:
        """Cancel the tasks of a job that still wait; those that run end by themselves, and keep their results."""
        if job.scheduler_id and not _is_reused(job, self._client.squeue()):
            self._client.scancel([job.scheduler_id], only_waiting=True)

    def hold(self, job: Job, *, is_held: bool) -> None:
        """Hold the tasks of a job that still wait, or release them; what runs continues."""
        if job.scheduler_id and not _is_reused(job, self._client.squeue()):
            self._client.hold(job.scheduler_id, is_held=is_held)

    # --- observing -------------------------------------------------------------------------------

    def observe(self, jobs: Sequence[Job]) -> Mapping[str, JobFact]:
        """Call squeue once for all jobs, and sacct once for those that squeue lists no longer or only in part.

        A job that neither of them lists has no entry: it is absent.

        Raises
        ------
        SchedulerUnreachable
            If SLURM does not answer, or lists a job as two of them.
        """
        listed = self._client.squeue()
        _check_comments(listed, {job.token for job in jobs})
        lines = {job.token: self._lines_of(job, listed) for job in jobs}
        forgotten = [job for job in jobs if self._is_forgotten(job, lines[job.token])]
        if forgotten and self.config.has_accounting:
            lines |= self._with_accounting(forgotten, lines)
        facts = {job.token: self._fact(job, lines[job.token]) for job in jobs if lines[job.token]}
        stopped = {job.token for job in jobs if not job.is_orchestrator and self.folder.job(job.token).stop.exists()}
        facts = {token: fact._replace(has_stopped=token in stopped) for token, fact in facts.items()}
        return {token: fact._replace(rivals=_rivals(token, fact, listed)) for token, fact in facts.items()}

    def has_ended(self, scheduler_id: str) -> bool:
        """Whether a job, or a task of an array, has ended.

        Raises
        ------
        SchedulerUnreachable
            If SLURM does not answer.
        """
        return not is_live(scheduler_id, self._client.squeue())

    def live_ids(self, tokens: Set[str]) -> list[str]:
        """Return the SLURM ids of the live jobs with these tokens.

        Raises
        ------
        SchedulerUnreachable
            If SLURM does not answer.
        """
        lines = [line for line in self._client.squeue() if meaning(line.state).seen is not Seen.OVER]
        return sorted({line.job_id for line in lines if not line.tokens.isdisjoint(tokens)}, key=int)

    def _is_forgotten(self, job: Job, lines: Sequence[Line]) -> bool:
        """Whether sacct must be asked about the job.

        squeue no longer lists it, or a task of it that left no receipt: squeue forgets tasks one by one.
        """
        if not lines:
            return True
        if job.is_orchestrator:
            return False
        if not _are_over(lines):
            return False
        try:
            file = read_jobfile(self.folder.job(job.token).file, job.job_file)
        except DataError:
            return True
        return bool(self._without_receipt(file) - set(_by_task(lines, file)))

    def _without_receipt(self, file: JobFile) -> set[int]:
        return set(parse_indexes(file.tasks)) - set(receipts_of(self.folder.job(file.token)))

    def _with_accounting(self, jobs: Sequence[Job], listed: Mapping[str, list[Line]]) -> dict[str, list[Line]]:
        """Return what squeue still lists of jobs, completed by sacct."""
        known = {job.token: listed[job.token][0].job_id if listed[job.token] else job.scheduler_id for job in jobs}
        ids = [job_id for job_id in known.values() if job_id is not None]
        # For a job without an id only its row is certain: it may have no file yet.
        since = min((job.planned_at or 0.0 for job in jobs if known[job.token] is None), default=None)
        found = self._client.sacct(ids, since)
        return {job.token: self._merged_lines(job, listed[job.token], found) for job in jobs}

    def _merged_lines(self, job: Job, listed: list[Line], found: Sequence[Line]) -> list[Line]:
        """Return the lines of one job from squeue and sacct. A live state in sacct is out of date, so it is ignored."""
        if listed:
            more = [line for line in found if line.job_id == listed[0].job_id and _are_over([line])]
            # The last line of a task counts, which is that of squeue.
            return [*more, *listed]
        live = {line.job_id for line in found if not _are_over([line])}
        return self._lines_of(job, [line for line in found if line.job_id not in live])

    def _lines_of(self, job: Job, lines: Sequence[Line]) -> list[Line]:
        """Return the lines of a job; of several submissions, those of the one that counts."""
        mine = [line for line in lines if line.has_token(job.token)]
        if len({line.job_id for line in mine}) > 1:
            claimant = None
            with suppress(DataError):
                claimant = claimed_by(self.folder.job(job.token))
            chosen = choose(seen_by_id(mine), claimed_by=claimant, recorded=job.scheduler_id)
            mine = [line for line in mine if line.job_id == chosen]
        return mine

    def _fact(self, job: Job, lines: Sequence[Line]) -> JobFact:
        live = {meaning(line.state).seen for line in lines} - {Seen.OVER}
        if not live:
            return self._fact_of_ended_job(job, lines)
        unknown = next((line.state for line in lines if not meaning(line.state).is_known), None)
        started_at = _start_time(lines)
        return JobFact(
            Seen.RUNNING if Seen.RUNNING in live or started_at is not None else Seen.QUEUED,
            lines[0].job_id,
            started_at=started_at,
            unknown_state=unknown,
        )

    def _fact_of_ended_job(self, job: Job, lines: Sequence[Line]) -> JobFact:
        """Return how each task ended."""
        if job.is_orchestrator:
            return _ended_fact(lines, self._why(lines[0], ""))
        try:
            file = read_jobfile(self.folder.job(job.token).file, job.job_file)
        except DataError as error:
            return _ended_fact(lines, f"{self._why(lines[0], '')}; {error.message}", receipts_may_follow=self._shared)
        by_task, without = _by_task(lines, file), self._without_receipt(file)
        failed = {task: self._failure(file, task, by_task.get(task), lines) for task in sorted(without)}
        return _ended_fact(lines, None, failed, receipts_may_follow=self._shared and bool(without))

    def _failure(self, file: JobFile, task: int, line: Line | None, lines: Sequence[Line]) -> tuple[FailureKind, str]:
        """Return why a task has no receipt; how another task ended does not count."""
        kind = FailureKind.INFRASTRUCTURE if line is None else _kind(line) or FailureKind.INFRASTRUCTURE
        job_folder = self.folder.job(file.token)
        if kind is FailureKind.INFRASTRUCTURE and line is not None and not has_begun(job_folder):
            kind = FailureKind.NOT_STARTED
        # The shell says first what is wrong, then which command failed.
        n_lines = LINES_OF_SHELL if kind is FailureKind.NOT_STARTED else 1
        log_line = "; ".join(last_log_lines(self.folder, file, task, n_lines))
        if line is not None:
            return kind, self._why(line, log_line)
        why = f"SLURM no longer knows how task {task} of job {lines[0].job_id} ended"
        return kind, why + (f": {log_line}" if log_line else "")

    def _why(self, line: Line, log_line: str) -> str:
        code = f", exit code {line.exit_code}" if line.exit_code not in ("", "0:0") else ""
        return f"SLURM job {line.job_id} ended {line.state}{code}" + (f": {log_line}" if log_line else "")


def _check_comments(listed: Sequence[Line], tokens: Set[str]) -> None:
    """Raise `SchedulerUnreachable` if a job has a token in its name and another one in its comment."""
    for line in listed:
        other = line.other_token(tokens)
        if other is not None:
            raise SchedulerUnreachable(
                f"SLURM lists job {line.job_id} as {line.token} by its name, and as {other} by its comment, "
                "so its answer is not used.",
                f"Remove the comment: scontrol update JobId={line.job_id} Comment=",
            )


def _is_reused(job: Job, listed: Sequence[Line]) -> bool:
    """Whether the id of a job is now that of a job with another name."""
    with_id = [line for line in listed if line.job_id == job.scheduler_id]
    return bool(with_id) and not any(line.has_token(job.token) for line in with_id)


def _rivals(token: str, fact: JobFact, listed: Sequence[Line]) -> tuple[str, ...]:
    """Return the SLURM ids of the other submissions of a job that have not ended."""
    others = [line for line in listed if line.has_token(token) and line.job_id != fact.scheduler_id]
    return tuple(sorted({line.job_id for line in others if not _are_over([line])}, key=int))


def _are_over(lines: Sequence[Line]) -> bool:
    return all(meaning(line.state).seen is Seen.OVER for line in lines)


def _kind(line: Line) -> FailureKind | None:
    return meaning(line.state).kind


def _start_time(lines: Sequence[Line]) -> float | None:
    return min((line.started_at for line in lines if line.started_at is not None), default=None)


def _by_task(lines: Sequence[Line], file: JobFile) -> dict[int, Line]:
    """Return the line of each task of the manifest."""
    tasks = set(parse_indexes(file.tasks))
    found = {file.first_task + index: line for line in lines for index in line.indexes or (0,)}
    return {task: found[task] for task in sorted(tasks & set(found))}


def _ended_fact(
    lines: Sequence[Line],
    reason: str | None,
    failed: Mapping[int, tuple[FailureKind, str]] | None = None,
    *,
    receipts_may_follow: bool = False,
) -> JobFact:
    return JobFact(
        Seen.OVER,
        lines[0].job_id,
        started_at=_start_time(lines),
        ended_at=max((line.ended_at for line in lines if line.ended_at is not None), default=None),
        kind=next((kind for line in lines if (kind := _kind(line)) is not None), None),
        reason=reason,
        failed_tasks=failed or {},
        receipts_may_follow=receipts_may_follow,
    )


def _quoted(message: str) -> str:
    """Return a message of sbatch on one line."""
    return f"sbatch: {'; '.join(message.splitlines())}"


def _array(job: JobFile) -> str:
    """Return the tasks of a batch as indexes of its array, of which at most `max_concurrent` run at the same time.

    They start at 0 in each batch, since SLURM limits them.
    """
    indexes = format_indexes(task - job.first_task for task in parse_indexes(job.tasks))
    return f"{indexes}%{job.resources['max_concurrent']}"
