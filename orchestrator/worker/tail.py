"""The tail of a job: after the last task, the job advances the run, so that no other job must start for that.

The imports of `advance` take longer than its work. So its process may be started early, while the task runs. It then
waits for a message on a pipe, and ends without work if the pipe is closed without a message.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

from orchestrator.handoff.jobfile import JobFile
from orchestrator.no_links import append_to
from orchestrator.workspace import TASK_MARK, RunFolder

__all__ = ["Tail"]


class Tail:
    """A process that advances a run on request. If it fails, the orchestrator job advances the run.

    Parameters
    ----------
    folder : RunFolder
        The run's files.
    job : JobFile
        The job. Without a `database` it has no tail.
    """

    def __init__(self, folder: RunFolder, job: JobFile) -> None:
        self._log = RunFolder(folder.workspace, folder.key, job.log_dir).orchestrator_log
        self._job = job
        # The user's code may change them.
        self._environment, self._cwd = dict(os.environ), Path.cwd()
        # A second worker ends what the first one has started, but not what advances the run.
        self._environment.pop(TASK_MARK, None)
        self._start_pipe: int | None = None
        self._end_pipe: int | None = None

    def start(self) -> None:
        """Start the process. It imports what it needs, and waits."""
        if self._start_pipe is not None or self._job.database is None:
            return
        try:
            self._start_pipe, self._end_pipe = self._spawn(self._job.database)
        except OSError as error:
            print(f"This job can't advance the run itself ({error}); its orchestrator job will.", flush=True)

    def _spawn(self, database: str) -> tuple[int, int]:
        command = [sys.executable, "-P", "-m", "orchestrator.cli.tail", database, self._job.run_key]
        # Started by a shell that ends at once, so that it is not a child: the user's code may wait for all children.
        line = 'command cd -- "$1" || exit; shift; exec 3<&0; "$@" <&3 3<&- &'
        with os.fdopen(append_to(self._log), "ab") as log:
            (stdin, start_pipe), (end_pipe, closes_at_end) = os.pipe(), os.pipe()
            try:
                # The process inherits this descriptor, which is closed when the process ends.
                os.set_inheritable(closes_at_end, True)
                self._run_shell(["sh", "-c", line, "sh", str(self._cwd), *command], stdin, log.fileno())
            except OSError:
                os.close(start_pipe)
                os.close(end_pipe)
                raise
            finally:
                os.close(stdin)
                os.close(closes_at_end)
        return start_pipe, end_pipe

    def _run_shell(self, words: list[str], stdin: int, log: int) -> None:
        """Run a shell, without `subprocess`: its import takes longer than the shell."""
        dup2 = os.POSIX_SPAWN_DUP2
        streams = [(dup2, log, 1), (dup2, log, 2), (dup2, stdin, 0)]
        # If SIGCHLD is ignored, there is no exit code. The user's code may have set that, and it is inherited.
        default = [signal.SIGCHLD]
        pid = os.posix_spawn("/bin/sh", words, self._environment, file_actions=streams, setsigdef=default)
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(pid, 0)
            if status:
                raise OSError(f"its shell ended with {os.waitstatus_to_exitcode(status)}")

    def advance(self) -> None:
        """Advance the run, and wait for the end of the process."""
        self.start()
        self._send(b"go\n")

    def stop(self) -> None:
        """End the process without advancing the run."""
        self._send(b"")

    def _send(self, message: bytes) -> None:
        if self._start_pipe is None or self._end_pipe is None:
            return
        with contextlib.suppress(BrokenPipeError):  # the process has died: the orchestrator job will advance the run
            os.write(self._start_pipe, message)
        os.close(self._start_pipe)
        while os.read(self._end_pipe, 1):
            pass
        os.close(self._end_pipe)
