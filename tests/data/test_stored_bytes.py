"""The bytes of stored tables, and the cells that are read from them, stay as they are.

``stored_bytes.json`` has digests of the files and of the cells of generated tables. They were recorded when each column
was a list of Python values; those of files with arrays when these became lists of JSON.
"""

import json
import math
import random
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from orchestrator.data import layout, unquoted_csv
from orchestrator.data.column import Numbers
from orchestrator.data.experiment_data import ExperimentData

RECORDED = json.loads(Path(__file__).with_name("stored_bytes.json").read_text())
FLOATS = [0.1 + 0.2, -0.0, 0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, 1e16, 1e22, 123456789.0, -1.5e-7]
INTS = [0, -1, 2**53 + 1, 2**63 - 1, -(2**63), 7]
TEXTS = ["", "nan", "NA", "001", "True", "1.0", " x ", 'a,"b"', "\r\n", "a\nb", "ä", "\U0001f600", "None", "x\ty"]
OTHERS = [[1, "a"], [], {"k": [1.5]}, (1, 2), [None], 2**70, b"x", {"$a": 1}, "caf\udce9", 1j, "nul\0"]


def column(rng, n):
    """Return cells of one type with or without missing ones, or of several types."""
    kinds = {
        "float": lambda: (
            rng.choice(FLOATS) if rng.random() < 0.2 else rng.uniform(-1, 1) * 10.0 ** rng.randint(-20, 20)
        ),
        "int": lambda: rng.choice(INTS) if rng.random() < 0.2 else rng.randint(-(10**6), 10**6),
        "bool": lambda: rng.random() < 0.5,
        "text": lambda: rng.choice(TEXTS),
        "other": lambda: rng.choice(OTHERS),
        "big": lambda: rng.choice([2**64, -(2**63) - 1, 1]),
        "missing": lambda: None,
        "array": lambda: np.arange(rng.randint(0, 3), dtype=rng.choice(["f8", "i4", "c16"])),
    }
    names = list(kinds)
    chosen = [rng.choice(names)] if rng.random() < 0.8 else rng.sample(names[:6], 3)
    missing = rng.choice([0, 0, 0.3])
    return [None if rng.random() < missing else kinds[rng.choice(chosen)]() for _ in range(n)]


def generated(seed, project_dir):
    """Return a table of columns of all types, with statuses, and with labels that are not 0, 1, 2, ..."""
    rng = random.Random(seed)
    n = rng.choice([0, 1, 2, 9, 40, 300])
    inputs = {name: column(rng, n) for name in ["x", "a,b", 'q"', "long name"][: rng.randint(0, 4)]}
    outputs = {f"y{number}": column(rng, n) for number in range(rng.randint(0, 4))}
    jobs = [rng.choice(["OPEN", "IN_PROGRESS", "FINISHED", "ERROR"]) for _ in range(n)]
    data = ExperimentData(None, inputs, outputs, jobs, project_dir)
    order = rng.sample(range(len(data)), len(data))
    return data.select(order) if rng.random() < 0.3 else data


def digest_of_cells(data):
    """Return a digest of the labels, statuses, values and types of a table."""
    inputs, outputs = data.input_rows(), data.output_rows()
    rows = [
        (label, status.name, inputs(at), outputs(at))
        for at, (label, status) in enumerate(zip(data.labels(), data.statuses(), strict=True))
    ]
    return sha256(repr(rows).encode("utf-8", "backslashreplace")).hexdigest()[:16]


def stored(seed, folder):
    """Store a generated table; return the digests of its files, of the notes on them, and of the cells read back."""
    generated(seed, folder).store()
    base = folder / "experiment_data"
    digests = {
        name: sha256((base / f"{name}.csv").read_bytes()).hexdigest()[:16] for name in ("input", "output", "jobs")
    }
    notes = json.loads((base / "domain.json").read_text())
    noted = json.dumps({name: notes[name] for name in ("input_space", "output_space", "columns")})
    return {
        **digests,
        "notes": sha256(noted.encode()).hexdigest()[:16],
        "cells": digest_of_cells(ExperimentData.from_file(folder)),
    }


@pytest.fixture(params=["arrays, pandas' parser", "arrays, without pandas", "lists, Python's parser"])
def how(request, monkeypatch):
    """Hold and read all tables as long ones, or as short ones of a process that has not imported NumPy and pandas."""
    with_pandas = request.param.endswith("pandas' parser")
    monkeypatch.setattr(layout, "is_worth_it", lambda size, *, is_quoted: with_pandas)
    monkeypatch.setattr(unquoted_csv, "MANY", 0)
    if request.param.startswith("lists"):
        monkeypatch.setattr(Numbers, "of", lambda cells: None)
        for name in ("read_unquoted", "read_unquoted_statuses"):
            monkeypatch.setattr(layout, name, lambda *given: None)


@pytest.mark.slow
@pytest.mark.usefixtures("how")
@pytest.mark.parametrize("part", range(8))
def test_generated_tables_are_stored_and_read_as_they_were_before(tmp_path, part):
    for seed in range(part, len(RECORDED), 8):
        assert stored(seed, tmp_path / str(seed)) == RECORDED[seed], seed
