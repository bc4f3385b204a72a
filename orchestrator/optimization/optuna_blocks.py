"""Optuna's samplers as blocks. Each call tells a new sampler all results of the table, and asks it for experiments."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from inspect import signature
from typing import TYPE_CHECKING, Any

from orchestrator.data.job_status import JobStatus
from orchestrator.data.of_f3dasm import is_of_f3dasm, our_table, their_table
from orchestrator.definition.block import Block
from orchestrator.errors import DefinitionError
from orchestrator.optimization.checks import check_output, refuse_options

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study

    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["TreeParzen", "tpesampler"]

_USUAL_OPTIONS = frozenset(["n_startup_trials", "n_ei_candidates", "multivariate", "group", "constant_liar", "gamma"])
"""Options that are known without the import of Optuna, which takes time; every process that imports a study pays it."""


class TreeParzen(Block):
    """Propose experiments with Optuna's tree-structured Parzen estimator (TPE); `tpesampler` creates it.

    Finished experiments are its results. Open ones are taken into account as experiments that run. Failed ones, and
    those whose output is missing, are not results.

    Parameters
    ----------
    output_name : str, default "y"
        Name of the output to minimize.
    n_samples : int, default 1
        Number of experiments that a call proposes.
    seed : int, optional
        The same seed and the same table give the same experiments. Without one, it is the seed of the step, which
        is the same when a run is resumed; outside of a pipeline they differ each time.
    **options : Any
        Options of `optuna.samplers.TPESampler`, such as `n_startup_trials`.
    """

    step_seed: int | None = None

    def __init__(self, output_name: str = "y", n_samples: int = 1, seed: int | None = None, **options: Any) -> None:
        if isinstance(n_samples, bool) or not isinstance(n_samples, int) or n_samples < 1:
            raise DefinitionError(f"n_samples={n_samples!r} is not valid.", "Use an integer, 1 or more.")
        self.output_name, self.n_samples, self.seed, self.options = output_name, n_samples, seed, options

    def call(self, data: ExperimentData, n_samples: int | None = None, **kwargs: Any) -> ExperimentData:
        """Add the proposed experiments.

        Parameters
        ----------
        data : ExperimentData
            The table; it is not changed.
        n_samples : int, optional
            Replaces the number of experiments of the optimizer.
        **kwargs : Any
            Ignored. Other blocks of a chain may use them.

        Returns
        -------
        ExperimentData
            A copy with the new experiments, which are open.

        Raises
        ------
        DefinitionError
            If an input of the domain can't be optimized, or there are outputs, but not the one to minimize.
        """
        from orchestrator.data.experiment_sample import ExperimentSample

        if is_of_f3dasm(data, "ExperimentData"):
            return their_table(self.call(our_table(data), n_samples, **kwargs))  # type: ignore[no-any-return]
        space = _space(data)
        check_output(data, self.output_name)
        result = data.copy()
        n = self.n_samples if n_samples is None else n_samples
        with _quiet():
            study = self._study(data, space, n)
            for _ in range(n):
                params = study.ask(dict(space.distributions)).params
                result.add_experiments(ExperimentSample(space.inputs(params), project_dir=data.project_dir), True)
        return result

    def _study(self, data: ExperimentData, space: _Space, n: int) -> Study:
        import optuna

        statuses = data.statuses()
        has_pending = JobStatus.OPEN in statuses or JobStatus.IN_PROGRESS in statuses
        options = {"constant_liar": has_pending or n > 1, **self.options}
        sampler = optuna.samplers.TPESampler(seed=self._seed_for(len(data)), **options)
        study = optuna.create_study(sampler=sampler)
        inputs, outputs = data.input_rows(), data.output_rows()
        for position, status in enumerate(statuses):
            params = space.params(inputs(position))
            if params is not None:
                value = outputs(position).get(self.output_name)
                study.add_trial(_trial(params, space.distributions, status, value))
        return study

    def _seed_for(self, n_rows: int) -> int | None:
        seed = self.step_seed if self.seed is None else self.seed
        if seed is None:
            return None
        import numpy as np

        # Of its own for each call: a sampler with the same seed would begin with the same numbers each time.
        return int(np.random.SeedSequence([seed, n_rows]).generate_state(1)[0])


class _Space:
    """The inputs of a domain as Optuna has them: one parameter for each element of an array, none for a constant."""

    def __init__(self) -> None:
        self.distributions: dict[str, BaseDistribution] = {}
        self._constants: dict[str, Any] = {}
        self._arrays: dict[str, tuple[list[str], Sequence[int]]] = {}
        self._names: list[str] = []

    def add(self, name: str, parameter: Any) -> None:
        from orchestrator.data.parameters import ArrayParameter, ConstantParameter

        self._names.append(name)
        if isinstance(parameter, ConstantParameter):
            self._constants[name] = parameter.value
        elif isinstance(parameter, ArrayParameter):
            bounds = _element_bounds(parameter)
            elements = [f"{name}[{at}]" for at in range(len(bounds))]
            self._arrays[name] = (elements, parameter.shape)
            for element, (low, high) in zip(elements, bounds, strict=True):
                self.distributions[element] = _float(name, low, high, False)
        else:
            self.distributions[name] = _distribution(name, parameter)

    def inputs(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs of an experiment."""
        return {name: self._input(name, params) for name in self._names}

    def _input(self, name: str, params: Mapping[str, Any]) -> Any:
        if name in self._constants:
            return self._constants[name]
        if name not in self._arrays:
            return params[name]
        import numpy as np

        elements, shape = self._arrays[name]
        return np.array([params[element] for element in elements]).reshape(shape)

    def params(self, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the parameters of an experiment; None if an input is missing, or is not in the domain."""
        found: dict[str, Any] = {}
        for name, (elements, _) in self._arrays.items():
            import numpy as np

            values = np.asarray(inputs.get(name, ()), dtype=float).ravel().tolist()
            if len(values) != len(elements):
                return None
            found.update(zip(elements, values, strict=True))
        found |= {name: inputs.get(name) for name in self.distributions if name not in found}
        is_inside = all(_contains(each, found[name]) for name, each in self.distributions.items())
        return found if is_inside else None


def _space(data: ExperimentData) -> _Space:
    space = _Space()
    for name, parameter in data.domain.input_space.items():
        space.add(name, parameter)
    if not space.distributions:
        raise DefinitionError(
            "The domain has no input to optimize.", "Add one: domain.add_float('x', low=..., high=...)"
        )
    return space


def _distribution(name: str, parameter: Any) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    from orchestrator.data.parameters import CategoricalParameter, ContinuousParameter, DiscreteParameter

    if isinstance(parameter, ContinuousParameter):
        return _float(name, parameter.lower_bound, parameter.upper_bound, parameter.log)
    if isinstance(parameter, DiscreteParameter):
        low, step = parameter.lower_bound, parameter.step
        return IntDistribution(low, low + (parameter.upper_bound - low) // step * step, step=step)
    if isinstance(parameter, CategoricalParameter):
        return CategoricalDistribution(parameter.categories)
    raise DefinitionError(
        f"input {name!r} of type {parameter.type_name!r} can't be optimized.",
        "Use float, int, category, constant or array inputs.",
    )


def _float(name: str, low: float, high: float, log: bool) -> BaseDistribution:
    from optuna.distributions import FloatDistribution

    if not high - low < float("inf"):
        raise DefinitionError(
            f"input {name!r} can't be optimized: its range is infinite.",
            f"Set its bounds: domain.add_float({name!r}, low=..., high=...)",
        )
    return FloatDistribution(low, high, log=log)


def _element_bounds(parameter: Any) -> list[tuple[float, float]]:
    import numpy as np

    low, high = (
        np.broadcast_to(np.asarray(bound, dtype=float), parameter.shape).ravel().tolist()
        for bound in (parameter.lower_bound, parameter.upper_bound)
    )
    return list(zip(low, high, strict=True))


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (TypeError, ValueError):
        return False


def _trial(params: dict[str, Any], distributions: dict[str, BaseDistribution], status: JobStatus, value: Any) -> Any:
    from optuna.trial import TrialState, create_trial

    from orchestrator.data.values import is_missing

    if status in (JobStatus.OPEN, JobStatus.IN_PROGRESS):
        return create_trial(state=TrialState.RUNNING, params=params, distributions=distributions)
    if status is JobStatus.ERROR or is_missing(value):
        return create_trial(state=TrialState.FAIL, params=params, distributions=distributions)
    return create_trial(value=float(value), params=params, distributions=distributions)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out Optuna's messages about each study and each experimental option."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def tpesampler(output_name: str = "y", n_samples: int = 1, seed: int | None = None, **options: Any) -> TreeParzen:
    """Create a `TreeParzen`.

    Raises
    ------
    DefinitionError
        If Optuna is not installed, `n_samples` is not positive, or an option does not exist.
    """
    if find_spec("optuna") is None:
        raise DefinitionError(
            "The optimizer 'tpesampler' needs Optuna, which is not installed.",
            "Install it: pip install 'slurm-orchestrator[optuna]'",
        )
    if not _USUAL_OPTIONS.issuperset(options):
        from optuna.samplers import TPESampler

        unknown = [name for name in options if name not in signature(TPESampler).parameters]
        refuse_options("tpesampler", unknown, ("output_name", "n_samples", "seed"))
    return TreeParzen(output_name, n_samples, seed, **options)
