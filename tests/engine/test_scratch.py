"""The scratch folder of an experiment, and experiments that run a program in it."""

from __future__ import annotations

import os
import pickle
import sys
import time
from pathlib import Path

import pytest

from orchestrator import (
    CommandFailed,
    CommandGenerator,
    DataGenerator,
    ExperimentSample,
    Pipeline,
    Step,
    datagenerator,
    run_command,
)
from orchestrator.cli.main import main
from orchestrator.data.scratch import Scratch
from orchestrator.engine import commands
from orchestrator.errors import DefinitionError, RunFailed
from orchestrator.workspace import Workspace
from tests.studies import numbers, square, store_numbers

pytestmark = pytest.mark.slow


def run(step, n=3, outputs=("y",), **more):
    Pipeline(steps=[Step(store_numbers(n, outputs=outputs)), step]).run(project_job="r", **more)


def folders(workspace, name="*"):
    return sorted(str(path.relative_to(workspace / "r" / "scratch")) for path in workspace.glob(f"r/scratch/*/{name}"))


def show_logs(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["orchestrator", "logs", "r", "solve"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


def statuses(data):
    return [status.name for status in data.statuses()]


@datagenerator(output_names="y")
def the_second_fails(x, scratch_dir):
    assert not any(scratch_dir.iterdir())
    (scratch_dir / "deck.txt").write_text(f"{x}")
    if x == 1:
        raise ValueError("it does not converge")
    return x


@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize(
    ("keep", "kept"),
    [("on_error", ["1"]), ("always", ["0", "1", "2"]), ("never", [])],
    ids=["on_error", "always", "never"],
)
def test_a_folder_is_kept_by_the_rule_of_the_step(workspace, table, keep, kept, parallel):
    run(Step(the_second_fails, name="solve", parallel=parallel, keep_scratch=keep))
    assert statuses(table("r")) == ["FINISHED", "ERROR", "FINISHED"]
    assert folders(workspace) == [f"solve/{name}" for name in kept]
    assert all((workspace / "r/scratch/solve" / name / "deck.txt").read_text() == f"{name}.0" for name in kept)


@pytest.mark.parametrize("keep", ["on_error", "never"])
def test_the_logs_of_a_step_name_the_folder_of_a_failure_if_it_is_kept(workspace, capsys, monkeypatch, keep):
    run(Step(the_second_fails, name="solve", parallel=True, keep_scratch=keep))
    show_logs(monkeypatch)
    shown = capsys.readouterr().out
    assert "it does not converge" in shown
    assert (f"Scratch folder: {workspace}/r/scratch/solve/1" in shown) == (keep == "on_error")


def test_an_experiment_that_asks_for_no_folder_has_none(workspace):
    run(Step(square, parallel=True, keep_scratch="always"))
    assert not (workspace / "r" / "scratch").exists()


class Marks(DataGenerator):
    def execute(self, experiment_sample):
        (experiment_sample.scratch_dir / "deck.txt").touch()
        experiment_sample.mark("error")


def test_the_folder_of_an_experiment_that_the_generator_marked_as_failed_is_kept(workspace):
    with pytest.raises(RunFailed):
        run(Step(Marks(), name="marks", parallel=True))
    assert folders(workspace) == ["marks/0", "marks/1", "marks/2"]


@datagenerator(output_names="y")
def the_second_crashes(x, scratch_dir):
    assert not any(scratch_dir.iterdir())
    (scratch_dir / "deck.txt").touch()
    if x == 1 and not Path("fixed").exists():
        os._exit(3)
    return x


def test_each_try_gets_an_empty_folder_and_the_last_one_is_named(workspace, capsys, monkeypatch):
    run(Step(the_second_crashes, name="solve", parallel=True))
    assert folders(workspace) == ["solve/1", "solve/1-2"]
    show_logs(monkeypatch)
    assert f"Scratch folder: {workspace}/r/scratch/solve/1-2" in capsys.readouterr().out


def test_no_folder_of_a_try_is_kept_if_none_shall_be(workspace):
    run(Step(the_second_crashes, name="solve", parallel=True, keep_scratch="never"))
    assert folders(workspace) == []


def test_a_resume_that_succeeds_removes_the_folders_of_failed_tries(workspace, table):
    with pytest.raises(RunFailed):
        run(Step(the_second_crashes, name="solve", parallel=True, max_failed=0))
    # Another experiment may have been stopped while it ran: its folder is kept, too.
    assert {"solve/1", "solve/1-2"} <= set(folders(workspace))
    (workspace / "fixed").touch()
    commands.resume(Workspace.at(workspace), "r")
    assert statuses(table("r")) == ["FINISHED"] * 3
    assert folders(workspace) == []


@datagenerator(output_names="y")
def the_second_hangs(x, scratch_dir):
    (scratch_dir / "deck.txt").touch()
    if x == 1:
        time.sleep(600)
    return x


def test_the_folder_of_an_experiment_that_took_too_long_is_kept(workspace):
    run(Step(the_second_hangs, name="hangs", parallel=True, timeout=0.5))
    assert folders(workspace) == ["hangs/1"]


def test_two_processes_never_have_the_same_folder(tmp_path):
    given_up, now = Scratch(tmp_path, "7", "solve"), Scratch(tmp_path, "7", "solve")
    assert (given_up.create().name, now.create().name) == ("7", "7-2")
    assert given_up.create() == tmp_path / "scratch" / "solve" / "7"
    # The one that was given up ends late: it removes its own folder only.
    given_up.end(has_failed=False)
    assert [path.name for path in (tmp_path / "scratch" / "solve").iterdir()] == ["7-2"]


@pytest.mark.parametrize("linked", ["scratch", "scratch/solve"])
def test_a_link_is_not_followed(tmp_path, linked):
    private = tmp_path / "private"
    (private / "solve" / "7").mkdir(parents=True)
    (tmp_path / linked).parent.mkdir(exist_ok=True)
    (tmp_path / linked).symlink_to(private if linked == "scratch" else private / "solve")
    with pytest.raises(NotADirectoryError, match="it is a link"):
        Scratch(tmp_path, "8", "solve").create()
    assert [path.name for path in (private / "solve").iterdir()] == ["7"]
    planted = Scratch(tmp_path, "7", "solve")
    planted.find()
    planted.end(has_failed=False)
    assert (private / "solve" / "7").is_dir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_folder_of_another_user_is_not_used(tmp_path):
    (tmp_path / "scratch").mkdir()
    os.chown(tmp_path / "scratch", 12345, 12345)
    with pytest.raises(PermissionError, match="another user"):
        Scratch(tmp_path, "7").create()


def test_a_rule_that_does_not_exist_is_refused(workspace, golden):
    with golden.raises(DefinitionError):
        run(Step(square, name="square", keep_scratch="sometimes"))


def test_outside_of_a_pipeline_the_folder_of_a_failure_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = the_second_fails.call(numbers(3))
    assert statuses(data) == ["FINISHED", "ERROR", "FINISHED"]
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == ["1"]


# --- programs -----------------------------------------------------------------------------------

SOLVER = """\
import sys
from pathlib import Path
deck = dict(line.split() for line in Path(sys.argv[1]).read_text().splitlines())
print("solving", deck["x"])
if float(deck["x"]) == 1:
    sys.exit("no convergence at increment 3")
Path("result").write_text(str(float(deck["x"]) ** 2 * float(deck["scale"])))
"""


def read_result(folder):
    return {"y": float((folder / "result").read_text())}


@pytest.fixture
def solver(tmp_path):
    (tmp_path / "solver.py").write_text(SOLVER)
    return [sys.executable, str(tmp_path / "solver.py"), "deck-{{ '%02d' % x }}"]


def test_a_program_runs_with_the_inputs_in_its_template(workspace, table, solver, capsys, monkeypatch):
    generator = CommandGenerator(
        solver, read_result, files={f"deck-0{n}": "x {{ x }}\nscale {{ scale }}\n" for n in range(3)}
    )
    run(Step(generator, name="solve", parallel=True, kwargs={"scale": 10}))
    assert statuses(table("r")) == ["FINISHED", "ERROR", "FINISHED"]
    assert table("r").to_pandas()[1]["y"].tolist()[::2] == [0.0, 40.0]
    [kept] = workspace.glob("r/scratch/*/*")
    assert (kept / "command.log").read_text() == "solving 1.0\nno convergence at increment 3\n"
    show_logs(monkeypatch)
    shown = capsys.readouterr().out
    assert "CommandFailed: python" in shown
    assert "ended with exit code 1" in shown
    assert "no convergence at increment 3" in shown
    assert f"Scratch folder: {kept}" in shown


def prepare(x):
    if x == 1:
        raise ValueError("the hole cuts the edge")
    return {"nodes": [x, 2 * x]}


def read_nodes(folder):
    import numpy as np

    return {"y": 1.0, "field": np.loadtxt(folder / "mesh.txt")}


def test_what_a_template_needs_is_prepared_and_a_field_is_written_to_its_own_file(workspace, table):
    mesh = workspace / "mesh.jinja"
    mesh.write_text("{% for node in nodes %}{{ node }}\n{% endfor %}")
    generator = CommandGenerator("true", read_nodes, files={"mesh.txt": mesh}, prepare=prepare, to_disk=["field"])
    mesh.unlink()  # it was read
    run(Step(generator, name="solve", parallel=True), outputs=["y", "field"])
    data = table("r")
    assert statuses(data) == ["FINISHED", "ERROR", "FINISHED"]
    assert data.get_experiment_sample(2).output_data["field"].tolist() == [2.0, 4.0]
    assert sorted(path.name for path in workspace.glob("r/experiment_data/field/*")) == ["0.npy", "2.npy"]


def the_file(folder):
    return {"y": 1.0, "log": folder / "command.log"}


def test_a_file_of_the_program_can_be_an_output(workspace, table):
    run(Step(CommandGenerator("echo {{ x }}", the_file), name="solve", parallel=True), outputs=["y", "log"])
    assert folders(workspace) == []
    kept = [table("r").get_experiment_sample(row).output_data["log"] for row in range(3)]
    assert [Path(path).read_text() for path in kept] == ["0.0\n", "1.0\n", "2.0\n"]
    assert all(Path(path).is_relative_to(workspace / "r" / "experiment_data" / "log") for path in kept)


def test_a_name_without_a_value_says_where_it_can_come_from(tmp_path):
    generator = CommandGenerator("true", read_result, files={"deck.inp": "{{ width }}"})
    with pytest.raises(
        ValueError, match=r"the template 'deck.inp' can't be filled in: 'width' is undefined. Add an input"
    ):
        generator.execute(ExperimentSample({"x": 1.0}, project_dir=tmp_path))


def test_a_template_that_is_not_valid_is_refused_at_once():
    with pytest.raises(DefinitionError, match=r"the template 'deck.inp' is not valid: .* \(line 2\)"):
        CommandGenerator("true", read_result, files={"deck.inp": "\n{{ width"})


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("no-such-program --help", r"no-such-program can't be run on .*: No such file or directory. If a module"),
        (["sh", "-c", "kill -SEGV $$"], "sh was ended by SIGSEGV"),
        (["sh", "-c", "exit 201"], "sh ended with exit code 201"),
    ],
)
def test_the_failure_of_a_program_says_what_happened(tmp_path, command, message):
    with pytest.raises(CommandFailed, match=message):
        run_command(command, tmp_path)


def test_the_failure_of_a_program_can_be_pickled(tmp_path):
    with pytest.raises(CommandFailed) as raised:
        run_command(["sh", "-c", "echo no licence; exit 1"], tmp_path)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.last_lines, len(again.__notes__)) == ("sh ended with exit code 1", "no licence", 1)


def test_a_value_of_a_table_is_one_argument_and_no_shell_sees_it(tmp_path):
    generator = CommandGenerator("echo {{ text }}", lambda folder: {"said": (folder / "command.log").read_text()})
    sample = generator.execute(ExperimentSample({"text": "a  b; touch pwned"}, project_dir=tmp_path))
    assert sample.output_data == {"said": "a  b; touch pwned\n"}
