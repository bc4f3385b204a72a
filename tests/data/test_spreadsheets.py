"""Inputs in a CSV file of the user's own: read as they are meant, or refused."""

from __future__ import annotations

import pandas as pd
import pytest

from orchestrator import Domain, ExperimentData
from orchestrator.errors import DataError

ROWS = [("1.5", "S235", "3"), ("2.5", "S355", "4")]


@pytest.fixture
def domain():
    domain = Domain()
    domain.add_float("load", low=0.0, high=100.0)
    domain.add_category("steel", ["S235", "S355"])
    domain.add_int("n", 0, 50)
    domain.add_output("y")
    return domain


def text(separator=",", end="\n", index=None, begin="", names=("load", "steel", "n"), rows=ROWS):
    labels = [] if index is None else [index]
    lines = [[*labels, *names], *([*(str(at) for _ in labels), *row] for at, row in enumerate(rows))]
    return begin + "".join(separator.join(line) + end for line in lines)


READ = {
    "with labels": text(index=""),
    "with labels that became a column": text(index="Unnamed: 0"),
    "byte order mark": text(index="", begin="\ufeff"),
    "CRLF": text(index="", end="\r\n"),
    "no labels": text(),
    "no labels, byte order mark, CRLF": text(begin="\ufeff", end="\r\n"),
    "carriage returns": text(end="\r"),
    "other order": text(names=("n", "load", "steel"), rows=[(n, load, steel) for load, steel, n in ROWS]),
    "quoted": text(names=('"load"', '"steel"', '"n"')),
}


@pytest.mark.parametrize("kind", READ)
def test_a_file_is_read_as_it_is_meant(workspace, domain, kind):
    (workspace / "inputs.csv").write_text(READ[kind], newline="")
    data = ExperimentData(domain=domain, input_data="inputs.csv")
    rows = data.to_pandas()[0][["load", "steel", "n"]].to_dict("records")
    assert [tuple(row.values()) for row in rows] == [(1.5, "S235", 3), (2.5, "S355", 4)]
    assert list(data.domain.input_space) == ["load", "steel", "n"]


def test_without_a_domain_every_named_column_is_an_input(workspace):
    (workspace / "inputs.csv").write_text(text())
    data = ExperimentData(input_data="inputs.csv")
    assert list(data.to_pandas()[0]) == ["load", "steel", "n"]


REFUSED = {
    "semicolons": text(";"),
    "semicolons and decimal commas": text(";", rows=[("1,5", "S235", "3"), ("2,5", "S355", "4")]),
    "tabs": text("\t", index=""),
    "quoted decimal commas": text(rows=[('"1,5"', "S235", "3")]),
    "no integer": text(rows=[("1.5", "S235", "3.5")]),
    "units": text(rows=[("1.5", "S235", "3 mm")]),
    "labels with a name": text(index="id"),
    "a space in a name": text(names=("load", " steel", "n")),
    "another name": text(names=("load", "Steel", "n")),
    "a name twice": text(names=("load", "n", "n")),
    "a column without a name": text(names=("load", "steel", "n", ""), rows=[(*row, "") for row in ROWS]),
    "an empty row": text(rows=[*ROWS, ("", "", "")]),
    "a short row": text(rows=[*ROWS, ("1.5", "S235")]),
    "nothing": "",
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_file_with_another_meaning_is_refused(workspace, domain, kind, golden):
    (workspace / "inputs.csv").write_text(REFUSED[kind], newline="")
    with golden.raises(DataError):
        ExperimentData(domain=domain, input_data="inputs.csv")


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_another_encoding_is_refused(workspace, domain, encoding):
    (workspace / "inputs.csv").write_text(text(names=("load", "stähl", "n")), encoding=encoding)
    with pytest.raises(DataError, match="UTF-8"):
        ExperimentData(domain=domain, input_data="inputs.csv")


def test_the_way_out_of_semicolons_works(workspace, domain):
    (workspace / "inputs.csv").write_text(text(";", rows=[("1,5", "S235", "3")]))
    frame = pd.read_csv("inputs.csv", sep=";", decimal=",")
    assert ExperimentData(domain=domain, input_data=frame).to_pandas()[0]["load"].tolist() == [1.5]
