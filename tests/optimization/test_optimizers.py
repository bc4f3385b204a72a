"""Optimizers: what they propose, from which results, and that they need nothing but the table."""

from __future__ import annotations

import sys
import warnings
from importlib.util import find_spec

import numpy as np
import pytest
from omegaconf import OmegaConf
from scipy.optimize import minimize

from orchestrator import (
    Block,
    Domain,
    ExperimentData,
    ExperimentSample,
    create_datagenerator,
    create_optimizer,
    datagenerator,
)
from orchestrator.errors import DataError, DefinitionError
from orchestrator.optimization import cg, lbfgsb, nelder_mead, tpesampler

pytestmark = pytest.mark.slow

METHODS = {"cg": "CG", "lbfgsb": "L-BFGS-B", "nelder_mead": "Nelder-Mead"}


@datagenerator(output_names="y")
def valley(x, z):
    return (x - 1) ** 2 + 10 * (z + 0.5) ** 2 + (x * z) ** 2


sphere = create_datagenerator("sphere")


def start(**inputs):
    """Return a table with an experiment whose inputs are floats or arrays of floats from -2 to 2."""
    domain = Domain()
    for name, value in inputs.items():
        if np.ndim(value):
            domain.add_array(name, np.shape(value), -2.0, 2.0)
        elif isinstance(value, float):
            domain.add_float(name, -2.0, 2.0)
        else:
            domain.add_category(name, ["a", "b"])
    domain.add_output("y")
    return ExperimentData(domain=domain, input_data=[inputs])


def search(optimizer, generator, data, rounds=500):
    """Evaluate and propose until the method has ended."""
    for _ in range(rounds):
        data = generator.call(data)
        if optimizer.has_converged(data):
            return data
        data = optimizer.call(data)
    raise AssertionError("it does not end")


def best(data, name="y"):
    return data.get_n_best_output(1, name).to_pandas()[1][name].iloc[0]


# --- SciPy ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_a_minimizer_proposes_the_points_that_scipy_evaluates(name):
    optimizer = create_optimizer(name, output_name="y")
    data = search(optimizer, valley, start(x=-1.5, z=1.0))
    bounds = None if name == "cg" else [(-2, 2), (-2, 2)]
    expected = minimize(lambda v: valley(*v), [-1.5, 1.0], method=METHODS[name], bounds=bounds)
    assert best(data) == pytest.approx(expected.fun, rel=1e-9)
    assert len(data) == expected.nfev
    assert data.is_all_finished()


@pytest.mark.parametrize("name", METHODS)
def test_a_minimizer_takes_an_array_and_leaves_other_inputs_as_they_are(name):
    @datagenerator(output_names="y")
    def shifted(x, kind):
        return float(np.sum((x - 0.5) ** 2)) + (kind == "b")

    optimizer = create_optimizer(name, input_name="x")
    data = search(optimizer, shifted, start(kind="b", x=np.array([[1.0, -1.0], [0.25, 0.0]])))
    assert best(data) == pytest.approx(1.0, abs=1e-6)
    inputs = data.to_pandas()[0]
    assert set(inputs["kind"]) == {"b"}
    assert {np.shape(x) for x in inputs["x"]} == {(2, 2)}


def test_what_a_gradient_needs_is_proposed_at_once():
    data = valley.call(start(x=-1.5, z=1.0))
    assert len(lbfgsb().call(data)) == 3
    assert len(cg().call(data)) == 3
    assert len(nelder_mead().call(data)) == 3
    data = start(x=np.ones(5))
    assert len(nelder_mead().call(sphere.call(data))) == 6


def test_open_experiments_are_not_proposed_again():
    optimizer = lbfgsb()
    once = optimizer.call(start(x=-1.5, z=1.0))
    assert optimizer.call(once) == once
    assert not optimizer.has_converged(once)


def test_a_gradient_function_needs_no_experiments():
    optimizer = lbfgsb(grad_f=lambda x: 2 * x)
    data = search(optimizer, sphere, start(x=np.array([1.0, -0.5])))
    assert len(data) < 6
    assert best(data) == pytest.approx(0.0, abs=1e-9)


def test_proposals_are_inside_the_bounds_of_the_domain():
    @datagenerator(output_names="y")
    def falls(x, z):
        return -x - z

    for optimizer in (lbfgsb(), nelder_mead(maxiter=60)):
        inputs = search(optimizer, falls, start(x=1.9, z=2.0)).to_pandas()[0]
        assert inputs.max().max() == 2.0
        assert inputs.min().min() >= -2.0


def test_a_search_continues_from_a_stored_table_as_if_nothing_had_happened(tmp_path):
    optimizer, undisturbed = nelder_mead(maxiter=30), start(x=-1.5, z=1.0)
    undisturbed = search(optimizer, valley, undisturbed)
    data = start(x=-1.5, z=1.0)
    for _ in range(200):
        data.store(tmp_path)
        data = ExperimentData.from_file(tmp_path)
        data = nelder_mead(maxiter=30).call(valley.call(data))
        if data.is_all_finished():
            break
    assert data.to_pandas()[0].equals(undisturbed.to_pandas()[0])


def test_of_two_experiments_at_a_point_the_value_counts_and_not_the_failure():
    """A user adds a failed experiment again: a gradient finds the new result."""
    data = start(x=0.4, z=1.0)
    data.mark(0, "error")
    data += valley.call(start(x=0.4, z=1.0))
    assert best(search(cg(), valley, data)) < best(data)


def test_a_failed_experiment_is_avoided_by_nelder_mead_and_an_error_for_a_gradient(golden):
    @datagenerator(output_names="y")
    def fails(x, z):
        if x > 0.5:
            raise ValueError("the mesh is distorted")
        return (x - 1) ** 2 + z**2

    data = search(nelder_mead(), fails, start(x=0.4, z=1.0))
    assert best(data) == pytest.approx(0.25, abs=1e-3)
    assert "ERROR" in {status.name for status in data.statuses()}
    with golden.raises(DataError):
        search(lbfgsb(), fails, start(x=0.4, z=1.0))


def test_as_in_f3dasm_one_call_evaluates_all_with_a_data_generator():
    optimizer = cg(data_generator=sphere, output_name="y", input_name="x", maxiter=20)
    data = optimizer.call(sphere.call(start(x=np.array([1.0, -0.5]))))
    assert data.is_all_finished()
    assert best(data) == pytest.approx(0.0, abs=1e-9)

    @datagenerator(output_names="y")
    def with_another_name(v):
        return float(np.sum(v**2))

    again = lbfgsb(with_another_name, "y", "x", grad_f=lambda x: 2 * x).call(start(x=np.array([1.0, -0.5])))
    assert best(again) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(
    ("optimizer", "data"),
    [
        (nelder_mead(), ExperimentData(domain=start(x=1.0).domain)),
        (nelder_mead(input_name="w"), start(x=1.0)),
        (cg(), start(kind="a")),
        (cg(input_name="kind"), start(kind="a")),
    ],
    ids=["an empty table", "an unknown input", "no float", "text"],
)
def test_a_minimizer_says_what_it_needs(optimizer, data, golden):
    with golden.raises(DefinitionError):
        optimizer.call(data)


# --- Optuna ---------------------------------------------------------------------------------------


NEEDS_OPTUNA = pytest.mark.skipif(find_spec("optuna") is None, reason="Optuna is not installed; scripts/test does it")


def mixed():
    domain = Domain()
    domain.add_float("x", 0.001, 10.0, log=True)
    domain.add_int("n", 1, 10, step=3)
    domain.add_category("kind", ["a", None, 3])
    domain.add_constant("c", "steel")
    domain.add_array("v", 2, -1.0, 1.0)
    domain.add_output("y")
    return domain


@datagenerator(output_names="y")
def cost(x, n, kind, c, v):
    return abs(np.log(x)) + (n - 4) ** 2 + (kind is not None) + float(np.sum(v**2)) + (c != "steel")


@NEEDS_OPTUNA
def test_the_sampler_of_optuna_learns_from_the_results():
    optimizer = create_optimizer("tpesampler", output_name="y", seed=1)
    data = (optimizer >> cost).loop(60).call(ExperimentData(domain=mixed()))
    assert len(data) == 60
    values = data.to_pandas()[1]["y"]
    assert values[30:].mean() < values[:10].mean() / 2
    inputs = data.to_pandas()[0]
    assert set(inputs["n"]) <= {1, 4, 7, 10}
    assert set(inputs["kind"]) <= {"a", None, 3}
    assert set(inputs["c"]) == {"steel"}
    assert all(np.shape(v) == (2,) for v in inputs["v"])


@NEEDS_OPTUNA
def test_the_same_table_and_seed_give_the_same_proposals_and_another_table_others():
    data = (tpesampler(seed=3) >> cost).loop(12).call(ExperimentData(domain=mixed()))
    one, same = tpesampler(seed=3).call(data, n_samples=4), tpesampler(seed=3, n_samples=4).call(data)
    assert one == same
    assert len(one) == 16
    assert len({str(row) for row in map(one.input_rows(), range(16))}) == 16
    assert tpesampler(seed=4).call(data, n_samples=4) != one
    assert tpesampler().call(data) != tpesampler().call(data)


@NEEDS_OPTUNA
def test_failed_missing_and_foreign_experiments_are_no_results():
    data = (tpesampler(seed=3) >> cost).loop(12).call(ExperimentData(domain=mixed()))
    data.mark([0, 1], "error", in_place=True)
    data.add_experiments(ExperimentSample({"x": 1e6, "n": 4, "v": np.zeros(2)}, {"y": 0.0}), True)
    data.add_experiments(ExperimentSample({"n": 4}, job_status="finished"), True)
    added = tpesampler(seed=3).call(data, n_samples=2).to_pandas()[0].iloc[-2:]
    assert len(added) == 2
    assert added["x"].max() <= 10.0


@NEEDS_OPTUNA
def test_the_sampler_of_optuna_prints_nothing(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tpesampler(n_samples=3).call(ExperimentData(domain=mixed()))
    assert capsys.readouterr() == ("", "")


@NEEDS_OPTUNA
@pytest.mark.parametrize("kind", ["no bounds", "an object", "nothing"])
def test_an_input_that_cannot_be_sampled_is_refused(kind, golden):
    domain = Domain()
    if kind == "no bounds":
        domain.add_float("x")
    elif kind == "an object":
        domain.add_parameter("x")
    with golden.raises(DefinitionError):
        tpesampler().call(ExperimentData(domain=domain))


def test_without_optuna_the_install_line_is_printed(monkeypatch, golden):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr("orchestrator.optimization.optuna_blocks.find_spec", lambda name: None)
    with golden.raises(DefinitionError):
        create_optimizer("tpesampler", output_name="y")


# --- names ----------------------------------------------------------------------------------------


@NEEDS_OPTUNA
@pytest.mark.parametrize("name", ["tpesampler", "TPE Sampler", "cg", "L-BFGS-B", "nelder_mead", "NelderMead"])
def test_an_optimizer_is_created_by_the_names_of_f3dasm(name):
    optimizer = create_optimizer(name, output_name="y")
    assert isinstance(optimizer, Block)
    assert create_optimizer(optimizer) is optimizer


def test_hydra_instantiates_an_optimizer():
    config = OmegaConf.create({"_target_": "orchestrator.optimization.nelder_mead", "output_name": "w"})
    optimizer = create_optimizer(config, maxiter=3)
    assert (optimizer.method, optimizer.output_name, optimizer.hyperparameters) == ("Nelder-Mead", "w", {"maxiter": 3})


@NEEDS_OPTUNA
def test_wrong_arguments_are_refused(golden):
    with golden.raises(DefinitionError):
        create_optimizer("gradient_descent")
    with golden.raises(DefinitionError):
        create_optimizer("cg", data_generator=len)
    with golden.raises(DefinitionError):
        create_optimizer("tpesampler", n_samples=0)


@pytest.mark.parametrize("name", [*METHODS, pytest.param("tpesampler", marks=NEEDS_OPTUNA)])
def test_an_output_that_the_domain_does_not_declare_is_refused_when_the_optimizer_is_called(name):
    optimizer = create_optimizer(name, output_name="yy")
    with pytest.raises(DefinitionError, match="There is no output 'yy' to minimize; there is: y") as refused:
        optimizer.call(start(x=1.0))
    assert "output_name='y'" in str(refused.value)


@pytest.mark.parametrize("name", [*METHODS, pytest.param("tpesampler", marks=NEEDS_OPTUNA)])
def test_an_output_that_no_result_has_is_refused_and_unknown_before_the_first_result(name):
    data = ExperimentData(domain=Domain(start(x=1.0).domain.input_space), input_data=[{"x": 1.0}])
    optimizer = create_optimizer(name, output_name="yy")
    optimizer.call(data)
    with pytest.raises(DefinitionError, match="There is no output 'yy' to minimize; there is: y"):
        optimizer.call(sphere.call(data))


@pytest.mark.parametrize("name", [*METHODS, pytest.param("tpesampler", marks=NEEDS_OPTUNA)])
def test_an_option_that_does_not_exist_is_refused_when_the_optimizer_is_created(name):
    with pytest.raises(DefinitionError, match="has no option 'outputname'") as refused:
        create_optimizer(name, outputname="y")
    assert "Did you mean 'output_name'?" in str(refused.value)


@NEEDS_OPTUNA
def test_all_options_of_the_libraries_are_taken():
    tpesampler(warn_independent_sampling=False, n_startup_trials=3)
    lbfgsb(maxcor=5, maxiter=3)
    cg(return_all=False)
    nelder_mead(return_all=False, xatol=1e-3)
