#!/usr/bin/python3
"""A soak: a real node makes exits at a steady rate for long, and what the daemon takes does not grow.

    soak_test.py --daemon BINARY [--seconds N] [--rate N]

Memory (RSS) and descriptors are read from /metrics, as an operator would, together with what a subscriber, a query client
and the NDJSON file add to it. The first part of the time, a third of it or five minutes, is for caches to fill; after it
the line through the readings of RSS must not rise by more than 4 MiB in what is left, nor the last third's mean lie so far
above that of the third before it, and no reading may have more descriptors than the most of the first part.
Closes with "N passed, N failed".
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import time

import daemon_harness
from daemon_harness import check, equal, test
from real_node import RealNode

OPTIONS = None
SEGMENT_DESCRIPTORS = 10  # four readers with two files each, and what they share
GROWTH_MIB = 4


def numbers(path):
    page = subprocess.run(["curl", "-sS", "--unix-socket", path, "http://localhost/metrics"], capture_output=True,
                          check=True).stdout.decode()
    return {name: float(value) for name, value in re.findall(r"^(\w+(?:\{[^\n]*\})?) (\S+)$", page, re.M)}


def rise(readings):
    """By how much the line of least squares through [(x, y)] rises from its first x to its last."""
    xs, ys = zip(*readings)
    x_mean, y_mean = statistics.mean(xs), statistics.mean(ys)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in readings) / sum((x - x_mean) ** 2 for x in xs)
    return slope * (xs[-1] - xs[0])


@test
def test_soak(s):
    seconds, rate = OPTIONS.seconds, OPTIONS.rate
    http = s.path("http.sock")
    daemon = s.start("--http", "unix:" + http, binary=s.plain)
    node = RealNode()
    s.undo.callback(node.close)
    node.start(daemon.ingest)
    node.until("maps:get(connected, S)")
    subscriber = s.client(daemon)
    subscriber.send({"id": 1, "op": "subscribe", "where": {"exit.source": "kill"}})
    equal(subscriber.line()["subscribed"], True)
    node.tell("driver:steady(%d, %d)" % (rate, seconds))
    began, readings, last_line = time.monotonic(), [], 0
    made = None
    while made is None:
        # The node tells how far it is a hundred times a second, which paces this loop, and at its end how many there were.
        passed = time.monotonic() - began
        check(passed < seconds + 120, "the node does not come to its end")
        data = os.read(node.process.stdout.fileno(), 65536)
        check(data, "the node has gone")
        *lines, node.incoming = (node.incoming + data).split(b"\n")
        for line in lines:
            made = int(line.split()[1]) if line.startswith(b"answer ") else made
        while not subscriber.nothing_to_read():
            subscriber.line()
        if passed < len(readings) * seconds / 120:
            continue
        page = numbers(http)
        daemon.ask({"op": "query", "limit": 50, "where": {"exit.source": "kill"}})
        # Each reader keeps the files of a segment open, its database and its log, for up to 40 segments.
        kept = SEGMENT_DESCRIPTORS * page["coroner_store_segments"]
        readings.append((passed, page["process_resident_memory_bytes"] / 2 ** 20, page["process_open_fds"], kept))
        if passed - last_line > 60 or len(readings) == 1:
            last_line = passed
            print("    %5d s: RSS %.1f MiB, %d descriptors, %d waiting, lag %.3f s, store %.0f MiB" %
                  (passed, readings[-1][1], readings[-1][2], page["coroner_changes_queued"],
                   page["coroner_ingest_lag_seconds"], page["coroner_store_bytes"] / 2 ** 20), flush=True)
    node.sync()
    status = node.status()
    check(status["made"] >= made * 0.8, "the node made too few", status, made)  # one cause in five ends normally
    told = daemon.nodes()[status["incarnation"]]
    equal((told["made"], told["pending"]), (status["made"], 0))
    equal(told["made"], told["stored"] + told["lost"])
    page = numbers(http)
    equal(sum(value for name, value in page.items() if name.startswith("coroner_exits_total")), told["stored"],
          "the counter of exits")
    warm = min(300, seconds / 3)
    begin = [reading for reading in readings if reading[0] < warm]
    rest = [reading for reading in readings if reading[0] >= warm]
    memory = [(moment, mib) for moment, mib, _, _ in rest]
    half = len(rest) // 2
    grown = statistics.mean(mib for _, mib in memory[half:]) - statistics.mean(mib for _, mib in memory[:half])
    print("    %d made, %d stored, %d lost; RSS %.1f MiB at the end, the line rises by %.2f MiB, the later half is %.2f MiB "
          "above the earlier; descriptors %d at most" %
          (told["made"], told["stored"], told["lost"], readings[-1][1], rise(memory), grown,
           max(reading[2] for reading in readings)), flush=True)
    check(rise(memory) <= GROWTH_MIB and grown <= GROWTH_MIB, "memory grows", memory)
    most = max(descriptors - kept for _, _, descriptors, kept in begin)
    check(all(descriptors - kept <= most + 1 for _, _, descriptors, kept in rest), "descriptors leak", readings)
    daemon.stop()
    equal(len(daemon.rows()), told["stored"])


def main():
    global OPTIONS  # pylint: disable=global-statement
    parser = argparse.ArgumentParser()
    parser.add_argument("--daemon", required=True)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--rate", type=int, default=2000)
    OPTIONS = parser.parse_args()
    daemon = os.path.abspath(OPTIONS.daemon)
    passed, failed = daemon_harness.run_tests(daemon, daemon, [])
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
