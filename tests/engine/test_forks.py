"""Go back to a step with the tables as they were then: as a new run, or in the same one."""

from __future__ import annotations

import shutil

import pytest

from orchestrator import Block, ExperimentData, Loop, Pipeline, Step, datagenerator
from orchestrator.db.store import Store
from orchestrator.engine import commands
from orchestrator.engine.fork import make_fork, prepare_fork
from orchestrator.engine.kept_tables import change_limit, listed_tables
from orchestrator.errors import DefinitionError, RunFailed
from orchestrator.machine.states import RunState
from orchestrator.worker.keep_tables import keep
from orchestrator.workspace import Workspace
from tests.studies import store_numbers

pytestmark = pytest.mark.slow

EVALUATED = []
LIMIT = [99.0]


@datagenerator(output_names="y")
def evaluate(x):
    EVALUATED.append(x)
    if x > LIMIT[0]:
        raise ValueError("too large")
    return x * x


class Grow(Block):
    """Adds as many experiments as the table has, so that it shows which table it got."""

    def call(self, data, iteration):
        new = [{"x": 10.0 * (iteration + 1) + i} for i in range(len(data))]
        return data + ExperimentData(domain=data.domain, input_data=new)


def report(project_dir):
    (project_dir / "report.txt").write_text(str(len(ExperimentData.from_file(project_dir))))


def study():
    loop = Loop(3, [Step(Grow(), name="grow"), Step(evaluate, name="solve")])
    return Pipeline("forked", [Step(store_numbers(2), name="create"), loop, Step(report, name="report")])


INPUTS = [0.0, 1.0, 10.0, 11.0, 20.0, 21.0, 22.0, 23.0, *(30.0 + i for i in range(8))]


@pytest.fixture
def place(workspace):
    EVALUATED.clear()
    LIMIT[0] = 99.0
    study().run(project_job="r")
    EVALUATED.clear()
    return Workspace.at(workspace)


def inputs(place, key):
    data = ExperimentData.from_file(place.root / key)
    return [row["x"] for row in map(data.input_rows(), range(len(data)))]


def outputs(place, key):
    data = ExperimentData.from_file(place.root / key)
    return [row["y"] for row in map(data.output_rows(), range(len(data)))]


def fork(place, from_step=None, key="r", new=None):
    made = make_fork(place, prepare_fork(place, key, from_step, new))
    commands.resume(place, made)
    return made


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".lock" not in path.name
    }


# --- fork ----------------------------------------------------------------------------------------


def test_a_fork_begins_with_the_table_as_it_was_and_leaves_the_run_as_it_is(place, rows):
    before = files(place.root / "r")
    assert fork(place, "grow@1", new="again") == "again"
    assert INPUTS[4:] == EVALUATED
    assert inputs(place, "again") == inputs(place, "r") == INPUTS
    assert outputs(place, "again") == [x * x for x in INPUTS]
    assert files(place.root / "r") == before
    assert (place.root / "again" / "report.txt").read_text() == "16"
    assert rows("SELECT key, state, forked_from, forked_step FROM run") == [
        ("r", "succeeded", None, None),
        ("again", "succeeded", "r", "grow@1"),
    ]
    done = rows(
        "SELECT step_run.name, iteration, step_run.state FROM step_run JOIN run ON run.id = run_id WHERE key = 'again'"
    )
    assert [row for row in done if row[2] == "succeeded"] == [
        ("grow", "1", "succeeded"),
        ("solve", "1", "succeeded"),
        ("grow", "2", "succeeded"),
        ("solve", "2", "succeeded"),
        ("report", "", "succeeded"),
    ]


@pytest.mark.parametrize(
    ("address", "evaluated"),
    [
        ("create", INPUTS),
        ("grow@0", INPUTS),
        ("solve@0", INPUTS),
        ("solve@1", INPUTS[4:]),
        ("grow@2", INPUTS[8:]),
        ("solve@2", INPUTS[8:]),
        ("report", []),
    ],
)
def test_a_fork_can_begin_with_every_step(place, address, evaluated):
    new = fork(place, address)
    assert (new, EVALUATED, inputs(place, new)) == ("r-2", evaluated, INPUTS)


def test_a_fork_needs_nothing_of_the_run_that_it_was_made_of(place):
    made = make_fork(place, prepare_fork(place, "r", "grow@2", None))
    shutil.rmtree(place.root / "r")
    commands.resume(place, made)
    assert inputs(place, made) == INPUTS
    assert INPUTS[8:] == EVALUATED
    # A fork can be forked.
    assert inputs(place, fork(place, "solve@2", key=made)) == INPUTS


def test_a_run_that_failed_is_forked_where_it_stands(workspace, rows):
    LIMIT[0] = 19.0
    with pytest.raises(RunFailed):
        study().run(project_job="r")
    place = Workspace.at(workspace)
    LIMIT[0] = 99.0
    new = fork(place)
    assert rows("SELECT key, state, forked_step FROM run") == [("r", "failed", None), (new, "succeeded", "solve@1")]
    assert inputs(place, new) == INPUTS
    assert outputs(place, new) == [x * x for x in INPUTS]


def test_what_can_not_be_forked_is_refused_before_anything_is_written(place, golden):
    (place.root / "taken").mkdir()
    before = sorted(place.root.iterdir())
    for address, new in ((None, None), ("other", None), ("grow@7", None), ("grow@1", "taken"), ("grow@1", "../x")):
        with golden.raises(DefinitionError):
            prepare_fork(place, "r", address, new)
    assert sorted(place.root.iterdir()) == before


def test_files_of_steps_are_copied_but_not_scratch_or_what_links_lead_to(place, tmp_path):
    run = place.root / "r"
    (run / "model.bin").write_text("trained")
    (run / "scratch").mkdir()
    (run / "scratch" / "large").write_text("x")
    (tmp_path / "outside").write_text("precious")
    (run / "link").symlink_to(tmp_path / "outside")
    prepared = prepare_fork(place, "r", "report", "new")
    assert any("3 other files" in line for line in prepared.lines)
    make_fork(place, prepared)
    new = place.root / "new"
    assert (new / "model.bin").read_text() == "trained"
    assert not (new / "scratch").exists()
    assert (new / "link").is_symlink()
    shared = {path.stat().st_ino for path in run.rglob("*") if path.is_file() and not path.is_symlink()}
    assert not shared & {path.stat().st_ino for path in new.rglob("*") if path.is_file() and not path.is_symlink()}


def test_an_edit_in_place_of_a_kept_table_is_said(place):
    [solved] = [each for each in listed_tables(place, "r")[0] if each.address == "solve@1"]
    assert solved.table == "."
    store = Store(place.database)
    [folder] = place.run("r").kept_tables.glob("7.0.*")  # report finds the table that is there
    assert not any("edited" in line for line in prepare_fork(place, "r", "grow@1", None).lines)
    path = place.run("r").kept_table(4, 0, store.load("r").mark) / "output.csv"
    with path.open("a") as file:
        file.write("\n")
    lines = prepare_fork(place, "r", "grow@1", None).lines
    assert "Attention: output.csv was edited in place since, and is taken as it is now." in lines
    assert folder.is_dir()


# --- the same run --------------------------------------------------------------------------------


def test_a_resume_from_a_step_can_begin_with_the_table_as_it_was(place, rows):
    commands.resume(place, "r", from_step="grow@1", puts_back=True)
    assert INPUTS[4:] == EVALUATED
    assert inputs(place, "r") == INPUTS
    assert outputs(place, "r") == [x * x for x in INPUTS]
    assert rows("SELECT state, puts_back FROM run") == [("succeeded", None)]
    # Without that it begins with the table as it is.
    commands.resume(place, "r", from_step="grow@2")
    assert len(inputs(place, "r")) == 32


def test_a_step_that_was_only_skipped_since_begins_with_the_table_of_when_it_had_work(place):
    for _ in range(2):
        commands.resume(place, "r", from_step="solve@2")
    assert not EVALUATED
    commands.resume(place, "r", from_step="solve@2", puts_back=True)
    assert INPUTS[8:] == EVALUATED
    assert inputs(place, "r") == INPUTS
    assert outputs(place, "r") == [x * x for x in INPUTS]


def test_a_step_that_had_work_again_begins_with_the_table_of_that_time(place):
    commands.resume(place, "r", from_step="grow@2")
    again = EVALUATED.copy()
    assert len(again) == 16
    commands.resume(place, "r", from_step="solve@2")
    assert again == EVALUATED
    commands.resume(place, "r", from_step="solve@2", puts_back=True)
    assert again * 2 == EVALUATED
    assert len(inputs(place, "r")) == 32


def test_a_table_that_did_not_exist_then_is_not_put_back(place, golden):
    with golden.raises(DefinitionError):
        commands.resume(place, "r", from_step="create", puts_back=True)
    with golden.raises(DefinitionError):
        commands.resume(place, "r", puts_back=True)


# --- which tables are kept -----------------------------------------------------------------------


def test_only_the_last_tables_are_kept_and_the_rule_can_be_changed(place, golden):
    found, limit = listed_tables(place, "r")
    assert limit == 50
    assert [each.address for each in found] == [
        "create",
        "grow@0",
        "solve@0",
        "grow@1",
        "solve@1",
        "grow@2",
        "solve@2",
        "report",
    ]
    assert change_limit(place, "r", 3) == 5
    assert [each.address for each in listed_tables(place, "r")[0]] == ["grow@2", "solve@2", "report"]
    with golden.raises(DefinitionError):
        prepare_fork(place, "r", "solve@1", None)
    assert inputs(place, fork(place, "grow@2")) == INPUTS
    commands.resume(place, "r", from_step="grow@2", puts_back=True)
    assert [each.address for each in listed_tables(place, "r")[0]] == ["grow@2", "solve@2", "report"]
    assert change_limit(place, "r", 0) == 3
    commands.resume(place, "r", from_step="report")
    assert listed_tables(place, "r") == ([], 0)


def test_a_table_that_has_not_changed_needs_no_space(place):
    def file(position, epoch, name):
        [kept] = place.run("r").kept_tables.glob(f"{position}.{epoch}.*")
        return (kept / name).stat().st_ino

    assert file(10, 0, "input.csv") == file(8, 0, "input.csv") != file(7, 0, "input.csv")
    commands.resume(place, "r", from_step="report")
    for name in ("input.csv", "output.csv", "jobs.csv", "domain.json"):
        assert file(10, 1, name) == file(10, 0, name)
    last = listed_tables(place, "r")[0][-1]
    assert (last.address, last.n_bytes < 500) == ("report", True)


def test_a_table_is_not_copied_again_after_the_workspace_was_moved(place):
    elsewhere = place.root.with_name(f"{place.root.name}-elsewhere")
    place.root.rename(elsewhere)
    try:
        keep(Workspace.at(elsewhere).run("r"), ".", 11, 0, Store(elsewhere / "orchestrator.db").load("r").mark, None)
    finally:
        elsewhere.rename(place.root)
    first, second = (next(place.run("r").kept_tables.glob(f"{position}.0.*")) for position in (10, 11))
    assert (first / "input.csv").stat().st_ino == (second / "input.csv").stat().st_ino


def test_what_a_killed_process_left_of_a_table_is_removed(place):
    left = place.run("r").kept_tables / ".0123456789abcdef.tmp"
    left.mkdir()
    (left / "input.csv").write_text("half")
    commands.resume(place, "r", from_step="report")
    assert not left.exists()


def test_a_step_runs_although_its_table_cannot_be_kept(place):
    shutil.rmtree(place.run("r").kept_tables)
    place.run("r").kept_tables.touch()
    EVALUATED.clear()
    commands.resume(place, "r", from_step="solve@2")
    assert Store(place.database).load("r").state is RunState.SUCCEEDED


@pytest.mark.parametrize("address", ["report", "grow@1"])
def test_a_table_that_is_edited_in_place_stays_in_a_fork_as_it_was(place, address):
    """As an editor does, or pandas: they write into the file that is there."""
    for name in ("input.csv", "output.csv", "jobs.csv", "domain.json"):
        with (place.root / "r" / "experiment_data" / name).open("r+") as file:
            file.truncate(0)
            file.write("gone\n")
    prepared = prepare_fork(place, "r", address, None)
    assert not any("edited" in line for line in prepared.lines)
    new = fork(place, address)
    assert (inputs(place, new), outputs(place, new)) == (INPUTS, [x * x for x in INPUTS])
