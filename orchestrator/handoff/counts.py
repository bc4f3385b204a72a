"""How many experiments of a task finished and failed, as names of empty files.

So one listing of a folder says it about all tasks of an array. A task writes such a file only if experiments of it have
failed, or if it ends before all of them are evaluated: of a task that has a receipt and no such file, all experiments
have finished. While a task runs, its numbers are in the file that says what it evaluates
(`orchestrator.worker.running`).
"""

# Without `from __future__ import annotations`: NamedTuple would compile each annotation, in each task.
from collections.abc import Iterable
from typing import NamedTuple

from orchestrator.atomic import PRIVATE, private_folders
from orchestrator.errors import Busy
from orchestrator.workspace import JobFolder

__all__ = ["Counts", "read_counts", "together", "write_counts"]

_NO_CAUSE = "-"


class Counts(NamedTuple):
    """Numbers of experiments that finished and failed, of one task or several, with the cause of the failures.

    Attributes
    ----------
    n_finished, n_failed : int
        Numbers of experiments.
    cause : str
        A short digest of the cause; empty if none failed, if there are several causes, or it is not known.
    """

    n_finished: int = 0
    n_failed: int = 0
    cause: str = ""

    @property
    def n(self) -> int:
        """Number of experiments that have a result."""
        return self.n_finished + self.n_failed


def together(counts: Iterable[Counts]) -> Counts:
    """Return the sum of counts; the cause is empty if they have several."""
    found = list(counts)
    causes = {each.cause for each in found if each.n_failed}
    cause = causes.pop() if len(causes) == 1 else ""
    return Counts(sum(each.n_finished for each in found), sum(each.n_failed for each in found), cause)


def write_counts(folder: JobFolder, task: int, restart: int, counts: Counts) -> None:
    """Write the counts of a task in place of its earlier ones."""
    private_folders(folder.counts)
    of_task = f"{task}.{restart}."
    name = f"{of_task}{counts.n_finished}.{counts.n_failed}.{counts.cause or _NO_CAUSE}"
    (folder.counts / name).touch(PRIVATE)
    for path in folder.counts.glob(f"{of_task}*"):
        if path.name != name:
            path.unlink(missing_ok=True)


def read_counts(folder: JobFolder) -> dict[int, Counts]:
    """Return the counts of the tasks of a job that have written some; of a restarted task, those of its last start.

    Raises
    ------
    Busy
        If the folder can't be listed now.
    """
    try:
        names = [path.name for path in folder.counts.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        text = f"The files in {folder.counts} can't be listed now: {error.strerror}."
        raise Busy(text, "Retry the command later.") from error
    found: dict[int, tuple[int, Counts]] = {}
    for name in names:
        *numbers, cause = name.split(".")
        if len(numbers) == 4 and all(number.isdecimal() for number in numbers):
            task, restart, n_finished, n_failed = map(int, numbers)
            counts = Counts(n_finished, n_failed, "" if cause == _NO_CAUSE else cause)
            # A file that replaces another may be seen beside it.
            found[task] = max(found.get(task, (restart, counts)), (restart, counts), key=lambda new: (new[0], new[1].n))
    return {task: counts for task, (_, counts) in found.items()}
