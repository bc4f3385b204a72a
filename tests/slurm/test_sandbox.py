"""The throwaway cluster itself: starting, several side by side, other users, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import lives
from tests.slurm.sandboxes import SCRIPT, slurm_sandbox, wait_until

pytestmark = pytest.mark.slurm


def servers_of(folder: Path) -> list[int]:
    """List the processes that were started with a folder's configuration."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"SLURM_CONF={folder}/slurm.conf".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return [pid for pid in found if lives(pid)]


def test_two_clusters_side_by_side_run_their_own_jobs(start_sandbox, tmp_path):
    clusters = {name: start_sandbox(nodes=2) for name in ("one", "two")}
    for name, cluster in clusters.items():
        output = tmp_path / name
        job_id = cluster.sbatch("--output", output, "--wrap", f"echo ran on {name} as $SLURM_JOB_ID")
        assert job_id == "1"
        cluster.wait_until_idle()
        assert output.read_text() == f"ran on {name} as 1\n"


def test_an_ordinary_user_runs_a_cluster_beside_that_of_another_user(sandbox, short_folder):
    nobody = pwd.getpwnam("nobody")
    # Not root: then all other tests are run by an ordinary user, and so is this one.
    switch = ["setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"] * (os.getuid() == 0)
    user = pwd.getpwuid(nobody.pw_uid if switch else os.getuid()).pw_name
    shutil.copytree(SCRIPT.parent, short_folder / "scripts")
    (short_folder / "clusters").mkdir()
    if switch:
        os.chown(short_folder / "clusters", nobody.pw_uid, nobody.pw_gid)
    folder = short_folder / "clusters" / "one"

    def as_user(*command: object, environment: dict[str, str] | None = None) -> str:
        words = [*switch, *map(str, command)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout

    script = short_folder / "scripts" / "slurm-sandbox"
    try:
        as_user(script, "up", "--dir", folder, "--nodes", 1, "--accounting")
        shell = f'eval "$({script} env --dir {folder})"; "$@"'
        # As on a machine where an ordinary user finds no daemons.
        bare = {"PATH": "/usr/bin:/bin"}

        def client(*command: object) -> str:
            return as_user("bash", "-c", shell, "bash", *command, environment=bare).strip()

        assert client("which", "slurmctld", "sbatch").splitlines() == ["/usr/sbin/slurmctld", "/usr/bin/sbatch"]
        job_id = client("sbatch", "--parsable", "--output", folder / "out", "--wrap", "id --user --name")
        wait_until(lambda: not client("squeue", "--noheader"))
        assert (folder / "out").read_text() == f"{user}\n"
        known = ("sacct", "--noheader", "--parsable2", "--allocations", "--jobs", job_id, "--format")
        wait_until(lambda: client(*known, "user,account,state") == f"{user}|default|COMPLETED")
        sandbox.sbatch("--output=/dev/null", "--wrap", "true")
    finally:
        if folder.exists():
            as_user(script, "down", "--dir", folder)
    assert not folder.exists()
    assert servers_of(folder) == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_another_user_of_the_machine_can_not_run_jobs_as_its_owner(short_folder):
    owner, stranger = (
        ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        for user in map(pwd.getpwnam, ("games", "nobody"))
    )
    shutil.copytree(SCRIPT.parent, short_folder / "scripts")
    (short_folder / "clusters").mkdir()
    os.chown(short_folder / "clusters", pwd.getpwnam("games").pw_uid, -1)
    folder, script = short_folder / "clusters" / "one", short_folder / "scripts" / "slurm-sandbox"

    def started(*command: object, **more) -> subprocess.CompletedProcess[str]:
        words = list(map(str, command))
        return subprocess.run(words, capture_output=True, text=True, check=False, cwd="/", **more)

    try:
        up = started(*owner, script, "up", "--dir", folder, "--nodes", 1, "--accounting")
        assert up.returncode == 0, up.stderr
        # The stranger may guess what the configuration says.
        known = Path(shutil.copy(folder / "slurm.conf", short_folder / "guessed.conf"))
        known.chmod(0o644)
        environment = {**os.environ, "SLURM_CONF": str(known)}
        mine = started(*owner, "srun", "id", "--user", "--name", env=environment)
        assert mine.stdout == "games\n", mine.stderr
        theirs = started(*stranger, "timeout", 20, "srun", "id", "--user", "--name", env=environment)
        assert theirs.returncode != 0
        assert theirs.stdout == ""
        sockets = [path for path in folder.rglob("*") if path.is_socket()]
        assert {path.name for path in sockets} >= {"socket", "mariadb.socket"}
        for path in sockets:
            assert started(*owner, "test", "-w", path).returncode == 0
            assert started(*stranger, "test", "-w", path).returncode == 1, path
    finally:
        if folder.exists():
            started(*owner, script, "down", "--dir", folder)
    assert not folder.exists()


def test_a_cluster_runs_in_a_folder_that_others_cannot_enter(short_folder):
    short_folder.chmod(0o700)
    folder = short_folder / "one"
    try:
        done = slurm_sandbox("up", "--dir", folder, "--nodes", 1)
        assert done.returncode == 0, done.stderr
        assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        slurm_sandbox("down", "--dir", folder)


@pytest.mark.parametrize("crashed", [[], ["slurmctld", "slurmd-n1"]], ids=["healthy", "after crashes"])
def test_down_leaves_no_process_and_no_folder(start_sandbox, tmp_path, crashed):
    cluster = start_sandbox(nodes=2)
    pids = tmp_path / "pids"
    stubborn = f"trap '' TERM; echo $$ >> {pids}; sleep 600 & echo $! >> {pids}; wait; sleep 600"
    for node in ("n1", "n2"):
        cluster.sbatch("--output=/dev/null", "--nodelist", node, "--wrap", stubborn)
    wait_until(lambda: pids.exists() and len(pids.read_text().split()) == 4)
    of_jobs = [int(pid) for pid in pids.read_text().split()]
    for server in crashed:
        cluster.kill(server)
    assert all(lives(pid) for pid in of_jobs)

    done = slurm_sandbox("down", "--dir", cluster.folder)

    assert done.returncode == 0, done.stderr
    assert not cluster.folder.exists()
    assert servers_of(cluster.folder) == []
    assert not any(lives(pid) for pid in of_jobs)


@pytest.mark.parametrize("when", ["slurm.conf", "ready"], ids=["while it starts", "when it runs"])
def test_a_cluster_ends_with_the_process_that_it_was_started_for(short_folder, when):
    folder, ready = short_folder / "one", short_folder / "one" / "ready"
    code = f"""if True:
        import os, pathlib, subprocess, time
        subprocess.run(["{SCRIPT}", "up", "--dir", "{folder}", "--nodes", "1", "--until-exit-of", str(os.getpid())])
        subprocess.run(["sbatch", "--wrap", "sleep 600"], env=os.environ | {{"SLURM_CONF": "{folder}/slurm.conf"}})
        pathlib.Path("{ready}").touch()
        time.sleep(600)
    """
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL, cwd=short_folder)
    wait_until((folder / when).exists)
    process.kill()
    process.wait()
    wait_until(lambda: not folder.exists() and not servers_of(folder))


def test_status_lists_the_servers_and_whether_they_run(start_sandbox):
    cluster = start_sandbox(nodes=1)
    cluster.sbatch("--hold", "--job-name=held", "--wrap", "true")
    done = slurm_sandbox("status", "--dir", cluster.folder)
    assert "slurmd-n1: runs, pid" in done.stdout
    assert " held " in done.stdout

    cluster.stop("slurmd-n1")
    done = slurm_sandbox("status", "--dir", cluster.folder)
    assert "slurmctld: runs, pid" in done.stdout
    assert "slurmd-n1: is not running" in done.stdout

    done = slurm_sandbox("stop", "slurmd-n2", "--dir", cluster.folder)
    assert done.returncode == 1
    assert "There is no server 'slurmd-n2'" in done.stderr


def test_a_cluster_that_cannot_start_says_why_and_leaves_no_file(short_folder):
    folder = short_folder / "one"
    done = slurm_sandbox("up", "--dir", folder, "--conf", "NoSuchLine=1")
    assert done.returncode == 1
    assert done.stderr.startswith("slurmctld ended at once. Its last words:\n")
    assert "NoSuchLine" in done.stderr
    assert not folder.exists()
    assert servers_of(folder) == []


def test_a_second_up_in_one_folder_is_refused(sandbox):
    done = slurm_sandbox("up", "--dir", sandbox.folder)
    assert done.returncode == 1
    assert f"Stop it first:\n  scripts/slurm-sandbox down --dir {sandbox.folder}\n" in done.stderr
    assert sandbox.run("sinfo").stdout


def test_a_folder_with_files_is_refused_and_not_removed(short_folder):
    (short_folder / "thesis.tex").touch()
    done = slurm_sandbox("up", "--dir", short_folder)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{short_folder} is not empty.")
    assert (short_folder / "thesis.tex").exists()


@pytest.mark.parametrize("command", ["env", "status", "down"])
def test_a_missing_sandbox_is_reported(short_folder, command):
    done = slurm_sandbox(command, "--dir", short_folder / "none")
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"There is no sandbox in {short_folder}/none. Start one:\n  scripts/slurm-sandbox up --dir {short_folder}/none"
    )


@pytest.mark.parametrize("command", ["up", "env", "status", "down"])
def test_a_folder_that_others_may_write_to_is_not_used(short_folder, command):
    (short_folder / "one").mkdir()
    (short_folder / "one" / "slurm.conf").touch()
    (short_folder / "one").chmod(0o777)
    done = slurm_sandbox(command, "--dir", short_folder / "one")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{short_folder}/one is not a folder that only you can write to.")
    assert (short_folder / "one" / "slurm.conf").exists()
