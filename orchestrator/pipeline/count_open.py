"""Print how many experiments of a run are open: `python -m orchestrator.pipeline.count_open --job-dir FOLDER`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the number of open experiments of a table.

    Parameters
    ----------
    argv : sequence of str or None, default None
        The arguments. By default those of the command line.
    """
    parser = argparse.ArgumentParser(
        prog="python -m orchestrator.pipeline.count_open",
        description="Print how many experiments of a table are open.",
    )
    parser.add_argument("--job-dir", required=True, help="folder of the run")
    parser.add_argument("--project-dir", default=".", help="folder of the table, relative to that of the run")
    arguments = parser.parse_args(argv)
    folder = Path(arguments.job_dir) / arguments.project_dir
    from orchestrator.data.experiment_data import ExperimentData

    try:
        data = ExperimentData.from_file(folder)
    except FileNotFoundError:
        parser.exit(1, f"Error: There is no table in {folder}.\nNext: Use --job-dir and --project-dir.\n")
    sys.stdout.write(f"{len(data.select_with_status('open'))}\n")


if __name__ == "__main__":
    main()
