#!/usr/bin/python3
"""Whether the benches run, and tell all that they promise; no time is looked at. Each is done once, a hundredth of it.

    smoke.py [NAME...]      only some of them

Prints a line for each test, and at the end "N passed, N failed".
"""

import json
import os
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import bench  # noqa: E402

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bench.py")
SMALL = dict(os.environ, BENCH_ROUNDS="1", BENCH_SCALE="100", BENCH_NESTED="1")
ARGUMENTS = {"attach": ["PROCESSES=2000"], "daemon": ["DAEMON_BENCH=--seconds 1 --rows 120000 --queries 5"], "proxy": ["PROXY_BENCH=2 1"]}
LINE = '{"name":"counts / attribution","unit":"instructions","value":1}'


def run(part):
    """One bench, as `make bench` runs it."""
    done = subprocess.run(["make", "-s", "--no-print-directory", "bench-" + part] + ARGUMENTS.get(part, []), env=SMALL,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    lines = []
    for text in done.stdout.split("\n")[:-1]:
        line, why = bench.read_line(text, part)
        assert not why, why
        lines.append(line)
    assert done.returncode == 0, "exit code %d: %s" % (done.returncode, done.stderr[-2000:])
    missing = bench.absent(part, lines)
    assert not missing, "no line for %s" % missing
    if part in ("node", "scope", "attach", "longest", "proxy"):
        assert [line for line in lines if "bar" in line], "no bar"
    if part in ("node", "attach", "scope", "longest", "proxy", "daemon"):
        tabled(part, lines)


def tabled(part, lines):
    """The page's tables of these lines: each in its place, and what is beside them left as it was."""
    with tempfile.TemporaryDirectory() as folder:
        page, told = os.path.join(folder, "page.md"), os.path.join(folder, "lines.json")
        marks = ["before\n", "<!-- table: %s -->\n" % part, "old\n", "<!-- end -->\n", "after\n", "<!-- table: counts -->\n", "kept\n", "<!-- end -->\n"]
        with open(page, "w", encoding="utf-8") as out:
            out.writelines(marks)
        with open(told, "w", encoding="utf-8") as out:
            out.writelines(json.dumps(line) + "\n" for line in lines)
        subprocess.run([os.path.join(os.path.dirname(PROGRAM), "table.py"), "--into", page, told], check=True, timeout=60)
        with open(page, encoding="utf-8") as text:
            new = text.readlines()
    assert new[:2] == marks[:2] and new[-5:] == marks[-5:] and "old\n" not in new, "what is beside the table was changed"
    rows = [row for row in new[2:-5] if row.startswith("|")]
    assert len(rows) >= 4 and len({row.count("|") for row in rows}) == 1, "the table is not one"


# What looks after the benches, with programs in their place that do what a bench must not.


def part(script, *, signal_after=None):
    """`bench.py part counts` with this shell script. Returns (exit code, stdout, stderr, its folder)."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen([PROGRAM, "part", "counts", "bash", "-c", "echo $TMPDIR >&2; " + script], text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, env=SMALL)
        try:
            first = process.stdout.readline() if signal_after else ""
            if signal_after:
                process.send_signal(signal_after)
            out = first + process.communicate(timeout=60)[0]
        finally:
            process.kill()
        errors.seek(0)
        told = errors.read()
    return process.returncode, out, told, told.split("\n")[0]


def interrupted():
    for number in (signal.SIGINT, signal.SIGTERM):
        code, out, told, folder = part("sleep 1000 & echo $! >&2; touch $TMPDIR/left; echo '%s'; wait" % LINE,
                                       signal_after=number)
        assert code == 128 + number, "exit code %d" % code
        assert '"instructions"' in out, out
        child = told.split("\n")[1]
        assert bench.session_of(child) is None, "a process is left"
        assert folder.startswith("/tmp/coroner-bench.") and not os.path.exists(folder), "a folder is left"


def unreadable():
    code, _, told, _ = part("echo 'counts: 1'")
    assert code == 1 and "no JSON object" in told, told
    code, _, told, _ = part("echo '%s'" % LINE.replace("1}", '"1"}'))
    assert code == 1 and "value is '1'" in told, told
    code, _, told, _ = part("echo '%s'" % LINE.replace("1}", '1,"bar":"2"}'))
    assert code == 1 and "has a bar" in told, told


def unkept():
    code, _, told, _ = part("echo '%s'" % LINE)
    assert code == 1 and "no line for: counts / spawn_and_exit" in told, told


def failed():
    code, out, told, _ = part("echo '%s'; exit 3" % LINE)
    assert code == 1 and "exit code 3" in told, told
    assert "processors that others took" in out, out


def left_behind():
    code, _, told, _ = part("sleep 1000 >/dev/null 2>&1 & echo '%s'" % LINE)
    assert code == 1 and "1 of its processes were still there" in told, told


def main(wanted):
    tests = {"bench_%s" % name: (lambda name=name: run(name)) for name in bench.LIMITS_S if name != "counts"}  # that is a part itself
    for test in (interrupted, unreadable, unkept, failed, left_behind):
        tests["looked_after_" + test.__name__] = test
    passed = failures = 0
    for name, test in tests.items():
        if wanted and not any(each in name for each in wanted):
            continue
        try:
            test()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failures += 1
            print("not ok %s: %s" % (name, error), flush=True)
        else:
            passed += 1
            print("ok %s" % name, flush=True)
    print("%d passed, %d failed" % (passed, failures))
    return 1 if failures or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
