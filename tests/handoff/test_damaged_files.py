"""Damaged files of a job: each is a named error, or counts as missing."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import DataError
from orchestrator.handoff.claim import claim, claimed_by
from orchestrator.handoff.environment import read_environment, write_environment
from orchestrator.handoff.jobfile import JobFile, read_jobfile, write_jobfile
from orchestrator.handoff.manifest import Entry, Manifest, tasks_for
from orchestrator.handoff.receipt import Receipt, has_ended, last_receipt, read_receipt, receipts_of, write_receipt
from orchestrator.machine.kinds import StepKind
from orchestrator.workspace import JobFolder, RunFolder
from tests.damage import IN_ITS_PLACE, NOT_JSON, mutated, put_in_place
from tests.manifests import write_entries

FAILURE = {"type": "ValueError", "message": "m", "traceback": "t", "n": 2, "rows": [1, 2]}
ERROR = {"type": "ValueError", "message": "m", "traceback": "t"}
RECEIPT = Receipt("failed", 1.0, 2.0, "host", 7, 3, 1, 2, 0, [FAILURE], "exception", ERROR, 0, True, 1.0, 2.0)
JOB = JobFile("r", "/w", "mark", "t", "batch", 3, 1, "2.4", StepKind.BATCH, True, "1", "1.until", ".", "d", cwd="/")


@pytest.fixture
def files(tmp_path):
    write_receipt(tmp_path / "receipt", RECEIPT)
    write_jobfile(tmp_path / "job.json", JOB)
    return {"receipt": (tmp_path / "receipt", read_receipt), "job file": (tmp_path / "job.json", read_jobfile)}


@pytest.mark.parametrize("which", ["receipt", "job file"])
def test_what_is_no_regular_file_is_refused_at_once(files, which):
    path, read = files[which]
    read(path)
    for name in IN_ITS_PLACE:
        put_in_place(name, path)
        with pytest.raises(DataError, match=f"the {which} {path} can't be used: it (is no regular file|has more than)"):
            read(path)


@pytest.mark.parametrize("which", ["receipt", "job file"])
@pytest.mark.parametrize("content", NOT_JSON)
def test_what_is_not_the_object_that_was_written_is_refused(files, which, content):
    path, read = files[which]
    path.write_bytes(NOT_JSON[content])
    with pytest.raises(DataError, match=f"the {which} .* can't be used: it"):
        read(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("state", "nosuch"),
        ("state", 5),
        ("started_at", math.nan),
        ("started_at", "a"),
        ("ended_at", None),
        ("ended_at", -1),
        ("ended_at", 1e300),
        ("n_finished", -5),
        ("n_finished", 1.5),
        ("n_finished", True),
        ("n_failed", 1e400),
        ("n_failed", 2**70),
        ("n_failed", 2**40),
        ("failures", 7),
        ("failures", [{"type": 1}]),
        ("failures", [{**FAILURE, "n": -1}]),
        ("failures", [{**FAILURE, "rows": ["a"]}]),
        ("failures", [{**FAILURE, "rows": [2**64]}]),
        ("failures", [{**FAILURE, "message": None}]),
        ("error", {"type": "E"}),
        ("error", {**ERROR, "message": []}),
        ("until", "yes"),
        ("exception", "E"),
        ("started_at", 10**400),
        ("nosuch", 1),
    ],
)
def test_a_field_that_no_task_writes_is_refused(files, field, value):
    path, read = files["receipt"]
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    with pytest.raises(DataError, match="can't be used: "):
        read(path)


STRANGE = [
    *(None, True, False, -1, 0, 1, 1.5, 2**63, 2**70, 10**400, 1e300, math.inf, math.nan, "", "x", "\0", "\ud800"),
    *([], [None], [1], ["x"], [[]], [{}], {}, {"x": None}, {"x": 1}, {"": []}, {"type": "x"}),
]


def test_each_field_of_a_receipt_or_job_file_may_have_any_value(files):
    for path, read in files.values():
        whole = json.loads(path.read_text())
        for field in whole:
            for value in STRANGE:
                path.write_text(json.dumps({**whole, field: value}))
                with suppress(DataError):
                    read(path)


@given(st.data())
def test_a_damaged_receipt_or_job_file_is_a_named_error_or_can_be_used(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("files")
    for write, read, value in [(write_receipt, read_receipt, RECEIPT), (write_jobfile, read_jobfile, JOB)]:
        path = folder / "file"
        write(path, value)
        path.write_bytes(data.draw(mutated(path.read_bytes())))
        with suppress(DataError):
            write(path, read(path))
            read(path)


def test_a_text_that_the_records_do_not_accept_is_escaped(files):
    path, read = files["receipt"]
    write_receipt(path, replace(RECEIPT, error={**ERROR, "message": "a\udc80\0"}))
    assert read(path).error["message"] == "a\\udc80\\x00"


def test_a_receipt_of_many_failures_is_bounded_and_read(tmp_path):
    texts = [{**ERROR, "message": "m" * 20_000, "traceback": "t" * 20_000} for _ in range(1000)]
    failures = [{**text, "n": 1, "rows": [row]} for row, text in enumerate(texts)]
    write_receipt(tmp_path / "r", Receipt("succeeded", 1.0, 2.0, n_experiments=1000, n_failed=1000, failures=failures))
    found = read_receipt(tmp_path / "r")
    assert (tmp_path / "r").stat().st_size < 8_000_000
    assert sum(failure["n"] for failure in found.failures) == found.n_failed == 1000
    assert "more causes" in found.failures[-1]["message"]


def test_a_damaged_receipt_hides_no_other(tmp_path):
    folder = JobFolder(tmp_path)
    write_receipt(folder.receipt(0, 0), RECEIPT)
    folder.receipt(0, 9).write_text("[]")
    folder.receipt(1, 0).write_text("[]")
    paths = receipts_of(folder)
    assert last_receipt(paths[0]).pid == 7
    assert (has_ended(folder, 0), has_ended(folder, 1), has_ended(folder, 2)) == (True, False, False)


def test_a_file_in_place_of_the_folder_of_receipts_contains_none(tmp_path):
    folder = JobFolder(tmp_path)
    folder.receipts.touch()
    assert receipts_of(folder) == {}


def test_a_claim_that_cannot_be_read_lets_no_submission_start(tmp_path, golden):
    folder = JobFolder(tmp_path)
    assert claim(folder, "7.1")
    for content in ("", "7 8", "\x1b[2J", "7" * 5000, "é"):
        folder.claim.write_text(content)
        with pytest.raises(DataError):
            claim(folder, "7.1")
    with golden.raises(DataError):
        claimed_by(folder)
    for name in IN_ITS_PLACE:
        put_in_place(name, folder.claim)
        with pytest.raises(DataError):
            claim(folder, "7.1")


@pytest.mark.parametrize(
    "content", [*NOT_JSON.values(), b'{"A": 1}', b'{"": "x"}', b'{"A=B": "x"}', b'{"A": "\\u0000"}']
)
def test_a_damaged_environment_is_a_named_error(tmp_path, content, monkeypatch):
    monkeypatch.setenv("LATIN", os_decoded := b"caf\xe9".decode(errors="surrogateescape"))
    folder = RunFolder(tmp_path, "r")
    digest = write_environment(folder)
    assert read_environment(folder, digest)["LATIN"] == os_decoded
    folder.environment.write_bytes(content)
    for recorded in (digest, sha256(content).hexdigest()):
        with pytest.raises(DataError, match=r"environment\.json can't be used: it"):
            read_environment(folder, recorded)


@given(st.data())
def test_a_damaged_manifest_is_a_named_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("files") / "manifest.jsonl"
    entries = [Entry(row, f"{row:016x}", {"x": row / 3, "name": "é"}, {"y": None}) for row in range(5)]
    write_entries(path, tasks_for(entries, 2, None))
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    damaged = data.draw(st.sampled_from([b"", b"\n", b"[" * 9, b"9", b"-", b"\xff", b'"']))
    path.write_bytes(content[:at] + damaged + content[at + len(damaged) :][: data.draw(st.integers(0, len(content)))])
    for task in range(3):
        with suppress(DataError):
            for entry in Manifest.open(path).task(task):
                assert isinstance(entry.row, int)


@given(st.data())
def test_a_receipt_with_any_other_byte_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("files") / "receipt"
    write_receipt(path, RECEIPT)
    content = path.read_bytes()
    at = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    path.write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
    # White space between the values says nothing.
    if chr(content[at]) != " " or chr(byte) not in "\n\t\r":
        with pytest.raises(DataError):
            read_receipt(path)


def test_a_manifest_that_is_no_manifest_is_refused_at_once(tmp_path):
    path = tmp_path / "manifest.jsonl"
    write_entries(path, [[Entry(0, "d", {}, {})]])
    manifest = Manifest.open(path)
    for name in IN_ITS_PLACE:
        put_in_place(name, path)
        with pytest.raises(DataError, match=r"the manifest .* can't be used: it"):
            Manifest.open(path)
        with pytest.raises(DataError, match=r"the manifest .* can't be used: (it|an experiment)"):
            manifest.task(0)
    put_in_place("link", path)
    for content in NOT_JSON.values():
        path.unlink()
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"the manifest .* can't be used: "):
            Manifest.open(path)


@given(st.data())
def test_a_manifest_other_than_the_recorded_one_is_not_used(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("files") / "manifest.jsonl"
    entries = [Entry(row, f"{row:016x}", {"x": row / 3}, {}) for row in range(5)]
    sha256 = write_entries(path, tasks_for(entries, 2, None))
    assert sorted(Manifest.open(path, sha256), key=lambda entry: entry.row) == entries
    content = path.read_bytes()
    at, byte = data.draw(st.integers(0, len(content) - 1)), data.draw(st.integers(0, 255))
    path.write_bytes(content[:at] + bytes([byte]) + content[at + 1 :])
    for task, expected in enumerate(tasks_for(entries, 2, None)):
        with suppress(DataError):
            assert Manifest.open(path, sha256).task(task) == list(expected)
    write_entries(path, tasks_for(entries, 1, None))
    with pytest.raises(DataError, match="it was changed after it was written"):
        Manifest.open(path, sha256)


def test_a_damaged_experiment_blocks_only_its_task(tmp_path, golden):
    path = tmp_path / "manifest.jsonl"
    write_entries(path, [[Entry(row, "d", {"x": row}, {})] for row in range(3)])
    path.write_bytes(path.read_bytes().replace(b'[1,"d",{"x":1},{}]', b'[1,"d",[1,2,3],{}]'))
    manifest = Manifest.open(path)
    assert [manifest.task(task)[0].row for task in (0, 2)] == [0, 2]
    with golden.raises(DataError):
        manifest.task(1)
