"""Every error as a user reads it, in a terminal of 80 columns."""

from __future__ import annotations

import io
import re
import sqlite3

import pytest
from cli_records import Records

from orchestrator import errors
from orchestrator.cli.errors import show


def printed(error):
    stream = io.StringIO()
    show(error, stream)
    return stream.getvalue()


def classes(root=errors.OrchestratorError):
    yield root
    for child in root.__subclasses__():
        yield from classes(child)


def test_a_command_is_never_broken():
    command = "orchestrator resume 1795531215 --update /a/folder/with/a/long/name/and/one/more/study.py"
    text = printed(errors.StudyChanged("The study has changed.", f"To take the new code: {command}"))
    assert text == f"Error: The study has changed.\nNext: To take the new code:\n  {command}\n"


def test_a_list_keeps_its_lines():
    text = printed(errors.DefinitionError("Two things must change:\n  - " + "word " * 20 + "\n  - the other", "Do."))
    lines = text.splitlines()
    assert lines[0] == "Error: Two things must change:"
    assert lines[1].startswith("  - word")
    assert lines[2].startswith("    word")
    assert lines[3:] == ["  - the other", "Next: Do."]
    assert max(map(len, lines)) <= 80


def test_every_class_has_its_whole_text_tested():
    tested = {case.values[0] for case in CASES}
    assert set(classes()) == tested


def test_the_tree_in_the_docstring_is_the_tree():
    for kind in classes():
        assert f" {kind.__name__} " in errors.__doc__, kind
        line = next(line for line in errors.__doc__.splitlines() if f" {kind.__name__} " in line)
        assert str(kind.exit_code) in line.split(), kind


def database_error(cli):
    cli("run", "study.py", "--project-job", "r")
    with sqlite3.connect(cli.workspace / "orchestrator.db") as connection:
        connection.execute("DROP INDEX job_live")
        connection.execute("UPDATE step_run SET run_id = 77")
    connection.close()
    return cli("db", "check")


def definition_error(cli):
    return cli("run", "two_names.py")


def study_error(cli):
    return cli("run", "broken.py")


def study_changed(cli):
    cli("run", "study.py", "--project-job", "r")
    return cli("resume", "r", "--update", "other.py")


def study_changed_of_a_failed_run(cli):
    cli("run", "fails.py", "--project-job", "r")
    return cli("resume", "r", "--update", "other.py")


def not_found(cli):
    return cli("status")


def not_yet(cli):
    Records(cli.workspace).add_run("r")
    return cli("logs", "evaluate")


def not_a_database(cli):
    return cli("status", "--db", "study.py")


def too_new(cli):
    cli("run", "study.py")
    set_revision(cli.workspace, 9999)
    return cli("status")


def too_old(cli):
    cli("run", "study.py")
    set_revision(cli.workspace, 0)
    return cli("status")


def set_revision(workspace, number):
    connection = sqlite3.connect(workspace / "orchestrator.db")
    connection.execute(f"PRAGMA user_version = {number}")
    connection.commit()
    connection.close()


def data_error(cli):
    cli("run", "study.py", "--project-job", "r")
    [bundle] = (cli.workspace / "r/.orchestrator/bundle").glob("*/0.pkl")
    bundle.write_bytes(b"changed")
    return cli("resume", "r", "--from-step", "nothing")


def lease_held(cli):
    from orchestrator.db.store import Holder, Store

    cli("run", "study.py", "--project-job", "r")
    store = Store(cli.workspace / "orchestrator.db")
    store.take_lease("r", Holder("login1", "another boot", 4242, "1", "77"), 1e9)
    return cli("resume", "r", "--from-step", "nothing")


def run_failed(cli):
    return cli("run", "fails.py", "--project-job", "r")


CASES = [
    pytest.param(
        errors.OrchestratorError,
        lambda cli: errors.OrchestratorError("Something happened.", "Do something about it."),
        1,
        "Error: Something happened.\nNext: Do something about it.\n",
    ),
    pytest.param(
        errors.Busy,
        lambda cli: errors.Busy(
            "run r still has live jobs where it should be put back: 4242.1.",
            "Wait for them, or type: orchestrator cancel r",
        ),
        75,
        """\
Error: run r still has live jobs where it should be put back: 4242.1.
Next: Wait for them, or type: orchestrator cancel r
""",
    ),
    pytest.param(
        errors.DatabaseError,
        database_error,
        1,
        """\
Error: {workspace}/orchestrator.db has 2 problems:
  - row 1 of step_run points to no row of run
  - job_live is not as this version makes it
Next: Keep a copy of the file before anything else writes to it.
""",
    ),
    pytest.param(
        errors.DefinitionError,
        definition_error,
        2,
        """\
Error: The pipeline can't run: one thing must change.
  - 2 steps are named 'nothing' on one level: give each a name of its own
Next: Nothing was written.
""",
    ),
    pytest.param(
        errors.StudyError,
        study_error,
        2,
        """\
Error: broken.py can't be imported: ZeroDivisionError: division by zero (line
1).
Next: Mend it, then see that this works: python {workspace}/broken.py
""",
    ),
    pytest.param(
        errors.StudyChanged,
        study_changed,
        1,
        """\
Error: Run r has succeeded, but with other steps than this pipeline's.
Next: Say where to begin:
  orchestrator resume r --from-step STEP --update STUDY.py
In Python: pipeline.from_step(STEP).run(project_job='r')
""",
    ),
    pytest.param(
        errors.StudyChanged,
        study_changed_of_a_failed_run,
        1,
        """\
Error: The new pipeline does not have fails where run r recorded it: the run
can't go on with it.
Next: Keep the steps that have run, or start a new run.
""",
    ),
    pytest.param(
        errors.NotFound,
        not_found,
        2,
        """\
Error: There is no orchestrator.db in {workspace} or in a folder above it.
Next: Go to the folder of a study that was run, or name it: --rootdir FOLDER
""",
    ),
    pytest.param(
        errors.NotYet,
        not_yet,
        2,
        """\
Error: Step evaluate of run r has not run yet.
Next: See how far the run has come: orchestrator status r
""",
    ),
    pytest.param(
        errors.NotADatabase,
        not_a_database,
        1,
        """\
Error: {workspace}/study.py is no database of orchestrator; it was left as it
is.
Next: Name another file (--db FILE), or move this one away.
""",
    ),
    pytest.param(
        errors.DatabaseTooNew,
        too_new,
        1,
        """\
Error: {workspace}/orchestrator.db was written by a newer orchestrator: its
revision is 9999, this one knows 0001.
Next: Install the newer version: pip install --upgrade orchestrator
""",
    ),
    pytest.param(
        errors.DatabaseTooOld,
        too_old,
        1,
        """\
Error: {workspace}/orchestrator.db has revision 0000, this orchestrator needs
0001.
Next: To upgrade it (a backup is written first), its owner types:
  orchestrator db upgrade
""",
    ),
    pytest.param(
        errors.DataError,
        data_error,
        1,
        """\
Error: {bundle}
is not what was written at submission.
Next: Give the run its code anew: orchestrator resume RUN --update STUDY.py
""",
    ),
    pytest.param(
        errors.LeaseHeld,
        lease_held,
        75,
        """\
Error: Run r is being advanced by process 4242 on login1 (job 77), since
01:46:40.
Next: Let it go on, and watch it: orchestrator status r
""",
    ),
    pytest.param(
        errors.RunFailed,
        run_failed,
        1,
        """\
Error: Run r failed: step fails failed: ValueError: no licence.
Next: See the traceback: orchestrator logs r fails
Then go on: orchestrator resume r
""",
    ),
    pytest.param(
        errors.DatabaseBusy,
        lambda cli: errors.DatabaseBusy(
            "/w/orchestrator.db stayed locked for 30 s.", "Nothing was changed; try again."
        ),
        75,
        "Error: /w/orchestrator.db stayed locked for 30 s.\nNext: Nothing was changed; try again.\n",
    ),
    pytest.param(
        errors.SchedulerUnreachable,
        lambda cli: errors.SchedulerUnreachable("SLURM did not answer.", "Try again: orchestrator advance r"),
        75,
        "Error: SLURM did not answer.\nNext: Try again: orchestrator advance r\n",
    ),
    pytest.param(
        errors.Interrupted,
        lambda cli: errors.Interrupted("Run r was stopped.", "To go on: orchestrator resume r"),
        1,
        "Error: Run r was stopped.\nNext: To go on: orchestrator resume r\n",
    ),
]


@pytest.mark.parametrize(("kind", "provoke", "code", "text"), CASES)
def test_the_whole_text(kind, provoke, code, text, short, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    cli = short
    outcome = provoke(cli)
    if isinstance(outcome, errors.OrchestratorError):
        assert printed(outcome) == text
        assert outcome.exit_code == code
        return
    bundle = next(iter((cli.workspace / "r").glob(".orchestrator/bundle/*/0.pkl")), None)
    # Progress comes before it.
    shown = re.search(r"^Error: .*", outcome.err, re.DOTALL | re.MULTILINE)[0]
    assert shown == text.format(workspace=cli.workspace, bundle=bundle)
    assert "Traceback" not in outcome.err
    assert outcome.code == code
