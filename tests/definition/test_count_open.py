"""The program that counts the open experiments of a table."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orchestrator import ExperimentData
from orchestrator.pipeline.count_open import main


def test_open_experiments_are_counted(tmp_path, capsys):
    ExperimentData(input_data=[{"x": 1}, {"x": 2}], output_data=[{"y": 1}, {}]).store(tmp_path / "sub")
    main(["--job-dir", str(tmp_path), "--project-dir", "sub"])
    assert capsys.readouterr().out == "1\n"
    command = [sys.executable, "-m", "orchestrator.pipeline.count_open", f"--job-dir={tmp_path}/sub"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1\n"


def test_a_folder_without_a_table_is_an_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["--job-dir", str(tmp_path)])
    assert end.value.code == 1
    assert "There is no table in" in capsys.readouterr().err
