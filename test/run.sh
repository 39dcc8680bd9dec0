#!/bin/bash
# Runs every kind of test, installing what they need, and adds their counts up. Each part is a make target that
# closes with "N passed, N failed"; one that does not counts as a failure.
#
#   test/run.sh [TARGET...]     default: all of them
set -uo pipefail
cd "$(dirname "$0")/.." || exit 70

scripts/deps.sh build test demo fuzz bench || exit 1
make all >/dev/null || { echo "not ok: it does not build"; echo "0 passed, 1 failed"; exit 1; }

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(test-node-c bench-counts test-bench test-fuzz test-daemon test-service test-package test-http test-sinks test-pipelines test-faults test-soak test-erlang test-e2e test-ctl test-proxy test-demo)
passed=0 failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for part in "${parts[@]}"; do
    echo "== $part"
    make --no-print-directory "$part" 2>&1 | tee "$log"
    status=${PIPESTATUS[0]}
    counts=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1)
    if [ -z "$counts" ]; then
        echo "not ok $part: it did not get to its end (exit code $status)"
        failed=$((failed + 1))
        continue
    fi
    read -r p _ f _ <<<"$counts"
    passed=$((passed + p))
    failed=$((failed + f))
    if [ "$status" != 0 ] && [ "$f" = 0 ]; then
        echo "not ok $part: exit code $status"
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
