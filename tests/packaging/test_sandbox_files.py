"""What the SLURM sandbox writes for the version of SLURM that is installed."""

from __future__ import annotations

import importlib

import pytest

from tests.slurm.sandboxes import SCRIPT


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Return a function that writes the files of a sandbox for a version, and returns those that SLURM reads."""
    monkeypatch.syspath_prepend(SCRIPT.parent / "lib")
    configuration = importlib.import_module("sandbox.configuration")

    def write(version):
        monkeypatch.setattr(configuration, "version", lambda: version)
        configuration.write(tmp_path / "one", 2, accounting=True, more=[])
        return {path.name: path.read_text() for path in (tmp_path / "one").glob("*.conf")}

    return write


@pytest.mark.parametrize("version", ["slurm-wlm 22.05.8\n", "slurm-wlm 23.11.4\n"])
def test_an_old_slurm_gets_no_cgroup_configuration(written, version):
    assert sorted(written(version)) == ["slurm.conf", "slurmdbd.conf"]


@pytest.mark.parametrize("version", ["slurm 24.05.2\n", "slurm-wlm 24.11.5\n", "slurm 25.11.0-0rc1\n"])
def test_a_newer_slurm_is_configured_without_cgroups(written, version):
    files = written(version)
    assert files["cgroup.conf"] == "CgroupPlugin=disabled\n"
    assert "NodeName=n1,n2 " in files["slurm.conf"]
