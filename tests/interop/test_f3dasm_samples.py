"""Our samplers draw the same values as f3dasm's, for the same seed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.acceptance, pytest.mark.interop, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]

COMPARE = """
import f3dasm
import numpy as np
from f3dasm.design import Domain

import orchestrator


def filled(domain):
    domain.add_float("x", -5, 5)
    domain.add_int("n", 1, 10, step=3)
    domain.add_float("y", 0.1, 0.7)
    domain.add_int("large", -3, 2**40)
    domain.add_category("c", ["a", "b", "c"])
    domain.add_category("numbers", [1, 2, 5])
    domain.add_constant("g", 9.81)
    domain.add_array("v", (2, 3), 0.0, 2.0)
    domain.add_array("w", 4, -1.0, 1.0)
    return domain


def without_arrays(domain):
    domain = filled(domain)
    for name in ("v", "w", "large", "y"):
        del domain.input_space[name]
    domain.add_float("z", 0, 1)
    return domain


def compare(name, parameters, fill, **kwargs):
    tables = []
    for of in (f3dasm, orchestrator):
        domain = fill(Domain() if of is f3dasm else orchestrator.Domain())
        tables.append(of.create_sampler(name, **parameters).call(of.ExperimentData(domain=domain), **kwargs))
    theirs, ours = ([sample.input_data for _, sample in table] for table in tables)
    assert len(theirs) == len(ours) > 0
    for n, (one, other) in enumerate(zip(theirs, ours)):
        assert one.keys() == other.keys()
        for key in one:
            assert np.array_equal(one[key], other[key]), (name, parameters, kwargs, n, key, one[key], other[key])


for name in ("random_sampler", "latin_sampler", "sobol_sampler"):
    for seed in (0, 1, 2**31):
        for n in (1, 2, 5, 64):
            compare(name, {"seed": seed}, filled, n_samples=n)
for step in (0.3, {"x": 2.5, "z": 0.25}):
    compare("grid_sampler", {"stepsize_continuous_parameters": step}, without_arrays)
"""


def test_samplers_draw_the_same_values_as_those_of_f3dasm(f3dasm_python, tmp_path):
    environment = {"PYTHONPATH": str(ROOT)}
    command = [str(f3dasm_python), "-W", "ignore", "-c", COMPARE]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
