#!/bin/bash
# What coroner costs a real application: the MySQL proxy of test/proxy under sysbench, against a MariaDB, without and with coroner
# attached, in turn. Prints one JSON object for the throughput and one for the 99th percentile of the latency.
#
#   test/bench/proxy_bench.sh [PAIRS [SECONDS]]     15 pairs of rounds of 3 s
#
# oltp_point_select, because it is the shortest command there is: what is added to each shows most. Its prepared statements go
# through the proxy as any other command does.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source-path=SCRIPTDIR
. test/proxy/lib.sh

pairs=${1:-15} seconds=${2:-3}
work=$PWD
rig_open coroner-bench
epmd_start
mariadb_start
mariadb_user bench
proxy_build "$RIG/build" >&2
proxy_install "$RIG/build" "$RIG/root"
proxy_start "$RIG/root"

bench() { # COMMAND [OPTION...]
    sysbench oltp_point_select --db-driver=mysql --mysql-host=127.0.0.1 --mysql-port="$PROXY_PORT" --mysql-user=bench \
        --mysql-db=shop --mysql-ssl=off --tables=1 --table-size=10000 --percentile=99 "${@:2}" "$1"
}

# measure: prints transactions a second and the 99th percentile in milliseconds.
measure() {
    bench run --threads=8 --time="$seconds" >"$RIG/log/sysbench.log" 2>&1 || { cat "$RIG/log/sysbench.log" >&2; return 1; }
    awk '/transactions:/ {gsub(/[()]/, ""); rate = $3} /99th percentile:/ {p99 = $3} END {print rate, p99}' "$RIG/log/sysbench.log"
}

# The node is an embedded one: what is not loaded it does not look for. The records stay in it: what is measured is the node.
load_coroner() {
    proxy_match true "begin Ebin = \"$work/_build/default/lib/coroner/ebin\", true = code:add_pathz(Ebin),
        lists:all(fun(Beam) -> {module, _} = code:load_abs(filename:rootname(Beam)), true end, filelib:wildcard(Ebin ++ \"/*.beam\")) end"
}

attach() {
    proxy_match ok 'coroner:start(#{ingest => none})'
}

detach() {
    proxy_match ok 'coroner:stop()'
}

bench prepare >"$RIG/log/sysbench.log" 2>&1 || { cat "$RIG/log/sysbench.log" >&2; exit 1; }
load_coroner
measure >/dev/null
for ((i = 0; i < pairs; i++)); do
    for variant in $([ $((i % 2)) = 0 ] && echo none coroner || echo coroner none); do
        [ "$variant" = none ] || attach
        printf '%s %s %s\n' "$i" "$variant" "$(measure)"
        [ "$variant" = none ] || detach
    done
done >"$RIG/rounds"
/usr/bin/python3 - "$RIG/rounds" "$(erl -noshell -eval 'io:put_chars(erlang:system_info(otp_release)), halt().')" <<'PYTHON'
import json, math, statistics, sys

rounds = {}
for line in open(sys.argv[1]):
    number, variant, rate, p99 = line.split()
    rounds.setdefault(number, {})[variant] = (float(rate), float(p99))


def interval(values):
    """The median's 95 % interval, by the order of the values."""
    values, n, skip, tail = sorted(values), len(values), 0, 0.0
    while skip < (n - 1) // 2 and tail + math.comb(n, skip) / 2 ** n <= 0.025:
        tail += math.comb(n, skip) / 2 ** n
        skip += 1
    skip = max(0, skip - 1)
    return values[skip], values[n - 1 - skip]


for at, name, unit, bar in ((0, "throughput", "1/s", 0.98), (1, "p99", "ms", 1.15)):
    ours = [pair["coroner"][at] for pair in rounds.values()]
    ratios = [pair["coroner"][at] / pair["none"][at] for pair in rounds.values()]
    low, high = interval(ratios)
    ratio = statistics.median(ratios)
    print(json.dumps({"name": "MySQL proxy under sysbench / " + name, "unit": unit, "value": statistics.median(ours),
                      "ratio": round(ratio, 3), "ratio_low": round(low, 3), "ratio_high": round(high, 3),
                      "runs": len(ours), "min": min(ours), "median": statistics.median(ours), "max": max(ours),
                      "none": statistics.median(pair["none"][at] for pair in rounds.values()),
                      "otp": sys.argv[2], "bar": "%.2f x none" % bar, "figure": round(ratio, 3),
                      "figure_low": round(low, 3), "figure_high": round(high, 3),
                      "met": high >= bar if at == 0 else ratio <= bar}))
PYTHON
