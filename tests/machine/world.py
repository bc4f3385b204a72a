"""A world of values for the pure machine: records, a cluster and a user, with random failures."""

from __future__ import annotations

import contextlib
import random
from functools import reduce

from orchestrator.indexes import parse_indexes
from orchestrator.machine.changes import (
    AddJob,
    AddStepRun,
    FailRun,
    MoveJob,
    MoveRun,
    MoveStepRun,
    RecordDoubt,
    RecordFreeze,
    RecordWait,
    Withdraw,
    apply,
)
from orchestrator.machine.decide import decide
from orchestrator.machine.facts import Facts, JobFact, ReceiptFact, Seen
from orchestrator.machine.intents import CancelJobs, Collect, Finish, Freeze, Record, SetDependency, Submit
from orchestrator.machine.kinds import Doubt
from orchestrator.machine.model import MAX_IDLE_WAKEUPS, Run
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.resume_point import where_to_resume
from orchestrator.machine.rewind import rewind
from orchestrator.machine.stalled import liveness_of, why_stalled
from orchestrator.machine.states import FailureKind, JobState, RunState, StepRunState
from orchestrator.machine.wakeup import is_in_doubt, why_poll_again

GRACE = 90.0
TROUBLE = [str(kind) for kind in FailureKind if kind not in ("refused", "interrupted", "cancelled")]


def id_of(token):
    """Return the scheduler's id of a job."""
    return f"id of {token}"


class Died(Exception):
    """The process that advances the run died here."""


class Records:
    """What a database would contain: every step run of every epoch; a write is all or nothing."""

    def __init__(self, plan, first_position=0):
        self.blank = Run("r", "salt", plan, first_position=first_position)
        self.live = {}
        self.history = []
        self.tokens = set()

    def load(self):
        last = self.live[max(self.live)] if self.live else None
        n_failed = sum(step_run.state is StepRunState.FAILED for step_run in self.live.values())
        return self.blank._replace(step_run=last, n_failed_step_runs=n_failed)

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
        self.blank = run._replace(step_run=None, n_failed_step_runs=0)

    def with_epoch(self, change):
        """Count epochs and attempts, as the database does."""
        if not isinstance(change, AddStepRun):
            return change
        before = [step_run for step_run in self.history if step_run.position == change.position]
        attempts = [job.attempt for step_run in before for job in step_run.jobs]
        return change._replace(epoch=len(before), first_attempt=max(attempts, default=0) + 1)

    @property
    def first_failed(self):
        flawed = [p for p, s in self.live.items() if s.state in (StepRunState.FAILED, StepRunState.CANCELLED)]
        return min(flawed, default=None)


class World:
    """Performs intents, loses processes, and gives answers that may be incomplete or late.

    Parameters
    ----------
    plan : Plan
    seed : int
        Of all that happens by chance.
    trouble : int
        The probability, in percent, of each possible failure.
    """

    def __init__(self, plan, seed, *, trouble=10, first_position=0):
        self.records = Records(plan, first_position)
        self.chance = random.Random(seed)
        self.trouble = trouble
        self.now = 0.0
        self.submitted = {}  # token -> the job as it was when it was submitted
        self.positions = {}
        self.n_experiments = {}  # token -> of each of its tasks
        self.known = {}  # token -> the true state at the scheduler
        self.receipts = {}  # token -> task -> receipt
        self.ran = {}  # (token, task) -> how often

    @property
    def run(self):
        return self.records.load()

    def unlucky(self, percent=None):
        return self.chance.randrange(100) < (self.trouble if percent is None else percent)

    # --- who advances ----------------------------------------------------------------------------

    def advance(self):
        """Advance once; the process may die between any two of its steps, and only the records remain."""
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
            case Collect(position):
                broken = self.unlucky()
                failed = MoveStepRun(position, StepRunState.FAILED, "a table that can't be read")
                good = [MoveStepRun(position, state) for state in (StepRunState.ACTIVE, StepRunState.SUCCEEDED)]
                self.records.write([failed] if broken else good)
            case Submit(token):
                return self._submit(token)
            case CancelJobs(tokens):
                return self._cancel(tokens)
            case Finish(to, why):
                self.records.write([MoveRun(to, why)])
        return True

    def _cancel(self, tokens):
        for token in tokens:
            self.known[token] = "over"
        changes = reconcile(self.run, self.facts())
        self.records.write(changes)
        return bool(changes)

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
        step_run = self.run.step_run
        self.positions[token] = step_run.position
        if step_run.n_tasks:
            self.n_experiments[token] = step_run.n_experiments // step_run.n_tasks
        self.known.setdefault(token, "queued")
        self._may_die()
        self.records.write([MoveJob(token, JobState.QUEUED, scheduler_id=id_of(token))])
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
        return JobFact(Seen(truth), id_of(token), receipts=receipts, kind=kind, reason="why")

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
                left[task] = self._receipt(answers, self.n_experiments.get(token, 0))

    def _receipt(self, answers, n):
        answer = self.chance.choice([True, False]) if answers else None
        if self.unlucky():
            kind = self.chance.choice([*TROUBLE, "interrupted"])
            return ReceiptFact(False, self.now, self.now, kind=kind, reason="it broke")
        n_failed = int(n > 0 and self.unlucky())
        return ReceiptFact(True, self.now, self.now, n_finished=n - n_failed, n_failed=n_failed, until=answer)

    # --- the user --------------------------------------------------------------------------------

    def live_until_it_ends(self, most=5000):
        for _ in range(most):
            self.advance()
            if self.run.state is not RunState.ACTIVE:
                return self.run
            self.pass_time()
        raise AssertionError(f"after {most} advances the run has not ended: {self.run}")

    def cancel(self):
        self.records.blank = self.records.blank._replace(cancel_requested=True)

    def resume(self, position=None):
        """Resume, and return the step at which."""
        run = self.run
        if position is None:
            position = where_to_resume(run, self.records.first_failed)
        self.records.write([] if position is None else rewind(run, position, "resume", self.records.live))
        self.records.blank = self.records.blank._replace(cancel_requested=False)
        return position

    # --- what must hold --------------------------------------------------------------------------

    def check(self):
        assert set(self.ran.values()) <= {1}, "a task ran twice for one attempt"
        for step_run in [*self.records.live.values(), *self.records.history]:
            if step_run.state is StepRunState.SUCCEEDED:
                self._check_succeeded(step_run)
            if step_run.state is StepRunState.ACTIVE:
                assert step_run.jobs, "a step run is active without a job"
            if step_run.has_ended:
                assert all(job.has_ended for job in step_run.jobs), "a step run ended before its jobs"

    def _check_succeeded(self, step_run):
        """Every task has left a receipt of success in some attempt; of a batch, every task of the manifest has."""
        if self.run.plan.slot(step_run.position).step.collects:
            assert not step_run.jobs
            return
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
            n = sum(job.n_finished + job.n_failed for job in step_run.jobs)
            assert n == step_run.n_experiments, "it has succeeded, and experiments are open"


class WakingWorld(World):
    """A world in which only jobs advance the run, and the user if no such job is left.

    Parameters
    ----------
    plan, seed, trouble
        As of `World`.
    has_tail : bool
        Whether a job of a step advances the run before it ends.
    """

    def __init__(self, plan, seed, *, trouble, has_tail):
        super().__init__(plan, seed, trouble=trouble)
        self.records.blank = self.records.blank._replace(needs_wakeup=True)
        self.has_tail = has_tail
        self.had_trouble = trouble > 0
        self.waits_for = {}  # token of an orchestrator job -> the id of the job after which it truly starts
        self.looks_left = {}
        self.left_out = {}
        self.own = None
        self.is_honest = True
        self.n_resumes = 0

    # --- who advances ----------------------------------------------------------------------------

    def advance(self, own=None):
        """Advance once, and return whether that was completed."""
        self.own, self.is_honest = own, True
        try:
            self._advance()
            self._check_waker()
            if own is not None and why_poll_again(self.run) is None:
                self._end_own()
        except Died:
            return False
        finally:
            self.own = None
            self._check_waiting()
        return True

    def _end_own(self):
        self._may_die()
        if any(job.token == self.own and job.state is JobState.RUNNING for job in self.run.orchestrators):
            self.records.write([MoveJob(self.own, JobState.SUCCEEDED)])

    def _perform(self, intent):
        if not isinstance(intent, SetDependency):
            return super()._perform(intent)
        if self.known.get(intent.token) == "queued":
            self.waits_for[intent.token] = intent.after
            self._may_die()
            self.records.write([RecordWait(intent.token, intent.after)])
        else:
            self.records.write([MoveJob(intent.token, JobState.RUNNING, "it had started")])
        return True

    def _cancel(self, tokens):
        waiting = [job.token for job in self.run.orchestrators if job.token in tokens]
        for token in tokens:
            self.known[token] = "over"
        assert self.own not in tokens, "an orchestrator job ends itself"
        self._may_die()
        gone = [MoveJob(token, JobState.CANCELLED, "not needed any more") for token in waiting]
        seen = reconcile(self.run, self.facts()) if len(waiting) < len(tokens) else []
        changes = [*gone, *(change for change in seen if getattr(change, "token", None) not in waiting)]
        self.records.write(changes)
        return bool(changes)

    def _submit(self, token):
        job = next((job for job in self.run.orchestrators if job.token == token), None)
        if job is None:
            return super()._submit(token)
        self.records.write([MoveJob(token, JobState.SUBMITTING)])
        self._may_die()
        luck = self.chance.randrange(100)
        if luck < self.trouble // 2:
            self.records.write([MoveJob(token, JobState.PLANNED, "submit limit")])
            return False
        if luck < self.trouble // 2 + self.trouble // 10:
            refused = MoveJob(token, JobState.FAILED, "refused", FailureKind.REFUSED)
            self.records.write([refused, FailRun("its orchestrator job was refused")])
            return True
        is_silent = self.unlucky()
        if not is_silent or self.unlucky(50):
            assert self.known.get(token) not in ("queued", "running"), "submitted again though it is there"
            self.known[token], self.waits_for[token] = "queued", job.waits_for
        self._may_die()
        silence = RecordDoubt(token, Doubt.UNANSWERED, reason="timed out")
        self.records.write([silence if is_silent else MoveJob(token, JobState.QUEUED, scheduler_id=id_of(token))])
        return True

    # --- the cluster -----------------------------------------------------------------------------

    def facts(self):
        jobs = (*self.run.live_jobs, *self.run.orchestrators)
        return Facts(self.now, GRACE, {job.token: self._fact(job.token) for job in jobs})

    def _fact(self, token):
        if token == self.own:
            return JobFact(Seen.RUNNING, id_of(token))
        if any(job.token == token for job in self.run.orchestrators):
            return self._fact_of_orchestrator(token)
        before = self.chance.getstate()
        self.is_honest &= not self.unlucky()
        self.chance.setstate(before)
        return super()._fact(token)

    def _fact_of_orchestrator(self, token):
        truth = self.known.get(token, "absent")
        if truth in ("queued", "running") and self.unlucky():
            self.is_honest = False
            # Left out of one answer only: if a later answer lacks it, too, the job counts as ended.
            is_left_out = self.left_out.setdefault(token, self.now) == self.now
            truth = "absent" if is_left_out else "unanswered"
        return JobFact(Seen(truth), id_of(token))

    def pass_time(self):
        self.now += 60.0
        for token, state in list(self.known.items()):
            if token in self.waits_for:
                self._pass_time_of_orchestrator(token)
            elif state == "queued" and not self.unlucky(30):
                self._execute(token)
                self.known[token] = "running"
            elif state == "running":
                if self.has_tail and not self.unlucky():
                    self.advance()
                self.known[token] = "over"

    def _pass_time_of_orchestrator(self, token):
        if self.known[token] == "queued":
            if self.unlucky(self.trouble // 4):
                self.known[token] = "over"  # cancelled by the user
            elif all(self.waits_for[token] != id_of(live) for live in self.live):
                self.known[token], self.looks_left[token] = "running", 5
        if self.known[token] == "running":
            self.looks_left[token] -= 1
            if not self.advance(token) or why_poll_again(self.run) is None or not self.looks_left[token]:
                self.known[token] = "over"

    @property
    def live(self):
        return [token for token, state in self.known.items() if state in ("queued", "running")]

    # --- the user --------------------------------------------------------------------------------

    def live_until_it_ends(self, most=2000):
        self.advance()
        for _ in range(most):
            if not self.live:
                if self.run.state is not RunState.ACTIVE:
                    return self.run
                self._check_that_it_looks_stalled()
                self.n_resumes += 1
                self.resume_by_hand()
            self.pass_time()
        raise AssertionError(f"after {most} minutes the run has not ended: {self.run}")

    def resume_by_hand(self):
        """Advance, and poll while it is not known whether a job was submitted, as `orchestrator resume` does."""
        end = self.now + 2 * GRACE
        self.advance()
        while self.now < end and (not self.live or self._is_undecided()):
            self.now += 30.0
            self.advance()

    def _is_undecided(self):
        is_stalled = why_stalled(liveness_of(self.run, has_tail=self.has_tail)) is not None
        return is_stalled and is_in_doubt(self.run)

    # --- what must hold --------------------------------------------------------------------------

    def _check_waker(self):
        """After an advance a job will advance the run again, or the records say why none does."""
        run = self.run
        if not self.is_honest:
            return
        wakers = [token for token in self.live if token in self.waits_for and token != self.own]
        tries = [job for job in run.orchestrators if job.state in (JobState.PLANNED, JobState.SUBMITTING)]
        if run.state is not RunState.ACTIVE:
            queued = [token for token in wakers if self.known[token] == "queued"]
            assert not queued or tries, "a job waits to advance a run that has ended"
            return
        why = why_poll_again(run)
        has_given_up = run.idle_wakeups >= MAX_IDLE_WAKEUPS
        assert wakers or why or has_given_up
        assert why is None or self.had_trouble, "without failures no command has to poll"
        if any(job.token == self.own and job.state is JobState.RUNNING for job in run.orchestrators):
            assert wakers or tries or has_given_up, "an orchestrator job has no successor"

    def _check_waiting(self):
        truly = [token for token in self.waits_for if self.known[token] == "queued"]
        assert len(truly) <= 1, "two orchestrator jobs wait"
        recorded = [job for job in self.run.orchestrators if job.state is not JobState.RUNNING]
        assert len(recorded) <= 1

    def _check_that_it_looks_stalled(self):
        trouble, self.trouble = self.trouble, 0
        seen = reduce(apply, reconcile(self.run, self.facts()), self.run)
        why = why_stalled(liveness_of(seen, has_tail=self.has_tail))
        assert why is not None, "no process will advance the run, and no record shows it"
        self.trouble = trouble

    def check_that_nobody_waits(self):
        """Two advances with complete answers correct what a death at the end left in the records."""
        assert not self.live
        self.trouble = 0
        for _ in range(2):
            self.advance()
            self.now += GRACE
        assert self.run.orchestrators == ()
