"""Three real users: what others can read of a run, what they can't stop or change, and how they share one."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from subprocess import PIPE

import pytest

from tests.slurm.sandboxes import wait_until
from tests.users import FILE_SYSTEMS, GROUP, has_two_mounts, three_users

pytestmark = [pytest.mark.users, pytest.mark.acceptance]

STUDY = """
import os
from pathlib import Path
from orchestrator import Domain, ExperimentData, Pipeline, Step, datagenerator
def create(project_dir):
    domain = Domain()
    domain.add_float("x", low=0.0, high=9.0)
    domain.add_output("y")
    ExperimentData(domain=domain, input_data=[{"x": float(i)} for i in range(4)]).store(project_dir)
    print("a table of four")
@datagenerator(output_names="y")
def double(x):
    Path(f"evaluated-{x}-{os.urandom(4).hex()}").touch()
    return 2 * x
def report(project_dir):
    if not (project_dir / "experiment_data" / "go").exists():
        raise ValueError("not yet")
pipeline = Pipeline("double", [Step(create), Step(double, name="evaluate", parallel=True), Step(report)])
"""


@pytest.fixture(params=FILE_SYSTEMS)
def users(request):
    if request.param == "two mounts" and not has_two_mounts():
        pytest.skip("needs bindfs and /dev/fuse")
    with three_users(request.param) as users:
        users.owner.write(users.path / "study.py", STUDY)
        yield users


def one_line(done):
    return " ".join((done.out + done.err).split())


def rows(user, key, folder=None):
    code = f"from orchestrator import ExperimentData as E; print(E.from_file({key!r}).to_pandas()[1]['y'].tolist())"
    done = user.run(user.python, "-c", code, folder=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_other_users_can_read_no_record_and_no_file_of_the_engine(users):
    assert users.owner("run", "study.py", "--project-job", "r", umask=0).code == 1
    for other in (users.colleague, users.stranger):
        refused = other("status", "r", "--db", "orchestrator.db")
        assert refused.code == 1
        assert "You may not read" in one_line(refused)
        assert other("status", "r").code == 2
        listed = other.run("find", ".", "-readable", "-path", "*.orchestrator*", "!", "-name", ".orchestrator")
        assert listed.stdout == ""
        # Tables and logs follow the umask.
        assert rows(other, "r") == [0, 2, 4, 6]
        assert "a table of four" in (users.there / "logs" / "r" / "create.log").read_text()


def test_a_run_that_others_may_read_is_only_read_and_no_command_that_changes_it_is_named(users):
    assert users.owner("run", "study.py", "--project-job", "r").code == 1
    named = ("--db", "orchestrator.db")
    (users.path / "orchestrator.db").chmod(0o644)
    refused = users.stranger("list", *named)
    assert refused.code == 1
    assert "You may not read" in one_line(refused)
    assert "orchestrator.db-journal" in one_line(refused)
    (users.path / "orchestrator.db-journal").chmod(0o644)
    before = (users.path / "orchestrator.db").read_bytes()
    for command in ("status r", "status r --refresh", "list", "wait r", "logs r create"):
        done = users.stranger(*command.split(), *named)
        assert not done.err.startswith("Error"), done.err
        assert "resume" not in done.out + done.err
    status = one_line(users.stranger("status", "r", *named))
    assert "belongs to games: you can read it, but not change it" in status
    for command in ("resume r", "cancel r", "advance r", "takeover r", "run study.py --project-job r"):
        done = users.stranger(*command.split(), *named)
        assert done.code == 1, done.out
        assert "belongs to games" in one_line(done)
    assert (users.path / "orchestrator.db").read_bytes() == before
    assert sorted(path.name for path in users.path.glob("orchestrator.db*")) == sorted(
        path.name for path in users.there.glob("orchestrator.db*")
    )


def test_a_copy_of_a_workspace_is_taken_over_and_continued_without_evaluating_again(users):
    assert users.owner("run", "study.py", "--project-job", "r").code == 1
    (users.path / "orchestrator.db").chmod(0o644)
    home = users.colleague.home
    users.colleague.run("sh", "-c", f"cp -r . {home}/copy 2>/dev/null; chmod 600 {home}/copy/orchestrator.db")
    copy = home / "copy"
    refused = users.colleague("resume", "r", folder=copy)
    assert refused.code == 1
    assert "Run r belongs to games." in one_line(refused)
    assert "orchestrator takeover r" in refused.err
    taken = users.colleague("takeover", "r", folder=copy)
    assert taken.code == 0, taken.err
    assert "it belonged to games" in taken.out
    users.colleague.run("touch", "r/experiment_data/go", folder=copy)
    resume = taken.out.splitlines()[-1].rpartition(": ")[2].split()
    continued = users.colleague(*resume[1:-1], "study.py", folder=copy)
    assert continued.code == 0, continued.err
    assert rows(users.colleague, "r", copy) == [0, 2, 4, 6]
    assert len(list(copy.glob("evaluated-*"))) == 4
    again = users.colleague("takeover", "r", folder=copy)
    assert again.out == "Nothing to do: run r belongs to you.\n"
    # The run of the owner is as it was.
    assert users.owner("status", "r").code == 0
    history = json.loads(users.colleague("status", "r", "--json", folder=copy).out)["history"]
    assert "taken over from games by man" in [event["why"] for event in history]


IMPATIENT = """
import sys
from orchestrator.cli.main import main
from orchestrator.db import guard, opening
guard.WAIT = opening.BUSY_TIMEOUT = float(sys.argv.pop(1))
sys.argv = ["orchestrator", *sys.argv[1:]]
main()
"""
WAITS = """
import time
from pathlib import Path
from orchestrator import Pipeline, Step
def wait(project_dir):
    Path("waits").touch()
    while not Path("go").exists():
        time.sleep(0.02)
def note(project_dir):
    (project_dir / "noted").touch()
pipeline = Pipeline("waits", [Step(wait), Step(note)])
"""
READS = """
import sqlite3, sys
connection = sqlite3.connect("file:orchestrator.db?mode=ro", uri=True)
connection.execute("BEGIN")
connection.execute("SELECT count(*) FROM run").fetchone()
print("held", flush=True)
sys.stdin.read()
"""
LOCKS = """
import fcntl, sys
files = [open(path, "rb") for path in sys.argv[1:]]
for file in files:
    fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def run_against(users, holder, program, *arguments):
    """Run a study while another user holds what the program holds; it is released when the run says that it waits."""
    owner = users.owner
    owner.write(users.path / "waits.py", WAITS)
    # Where the lock is not seen, a run that waits for another reason must not say so.
    patience = "0.2" if users.path == users.there else "60"
    run = owner.started(
        owner.python, "-c", IMPATIENT, patience, "run", "waits.py", "--project-job", "w", "--rootdir", "."
    )
    with run:
        wait_until((users.path / "waits").exists)
        if holder is users.stranger:
            for end in ("", "-journal"):
                (users.path / f"orchestrator.db{end}").chmod(0o644)
        with holder.started(holder.python, "-c", program, *arguments, stdin=PIPE) as held:
            assert held.stdout.readline() == "held\n", held.stderr.read()
            (users.path / "go").touch()
            said = next((line for line in run.stderr if "Ctrl-C ends it" in line), "")
            held.stdin.close()
        rest = run.stderr.read()
    assert run.returncode == 0, said + rest
    assert (users.path / "w" / "noted").exists()
    return said


def test_a_read_transaction_of_another_user_makes_a_run_wait_and_not_end(users):
    # On a second machine, the lock is not seen.
    waited = "The run continues when its records can be used" in run_against(users, users.stranger, READS)
    assert waited == (users.path == users.there)


def test_a_lock_of_a_member_of_the_group_makes_a_run_wait_and_not_end(shared):
    if shared.path != shared.there:
        pytest.skip("the lock is not one of the kernel there")
    guard = str(shared.path / "orchestrator.db.guard")
    assert "The run continues when its records can be used" in run_against(shared, shared.colleague, LOCKS, guard)


EVIL = """
import os, sys
from pathlib import Path
from orchestrator.definition.bundling import prepare_bundle
class Evil:
    def __reduce__(self):
        return os.system, ("id > " + sys.argv[1],)
os.umask(0)
engine = Path("r/.orchestrator")
engine.rename("r/.away")
prepare_bundle({"0": Evil(), "1": Evil()}, None).write(engine / "bundle")
for name in ("scripts", "jobs", "steps"):
    (engine / name).mkdir(parents=True)
for path in (engine, *engine.rglob("*")):
    path.chmod(0o777)
if len(sys.argv) > 2:
    Path("orchestrator.db").rename("away.db")
    Path("orchestrator.db").touch()
"""


def test_what_a_member_of_the_group_puts_in_place_of_files_of_a_run_is_not_used(users):
    os.chown(users.path, users.owner.uid, users.colleague.groups[0])
    users.path.chmod(0o2775)
    owner = users.owner
    owner.write(users.path / "study.py", WAITS.replace("Step(note)", "Step(note, name='a'), Step(note, name='b')"))
    # The group may write to a folder that was there before the run.
    owner.run("mkdir", "r", umask=0o002)
    run = owner.started(owner.python, "-m", "orchestrator", "run", "study.py", "--project-job", "r", umask=0o002)
    with run:
        wait_until((users.path / "waits").exists)
        # On a second machine it takes a while until this is seen.
        database = ["database"] * (users.path == users.there)
        planted = users.colleague.run(owner.python, "-c", EVIL, str(users.there / "ran"), *database, umask=0)
        assert planted.returncode == 0, planted.stderr
        wait_until(lambda: (users.path / "r/.orchestrator").stat().st_uid == users.colleague.uid)
        (users.path / "go").touch()
        if database:
            said = next(line for line in run.stderr if "Ctrl-C ends it" in line)
            assert "orchestrator.db belongs to man." in said
            (users.path / "away.db").rename(users.path / "orchestrator.db")
        _, rest = run.communicate(timeout=60)
    assert run.returncode == 1
    for command in ("resume r", "resume r --from-step wait", "resume r --update study.py"):
        refused = owner(*command.split(), umask=0o002)
        assert refused.code in (1, 75)  # 75: its tasks may still have left receipts, on another machine
        rest += refused.err
    assert "r/.orchestrator belongs to man" in " ".join(rest.split())
    assert not (users.path / "ran").exists()
    # The hint says how to continue.
    users.owner.run("sh", "-c", "mv r/.orchestrator r/.foreign && mv r/.away r/.orchestrator")
    assert owner("resume", "r", umask=0o002).code == 0


def test_a_folder_that_a_member_of_the_group_puts_in_place_of_that_of_a_run_is_not_used(users):
    os.chown(users.path, users.owner.uid, users.colleague.groups[0])
    users.path.chmod(0o2775)
    owner, colleague = users.owner, users.colleague
    assert owner("run", "study.py", "--project-job", "r", umask=0o002).code == 1
    assert "denied" in colleague.run("mv", "r/.orchestrator", "r/.away").stderr
    assert colleague.run("sh", "-c", "mv r .away && mkdir -m 777 r").returncode == 0
    wait_until(lambda: (users.path / "r").stat().st_uid == colleague.uid)
    for command in ("resume r", "resume r --from-step evaluate", "resume r --update study.py"):
        refused = owner(*command.split())
        assert refused.code == 1
        assert f"{users.path}/r, belongs to man (mode 2777)" in one_line(refused)
    assert owner.run("sh", "-c", f"mv {users.path}/r {users.path}/r.foreign && mv .away r").returncode == 0
    owner.run("touch", "r/experiment_data/go")
    assert owner("resume", "r").code == 0


# Commands of a member of the group, in the folder of a private workspace.
RECORDS = {
    "a database that looks shared": "cp {prepared} new; chmod 660 new; mv -f new orchestrator.db",
    "a file of the owner as the database": "cat {prepared} > notes.txt; mv notes.txt orchestrator.db",
    "a write-ahead log": "cp {prepared}-wal orchestrator.db-wal; chmod 666 orchestrator.db-wal",
    "a file of the owner as the log": "cat {prepared}-wal > notes.txt; mv notes.txt orchestrator.db-wal",
    "a hard link as the log": "cat {prepared}-wal > notes.txt; ln notes.txt orchestrator.db-wal",
    "a file of the owner as the journal": "mv orchestrator.db-journal .away; mv notes.txt orchestrator.db-journal",
    "a link as the journal": "mv orchestrator.db-journal .away; ln -s notes.txt orchestrator.db-journal",
}


@pytest.mark.parametrize("users", ["memory"], indirect=True)
@pytest.mark.parametrize("planted", RECORDS)
def test_records_that_a_member_of_the_group_has_written_are_not_used(users, planted):
    os.chown(users.path, users.owner.uid, users.colleague.groups[0])
    users.path.chmod(0o2775)
    owner, colleague, database = users.owner, users.colleague, users.path / "orchestrator.db"
    assert owner("run", "study.py", "--project-job", "r", umask=0o002).code == 1
    owner.run("touch", "notes.txt", "r/experiment_data/go", umask=0o002)
    prepared = colleague.home / "prepared.db"
    shutil.copy(database, prepared)
    with closing(sqlite3.connect(prepared, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("UPDATE run SET name = 'planted'")
        shutil.copy(f"{prepared}-wal", f"{prepared}-kept")
        connection.execute("PRAGMA journal_mode = DELETE")
    Path(f"{prepared}-kept").rename(f"{prepared}-wal")
    for path in colleague.home.iterdir():
        os.chown(path, colleague.uid, colleague.gid)
    done = colleague.run("sh", "-c", RECORDS[planted].format(prepared=prepared), umask=0)
    assert done.returncode == 0, done.stderr
    before = {path.name: path.read_bytes() for path in users.path.glob("orchestrator.db*")}
    for where in ([], ["--rootdir", "."], ["--db", "orchestrator.db"]):
        for command in ("resume r", "cancel r", "run study.py --project-job n", "status r"):
            refused = owner(*command.split(), *where, umask=0o002)
            if command != "status r":
                assert refused.code in (1, 2), (command, refused)
                assert re.search("belongs to man|write to|written by other|a link", one_line(refused)), (
                    command,
                    refused,
                )
            assert "bug in orchestrator" not in refused.err
    assert {path.name: path.read_bytes() for path in users.path.glob("orchestrator.db*")} == before


PLANTED = {
    "logs of the run": ("chmod g+w logs; ln -s {private} logs/r", "resume r"),
    "logs": ("mv logs .away; ln -s {private} logs", "resume r"),
    "table": ("mv r/experiment_data r/.away; ln -s {private} r/experiment_data", "resume r --from-step create --yes"),
    "results": ("mv r/experiment_data/.results r/.away; ln -s {private} r/experiment_data/.results", "resume r"),
    "results of a job": (
        "ln -s {private} r/experiment_data/.results/aaaaaaaaaa",
        "resume r --from-step evaluate --yes",
    ),
    "archive": (
        "mv r/experiment_data/.archive r/.away; ln -s {private} r/experiment_data/.archive",
        "resume r --from-step create --yes",
    ),
    "database": ("rm orchestrator.db; ln -s {private}/orchestrator.db orchestrator.db", "run study.py --project-job n"),
    "folder of the run": ("mv r .away; ln -s {private} r", "resume r --from-step create --yes"),
    "folder of a run that is archived": ("mv r .away; ln -s {private} r", "archive r --yes"),
    "logs of a run that is archived": ("mv logs .away; ln -s {private} logs", "archive r --yes"),
    "folder of a run that is forked": ("mv r .away; ln -s {private} r", "fork r --from create --yes"),
    "folder of a new run": ("ln -s {private} n", "run study.py --project-job n"),
}


def contents(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("users", ["memory"], indirect=True)
@pytest.mark.parametrize("place", PLANTED)
def test_links_of_a_member_of_the_group_lead_no_run_to_private_files(users, place):
    os.chown(users.path, users.owner.uid, users.colleague.groups[0])
    users.path.chmod(0o2775)
    owner, private = users.owner, users.owner.home / "private"
    owner.run("mkdir", "-m", "700", str(private))
    owner.write(private / "study.py", STUDY)
    owner.write(private / "0.0.jsonl", "private")
    assert owner("run", "study.py", "--project-job", "x", "--rootdir", ".", folder=private).code == 1
    # The group may write to a folder that was there before the run.
    owner.run("mkdir", "r", umask=0o002)
    owner("run", "study.py", "--project-job", "r", "--rootdir", ".", umask=0o002)
    owner.run("mkdir", "-p", "r/experiment_data/.results", umask=0o002)
    owner.run("touch", "r/experiment_data/go")
    if place == "logs of the run":
        owner.run("rm", "-r", "logs/r")
    before = contents(private)
    commands, words = PLANTED[place]
    planted = users.colleague.run("sh", "-c", commands.format(private=private), umask=0o002)
    assert planted.returncode == 0, planted.stderr
    done = owner(*words.split(), umask=0o002)
    assert "bug in orchestrator" not in done.err
    assert contents(private) == before
    if place not in ("results of a job", "archive"):  # these are not needed
        assert (done.code, "link" in done.err) == (1, True), done.err


@pytest.mark.parametrize("users", ["memory"], indirect=True)
def test_links_and_folders_of_root_are_used(users):
    owner, above = users.owner, users.path.parent / "above"
    scratch = owner.home / "scratch"
    owner.run("mkdir", str(scratch))
    (users.path / "logs").symlink_to(scratch)
    assert (users.path / "logs").lstat().st_uid == 0
    # An administrator has made the folder of a project, and that of the run.
    above.mkdir()
    os.chown(above, 0, owner.gid)
    above.chmod(0o770)
    for folder in (users.path, above):
        owner.write(folder / "study.py", STUDY)
        (folder / "r").mkdir()
        os.chown(folder / "r", 0, owner.gid)
        (folder / "r").chmod(0o775)
        assert "not yet" in one_line(owner("run", "study.py", "--project-job", "r", folder=folder))
        owner.run("touch", "r/experiment_data/go", folder=folder)
        continued = owner("resume", "r", folder=folder)
        assert continued.code == 0, continued.err
    assert "a table of four" in (scratch / "r" / "create.log").read_text()
    # All may write there, so others can put links into it.
    above.chmod(0o777)
    assert "above belongs to root" in one_line(owner("run", "study.py", folder=above))
    (users.path / "logs").unlink()
    (users.path / "logs").symlink_to(scratch)
    os.chown(users.path / "logs", users.stranger.uid, users.stranger.gid, follow_symlinks=False)
    refused = owner("resume", "r", "--from-step", "create")
    assert (refused.code, "is a link of news" in one_line(refused)) == (1, True), refused.err


def test_other_users_can_open_no_lock(users):
    assert users.owner("run", "study.py", "--project-job", "r", umask=0).code == 1
    locks = [path for path in users.path.rglob("*") if path.suffix in (".guard", ".lock") or path.name == ".lock"]
    assert locks
    for user in (users.colleague, users.stranger):
        for path in locks:
            done = user.run(user.python, "-c", LOCKS, str(path))
            assert "PermissionError" in done.stderr


@pytest.fixture
def shared(users):
    """A workspace that the group shares, with a run of the owner."""
    done = users.owner("run", "study.py", "--project-job", "r", "--group", GROUP, "--rootdir", ".")
    assert "not yet" in done.err, done.err
    return users


def test_a_workspace_is_shared_with_a_group_and_no_one_else(shared):
    owner, colleague, stranger = shared.owner, shared.colleague, shared.stranger
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in shared.path.glob("orchestrator.db*")}
    assert files.pop("orchestrator.db") == 0o660
    assert {mode & 0o007 for mode in files.values()} == {0}
    assert stat.S_IMODE(shared.path.stat().st_mode) & 0o2777 == 0o2775
    # It must be named to be read, and allowed once for more.
    assert colleague("list").code == 2
    assert "orchestrator db allow" in one_line(colleague("list"))
    assert "double" in colleague("list", "--rootdir", ".").out
    refused = colleague("run", "study.py", "--rootdir", ".")
    assert refused.code == 1
    assert "orchestrator db allow" in one_line(refused)
    assert colleague("db", "allow", "--db", "orchestrator.db").code == 0
    assert "double" in colleague("list").out
    assert stranger("list", "--rootdir", ".").code == 1
    # Each member has runs of his own in it.
    colleague.write(colleague.home / "study.py", STUDY)
    mine = colleague("run", f"{colleague.home}/study.py", "--project-job", "mine")
    assert "not yet" in mine.err, mine.err
    assert (shared.path / "mine").stat().st_uid == colleague.uid
    for user, own, foreign in ((owner, "r", "mine"), (colleague, "mine", "r")):
        assert "belongs to" not in user("status", own).out
        assert "belongs to" in user("status", foreign).out
        for command in ("resume", "cancel", "advance"):
            refused = user(command, foreign)
            assert refused.code == 1
            assert "Other users can read it, but not change it" in one_line(refused)
    # The files of the engine stay private.
    for key, other in (("r", colleague), ("mine", owner)):
        assert other.run("ls", f"{key}/.orchestrator").returncode != 0


def test_a_member_writes_the_report_of_a_run_of_another(shared):
    colleague = shared.colleague
    assert colleague("db", "allow", "--db", "orchestrator.db").code == 0
    done = colleague("report", "r", "-o", f"of-{colleague.uid}.html")
    assert done.code == 0, done.err
    assert "Smallest y" in (shared.path / f"of-{colleague.uid}.html").read_text(encoding="utf-8")
    # The receipts are private; the results of experiments say what their tasks used.
    used = json.loads(colleague("efficiency", "r", "--json").out)
    assert [(step["step"], step["memory"] > 5) for step in used["steps"]] == [("evaluate", True)]


def test_members_of_the_group_run_studies_at_the_same_time(shared):
    runs = {}
    assert shared.colleague("db", "allow", "--db", "orchestrator.db").code == 0
    for user, key in ((shared.owner, "one"), (shared.colleague, "two"), (shared.owner, "three")):
        study = user.write(user.home / f"{key}.py", STUDY.replace('"evaluated-', f'"{user.home}/{key}-'))
        command = ("-m", "orchestrator", "run", str(study), "--project-job", key, "--rootdir", ".")
        runs[key] = user.started(user.python, *command)
    for key, run in runs.items():
        _, said = run.communicate(timeout=100)
        assert "report failed: ValueError: not yet" in " ".join(said.split()), (key, said)
    assert json.loads(shared.owner("db", "check", "--json").out)["problems"] == []
    for key in runs:
        assert rows(shared.owner, key) == [0, 2, 4, 6]


def test_a_member_takes_over_a_run_of_the_group(shared):
    colleague = shared.colleague
    named = ("--rootdir", ".")
    assert colleague("db", "allow", "--db", "orchestrator.db").code == 0
    taken = colleague("takeover", "r", *named)
    assert taken.code == 0, taken.err
    # On a second machine it takes a while until a folder that was exchanged is seen.
    for folder in (shared.path / "r", shared.path / "logs" / "r"):
        wait_until(lambda folder=folder: folder.stat().st_uid == colleague.uid)
    assert (shared.path / "r.of-games" / ".orchestrator").stat().st_uid == shared.owner.uid
    colleague.run("touch", "r/experiment_data/go")
    assert colleague("resume", "r", "--update", "study.py", *named).code == 0
    assert rows(colleague, "r") == [0, 2, 4, 6]
    refused = shared.owner("resume", "r")
    assert refused.code == 1
    assert "Run r belongs to man." in one_line(refused)


def test_an_existing_workspace_is_not_shared_by_the_option(users):
    assert users.owner("run", "study.py", "--project-job", "r").code == 1
    refused = users.owner("run", "study.py", "--group", GROUP)
    assert refused.code == 1
    assert "exists, and is not shared with the group games" in one_line(refused)
    assert stat.S_IMODE((users.path / "orchestrator.db").stat().st_mode) == 0o600
    unknown = users.stranger("run", "study.py", "--group", GROUP, "--rootdir", str(users.stranger.home / "new"))
    assert unknown.code == 2
    assert "You are not a member of the group games. Next: Your groups are: news" in one_line(unknown)


@pytest.mark.parametrize("umask", [0o002, 0o022])
def test_the_lock_of_a_table_is_for_the_members_of_the_group_who_may_write_to_the_table(users, umask):
    users.owner("run", "study.py", "--project-job", "r", "--group", GROUP, "--rootdir", ".", umask=umask)
    table = users.path / "r" / "experiment_data"
    store = "from orchestrator import ExperimentData as E; data = E.from_file('r'); data.store('r'); data.store('r')"
    changed = [
        user.run(user.python, "-c", store, umask=umask) for user in (users.colleague, users.owner, users.colleague)
    ]
    if umask == 0o002:
        assert [done.returncode for done in changed] == [0, 0, 0], changed
        assert stat.S_IMODE((table / ".lock").stat().st_mode) == 0o660
        assert rows(users.owner, "r") == [0, 2, 4, 6]
    else:
        assert [done.returncode for done in changed] == [1, 0, 1]
        assert stat.S_IMODE((table / ".lock").stat().st_mode) == 0o600
        assert "can't be stored" in changed[0].stderr
        assert users.stranger.run("cat", "r/experiment_data/.lock").returncode != 0
