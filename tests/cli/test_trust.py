"""Files of other users: a found one is not used, a named one is only read, and no code in them runs."""

from __future__ import annotations

import os
import shlex
import sqlite3
import stat
import subprocess
from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator import Pipeline, trust
from orchestrator.atomic import PRIVATE, private_folders, write_atomically
from orchestrator.cli.workspace import workspace_of
from orchestrator.damage import Damaged
from orchestrator.definition.bundle import Bundle
from orchestrator.definition.bundling import prepare_bundle
from orchestrator.errors import DatabaseError, DataError, NotAllowed, NotFound
from orchestrator.handoff.environment import read_environment, write_environment
from orchestrator.handoff.jobfile import JobFile, digest_of, read_jobfile, write_jobfile
from orchestrator.machine.kinds import StepKind
from orchestrator.trust import read_private
from orchestrator.workspace import RunFolder
from tests.slurm.sandboxes import wait_until
from tests.users import FILE_SYSTEMS, has_two_mounts, on_each_file_system, two_views

pytestmark = pytest.mark.slow

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
def test_a_database_of_another_user_that_may_not_be_read_is_not_offered(below, here, monkeypatch):
    give_away(here.workspace / "orchestrator.db")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may read every file
    with pytest.raises(NotFound, match="and you may not read it") as refused:
        workspace_of(None, None)
    assert "--db" not in refused.value.hint
    assert f"chmod go+r {here.workspace}/orchestrator.db " in refused.value.hint


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
@on_each_file_system
def test_a_database_of_another_user_that_was_allowed_once_is_found_and_only_read(below, here):
    for name in ("orchestrator.db", "orchestrator.db-journal"):
        give_away(here.workspace / name)
    assert here("db", "allow", "--db", "none.db").code == 1
    allowed = here("db", "allow", "--db", "../orchestrator.db")
    assert allowed.code == 0
    record = Path(allowed.out.split(": ")[-1].strip().replace("\n", ""))
    assert record.stat().st_mode & 0o777 == 0o600
    before = (here.workspace / "orchestrator.db").read_bytes()
    assert "first" in here("list").out
    refused = here("run", "study.py", "--project-job", "r")
    assert refused.code == 1
    assert "Runs of another user's database are not executed" in one_line(refused.err)
    assert (here.workspace / "orchestrator.db").read_bytes() == before
    # A third user has replaced it.
    os.chown(here.workspace / "orchestrator.db", STRANGER + 1, STRANGER)
    assert here("list").code == 2
    give_away(here.workspace / "orchestrator.db")
    record.chmod(0o666)
    refused = here("list")
    assert refused.code == 1
    assert "Other users may write to" in one_line(refused.err)


@as_root
@on_each_file_system
def test_the_api_uses_a_database_of_another_user_only_if_it_is_named(below, here, monkeypatch):
    for name in ("orchestrator.db", "orchestrator.db-journal"):
        give_away(here.workspace / name)
    monkeypatch.chdir(here.workspace)
    with pytest.raises(DatabaseError, match="it is used only if it is named"):
        Pipeline("p").status("first")
    assert Pipeline("p").status("first", rootdir=".").run.key == "first"


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


@pytest.mark.parametrize(
    "planted",
    [
        "CREATE TRIGGER t AFTER UPDATE ON run BEGIN UPDATE run SET cluster = '{}'; END",
        "CREATE VIEW v AS SELECT * FROM run",
        "CREATE VIRTUAL TABLE x USING fts5(y)",
    ],
    ids=["trigger", "view", "virtual"],
)
def test_a_database_with_more_than_tables_and_indexes_is_not_used(here, planted, golden):
    (here.workspace / "study.py").write_text(STUDY)
    assert here("run", "study.py", "--project-job", "r").code == 0
    with closing(sqlite3.connect(here.workspace / "orchestrator.db")) as connection:
        connection.execute(planted)
    for command in ("status r", "resume r", "run study.py --project-job s"):
        done = here(*command.split())
        assert done.code == 1, command
        golden(done)


@as_root
def test_code_in_a_folder_of_another_user_is_not_loaded(tmp_path, golden):
    folder = tmp_path / prepare_bundle({"0": print}, None).write(tmp_path)
    assert Bundle(folder).load_step("0").block is print
    give_away(folder)
    with golden.raises(DataError):
        Bundle(folder).load_step("0")


@as_root
def test_the_environment_that_another_user_planted_is_not_used(tmp_path, golden):
    folder = RunFolder(tmp_path, "r")
    digest = write_environment(folder)
    assert read_environment(folder, digest) == dict(os.environ)
    give_away(folder.environment)
    with golden.raises(DataError):
        read_environment(folder, digest)


@pytest.fixture
def engine_file(tmp_path):
    """A file of the engine, as it is written with umask 002."""
    before = os.umask(0o002)
    folder = RunFolder(tmp_path, "r")
    private_folders(folder.engine)
    write_atomically(folder.job("t").file, b"{}", PRIVATE)
    yield folder.job("t").file
    os.umask(before)


def test_what_the_engine_writes_is_private_whatever_the_umask(engine_file):
    assert read_private(engine_file) == b"{}"
    assert engine_file.stat().st_mode & 0o777 == 0o600
    folders = [folder for folder in engine_file.parents if ".orchestrator" in folder.parts]
    assert [folder.stat().st_mode & 0o777 for folder in folders] == [0o700] * 3


@pytest.mark.parametrize("mode", [0o666, 0o602], ids=oct)
@pytest.mark.parametrize("level", [0, 1, 3])
def test_a_file_of_the_engine_that_others_may_write_is_not_used(engine_file, level, mode, golden):
    changed = [engine_file, *engine_file.parents][level]
    changed.chmod(mode if level == 0 else mode | 0o111)
    with golden.raises(DataError):
        read_private(engine_file)
    # The command of the hint makes it usable.
    changed.chmod(changed.stat().st_mode & ~0o022)
    assert read_private(engine_file) == b"{}"


@as_root
@pytest.mark.parametrize("level", [0, 1, 3])
def test_a_file_of_the_engine_from_another_user_is_not_used(engine_file, level, golden):
    give_away([engine_file, *engine_file.parents][level])
    with golden.raises(DataError):
        read_private(engine_file)


@pytest.mark.parametrize("level", [0, 1, 3])
def test_a_file_of_the_engine_is_not_read_through_a_link(engine_file, level):
    replaced = [engine_file, *engine_file.parents][level]
    replaced.rename(elsewhere := replaced.with_name("elsewhere"))
    replaced.symlink_to(elsewhere)
    with pytest.raises(Damaged):
        read_private(engine_file)


def test_the_folder_of_a_run_may_be_a_link_and_writable_for_a_group_and_not_for_all(engine_file, golden):
    run = engine_file.parents[3]
    run.chmod(0o775)
    assert read_private(engine_file) == b"{}"
    run.rename(elsewhere := run.with_name("elsewhere"))
    run.symlink_to(elsewhere)
    assert read_private(engine_file) == b"{}"
    elsewhere.chmod(0o1777)
    assert read_private(engine_file) == b"{}"
    elsewhere.chmod(0o777)
    with golden.raises(DataError):
        read_private(engine_file)


@as_root
def test_the_folder_of_a_run_must_belong_to_its_user(engine_file, golden):
    give_away(engine_file.parents[3])
    with golden.raises(DataError):
        read_private(engine_file)


def test_a_run_is_not_begun_in_a_folder_that_all_may_write_to(here, golden):
    (here.workspace / "study.py").write_text(STUDY)
    (here.workspace / "r").mkdir()
    (here.workspace / "r").chmod(0o777)
    refused = here("run", "study.py", "--project-job", "r")
    golden(refused)
    subprocess.run(refused.err.rpartition(": ")[2], shell=True, check=True)
    assert here("run", "study.py", "--project-job", "r").code == 0


@pytest.mark.parametrize(
    "command",
    [
        "resume r",
        "resume r --from-step note",
        "resume r --update study.py",
        "retry r",
        "retry r --update study.py",
        "run study.py --project-job r",
    ],
)
def test_a_run_whose_folder_all_may_write_to_is_refused_before_anything_is_recorded(here, command):
    fails = STUDY.replace('.write_text("done")', ".read_text()")
    (here.workspace / "study.py").write_text(fails)
    assert here("run", "study.py", "--project-job", "r").code == 1
    run = here.workspace / "r"
    run.chmod(0o777)
    before = here("status", "r", "--json").out
    for words in (f"{command} --dry-run", command):
        refused = here(*words.split())
        assert (refused.code, refused.out) == (1, "")
        said = f"Error: All users may write to the folder of a run, {run} (mode 0777), so it is not used. "
        assert one_line(refused.err) == f"{said}Next: If its content is right: chmod o-w {run}"
    assert here("status", "r", "--json").out == before
    subprocess.run(refused.err.rpartition(": ")[2], shell=True, check=True)
    (run / "note.txt").touch()
    assert here("resume", "r").code == 0


def test_a_run_whose_folder_is_opened_for_all_while_it_runs_fails_and_resume_says_how_to_continue(here):
    opens = STUDY.replace('(project_dir / "note.txt").write_text("done")', "project_dir.chmod(0o777)")
    (here.workspace / "study.py").write_text(opens)
    failed = here("run", "study.py", "--project-job", "r")
    assert (failed.code, "so it is not used. Next: " in one_line(failed.err)) == (1, True)
    refused = here("resume", "r")
    assert refused.err.splitlines()[-1] == f"Next: If its content is right: chmod o-w {here.workspace}/r"


@as_root
def test_a_new_run_in_the_folder_of_another_user_is_refused_in_a_dry_run_too(here, golden):
    (here.workspace / "study.py").write_text(STUDY)
    (here.workspace / "pre").mkdir()
    give_away(here.workspace / "pre")
    command = "run study.py --project-job"
    refused = [here(*f"{command} pre {option}".split()) for option in ("--dry-run", "")]
    assert refused[0].err == refused[1].err
    golden(refused[1])
    assert not (here.workspace / "orchestrator.db").exists()
    assert here(*f"{command} KEY".split()).code == 0


@as_root
def test_a_run_of_this_user_in_the_folder_of_another_user_is_taken_over(here, golden):
    (here.workspace / "study.py").write_text(STUDY.replace('.write_text("done")', ".read_text()"))
    assert here("run", "study.py", "--project-job", "r").code == 1
    run = give_away(here.workspace / "r")
    (run / "note.txt").touch()
    refused = here("resume", "r")
    golden(refused)
    assert here("resume", "r", "--dry-run").err == refused.err
    takeover = next(line for line in refused.err.splitlines() if "orchestrator takeover" in line)
    golden(here(*takeover.rpartition("orchestrator ")[2].split(), "--dry-run"), "dry_run")
    taken = here(*takeover.rpartition("orchestrator ")[2].split())
    assert taken.code == 0, taken.err
    assert run.stat().st_uid == os.geteuid()
    assert here(*taken.out.rpartition("orchestrator ")[2].split()).code == 0


def is_link(path):
    """Whether a path is a link; None while a second mount still knows another kind of file there."""
    with suppress(OSError):
        return stat.S_ISLNK(path.lstat().st_mode)


@pytest.mark.parametrize("file_system", FILE_SYSTEMS)
def test_the_rule_holds_on_each_file_system(file_system):
    if file_system == "two mounts" and not has_two_mounts():
        pytest.skip("needs root, bindfs and /dev/fuse")
    with two_views(file_system) as (here, there):
        file, seen = (RunFolder(folder, "r").job("t").file for folder in (here, there))
        write_atomically(file, b"{}", PRIVATE)
        assert read_private(seen) == b"{}"
        for changed, mode in ((file, 0o600), (file.parent, 0o700)):
            before = seen if changed is file else seen.parent
            changed.chmod(mode | 0o022)
            wait_until(lambda path=before: path.stat().st_mode & 0o022)
            with pytest.raises(NotAllowed):
                read_private(seen)
            changed.chmod(mode)
            wait_until(lambda path=before: not path.stat().st_mode & 0o022)
            assert read_private(seen) == b"{}"
        file.rename(precious := file.with_name("precious"))
        file.symlink_to(precious)
        wait_until(lambda: is_link(seen) is True)
        with pytest.raises(Damaged):
            read_private(seen)
        # A writer replaces the link, and not what it names.
        write_atomically(seen, b"[]", PRIVATE)
        wait_until(lambda: is_link(file) is False)
        assert precious.read_bytes() == b"{}"
        if os.geteuid() == 0:
            give_away(file)
            wait_until(lambda: seen.stat().st_uid != 0)
            with pytest.raises(NotAllowed):
                read_private(seen)


def test_a_job_file_that_was_changed_is_not_used(tmp_path):
    path = tmp_path / "job.json"
    job = JobFile("r", "/w", "m", "t", "step", 0, 0, "", StepKind.CALL, False, "0", None, ".", 64 * "a")
    write_jobfile(path, job)
    assert read_jobfile(path, digest_of(job)) == read_jobfile(path) == job
    write_jobfile(path, job._replace(bundle_digest=64 * "b"))
    with pytest.raises(DataError, match="was changed after it was written"):
        read_jobfile(path, digest_of(job))


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


@as_root
def test_a_takeover_that_was_killed_after_the_records_says_that_only_the_files_are_left(below, here):
    assert here("run", "study.py", "--project-job", "r").code == 0
    folders = [here.workspace / "r", here.workspace / "logs" / "r"]
    for path in [each for folder in folders for each in (folder, *folder.rglob("*"))]:
        os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
    dry = here("takeover", "r", "--dry-run")
    assert dry.code == 0
    first = "Ends the takeover of run r. It is recorded as yours, but files of it belong to another user. "
    assert one_line(dry.out).startswith(f"{first}Copies its tables and logs.")
    done = here("takeover", "r")
    assert done.code == 0, done.err
    assert done.out.startswith("Run r belongs to you now.\n")
    assert [folder.stat().st_uid for folder in folders] == 2 * [os.geteuid()]
    assert here("takeover", "r").out == "Nothing to do: run r belongs to you.\n"
