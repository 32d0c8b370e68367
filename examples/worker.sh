#!/bin/sh
# A worker in plain sh: takes a task, does it, says so. It may be killed at any line: a task that was taken and not
# acked is taken again when its lease has run out, and one that was acked is never taken again.
#
#     lowq push jobs.db '{"mail": 1}'
#     sh examples/worker.sh jobs.db ./send-mail        # ends when nothing is due
set -u
location=$1
shift
lease=${LEASE:-1m}

while taken=$(lowq claim "$location" --lease "$lease" 2>/dev/null); do
    task=$(printf '%s\n' "$taken" | head -n 1)
    errors=$(mktemp)
    if printf '%s\n' "$taken" | tail -n +2 | "$@" 2>"$errors"; then
        lowq ack "$location" "$task"
    else
        tail -c 4000 "$errors" | lowq release "$location" "$task" --in "${AGAIN:-10s}" --reason -
    fi
    rm -f "$errors"
done
