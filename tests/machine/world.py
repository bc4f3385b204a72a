"""A world of values for the pure machine: records, a cluster and a user, whose luck is drawn by chance."""

from __future__ import annotations

import contextlib
import random
from dataclasses import replace

from orchestrator.indexes import parse_indexes
from orchestrator.machine.changes import AddJob, AddStepRun, MoveJob, MoveRun, RecordFreeze, Withdraw, apply
from orchestrator.machine.decide import decide
from orchestrator.machine.facts import Facts, JobFact, ReceiptFact, Seen
from orchestrator.machine.intents import CancelJobs, Finish, Freeze, Record, Submit
from orchestrator.machine.model import Run
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.rewind import rewind, where_to_resume
from orchestrator.machine.states import FailureKind, JobState, RunState, StepRunState

GRACE = 90.0
TROUBLE = [str(kind) for kind in FailureKind if kind not in ("refused", "interrupted", "cancelled")]


class Died(Exception):
    """The process that advances the run died here."""


class Records:
    """What a database would hold: every step run of every epoch; a write is all or nothing."""

    def __init__(self, plan, first_position=0):
        self.blank = Run("r", "salt", plan, first_position=first_position)
        self.live = {}
        self.history = []
        self.tokens = set()

    def load(self):
        last = self.live[max(self.live)] if self.live else None
        n_failed = sum(step_run.state is StepRunState.FAILED for step_run in self.live.values())
        return replace(self.blank, step_run=last, n_failed_step_runs=n_failed)

    def write(self, changes):
        for change in changes:
            self._write(change)

    def _write(self, change):
        if isinstance(change, AddStepRun):
            assert all(position < change.position for position in self.live), "a step is entered behind another"
        if isinstance(change, AddJob):
            assert change.token not in self.tokens, "a token names one job"
            self.tokens.add(change.token)
        run = apply(self.load(), change)
        if isinstance(change, Withdraw):
            gone = [position for position in self.live if position >= change.position]
            self.history += [self.live.pop(position) for position in gone]
        elif run.step_run is not None:
            self.live[run.step_run.position] = run.step_run
        self.blank = replace(self.blank, state=run.state, reason=run.reason)

    def with_epoch(self, change):
        """Count epochs and attempts on, as the database does."""
        if not isinstance(change, AddStepRun):
            return change
        before = [step_run for step_run in self.history if step_run.position == change.position]
        attempts = [job.attempt for step_run in before for job in step_run.jobs]
        return replace(change, epoch=len(before), first_attempt=max(attempts, default=0) + 1)

    @property
    def first_flawed(self):
        flawed = [p for p, s in self.live.items() if s.state in (StepRunState.FAILED, StepRunState.CANCELLED)]
        return min(flawed, default=None)


class World:
    """Performs intents, loses processes, and answers more or less truly.

    Parameters
    ----------
    plan : Plan
    seed : int
        Of all that happens by chance.
    trouble : int
        How often, in percent, each thing that can go wrong does.
    """

    def __init__(self, plan, seed, *, trouble=10, first_position=0):
        self.records = Records(plan, first_position)
        self.chance = random.Random(seed)
        self.trouble = trouble
        self.now = 0.0
        self.submitted = {}  # token -> the job as it was when it was submitted
        self.positions = {}
        self.known = {}  # token -> what the scheduler would truly say
        self.receipts = {}  # token -> task -> receipt
        self.ran = {}  # (token, task) -> how often

    @property
    def run(self):
        return self.records.load()

    def unlucky(self, percent=None):
        return self.chance.randrange(100) < (self.trouble if percent is None else percent)

    # --- who advances ----------------------------------------------------------------------------

    def advance(self):
        """Advance once; the process may die between any two steps of it, and nothing else remembers."""
        with contextlib.suppress(Died):
            self._advance()

    def _advance(self):
        facts = self.facts()
        changes = reconcile(self.run, facts)
        assert changes == reconcile(self.run, facts)
        self.records.write(changes)
        if all(fact.seen is not Seen.ABSENT for fact in facts.jobs.values()):
            assert reconcile(self.run, facts) == []
        while (intent := decide(self.run)) is not None:
            assert decide(self.run) == intent
            self._may_die()
            if not self._perform(intent):
                return

    def _perform(self, intent):
        match intent:
            case Record(changes):
                self.records.write([self.records.with_epoch(change) for change in changes])
            case Freeze(position):
                self._freeze(position)
            case Submit(token):
                return self._submit(token)
            case CancelJobs(tokens):
                for token in tokens:
                    self.known[token] = "over"
                changes = reconcile(self.run, self.facts())
                self.records.write(changes)
                return bool(changes)
            case Finish(to, why):
                self.records.write([MoveRun(to, why)])
        return True

    def _freeze(self, position):
        step = self.run.plan.slot(position).step
        n = self.chance.randrange(7)
        n_tasks = n if step.parallel else min(n, 1)
        self.records.write([RecordFreeze(position, n, n_tasks, step.resources.get("max_array_size", 1))])

    def _submit(self, token):
        self.records.write([MoveJob(token, JobState.SUBMITTING)])
        self._may_die()
        luck = self.chance.randrange(100)
        if luck < self.trouble // 2:
            self.records.write([MoveJob(token, JobState.PLANNED, "submit limit")])
            return False
        [job] = [job for job in self.run.live_jobs if job.token == token]
        if luck < self.trouble:
            refused = MoveJob(token, JobState.FAILED, "refused", FailureKind.REFUSED, failed_tasks=job.tasks)
            self.records.write([refused])
            return True
        self.submitted[token] = job
        self.positions[token] = self.run.step_run.position
        self.known.setdefault(token, "queued")
        self._may_die()
        self.records.write([MoveJob(token, JobState.QUEUED, scheduler_id="77")])
        return True

    def _may_die(self):
        if self.unlucky(self.trouble // 2):
            raise Died

    # --- the cluster -----------------------------------------------------------------------------

    def facts(self):
        return Facts(self.now, GRACE, {job.token: self._fact(job.token) for job in self.run.live_jobs})

    def _fact(self, token):
        truth = self.known.get(token, "absent")
        receipts = self.receipts.get(token, {})
        if self.unlucky():
            return JobFact(Seen(self.chance.choice(["absent", "unanswered", "queued"])), receipts=receipts)
        kind = self.chance.choice(TROUBLE) if truth == "over" else None
        return JobFact(Seen(truth), "77", receipts=receipts, kind=kind, reason="why")

    def pass_time(self):
        self.now += 60.0
        for token, state in self.known.items():
            if state == "queued" and not self.unlucky(30):
                self._execute(token)
                self.known[token] = "running"
            elif state == "running":
                self.known[token] = "over"

    def _execute(self, token):
        left = self.receipts.setdefault(token, {})
        slot = self.run.plan.slot(self.positions[token])
        answers = slot.step.kind == "until" or (slot.until is not None and slot.step.kind == "call")
        for task in parse_indexes(self.submitted[token].tasks):
            self.ran[token, task] = self.ran.get((token, task), 0) + 1
            if not self.unlucky():
                left[task] = self._receipt(answers)

    def _receipt(self, answers):
        answer = self.chance.choice([True, False]) if answers else None
        if self.unlucky():
            kind = self.chance.choice([*TROUBLE, "interrupted"])
            return ReceiptFact(False, self.now, self.now, kind=kind, reason="it broke")
        n_failed = self.unlucky()
        return ReceiptFact(True, self.now, self.now, n_finished=1 - n_failed, n_failed=int(n_failed), until=answer)

    # --- the user --------------------------------------------------------------------------------

    def live_until_it_ends(self, most=5000):
        for _ in range(most):
            self.advance()
            if self.run.state is not RunState.ACTIVE:
                return self.run
            self.pass_time()
        raise AssertionError(f"after {most} advances the run has not ended: {self.run}")

    def cancel(self):
        self.records.blank = replace(self.records.blank, cancel_requested=True)

    def resume(self, position=None):
        """Resume, and say from where."""
        run = self.run
        if position is None:
            position = where_to_resume(run, self.records.first_flawed)
        self.records.write([] if position is None else rewind(run, position, "resume", self.records.live))
        self.records.blank = replace(self.records.blank, cancel_requested=False)
        return position

    # --- what must hold --------------------------------------------------------------------------

    def check(self):
        assert set(self.ran.values()) <= {1}, "a task ran twice for one attempt"
        for step_run in [*self.records.live.values(), *self.records.history]:
            if step_run.state is StepRunState.SUCCEEDED:
                self._check_succeeded(step_run)
            if step_run.ended:
                assert all(job.ended for job in step_run.jobs), "a step run ended before its jobs"

    def _check_succeeded(self, step_run):
        """Every task has left a receipt of success in some attempt; of a batch, every task of the manifest has."""
        tasks = {(job.batch, task) for job in step_run.jobs for task in parse_indexes(job.tasks)}
        good = {
            (job.batch, task)
            for job in step_run.jobs
            for task, receipt in self.receipts.get(job.token, {}).items()
            if receipt.succeeded
        }
        assert tasks
        assert tasks <= good
        if step_run.n_tasks is not None:
            assert sorted(task for _, task in tasks) == list(range(step_run.n_tasks))
