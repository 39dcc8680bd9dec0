#!/bin/bash
# Runs the fuzzers, one after the other; the last line is "N passed, N failed".
#
#   test/fuzz/run.sh test TARGET...           the kept inputs, then 10 s of others from a seed that never changes
#   test/fuzz/run.sh fuzz SECONDS TARGET...   that long each; what is new goes to _build/fuzz/TARGET
#   test/fuzz/run.sh merge TARGET...          keeps, of the kept and the new inputs, the fewest that reach as much
#
# An input that fails stays in _build/fuzz, and its path is said: _build/test/fuzz/TARGET PATH runs it again.
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 70
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1

mode=$1
shift
seconds=10 seed=20261124
if [ "$mode" = fuzz ]; then
    seconds=$1 seed=0
    shift
fi
work=_build/fuzz
options=(-max_len=2048 -timeout=20 -rss_limit_mb=2048 -verbosity=1 -print_final_stats=1)
passed=0 failed=0
for target in "$@"; do
    program=_build/test/fuzz/$target corpus=test/fuzz/corpus/${target#fuzz_} found=$work/$target log=$work/$target.log
    mkdir -p "$corpus" "$found"
    # A record that must be cut takes more than its line may.
    [ "$target" = fuzz_frame ] && longer=(-max_len=12000) || longer=()
    case $mode in
    test)
        # What it finds in so short a time is not kept.
        found=$(mktemp -d)
        "$program" "${options[@]}" "${longer[@]}" -artifact_prefix=$work/$target- -seed=$seed -max_total_time="$seconds" \
            "$found" "$corpus" >"$log" 2>&1
        status=$?
        rm -rf "$found"
        ;;
    fuzz)
        "$program" "${options[@]}" "${longer[@]}" -artifact_prefix=$work/$target- -seed=$seed -max_total_time="$seconds" \
            "$found" "$corpus" >"$log" 2>&1
        status=$?
        ;;
    merge)
        kept=$(mktemp -d)
        "$program" "${options[@]}" "${longer[@]}" -artifact_prefix=$work/$target- -use_counters=0 -merge=1 "$kept" "$corpus" "$found" >"$log" 2>&1
        status=$?
        if [ $status = 0 ]; then
            rm -rf "$corpus"
            mv "$kept" "$corpus" && chmod 755 "$corpus"
        else
            rm -rf "$kept"
        fi
        ;;
    esac
    if [ $status = 0 ]; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
        coverage=$(grep -oE 'cov: [0-9]+ ft: [0-9]+' "$log" | tail -n 1)
        echo "ok $target: $(find "$corpus" -type f | wc -l) kept, ${runs:-no} runs, $coverage"
        passed=$((passed + 1))
    else
        echo "not ok $target: $(grep -m 1 -E 'does not hold|ERROR: |runtime error' "$log" || echo "exit code $status, see $log")"
        grep -E -A 14 'does not hold|ERROR: |runtime error' "$log" | head -n 40 >&2
        grep -o 'Test unit written to .*' "$log" >&2
        failed=$((failed + 1))
    fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
