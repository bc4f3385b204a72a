"""The paths of a workspace, also after it was moved."""

from __future__ import annotations

from orchestrator.workspace import relocated


def test_a_path_in_a_moved_workspace_goes_with_it(tmp_path):
    assert (
        relocated(f"{tmp_path}/old/code/study.py", f"{tmp_path}/old", f"{tmp_path}/new")
        == f"{tmp_path}/new/code/study.py"
    )
    assert relocated(f"{tmp_path}/old", f"{tmp_path}/old", f"{tmp_path}/new") == f"{tmp_path}/new"


def test_a_path_beside_a_moved_workspace_goes_with_it_only_if_it_is_there(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    (new / "runs").mkdir(parents=True)
    (new / "study.py").touch()
    assert relocated(f"{old}/study.py", f"{old}/runs", f"{new}/runs") == f"{new}/study.py"
    old.mkdir()
    (old / "study.py").touch()
    assert relocated(f"{old}/study.py", f"{old}/runs", f"{new}/runs") == f"{old}/study.py"
    assert relocated("/no/such/study.py", f"{old}/runs", f"{new}/runs") == "/no/such/study.py"
