"""The definition of the tables, from which `scripts/schema` writes `schema.sql`.

Constraints exclude what must never happen; the lists of states come from `orchestrator.machine.states`. Times are
seconds since 1970, UTC. Only `clean` deletes rows, all of a run: a step run that a resume withdrew has a
`withdrawn_at`.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import (
    JSON,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from orchestrator.db.rows import one_of
from orchestrator.machine.earlier_tables import DEFAULT_MAX_TABLES
from orchestrator.machine.kinds import Doubt, EventKind, Mode, Role, StepKind, Stopping, StopSignal
from orchestrator.machine.states import (
    JOB_ENDED,
    RUN_ENDED,
    STEP_RUN_ENDED,
    STEP_RUN_FLAWED,
    FailureKind,
    JobState,
    RunState,
    StepRunState,
)

__all__ = ["event", "job", "metadata", "run", "statements", "step_run"]

metadata = MetaData()


def _ended(states: Iterable[str], ended: frozenset[str]) -> str:
    in_order = [state for state in states if state in ended]
    return f"({one_of('state', in_order)}) = (ended_at IS NOT NULL)"


def _json(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, JSON(none_as_null=True), nullable=nullable)


# A run: one execution of a pipeline, with its plan, its lease and what its user has requested.
run = Table(
    "run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("key", Text, nullable=False),
    Column("salt", Text, nullable=False),
    # The user that the run belongs to.
    Column("uid", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    # Text, not JSON: it is parsed only when it has changed.
    Column("plan", Text, nullable=False),
    Column("first_position", Integer, nullable=False),
    Column("n_failed_step_runs", Integer, nullable=False, server_default="0"),
    # Why the run will fail, once its live jobs are cancelled.
    Column("failing", Text),
    # SLURM's message when a node was refused to submit: since then only login nodes submit.
    Column("login_only", Text),
    # All orchestrator jobs of the run, and those since the scheduler last accepted a job of a step.
    Column("n_orchestrators", Integer, nullable=False, server_default="0"),
    Column("idle_wakeups", Integer, nullable=False, server_default="0"),
    # The workspace when the paths below were recorded. After a move they are searched at the same place in the new one.
    Column("root", Text),
    Column("study", Text),
    Column("study_attr", Text),
    Column("bundle_digest", Text),
    _json("cluster", nullable=True),
    _json("provenance"),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    # Time between a stop, or the death of its process, and the process that continued it.
    Column("idle_seconds", Float, nullable=False, server_default="0"),
    # Time in which the jobs of its ended step runs only waited in the queue of the cluster.
    Column("queue_seconds", Float, nullable=False, server_default="0"),
    # The lease: the process that advances the run. The fence never decreases.
    Column("fence", Integer, nullable=False, server_default="0"),
    Column("lease_host", Text),
    Column("lease_boot", Text),
    Column("lease_pid", Integer),
    Column("lease_pid_start", Text),
    Column("lease_scheduler_id", Text),
    Column("lease_taken_at", Float),
    Column("lease_beat_at", Float),
    # When another process first saw this heartbeat, by its own clock: clocks of two machines are not compared.
    Column("lease_beat_seen_at", Float),
    Column("cancel_requested_at", Float),
    # Position of the step run that is to be cancelled, while the run continues.
    Column("cancel_step", Integer),
    # Since when a user holds the run: nothing new is started.
    Column("held_at", Float),
    # When, and by which signal, the process of a run on this machine was stopped, until another process continues it.
    Column("stopped_at", Float),
    Column("stopped_by", Text),
    # How many tables are kept, as they were when a step run began; NULL: all.
    Column("max_tables", Integer, server_default=str(DEFAULT_MAX_TABLES)),
    # The tables that are put back first, as they were when a step run began: folder, position and epoch of each.
    _json("puts_back", nullable=True),
    # The run that this one was forked from, and the step with which it began.
    Column("forked_from", Text),
    Column("forked_step", Text),
    UniqueConstraint("key", name="run_key"),
    CheckConstraint("key <> '' AND study <> ''", name="run_texts"),
    CheckConstraint(one_of("mode", Mode), name="run_mode"),
    CheckConstraint(one_of("state", RunState), name="run_state"),
    CheckConstraint(_ended(RunState, RUN_ENDED), name="run_ended"),
    CheckConstraint(
        "first_position >= 0 AND n_failed_step_runs >= 0 AND n_orchestrators >= idle_wakeups AND idle_wakeups >= 0",
        name="run_counts",
    ),
    CheckConstraint(
        "(lease_host IS NULL) = (lease_pid IS NULL) AND (lease_host IS NULL) = (lease_boot IS NULL) "
        "AND (lease_host IS NULL) = (lease_pid_start IS NULL) AND (lease_host IS NULL) = (lease_taken_at IS NULL)",
        name="run_lease",
    ),
    CheckConstraint(
        f"(stopped_at IS NULL) = (stopped_by IS NULL) AND (stopped_by IS NULL OR {one_of('stopped_by', StopSignal)})",
        name="run_stopped",
    ),
)

# A step run: one step at one iteration in one epoch.
step_run = Table(
    "step_run",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Integer, ForeignKey("run.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("first_attempt", Integer, nullable=False),
    # The user accepts its failed experiments, whatever `max_failed` says.
    Column("accepts_failed", Boolean(create_constraint=False), nullable=False, server_default="0"),
    Column("iteration", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    # Place of the step in the definition, the same in all its iterations.
    Column("path", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("n_experiments", Integer),
    Column("n_tasks", Integer),
    Column("batch_size", Integer),
    # SHA-256 of the manifest.
    Column("manifest", Text),
    # Experiments of earlier epochs that are not evaluated again: a step is judged on all its experiments.
    Column("n_finished_before", Integer, nullable=False, server_default="0"),
    Column("n_failed_before", Integer, nullable=False, server_default="0"),
    Column("n_finished", Integer, nullable=False, server_default="0"),
    Column("n_failed", Integer, nullable=False, server_default="0"),
    Column("until", Boolean(create_constraint=False)),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    # As that of the run, as far as it was while this step was open.
    Column("idle_seconds", Float, nullable=False, server_default="0"),
    # Recorded at its end: the time in which its jobs only waited in the queue.
    Column("queue_seconds", Float, nullable=False, server_default="0"),
    Column("withdrawn_at", Float),
    # When a resume forgot the step run: its block is called again, even if the table is already its result.
    Column("forgotten_at", Float),
    # A retry has withdrawn it only until the step run at this position has ended.
    Column("suspended_after", Integer),
    UniqueConstraint("run_id", "position", "epoch", name="step_run_epoch"),
    CheckConstraint(one_of("kind", StepKind), name="step_run_kind"),
    CheckConstraint(one_of("state", StepRunState), name="step_run_state"),
    CheckConstraint(_ended(StepRunState, STEP_RUN_ENDED), name="step_run_ended"),
    CheckConstraint("state NOT IN ('active', 'succeeded') OR started_at IS NOT NULL", name="step_run_started"),
    CheckConstraint("position >= 0 AND epoch >= 0 AND first_attempt >= 1", name="step_run_counts"),
    CheckConstraint(
        "suspended_after IS NULL OR withdrawn_at IS NOT NULL AND suspended_after < position", name="step_run_suspended"
    ),
)

# A job: one unit of work for the scheduler. `kind` is the kind of its failure.
job = Table(
    "job",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Integer, ForeignKey("run.id"), nullable=False),
    Column("step_run_id", Integer, ForeignKey("step_run.id")),
    Column("token", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("batch", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("tasks", Text, nullable=False),
    Column("n_tasks", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("kind", Text),
    Column("reason", Text),
    Column("scheduler_id", Text),
    # SHA-256 of its file, which other processes than the job compare, too; NULL while it is submitted.
    Column("job_file", Text),
    Column("doubt", Text),
    Column("doubt_since", Float),
    # Ids, separated by commas, of other submissions with the same token, which must be cancelled.
    Column("rivals", Text, nullable=False, server_default=""),
    # How far it is after its tasks have stopped their step early.
    Column("stopping", Text),
    # The scheduler was asked not to start what of it still waits.
    Column("held", Boolean(create_constraint=False), nullable=False, server_default="0"),
    # For an orchestrator job: the scheduler's id of the job that must end before it starts.
    Column("waits_for", Text),
    Column("failed_tasks", Text, nullable=False, server_default=""),
    Column("n_finished", Integer, nullable=False, server_default="0"),
    Column("n_failed", Integer, nullable=False, server_default="0"),
    Column("until", Boolean(create_constraint=False)),
    Column("planned_at", Float, nullable=False),
    Column("submitting_at", Float),
    Column("queued_at", Float),
    Column("started_at", Float),
    Column("ended_at", Float),
    _json("detail"),
    UniqueConstraint("token", name="job_token"),
    UniqueConstraint("step_run_id", "batch", "attempt", name="job_attempt"),
    CheckConstraint("token <> '' AND (rivals = '' OR rivals GLOB '[0-9]*')", name="job_texts"),
    CheckConstraint(one_of("role", Role), name="job_role"),
    CheckConstraint(f"(role = '{Role.ORCHESTRATOR}') = (step_run_id IS NULL)", name="job_step_run"),
    CheckConstraint(f"doubt IS NULL OR {one_of('doubt', Doubt)}", name="job_doubt"),
    CheckConstraint(f"stopping IS NULL OR {one_of('stopping', Stopping)}", name="job_stopping"),
    CheckConstraint(one_of("state", JobState), name="job_state"),
    CheckConstraint(_ended(JobState, JOB_ENDED), name="job_ended"),
    CheckConstraint(f"kind IS NULL OR {one_of('kind', FailureKind)}", name="job_kind"),
    CheckConstraint(
        "state NOT IN ('queued', 'running', 'succeeded', 'lost') OR scheduler_id IS NOT NULL", name="job_scheduler_id"
    ),
    CheckConstraint("state NOT IN ('running', 'succeeded') OR started_at IS NOT NULL", name="job_started"),
    CheckConstraint("batch >= 0 AND attempt >= 1 AND n_tasks >= 1", name="job_counts"),
    CheckConstraint(f"role = '{Role.ORCHESTRATOR}' OR waits_for IS NULL", name="job_waits_for"),
)

# An event: one entry of the history of a run, a step run, a job or a task.
event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run_id", Integer, ForeignKey("run.id"), nullable=False),
    Column("step_run_id", Integer, ForeignKey("step_run.id")),
    Column("job_id", Integer, ForeignKey("job.id")),
    Column("task", Integer),
    Column("at", Float, nullable=False),
    Column("what", Text, nullable=False),
    Column("old", Text),
    Column("new", Text),
    Column("why", Text),
    _json("detail"),
    CheckConstraint(one_of("what", EventKind), name="event_what"),
)

# At each position only one step run is not withdrawn.
Index(
    "step_run_live",
    step_run.c.run_id,
    step_run.c.position,
    unique=True,
    sqlite_where=text("withdrawn_at IS NULL"),
)
# One step at a time: two open step runs would mean that two processes advance the run.
Index(
    "step_run_open",
    step_run.c.run_id,
    unique=True,
    sqlite_where=text("withdrawn_at IS NULL AND ended_at IS NULL"),
)
# To find where a resume begins, without reading all step runs that succeeded.
Index(
    "step_run_flawed",
    step_run.c.run_id,
    step_run.c.position,
    sqlite_where=text(f"withdrawn_at IS NULL AND {one_of('state', STEP_RUN_FLAWED)}"),
)
Index(
    "step_run_suspended_after",
    step_run.c.run_id,
    step_run.c.suspended_after,
    sqlite_where=text("suspended_after IS NOT NULL"),
)
# A batch is not submitted while an earlier attempt has not ended.
Index("job_live", job.c.step_run_id, job.c.batch, unique=True, sqlite_where=text("ended_at IS NULL"))
# One successor at a time: a run does not fill the queue with orchestrator jobs.
Index(
    "job_waiting",
    job.c.run_id,
    unique=True,
    sqlite_where=text("step_run_id IS NULL AND state IN ('planned', 'submitting', 'queued')"),
)
Index("job_orchestrator", job.c.run_id, sqlite_where=text("step_run_id IS NULL AND ended_at IS NULL"))
Index("event_run", event.c.run_id)


def statements() -> list[str]:
    """Return the SQL that creates the tables and indexes, each table before those that refer to it."""
    made = []
    for table in metadata.sorted_tables:
        indexes = sorted(table.indexes, key=lambda index: str(index.name))
        made += [_sql(CreateTable(table)), *(_sql(CreateIndex(index)) for index in indexes)]
    return made


def _sql(made: CreateTable | CreateIndex) -> str:
    lines = str(made.compile(dialect=sqlite.dialect())).strip().splitlines()
    return "\n".join(line.rstrip().replace("\t", "    ") for line in lines)
