"""What becomes of the outputs of experiments that are missing, unexpected, or stored before a failure."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from orchestrator import Block, DataGenerator, Domain, ExperimentData, ExperimentSample, Pipeline, Step, datagenerator
from orchestrator.errors import RunFailed
from tests.studies import numbers, store_numbers

pytestmark = pytest.mark.slow


def failures(rows):
    return rows("SELECT why FROM event WHERE what = 'experiments failed'")


def run(evaluate, *, n=3, outputs=("y",), **options):
    steps = [Step(store_numbers(n, outputs=outputs)), Step(evaluate, name="evaluate", parallel=True, **options)]
    return Pipeline(steps=steps).run(project_job="r", jobs=2)


@datagenerator(output_names="y")
def forgets_its_return(x):
    x * 2


@datagenerator(output_names="z")
def stores_another_output(x):
    return x


class StoresNothing(DataGenerator):
    def execute(self, experiment_sample):
        experiment_sample.input_data["x"]


class StoresAnother(DataGenerator):
    def execute(self, experiment_sample):
        experiment_sample.store("y", 1.0)
        experiment_sample.store("z", 1.0)


class StoresNothingByCall(DataGenerator):
    def execute(self, experiment_sample):
        raise AssertionError("call is overridden")

    def call(self, data, **kwargs):
        return data.mark_all("finished")


@pytest.mark.parametrize(
    "generator",
    [forgets_its_return, stores_another_output, StoresNothing(), StoresAnother(), StoresNothingByCall()],
    ids=["forgets its return", "another output", "stores nothing", "stores another", "nothing by call"],
)
def test_outputs_that_are_missing_or_not_declared_fail_their_experiments(workspace, rows, table, generator, golden):
    with pytest.raises(RunFailed):
        run(generator)
    assert {status.name for status in table("r").statuses()} == {"ERROR"}
    kept = {name for row in map(table("r").output_rows(), range(3)) for name in row}
    assert kept == ({"y"} if isinstance(generator, StoresAnother) else set())
    golden(failures(rows)[0])


def test_a_domain_without_outputs_takes_all_also_of_a_second_generator(workspace, table):
    @datagenerator(output_names="z")
    def second(y):
        return y + 1

    def y_is_an_input(project_dir):
        data = ExperimentData.from_file(project_dir)
        values = data.to_pandas()[1]["y"]
        for label, sample in data:
            sample.store("y", float(values[label]), which="input")
            sample.mark("open")
        data.store(project_dir)

    @datagenerator(output_names="y")
    def first(x):
        return x * 2

    steps = [Step(store_numbers(3, outputs=[])), Step(first, parallel=True), Step(y_is_an_input)]
    Pipeline(steps=[*steps, Step(second, parallel=True)]).run(project_job="r")
    assert table("r").to_pandas()[1]["z"].tolist() == [1.0, 3.0, 5.0]


def test_generators_of_several_steps_may_each_store_some_of_the_outputs(workspace, table):
    @datagenerator(output_names="y")
    def first(x):
        return x * 2

    @datagenerator(output_names="z")
    def second(x):
        return x * 3

    class Reopen(Block):
        def call(self, data):
            return data.mark_all("open")

    steps = [store_numbers(2, outputs=["y", "z"]), first, Reopen(), second]
    Pipeline(steps=[Step(step, name=f"s{at}", parallel=at % 2 == 1) for at, step in enumerate(steps)]).run(
        project_job="r", jobs=1
    )
    assert table("r").to_pandas()[1].to_dict("list") == {"y": [0.0, 2.0], "z": [0.0, 3.0]}
    said = "\n".join(path.read_text() for path in workspace.rglob("*.log"))
    assert said.count("has finished without a value of 'z'") in (1, 2)  # once per task


def test_the_log_says_that_an_experiment_has_no_output_at_all(workspace, table):
    run(StoresNothing(), outputs=[])
    assert table("r").is_all_finished()
    said = "\n".join(path.read_text() for path in workspace.rglob("*.log"))
    assert "has finished without any output. Further cases are not reported." in said


def test_what_an_experiment_stored_before_it_failed_stays_in_its_row_with_the_error(workspace, rows, table):
    class Solver(DataGenerator):
        def execute(self, experiment_sample):
            number = experiment_sample.input_data["x"]
            experiment_sample.store("residual", number + 0.5)
            if number == 1:
                raise RuntimeError("it diverges")
            if number == 2:
                experiment_sample.mark("error", reason="it does not converge")
                return
            experiment_sample.store("y", number)

    run(Solver(), outputs=["y", "residual"])
    outputs = table("r").to_pandas()[1]
    assert outputs["residual"].tolist() == [0.5, 1.5, 2.5]
    assert outputs["y"].isna().tolist() == [False, True, True]
    assert [status.name for status in table("r").statuses()] == ["FINISHED", "ERROR", "ERROR"]
    assert sorted(failures(rows)) == ["RuntimeError: it diverges", "marked: it does not converge"]


def test_an_array_is_readable_in_the_table_and_a_large_one_has_a_file_of_its_own(workspace, table):
    @datagenerator(output_names=["y", "small"])
    def fields(x):
        return np.arange(20_000.0) if x == 1 else np.full(2, x), np.array([[x, 0.1], [np.nan, 2]])

    run(fields, outputs=["y", "small"])
    outputs = table("r").to_pandas()[1]
    assert [value.tolist() for value in outputs["y"]] == [[0, 0], list(range(20_000)), [2, 2]]
    assert outputs["small"][2].tolist()[0] == [2.0, 0.1]
    written = pd.read_csv(workspace / "r/experiment_data/output.csv", index_col=0)
    assert written["small"].tolist() == [f"[[{x}.0, 0.1], [NaN, 2.0]]" for x in range(3)]
    assert sorted(written["y"]) == ["y/0.npy", "y/1.npy", "y/2.npy"]
    assert len((workspace / "r/experiment_data/output.csv").read_text()) < 1000


RETURNED = [1.5, float("nan"), 7, True, "text", np.float64(2.5), [1, 2.5], (1.5,), np.arange(3), {"a": (1, 2)}]


def test_a_function_may_return_another_type_for_each_experiment_and_is_called_once(workspace, table):
    calls = workspace / "calls"

    @datagenerator(output_names="y")
    def evaluate(x):
        with calls.open("a") as file:
            file.write(f"{int(x)}\n")
        if int(x) == len(RETURNED):
            return 1.0, 2.0
        return object() if int(x) > len(RETURNED) else RETURNED[int(x)]

    n = len(RETURNED) + 2
    run(evaluate, n=n, max_failed=2)
    data = table("r")
    assert sorted(map(int, calls.read_text().split())) == list(range(n))
    assert [status.name for status in data.statuses()] == ["FINISHED"] * len(RETURNED) + ["ERROR"] * 2
    outputs = list(map(data.output_rows(), range(n)))
    assert outputs[2:5] == [{"y": 7}, {"y": True}, {"y": "text"}]
    expected = data.copy()
    for row, value in enumerate(RETURNED):
        sample = ExperimentSample(data.get_experiment_sample(row).input_data, {}, "finished")
        sample.store("y", value[0] if type(value) is tuple else value)
        expected.store_experimentsample(sample, row)
    assert repr(outputs) == repr(list(map(expected.output_rows(), range(n))))


def test_a_function_gets_the_inputs_that_it_names_of_each_experiment_and_kwargs_for_others(workspace, table):
    @datagenerator(output_names="y")
    def add(x, b, c=100.0):
        return x + b + c

    def create(project_dir):
        inputs = {"x": [1.0, 2.0, 3.0, 4.0], "b": [10.0, 20.0, None, 40.0], "c": [None, 200.0, 300.0, None]}
        inputs["unused"] = [None, 1.0, 2.0, 3.0]
        ExperimentData(input_data=inputs, project_dir=project_dir).store()

    def outputs(key, kwargs):
        steps = [Step(create), Step(add, name="add", parallel=True, kwargs=kwargs, max_failed=1)]
        Pipeline(steps=steps).run(project_job=key, jobs=1)
        return [row.get("y") for row in map(table(key).output_rows(), range(4))]

    assert outputs("r", {}) == [111.0, 222.0, None, 144.0]
    assert outputs("with-kwargs", {"b": 0.5, "c": 7.0}) == [18.0, 222.0, 303.5, 51.0]


def test_execute_that_was_set_on_the_object_is_called_in_place_of_the_function(workspace, table):
    @datagenerator(output_names="y")
    def double(x):
        return 2.0 * x

    def execute(experiment_sample, **kwargs):
        experiment_sample.store("y", experiment_sample.input_data["x"] + 0.5)

    double.execute = execute
    run(double)
    assert table("r").to_pandas()[1]["y"].tolist() == [0.5, 1.5, 2.5]


def test_a_reason_is_one_of_an_error():
    with pytest.raises(ValueError, match="reason"):
        ExperimentSample({"x": 1.0}).mark("finished", reason="it is good")


@pytest.mark.parametrize(
    "value", [[1.0, float("nan")], {"a": (np.float64("nan"),)}, complex("nan"), {"b": [np.full(2, np.nan)]}]
)
def test_nan_inside_an_output_fails_the_experiment_with_allow_nan_false(value):
    @datagenerator(output_names=["y", "z"], allow_nan=False)
    def strict(x):
        return value, x

    with pytest.raises(ValueError, match="allow_nan=False, but its output 'y'"):
        strict.execute(ExperimentSample({"x": 1.0}))


def test_none_inside_an_output_is_a_value():
    @datagenerator(output_names=["y", "z"], allow_nan=False)
    def strict(x):
        return [None, {"unit": None}], x

    assert strict.execute(ExperimentSample({"x": 1.0})).output_data["y"] == [None, {"unit": None}]


@pytest.mark.parametrize("value", [float("nan"), None, np.array([1.0, np.nan])], ids=["NaN", "None", "an array"])
def test_a_missing_value_fails_the_experiment_only_with_allow_nan_false(workspace, table, value, golden):
    class Stores(DataGenerator):
        def execute(self, experiment_sample):
            experiment_sample.store("y", value)

    class Strict(Stores):
        allow_nan = False

    @datagenerator(output_names=["y", "z"], allow_nan=False)
    def strict(x):
        return value, x

    data = numbers(1, outputs=["y", "z"])
    assert Stores().call(data).is_all_finished()
    assert not Strict().call(data).is_all_finished()
    assert not strict.call(data).is_all_finished()
    with golden.raises(ValueError):
        strict.execute(ExperimentSample({"x": 1.0}))


def test_an_undeclared_output_is_refused_by_arm(golden):
    with golden.raises(ValueError):
        stores_another_output.arm(numbers(2))
    with pytest.raises(ValueError, match="does not declare"):
        stores_another_output.call(numbers(2))
    stores_another_output.arm(numbers(2, outputs=[]))


def test_a_stored_domain_knows_which_outputs_were_declared(tmp_path):
    data = ExperimentData(input_data=[{"x": 1.0}], output_data=[{"found": 2.0}], project_dir=tmp_path)
    assert data.domain.expected_outputs is None
    data.store()
    back = ExperimentData.from_file(tmp_path)
    assert back.domain.expected_outputs is None
    back.domain.add_output("declared")
    assert (back + back).domain.expected_outputs == ["found", "declared"]
    back.store()
    assert ExperimentData.from_file(tmp_path).domain.copy().expected_outputs == ["found", "declared"]
    assert Domain().expected_outputs is None
