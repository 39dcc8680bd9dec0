#!/usr/bin/python3
"""Runs the node's C tests, as many at a time as there are processors, and tells of each test in a line.

    run.py [--sanitized PROGRAM]... [--valgrind PROGRAM]... [--threads PROGRAM]...

The last line is `N passed, N failed`; the exit code is 0 only if nothing failed. What a failed program printed goes to
stderr.
"""

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys

TIMEOUT_S = 120


def run(kind, program):
    """Run one cmocka program. Returns the lines to print, how many passed and failed, and what it said when it failed."""
    name = {"sanitized": "", "valgrind": "valgrind.", "threads": "tsan."}[kind] + os.path.basename(program)
    command = [program]
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP",
                       ASAN_OPTIONS="detect_leaks=1:detect_stack_use_after_return=1",
                       UBSAN_OPTIONS="print_stacktrace=1", TSAN_OPTIONS="halt_on_error=0 exitcode=66")
    if kind == "valgrind":
        command = ["valgrind", "--quiet", "--leak-check=full", "--error-exitcode=99", program]
    if kind != "sanitized":
        environment["TEST_LIGHT"] = "1"
    try:
        done = subprocess.run(command, capture_output=True, env=environment, timeout=TIMEOUT_S)
        code, text = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as late:
        code, text = "none after %d s" % TIMEOUT_S, (late.stdout or b"") + (late.stderr or b"")
    text = text.decode(errors="replace")
    lines, failed = [], 0
    passed = re.findall(r"^ok \d+ - (\S+)$", text, re.M)
    lines += ["ok %s.%s" % (name, test) for test in passed]
    # cmocka writes the reason behind the name, over as many lines as it takes.
    for test, why in re.findall(r"^not ok \d+ - (\S+)(.*?)(?=^(?:not )?ok |^# not ok|\Z)", text, re.M | re.S):
        why = " ".join(why.replace("\n# ", "\n").split())
        lines.append("not ok %s.%s: %s" % (name, test, why or "see below"))
        failed += 1
    if code != 0 and failed == 0 or not passed and failed == 0:
        lines.append("not ok %s: exit code %s, after %s" % (name, code, passed[-1] if passed else "nothing"))
        failed = 1
    return lines, len(passed), failed, text if failed else ""


def main():
    parser = argparse.ArgumentParser()
    jobs = []
    for kind in ("sanitized", "valgrind", "threads"):
        parser.add_argument("--" + kind, action="append", default=[])
    arguments = parser.parse_args()
    for kind in ("threads", "valgrind", "sanitized"):  # the slow ones first
        jobs += [(kind, program) for program in getattr(arguments, kind)]

    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for lines, good, bad, text in pool.map(lambda job: run(*job), jobs):
            print("\n".join(lines), flush=True)
            if text:
                print(text, file=sys.stderr, flush=True)
            passed, failed = passed + good, failed + bad
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
