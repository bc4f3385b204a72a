"""What `scripts/demo`, `scripts/test` and `scripts/check` say on a machine that lacks something."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("bash", "cat", "cmp", "dirname", "env", "grep", "mkdir", "mktemp", "sed")


@pytest.fixture
def bare_machine(tmp_path: Path):
    """Copy the scripts into a folder with a space; run them with a PATH that has almost no programs."""
    checkout = tmp_path / "a checkout"
    shutil.copytree(ROOT / "scripts", checkout / "scripts")
    shutil.copytree(ROOT / ".ci", checkout / ".ci")
    shutil.copytree(ROOT / "tests" / "slurm", checkout / "tests" / "slurm")
    shutil.copy(ROOT / "pyproject.toml", checkout)
    # The Python of these tests prints nothing, and this is compared with what it prints.
    (checkout / "docs" / "reference").mkdir(parents=True)
    (checkout / "docs" / "reference" / "cli.md").touch()
    path = tmp_path / "bin"
    path.mkdir()

    def install(name: str, body: str) -> None:
        # Never through a link to a program of this machine.
        (path / name).unlink(missing_ok=True)
        (path / name).write_text(f"#!/bin/bash\n{body}\n")
        (path / name).chmod(0o755)

    for tool in TOOLS:
        install(tool, f'exec "{shutil.which(tool)}" "$@"')

    def run(script: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [checkout / "scripts" / script],
            env={"PATH": str(path), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )

    return install, run


# A Python as Debian ships it: without the modules that make virtual environments.
WITHOUT_ENSUREPIP = f'case "$*" in *ensurepip*) exit 1 ;; esac\nexec "{sys.executable}" "$@"'


@pytest.mark.parametrize("script", ["demo", "test"])
def test_without_a_new_python_the_error_says_what_to_install(bare_machine, script, golden):
    install, run = bare_machine
    install("python3", "exit 1")  # too old
    done = run(script)
    assert done.returncode == 1
    golden(done.stderr)


def test_a_user_without_rights_reads_how_to_install_the_venv_module(bare_machine, golden):
    install, run = bare_machine
    install("python3", WITHOUT_ENSUREPIP)
    install("apt-get", "exit 1")
    install("id", "echo 1000")
    done = run("test")
    package = f"python3.{sys.version_info.minor}-venv"
    assert done.returncode == 1
    golden.replace(package, "package")
    golden(done.stderr)


def test_root_installs_the_missing_venv_module(bare_machine, tmp_path, golden):
    install, run = bare_machine
    install("python3", WITHOUT_ENSUREPIP)
    install("id", "echo 0")
    install("apt-get", f'echo "$*" >> "{tmp_path}/asked"')
    done = run("test")
    package = f"python3.{sys.version_info.minor}-venv"
    assert f"install -y -qq --no-install-recommends {package}" in (tmp_path / "asked").read_text()
    assert done.returncode == 1
    golden.replace(package, "package")
    golden(done.stderr)


def test_without_apt_the_error_names_the_missing_venv_module(bare_machine, golden):
    install, run = bare_machine
    install("python3", WITHOUT_ENSUREPIP)
    done = run("demo")
    assert done.returncode == 1
    golden(done.stderr)


def test_check_without_an_environment_says_to_run_test(bare_machine, golden):
    _, run = bare_machine
    done = run("check")
    assert done.returncode == 1
    golden(done.stderr)


@pytest.fixture
def without_slurm(bare_machine, tmp_path):
    """Make a .venv of programs that only log their arguments, and a `slurm-sandbox` that lacks two packages."""
    install, run = bare_machine
    tools = tmp_path / "a checkout" / ".venv" / "bin"
    tools.mkdir(parents=True)
    note = f'echo "$*" >> "{tmp_path}/python-asked"'
    missing = f'[ -e "{tmp_path}/installed" ] || printf "munge\\nmariadb-server\\n"'
    (tools / "python").write_text(
        f'#!/bin/bash\ncase "$*" in *"slurm-sandbox missing") {missing} ;; *) {note} ;; esac\n'
    )
    (tools / "lint-imports").write_text("#!/bin/bash\n")
    for tool in tools.iterdir():
        tool.chmod(0o755)
    # A program that would write outside the checkout only logs its arguments.
    for name in ("tee", "chmod", "rm", "systemctl"):
        install(name, f'echo "{name} $*" >> "{tmp_path}/asked"')
    for name in ("ccx", "bindfs", "chromium-headless-shell"):
        install(name, "")
    return install, run


@pytest.mark.parametrize(
    ("program", "package"), [("ccx", "calculix-ccx"), ("bindfs", "bindfs"), ("chromium-headless-shell",) * 2]
)
@pytest.mark.parametrize("user", [0, 1000])
def test_a_program_of_some_tests_is_installed_or_it_is_said_how(without_slurm, tmp_path, user, program, package):
    install, run = without_slurm
    (tmp_path / "bin" / program).unlink()
    (tmp_path / "installed").touch()  # SLURM
    install("id", f"echo {user}")
    made = f'ln -s "{shutil.which("env")}" "{tmp_path}/bin/{program}"'
    install("apt-get", f'echo "apt-get $*" >> "{tmp_path}/asked"; {made}')
    (tmp_path / "bin" / "ln").symlink_to(str(shutil.which("ln")))
    done = run("test")
    assert done.returncode == 0
    said = f"sudo apt-get install {package}" in done.stderr
    asked = package in (tmp_path / "asked").read_text() if (tmp_path / "asked").exists() else False
    assert (asked, said) == ((True, False) if user == 0 else (False, True))


def test_a_user_without_rights_reads_how_to_install_slurm(without_slurm):
    install, run = without_slurm
    install("id", "echo 1000")
    install("apt-get", "exit 1")
    done = run("test")
    assert done.returncode == 0
    assert "\n  tests/slurm/test_sandbox.py\n" in done.stderr
    assert "test_marked_slurm" not in done.stderr
    assert "\n  sudo apt-get install munge mariadb-server\n" in done.stderr


def test_root_installs_the_missing_slurm(without_slurm, tmp_path):
    install, run = without_slurm
    install("id", "echo 0")
    install("apt-get", f'echo "apt-get $*" >> "{tmp_path}/asked"; echo > "{tmp_path}/installed"')
    done = run("test")
    asked = (tmp_path / "asked").read_text()
    assert done.returncode == 0
    assert "apt-get install -y -qq --no-install-recommends munge mariadb-server\n" in asked
    assert "apt-get update" not in asked
    assert "tests/slurm" not in done.stderr


def test_outdated_package_lists_are_updated_before_slurm_is_installed(without_slurm, tmp_path):
    install, run = without_slurm
    install("id", "echo 0")
    refuse = f'[ -e "{tmp_path}/updated" ] || {{ echo "404 Not Found" >&2; exit 100; }}; echo > "{tmp_path}/installed"'
    install("apt-get", f'case "$1" in update) echo > "{tmp_path}/updated" ;; *) {refuse} ;; esac')
    done = run("test")
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_failed_installation_of_slurm_is_printed_and_the_tests_run(without_slurm):
    install, run = without_slurm
    install("id", "echo 0")
    install("apt-get", "echo no route to host >&2; exit 100")
    done = run("test")
    assert done.returncode == 0
    assert "no route to host" in done.stderr
    assert "\n  sudo apt-get install munge mariadb-server\n" in done.stderr


def test_the_demo_needs_no_slurm(without_slurm, tmp_path):
    install, run = without_slurm
    (tmp_path / "a checkout" / ".venv" / "bin" / "orchestrator").symlink_to("lint-imports")
    install("apt-get", f'echo "$*" >> "{tmp_path}/asked"')
    done = run("demo")
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "asked").exists()


def test_failures_are_printed_though_slurm_is_missing(without_slurm, tmp_path):
    install, run = without_slurm
    install("id", "echo 1000")
    (tmp_path / "a checkout" / ".venv" / "bin" / "lint-imports").write_text("#!/bin/bash\nexit 1\n")
    done = run("test")
    assert done.returncode == 1
    assert "failed: import-linter" in done.stderr


def test_ci_requires_tests_on_the_real_slurm(without_slurm, tmp_path):
    install, run = without_slurm
    install("id", "echo 1000")
    run(Path("..") / ".ci" / "run")
    least = int((ROOT / "tests" / "slurm" / "least").read_text())
    assert least > 0
    assert f"-m pytest -n auto --least-slurm {least}\n" in (tmp_path / "python-asked").read_text()


def test_no_service_starts_while_packages_are_installed(tmp_path):
    policy = tmp_path / "policy-rc.d"
    load = f"""set -euo pipefail; cd "{ROOT}/scripts/lib"; . ./apt.sh; . ./slurm.sh; POLICY="{policy}"; AS_ROOT=()"""

    def during(command: str) -> subprocess.CompletedProcess[str]:
        script = f"{load}; without_services {command}"
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)

    assert during(f"bash -c '{policy} mariadb start || echo refused: $?'").stdout == "refused: 101\n"
    assert not policy.exists()
    assert during("false").returncode == 1
    assert not policy.exists()
    assert during("kill -TERM $$").returncode != 0
    assert not policy.exists()

    policy.write_text("that of the machine")
    assert during(f"cat {policy}").stdout == "that of the machine"
    assert policy.read_text() == "that of the machine"
