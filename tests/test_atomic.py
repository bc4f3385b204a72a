"""Files and folders that are seen whole or not at all."""

from __future__ import annotations

import multiprocessing
import os
from contextlib import suppress
from errno import EINVAL, EIO
from pathlib import Path

import pytest

from orchestrator.atomic import create_atomically, new_folder, replacing, sync_folder, write_atomically, write_synced

WAYS = [write_atomically, create_atomically]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def modes(path):
    return oct(path.stat().st_mode & 0o777)


@pytest.fixture
def umask():
    """Return a function that sets the umask, which is the old one again after the test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def test_a_file_is_replaced_and_its_folder_is_created(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    for content in (b"one", b"two"):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert names(path.parent) == ["file"]


def test_an_existing_file_is_not_created_again(tmp_path):
    for content in (b"one", b"two"):
        create_atomically(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == b"one"
    assert names(tmp_path) == ["file"]


def test_a_file_has_the_requested_mode_without_the_bits_of_the_umask(tmp_path, umask):
    umask(0o027)
    write_atomically(tmp_path / "plain", b"")
    create_atomically(tmp_path / "created", b"")
    write_atomically(tmp_path / "private", b"", mode=0o600)
    write_synced(tmp_path / "synced", b"", mode=0o600)
    assert [modes(tmp_path / name) for name in ("plain", "created", "private", "synced")] == [
        "0o640",
        "0o640",
        "0o600",
        "0o600",
    ]
    # A file that was open to all does not pass that on.
    write_atomically(tmp_path / "plain", b"", mode=0o600)
    assert modes(tmp_path / "plain") == "0o600"


@pytest.mark.parametrize("write", WAYS)
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, write):
    (tmp_path / "old").write_bytes(b"old")

    def refuse(*_):
        raise OSError(28, "No space left on device")

    for call in ("fsync", "rename", "link"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            if call == "fsync" or write is {"rename": write_atomically, "link": create_atomically}[call]:
                with pytest.raises(OSError, match="No space left"):
                    write(tmp_path / "new", b"new")
                with pytest.raises(OSError, match="No space left"):
                    write(tmp_path / "old", b"new")
        assert names(tmp_path) == ["old"]
        assert (tmp_path / "old").read_bytes() == b"old"


def test_a_block_that_raises_leaves_no_file(tmp_path):
    with suppress(KeyboardInterrupt), replacing(tmp_path / "file") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    with suppress(KeyboardInterrupt), new_folder(tmp_path / "folder") as inside:
        write_synced(inside / "file", b"half")
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_content_is_synced_before_its_name_and_the_folder_afterwards(tmp_path, monkeypatch):
    done = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor):
        done.append("folder" if Path(f"/proc/self/fd/{descriptor}").is_dir() else os.fstat(descriptor).st_size)
        fsync(descriptor)

    def renamed(*paths):
        done.append("rename")
        rename(*paths)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    write_atomically(tmp_path / "file", b"12345")
    assert done == [5, "rename", "folder"]


def test_a_symbolic_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"theirs")
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere")
    write_atomically(tmp_path / "file", b"ours")
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"
    assert not (tmp_path / "file").is_symlink()
    (tmp_path / "new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        write_synced(tmp_path / "new", b"ours")
    assert (tmp_path / "elsewhere").read_bytes() == b"theirs"


def test_a_folder_appears_with_all_its_files_and_only_its_user_can_read_it(tmp_path, umask):
    umask(0o002)
    with new_folder(tmp_path / "a" / "folder") as inside:
        (inside / "sub").mkdir()
        write_synced(inside / "sub" / "file", b"content")
        assert not (tmp_path / "a" / "folder").exists()
    assert (tmp_path / "a" / "folder" / "sub" / "file").read_bytes() == b"content"
    assert modes(tmp_path / "a" / "folder") == "0o700"
    assert names(tmp_path / "a") == ["folder"]


def test_the_first_of_two_processes_that_create_a_folder_wins(tmp_path):
    with new_folder(tmp_path / "folder") as late:
        write_synced(late / "late", b"")
        with new_folder(tmp_path / "folder") as early:
            write_synced(early / "early", b"")
    assert names(tmp_path) == ["folder"]
    assert names(tmp_path / "folder") == ["early"]


def test_a_file_system_that_cannot_sync_folders_can_be_used(tmp_path, monkeypatch):
    def failing(error):
        def fsync(_):
            raise OSError(error, os.strerror(error))

        monkeypatch.setattr(os, "fsync", fsync)

    failing(EINVAL)
    sync_folder(tmp_path)
    failing(EIO)
    with pytest.raises(OSError, match="Input/output error"):
        sync_folder(tmp_path)


def _write_often(path: Path, byte: bytes) -> None:
    for _ in range(30):
        write_atomically(path, byte * 100_000)
        create_atomically(path.with_name("first"), byte * 100_000)


@pytest.mark.slow
def test_several_processes_can_write_the_same_file(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"0" * 100_000)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_often, args=(path, byte)) for byte in (b"1", b"2", b"3")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        content = path.read_bytes()
        assert content == content[:1] * 100_000
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert names(tmp_path) == ["file", "first"]
    assert len(set((tmp_path / "first").read_bytes())) == 1
