"""What a host gives a process: CPUs, a user's name, an end with its parent; and hosts that lack what Linux offers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.db.lease_holder import STALE, Holder, is_dead
from orchestrator.host import count_cpus, cpus_in_quota, usable_cpus, usable_memory

ROOT = Path(__file__).resolve().parents[1]

STUDY = """
from orchestrator import Pipeline, Step
from tests.studies import square, store_numbers
pipeline = Pipeline("p", [Step(store_numbers(4), name="create"), Step(square, name="evaluate", parallel=True)])
"""

# What macOS does not have, taken away when a Python starts.
LIKE_MACOS = """
import _ctypes, builtins, errno, io, os, select, signal, socket
MISSING = {
    os: "copy_file_range eventfd getrandom memfd_create pidfd_open pipe2 posix_fadvise posix_fallocate "
    "sched_getaffinity sched_setaffinity splice setresuid getresuid O_PATH O_TMPFILE O_DIRECT",
    select: "epoll",
    signal: "sigtimedwait sigwaitinfo pidfd_send_signal",
    socket: "SO_PEERCRED",
}
for module, names in MISSING.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
def without_proc(function):
    def call(path=".", *args, **kwargs):
        if isinstance(path, (str, bytes, os.PathLike)) and os.fsdecode(path).startswith("/proc"):
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", path)
        return function(path, *args, **kwargs)
    return call
io.open = builtins.open = without_proc(open)
for name in ("open", "stat", "listdir", "scandir", "readlink"):
    setattr(os, name, without_proc(getattr(os, name)))
dlsym = _ctypes.dlsym
def of_macos(library, name):
    if name in ("prctl", "syscall"):
        raise OSError(f"dlsym(RTLD_DEFAULT, {name}): symbol not found")
    return dlsym(library, name)
_ctypes.dlsym = of_macos
"""

COMMAND = [sys.executable, "-m", "orchestrator"]


def files(root: Path, **contents: str) -> Path:
    for name, content in contents.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return root


@pytest.mark.parametrize(
    ("allowed", "slurm", "quotas", "cpus"),
    [
        (8, None, [], 8),
        (8, "4", [], 4),
        (2, "4", [], 2),
        (8, "4", [3.0, 6.0], 3),
        (8, None, [2.5], 2),
        (8, None, [0.5], 1),
        (None, None, [], 1),
        (8, "", [], 8),
        (8, "0", [], 8),
        (8, "four", [], 8),
        (8, "²", [], 8),
    ],
)
def test_the_smallest_limit_of_cpus_counts(allowed, slurm, quotas, cpus):
    assert count_cpus(allowed, slurm, quotas) == cpus


def test_a_control_group_without_a_quota_limits_nothing():
    assert cpus_in_quota("200000", "100000") == 2.0
    assert cpus_in_quota("max", "100000") is None
    assert cpus_in_quota("-1", "100000") is None
    assert cpus_in_quota("100000", "0") is None


@pytest.fixture
def many_cpus(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)


@pytest.mark.usefixtures("many_cpus")
def test_the_quota_of_a_control_group_above_counts_too(tmp_path):
    root = files(tmp_path, proc__self__cgroup="0::/user/job/step\n")
    files(root / "sys/fs/cgroup/user/job/step", **{"cpu.max": "max 100000\n"})
    assert usable_cpus(root) == 64
    files(root / "sys/fs/cgroup/user/job", **{"cpu.max": "300000 100000\n"})
    assert usable_cpus(root) == 3


@pytest.mark.usefixtures("many_cpus")
def test_in_a_container_the_uppermost_control_group_is_that_of_the_container(tmp_path):
    root = files(tmp_path, proc__self__cgroup="0::/kubepods/pod1/c1\n")
    files(root / "sys/fs/cgroup", **{"cpu.max": "150000 100000\n"})
    assert usable_cpus(root) == 1


@pytest.mark.usefixtures("many_cpus")
@pytest.mark.parametrize("mount", ["cpu,cpuacct", "cpu"])
def test_the_quota_of_a_control_group_of_version_1_counts(tmp_path, mount):
    root = files(tmp_path, proc__self__cgroup="7:memory:/docker/c1\n4:cpu,cpuacct:/docker/c1\n1:name=systemd:/x\n")
    quota = {"cpu.cfs_quota_us": "500000\n", "cpu.cfs_period_us": "100000\n"}
    files(root / f"sys/fs/cgroup/{mount}/docker/c1", **quota)
    assert usable_cpus(root) == 5


@pytest.mark.parametrize(
    ("groups", "folder", "name"),
    [
        ("0::/user/job/step\n", "user/job", "memory.max"),
        ("0::/kubepods/pod1/c1\n", "", "memory.max"),
        ("7:memory:/docker/c1\n4:cpu,cpuacct:/docker/c1\n", "memory/docker/c1", "memory.limit_in_bytes"),
    ],
)
def test_the_memory_that_can_be_used_is_that_of_the_control_group(tmp_path, groups, folder, name):
    root = files(tmp_path, proc__self__cgroup=groups)
    whole = usable_memory(root)
    assert whole > 1 << 24
    group = root / "sys/fs/cgroup" / folder
    files(group, **{name: "max\n"})
    assert usable_memory(root) == whole
    files(group, **{name: "1048576\n"})
    assert usable_memory(root) == 1 << 20


def test_the_memory_that_can_be_used_is_that_of_ulimit():
    command = "ulimit -v 4000000; exec \"$0\" -c 'from orchestrator.host import *; print(usable_memory())'"
    done = subprocess.run(["bash", "-c", command, sys.executable], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 4_096_000_000


@pytest.mark.usefixtures("many_cpus")
def test_the_cpus_of_a_slurm_job_are_those_that_it_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "4")
    assert usable_cpus(tmp_path) == 4


def test_without_start_times_a_process_counts_as_dead_when_it_is_gone_or_silent(monkeypatch):
    monkeypatch.setattr("orchestrator.db.lease_holder._start_of", lambda pid: None)
    here = Holder.this_process()
    assert here.pid_start == ""
    assert not is_dead(here, None, 0.0)
    assert not is_dead(here, 100.0, 100.0 + STALE - 1)
    assert is_dead(here, 100.0, 100.0 + STALE)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_dead(here._replace(pid=ended.pid), None, 0.0)


def test_a_process_of_another_user_that_the_system_hides_is_not_taken_for_dead(monkeypatch):
    here = Holder.this_process()
    assert not is_dead(here, None, 0.0)
    assert is_dead(here._replace(pid_start="1"), None, 0.0)

    def refuse(pid, number):
        raise PermissionError

    monkeypatch.setattr("os.kill", refuse)
    assert is_dead(here._replace(pid_start="1"), None, 0.0)
    monkeypatch.setattr("orchestrator.db.lease_holder._start_of", lambda pid: None)
    assert not is_dead(here, 100.0, 100.0 + STALE - 1)
    assert is_dead(here, 100.0, 100.0 + STALE)


@pytest.mark.acceptance
@pytest.mark.parametrize("options", [[], ["--jobs", "1"]])
def test_a_local_run_works_without_what_macos_lacks(workspace, options):
    Path("study.py").write_text(STUDY)
    Path("mac").mkdir()
    Path("mac/sitecustomize.py").write_text(LIKE_MACOS)
    env = {**os.environ, "PYTHONPATH": f"{workspace / 'mac'}{os.pathsep}{ROOT}"}

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*COMMAND, *args], env=env, capture_output=True, text=True, check=False)

    done = run("run", "study.py", "--project-job", "k", *options)
    assert done.returncode == 0, done.stderr
    assert "Run k has succeeded." in done.stderr
    assert run("status", "k").returncode == 0


@pytest.mark.acceptance
def test_a_worker_ends_with_its_parent_without_what_macos_lacks(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(LIKE_MACOS)
    child = "from orchestrator.host import die_with_parent; die_with_parent(); print('alive', flush=True); input()"
    # The parent ends when the child is alive; the child's input stays open.
    parent = (
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE, text=True)\n"
        "child.stdout.readline()\n"
        "import os; os._exit(0)"
    )
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", parent]
    process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.wait() == 0
    # The end of the child closes the last descriptor of its standard error.
    assert process.stderr.read() == b""
    process.stdin.close()
    process.stderr.close()


@pytest.mark.acceptance
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs the program unshare")
def test_a_user_without_a_name_can_run_a_study(workspace):
    Path("study.py").write_text(STUDY)
    workspace.chmod(0o777)
    unnamed = ["unshare", "--user", "--map-user=54321", "--map-group=54321"]
    unnamed += ["env", "-i", f"PATH={os.environ['PATH']}", f"PYTHONPATH={ROOT}", "HOME=/nonexistent"]
    check = "import os, pwd\ntry: pwd.getpwuid(os.getuid())\nexcept KeyError: print('no name')"
    tried = subprocess.run([*unnamed, sys.executable, "-c", check], capture_output=True, text=True, check=False)
    if tried.stdout != "no name\n":
        pytest.skip("this system allows no user namespace in which the user has no name")
    done = subprocess.run(
        [*unnamed, *COMMAND, "run", "study.py", "--project-job", "k"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    shown = subprocess.run([*unnamed, *COMMAND, "status", "--json"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
