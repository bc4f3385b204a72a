"""What became of a submission, from what sbatch said."""

from __future__ import annotations

import re

from orchestrator.machine.answers import Accepted, Answer, Refused, RefusedForNow, Unanswered
from orchestrator.slurm.parse import job_id

__all__ = ["is_out_of_reach", "judge", "words_of"]


# Patterns are compiled when they are first used: `advance` seldom needs one.
# The request may have arrived, and the job may even come to be seconds after sbatch has given up.
_UNANSWERED = (
    r"(?i)socket timed out|timed out|connection reset|broken pipe|not connected|zero bytes were transmitted"
    r"|message (receive|send) failure|communication shutdown|unexpected message"
    r"|contact slurm controller \((send|receive|shutdown) failure\)|authentication|munge"
)
# Nothing arrived, or it was turned away for a reason that goes away.
_FOR_NOW = (
    r"(?i)unable to contact slurm controller|communication connection failure|connection refused|standby mode"
    r"|temporarily|try again|job queue full|submissions (are )?disabled|backing off|backoff|rate limit"
    r"|partition not available \(inactive or drain\)|node not available \(down, drained or reserved\)"
    r"|error writing script/environment|configuration source|unable to process configuration"
)
_POLICY = r"(?i)violates accounting/QOS policy"
_LIMIT = r"\b(Assoc|QOS)[A-Z]\w+"


def judge(returncode: int, stdout: str, stderr: str) -> Answer:
    """Judge what sbatch said; where that leaves a doubt, it is `Unanswered`.

    Parameters
    ----------
    returncode : int
        Negative for a signal.
    stdout, stderr : str
    """
    words = words_of(stderr, stdout)
    found = job_id(stdout)
    if returncode == 0 and found is not None:
        return Accepted(found)
    # A shell around sbatch says 128 + signal; sbatch itself says 255 to a wrong option.
    is_killed = returncode < 0 or 128 < returncode < 128 + 65
    if is_killed or returncode == 0 or found is not None or not words or re.search(_UNANSWERED, words):
        return Unanswered(words or f"sbatch said nothing and ended with {returncode}")
    if re.search(_POLICY, words):
        limits = [match[0] for match in re.finditer(_LIMIT, words)]
        passes = all("Submit" in limit for limit in limits)
        return RefusedForNow(words) if passes else Refused(words)
    if re.search(_FOR_NOW, words):
        return RefusedForNow(words)
    return Refused(words)


def is_out_of_reach(words: str) -> bool:
    """Tell whether these are words of a program that could not speak with the controller."""
    return re.search(_UNANSWERED, words) is not None or re.search(_FOR_NOW, words) is not None


def words_of(stderr: str, stdout: str = "") -> str:
    """Give a program's words without its name before each line; what it printed where it complained of nothing."""
    lines = [
        re.sub(r"^\w+: (error|fatal|warning): ", "", line.strip()) for line in (stderr.strip() or stdout).splitlines()
    ]
    return "\n".join(line for line in lines if line)
