"""Files with parts that were never written: they are skipped, copied and archived without reading them."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import tarfile

import pytest

from orchestrator.holes import copy_written, first_hole, skip_hole, written_parts
from orchestrator.tar_files import add

TERABYTE = 1 << 40
BLOCK = 1 << 16
"""No file system that tests run on has larger blocks."""


@pytest.fixture
def holed(tmp_path):
    """Return a file of a terabyte: something at its begin, something in the middle, a hole at the end."""
    path = tmp_path / "holed"
    with path.open("wb") as file:
        file.write(b"begin")
        file.seek(TERABYTE // 2)
        file.write(b"middle")
        file.truncate(TERABYTE)
    with path.open("rb") as file:
        if first_hole(file) == TERABYTE:
            pytest.skip("this file system knows no holes")
    return path


def parts_of(path):
    with path.open("rb") as file:
        return written_parts(file)


def text_at(path, begin, n):
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(n)


def test_a_hole_is_where_nothing_was_written(holed):
    with holed.open("rb") as file:
        assert file.read(2) == b"be"
        assert 5 <= first_hole(file) <= BLOCK
        assert file.read(3) == b"gin"
        assert not skip_hole(file)
        file.seek(BLOCK)
        assert skip_hole(file)
        assert file.read(6) == b"middle"
        file.seek(TERABYTE - BLOCK)
        assert skip_hole(file)
        assert file.read() == b""


def test_a_hole_is_skipped_up_to_an_end(holed):
    with holed.open("rb") as file:
        file.seek(BLOCK)
        assert skip_hole(file, 2 * BLOCK)
        assert file.tell() == 2 * BLOCK


def test_a_file_without_holes_is_one_part(tmp_path):
    (tmp_path / "whole").write_bytes(b"x" * 100)
    (tmp_path / "empty").touch()
    assert parts_of(tmp_path / "whole") == [(0, 100)]
    assert parts_of(tmp_path / "empty") == []
    with (tmp_path / "whole").open("rb") as file:
        assert first_hole(file) == 100
        assert not skip_hole(file)


def test_a_copy_has_the_same_content_and_holes(holed):
    copy = holed.with_name("copy")
    with holed.open("rb") as source, copy.open("xb") as target:
        copy_written(source, target)
    assert copy.stat().st_size == TERABYTE
    assert text_at(copy, 0, 6) == b"begin\0"
    assert text_at(copy, TERABYTE // 2 - 1, 8) == b"\0middle\0"
    assert copy.stat().st_blocks * 512 < 16 << 20


@pytest.mark.parametrize("ends_with", [b"", b"the end"])
def test_an_archive_has_only_what_was_written(holed, ends_with):
    with holed.open("ab") as file:
        file.write(ends_with)
    archive, here, there = (holed.with_name(name) for name in ("archive.tar", "here", "there"))
    with tarfile.open(archive, "w|") as tar:
        add(tar, holed, "a file")
        add(tar, archive.with_name("archive.tar"), "another")
    assert archive.stat().st_size < 1 << 20
    with tarfile.open(archive, "r|") as tar:
        tar.extractall(here, filter="data")
    there.mkdir()
    subprocess.run(["tar", "xf", archive, "-C", there], check=True)
    for path in (here / "a file", there / "a file"):
        assert path.stat().st_size == TERABYTE + len(ends_with)
        assert text_at(path, 0, 6) == b"begin\0"
        assert text_at(path, TERABYTE // 2 - 1, 8) == b"\0middle\0"
        assert text_at(path, TERABYTE, 100) == ends_with
        assert path.stat().st_blocks * 512 < 16 << 20


class WithoutHoles(io.FileIO):
    """A file on a file system that knows no holes."""

    def seek(self, offset, whence=0):
        if whence in (os.SEEK_DATA, os.SEEK_HOLE):
            raise OSError(errno.EINVAL, "Invalid argument")
        return super().seek(offset, whence)


def test_where_holes_are_not_known_a_file_is_one_part(holed):
    with WithoutHoles(holed) as file:
        assert first_hole(file) == TERABYTE
        assert written_parts(file) == [(0, TERABYTE)]
        assert not skip_hole(file)
        assert file.tell() == 0


def test_a_file_that_grows_meanwhile_has_no_part_beyond_its_size(tmp_path, monkeypatch):
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.seek(4 * BLOCK)
        file.write(b"later")
    with path.open("rb") as file:
        before = os.stat_result((*os.fstat(file.fileno())[:6], BLOCK, 0, 0, 0))
        monkeypatch.setattr(os, "fstat", lambda descriptor: before)
        assert all(size > 0 for _, size in written_parts(file))
