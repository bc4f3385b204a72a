"""What to do about an exception of the user's code whose own text does not say it."""

from __future__ import annotations

from errno import ENOTTY

from orchestrator.worker.processes import is_full_disk, why_full

__all__ = ["advice_on"]

NO_TERMINAL = "a job has no terminal, so nothing can be typed: give the value as an input or in kwargs"
NO_DEBUGGER = "a job has no terminal, so a debugger can't be used: remove the breakpoint, and print what you look for"
NO_EXIT = "exit() is a failure here: to finish early, use return; to fail, raise an exception that says why"


def advice_on(error: BaseException) -> str:
    """Return what to do about an exception, as a clause; empty if its own text is enough."""
    if isinstance(error, SystemExit):
        return NO_EXIT
    if type(error).__module__ == "bdb":
        return NO_DEBUGGER
    if isinstance(error, OSError) and is_full_disk(error):
        return f"{why_full(error)}, or the quota is used up: make room"
    return NO_TERMINAL if _wants_terminal(error) else ""


def _wants_terminal(error: BaseException) -> bool:
    """Whether `input`, `getpass` or a question about the terminal has failed; other EOFErrors are about files."""
    if isinstance(error, EOFError):
        return error.args == ("EOF when reading a line",) or _raised_in(error).endswith("/getpass.py")
    return isinstance(error, OSError) and error.errno == ENOTTY


def _raised_in(error: BaseException) -> str:
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    return "" if traceback is None else traceback.tb_frame.f_code.co_filename
