import multiprocessing
import os
import shutil
import stat
import subprocess
from contextlib import suppress
from errno import EACCES, ENOSYS

import pandas as pd
import pytest
from filelock import FileLock

from orchestrator.data import generations
from orchestrator.data.experiment_data import ExperimentData
from orchestrator.data.fold import fold
from orchestrator.data.open_table import opened_table
from orchestrator.data.result_folders import result_folders
from orchestrator.data.results import ResultWriter, inputs_digest
from orchestrator.errors import Busy, DataError
from orchestrator.kernel_lock import KernelLock
from orchestrator.table_folder import TABLE_FILES, data_folder
from tests.damage import NOT_JSON

CALLS = ("mkdir", "open", "fsync", "rename", "unlink", "rmdir", "link", "symlink")


class Killed(BaseException):
    """The end of the process: no cleanup may depend on catching it."""


def table(tmp_path, y):
    rows = [{"x": float(n)} for n in range(3)]
    return ExperimentData(None, rows, [{"y": y}] * 3, project_dir=tmp_path)


def value(tmp_path):
    values = set(ExperimentData.from_file(tmp_path).to_pandas()[1]["y"])
    assert len(values) == 1
    return values.pop()


def last_two(tmp_path):
    """Return the names of the generations that are kept."""
    number = int((data_folder(tmp_path) / ".table").readlink().name)
    return sorted(map(str, range(max(1, number - 1), number + 1)))


def stop_at(monkeypatch, number, error):
    """Let the number-th change of the disk fail; a file that is not synced loses half of its content.

    After the end of the process, all that follow fail, too.
    """
    count = [0]

    def guard(name, real):
        def call(*args, **kwargs):
            ours = name != "open" or bool(args[1] & os.O_WRONLY)
            if name == "open" and ".lock" in str(args[0]):
                ours = False
            count[0] += ours
            if ours and (count[0] == number or (isinstance(error, Killed) and count[0] > number)):
                if name == "fsync" and stat.S_ISREG(os.fstat(args[0]).st_mode):
                    os.ftruncate(args[0], os.fstat(args[0]).st_size // 2)
                raise error
            return real(*args, **kwargs)

        return call

    for name in CALLS:
        monkeypatch.setattr(os, name, guard(name, getattr(os, name)))
    return count


def count_steps(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        count = stop_at(patch, -1, None)
        table(tmp_path, 2.0).store()
    return count[0]


@pytest.mark.slow
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Killed()])
def test_a_store_that_ends_anywhere_leaves_one_whole_table(tmp_path, monkeypatch, error):
    seen = []
    table(tmp_path / "count", 1.0).store()
    n_steps = count_steps(tmp_path / "count", monkeypatch)
    assert n_steps > 20
    for number in range(1, n_steps + 1):
        folder = tmp_path / str(number)
        table(folder, 1.0).store()
        refused = False
        with monkeypatch.context() as patch:
            stop_at(patch, number, error)
            try:
                table(folder, 2.0).store()
            except (DataError, Killed):
                refused = True
        seen.append(value(folder))
        # After an error of the disk the old table remains; without one, the new table is there.
        if isinstance(error, OSError):
            assert seen[-1] == (1.0 if refused else 2.0)
        table(folder, 3.0).store()
        assert value(folder) == 3.0
        assert sorted(path.name for path in (data_folder(folder) / ".generations").iterdir()) == last_two(folder)
    assert set(seen) == {1.0, 2.0}


@pytest.mark.slow
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Killed()])
def test_collecting_that_ends_anywhere_loses_no_result(tmp_path, monkeypatch, error):
    def prepare(folder):
        ExperimentData(input_data=[{"x": 1}, {"x": 2}], project_dir=folder).store()
        with ResultWriter(data_folder(folder) / ".results" / "tok" / "0.0.jsonl") as writer:
            for row, x in enumerate((1, 7)):
                inputs = inputs_digest({"x": x})
                line = {"row": row, "inputs": inputs, "status": "FINISHED", "outputs": {"y": 5}}
                writer.write(line)

    prepare(tmp_path / "count")
    with monkeypatch.context() as patch:
        count = stop_at(patch, -1, None)
        fold(tmp_path / "count")
    for number in range(1, count[0] + 1):
        folder = tmp_path / str(number)
        prepare(folder)
        with monkeypatch.context() as patch:
            stop_at(patch, number, error)
            with suppress(DataError, Killed):
                fold(folder)
        assert list(ExperimentData.from_file(folder).jobs) == ["FINISHED", "OPEN"]
        fold(folder)
        ExperimentData.from_file(folder).store()
        assert list(ExperimentData.from_file(folder).jobs) == ["FINISHED", "OPEN"]
        archive = data_folder(folder) / ".archive"
        assert (archive / "tok" / "0.0.jsonl").exists()
        assert (archive / "quarantine" / "tok" / "0.0.jsonl").exists()


def test_a_full_disk_is_reported_with_what_to_do(tmp_path, monkeypatch, golden):
    table(tmp_path, 1.0).store()
    stop_at(monkeypatch, 4, OSError(28, "No space left on device"))
    with golden.raises(DataError):
        table(tmp_path, 2.0).store()


def test_an_uncommitted_table_is_ignored_and_cleared(tmp_path):
    table(tmp_path, 1.0).store()
    following = data_folder(tmp_path) / ".generations" / ".0123.tmp"
    following.mkdir()
    (following / "input.csv").write_text("half a li")
    assert value(tmp_path) == 1.0
    table(tmp_path, 2.0).store()
    assert value(tmp_path) == 2.0
    assert not following.exists()


def test_a_table_whose_process_died_before_the_last_rename_can_be_read_and_is_finished_by_the_next_writer(
    tmp_path, monkeypatch
):
    table(tmp_path, 1.0).store()
    with monkeypatch.context() as patch:
        patch.setattr(generations, "_finish", lambda base, number: None)
        table(tmp_path, 2.0).store()
    before = sorted(path for path in tmp_path.rglob("*"))
    read = ExperimentData.from_file(tmp_path)
    assert value(tmp_path) == 1.0
    assert sorted(path for path in tmp_path.rglob("*")) == before
    read.store()
    assert value(tmp_path) == 2.0  # what the dead process has stored is not lost by a store of what was read before
    assert last_two(tmp_path) == ["2", "3"]


def test_a_step_begins_with_the_table_whose_process_died_before_the_last_rename(tmp_path, monkeypatch):
    table(tmp_path, 1.0).store()
    with monkeypatch.context() as patch:
        patch.setattr(generations, "_finish", lambda base, number: None)
        table(tmp_path, 2.0).store()
    fold(tmp_path)
    assert value(tmp_path) == 2.0


def test_all_four_files_change_by_one_rename(tmp_path, monkeypatch):
    table(tmp_path, 1.0).store()
    seen = []
    real = os.rename

    def rename(source, target, **kwargs):
        seen.append(as_pandas_reads(tmp_path))
        real(source, target, **kwargs)
        seen.append(as_pandas_reads(tmp_path))

    monkeypatch.setattr(os, "rename", rename)
    data = ExperimentData(None, [{"x": 7.0}], [{"y": 2.0}], project_dir=tmp_path)
    data.store()
    assert set(seen) == {(3, 1.0), (1, 2.0)}
    assert seen == sorted(seen, reverse=True)
    for name in TABLE_FILES:
        assert (data_folder(tmp_path) / name).is_symlink()


def as_pandas_reads(tmp_path):
    """Return the number of rows and the output; the files must belong together."""
    base = data_folder(tmp_path)
    x, y, jobs = (pd.read_csv(base / f"{name}.csv", index_col=0) for name in ("input", "output", "jobs"))
    assert len(x) == len(y) == len(jobs)
    return len(x), y["y"].iloc[0]


def test_files_of_another_program_are_replaced_without_a_moment_between_two_tables(tmp_path, monkeypatch):
    table(tmp_path / "ours", 1.0).store()
    shutil.copytree(tmp_path / "ours" / "experiment_data", tmp_path / "experiment_data")  # copies what links name
    base = data_folder(tmp_path)
    assert not any((base / name).is_symlink() for name in TABLE_FILES)
    seen = []
    real = os.rename

    def rename(source, target, **kwargs):
        real(source, target, **kwargs)
        seen.append(as_pandas_reads(tmp_path))

    monkeypatch.setattr(os, "rename", rename)
    ExperimentData(None, [{"x": 7.0}], [{"y": 2.0}], project_dir=tmp_path).store()
    assert set(seen) == {(3, 1.0), (1, 2.0)}
    assert seen == sorted(seen, reverse=True)


def test_a_file_that_did_not_change_is_not_written_again(tmp_path):
    data = table(tmp_path, 1.0)
    data.store()
    base = data_folder(tmp_path)
    read = ExperimentData.from_file(tmp_path)
    sample = read.get_experiment_sample(1)
    sample.store("y", 5.0)
    read.store_experimentsample(sample, 1)
    for _, one in read:
        one.store("z", 1)
    read.store()
    assert ExperimentData.from_file(tmp_path).to_pandas()[1]["y"].tolist() == [1.0, 5.0, 1.0]
    (base / "input.csv").write_bytes((base / "input.csv").read_bytes().replace(b"\n2,2.0", b"\n2,4.0"))
    read.mark(0, "open", in_place=True)
    read.store()
    assert ExperimentData.from_file(tmp_path).to_pandas()[0]["x"].tolist() == [0.0, 1.0, 4.0]
    assert ExperimentData.from_file(tmp_path).jobs[0] == "OPEN"


def test_results_that_come_in_leave_the_file_of_inputs_as_it_is(tmp_path):
    ExperimentData(input_data=[{"x": 1}, {"x": 2}], project_dir=tmp_path).store()
    inode = (data_folder(tmp_path) / "input.csv").stat().st_ino
    with ResultWriter(data_folder(tmp_path) / ".results" / "tok" / "0.0.jsonl") as writer:
        line = {"row": 0, "inputs": inputs_digest({"x": 1}), "status": "FINISHED", "outputs": {"y": 5}}
        writer.write(line)
    assert fold(tmp_path).n_folded == 1
    assert (data_folder(tmp_path) / "input.csv").stat().st_ino == inode
    assert list(ExperimentData.from_file(tmp_path).jobs) == ["FINISHED", "OPEN"]


def test_a_link_in_place_of_the_folder_of_generations_is_not_followed(tmp_path):
    elsewhere = tmp_path / "private"
    for name in ("1", "keep"):
        (elsewhere / name).mkdir(parents=True)
    data_folder(tmp_path).mkdir()
    (data_folder(tmp_path) / ".generations").symlink_to(elsewhere)
    for y in (1.0, 2.0, 3.0):
        table(tmp_path, y).store()
    assert value(tmp_path) == 3.0
    assert sorted(path.name for path in elsewhere.iterdir()) == ["1", "keep"]


@pytest.mark.parametrize("which", ["output", "input"])
def test_a_list_that_the_users_code_has_changed_is_stored(tmp_path, which):
    ExperimentData(None, [{"x": [1]}], [{"y": [1]}], project_dir=tmp_path).store()
    data = ExperimentData.from_file(tmp_path)
    for _ in range(2):
        for _, sample in data:
            (sample.input_data["x"] if which == "input" else sample.output_data["y"]).append(9)
        data.store()
    assert ExperimentData.from_file(tmp_path) == data
    [(_, sample)] = ExperimentData.from_file(tmp_path)
    assert sample.to_dict() == {"x": [1], "y": [1]} | ({"x": [1, 9, 9]} if which == "input" else {"y": [1, 9, 9]})


def test_a_copy_without_links_is_reported_with_what_to_type(tmp_path):
    for y in (1.0, 2.0):
        table(tmp_path, y).store()
    for path in data_folder(tmp_path).rglob("*"):
        if path.is_symlink():
            path.unlink()
    with pytest.raises(DataError, match=r"the links to the table in .* are missing") as caught:
        ExperimentData.from_file(tmp_path)
    subprocess.run(caught.value.hint.partition(": ")[2], shell=True, check=True)
    assert value(tmp_path) == 2.0
    table(tmp_path, 3.0).store()
    assert value(tmp_path) == 3.0


def test_a_link_that_is_missing_alone_is_reported_with_what_to_type(tmp_path):
    table(tmp_path, 1.0).store()
    (data_folder(tmp_path) / ".table").unlink()
    with pytest.raises(DataError, match=r"the links to the table in .* are missing") as caught:
        ExperimentData.from_file(tmp_path)
    subprocess.run(caught.value.hint.partition(": ")[2], shell=True, check=True)
    assert value(tmp_path) == 1.0


def test_a_link_that_was_restored_from_a_copy_is_reported_with_what_to_type(tmp_path):
    for y in (1.0, 2.0):
        table(tmp_path, y).store()
    (data_folder(tmp_path) / ".table").unlink()
    (data_folder(tmp_path) / ".table").symlink_to(".generations/1")
    with pytest.raises(Busy, match="is generation 1, but 2 exists there, too") as caught:
        table(tmp_path, 3.0).store()
    assert value(tmp_path) == 1.0
    subprocess.run(caught.value.message.rpartition("in that case: ")[2], shell=True, check=True)
    table(tmp_path, 3.0).store()
    assert value(tmp_path) == 3.0


def test_a_table_whose_lock_belongs_to_another_user_is_reported(tmp_path, monkeypatch):
    def acquire(lock, seconds):
        raise PermissionError(EACCES, "Permission denied", str(data_folder(tmp_path) / ".lock"))

    table(tmp_path, 1.0).store()
    monkeypatch.setattr(KernelLock, "acquire", acquire)
    with pytest.raises(DataError, match=r"can't be stored: .*Permission denied: .*\.lock") as caught:
        table(tmp_path, 2.0).store()
    assert "Its lock belongs to the user who stored it first" in caught.value.hint
    assert value(tmp_path) == 1.0


def test_a_table_is_busy_while_another_program_holds_the_lock_of_filelock(tmp_path, monkeypatch):
    table(tmp_path, 1.0).store()
    monkeypatch.setattr("orchestrator.data.table_lock._LOCK_SECONDS", 0.05)
    with FileLock(data_folder(tmp_path) / ".lock"), pytest.raises(Busy, match="another process stores the table"):
        table(tmp_path, 2.0).store()
    table(tmp_path, 3.0).store()
    assert value(tmp_path) == 3.0


def test_a_table_is_stored_on_a_file_system_without_that_lock_of_the_kernel(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.warns(UserWarning, match="flock not supported"):
        table(tmp_path, 1.0).store()
    assert value(tmp_path) == 1.0


def test_a_missing_table_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        ExperimentData.from_file(tmp_path)


def _store_often(folder, y):
    for _ in range(15):
        table(folder, y).store()


@pytest.mark.slow
def test_two_processes_can_store_while_another_reads(tmp_path):
    table(tmp_path, 1.0).store()
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_store_often, args=(tmp_path, y)) for y in (1.0, 2.0)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert value(tmp_path) in (1.0, 2.0)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert value(tmp_path) in (1.0, 2.0)


@pytest.mark.parametrize(
    "content",
    [*NOT_JSON.values(), b'{"consumed": 7}', b'{"consumed": ["../.."]}', b'{"consumed": "tok"}', b"{}", None],
)
def test_a_damaged_note_about_consumed_results_is_an_error_that_says_what_to_type(tmp_path, content):
    table(tmp_path, 1).store(tmp_path)
    commit = data_folder(tmp_path) / ".table" / "commit.json"
    commit.write_bytes(content) if content is not None else os.mkfifo(commit)
    for use in (lambda folder: opened_table(folder).__enter__(), result_folders, table(tmp_path, 3).store):
        with pytest.raises(DataError, match=r"commit.json can't be used: .* To use the table .*: rm ") as raised:
            use(tmp_path)
    subprocess.run(raised.value.message.rpartition(": ")[2], shell=True, check=True)
    assert value(tmp_path) == 1
    table(tmp_path, 3).store(tmp_path)
    assert value(tmp_path) == 3


def test_a_fifo_in_place_of_a_table_file_is_an_error_at_once(tmp_path):
    table(tmp_path, 1).store(tmp_path)
    path = data_folder(tmp_path) / "output.csv"
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(elsewhere)
    assert value(tmp_path) == 1
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"output.csv can't be used: it is no regular file"):
        ExperimentData.from_file(tmp_path)
    with pytest.raises(DataError, match="To put it right: ") as refused:
        table(tmp_path, 2).store(tmp_path)
    subprocess.run(refused.value.message.rpartition("To put it right: ")[2], shell=True, check=True)
    assert value(tmp_path) == 1


@pytest.mark.parametrize("name", ["domain.json", "jobs.csv"])
def test_a_missing_link_is_named_and_can_be_put_back(tmp_path, name):
    table(tmp_path, 1).store(tmp_path)
    (data_folder(tmp_path) / name).unlink()
    with pytest.raises(DataError, match=f"the link .*{name} is missing") as refused:
        ExperimentData.from_file(tmp_path)
    subprocess.run(refused.value.message.rpartition("To put it back: ")[2], shell=True, check=True)
    assert value(tmp_path) == 1
