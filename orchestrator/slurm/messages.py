"""What the messages of SLURM's programs mean: whether SLURM accepted a submission, was reached, could cancel a job.

The answers as values are in `orchestrator.machine.answers`; what an answer means for the run is decided in
`orchestrator.machine.outcomes`.
"""

from __future__ import annotations

import re

from orchestrator.machine.answers import Accepted, Answer, Refused, RefusedForNow, RefusedHere, Unanswered
from orchestrator.slurm.parse import submitted_id

__all__ = ["is_unreachable", "judge", "messages_of", "problems_of_scancel", "was_not_asked"]


# The patterns are compiled at their first use, since `advance` rarely needs one.
# SLURM may have received the request: the job may even appear seconds after sbatch has given up.
_UNANSWERED = (
    r"(?i)socket timed out|timed out|connection reset|broken pipe|not connected|zero bytes were transmitted"
    r"|message (receive|send) failure|communication shutdown|unexpected message"
    r"|contact slurm controller \((send|receive|shutdown) failure\)|authentication|munge"
)
# SLURM did not receive the request, or refused it for a temporary reason.
_FOR_NOW = (
    r"(?i)unable to contact slurm controller|communication connection failure|connection refused|standby mode"
    r"|temporarily|try again|job queue full|submissions (are )?disabled|backing off|backoff|rate limit"
    r"|partition not available \(inactive or drain\)|node not available \(down, drained or reserved\)"
    r"|error writing script/environment|configuration source|unable to process configuration"
)
# SLURM's own words (AllocNodes of a partition), and those of the wrappers and plugins of sites.
_HERE = (
    r"(?i)access/permission denied|(login|submit|submission|compute|worker|front-?end)[ -]?(node|host)s?\b"
    r"|\bfrom (this|a|the) (node|host|machine)\b|\b(inside|within|from) (a |running )*jobs?\b"
)
# Although the program ends with 0 and prints its header, these say that its list is not the answer to the question.
_NOT_ASKED = (
    r"(?i)invalid user|problem talking to the database|DBD_\w+ failure|getting response from slurmdbd"
    r"|unable to contact slurm controller|slurm_load_\w+ error"
)
# A message about a job, in contrast to complaints about the configuration.
_ABOUT_JOBS = r"(?i)\bjobs?\b|slurm_\w+ error"
_ALREADY_OVER = r"(?i)already (completing|finished)|invalid job id"
_POLICY = r"(?i)violates accounting/QOS policy"
_LIMIT = r"\b(Assoc|QOS)[A-Z]\w+"


def judge(returncode: int, stdout: str, stderr: str) -> Answer:
    """Return the answer of sbatch; `Unanswered` if it is not certain whether there is a job.

    Parameters
    ----------
    returncode : int
        Exit code of sbatch; negative for a signal.
    stdout, stderr : str
        What sbatch printed.
    """
    message = messages_of(stderr, stdout)
    found = submitted_id(stdout)
    if returncode == 0 and found is not None:
        return Accepted(found)
    # A shell around sbatch ends with 128 + signal; sbatch itself ends with 255 for a wrong option.
    is_killed = returncode < 0 or 128 < returncode < 128 + 65
    if is_killed or returncode == 0 or found is not None or not message or re.search(_UNANSWERED, message):
        return Unanswered(message or f"sbatch printed nothing and ended with exit code {returncode}")
    if re.search(_POLICY, message):
        limits = [match[0] for match in re.finditer(_LIMIT, message)]
        is_temporary = all("Submit" in limit for limit in limits)
        return RefusedForNow(message) if is_temporary else Refused(message)
    if re.search(_FOR_NOW, message):
        return RefusedForNow(message)
    return RefusedHere(message) if re.search(_HERE, message) else Refused(message)


def is_unreachable(message: str) -> bool:
    """Whether this is the message of a program that could not reach SLURM's controller."""
    return re.search(_UNANSWERED, message) is not None or re.search(_FOR_NOW, message) is not None


def was_not_asked(message: str) -> bool:
    """Whether a list is incomplete, according to this message of a program that ended with exit code 0.

    Every other message beside a complete answer is only a complaint, such as one about an old line in slurm.conf.
    """
    return re.search(_NOT_ASKED, message) is not None


def problems_of_scancel(message: str) -> list[str]:
    """Return why scancel failed; nothing if the jobs have ended, and the rest are complaints about something else."""
    lines = message.splitlines()
    about_jobs = [line for line in lines if re.search(_ABOUT_JOBS, line)]
    return [line for line in about_jobs or lines if not re.search(_ALREADY_OVER, line)]


def messages_of(stderr: str, stdout: str = "") -> str:
    """Return a program's error messages, without its name in front of them; else what it printed."""
    lines = [
        re.sub(r"^\w+: (error|fatal|warning): ", "", line.strip()) for line in (stderr.strip() or stdout).splitlines()
    ]
    return "\n".join(line for line in lines if line)
