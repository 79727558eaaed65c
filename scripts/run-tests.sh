#!/usr/bin/env bash
# Run pytest in two parts: the tests that may share the machine, in several processes; then those marked `alone`, which
# hold real processes to deadlines, one after the other. No test runs twice.
# Usage: run-tests.sh PYTHON PROCESSES [ARGUMENT...]
set -uo pipefail

python=$1 processes=$2
shift 2
nothing_selected=5
# Well above what a part takes: whatever hangs, a run ends, and shows what it has found. Ctrl-C is passed on.
limit=(timeout --foreground --signal=INT --kill-after=60)

# What the first part converts for several tests, the second does not convert again.
TESTS_MADE_ONCE=$(mktemp -d)
export TESTS_MADE_ONCE
trap 'rm -rf "$TESTS_MADE_ONCE"' EXIT

"${limit[@]}" 4200 "$python" -m pytest --part=shared -n "$processes" --dist loadfile --no-loadscope-reorder "$@"
shared=$?
if [ "$shared" -gt 1 ] && [ "$shared" -ne "$nothing_selected" ]; then
    exit "$shared" # interrupted, or called wrongly
fi
"${limit[@]}" 1200 "$python" -m pytest --part=alone "$@"
alone=$?
if [ "$shared" -eq "$nothing_selected" ]; then
    exit "$alone"
fi
if [ "$alone" -eq "$nothing_selected" ] || [ "$alone" -eq 0 ]; then
    exit "$shared"
fi
exit "$alone"
