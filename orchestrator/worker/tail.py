"""The tail of a job: the last task advances the run itself, so that the next step waits in no queue but its own.

What `advance` has to load takes longer than what it has to do. So its process may be started early, while the work goes
on, and then waits for the word: it goes when it hears one, and ends when the pipe closes without.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

from orchestrator.handoff.jobfile import JobFile
from orchestrator.workspace import RunFolder

__all__ = ["Tail"]


class Tail:
    """A process that advances a run when it is told to. If it fails, the orchestrator job does its work.

    Parameters
    ----------
    folder : RunFolder
    job : JobFile
        Its `database` says where the run is recorded; without one the job has no tail.
    """

    def __init__(self, folder: RunFolder, job: JobFile) -> None:
        self._log = RunFolder(folder.workspace, folder.key, job.log_dir).orchestrator_log
        self._job = job
        # The user's code may change them.
        self._environment, self._cwd = dict(os.environ), Path.cwd()
        self._word: int | None = None
        self._end: int | None = None

    def start(self) -> None:
        """Load what will be needed; nothing is done yet."""
        if self._word is not None or self._job.database is None:
            return
        try:
            self._word, self._end = self._spawn(self._job.database)
        except OSError as error:
            print(f"This job can't advance the run itself ({error}); its orchestrator job will.", flush=True)

    def _spawn(self, database: str) -> tuple[int, int]:
        command = [sys.executable, "-P", "-m", "orchestrator.cli.tail", database, self._job.run_key]
        # Through a shell that ends at once: the user's code, which may wait for its children, must not wait for this.
        line = 'command cd -- "$1" || exit; shift; exec 3<&0; "$@" <&3 3<&- &'
        with self._log.open("ab") as log:
            (hears, word), (end, ends) = os.pipe(), os.pipe()
            try:
                # What the process holds at this number closes when it ends, and not before.
                os.set_inheritable(ends, True)
                self._run_shell(["sh", "-c", line, "sh", str(self._cwd), *command], hears, log.fileno())
            except OSError:
                os.close(word)
                os.close(end)
                raise
            finally:
                os.close(hears)
                os.close(ends)
        return word, end

    def _run_shell(self, words: list[str], hears: int, log: int) -> None:
        """Run a shell, not by `subprocess`: to load that takes longer than the shell."""
        dup2 = os.POSIX_SPAWN_DUP2
        streams = [(dup2, log, 1), (dup2, log, 2), (dup2, hears, 0)]
        # Whoever ignores its children learns no exit code: the user's code may have set that, and it is inherited.
        default = [signal.SIGCHLD]
        pid = os.posix_spawn("/bin/sh", words, self._environment, file_actions=streams, setsigdef=default)
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(pid, 0)
            if status:
                raise OSError(f"its shell ended with {os.waitstatus_to_exitcode(status)}")

    def go(self) -> None:
        """Advance the run, and wait until that is done."""
        self.start()
        self._say(b"go\n")

    def leave(self) -> None:
        """Do without."""
        self._say(b"")

    def _say(self, word: bytes) -> None:
        if self._word is None or self._end is None:
            return
        with contextlib.suppress(BrokenPipeError):  # it has died: the orchestrator job stands behind it
            os.write(self._word, word)
        os.close(self._word)
        while os.read(self._end, 1):
            pass
        os.close(self._end)
