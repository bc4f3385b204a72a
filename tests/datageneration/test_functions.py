"""Benchmark functions: their minima, and the data generators of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orchestrator import Domain, ExperimentData, create_datagenerator
from orchestrator.datageneration import functions
from orchestrator.errors import DefinitionError

ZERO = {"at": 0.0, "minimum": 0.0}
MINIMA = {
    "ackley": (3, ZERO),
    "beale": (2, {"at": [3, 0.5], "minimum": 0.0}),
    "bohachevsky": (2, ZERO),
    "booth": (2, {"at": [1, 3], "minimum": 0.0}),
    "branin": (2, {"at": [math.pi, 2.275], "minimum": 0.397887}),
    "bukin": (2, {"at": [-10, 1], "minimum": 0.0}),
    "crossintray": (2, {"at": [1.34941, -1.34941], "minimum": -2.06261}),
    "dixonprice": (3, {"at": [1, 2**-0.5, 2**-0.75], "minimum": 0.0}),
    "drop_wave": (2, {"at": 0.0, "minimum": -1.0}),
    "easom": (2, {"at": math.pi, "minimum": -1.0}),
    "eggholder": (2, {"at": [512, 404.2319], "minimum": -959.6407}),
    "griewank": (4, ZERO),
    "holder_table": (2, {"at": [8.05502, 9.66459], "minimum": -19.2085}),
    "levy": (3, {"at": 1.0, "minimum": 0.0}),
    "rastrigin": (3, ZERO),
    "rosenbrock": (3, {"at": 1.0, "minimum": 0.0}),
    "rotatedhyperellipsoid": (3, ZERO),
    "schwefel": (3, {"at": 420.9687, "minimum": 0.0}),
    "sphere": (3, ZERO),
    "styblinskitang": (2, {"at": -2.903534, "minimum": -2 * 39.16617}),
    "threehump": (2, ZERO),
    "zakharov": (3, ZERO),
}


@pytest.mark.parametrize("name", functions.__all__)
def test_a_function_has_its_minimum_where_it_was_published(name):
    n, known = MINIMA[name]
    function = getattr(functions, name)
    at = np.broadcast_to(np.asarray(known["at"], dtype=float), n)
    assert function(at) == pytest.approx(known["minimum"], abs=2e-4)
    around = np.random.default_rng(1).normal(0, 0.05, (50, n)) + at
    inside = np.clip(around, -512, 512) if name == "eggholder" else around
    assert min(map(function, inside)) >= known["minimum"] - 2e-4


VALUES = {  # at (1, 2)
    "ackley": 5.4221317,
    "beale": 126.453125,
    "bohachevsky": 9.6,
    "booth": 5.0,
    "branin": 21.62763539,
    "dixonprice": 2 * 7.0**2,
    "levy": 0.125,
    "rastrigin": 5.0,
    "rosenbrock": 100.0,
    "rotatedhyperellipsoid": 6.0,
    "sphere": 5.0,
    "styblinskitang": -24.0,
    "threehump": 2 - 1.05 + 1 / 6 + 2 + 4,
    "zakharov": 5 + 2.5**2 + 2.5**4,
}


@pytest.mark.parametrize("name", VALUES)
def test_a_function_has_its_value_at_another_point(name):
    assert getattr(functions, name)([1.0, 2.0]) == pytest.approx(VALUES[name])


def test_each_function_names_its_source():
    for name in functions.__all__:
        text = getattr(functions, name).__doc__
        assert "References\n" in text
        assert "minimum is" in text


@pytest.mark.parametrize("name", ["ackley", "Drop Wave", "holder-table", "Styblinski_Tang"])
def test_a_data_generator_is_created_by_name(name):
    domain = Domain()
    domain.add_array("x", shape=2, low=-5.0, high=5.0)
    domain.add_output("f")
    data = ExperimentData(domain=domain, input_data=[{"x": np.array([1.0, 2.0])}, {"x": [0.5, -1.0]}])
    generator = create_datagenerator(name, output_names="f")
    function = getattr(functions, generator.name)
    assert generator.call(data).to_pandas()[1]["f"].tolist() == [function([1.0, 2.0]), function([0.5, -1.0])]
    assert create_datagenerator(generator) is generator


def test_parameters_of_a_function_are_kept():
    generator = create_datagenerator("ackley", a=10.0)
    assert generator.name == "ackley"
    assert generator([1.0, 2.0]) == functions.ackley([1.0, 2.0], a=10.0)


@pytest.mark.parametrize("arguments", [("parabola",), ("sphere", "y", 7)])
def test_an_unknown_function_or_parameter_is_refused(arguments, golden):
    name, *more = arguments
    with golden.raises(DefinitionError):
        create_datagenerator(name, *more[:1], **({"scale": 7} if more else {}))
