"""SciPy's minimizers as blocks that propose experiments.

A minimizer is run again from its start in each call, on the results that the table has. Where it needs one that is
missing, it stops, and this point is proposed. So nothing is kept but the table and the start, which its domain notes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.data.job_status import JobStatus
from orchestrator.data.of_f3dasm import is_of_f3dasm, our_table, their_table
from orchestrator.data.values import from_jsonable, to_jsonable
from orchestrator.definition.block import Block
from orchestrator.definition.data_generators import DataGenerator, FunctionDataGenerator, evaluate
from orchestrator.definition.f3dasm_blocks import our_step_block
from orchestrator.errors import DataError, DefinitionError
from orchestrator.optimization.checks import check_output, refuse_options
from orchestrator.optimization.vectors import Inputs, domain_bounds, optimized_names

if TYPE_CHECKING:
    import numpy as np

    from orchestrator.data.experiment_data import ExperimentData

__all__ = ["Minimizer", "cg", "lbfgsb", "nelder_mead"]

_WITH_BOUNDS = ("L-BFGS-B", "Nelder-Mead")
_WITHOUT_GRADIENT = ("Nelder-Mead",)

_USUAL_OPTIONS = {
    "CG": {"disp", "eps", "gtol", "maxiter", "norm"},
    "L-BFGS-B": {"disp", "eps", "ftol", "gtol", "maxcor", "maxfun", "maxiter", "maxls"},
    "Nelder-Mead": {"adaptive", "disp", "fatol", "initial_simplex", "maxfev", "maxiter", "xatol"},
}
"""Options that are known without the import of SciPy, which takes time; every process that imports a study pays it."""

_OWN_OPTIONS = ("data_generator", "output_name", "input_name", "bounds", "grad_f")


class Minimizer(Block):
    """Propose the experiments that a method of `scipy.optimize.minimize` evaluates; `cg` and others create it.

    The start is the last experiment of the table in the first call. A gradient is made of one more experiment for each
    input, which are proposed together; so are the corners of the first simplex. When the method has ended, nothing is
    proposed.

    With a `data_generator`, one call evaluates all experiments itself, in this process, and adds one finished
    experiment for each iteration, as in f3dasm. It starts from the last experiment of the table.

    Parameters
    ----------
    method : {"CG", "L-BFGS-B", "Nelder-Mead"}
        Name of the method in SciPy.
    data_generator : DataGenerator, optional
        What evaluates an experiment; by default the steps after this one do.
    output_name : str, default "y"
        Name of the output to minimize.
    input_name : str or sequence of str, optional
        Name of an input that is an array, or names of float inputs. By default all arrays and floats of the domain.
        Other inputs keep the value that they have in the start.
    bounds : scipy.optimize.Bounds or sequence of (low, high), optional
        The bounds. By default those of the domain for "L-BFGS-B" and "Nelder-Mead"; none with a `data_generator`.
    grad_f : callable, optional
        ``grad_f(x)`` returns the gradient, which then needs no experiments.
    **hyperparameters : Any
        Options of the method, such as `maxiter`.
    """

    def __init__(
        self,
        method: str,
        data_generator: DataGenerator | None = None,
        output_name: str = "y",
        input_name: str | Sequence[str] | None = None,
        bounds: Any = None,
        grad_f: Callable[..., Any] | None = None,
        **hyperparameters: Any,
    ) -> None:
        data_generator = our_step_block(data_generator)
        if data_generator is not None and not isinstance(data_generator, DataGenerator):
            raise DefinitionError(
                f"data_generator must be a DataGenerator, not {type(data_generator).__name__}.",
                "Use @datagenerator(output_names=...) on the function.",
            )
        _check_options(method, hyperparameters)
        self.method, self.data_generator = method, data_generator
        self.output_name, self.input_name = output_name, input_name
        self.bounds, self.grad_f, self.hyperparameters = bounds, grad_f, hyperparameters

    def call(self, data: ExperimentData, **kwargs: Any) -> ExperimentData:
        """Add the experiments whose results the method needs next.

        Parameters
        ----------
        data : ExperimentData
            The table, with at least one experiment; it is not changed.
        **kwargs : Any
            Ignored. Other blocks of a chain may use them.

        Returns
        -------
        ExperimentData
            A copy with the new experiments: open ones, or finished ones with a `data_generator`.

        Raises
        ------
        DefinitionError
            If the table has no experiment to start from, an input can't be optimized, or there are outputs, but not the
            one to minimize.
        DataError
            If an experiment that the gradient needs has failed.
        """
        from orchestrator.data.experiment_sample import ExperimentSample

        if is_of_f3dasm(data, "ExperimentData"):
            return their_table(self.call(our_table(data), **kwargs))  # type: ignore[no-any-return]
        result = data.copy()
        if self.data_generator is not None:
            self._minimize_here(result)
            return result
        check_output(data, self.output_name)
        inputs, start = self._inputs_and_start(result)
        known = self._known(result, inputs)
        for point in self._needed(result, inputs, start, known):
            if inputs.key(point) not in known:
                result.add_experiments(ExperimentSample(inputs.sample(point), project_dir=data.project_dir), True)
        return result

    def has_converged(self, data: ExperimentData) -> bool:
        """Whether the method has ended: it needs no other experiment. For the `until` of a loop.

        Parameters
        ----------
        data : ExperimentData
            The table.

        Returns
        -------
        bool
            False also while an experiment that it needs is open.
        """
        inputs, start = self._inputs_and_start(data)
        return not self._needed(data, inputs, start, self._known(data, inputs))

    def _inputs_and_start(self, data: ExperimentData) -> tuple[Inputs, np.ndarray]:
        """Return what is optimized, and where the method starts, which is noted in the domain of the table."""
        names = optimized_names(data, self.input_name)
        note = " ".join(["start of", self.method, self.output_name, *names])
        if note not in data.domain.notes:
            data.domain.notes[note] = to_jsonable(self._last_row(data))
        start = from_jsonable(data.domain.notes[note])
        inputs = Inputs.of(names, start)
        return inputs, inputs.vector(start)

    def _last_row(self, data: ExperimentData) -> dict[str, Any]:
        if not len(data):
            raise DefinitionError(
                f"{self.method} needs an experiment to start from, but the table is empty.",
                "Add one in a step before: its inputs are the start.",
            )
        return data.input_rows()(len(data) - 1)

    def _known(self, data: ExperimentData, inputs: Inputs) -> dict[bytes, float | None]:
        """Return the value of each point that the table has: None if it is not yet known, NaN if it has failed.

        If a point is there twice, a value counts more than an open experiment, and that more than a failed one.
        """
        known: dict[bytes, float | None] = {}
        values, results = data.input_rows(), data.output_rows()
        for position, status in enumerate(data.statuses()):
            vector = inputs.vector_or_none(values(position))
            if vector is None:
                continue
            value = None
            if status is JobStatus.ERROR:
                value = float("nan")
            elif status is JobStatus.FINISHED:
                value = float(results(position).get(self.output_name, "nan"))
            key = inputs.key(vector)
            known[key] = max(known.get(key, value), value, key=_how_known)
        return known

    def _needed(
        self, data: ExperimentData, inputs: Inputs, start: np.ndarray, known: Mapping[bytes, float | None]
    ) -> Sequence[np.ndarray]:
        """Return the points at which the method needs a result that is missing; none if it has ended."""
        import numpy as np

        bounds = self._bounds(domain_bounds(data, inputs))
        has_gradient = self.method not in _WITHOUT_GRADIENT
        low, high = np.array(_pairs(bounds, len(start)), dtype=float).T
        start = np.clip(start, low, high)

        def values(points: Sequence[np.ndarray]) -> list[float]:
            found = [known.get(inputs.key(point)) for point in points]
            if any(value is None for value in found):
                raise _Needs([point for point, value in zip(points, found, strict=True) if value is None])
            return [self._checked(value, point, has_gradient) for value, point in zip(found, points, strict=True)]

        def function(x: np.ndarray) -> float:
            # L-BFGS-B needs the gradient at each point, too: what it is made of is proposed at once.
            return values(around(x) if self.method == "L-BFGS-B" and self.grad_f is None else [x])[0]

        def around(x: np.ndarray) -> list[np.ndarray]:
            steps = np.diag(_difference_steps(x, low, high))
            return [x.copy(), *(x + step for step in steps)]

        def gradient(x: np.ndarray) -> Any:
            if self.grad_f is not None:
                return self.grad_f(inputs.argument(x))
            base, *others = values(around(x))
            return (np.array(others) - base) / _difference_steps(x, low, high)

        options = dict(self.hyperparameters)
        try:
            if not has_gradient:
                options.setdefault("initial_simplex", _simplex(start, low, high))
                values(list(np.asarray(options["initial_simplex"])))
            self._minimize(function, start, gradient if has_gradient else None, bounds, options)
        except _Needs as needs:
            return needs.points
        return []

    def _checked(self, value: float | None, point: np.ndarray, has_gradient: bool) -> float:
        """Return a value; if it is missing, infinity for the method without a gradient, and an error for the others."""
        if value is not None and value == value:
            return value
        if has_gradient:
            raise DataError(
                f"{self.method} needs the output {self.output_name!r} at {point.tolist()}, where it is missing: the "
                "experiment has failed, or has no value.",
                "Evaluate it again, or use 'nelder_mead', which avoids such points.",
            )
        return float("inf")

    def _bounds(self, of_domain: Sequence[tuple[float, float]]) -> Any:
        if self.bounds is not None:
            return self.bounds
        return list(of_domain) if self.method in _WITH_BOUNDS else None

    def _minimize(self, function: Any, start: Any, gradient: Any, bounds: Any, options: Any, **more: Any) -> None:
        from scipy.optimize import minimize

        method: Any = self.method
        minimize(function, start, method=method, jac=gradient, bounds=bounds, options=options, **more)

    def _minimize_here(self, data: ExperimentData) -> None:
        """Run the method to its end, and add a finished experiment for each of its iterations."""
        from orchestrator.data.experiment_sample import ExperimentSample

        last = self._last_row(data)
        inputs = Inputs.of(optimized_names(data, self.input_name), last)

        def function(x: np.ndarray) -> float:
            return self._evaluate(inputs, x, data)

        def gradient(x: np.ndarray) -> Any:
            return self.grad_f(inputs.argument(x)) if self.grad_f is not None else None

        def note(intermediate_result: Any) -> None:
            sample = ExperimentSample(inputs.sample(intermediate_result.x), project_dir=data.project_dir)
            sample.store(self.output_name, float(intermediate_result.fun))
            sample.mark("finished")
            data.add_experiments(sample, True)

        jac = None if self.grad_f is None else gradient
        self._minimize(function, inputs.vector(last), jac, self.bounds, dict(self.hyperparameters), callback=note)

    def _evaluate(self, inputs: Inputs, x: np.ndarray, data: ExperimentData) -> float:
        from orchestrator.data.experiment_sample import ExperimentSample

        generator = self.data_generator
        assert generator is not None
        if isinstance(generator, FunctionDataGenerator) and not generator.takes(inputs.names):
            return float(generator.f(inputs.argument(x)))  # as in f3dasm, its parameter may have any name
        sample = evaluate(generator, ExperimentSample(inputs.sample(x), project_dir=data.project_dir), {})
        return float(sample.output_data[self.output_name])


def _check_options(method: str, options: Mapping[str, Any]) -> None:
    unusual = [name for name in options if name not in _USUAL_OPTIONS[method]]
    refuse_options(method, [name for name in unusual if not _has_option(method, name)], _OWN_OPTIONS)


def _has_option(method: Any, name: str) -> bool:
    from scipy.optimize import OptimizeWarning, minimize

    def function(x: Any) -> float:
        return 0.0

    options: Any = {name: None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", OptimizeWarning)
        try:
            minimize(function, [0.0], method=method, options=options)
        except OptimizeWarning:  # about an unknown name, before its value is used
            return False
        except (TypeError, ValueError):
            return True
    return True


def _how_known(value: float | None) -> int:
    """Return a larger number for a value than for one that is not yet known, and the smallest one for a failure."""
    if value is None:
        return 1
    return 2 if value == value else 0


class _Needs(Exception):
    """The method needs results that the table does not have."""

    def __init__(self, points: Sequence[np.ndarray]) -> None:
        super().__init__()
        self.points = points


def _pairs(bounds: Any, n: int) -> list[tuple[float, float]]:
    import numpy as np

    if bounds is None:
        return [(-np.inf, np.inf)] * n
    if hasattr(bounds, "lb"):
        low, high = np.broadcast_to(bounds.lb, n), np.broadcast_to(bounds.ub, n)
        return list(zip(low.tolist(), high.tolist(), strict=True))
    return [(-np.inf if low is None else low, np.inf if high is None else high) for low, high in bounds]


def _difference_steps(x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the step of a forward difference for each input; backward where the upper bound is near."""
    import numpy as np

    steps = np.sqrt(np.finfo(float).eps) * np.maximum(1.0, np.abs(x)) * np.where(x < 0, -1.0, 1.0)
    steps = np.where((x + steps > high) | (x + steps < low), -steps, steps)
    return np.asarray((x + steps) - x)  # the difference that floats really have


def _simplex(start: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the first simplex of Nelder-Mead: the start, and a point for each input that differs by 5 percent."""
    import numpy as np

    corners = np.tile(start, (len(start) + 1, 1))
    for at, value in enumerate(start):
        step = 0.05 * value if value else 0.00025
        inside = low[at] <= value + step <= high[at]
        corners[at + 1, at] = np.clip(value + step if inside else value - step, low[at], high[at])
    return corners


def cg(
    data_generator: DataGenerator | None = None,
    output_name: str = "y",
    input_name: str | Sequence[str] | None = None,
    bounds: Any = None,
    grad_f: Callable[..., Any] | None = None,
    **hyperparameters: Any,
) -> Minimizer:
    """Create a `Minimizer` with the nonlinear conjugate gradients of Polak and Ribiere."""
    return Minimizer("CG", data_generator, output_name, input_name, bounds, grad_f, **hyperparameters)


def lbfgsb(
    data_generator: DataGenerator | None = None,
    output_name: str = "y",
    input_name: str | Sequence[str] | None = None,
    bounds: Any = None,
    grad_f: Callable[..., Any] | None = None,
    **hyperparameters: Any,
) -> Minimizer:
    """Create a `Minimizer` with L-BFGS-B, a quasi-Newton method with bounds."""
    return Minimizer("L-BFGS-B", data_generator, output_name, input_name, bounds, grad_f, **hyperparameters)


def nelder_mead(
    data_generator: DataGenerator | None = None,
    output_name: str = "y",
    input_name: str | Sequence[str] | None = None,
    bounds: Any = None,
    grad_f: Callable[..., Any] | None = None,
    **hyperparameters: Any,
) -> Minimizer:
    """Create a `Minimizer` with the downhill simplex of Nelder and Mead, which uses no gradient."""
    return Minimizer("Nelder-Mead", data_generator, output_name, input_name, bounds, grad_f, **hyperparameters)
