"""Every error as a user reads it, in a terminal of 80 columns."""

from __future__ import annotations

import io
import pickle
import re
import sqlite3

import pytest
from cli_records import Records

from orchestrator import errors
from orchestrator.cli.errors import show
from orchestrator.data.load_functions import decode_function


def printed(error):
    stream = io.StringIO()
    show(error, stream)
    return stream.getvalue()


def classes(root=errors.OrchestratorError):
    yield root
    for child in root.__subclasses__():
        yield from classes(child)


def test_a_command_stays_on_one_line(golden):
    command = "orchestrator resume 1795531215 --update /a/folder/with/a/long/name/and/one/more/study.py"
    text = printed(errors.StudyChanged("The study has changed.", f"To use the new code: {command}"))
    golden(text)


def test_a_list_keeps_its_lines(golden):
    text = printed(errors.DefinitionError("Two things must change:\n  - " + "word " * 20 + "\n  - the other", "Do."))
    lines = text.splitlines()
    golden(text)
    assert max(map(len, lines)) <= 80


def test_the_whole_text_of_every_class_is_tested():
    tested = {case.values[0] for case in CASES}
    assert set(classes()) == tested


def test_the_tree_in_the_docstring_is_that_of_the_classes():
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


def damaged_records(cli):
    cli("run", "study.py", "--project-job", "r")
    with sqlite3.connect(cli.workspace / "orchestrator.db") as connection:
        connection.execute("UPDATE run SET started_at = 'yesterday'")
    connection.close()
    return cli("status", "r")


def not_owner(cli):
    cli("run", "study.py", "--project-job", "r")
    with sqlite3.connect(cli.workspace / "orchestrator.db") as connection:
        connection.execute("UPDATE run SET uid = 54321")
    connection.close()
    return cli("resume", "r")


def definition_error(cli):
    return cli("run", "two_names.py")


def study_error(cli):
    return cli("run", "broken.py")


def study_changed(cli):
    cli("run", "study.py", "--project-job", "r")
    return cli("run", "other.py", "--project-job", "r")


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


def not_allowed(cli):
    try:
        decode_function(pickle.dumps(eval).hex())
    except errors.NotAllowed as error:
        return error


def lease_held(cli):
    from orchestrator.db.lease_holder import Holder
    from orchestrator.db.store import Store

    cli("run", "study.py", "--project-job", "r")
    store = Store(cli.workspace / "orchestrator.db")
    store.leases.take("r", Holder("login1", "another boot", 4242, "1", "77"), 1e9)
    return cli("resume", "r", "--from-step", "nothing")


def run_failed(cli):
    return cli("run", "fails.py", "--project-job", "r")


CASES = [
    pytest.param(
        errors.OrchestratorError,
        lambda cli: errors.OrchestratorError("Something happened.", "Do something about it."),
        1,
        id="OrchestratorError",
    ),
    pytest.param(
        errors.Busy,
        lambda cli: errors.Busy(
            "run r can't be resumed while it has live jobs: 4242.1.",
            "Wait for them, or type: orchestrator cancel r",
        ),
        75,
        id="Busy",
    ),
    pytest.param(errors.DatabaseError, database_error, 1, id="DatabaseError"),
    pytest.param(errors.DefinitionError, definition_error, 2, id="DefinitionError"),
    pytest.param(errors.StudyError, study_error, 2, id="StudyError"),
    pytest.param(errors.StudyChanged, study_changed, 1, id="StudyChanged"),
    pytest.param(errors.StudyChanged, study_changed_of_a_failed_run, 1, id="StudyChanged-of-a-failed-run"),
    pytest.param(errors.NotFound, not_found, 2, id="NotFound"),
    pytest.param(errors.NotYet, not_yet, 2, id="NotYet"),
    pytest.param(errors.DamagedRecords, damaged_records, 1, id="DamagedRecords"),
    pytest.param(errors.NotADatabase, not_a_database, 1, id="NotADatabase"),
    pytest.param(errors.DatabaseTooNew, too_new, 1, id="DatabaseTooNew"),
    pytest.param(errors.DatabaseTooOld, too_old, 1, id="DatabaseTooOld"),
    pytest.param(errors.DataError, data_error, 1, id="DataError"),
    pytest.param(errors.NotAllowed, not_allowed, 1, id="NotAllowed"),
    pytest.param(errors.NotOwner, not_owner, 1, id="NotOwner"),
    pytest.param(errors.LeaseHeld, lease_held, 75, id="LeaseHeld"),
    pytest.param(errors.RunFailed, run_failed, 1, id="RunFailed"),
    pytest.param(
        errors.DatabaseBusy,
        lambda cli: errors.DatabaseBusy(
            "/w/orchestrator.db was locked for 30 s.", "Nothing was changed. Retry the command later."
        ),
        75,
        id="DatabaseBusy",
    ),
    pytest.param(
        errors.TableBusy,
        lambda cli: errors.TableBusy(
            "another process stores the table in /w/r/experiment_data", "Retry the command later."
        ),
        75,
        id="TableBusy",
    ),
    pytest.param(
        errors.SchedulerUnreachable,
        lambda cli: errors.SchedulerUnreachable(
            "SLURM did not answer.", "Retry when it answers: orchestrator advance r"
        ),
        75,
        id="SchedulerUnreachable",
    ),
    pytest.param(
        errors.Interrupted,
        lambda cli: errors.Interrupted("Run r was stopped.", "To continue: orchestrator resume r"),
        130,
        id="Interrupted",
    ),
    pytest.param(
        errors.Cancelled,
        lambda cli: errors.Cancelled("Run r was cancelled.", "To continue it: orchestrator resume r"),
        4,
        id="Cancelled",
    ),
]


@pytest.mark.parametrize(("kind", "provoke", "code"), CASES)
def test_the_whole_text(kind, provoke, code, cli, monkeypatch, golden):
    monkeypatch.setenv("TZ", "UTC")
    outcome = provoke(cli)
    if isinstance(outcome, errors.OrchestratorError):
        golden(printed(outcome))
        assert outcome.exit_code == code
        return
    bundle = next(iter((cli.workspace / "r").glob(".orchestrator/bundle/*/0.pkl")), None)
    golden.replace(bundle, "bundle")
    # Progress comes before it.
    golden(re.search(r"^Error: .*", outcome.err, re.DOTALL | re.MULTILINE)[0])
    assert outcome.code == code
