"""The commands for a cluster that the page "After a failure" names continue a run, in the situations that it names."""

from __future__ import annotations

import pytest

from tests.after_a_failure import commands

pytestmark = pytest.mark.slurm

BODY = """
def needs_memory(x):
    if int(os.environ["SLURM_MEM_PER_NODE"]) < 4096:
        die()
    return 2 * x


def says(project_dir):
    print(os.environ["SETTING"])


small = SlurmResources(time="00:05:00", mem="100M")
cluster = SlurmCluster(grace=2, env_setup=["export VARIABLE=right"])
pipeline = Pipeline("study", [
    Step(create, name="create", resources=small),
    Step(datagenerator(output_names="y")(needs_memory), name="evaluate", parallel=True, resources=RESOURCES),
    Step(says, name="says", resources=small),
])
"""


def typed(key: str, verb: str) -> list[list[str]]:
    """Return the commands of the row of the page that begins with this verb."""
    [row] = [row for row in commands() if row[0][0] == verb]
    return [[key if word == "RUN" else word for word in words] for words in row]


def test_a_step_that_needs_more_memory_and_time_gets_them(studies):
    key = studies.finish(BODY.replace("RESOURCES", "small").replace("VARIABLE", "SETTING"), code=1)
    assert studies.states(key) == {"create": "succeeded", "evaluate": "failed"}
    for words in typed(key, "set"):
        studies.orchestrator(*words)
    studies.wait(key)
    assert studies.outputs(key) == [0, 2, 4]
    [*_, job] = studies.jobs(key, "evaluate")
    assert "TimeLimit=02:00:00" in studies.run("scontrol", "show", "job", job["scheduler_id"]).stdout


def test_a_run_with_wrong_settings_of_the_cluster_continues_with_others(studies):
    body = BODY.replace("RESOURCES", "SlurmResources(time='00:05:00', mem='4G')")
    key = studies.finish(body.replace("VARIABLE", "OTHER"), code=1)
    assert studies.states(key)["says"] == "failed"
    studies.write(body.replace("VARIABLE", "SETTING"))
    [words] = typed(key, "submit")
    studies.orchestrator(*words)
    studies.wait(key)
    assert studies.outputs(key) == [0, 2, 4]
