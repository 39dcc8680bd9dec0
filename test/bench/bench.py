#!/usr/bin/python3
"""Runs the benches: bounded in time, each line checked, and nothing left behind, also on Ctrl-C.

    bench.py part NAME [--some] COMMAND...    one part; --some: not all that it promises was asked for
    bench.py all [NAME...]                    `make bench-NAME` one after the other, also when one fails

On stdout one JSON object a line, with the same keys: name, unit, value, ratio (null where there is nothing to compare with),
runs, min, median, max, otp (null where no node is in it), part; where there is a bar, bar, figure (what is held against it) and met.
On stderr, at the end, the bars. The exit code is 1 when a part did not run, or not all of it; a bar that is not met is no failure.

A part has a session and a folder (TMPDIR) of its own: what is still there when it ends, is ended and removed.
"""

import collections
import json
import os
import platform
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

LIMITS_S = {"node": 1200, "scope": 300, "attach": 600, "longest": 600, "daemon": 2400, "counts": 240, "proxy": 480}
BUILD_S = 300
GRACE_S = 20  # from being asked to end to being made to

VARIANTS = ("none", "floor", "coroner", "process")
WORKLOADS = {  # whether it makes events, whether it is also done by all schedulers at once
    "spawn and exit": (True, True), "spawn_link and exit": (True, True), "link and unlink": (True, True),
    "gen_server:call": (False, True), "ping-pong": (False, True), "register and unregister": (True, False),
    "kill and DOWN, with a record": (True, True), "crash with a stacktrace": (True, True),
    "exit with a reason of 100 MB, in binaries": (True, False), "exit with a reason of 100 MB, in lists": (True, False),
    "a cascade over 100,000 links": (True, False), "a supervisor with 100,000 children, start": (True, False),
    "a supervisor with 100,000 children, shutdown": (True, False)}
STEPS = ("start", "pause", "resume", "stop", "control", "control with another process that is busy")
SCENARIOS = ("a process with 1,000,000 links that dies", "a process that 1,000,000 link to and leave",
             "kill and DOWN, with a record", "crash with a stacktrace", "exit with a reason of 100 MB, in binaries",
             "exit with a reason of 100 MB, in lists", "a cascade over 100,000 links", "a supervisor with 100,000 children", "all")

PROMISED = {
    "node": [name + end for name, (events, _) in WORKLOADS.items()
             for end in [" / " + variant for variant in VARIANTS] + [" / of what process adds"] * events]
            + ["memory a live process", "memory a link, of one process with 200,000", "memory a live process with 4 links"],
    "scope": ["%s, %s" % (workload, scope) for workload in ("ping-pong", "gen_server:call")
              for scope in ("all traced", "outside, of an excluded module", "outside, of no application")],
    "attach": ["%s with idle processes, %s" % (step, what) for step in STEPS
               for what in ("time", "longest gen_server:call meanwhile")],
    "longest": ["%s / %s" % (what, scenario) for what in ("longest callback", "most work in a callback")
                for scenario in SCENARIOS],
    "counts": ["counts / spawn_and_exit", "counts / attribution", "counts / encode_kill", "counts / kill_and_death"],
    "daemon": ["daemon_%s%s" % (rate, file) for rate in ("durable", "sustained") for file in ("", "_without_file")]
              + ["daemon_%s_%s" % (question, when) for when in ("idle", "busy")
                 for question in ("query_pid", "query_name", "query_source", "query_killer", "query_module", "query_why_pid")]
              + ["daemon_latency_%s_to_%s" % (begin, end) for begin in ("sent", "exit") for end in ("line", "subscriber")]
              + ["daemon_paced", "daemon_why_cascade_of_100000", "daemon_rss", "daemon_idle_alone",
                 "daemon_idle_with_nodes_and_subscriber"],
    "proxy": ["MySQL proxy under sysbench / throughput", "MySQL proxy under sysbench / p99"]}
OF_A_NODE = ("node", "scope", "attach", "longest", "proxy")


class Interrupted(Exception):
    """A signal asks us to end."""


def say(text):
    print(text, file=sys.stderr, flush=True)


# A signal is only noted where it comes, and looked for where we wait: an exception raised anywhere may be lost anywhere.
asked = []
WAKE_READ, WAKE_WRITE = os.pipe()
os.set_blocking(WAKE_WRITE, False)


def interrupt(number, _frame):
    if not asked:
        asked.append(number)
        os.write(WAKE_WRITE, b"!")


def await_readable(files, seconds):
    """Those of the files that can be read; none when the time is over."""
    ready, _, _ = select.select(files + [WAKE_READ], [], [], max(0, seconds))
    if asked:
        raise Interrupted(asked[0])
    return ready


# ---- lines -----------------------------------------------------------------------------------------


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def completed(line, part):
    """The keys that all lines have. What was measured once need not say that five times."""
    value = line.get("value")
    whole = {"name": None, "unit": None, "value": value, "ratio": None, "runs": 1, "min": value, "median": value, "max": value,
             "otp": None, "part": part}
    whole.update(line)
    if "bar" in whole:
        whole.setdefault("figure", value)
        if is_number(whole["bar"]):
            whole["bar"] = "%g %s" % (whole["bar"], whole["unit"])
    return whole


def wrong(line):
    """What is wrong with a line, in words; empty when nothing is."""
    for key, good in (("name", isinstance(line["name"], str) and line["name"]), ("unit", isinstance(line["unit"], str)),
                      ("ratio", line["ratio"] is None or is_number(line["ratio"])),
                      ("runs", isinstance(line["runs"], int) and line["runs"] >= 1),
                      ("otp", isinstance(line["otp"], str) or line["otp"] is None and line["part"] not in OF_A_NODE
                       or line["name"].startswith("machine"))):
        if not good:
            return "%s is %r" % (key, line[key])
    for key in ("value", "min", "median", "max"):
        if not is_number(line[key]):
            return "%s is %r" % (key, line[key])
    if not line["min"] <= line["median"] <= line["max"]:
        return "min, median and max are not in their order"
    if "bar" in line and not (isinstance(line["bar"], str) and is_number(line["figure"]) and isinstance(line.get("met"), bool)):
        return "it has a bar, and not both a figure and whether it is met"
    return ""


def absent(part, lines):
    """What the part promises and did not tell."""
    told = collections.Counter(line["name"] for line in lines)
    missing = [name for name in PROMISED.get(part, []) if not told[name]]
    if part == "node":
        many = {line["name"] for line in lines if line.get("processes", 1) > 1}
        schedulers = max([line.get("schedulers", 1) for line in lines], default=1)
        missing += ["%s / coroner, by all schedulers" % name for name, (_, all_too) in WORKLOADS.items()
                    if all_too and schedulers > 1 and name + " / coroner" not in many]
    return missing


def read_line(text, part):
    """(line, what is wrong with it)"""
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    if not isinstance(line, dict):
        return None, "no JSON object: " + text[:200]
    line = completed(line, part)
    why = wrong(line)
    return line, "%s: %s" % (line["name"], why) if why else ""


# ---- processes -------------------------------------------------------------------------------------


def session_of(pid):
    """The session of a process; None when it has ended."""
    try:
        with open("/proc/%s/stat" % pid, encoding="utf-8", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[3])


def of_session(session):
    """The living processes of a session."""
    return [int(entry) for entry in os.listdir("/proc") if entry.isdigit() and session_of(entry) == session]


def end_session(process):
    """Ends what a part started, by asking first. Returns how many had to be ended although the part itself had."""
    left = [pid for pid in of_session(process.pid) if pid != process.pid] if process.poll() is not None else []
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in of_session(process.pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        until = time.monotonic() + GRACE_S
        while (process.poll() is None or of_session(process.pid)) and time.monotonic() < until:
            time.sleep(0.05)
        if not of_session(process.pid):
            break
    process.wait()
    return len(left)


def lines_of(process, until):
    """The lines of its stdout, until it has ended; TimeoutError when the time is over."""
    pending = b""
    while True:
        if not await_readable([process.stdout], until - time.monotonic()):
            raise TimeoutError
        got = os.read(process.stdout.fileno(), 65536)
        if not got:
            break
        *whole, pending = (pending + got).split(b"\n")
        yield from (line.decode("utf-8", "replace") for line in whole)
    if pending:
        yield pending.decode("utf-8", "replace")
    while process.poll() is None:
        await_readable([], 0.05)
        if time.monotonic() > until:
            raise TimeoutError


def processor_s():
    """(processor time that all took since the machine was started, and that those we waited for took)"""
    with open("/proc/stat", encoding="ascii") as stat:
        user, nice, system, _, _, irq, softirq, steal = [int(field) for field in stat.readline().split()[1:9]]
    own = sum(sum(resource.getrusage(who)[0:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK"), own


def others_line(part, before, seconds):
    """How much of the machine others took meanwhile: what the figures are worth."""
    taken, own = [now - then for now, then in zip(processor_s(), before)]
    return completed({"name": "machine, during %s / processors that others took" % part, "unit": "processors",
                      "value": round(max(0, taken - own) / max(seconds, 0.01), 3)}, part)


def machine_line():
    cpu = ""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as info:
        for line in info:
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    return completed({"name": "machine / load before", "unit": "processes", "value": os.getloadavg()[0], "cpu": cpu,
                      "processors": len(os.sched_getaffinity(0)), "kernel": platform.release()}, "machine")


# ---- running ---------------------------------------------------------------------------------------


def put(line):
    print(json.dumps(line), flush=True)


def run_part(part, command, some):
    """Runs one part. Returns (its lines, what went wrong)."""
    lines, bad = [], []
    folder = tempfile.mkdtemp(prefix="coroner-bench.", dir="/tmp")
    os.chmod(folder, 0o1777)  # as /tmp is: MariaDB runs as another user
    before, began = processor_s(), time.monotonic()
    process = None
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True,
                                   env=dict(os.environ, TMPDIR=folder, ERL_CRASH_DUMP=folder + "/erl_crash.dump"))
        for text in lines_of(process, began + LIMITS_S[part]):
            line, why = read_line(text, part)
            if line is not None:
                lines.append(line)
                put(line)
            if why:
                bad.append(why)
        if process.returncode != 0:
            bad.append("exit code %d" % process.returncode)
    except TimeoutError:
        bad.append("not done after %d s" % LIMITS_S[part])
    except OSError as error:
        bad.append(str(error))
    finally:
        left = end_session(process) if process else 0
        shutil.rmtree(folder, ignore_errors=True)
    if left:
        bad.append("%d of its processes were still there at its end" % left)
    if not some:
        missing = absent(part, lines)
        if missing:
            bad.append("no line for: " + "; ".join(missing[:5]) + (" and %d more" % (len(missing) - 5) if missing[5:] else ""))
    line = others_line(part, before, time.monotonic() - began)
    put(line)
    return lines + [line], bad


def run_make(part):
    """Runs `make bench-PART`, which runs this program again. Returns (its lines, what went wrong)."""
    lines = []
    command = ["make", "--no-print-directory", "bench-" + part] + (["COUNTS=--report"] if part == "counts" else [])
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=dict(os.environ, BENCH_NESTED="1"))
    try:
        for text in lines_of(process, time.monotonic() + BUILD_S + LIMITS_S[part] + 2 * GRACE_S):
            line, why = read_line(text, part)
            if line is None:
                say(text)  # of a compiler
            else:
                lines.append(line)
                put(line)
                if why:
                    say(why)
    except TimeoutError:
        process.terminate()
        process.wait()
        return lines, ["not done, with what has to be built, after %d s" % (BUILD_S + LIMITS_S[part])]
    except Interrupted:
        process.terminate()  # make hands it on, and waits
        process.wait()
        raise
    return lines, [] if process.returncode == 0 else ["exit code %d" % process.returncode]


def figure(line):
    text = "%.4g" % line["figure"]
    if "figure_low" in line and line["runs"] > 1:
        text += " (%.4g to %.4g)" % (line["figure_low"], line["figure_high"])
    return text


def tell_bars(lines):
    bars = [line for line in lines if "bar" in line]
    if not bars:
        return
    bars.sort(key=lambda line: line["met"])
    for line in bars:
        many = line.get("processes", 1)
        say("%-8s %-72s %-28s bar: %s" % ("met" if line["met"] else "NOT MET", line["name"] + (" x %d" % many if many > 1 else ""),
                                          figure(line), line["bar"]))
    say("%d bars met, %d not met" % (sum(line["met"] for line in bars), sum(not line["met"] for line in bars)))


def main(arguments):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    mode, arguments = arguments[0] if arguments else "", arguments[1:]
    try:
        if mode == "part" and len(arguments) >= 2 and arguments[0] in LIMITS_S:
            some = arguments[1] == "--some"
            lines, bad = run_part(arguments[0], arguments[1 + some:], some)
            for why in bad:
                say("bench-%s: %s" % (arguments[0], why))
            if "BENCH_NESTED" not in os.environ:
                tell_bars(lines)
            return 1 if bad else 0
        if mode == "all" and all(part in LIMITS_S for part in arguments):
            put(machine_line())
            lines, failed = [], []
            for part in arguments or LIMITS_S:
                say("== bench-%s" % part)
                told, bad = run_make(part)
                lines += told
                failed += ["bench-%s: %s" % (part, why) for why in bad]
            tell_bars(lines)
            for why in failed:
                say("failed: " + why)
            return 1 if failed else 0
    except Interrupted as interrupted:
        return 128 + interrupted.args[0]
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    say(__doc__)
    return 64


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
