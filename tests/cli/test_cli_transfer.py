"""`orchestrator archive` and `import`: a run in one file, and back in another workspace."""

from __future__ import annotations

import io
import json
import random
import re
import sqlite3
import tarfile
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from orchestrator.db.store import Store
from orchestrator.table_folder import TABLE_FILES
from tests.temporary import short_root

pytestmark = pytest.mark.slow

SUFFIXES = ["tar.zst", "tar.gz", "tar.xz", "tar"]


def shown(outcome):
    """Return an outcome without sizes, which depend on the machine."""

    def without(text):
        return re.sub(r"\d+ files", "<n> files", re.sub(r"[\d.]+ (kB|MB|B)\b", "<size>", text))

    return replace(outcome, out=without(outcome.out), err=without(outcome.err))


@pytest.fixture
def other():
    """Make an empty folder for another workspace; its path is short, because lines break where they are full."""
    with tempfile.TemporaryDirectory(prefix="other-", dir=short_root()) as folder:
        yield Path(folder)


@pytest.mark.parametrize(
    "words", ["archive r -o new/below/file.tar", "report r -o new/below/r.html", "table r --csv new/below/t.csv"]
)
def test_a_folder_that_is_made_for_a_file_is_said(here, words):
    here("run", "batch.py", "--project-job", "r")
    made = here(*words.split())
    assert made.code == 0
    assert "Made the folder new/below.\n" in made.err
    assert "Made the folder" not in here(*words.replace("below/", "below/2").split()).err


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_run_is_the_same_after_its_import_and_can_be_continued(here, other, suffix):
    if suffix == "tar.zst":
        pytest.importorskip("zstandard")
    here("run", "batch.py", "--project-job", "r")
    file = here.workspace / f"r.{suffix}"
    assert here("archive", "r", "-o", str(file)).code == 0
    assert here("import", str(file), "--rootdir", str(other)).code == 0

    def of(folder):
        text = here("status", "r", "--json", "--rootdir", str(folder)).out
        return text.replace(str(other), "<workspace>").replace(str(here.workspace), "<workspace>")

    before, after = json.loads(of(here.workspace)), json.loads(of(other))
    assert after.pop("history")[:-1] == before.pop("history")
    assert after == before
    logs = [here("logs", "r", "look@1", "--rootdir", str(folder)).out for folder in (here.workspace, other)]
    assert logs == ["look 1\n", "look 1\n"]
    for name in TABLE_FILES:
        contents = [(folder / "r" / "experiment_data" / name).read_bytes() for folder in (here.workspace, other)]
        assert contents[0] == contents[1]
    for path in (other / "r").rglob("*"):
        assert not path.stat().st_mode & 0o022
    assert (other / "r" / ".orchestrator").stat().st_mode & 0o777 == 0o700
    done = here("resume", "r", "--from-step", "look@1", "--rootdir", str(other))
    assert done.code == 3, done.err
    fork = here("fork", "r", "--from", "evaluate", "--rootdir", str(other))
    assert fork.code == 3
    assert "edited" not in fork.err


def test_a_run_of_another_user_belongs_to_the_one_who_imports_it(here, other):
    here("run", "batch.py", "--project-job", "r")
    here("archive", "r", "-o", "r.tar.gz")
    forged(Path("r.tar.gz"), Path("other.tar.gz"), lambda rows: rows["run"].update(uid=1))
    named = ("--rootdir", str(other))
    assert here("import", "other.tar.gz", *named).code == 0
    assert "belongs to" not in here("status", "r", *named).out
    assert here("retry", "r", *named).code == 3


def test_a_study_that_is_not_on_this_machine_is_not_named_as_if_it_were(here, other):
    here("run", "batch.py", "--project-job", "r")
    here("archive", "r", "-o", "r.tar.gz")
    (here.workspace / "batch.py").rename("mine.py")
    named = ("--rootdir", str(other))
    imported = here("import", "r.tar.gz", *named)
    assert "batch.py is not here: where a command has STUDY.py, give your own path." in " ".join(imported.err.split())
    assert "batch.py" not in here("status", "r", *named).out
    assert here("resume", "r", "--update", "mine.py", "--dry-run", *named).code == 0


def test_a_run_that_was_archived_and_deleted_comes_back_to_its_workspace(here):
    here("run", "batch.py", "--project-job", "r")
    here("archive", "r", "-o", "r.tar.gz")
    assert here("clean", "r").code == 0
    assert here("import", "r.tar.gz").code == 0
    assert here("resume", "r", "--from-step", "look@1").code == 3


def test_what_archive_and_import_do_is_said_first(here, other, golden):
    here("run", "study.py", "--project-job", "r")
    golden.replace(here.workspace, "<workspace>")
    golden.replace(other, "<other>")
    golden(shown(here("archive", "r", "-o", "r.tar.gz", "--dry-run")))
    assert not Path("r.tar.gz").exists()
    golden(shown(here("archive", "r", "-o", "r.tar.gz")))
    golden(shown(here("archive", "r", "-o", "r.tar.gz")))
    golden(shown(here("archive", "r", "-o", "r.zip")))
    golden(shown(here("archive", "r", "-o", "r/r.tar")))
    golden(shown(here("import", "r.tar.gz")))
    golden(shown(here("import", "r.tar.gz", "--rootdir", str(other), "--dry-run")))
    assert list(other.iterdir()) == []
    golden(shown(here("import", "r.tar.gz", "--rootdir", str(other), "--project-job", "again")))
    assert Store(other / "orchestrator.db").record("again").key == "again"
    golden(shown(here("import", "r.tar.gz", "--rootdir", str(other))))
    golden(shown(here("import", "r.tar.gz", "--project-job", "../r")))
    golden(shown(here("import", "missing.tar.gz")))


def test_without_the_package_for_zstandard_another_format_is_named(here, golden, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    here("run", "study.py", "--project-job", "r")
    golden(here("archive", "r", "-o", "r.tar.zst"))


def test_a_run_that_has_not_ended_is_not_archived(here, programs, golden):
    programs.accepts()
    here("submit", "slurm.py", "--project-job", "r")
    golden(here("archive", "r", "-o", "r.tar.gz"))
    with closing(sqlite3.connect(here.workspace / "orchestrator.db")) as connection:
        connection.execute("UPDATE run SET state = 'cancelled', ended_at = 1")
        connection.commit()
    golden(here("archive", "r", "-o", "r.tar.gz"))


def test_secrets_and_what_links_lead_to_are_left_out(here, programs, other, tmp_path, monkeypatch):
    programs.accepts()
    # The text of this file is kept with the run, too.
    secret = uuid4().hex
    monkeypatch.setenv("SECRET", secret)
    study = here.workspace / "slurm.py"
    text = study.read_text().replace("grace=1", "grace=1, env_vars={'TOKEN': os.environ['SECRET']}")
    study.write_text("import os\n" + text)
    here("submit", "slurm.py", "--project-job", "r")
    here("cancel", "r")
    run = here.workspace / "r"
    assert any(secret.encode() in path.read_bytes() for path in run.rglob("*") if path.is_file())
    precious = uuid4().hex
    (tmp_path / "outside").write_text(precious)
    (run / "link").symlink_to(tmp_path / "outside")
    (run / "up").symlink_to("../orchestrator.db")
    (run / "file").write_text("content")
    (run / "inside").symlink_to("file")
    here("archive", "r", "-o", "r.tar")
    content = Path("r.tar").read_bytes()
    with tarfile.open("r.tar") as tar:
        have = [m.name for m in tar.getmembers() if m.isfile() and secret.encode() in tar.extractfile(m).read()]
    assert have == []
    assert precious.encode() not in content
    done = here("import", "r.tar", "--rootdir", str(other))
    assert "Left out: 2 links to other places" in done.err
    assert "Its env_vars are not in the archive" in done.err
    assert sorted(path.name for path in (other / "r").iterdir() if path.name[0] != ".") == ["file", "inside"]
    assert (other / "r" / "inside").read_text() == "content"


def forged(source: Path, target: Path, change=None, more=(), content_of_more=b""):
    """Write an archive again, with other records or more files."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old.getmembers():
            content = old.extractfile(member).read() if member.isfile() else b""
            if member.name == "orchestrator.json":
                rows = json.loads(content)
                rows["size"] = [rows["size"][0] + len(more), rows["size"][1] + len(content_of_more)]
                if change is not None:
                    change(rows)
                content = json.dumps(rows).encode()
                member.size = len(content)
            new.addfile(member, io.BytesIO(content))
        for member in more:
            new.addfile(member, io.BytesIO(content_of_more))


def _link(name, to, kind=tarfile.SYMTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


def _folder(name):
    member = tarfile.TarInfo(name)
    member.type, member.mode = tarfile.DIRTYPE, 0o755
    return member


def _long_way_out():
    """Return links and folders at the end of which, in a path that is too long to be resolved, a link leads out."""
    inside, members, way, real = "d" * 247, [], "run", "run"
    for letter in "abcdefghijklmnop":
        real = f"{real}/{inside}"
        members += [_folder(real), _link(f"{way}/{letter}", inside)]
        way = f"{way}/{letter}"
    members.append(_link(f"{way}/{'l' * 254}", "../" * 16))
    escape = f"{way.removeprefix('run/')}/{'l' * 254}/../../.."
    return [*members, _link("run/escape", escape)]


CHANGES = {
    "no run": lambda rows: rows.pop("run"),
    "another column": lambda rows: rows["run"].update(new=1),
    "a state that is unknown": lambda rows: rows["run"].update(state="well"),
    "a token that is a path": lambda rows: rows["job"][0].update(token="../../x"),
    "a job of no step run": lambda rows: rows["job"][0].update(step_run_id=999),
    "jobs that are no list": lambda rows: rows.update(job={}),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_damaged_records_leave_nothing_behind(here, other, change):
    here("run", "study.py", "--project-job", "r")
    here("archive", "r", "-o", "r.tar")
    forged(Path("r.tar"), Path("forged.tar"), change)
    done = here("import", "forged.tar", "--rootdir", str(other))
    assert done.code in (1, 2)
    assert "bug" not in done.err
    assert [path.name for path in other.iterdir() if not path.name.startswith("orchestrator.db")] in ([], ["logs"])
    assert here("import", "r.tar", "--rootdir", str(other)).code == 0


@pytest.mark.parametrize("name", ["run/../../evil", "/tmp/evil", "evil", "orchestrator.db"])
def test_files_elsewhere_are_not_written(here, other, name):
    here("run", "study.py", "--project-job", "r")
    here("archive", "r", "-o", "r.tar")
    forged(Path("r.tar"), Path("forged.tar"), more=[tarfile.TarInfo(name)])
    done = here("import", "forged.tar", "--rootdir", str(other))
    assert done.code == 1
    assert "is damaged" in done.err
    assert not list(other.rglob("evil"))
    assert not (other.parent / "evil").exists()
    assert not (other / "r").exists()


def test_nothing_is_written_through_a_link_of_the_archive(here, other, tmp_path):
    here("run", "study.py", "--project-job", "r")
    here("archive", "r", "-o", "r.tar")
    outside = tmp_path / "outside"
    outside.mkdir()
    file = tarfile.TarInfo("run/way/evil")
    forged(Path("r.tar"), Path("forged.tar"), more=[_link("run/way", str(outside)), file])
    here("import", "forged.tar", "--rootdir", str(other))
    assert list(outside.iterdir()) == []


# The filter of the standard library of Python 3.11.7 lets "a long way" pass (CVE-2025-4517).
WAYS_OUT = {
    "up": lambda outside: [_link("run/way", "../.."), tarfile.TarInfo("run/way/outside/evil")],
    "round about": lambda outside: [
        _folder("run/a"),
        _folder("run/a/b"),
        _link("run/a/b/up", "../.."),
        _link("run/way", "a/b/up/../.."),
        tarfile.TarInfo("run/way/outside/evil"),
    ],
    "a long way": lambda outside: [*_long_way_out(), tarfile.TarInfo("run/escape/outside/evil")],
    "a hard link": lambda outside: [_link("run/way", str(outside / "precious"), tarfile.LNKTYPE)],
    "a hard link up": lambda outside: [_link("run/way", "run/../../../outside/precious", tarfile.LNKTYPE)],
    "a file for a link": lambda outside: [_link("run/way", "../../outside/evil"), tarfile.TarInfo("run/way")],
    "the folder": lambda outside: [_link("run", str(outside)), tarfile.TarInfo("run/evil")],
    "the logs": lambda outside: [_link("logs", str(outside)), tarfile.TarInfo("logs/evil")],
}


@pytest.mark.parametrize("way", WAYS_OUT.values(), ids=WAYS_OUT)
def test_no_chain_of_links_leads_out_of_the_run(here, other, tmp_path, way):
    here("run", "study.py", "--project-job", "r")
    here("archive", "r", "-o", "r.tar")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    forged(Path("r.tar"), Path("forged.tar"), more=way(outside))
    done = here("import", "forged.tar", "--rootdir", str(other))
    assert "bug" not in done.err
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (outside / "precious").stat().st_nlink == 1
    assert (outside / "precious").read_text() == "precious"
    for path in (other / "r").rglob("*"):
        assert path.resolve().is_relative_to(other / "r")


def test_special_files_and_special_permissions_are_not_made(here, other):
    here("run", "study.py", "--project-job", "r")
    here("archive", "r", "-o", "r.tar")
    program = tarfile.TarInfo("run/program")
    program.mode, program.uid = 0o6777, 12345
    forged(Path("r.tar"), Path("forged.tar"), more=[program])
    assert here("import", "forged.tar", "--rootdir", str(other / "a")).code == 0
    found = (other / "a" / "r" / "program").stat()
    assert (found.st_mode & 0o7022, found.st_uid) == (0, other.stat().st_uid)
    for kind in (tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE):
        forged(Path("r.tar"), Path("forged.tar"), more=[_link("run/special", "", kind)])
        done = here("import", "forged.tar", "--rootdir", str(other / "b"))
        assert done.code == 1
        assert "is damaged" in done.err
        assert not (other / "b" / "r").exists()


def test_a_run_with_a_file_of_holes_is_archived_forked_and_deleted_at_once(here, other):
    here("run", "study.py", "--project-job", "r")
    with (here.workspace / "r" / "holed").open("wb") as file:
        file.write(b"begin")
        file.truncate(1 << 40)
    assert here("archive", "r", "-o", "r.tar.gz").code == 0
    assert Path("r.tar.gz").stat().st_size < 1 << 20
    assert here("import", "r.tar.gz", "--rootdir", str(other)).code == 0
    assert here("fork", "r", "--from", "nothing", "--project-job", "fork").code == 0
    for folder in (other / "r", here.workspace / "fork"):
        found = (folder / "holed").stat()
        assert (found.st_size, found.st_blocks * 512 < 16 << 20) == (1 << 40, True)
        with (folder / "holed").open("rb") as file:
            assert file.read(6) == b"begin\0"


@pytest.mark.parametrize("index", [b"", b"x\n", b"1\n5\n", b"1\n-1\n5\n", b"2\n0\n5\n99999999999999999999\n5\n"])
def test_an_archive_with_a_damaged_list_of_parts_is_refused(here, other, index):
    here("run", "study.py", "--project-job", "r")
    here("archive", "r", "-o", "r.tar")
    entry = tarfile.TarInfo("run/holed")
    real = {"major": "1", "minor": "0", "name": "run/holed", "realsize": "100"}
    entry.pax_headers = {f"GNU.sparse.{key}": value for key, value in real.items()}
    content = index.ljust(512, b"\0") + b"x" * 10
    entry.size = len(content)
    forged(Path("r.tar"), Path("forged.tar"), more=[entry], content_of_more=content)
    done = here("import", "forged.tar", "--rootdir", str(other))
    assert done.code == 1
    assert "is damaged" in done.err
    assert not (other / "r").exists()


def test_an_archive_with_more_than_it_says_is_refused(here, other):
    here("run", "study.py", "--project-job", "r")
    here("archive", "r", "-o", "r.tar")
    for change in ({"n_files": -1}, {"n_bytes": -1}):
        n_files, n_bytes = change.get("n_files", 0), change.get("n_bytes", 0)

        def less(rows, n_files=n_files, n_bytes=n_bytes):
            rows["size"] = [rows["size"][0] + n_files, rows["size"][1] + n_bytes]

        forged(Path("r.tar"), Path("forged.tar"), less)
        done = here("import", "forged.tar", "--rootdir", str(other))
        assert done.code == 1
        assert "contains more than its records say" in " ".join(done.err.split())
        assert not (other / "r").exists()


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\x28\xb5\x2f\xfdxxxxxxxx", b"\x1f\x8bxxxx"])
def test_another_file_is_not_an_archive(here, other, content):
    pytest.importorskip("zstandard")
    Path("file").write_bytes(content)
    done = here("import", "file", "--rootdir", str(other))
    assert done.code == 1
    assert "is not an archive of a run" in done.err


def test_a_truncated_archive_leaves_nothing_behind(here, other):
    here("run", "batch.py", "--project-job", "r")
    here("archive", "r", "-o", "r.tar.gz")
    content = Path("r.tar.gz").read_bytes()
    Path("cut.tar.gz").write_bytes(content[: len(content) // 2])
    done = here("import", "cut.tar.gz", "--rootdir", str(other))
    assert done.code == 1, done.err
    assert "bug" not in done.err
    assert [path.name for path in other.iterdir() if not path.name.startswith("orchestrator.db")] == []


VALUES = [
    *(
        None,
        True,
        -1,
        2**53,
        2**63,
        10**30,
        1e300,
        float("nan"),
        float("inf"),
        "",
        "x" * 10_000,
        "\0",
        "\ud800",
        [],
        {},
    ),
    *("\x1b]0;TITLE\x07", "../../etc", "/etc/passwd", "'; touch evil; '", "$(touch evil)", "-h", "<script>", "a\nb"),
    *(
        '{"a":' * 2000,
        [[[[[{}]]]]],
        {"cluster": {"log_dir": "/etc"}},
        [1] * 2000,
        "succeeded",
        "active",
        "0-3000000000",
    ),
]
LOOK = (
    "list",
    "status r",
    "status r --json",
    "failures r",
    "logs r",
    "table r",
    "efficiency r",
    "report r",
    "snapshots r",
)


def _damage(rows, chance):
    """Put a strange value at one place of the records, whatever its depth."""
    at, name = rows, chance.choice(["run", "run", "step_run", "job", "event"])
    while True:
        inside = at[name]
        if not isinstance(inside, list | dict) or not inside or chance.random() < 0.15:
            break
        at, name = inside, chance.choice(list(inside) if isinstance(inside, dict) else range(len(inside)))
    at[name] = chance.choice(VALUES)
    return name


@pytest.mark.parametrize("study", ["batch.py", "slurm.py"])
def test_records_that_someone_has_changed_are_refused_or_shown(here, programs, other, request, monkeypatch, study):
    programs.accepts()
    here("run" if study == "batch.py" else "submit", study, "--project-job", "r")
    here("cancel", "r")
    here("archive", "r", "-o", "r.tar")
    monkeypatch.chdir(other)
    for seed in range(max(20, request.config.getoption("--examples") // 5)):
        chance, root = random.Random(seed), other / str(seed)
        forged(here.workspace / "r.tar", other / "forged.tar", lambda rows, chance=chance: _damage(rows, chance))
        commands = ["import forged.tar --project-job r", *chance.sample(LOOK, 3), "clean r --dry-run", "resume r"]
        for words in commands:
            done = here(*words.split(), "--rootdir", str(root))
            said = done.out + done.err
            assert "bug in orchestrator" not in said, (seed, words, said)
            assert "\x1b" not in said, (seed, words)
            if done.code and words.startswith("import"):
                break
    assert not list(other.rglob("evil"))
