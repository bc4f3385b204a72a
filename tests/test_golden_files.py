"""The golden files themselves: when they are written, when they fail a test, and that none outlives its test."""

from __future__ import annotations

import pytest

from tests.golden_files import FOLDER, TESTS, Golden, read, write

pytest_plugins = ["pytester"]

STUDY = """
import pytest
@pytest.mark.parametrize("name", ["a", "b"])
def test_greeting(golden, name):
    golden(f"Good morning, {name}.")
"""
TWO = """
def test_two(golden):
    golden("one", "first")
    golden("two", "second")
    golden("one", "first")
    with golden.raises(ValueError, "third"):
        int("x")
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run tests of a module with golden files of their own."""
    monkeypatch.setattr("tests.golden_files.TESTS", pytester.path)
    monkeypatch.setattr("tests.golden_files.FOLDER", pytester.path / "golden")

    def run(text, *arguments):
        pytester.makepyfile(test_it=text)
        return pytester.runpytest_inprocess("-p", "tests.golden_files", *arguments)

    run.files = lambda: {path.name: path.read_text() for path in (pytester.path / "golden").rglob("*.txt")}
    return run


def test_golden_files_are_written_and_then_compared(run):
    assert run(STUDY).ret == pytest.ExitCode.TESTS_FAILED
    run(STUDY, "--update-golden").assert_outcomes(passed=2)
    assert run.files() == {"test_greeting.a.txt": "Good morning, a.\n", "test_greeting.b.txt": "Good morning, b.\n"}
    run(STUDY).assert_outcomes(passed=2)


def test_a_difference_shows_what_changed_and_what_to_type(run):
    run(STUDY, "--update-golden")
    result = run(STUDY.replace("morning", "evening"), "-k", "b")
    result.assert_outcomes(failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        ["*-Good morning, b.", "*+Good evening, b.", "*pytest --update-golden 'test_it.py::test_greeting?b?'"]
    )


def test_several_texts_of_one_test_have_headings(run):
    run(TWO, "--update-golden")
    [text] = run.files().values()
    assert text.startswith("########## first\none\n\n########## second\ntwo\n\n########## third\nValueError: ")
    run(TWO).assert_outcomes(passed=1)
    run(TWO.replace('"one", "first")\n    with', '"other", "first")\n    with')).assert_outcomes(failed=1)


def test_a_golden_text_that_the_test_did_not_compare_fails_the_test(run):
    run(TWO, "--update-golden")
    result = run(TWO.replace('    golden("two", "second")\n', ""))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*holds what the test does not compare: second"])


def test_a_golden_file_without_a_test_is_found_and_removed(run):
    run(STUDY, "--update-golden")
    fewer = STUDY.replace(', "b"', "")
    for arguments in ((), ("test_it.py::test_greeting",)):
        result = run(fewer, *arguments)
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["Golden files that belong to no test:", "*test_greeting.b.txt"])
    run(fewer, "--update-golden")
    assert list(run.files()) == ["test_greeting.a.txt"]


def test_a_test_that_fails_writes_nothing(run):
    run(STUDY, "--update-golden")
    before = run.files()
    run(STUDY.replace("morning", "evening") + "    assert name == 'a'\n", "--update-golden")
    assert run.files() == before | {"test_greeting.a.txt": "Good evening, a.\n"}


def test_every_golden_folder_has_a_test_module():
    modules = {file.parent for file in FOLDER.rglob("*.txt")}
    assert not [folder for folder in modules if not (TESTS / folder.relative_to(FOLDER)).with_suffix(".py").exists()]


def test_a_golden_file_is_read_as_it_was_written(tmp_path):
    texts = {"a": "one\n\n", "b c": "  two\n", "[x]": "\n"}
    write(tmp_path / "x.txt", texts)
    assert read(tmp_path / "x.txt") == texts


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("evaluate  active    3 min 05 s", "evaluate  active <duration>"),
        ("began 06:00:02, took 1.3 s", "began <time>, took <duration>"),
        ("STEP      TIME", "STEP TIME"),
        ("STEP     QUEUE  TIME\na  active  2 s  1 s", "STEP TIME\na  active <duration>"),
        ("took 3.0 s, of which 2.0 s in the queue", "took <duration>"),
        ("began 2026-11-24 06:00, for 12 s", "began <time>, for <duration>"),
        ("Run 1795500000 failed", "Run <key> failed"),
        ("version 1.3 said", "version 1.3 said"),
        ("job abcdefgh27 planned by process 12 on n-1", "job <token> planned by process <pid> on <host>"),
        (
            'Traceback (most recent call last):\n  File "x", line 1\nE: x',
            "Traceback (most recent call last):\n  <frames>\nE: x",
        ),
    ],
)
def test_values_that_vary_are_replaced(request, text, normal):
    assert Golden(request.node).normalised(text, exact=False) == normal


def test_folders_and_values_that_the_test_names_are_replaced(golden, workspace, tmp_path):
    golden.replace("abcdefghij", "token")
    assert golden.normalised(f"{workspace}/r and {tmp_path}: abcdefghij") == ("<workspace>/r and <tmp>: <token>")
