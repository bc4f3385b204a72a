"""Bring a run to its end: on a cluster in memory, where jobs wake it, or on this machine."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import reduce

from orchestrator.engine.advance import advance
from orchestrator.engine.cluster import orchestrate
from orchestrator.engine.context import Context
from orchestrator.engine.lease import hold_lease
from orchestrator.engine.local.local_scheduler import LocalScheduler
from orchestrator.engine.observe import observe
from orchestrator.engine.progress import Silent
from orchestrator.engine.resume import reopen
from orchestrator.errors import Busy
from orchestrator.machine.changes import apply
from orchestrator.machine.reconcile import reconcile
from orchestrator.machine.rewind import Begin
from orchestrator.machine.stalled import liveness_of, why_stalled
from orchestrator.machine.states import RunState
from tests.engine.boundaries import Boundaries
from tests.engine.crashing_study import KEY, NewlyCreated
from tests.fakes.queue import Killed
from tests.fakes.slurm import FakeSlurm

CLIENT = ("sbatch", "squeue", "sacct", "scancel", "set_dependency", "hold")


def from_outside(new: NewlyCreated) -> FakeSlurm:
    """Advance every minute until the run has ended."""
    slurm = FakeSlurm(new.folder, new.checked.load)
    for _ in range(200):
        with hold_lease(new.store, KEY) as fence:
            if advance(context_on(slurm, new, fence)).state is not RunState.ACTIVE:
                return slurm
        slurm.tick()
    raise AssertionError("the run does not end")


def context_on(slurm: FakeSlurm, new: NewlyCreated, fence: int, **me) -> Context:
    record = new.store.record(KEY)
    return Context(new.store, record, fence, new.folder, slurm.scheduler, Silent(), lambda: slurm.now, **me)


def on_this_machine(
    new: NewlyCreated,
    boundaries: Boundaries | None = None,
    n_tasks: int | None = None,
    begin: Callable[[], Begin] | None = None,
) -> None:
    """Run it to its end; with `begin` a user goes back first, and types that again if it was not recorded."""
    if boundaries is not None:
        boundaries.is_on = True
    for _ in range(200):
        scheduler = LocalScheduler(new.folder, new.checked.load, 1, lambda n: None, n_tasks)
        if boundaries is not None:
            boundaries.watch(scheduler, "submit", "observe", "cancel")
        try:
            with hold_lease(new.store, KEY) as fence, closing(scheduler):
                context = Context(new.store, new.store.record(KEY), fence, new.folder, scheduler, Silent())
                if begin is not None and new.store.load(KEY).has_ended:
                    reopen(context, begin())
                    begin = None
                while advance(context).state is RunState.ACTIVE:
                    scheduler.wait()
                return
        except Killed:
            assert boundaries is not None
            boundaries.go_on()
    raise AssertionError("the run does not end")


def by_itself(
    new: NewlyCreated,
    boundaries: Boundaries,
    *,
    has_tail: bool,
    lies: random.Random | None = None,
    is_held: bool = False,
) -> tuple[FakeSlurm, int]:
    """Advance once; from then on only the jobs of the cluster do, and the user where nothing else would.

    With `is_held` the user holds the run before that, and releases it after a while; boundaries are counted until then.

    Returns
    -------
    slurm : FakeSlurm
    n_resumes : int
        How often the user had to.
    """
    n_resumes = 0

    @contextmanager
    def opened(**me) -> Iterator[Context]:
        boundaries.is_on = True
        try:
            with hold_lease(new.store, KEY) as fence:
                yield context_on(slurm, new, fence, **me)
        except Killed:
            boundaries.go_on()
            raise
        finally:
            boundaries.is_on = False

    slurm = FakeSlurm(new.folder, new.checked.load, opened=opened, has_tail=has_tail, lies=lies)
    boundaries.watch(slurm.client, *CLIENT)
    with suppress(Busy, Killed), opened() as context:
        orchestrate.advance(context)
    for hold in (True, False) if is_held else ():
        new.store.set_held(KEY, slurm.now, is_held=hold)
        for _ in range(3):
            with suppress(Busy, Killed), opened() as context:
                orchestrate.advance(context)
            slurm.tick()
    boundaries.is_over = is_held
    for _ in range(400):
        if not slurm.queue.live:
            run = new.store.load(KEY)
            if run.state is not RunState.ACTIVE:
                if not run.orchestrators:
                    return slurm, n_resumes
                # The next advance corrects what a death at the end left in the records.
                with suppress(Busy), opened() as context:
                    orchestrate.advance(context)
            else:
                n_resumes += 1
                with suppress(Busy, Killed):
                    _resume(slurm, opened)
        slurm.tick()
    raise AssertionError("the run does not end")


def _resume(slurm: FakeSlurm, opened) -> None:
    """Resume a run without jobs in the queue, and poll for a while, as a user's `resume` does."""
    with opened() as context:
        run = context.store.load(KEY)
        seen = reduce(apply, reconcile(run, observe(context, run)), run)
        why = why_stalled(liveness_of(seen, has_tail=slurm.scheduler.has_tail))
        assert why, "nothing wakes the run, and nothing shows it"
        reopen(context, Begin())
    for _ in orchestrate.poll(opened, 2 * slurm.scheduler.grace, slurm.said.append, lambda: slurm.now):
        slurm.tick()
