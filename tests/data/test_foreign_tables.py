"""A table is data: to read one, and to look at it, runs no code that its files name."""

from __future__ import annotations

import functools
import json
import os
import pickle
from pathlib import Path

import pytest

from orchestrator import Domain, ExperimentData
from orchestrator.data.load_functions import ALLOW, decode_function, encode_function
from orchestrator.errors import NotAllowed


class RunCommand:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture
def planted(tmp_path):
    """Return a pickle that creates the file `ran` when it is loaded."""
    return pickle.dumps(RunCommand(f"touch {tmp_path / 'ran'}"))


@pytest.fixture
def ran(tmp_path):
    return (tmp_path / "ran").exists


@pytest.fixture
def table(tmp_path):
    """Return the folder of a table with one object on disk."""
    project = tmp_path / "project"
    domain = Domain()
    domain.add_float("x", low=0.0, high=1.0)
    domain.add_output("mesh", to_disk=True)
    data = ExperimentData(domain=domain, input_data=[{"x": 0.5}], project_dir=project)
    sample = data.get_experiment_sample(0)
    sample.store("mesh", {"nodes": 3}, to_disk=True)
    data.store_experimentsample(sample, 0)
    data.store(project)
    return project


def mesh(project: Path):
    return ExperimentData.from_file(project).get_experiment_sample(0).get("mesh")


def change_domain(project: Path, **fields):
    path = project / "experiment_data" / "domain.json"
    note = json.loads(path.read_text())
    note["output_space"]["mesh"].update(fields)
    path.write_text(json.dumps(note))


def test_an_object_of_this_user_is_loaded_whatever_the_umask(table):
    before = os.umask(0)
    try:
        data = ExperimentData.from_file(table)
        sample = data.get_experiment_sample(0)
        sample.store("mesh", {"nodes": 4}, to_disk=True)
        assert sample.get("mesh") == {"nodes": 4}
    finally:
        os.umask(before)


@pytest.mark.parametrize("field", ["load_function", "load_kwargs"])
def test_a_pickle_that_calls_a_function_is_not_loaded(table, planted, ran, field):
    change_domain(table, **{field: planted.hex()})
    with pytest.raises(NotAllowed, match="would run code"):
        mesh(table)
    _, outputs = ExperimentData.from_file(table).to_pandas()
    with pytest.warns(UserWarning, match="was not loaded"):
        assert outputs["mesh"][0].endswith(".pkl")
    assert not ran()


@pytest.mark.parametrize("function", [os.system, os.unlink, eval, functools.reduce], ids=lambda f: f.__name__)
def test_a_table_names_no_function_of_the_standard_library(table, function):
    change_domain(table, load_function=pickle.dumps(function).hex())
    with pytest.raises(NotAllowed, match=function.__name__):
        mesh(table)
    assert list((table / "experiment_data" / "mesh").glob("*.pkl"))


@pytest.mark.parametrize("name", ["os.system", "os.environ.copy", "defaultdict", "os"])
def test_a_table_names_no_function_of_the_standard_library_by_way_of_a_package(name):
    module = "pandas.io.common"
    words = (b"\x8c" + bytes([len(word)]) + word.encode() for word in (module, name))
    text = b"\x80\x04" + b"".join(words) + b"\x93."
    with pytest.raises(NotAllowed, match=f"name {module}.{name} to load"):
        decode_function(text.hex())


def test_functions_that_read_files_and_those_of_packages_can_be_named():
    import numpy as np

    for function in (Path.read_text, json.load, np.load):
        assert decode_function(encode_function(function)) is function
    # As Python 3.13 names it.
    assert decode_function(b"\x80\x04\x8c\x0epathlib._local\x8c\x0ePath.read_text\x93.".hex()) is Path.read_text
    assert decode_function(encode_function({"allow_pickle": False, "shape": (2, None)})) == {
        "allow_pickle": False,
        "shape": (2, None),
    }


@pytest.mark.parametrize("text", ["zz", "80", "", "8004" + "4b" * 3])
def test_text_that_is_no_pickle_is_refused(text):
    with pytest.raises(NotAllowed):
        decode_function(text)


@pytest.mark.parametrize("where", ["absolute", "upwards", "by a link"])
def test_a_file_outside_of_the_folder_is_not_loaded(table, tmp_path, planted, ran, where):
    outside = tmp_path / "outside.pkl"
    outside.write_bytes(planted)
    inside = table / "experiment_data" / "mesh" / "link.pkl"
    inside.symlink_to(outside)
    cell = {"absolute": str(outside), "upwards": "../../outside.pkl", "by a link": "mesh/link.pkl"}[where]
    (table / "experiment_data" / "output.csv").write_text(f",mesh\n0,{cell}\n")
    with pytest.raises(NotAllowed, match="not in the folder of its table"):
        mesh(table)
    assert not ran()


def test_a_file_that_others_may_change_is_not_loaded_until_the_user_allows_it(table, monkeypatch):
    [file] = (table / "experiment_data" / "mesh").glob("*.pkl")
    file.chmod(0o666)
    with pytest.raises(NotAllowed, match="may be changed by other users"):
        mesh(table)
    monkeypatch.setenv(ALLOW, "1")
    assert mesh(table) == {"nodes": 3}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
def test_a_file_of_another_user_is_not_loaded(table):
    [file] = (table / "experiment_data" / "mesh").glob("*.pkl")
    os.chown(file, 54321, 54321)
    with pytest.raises(NotAllowed, match="belongs to uid 54321"):
        mesh(table)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make links of another user")
def test_no_object_is_written_to_where_a_link_of_another_user_leads(table, tmp_path):
    private = tmp_path / "private"
    private.mkdir()
    link = table / "experiment_data" / "mesh"
    link.rename(tmp_path / "away")
    link.symlink_to(private)
    sample = ExperimentData.from_file(table).get_experiment_sample(0)
    sample.store("mesh", {"nodes": 4}, to_disk=True)
    assert len(list(private.iterdir())) == 1  # a link of this user
    os.chown(link, 54321, 54321, follow_symlinks=False)
    sample = ExperimentData.from_file(table).get_experiment_sample(0)
    with pytest.raises(NotAllowed, match="is a link of uid 54321"):
        sample.store("mesh", {"nodes": 5}, to_disk=True)
    assert len(list(private.iterdir())) == 1
