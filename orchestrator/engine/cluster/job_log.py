"""The end of a job's log, in which a job without a receipt may say why it ended."""

from __future__ import annotations

import re

from orchestrator.damage import Damaged, open_regular
from orchestrator.handoff.jobfile import JobFile
from orchestrator.workspace import RunFolder

__all__ = ["last_log_lines"]

MAX_LINE = 200
"""Characters of each line."""


def last_log_lines(folder: RunFolder, file: JobFile, task: int, n: int) -> list[str]:
    """Return the last lines of the log of a task that are not empty; none if there is no log."""
    name_parts = (file.token, str(task - file.first_task)) if file.parallel else ()
    try:
        with open_regular(folder.log(file.label, file.iteration, *name_parts)) as log:
            log.seek(max(0, log.seek(0, 2) - 4096))
            # A progress bar ends its states with a carriage return.
            lines = re.split("[\r\n]", log.read(4096).decode(errors="replace").replace("\0", ""))
    except (OSError, Damaged):
        return []
    # The shell names the copy of the script on the node, which is gone.
    shown = (re.sub(r"^\S*/slurm_script: ", "", line.strip())[:MAX_LINE] for line in lines if line.strip())
    return list(shown)[-n:]
