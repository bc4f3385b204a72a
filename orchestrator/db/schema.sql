-- Written by scripts/schema from orchestrator/db/tables.py.
CREATE TABLE run (
    id INTEGER NOT NULL,
    "key" TEXT NOT NULL,
    salt TEXT NOT NULL,
    uid INTEGER NOT NULL,
    name TEXT NOT NULL,
    mode TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    "plan" TEXT NOT NULL,
    first_position INTEGER NOT NULL,
    n_failed_step_runs INTEGER DEFAULT '0' NOT NULL,
    failing TEXT,
    login_only TEXT,
    n_orchestrators INTEGER DEFAULT '0' NOT NULL,
    idle_wakeups INTEGER DEFAULT '0' NOT NULL,
    root TEXT,
    study TEXT,
    study_attr TEXT,
    bundle_digest TEXT,
    cluster JSON,
    provenance JSON NOT NULL,
    created_at FLOAT NOT NULL,
    started_at FLOAT,
    ended_at FLOAT,
    fence INTEGER DEFAULT '0' NOT NULL,
    lease_host TEXT,
    lease_boot TEXT,
    lease_pid INTEGER,
    lease_pid_start TEXT,
    lease_scheduler_id TEXT,
    lease_taken_at FLOAT,
    lease_beat_at FLOAT,
    lease_beat_seen_at FLOAT,
    cancel_requested_at FLOAT,
    PRIMARY KEY (id),
    CONSTRAINT run_key UNIQUE ("key"),
    CONSTRAINT run_mode CHECK (mode IN ('local', 'slurm')),
    CONSTRAINT run_state CHECK (state IN ('active', 'succeeded', 'failed', 'cancelled')),
    CONSTRAINT run_ended CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (ended_at IS NOT NULL)),
    CONSTRAINT run_counts CHECK (first_position >= 0 AND n_failed_step_runs >= 0 AND n_orchestrators >= idle_wakeups AND idle_wakeups >= 0),
    CONSTRAINT run_lease CHECK ((lease_host IS NULL) = (lease_pid IS NULL) AND (lease_host IS NULL) = (lease_boot IS NULL) AND (lease_host IS NULL) = (lease_pid_start IS NULL) AND (lease_host IS NULL) = (lease_taken_at IS NULL))
);

CREATE TABLE step_run (
    id INTEGER NOT NULL,
    run_id INTEGER NOT NULL,
    position INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    first_attempt INTEGER NOT NULL,
    accepts_failed BOOLEAN DEFAULT '0' NOT NULL,
    iteration TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    path TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    n_experiments INTEGER,
    n_tasks INTEGER,
    batch_size INTEGER,
    manifest TEXT,
    n_finished_before INTEGER DEFAULT '0' NOT NULL,
    n_failed_before INTEGER DEFAULT '0' NOT NULL,
    n_finished INTEGER DEFAULT '0' NOT NULL,
    n_failed INTEGER DEFAULT '0' NOT NULL,
    until BOOLEAN,
    created_at FLOAT NOT NULL,
    started_at FLOAT,
    ended_at FLOAT,
    withdrawn_at FLOAT,
    forgotten_at FLOAT,
    kept_after INTEGER,
    PRIMARY KEY (id),
    CONSTRAINT step_run_epoch UNIQUE (run_id, position, epoch),
    CONSTRAINT step_run_kind CHECK (kind IN ('call', 'batch', 'until')),
    CONSTRAINT step_run_state CHECK (state IN ('pending', 'active', 'succeeded', 'failed', 'cancelled', 'skipped')),
    CONSTRAINT step_run_ended CHECK ((state IN ('succeeded', 'failed', 'cancelled', 'skipped')) = (ended_at IS NOT NULL)),
    CONSTRAINT step_run_started CHECK (state NOT IN ('active', 'succeeded') OR started_at IS NOT NULL),
    CONSTRAINT step_run_counts CHECK (position >= 0 AND epoch >= 0 AND first_attempt >= 1),
    CONSTRAINT step_run_kept CHECK (kept_after IS NULL OR withdrawn_at IS NOT NULL AND kept_after < position),
    FOREIGN KEY(run_id) REFERENCES run (id)
);

CREATE INDEX step_run_flawed ON step_run (run_id, position) WHERE withdrawn_at IS NULL AND state IN ('failed', 'cancelled');

CREATE INDEX step_run_kept_after ON step_run (run_id, kept_after) WHERE kept_after IS NOT NULL;

CREATE UNIQUE INDEX step_run_live ON step_run (run_id, position) WHERE withdrawn_at IS NULL;

CREATE UNIQUE INDEX step_run_open ON step_run (run_id) WHERE withdrawn_at IS NULL AND ended_at IS NULL;

CREATE TABLE job (
    id INTEGER NOT NULL,
    run_id INTEGER NOT NULL,
    step_run_id INTEGER,
    token TEXT NOT NULL,
    role TEXT NOT NULL,
    batch INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    tasks TEXT NOT NULL,
    n_tasks INTEGER NOT NULL,
    state TEXT NOT NULL,
    kind TEXT,
    reason TEXT,
    scheduler_id TEXT,
    doubt TEXT,
    doubt_since FLOAT,
    rivals TEXT DEFAULT '' NOT NULL,
    waits_for TEXT,
    failed_tasks TEXT DEFAULT '' NOT NULL,
    n_finished INTEGER DEFAULT '0' NOT NULL,
    n_failed INTEGER DEFAULT '0' NOT NULL,
    until BOOLEAN,
    planned_at FLOAT NOT NULL,
    submitting_at FLOAT,
    queued_at FLOAT,
    started_at FLOAT,
    ended_at FLOAT,
    detail JSON NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT job_token UNIQUE (token),
    CONSTRAINT job_attempt UNIQUE (step_run_id, batch, attempt),
    CONSTRAINT job_role CHECK (role IN ('orchestrator', 'step', 'batch')),
    CONSTRAINT job_step_run CHECK ((role = 'orchestrator') = (step_run_id IS NULL)),
    CONSTRAINT job_doubt CHECK (doubt IS NULL OR doubt IN ('unanswered', 'unlisted', 'receipts_missing', 'unknown_state')),
    CONSTRAINT job_state CHECK (state IN ('planned', 'submitting', 'queued', 'running', 'succeeded', 'failed', 'cancelled', 'lost')),
    CONSTRAINT job_ended CHECK ((state IN ('succeeded', 'failed', 'cancelled', 'lost')) = (ended_at IS NOT NULL)),
    CONSTRAINT job_kind CHECK (kind IS NULL OR kind IN ('refused', 'out_of_memory', 'timeout', 'node_failure', 'preempted', 'cancelled', 'exception', 'not_started', 'infrastructure', 'stopped', 'interrupted')),
    CONSTRAINT job_scheduler_id CHECK (state NOT IN ('queued', 'running', 'succeeded', 'lost') OR scheduler_id IS NOT NULL),
    CONSTRAINT job_started CHECK (state NOT IN ('running', 'succeeded') OR started_at IS NOT NULL),
    CONSTRAINT job_counts CHECK (batch >= 0 AND attempt >= 1 AND n_tasks >= 1),
    CONSTRAINT job_waits_for CHECK (role = 'orchestrator' OR waits_for IS NULL),
    FOREIGN KEY(run_id) REFERENCES run (id),
    FOREIGN KEY(step_run_id) REFERENCES step_run (id)
);

CREATE UNIQUE INDEX job_live ON job (step_run_id, batch) WHERE ended_at IS NULL;

CREATE INDEX job_orchestrator ON job (run_id) WHERE step_run_id IS NULL AND ended_at IS NULL;

CREATE UNIQUE INDEX job_waiting ON job (run_id) WHERE step_run_id IS NULL AND state IN ('planned', 'submitting', 'queued');

CREATE TABLE event (
    id INTEGER NOT NULL,
    run_id INTEGER NOT NULL,
    step_run_id INTEGER,
    job_id INTEGER,
    task INTEGER,
    at FLOAT NOT NULL,
    what TEXT NOT NULL,
    old TEXT,
    new TEXT,
    why TEXT,
    detail JSON NOT NULL,
    PRIMARY KEY (id),
    CONSTRAINT event_what CHECK (what IN ('run', 'step run', 'job', 'freeze', 'job is in doubt', 'job is known', 'job waits', 'run has to fail', 'only login nodes submit', 'withdrawn', 'retry', 'restored', 'code', 'owner', 'lease', 'cancel requested', 'task failed', 'experiments failed', 'results quarantined', 'results not folded', 'files left')),
    FOREIGN KEY(run_id) REFERENCES run (id),
    FOREIGN KEY(step_run_id) REFERENCES step_run (id),
    FOREIGN KEY(job_id) REFERENCES job (id)
);

CREATE INDEX event_run ON event (run_id);
