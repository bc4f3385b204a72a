"""Outputs that are files: the user's own, and the formats of f3dasm."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from orchestrator import Domain, ExperimentData, ExperimentSample
from orchestrator.data.references import Reference
from orchestrator.errors import DataError


def sample(tmp_path, id=3):
    return ExperimentSample({"x": 1.0}, project_dir=tmp_path / "project", id=id)


def table_with(sample):
    data = ExperimentData(input_data=[{"x": 1.0}], project_dir=sample.project_dir)
    sample.mark("finished")
    data.store_experimentsample(sample, 0)
    data.store()
    return ExperimentData.from_file(sample.project_dir)


@pytest.mark.parametrize("name", ["result.frd", "log", "odb.dat"])
@pytest.mark.parametrize("is_absolute", [True, False])
def test_a_file_of_the_users_own_is_copied_and_its_value_is_its_path(workspace, name, is_absolute):
    (workspace / name).write_bytes(b"\x80not a pickle")
    one = sample(workspace)
    one.store("own", workspace / name if is_absolute else name, to_disk=True)
    (workspace / name).unlink()
    [path] = table_with(one).to_pandas()[1]["own"]
    assert path.read_bytes() == b"\x80not a pickle"
    assert path.parent == workspace / "project" / "experiment_data" / "own"
    assert path.name.partition(".")[2] == name.partition(".")[2]


def test_a_file_in_the_folder_of_the_table_stays_where_it_is(workspace):
    folder = workspace / "project" / "experiment_data" / "fields"
    folder.mkdir(parents=True)
    (folder / "a.frd").write_text("field")
    for given in ("fields/a.frd", folder / "a.frd"):
        one = sample(workspace)
        one.store("own", given, to_disk=True)
        assert one.get("own") == folder / "a.frd"
    assert [path.name for path in folder.iterdir()] == ["a.frd"]


@pytest.mark.parametrize("is_plain", [False, True])
def test_a_file_with_the_name_of_one_of_the_table_is_the_users_own(workspace, is_plain):
    project = workspace / "project"
    ExperimentData(input_data=[{"x": 1.0}], project_dir=project).store()
    if is_plain:  # as f3dasm stores a table
        shutil.copytree(project, workspace / "copy")
        shutil.rmtree(project)
        (workspace / "copy").rename(project)
        shutil.rmtree(project / "experiment_data" / ".generations")
    (workspace / "output.csv").write_text("of the solver")
    one = sample(workspace)
    one.store("own", "output.csv", to_disk=True, load_function=_text_of)
    one.store("copy", project / "experiment_data" / "input.csv", to_disk=True, load_function=_text_of)
    before = (project / "experiment_data" / "input.csv").read_text()
    data = table_with(one)
    for _ in range(3):
        data.mark_all("finished", in_place=True)
        data.store()
    [(_, stored)] = ExperimentData.from_file(project)
    assert (stored.get("own"), stored.get("copy")) == ("of the solver", before)


def _text_of(path):
    return path.read_text()


def test_a_frame_with_objects_on_disk_can_be_pickled(workspace):
    one = sample(workspace)
    one.store("y", np.arange(3), to_disk=True)
    outputs = pickle.loads(pickle.dumps(table_with(one).to_pandas()[1]))
    assert outputs["y"].iloc[0].tolist() == [0, 1, 2]


def test_two_experiments_with_a_file_of_one_name_keep_both(workspace):
    for number in range(2):
        (workspace / "result.frd").write_text(str(number))
        one = sample(workspace, id=0)
        one.store("own", "result.frd", to_disk=True)
    written = sorted(path.read_text() for path in (workspace / "project/experiment_data/own").iterdir())
    assert written == ["0", "1"]


@pytest.mark.parametrize("name", ["missing.frd", "folder"])
def test_a_file_that_does_not_exist_is_refused(workspace, name, golden):
    (workspace / "folder").mkdir()
    with golden.raises(FileNotFoundError):
        sample(workspace).store("own", name, to_disk=True)


def test_a_load_function_reads_a_file_of_the_users_own(workspace):
    (workspace / "result.txt").write_text('{"stress": 2.5}')
    one = sample(workspace)
    with (workspace / "result.txt").open():
        one.store("own", "result.txt", to_disk=True, load_function=read_json)
    assert table_with(one).to_pandas()[1]["own"][0] == {"stress": 2.5}


def read_json(path):
    return json.loads(path.read_text())


@pytest.mark.parametrize("kind", ["DataArray", "Dataset"])
def test_objects_of_xarray_are_written_and_read_as_by_f3dasm(workspace, kind):
    xarray = pytest.importorskip("xarray")
    value = xarray.DataArray(np.arange(6.0).reshape(2, 3), dims=["a", "b"], name="field")
    value = value if kind == "DataArray" else value.to_dataset()
    one = sample(workspace)
    one.store("field", value, to_disk=True)
    [file] = (workspace / "project/experiment_data/field").iterdir()
    assert file.suffix == {"DataArray": ".nca", "Dataset": ".ncs"}[kind]
    assert table_with(one).to_pandas()[1]["field"][0].identical(value)


def test_an_image_is_read_by_matplotlib(workspace, monkeypatch):
    # A stand-in, because matplotlib is large.
    monkeypatch.setitem(sys.modules, "matplotlib.image", SimpleNamespace(imread=lambda path: path.read_bytes()))
    (workspace / "plot.png").write_bytes(b"pixels")
    one = sample(workspace)
    one.store("plot", "plot.png", to_disk=True)
    assert one.get("plot") == b"pixels"


@pytest.mark.parametrize(("suffix", "package"), [(".nca", "xarray"), (".png", "matplotlib")])
def test_a_format_whose_package_is_missing_says_what_to_install(workspace, monkeypatch, suffix, package):
    monkeypatch.setitem(sys.modules, "matplotlib.image" if package == "matplotlib" else package, None)
    (workspace / f"field{suffix}").touch()
    one = sample(workspace)
    one.store("field", f"field{suffix}", to_disk=True)
    with pytest.raises(DataError, match=f"pip install {package}"):
        one.get("field")


def test_a_table_that_names_f3dasms_own_functions_is_read_without_f3dasm(workspace, monkeypatch):
    monkeypatch.setitem(sys.modules, "f3dasm", None)
    folder = workspace / "experiment_data" / "field"
    folder.mkdir(parents=True)
    np.save(folder / "0.npy", np.arange(3))
    for name, file in (("numpy_load", "0.npy"), ("pickle_load", "0.pkl")):
        if file.endswith("pkl"):
            (folder / file).write_bytes(pickle.dumps([0, 1, 2]))
        named = f"cf3dasm._src._io\n{name}\n.".encode().hex()
        assert list(Reference(f"field/{file}", named).load(workspace)) == [0, 1, 2]


def test_a_pickle_of_a_missing_module_says_which(workspace):
    folder = workspace / "experiment_data"
    folder.mkdir()
    (folder / "0.pkl").write_bytes(b"cno_such_module\nModel\n.")
    with pytest.raises(DataError, match="no_such_module"):
        Reference("0.pkl").load(workspace)


def test_a_domain_with_files_as_outputs_stays_readable(workspace):
    domain = Domain()
    domain.add_output("own", to_disk=True)
    data = ExperimentData(domain=domain, input_data=[{"x": 1.0}, {"x": 2.0}], project_dir=workspace / "project")
    (workspace / "result.frd").write_text("field")
    one = data.get_experiment_sample(0)
    one.store("own", "result.frd", to_disk=True)
    data.store_experimentsample(one, 0)
    data.store()
    outputs = ExperimentData.from_file(workspace / "project").to_pandas()[1]["own"]
    assert outputs[0].read_text() == "field"
    assert outputs.isna().tolist() == [False, True]
