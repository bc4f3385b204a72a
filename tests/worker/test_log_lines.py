"""Log lines of a study that imports `logging` late, or never."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

LINE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO study: seen\n"


def errors_of(code, cwd):
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def within_log_lines(*lines):
    return "\n".join(["from orchestrator.worker.log_lines import log_lines", "with log_lines():", *lines])


@pytest.mark.parametrize("when", ["before", "in the block"])
def test_lines_are_shown_whenever_logging_is_imported(tmp_path, when):
    code = within_log_lines("    import logging", "    logging.getLogger('study').info('seen')")
    shown = errors_of(f"import logging\n{code}" if when == "before" else code, tmp_path)
    assert re.fullmatch(LINE, shown)


@pytest.mark.parametrize("when", ["before", "in the block"])
def test_what_the_study_configures_holds(tmp_path, when):
    code = within_log_lines(
        "    import logging",
        "    logging.basicConfig(format='own %(message)s', level='WARNING')",
        "    logging.info('not shown')",
        "    logging.warning('seen')",
    )
    assert errors_of(f"import logging\n{code}" if when == "before" else code, tmp_path) == "own seen\n"


def test_without_logging_nothing_of_it_is_imported(tmp_path):
    code = within_log_lines("    pass")
    assert errors_of(f"{code}\nimport sys\nassert not {{'logging', 'traceback'}} & set(sys.modules)", tmp_path) == ""


def test_after_the_block_an_import_of_logging_is_a_usual_one(tmp_path):
    code = within_log_lines("    pass", "import logging", "logging.info('not shown')", "logging.warning('seen')")
    assert errors_of(code, tmp_path) == "WARNING:root:seen\n"
