"""Files of other users: a found one is not used, a named one is only read, and no code in them runs."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator import trust
from orchestrator.definition.bundle import Bundle
from orchestrator.definition.bundling import prepare_bundle
from orchestrator.errors import DataError
from orchestrator.handoff.environment import read_environment, write_environment
from orchestrator.workspace import RunFolder

STRANGER = 54321
STUDY = """
from orchestrator import Pipeline, Step
def note(project_dir):
    (project_dir / "note.txt").write_text("done")
pipeline = Pipeline("note", [Step(note)])
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")


def give_away(path: Path) -> Path:
    os.chown(path, STRANGER, STRANGER)
    return path


@pytest.fixture
def below(here, monkeypatch):
    """Work in a private folder below that of `here`, which already holds a database."""
    (here.workspace / "study.py").write_text(STUDY)
    assert here("run", "study.py", "--project-job", "first").code == 0
    folder = here.workspace / "mine"
    folder.mkdir(mode=0o700)
    (folder / "study.py").write_text(STUDY)
    monkeypatch.chdir(folder)
    return folder


def one_line(text):
    return " ".join(text.split())


def test_a_database_above_is_used(below, here):
    assert here("run", "study.py", "--project-job", "r").code == 0
    assert not (below / "orchestrator.db").exists()
    assert "first" in here("list").out


@as_root
@pytest.mark.parametrize("planted", ["orchestrator.db", "."])
def test_a_database_of_another_user_above_is_not_used(below, here, planted, golden):
    foreign = give_away(here.workspace / planted)
    if foreign.is_file():
        give_away(here.workspace / "orchestrator.db-journal")
    done = here("status")
    assert done.code == 2
    golden(done)
    named = f"--db {here.workspace}/orchestrator.db"
    assert named in one_line(done.err)
    assert here("status", *shlex.split(named)).code == 0
    before = (here.workspace / "orchestrator.db").read_bytes()
    for command in ("run", "submit"):
        refused = here(command, "study.py", "--project-job", "r")
        assert refused.code == 1
        golden(refused)
        # No run is recorded in a file of another user.
        assert (named in one_line(refused.err)) is (planted == ".")
    assert not (below / "orchestrator.db").exists()
    assert here("run", "study.py", "--project-job", "r", "--rootdir", ".").code == 0
    assert (below / "orchestrator.db").exists()
    assert (here.workspace / "orchestrator.db").read_bytes() == before


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_the_search_ends_where_others_may_plant_a_database(below, here, mode, golden):
    below.chmod(mode)
    done = here("list")
    assert done.code == 2
    golden(done)
    refused = here("run", "study.py", "--project-job", "r")
    assert refused.code == 1
    golden(refused)
    assert not (below / "orchestrator.db").exists()
    assert here("run", "study.py", "--project-job", "r", "--rootdir", ".").code == 0
    # The new database in this folder is found.
    assert "first" not in here("list").out


@as_root
def test_a_folder_of_another_user_must_be_named(below, here, golden):
    give_away(below)
    done = here("run", "study.py", "--project-job", "r")
    assert done.code == 1
    golden(done)
    assert not (below / "orchestrator.db").exists()
    assert here("run", "study.py", "--project-job", "r", "--rootdir", ".").code == 0
    assert here("status", "--rootdir", ".").code == 0


@as_root
def test_the_records_of_another_user_are_read_and_nothing_is_run_from_them(here, golden):
    (here.workspace / "study.py").write_text(STUDY)
    assert here("run", "study.py", "--project-job", "r").code == 0
    give_away(here.workspace / "orchestrator.db-journal")
    foreign = give_away(here.workspace / "orchestrator.db")
    # With any permissions: nothing is written beside it.
    foreign.chmod(0o666)
    (here.workspace / "orchestrator.db.guard").unlink(missing_ok=True)
    before = {path: path.stat().st_mtime_ns for path in here.workspace.glob("orchestrator.db*")}
    named = ("--db", str(here.workspace / "orchestrator.db"))
    for command in ("run study.py --project-job r", "run study.py", "resume r", "advance r", "cancel r"):
        done = here(*command.split(), *named)
        assert done.code == 1, command
        golden(done)
    for command in ("status", "list", "logs note", "db info", "db check"):
        assert here(*command.split(), *named).code == 0, command
    assert {path: path.stat().st_mtime_ns for path in here.workspace.glob("orchestrator.db*")} == before


@as_root
@pytest.mark.parametrize("is_there", [True, False])
def test_a_planted_journal_is_not_rolled_back(here, is_there, golden):
    (here.workspace / "study.py").write_text(STUDY)
    if is_there:
        assert here("run", "study.py", "--project-job", "r").code == 0
    journal = here.workspace / "orchestrator.db-journal"
    journal.touch()
    give_away(journal)
    for command in ("status", "run study.py") if is_there else ("run study.py",):
        done = here(*command.split())
        assert done.code == 1, command
        golden(done)
    assert journal.stat().st_uid == STRANGER


@as_root
def test_code_in_a_folder_of_another_user_is_not_loaded(tmp_path, golden):
    folder = tmp_path / prepare_bundle({"0": print}, None).write(tmp_path)
    assert Bundle(folder).load_step("0").block is print
    give_away(folder)
    with golden.raises(DataError):
        Bundle(folder).load_step("0")


@as_root
def test_the_environment_that_another_user_planted_is_not_used(tmp_path):
    folder = RunFolder(tmp_path, "r")
    write_environment(folder)
    assert read_environment(folder) == dict(os.environ)
    give_away(folder.environment)
    assert read_environment(folder) is None


@pytest.mark.parametrize(
    "digest", ["", "..", "/tmp/" + 64 * "a", "../" + 64 * "a", 63 * "a", 64 * "A", 64 * "a" + "\n"]
)
def test_a_digest_never_names_another_folder(tmp_path, digest, golden):
    folder = RunFolder(tmp_path, "r")
    assert folder.bundle(64 * "a").parent == folder.bundles
    with golden.raises(DataError):
        folder.bundle(digest)


@pytest.mark.parametrize(
    ("mode", "group", "members", "others"),
    [
        (0o700, "me", [], False),
        (0o755, "staff", ["me", "she"], False),
        (0o775, "me", [], False),
        (0o775, "me", ["me"], False),
        (0o775, "me", ["she"], True),
        (0o775, "staff", [], True),
        (0o777, "me", [], True),
        (0o1777, "me", [], True),
    ],
)
def test_which_other_users_may_write(tmp_path, monkeypatch, mode, group, members, others):
    """A group with this user as its only member does not count: many systems create one for each user."""
    gid = tmp_path.stat().st_gid
    monkeypatch.setattr("pwd.getpwuid", lambda uid: SimpleNamespace(pw_name="me", pw_gid=gid))
    monkeypatch.setattr("grp.getgrgid", lambda gid: SimpleNamespace(gr_name=group, gr_mem=members))
    tmp_path.chmod(mode)
    assert trust.others_may_write(tmp_path) is others
