#!/bin/bash
# Stands on PATH for a program, or in a venv for its Python; runs it, and notes in a file of its own: which it is, who
# called it, in which job, when it began and ended, with which code, CPU seconds (of this shell; of all that it called),
# and its words. It costs some 3 ms, the same for all that are compared.
me="$$.$EPOCHREALTIME" begin="$EPOCHREALTIME"
caller="${NOTED_CALLER:-}"
job="${SLURM_ARRAY_JOB_ID:-${SLURM_JOB_ID:-}}"
task="${SLURM_ARRAY_TASK_ID:-}"
name="${0##*/}"
if [ "$name" = python ]; then
    # Called by this name it takes itself for this file, and so do the processes that it starts.
    (NOTED_CALLER="$me" exec -a "$0" "$0.real" "$@")
else
    # A job inherits sbatch's environment, but is not called by it.
    (unset NOTED_CALLER && exec REAL_FOLDER/"$name" "$@")
fi
code=$?
{
    printf '%s\n' "$me" "$caller" "$name" "$job" "$task" "$begin" "$EPOCHREALTIME" "$code"
    times
    printf '%s\n' "$*"
} > NOTES_FOLDER/"$me"
exit "$code"
