"""What a run writes is private whatever the umask, except tables and logs. Planted links are not followed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from orchestrator import ExperimentData
from orchestrator.no_links import private_folder
from tests.users import on_each_file_system

pytestmark = pytest.mark.slow

STUDY = """
from orchestrator import Domain, ExperimentData, Pipeline, Step, datagenerator
def create(project_dir):
    domain = Domain()
    domain.add_float("x", low=0.0, high=1.0)
    domain.add_output("y")
    ExperimentData(domain=domain, input_data=[{"x": 0.5}]).store(project_dir)
@datagenerator(output_names="y")
def double(x):
    return 2 * x
pipeline = Pipeline("double", [Step(create), Step(double, name="evaluate", parallel=True)])
"""


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def study(here):
    (here.workspace / "study.py").write_text(STUDY)
    return here


def permissions(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@on_each_file_system
def test_the_records_and_the_files_of_the_engine_are_private_and_tables_and_logs_follow_the_umask(study, open_umask):
    assert study("run", "study.py", "--project-job", "r").code == 0
    records = sorted(study.workspace.glob("orchestrator.db*"))
    assert len(records) >= 2  # with several mounts, the lock is no file that stays
    engine = study.workspace / "r" / ".orchestrator"
    inside = [engine, *engine.rglob("*")]
    assert [path for path in inside if path.parent.parent == engine / "tables"]
    table = study.workspace / "r" / "experiment_data"
    private = [*records, *inside, table / ".lock"]
    assert len(inside) > 5
    assert {permissions(path) & 0o077 for path in records + [path for path in inside if path.is_file()]} == {0}
    assert permissions(engine) == 0o700
    assert permissions(engine.parent) == 0o755
    assert not [path for path in private if path.is_symlink()]
    assert permissions(table / ".lock") == 0o600
    assert permissions((table / "output.csv").resolve()) == 0o666
    assert {permissions(log) for log in (study.workspace / "logs" / "r").glob("*.log")} == {0o666}


def test_a_lock_that_others_can_open_is_closed_when_it_is_used(study):
    # As by `chmod go+r orchestrator.db*`. Who can open a lock can hold it.
    assert study("run", "study.py", "--project-job", "r").code == 0
    guard = study.workspace / "orchestrator.db.guard"
    guard.chmod(0o644)
    assert study("status", "r").code == 0
    assert permissions(guard) == 0o600


@on_each_file_system
def test_a_folder_of_the_engine_that_others_could_enter_is_closed_before_it_is_used(study):
    engine = study.workspace / "r" / ".orchestrator"
    engine.parent.mkdir(mode=0o775)
    engine.mkdir()
    assert study("run", "study.py", "--project-job", "r").code == 0
    assert permissions(engine) == 0o700


def test_a_link_in_place_of_the_folder_of_the_engine_is_refused(study, golden):
    (study.workspace / "elsewhere").mkdir(mode=0o755)
    (study.workspace / "r").mkdir()
    (study.workspace / "r" / ".orchestrator").symlink_to(study.workspace / "elsewhere")
    done = study("run", "study.py", "--project-job", "r")
    assert done.code == 1
    golden(done)
    assert list((study.workspace / "elsewhere").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders of another user")
def test_a_folder_of_another_user_does_not_become_private(tmp_path):
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 54321, 54321)
    with pytest.raises(PermissionError, match="belongs to another user"):
        private_folder(tmp_path / "theirs")


@on_each_file_system
def test_a_link_in_place_of_a_new_table_is_removed_and_the_folder_that_it_names_is_not_emptied(workspace):
    thesis = workspace / "thesis"
    thesis.mkdir()
    (thesis / "chapter1.tex").write_text("draft")
    table = ExperimentData(input_data=[{"x": 1.0}])
    table.store(workspace)
    (workspace / "experiment_data" / ".next").symlink_to(thesis)
    table.store(workspace)
    assert (thesis / "chapter1.tex").read_text() == "draft"
    assert len(ExperimentData.from_file(workspace)) == 1


def test_nothing_is_written_to_the_file_that_a_link_in_place_of_a_log_names(study, golden):
    assert study("run", "study.py", "--project-job", "r").code == 0
    precious = study.workspace / "precious"
    precious.write_text("draft")
    log = study.workspace / "logs" / "r" / "create.log"
    log.unlink()
    log.symlink_to(precious)
    done = study("resume", "r", "--from-step", "create")
    assert done.code == 1
    golden(done)
    assert precious.read_text() == "draft"
    log.unlink()
    assert study("resume", "r").code == 0


@pytest.mark.parametrize("is_read", [False, True])
def test_a_fifo_in_place_of_a_log_blocks_no_run(study, is_read):
    assert study("run", "study.py", "--project-job", "r").code == 0
    log = study.workspace / "logs" / "r" / "create.log"
    log.unlink()
    os.mkfifo(log)
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK) if is_read else None
    done = study("resume", "r", "--from-step", "create")
    assert done.code == 1
    assert "create.log is not a regular file" in " ".join(done.err.split())
    if reader is not None:
        os.close(reader)


@pytest.fixture
def submits(study, programs):
    """Submit a run whose folder of logs exists already."""
    programs.accepts()
    logs = study.workspace / "logs" / "r"
    logs.parent.mkdir()

    def submit():
        done = study("submit", "slurm.py", "--project-job", "r")
        return done.code, " ".join(done.err.split()), programs.called("sbatch")

    return logs, submit


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o757])
def test_slurm_writes_no_log_to_a_folder_in_which_others_may_put_links(submits, mode):
    logs, submit = submits
    logs.mkdir()
    logs.chmod(mode)
    code, said, submitted = submit()
    assert (code, submitted) == (1, [])
    assert f"Other users may write to {logs} (mode {mode:04o}), so it is not used" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders and links of another user")
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_slurm_writes_no_log_to_a_folder_or_link_of_another_user(submits, tmp_path, kind):
    logs, submit = submits
    if kind == "folder":
        logs.mkdir()
    else:
        logs.symlink_to(tmp_path)  # a folder of this user
    os.chown(logs, 54321, 54321, follow_symlinks=False)
    code, said, submitted = submit()
    assert (code, submitted) == (1, [])
    assert f"{logs} {'belongs to' if kind == 'folder' else 'is a link of'} uid 54321" in said


def test_the_logs_may_be_a_link_of_this_user(submits, tmp_path):
    logs, submit = submits
    logs.symlink_to(tmp_path)
    code, said, submitted = submit()
    assert code == 0, said
    assert submitted


def test_other_users_can_create_no_file_among_the_logs_of_a_run(study, open_umask):
    assert study("run", "study.py", "--project-job", "r").code == 0
    assert permissions(study.workspace / "logs" / "r") == 0o755
