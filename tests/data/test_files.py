import json
import multiprocessing
import os
import stat
import subprocess
from contextlib import suppress

import pytest

from orchestrator.data import files
from orchestrator.data.experiment_data import ExperimentData
from orchestrator.data.files import data_folder, read_snapshot
from orchestrator.data.fold import fold
from orchestrator.data.results import ResultWriter, inputs_digest
from orchestrator.errors import DataError
from tests.damage import NOT_JSON

CALLS = ("mkdir", "open", "fsync", "rename", "unlink", "rmdir")


class Killed(BaseException):
    """The end of the process: no cleanup may depend on catching it."""


def table(tmp_path, y):
    rows = [{"x": float(n)} for n in range(3)]
    return ExperimentData(None, rows, [{"y": y}] * 3, project_dir=tmp_path)


def value(tmp_path):
    values = set(ExperimentData.from_file(tmp_path).to_pandas()[1]["y"])
    assert len(values) == 1
    return values.pop()


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
        assert not (data_folder(folder) / ".next").exists()
    assert set(seen) == {1.0, 2.0}


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
    stop_at(monkeypatch, 5, OSError(28, "No space left on device"))
    with golden.raises(DataError):
        table(tmp_path, 2.0).store()


def test_an_uncommitted_table_is_ignored_and_cleared(tmp_path):
    table(tmp_path, 1.0).store()
    following = data_folder(tmp_path) / ".next"
    following.mkdir()
    (following / "input.csv").write_text("half a li")
    (following / "commit.json.tmp").write_text("{")
    assert value(tmp_path) == 1.0
    table(tmp_path, 2.0).store()
    assert value(tmp_path) == 2.0
    assert not following.exists()


def test_a_committed_table_can_be_read_without_write_permission(tmp_path, monkeypatch):
    table(tmp_path, 1.0).store()
    with monkeypatch.context() as patch:
        patch.setattr(files, "roll_forward", lambda base: None)
        table(tmp_path, 2.0).store()
    before = sorted(path for path in tmp_path.rglob("*"))
    assert value(tmp_path) == 2.0
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_a_commit_whose_files_changed_is_ignored(tmp_path, monkeypatch, golden):
    table(tmp_path, 1.0).store()
    with monkeypatch.context() as patch:
        patch.setattr(files, "roll_forward", lambda base: None)
        table(tmp_path, 2.0).store()
    (data_folder(tmp_path) / ".next" / "output.csv").write_text("0,1\n")
    with golden.raises(DataError):
        read_snapshot(tmp_path)


def test_a_missing_table_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        ExperimentData.from_file(tmp_path)


def _store_often(folder, y):
    for _ in range(15):
        table(folder, y).store()


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
    [
        *NOT_JSON.values(),
        b'{"sha256": {}, "consumed": []}',
        b'{"sha256": 7, "consumed": []}',
        b'{"sha256": %s, "consumed": ["../.."]}',
        b'{"sha256": %s, "consumed": "tok"}',
        None,
    ],
)
@pytest.mark.parametrize("n_moved", [0, 2])
def test_a_damaged_commit_is_an_error_that_says_how_to_go_on(tmp_path, content, n_moved):
    table(tmp_path, 1).store(tmp_path)
    base = data_folder(tmp_path)
    old = read_snapshot(tmp_path).contents
    table(tmp_path, 2).store(tmp_path)
    new = read_snapshot(tmp_path).contents
    (base / ".next").mkdir()
    for number, (name, text) in enumerate(new.items()):
        (base / name).write_bytes(old[name] if number >= n_moved else text)
        if number >= n_moved:
            (base / ".next" / name).write_bytes(text)
    hashes = json.dumps(dict.fromkeys(new, "0" * 64)).encode()
    commit = base / ".next" / "commit.json"
    commit.write_bytes(content.replace(b"%s", hashes)) if content is not None else os.mkfifo(commit)
    for use in (read_snapshot, files.result_folders, table(tmp_path, 3).store):
        with pytest.raises(DataError, match=r"commit.json can't be used: .* To use the table .*: mv ") as raised:
            use(tmp_path)
    subprocess.run(raised.value.message.rpartition(": ")[2], shell=True, check=True)
    assert value(tmp_path) == (2 if n_moved else 1)
    table(tmp_path, 3).store(tmp_path)
    assert value(tmp_path) == 3


def test_a_fifo_in_place_of_a_table_file_is_an_error_at_once(tmp_path):
    table(tmp_path, 1).store(tmp_path)
    path = data_folder(tmp_path) / "output.csv"
    elsewhere = tmp_path / "elsewhere.csv"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert value(tmp_path) == 1
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(DataError, match=r"output.csv can't be read: it is no regular file"):
        ExperimentData.from_file(tmp_path)
