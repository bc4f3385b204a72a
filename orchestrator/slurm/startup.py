"""Why jobs can't start Python, from what `env_setup`, `runner` and a line of Python print in the shell of a job.

Also whether that is certain on all nodes, so that `submit` refuses it, or may be different there: then it is only said.
"""

from __future__ import annotations

import re
import sys
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

__all__ = ["CODE", "MARK", "Stage", "Trouble", "trouble_in"]

MARK = "orchestrator-probe"
CODE = f"import sys, orchestrator; print('{MARK}', *sys.version_info[:2])"
MAX_LINES = 6
"""Lines of the output that an error quotes."""


class Stage(StrEnum):
    """What failed."""

    SETUP = "env_setup"
    RUNNER = "runner"


class Trouble(NamedTuple):
    """Why jobs would not start.

    Attributes
    ----------
    stage : Stage
        What failed.
    why : str
        A sentence without a full stop.
    is_certain : bool
        Whether nodes must fail in the same way, although they may differ from the machine where it was tried.
    """

    stage: Stage
    why: str
    is_certain: bool


def trouble_in(text: str, runner: str, cwd: str, where: str) -> Trouble | None:
    """Return why jobs would not start, from what the probe printed; None if they would.

    It is certain for another version of Python, a missing module `orchestrator`, and a missing file below the working
    folder or the home folder, which nodes share. Anything else may be different on a node.

    Parameters
    ----------
    text : str
        What `env_setup`, `runner` and the probe printed.
    runner : str
        The cluster's `runner`.
    cwd : str
        The folder in which it was tried.
    where : str
        Where it was tried, for the sentence.
    """
    starter = f"runner={runner!r}"
    version = re.search(rf"^{MARK} (\d+) (\d+)$", text, re.MULTILINE)
    if version is not None:
        theirs, ours = f"{version[1]}.{version[2]}", "{}.{}".format(*sys.version_info)
        why = f"{starter} starts Python {theirs} {where}, but the study is loaded by Python {ours}"
        return None if theirs == ours else Trouble(Stage.RUNNER, why, is_certain=True)
    lines = [line for line in text.splitlines() if line.strip()]
    failed = re.search(r"^orchestrator: env_setup failed on \S* at: (.*)$", text, re.MULTILINE)
    if failed is not None:
        why = f"env_setup fails {where} at: {failed[1]}{_quoted([line for line in lines if line != failed[0]])}"
        return Trouble(Stage.SETUP, why, _lacks_shared_file(text, cwd))
    can_not_import = "No module named 'orchestrator'" in text or "No module named orchestrator" in text
    why = f"{starter} can't import orchestrator {where}{_quoted(lines)}"
    return Trouble(Stage.RUNNER, why, can_not_import or _lacks_shared_file(text, cwd))


def _quoted(lines: list[str]) -> str:
    return f" ({'; '.join(lines[-MAX_LINES:])})" if lines else ""


def _lacks_shared_file(text: str, cwd: str) -> bool:
    """Whether a file is missing in a folder that the nodes share: the working folder or the home folder."""
    missing = re.findall(r": (?:exec: )?([^:\n]+): (?:No such file|cannot execute|not found)", text)
    shared = [Path(cwd), Path("~").expanduser()]
    paths = [Path(cwd, name) for name in missing if "/" in name]
    return any(path.is_relative_to(folder) and not path.exists() for path in paths for folder in shared)
