import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from orchestrator.data.domain import Domain
from orchestrator.data.experiment_data import ExperimentData
from orchestrator.data.experiment_sample import ExperimentSample
from orchestrator.definition.data_generators import CollectArrayResults

# The first of them may have to install f3dasm.
pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

FIXTURES = Path(__file__).parents[1] / "fixtures" / "f3dasm"

SHOW = """
import json
from pathlib import Path
from f3dasm import ExperimentData
data = ExperimentData.from_file(Path("."))
def plain(value):
    return value.tolist() if hasattr(value, "tolist") else value
rows = [
    [int(label), {k: plain(v) for k, v in es.input_data.items()},
     {k: plain(v) for k, v in es.output_data.items()}, es.job_status.name]
    for label, es in data
]
print(json.dumps([rows, data.domain.input_names, data.domain.output_names]))
"""

REWRITE = """
from pathlib import Path
from f3dasm import ExperimentData
ExperimentData.from_file(Path(".")).store(Path("."))
"""


def shown(data):
    def plain(value):
        return value.tolist() if hasattr(value, "tolist") else value

    rows = [
        [
            label,
            {name: plain(value) for name, value in sample.input_data.items()},
            {name: plain(value) for name, value in sample.output_data.items()},
            sample.job_status.name,
        ]
        for label, sample in data
    ]
    return [rows, data.domain.input_names, data.domain.output_names]


def study(tmp_path):
    domain = Domain()
    domain.add_float("x", -5, 5)
    domain.add_float("lr", 1e-5, 0.1, log=True)
    domain.add_int("n", 1, 10, step=2)
    domain.add_category("mat", ["steel", "al, 6061", '"pvc"'])
    domain.add_constant("g", 9.81)
    domain.add_output("y")
    domain.add_output("label")
    domain.add_output("field", to_disk=True)
    inputs = [
        {"x": 0.1 + 0.2, "lr": 1e-3, "n": 3, "mat": "al, 6061", "g": 9.81},
        {"x": -1 / 3, "lr": 2e-5, "n": 5, "mat": '"pvc"', "g": 9.81},
        {"x": 1e-300, "lr": 0.1, "n": 7, "mat": "steel", "g": 9.81},
        {"x": 4.0, "lr": 0.05, "n": 9, "mat": "steel", "g": 9.81},
    ]
    jobs = ["FINISHED", "ERROR", "IN_PROGRESS", "OPEN"]
    data = ExperimentData(domain, inputs, None, jobs, tmp_path)
    sample = data.get_experiment_sample(0)
    sample.store("y", 2 / 3)
    sample.store("label", "buckled, twice")
    sample.store("field", np.arange(6.0).reshape(2, 3), to_disk=True)
    data.store_experimentsample(sample, 0)
    data.store()
    return data


def test_f3dasm_reads_what_we_write(tmp_path, run_f3dasm):
    data = study(tmp_path)
    assert json.loads(run_f3dasm(SHOW)) == shown(data)


def test_we_read_our_files_after_f3dasm_rewrote_them(tmp_path, run_f3dasm):
    data = study(tmp_path)
    run_f3dasm(REWRITE)
    assert "columns" not in json.loads((tmp_path / "experiment_data/domain.json").read_text())
    assert shown(ExperimentData.from_file(tmp_path)) == shown(data)


@pytest.mark.parametrize("rows", [[], [{"x": 0.5}]])
def test_tables_without_rows_or_outputs_are_read_by_both(tmp_path, run_f3dasm, rows):
    domain = Domain()
    domain.add_float("x", 0, 1)
    data = ExperimentData(domain, rows, project_dir=tmp_path)
    data.store()
    assert json.loads(run_f3dasm(SHOW)) == shown(data)
    run_f3dasm(REWRITE)
    assert shown(ExperimentData.from_file(tmp_path)) == shown(data)


@pytest.mark.parametrize("name", ["all_types", "experiment_data_open", "experiment_data_collected"])
def test_both_read_the_same_values_in_f3dasms_examples(tmp_path, run_f3dasm, name):
    shutil.copytree(FIXTURES / name, tmp_path / "experiment_data")
    data = ExperimentData.from_file(tmp_path)
    assert shown(data) == json.loads(run_f3dasm(SHOW))
    data.store()
    assert json.loads(run_f3dasm(SHOW)) == shown(data)


def test_we_read_what_f3dasm_writes(tmp_path, run_f3dasm):
    printed = run_f3dasm(
        """
import numpy as np
from pathlib import Path
from f3dasm import ExperimentData
from f3dasm.design import Domain
domain = Domain()
domain.add_float("x", 0.0, 1.0)
domain.add_int("n", 0, 9)
domain.add_category("c", ["a", "b,c"])
data = ExperimentData(domain=domain, input_data=[
    {"x": 0.1 + 0.2, "n": 3, "c": "b,c"}, {"x": 1 / 3, "n": 4, "c": "a"}, {"x": 1.0, "n": 5, "c": "a"},
], project_dir=Path("."))
for label, es in data:
    if label < 2:
        es.store("y", label / 7)
        es.store("field", np.arange(3.0) * label, to_disk=True)
        data.store_experimentsample(es, label)
        es.mark("finished")
data.store(Path("."))
"""
        + SHOW
    )
    data = ExperimentData.from_file(tmp_path)
    assert shown(data) == json.loads(printed)
    assert data.to_pandas()[0]["x"].tolist() == [0.1 + 0.2, 1 / 3, 1.0]


def test_single_results_are_read_by_both(tmp_path, run_f3dasm):
    for number in (0, 3, 5):
        name = f"experiment_sample_finished_error_in_progress/{number}.json"
        ExperimentSample.from_json(FIXTURES / name).store_as_json(number, tmp_path)
    field = ExperimentSample({"x": 1.5}, project_dir=tmp_path, id=9)
    field.store("field", np.arange(3.0), to_disk=True)
    field.mark("finished")
    field.store_as_json(9, tmp_path)
    printed = run_f3dasm(
        """
import json
from pathlib import Path
from f3dasm import ExperimentSample
for n in (0, 3, 5, 9):
    es = ExperimentSample.from_json(Path(f"experiment_sample/{n}.json"))
    if n == 9:
        print(es.get("field").tolist())
    es.project_dir = Path(".")
    es.store_as_json(n + 100)
    print(es.job_status.name)
"""
    )
    assert printed.split("\n") == ["FINISHED", "ERROR", "IN_PROGRESS", "[0.0, 1.0, 2.0]", "FINISHED", ""]
    for number in (0, 3, 5, 9):
        ours, theirs = (
            ExperimentSample.from_json(tmp_path / f"experiment_sample/{n}.json") for n in (number, number + 100)
        )
        theirs.project_dir = tmp_path
        assert repr(ours.output_data) == repr(theirs.output_data)
        assert (ours.input_data, ours.job_status) == (theirs.input_data, theirs.job_status)


def test_results_of_f3dasms_array_tasks_are_collected(tmp_path, run_f3dasm):
    domain = Domain()
    domain.add_float("x", 0.0, 1.0)
    domain.add_int("n", 0, 9)
    domain.add_category("c", ["a,b", "001"])
    domain.add_output("y")
    inputs = [{"x": 0.1 + 0.2, "n": 3, "c": "001"}, {"x": 1 / 3, "n": 4, "c": "a,b"}, {"x": 1.0, "c": "a,b"}]
    ExperimentData(domain, inputs, project_dir=tmp_path).store()
    run_f3dasm(
        """
from pathlib import Path
from f3dasm import ExperimentData, datagenerator
@datagenerator(output_names="y")
def evaluate(x, n=0):
    if n == 4:
        raise ValueError
    return x / 3
data = ExperimentData.from_file(Path("."))
for row in range(3):
    evaluate.call(data, mode="cluster_array", job_number=row)
"""
    )
    data = CollectArrayResults().call(ExperimentData.from_file(tmp_path))
    assert [status.name for status in data.statuses()] == ["FINISHED", "ERROR", "FINISHED"]
    assert [data.output_rows()(row) for row in range(3)] == [{"y": (0.1 + 0.2) / 3}, {}, {"y": 1 / 3}]
    assert [data.input_rows()(row) for row in range(3)] == inputs
