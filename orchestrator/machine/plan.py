"""A pipeline, flattened: which step at which iteration stands at which position.

The row of a run stores the plan of its pipeline. Positions are computed from it, so that a loop of a million iterations
costs nothing until an iteration begins. Each iteration of a loop has one extra slot at its end, for an `until` that is
called by a job of its own. A loop without `until` has it, too, so that a run can continue when the loop gets one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from orchestrator.addresses import format_address, parse_address
from orchestrator.machine.kinds import Dependency, StepKind
from orchestrator.machine.value import NOTHING, value
from orchestrator.text import did_you_mean

__all__ = ["UNTIL", "Plan", "PlannedLoop", "PlannedStep", "Slot", "Visit"]

UNTIL = "until"


@value
class PlannedStep(NamedTuple):
    """One step, with everything that `decide` and a submission need.

    Attributes
    ----------
    path : str
        Its place in the definition, by index: `"0"`, in a loop `"1.2"`. It is unique and names the bundle file.
    name : str
        As the user wrote it, or the block's name.
    kind : StepKind
        What runs it.
    parallel : bool
        Whether its batches have many tasks; otherwise one batch has the only task.
    dependency : Dependency
        What it requires of the step before it.
    max_failed : int, float or None
        Number or fraction of its experiments, of whatever attempt, that may fail; with more the step fails. None: it
        fails only if all do.
    abort_early : int or None
        Number of first experiments that must not all fail with the same exception. None: they may.
    retries : int
        Attempts after the first, for the kinds in `RETRYABLE_KINDS`.
    timeout : float or None
        Seconds after which an experiment is ended.
    project_dir : str
        Folder of the table, relative to the run's folder.
    label : str
        f3dasm's name for the job: `create`, in a loop `loop1_run`.
    resources : mapping
        The fields of `SlurmResources` as JSON values.
    collects : bool
        Whether it only collects results into the table. The process that advances the run does that; it needs no job.
        Set by `orchestrator.definition.flatten`.
    """

    path: str
    name: str
    kind: StepKind = StepKind.CALL
    parallel: bool = False
    dependency: Dependency = Dependency.AFTEROK
    max_failed: int | float | None = None
    abort_early: int | None = None
    retries: int = 0
    timeout: float | None = None
    project_dir: str = "."
    label: str = ""
    resources: Mapping[str, Any] = NOTHING
    collects: bool = False

    @property
    def size(self) -> int:
        """Number of positions that the element takes."""
        return 1

    @property
    def max_tries(self) -> int:
        """How often an experiment is tried whose process or job dies; at least twice: the first death may be chance.

        Attempts of a job are counted apart: `_may_retry` in `orchestrator.machine.decide`.
        """
        return max(2, self.retries + 1)


@value
class PlannedLoop(NamedTuple):
    """Steps that repeat.

    Attributes
    ----------
    path : str
        As for a step.
    n_iterations : int
        Number of iterations; may be 0.
    body : tuple of PlannedStep or PlannedLoop
        The content of one iteration.
    until : PlannedStep or None
        The function that ends the loop early, as a step of kind `"until"`.
    """

    path: str
    n_iterations: int
    body: tuple[PlannedStep | PlannedLoop, ...]
    until: PlannedStep | None = None

    @property
    def iteration_size(self) -> int:
        """Number of positions that one iteration takes."""
        size = sum(element.size for element in self.body)
        return size + 1 if size or self.until is not None else 0

    @property
    def size(self) -> int:
        """Number of positions that the element takes."""
        return self.n_iterations * self.iteration_size


@value
class Slot(NamedTuple):
    """One position of a plan.

    Attributes
    ----------
    position : int
        From 0.
    step : PlannedStep
        The step, or the `until` of a loop, that stands there.
    iteration : str
        `""` outside loops, `"3"`, nested `"3.1"`; from 0.
    loop_end : int or None
        The first position after the innermost loop; None outside loops.
    until : PlannedStep or None
        The `until` of the innermost loop if this is the last step of an iteration: the step's process may call it.
    element : int
        Index of the top-level element that the position belongs to.
    is_used : bool
        False for the slot of an `until` that the loop does not have.
    """

    position: int
    step: PlannedStep
    iteration: str = ""
    loop_end: int | None = None
    until: PlannedStep | None = None
    element: int = 0
    is_used: bool = True

    @property
    def address(self) -> str:
        """The address that a user types: `run@4`, outside loops `run`."""
        return format_address(self.step.name, self.iteration)

    @property
    def until_path(self) -> str | None:
        """Path of the `until` that the step's own job calls at its end; None if a job of its own calls it, or none.

        After a parallel step no task has the whole table.
        """
        return None if self.until is None or self.step.kind is not StepKind.CALL else self.until.path


@value
class Visit(NamedTuple):
    """A step, or the `until` of a loop, during a walk over a plan.

    Attributes
    ----------
    step : PlannedStep
        The step or `until`.
    position : int
        Its position in the first iteration of the loops around it.
    depth : int
        Number of loops around it.
    n_runs : int
        Number of positions at which it stands; 0 in a loop without iterations.
    """

    step: PlannedStep
    position: int
    depth: int
    n_runs: int


@value
class Plan(NamedTuple):
    """The steps and loops of a pipeline, in order.

    Attributes
    ----------
    elements : tuple of PlannedStep or PlannedLoop
        As the user wrote them.
    seed : int or None
        The pipeline's seed; None: seeds depend on the run's key.
    """

    elements: tuple[PlannedStep | PlannedLoop, ...]
    seed: int | None = None

    @property
    def size(self) -> int:
        """Number of positions."""
        return sum(element.size for element in self.elements)

    def slot(self, position: int) -> Slot:
        """Return the slot at a position, in time proportional to the length of the definition.

        Raises
        ------
        IndexError
            If the plan has no such position.
        """
        if not 0 <= position < self.size:
            raise IndexError(f"position {position} of {self.size}")
        start = 0
        for index, element in enumerate(self.elements):
            if position < start + element.size:
                return _slot(element, start, position, "")._replace(element=index)
            start += element.size
        raise AssertionError("unreachable: the sizes add up to the plan's")

    def after(self, position: int, until: bool | None) -> int:
        """Return the position that follows one whose step run has ended.

        Parameters
        ----------
        position : int
            Below the plan's size.
        until : bool or None
            The answer of the loop's `until` there. True leaves the loop. After False from the step's own process the
            slot of `until` is skipped. None: it was not called there. The answer of an `until` that the loop no longer
            has is without effect.
        """
        slot = self.slot(position)
        is_question = slot.step.kind == StepKind.UNTIL
        if slot.until is None and not (is_question and slot.is_used):
            until = None
        if until is True and slot.loop_end is not None:
            return self._from(slot.loop_end)
        skips_until = until is False and not is_question
        return self._from(position + 2 if skips_until else position + 1)

    def before(self, position: int) -> int:
        """Return the last position before one that can have a step run; -1 if there is none."""
        while (position := position - 1) >= 0 and not self.slot(position).is_used:
            pass
        return position

    def _from(self, position: int) -> int:
        while position < self.size and not self.slot(position).is_used:
            position += 1
        return position

    def start_of(self, element: int) -> int:
        """Return the first position of a top-level element; for the index after the last, the size of the plan."""
        return sum(e.size for e in self.elements[:element])

    def walk(self) -> Iterator[Visit]:
        """Yield every step and every `until` once, in order."""
        return _walk(self.elements, start=0, depth=0, n_runs=1)

    def steps(self) -> Iterator[PlannedStep]:
        """Yield every step once, in order, without the `until` of loops."""
        return (visit.step for visit in self.walk() if visit.step.kind != StepKind.UNTIL)

    def first_pass(self) -> Iterator[int]:
        """Yield the position of every step and `until` in the first iteration of its loops, in order."""
        return (visit.position for visit in self.walk() if visit.n_runs)

    def with_step(self, new: PlannedStep) -> Plan:
        """Return the plan with another step at the path of a step."""
        return self._replace(elements=_with_step(self.elements, new))

    def find(self, address: str) -> int | None:
        """Return the position of an address.

        Parameters
        ----------
        address : str
            `name@iteration` is exactly that iteration. A bare name is that step; if the step is in a loop, it is the
            beginning of the loop, as in f3dasm. The first match in the pipeline's order counts.

        Returns
        -------
        int or None
            None if nothing matches.
        """
        name, iteration = parse_address(address)
        if not iteration:
            return self._find_name(name)
        found = _find_exactly(self.elements, name, [int(p) for p in iteration.split(".")], 0)
        return self._find_name(address) if found is None else found

    def existing(self, address: str) -> str:
        """Return which steps or iterations exist, for an error about an address at which nothing is found."""
        name, iteration = parse_address(address)
        names = dict.fromkeys(step.name for step in self.steps())
        if not iteration or name not in names:
            return f"{did_you_mean(name, names)}Its steps are: {', '.join(names)}"
        ranges = dict.fromkeys(_iterations(self.elements, name, 0, ""))
        if not ranges:
            return f"The loop of step {name} has no iterations"
        if not any(ranges):
            return f"Step {name} is not in a loop: name it without an iteration"
        return f"The iterations of step {name} are: {', '.join(filter(None, ranges))}"

    def position_of(self, path: str, iteration: str) -> int | None:
        """Return the position of a step, or of the `until` of a loop, by its path in the definition and its iteration.

        Returns
        -------
        int or None
            None if there is no such step, or the loops around it have fewer iterations.
        """
        indexes = [int(index) for index in iteration.split(".")] if iteration else []
        return _position_of(self.elements, path, indexes, 0)

    def _find_name(self, name: str) -> int | None:
        start = 0
        for element in self.elements:
            if element.size and any(step.name == name for step in Plan((element,)).steps()):
                return start
            start += element.size
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return {"elements": [_to_json(element) for element in self.elements], "seed": self.seed}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Plan:
        """Return the plan that `to_json` wrote."""
        return cls(tuple(_from_json(value) for value in values["elements"]), values["seed"])


def _slot(element: PlannedStep | PlannedLoop, start: int, position: int, prefix: str) -> Slot:
    if isinstance(element, PlannedStep):
        return Slot(position, element, prefix)
    index = (position - start) // element.iteration_size
    iteration = f"{prefix}.{index}" if prefix else str(index)
    begin = start + index * element.iteration_size
    body_end = begin + element.iteration_size - 1
    end = start + element.size
    if position == body_end:
        question = element.until or PlannedStep(f"{element.path}.{UNTIL}", UNTIL, StepKind.UNTIL)
        return Slot(position, question, iteration, end, is_used=element.until is not None)
    for inner in element.body:
        if position < begin + inner.size:
            found = _slot(inner, begin, position, iteration)
            if isinstance(inner, PlannedLoop):
                return found
            return found._replace(loop_end=end, until=element.until if begin + 1 == body_end else None)
        begin += inner.size
    raise AssertionError("unreachable: the sizes add up to the iteration's")


def _walk(elements: tuple[PlannedStep | PlannedLoop, ...], start: int, depth: int, n_runs: int) -> Iterator[Visit]:
    for element in elements:
        if isinstance(element, PlannedStep):
            yield Visit(element, start, depth, n_runs)
        else:
            n_inside = n_runs * element.n_iterations
            yield from _walk(element.body, start, depth + 1, n_inside)
            if element.until is not None:
                yield Visit(element.until, start + element.iteration_size - 1, depth + 1, n_inside)
        start += element.size


def _find_exactly(
    elements: tuple[PlannedStep | PlannedLoop, ...], name: str, iteration: list[int], start: int
) -> int | None:
    for element in elements:
        if isinstance(element, PlannedStep):
            if not iteration and element.name == name:
                return start
        elif iteration and iteration[0] < element.n_iterations:
            begin = start + iteration[0] * element.iteration_size
            found = _find_exactly(element.body, name, iteration[1:], begin)
            if found is not None:
                return found
            if element.until is not None and name == element.until.name and len(iteration) == 1:
                return begin + element.iteration_size - 1
        start += element.size
    return None


def _iterations(elements: tuple[PlannedStep | PlannedLoop, ...], name: str, depth: int, last: str) -> Iterator[str]:
    """Yield the first and last iteration of each step of this name, such as `0 to 3`; empty for one in no loop."""
    for element in elements:
        if isinstance(element, PlannedLoop):
            inner = f"{last}.{element.n_iterations - 1}".lstrip(".")
            yield from _iterations(element.body if element.size else (), name, depth + 1, inner)
        elif element.name == name:
            first = ".".join("0" * depth)
            yield first if first == last else f"{first} to {last}"


def _position_of(
    elements: tuple[PlannedStep | PlannedLoop, ...], path: str, iteration: list[int], start: int
) -> int | None:
    for element in elements:
        if isinstance(element, PlannedStep):
            if element.path == path and not iteration:
                return start
        elif path.startswith(f"{element.path}.") and iteration and iteration[0] < element.n_iterations:
            begin = start + iteration[0] * element.iteration_size
            if path == f"{element.path}.{UNTIL}" and len(iteration) == 1:
                return begin + element.iteration_size - 1
            return _position_of(element.body, path, iteration[1:], begin)
        start += element.size
    return None


def _to_json(element: PlannedStep | PlannedLoop) -> dict[str, Any]:
    if isinstance(element, PlannedStep):
        return element._asdict()
    return {
        "path": element.path,
        "n_iterations": element.n_iterations,
        "body": [_to_json(inner) for inner in element.body],
        "until": None if element.until is None else _to_json(element.until),
    }


def _from_json(value: dict[str, Any]) -> PlannedStep | PlannedLoop:
    if "body" not in value:
        return _step_from_json(value)
    until = value["until"]
    return PlannedLoop(
        path=value["path"],
        n_iterations=value["n_iterations"],
        body=tuple(_from_json(inner) for inner in value["body"]),
        until=None if until is None else _step_from_json(until),
    )


def _step_from_json(value: dict[str, Any]) -> PlannedStep:
    kinds = {"kind": StepKind(value["kind"]), "dependency": Dependency(value["dependency"])}
    return PlannedStep(**{**value, **kinds})


def _with_step(
    elements: tuple[PlannedStep | PlannedLoop, ...], new: PlannedStep
) -> tuple[PlannedStep | PlannedLoop, ...]:
    return tuple(
        element._replace(body=_with_step(element.body, new))
        if isinstance(element, PlannedLoop)
        else new
        if element.path == new.path
        else element
        for element in elements
    )
