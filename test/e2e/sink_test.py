#!/usr/bin/python3
"""Where coronerd writes to: files that rotate, commands, and what a sink that is slow, dead or full does to the
others. Real programs on the other side; nothing sleeps."""
import collections
import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import time

import jsonschema

import daemon_harness
from daemon_harness import ROOT, check, check_line, equal, test
from fake_node import FakeNode, exit_record

with open(os.path.join(ROOT, "priv", "schema", "coroner.fold-1.schema.json")) as schema_file:
    FOLD = jsonschema.Draft7Validator(json.load(schema_file))


# ---- what the tests share ---------------------------------------------------------------------------


def config(s, *sinks):
    """A config file with these sinks, each a dict of its keys. Returns the arguments for the daemon."""
    def value(item):
        if isinstance(item, list):
            return "{" + ", ".join(json.dumps(part) for part in item) + "}"
        return json.dumps(str(item))

    path = s.path("coronerd.conf")
    with open(path, "w") as file:
        for sink in sinks:
            keys = "".join("    %s = %s\n" % (key, value(item)) for key, item in sink.items() if key != "name")
            file.write("sink \"%s\" {\n%s}\n" % (sink["name"], keys))
    return ["-c", path]


def sink_of(daemon, name):
    return next(sink for sink in daemon.status()["sinks"] if sink["name"] == name)


def until_sink(daemon, name, holds, seconds=60):
    """Ask for the status until holds(sink)."""
    def one(status):
        return holds(next(sink for sink in status["sinks"] if sink["name"] == name))
    daemon.until_status(one, seconds)
    return sink_of(daemon, name)


def caught_up(sink):
    return sink["behind"] == 0 and sink["unsafe"] == 0


def send(daemon, count, node=None, **options):
    """Make and deliver records."""
    node = node or FakeNode(daemon.ingest)
    for _ in range(count):
        node.make(exit_record("<0.%d.0>" % (node.made + 100), **options))
    if node.socket is None:
        check(node.connect(), "cannot connect")
    check(node.deliver(seconds=60), "not delivered")
    return node


def rotated(path):
    """The rotated files and then the file, oldest first."""
    numbers = sorted((int(name.rsplit(".", 1)[1]) for name in os.listdir(os.path.dirname(path))
                      if name.startswith(os.path.basename(path) + ".")), reverse=True)
    return ["%s.%d" % (path, number) for number in numbers] + [path] * os.path.exists(path)


def ids_in(*paths):
    ids = []
    for path in paths:
        with open(path, "rb") as file:
            ids += [check_line(line, schema=False)["id"] for line in file]
    return ids


def script(s, name, text):
    """An executable Python script. Returns the command."""
    path = s.path(name)
    with open(path, "w") as file:
        file.write("#!/usr/bin/python3\n" + text)
    os.chmod(path, 0o755)
    return ["/usr/bin/python3", "-u", path]


def processes_of(text):
    """The processes whose command line holds this text, as {pid: state}."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open("/proc/%s/cmdline" % pid, "rb") as file:
                line = file.read()
            with open("/proc/%s/stat" % pid) as file:
                state = file.read().rsplit(")", 1)[1].split()[0]
            if text.encode() in line:
                found[int(pid)] = state
    return found


def end_processes_of(text):
    """What a test that failed has left of its own: commands outlive a daemon that was killed."""
    for pid in processes_of(text):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def wait_for_file(path, seconds=60):
    deadline = time.monotonic() + seconds
    while not os.path.exists(path):
        check(time.monotonic() < deadline, "does not come", path)
        select.select([], [], [], 0.02)


# ---- files ------------------------------------------------------------------------------------------


@test
def test_rotation(s):
    out = s.path("out")
    daemon = s.start(*config(s, {"name": "a", "type": "file", "path": out, "rotate_bytes": "64KiB", "rotate_keep": 200,
                                 "mode": "0604"}), out=None)
    send(daemon, 3000)
    until_sink(daemon, "a", caught_up)
    daemon.stop()
    files = rotated(out)
    check(len(files) > 5, "did not rotate", files)
    equal(ids_in(*files), daemon.rows())
    for path in files:
        check(os.path.getsize(path) <= 65536, "too large", path)
        equal(os.stat(path).st_mode & 0o7777, 0o604)
    for path in files[:-1]:
        check(os.path.getsize(path) > 65536 - 8192, "too small", path, os.path.getsize(path))


@test
def test_rotation_keeps_no_more_than_it_should(s):
    out = s.path("out")
    daemon = s.start(*config(s, {"name": "a", "type": "file", "path": out, "rotate_bytes": "64KiB", "rotate_keep": 2}),
                     out=None)
    send(daemon, 1500)
    until_sink(daemon, "a", caught_up)
    daemon.stop()
    files = rotated(out)
    equal(len(files), 3)
    ids = ids_in(*files)
    equal(ids, daemon.rows()[-len(ids):])


@test
def test_rotation_and_sigkill(s):
    """Killed again and again under load: every record is in one of the files, once, in its order."""
    out = s.path("out")
    arguments = config(s, {"name": "a", "type": "file", "path": out, "rotate_bytes": "64KiB", "rotate_keep": 900})
    node = FakeNode(s.path("ingest.sock"))
    chance = random.Random(3)
    for turn in range(25):
        daemon = s.start(*arguments, out=None, binary=s.plain if turn % 3 else s.san)
        check(node.connect())
        for _ in range(400):
            node.make()
        first = node.acked
        goal = first + chance.randrange(1, 400)
        node.until(lambda goal=goal: node.acked >= goal)
        daemon.kill()
        node.close()
    daemon = s.start(*arguments, out=None)
    check(node.connect() and node.deliver())
    until_sink(daemon, "a", caught_up)
    daemon.stop()
    equal(ids_in(*rotated(out)), daemon.rows())
    check(len(rotated(out)) > 20)


@test
def test_rotation_killed_at_each_step(s):
    """What each step of a rotation leaves, without the cursor: the daemon finds where it was."""
    out = s.path("out")
    arguments = config(s, {"name": "a", "type": "file", "path": out, "rotate_bytes": "64KiB", "rotate_keep": 20})
    daemon = s.start(*arguments, out=None)
    node = send(daemon, 400)
    until_sink(daemon, "a", caught_up)
    daemon.stop()

    def move_up(first):
        for number in sorted((int(name.rsplit(".", 1)[1]) for name in rotated(out) if name != out), reverse=True):
            if number >= first:
                os.rename("%s.%d" % (out, number), "%s.%d" % (out, number + 1))

    def rename_all():
        move_up(1)
        os.rename(out, out + ".1")

    check(len(rotated(out)) > 2)
    states = [
        lambda: None,
        lambda: move_up(2),  # some of the older ones have moved up,
        lambda: move_up(1),  # all of them, the file itself not;
        rename_all,          # it has, and the new one is not there
    ]
    for number, state in enumerate(states):
        for empty in ((False, True) if number == 3 else (False,)):
            state()
            if empty:
                with open(out, "wb"):
                    pass
            subprocess.run(["/usr/bin/sqlite3", daemon.segments()[-1], "DELETE FROM sinks"], check=True)
            daemon = s.start(*arguments, out=None, binary=s.plain)
            until_sink(daemon, "a", caught_up)
            node.path = daemon.ingest
            node.close()
            node.make()
            check(node.connect() and node.deliver())
            until_sink(daemon, "a", caught_up)
            daemon.stop()
            equal(ids_in(*rotated(out)), daemon.rows(), "after state %d" % number)


@test
def test_rotation_killed_in_a_call(s):
    """SIGKILL at the n-th rename, whichever file it moves: before it is done, or right after."""
    for number in (1, 2, 3, 5, 8):
        for when in ("rename", "openat"):
            out = s.path("out-%d-%s" % (number, when))
            arguments = config(s, {"name": "a%d%s" % (number, when), "type": "file", "path": out,
                                   "rotate_bytes": "64KiB", "rotate_keep": 900})
            trap = ("-P", out) if when == "openat" else ()
            nth = number + (when == "openat")  # the first one opens it at the start
            daemon = s.start(*arguments, out=None, binary=s.plain, ready=False, wrapper=(
                "strace", "-f", "-qq", "-o", s.path("trace"), *trap, "-e", "trace=%s" % when,
                "-e", "inject=%s:signal=KILL:when=%d" % (when, nth)))
            node = FakeNode(daemon.ingest)
            for _ in range(700):
                node.make()
            while daemon.process.poll() is None:
                if node.socket is None and not node.connect():
                    select.select([], [], [], 0.01)
                node.turn(0.05)
            daemon.wait()
            with open(s.path("trace")) as trace:
                check("killed by SIGKILL" in trace.read(), "it was not killed there", number, when)
            node.close()
            daemon = s.start(*arguments, out=None, binary=s.plain)
            check(node.connect() and node.deliver())
            until_sink(daemon, "a%d%s" % (number, when), caught_up)
            daemon.stop()
            equal(ids_in(*rotated(out)), daemon.rows(), "killed at %s %d" % (when, number))


@test
def test_cursor_of_before_sinks_had_names(s):
    """A store of an older daemon knows how far the file had come; nothing is repeated though the file is gone."""
    daemon = s.start()
    node = send(daemon, 50)
    until_sink(daemon, "out", caught_up)
    daemon.stop()
    os.unlink(daemon.out)
    subprocess.run(["/usr/bin/sqlite3", daemon.segments()[-1],
                    "UPDATE sinks SET name = 'file:%s' WHERE name = 'out'" % os.path.realpath(daemon.out)], check=True)
    with open(daemon.out, "wb"):
        pass
    daemon = s.start()
    node.close()
    send(daemon, 5, node)
    until_sink(daemon, "out", caught_up)
    daemon.stop()
    equal(daemon.file_ids(), daemon.rows()[50:])


@test
def test_full_file_system(s):
    """A file on a tmpfs that is full: nothing is torn or lost, the other sink and the store go on."""
    folder = s.path("small")
    os.mkdir(folder)
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], check=True)
    s.undo.callback(subprocess.run, ["/usr/bin/umount", "-l", folder], check=False)
    out, other = os.path.join(folder, "out"), s.path("other")
    daemon = s.start(*config(s, {"name": "full", "type": "file", "path": out},
                             {"name": "other", "type": "file", "path": other}), out=None)
    node = send(daemon, 1000)
    sink = until_sink(daemon, "full", lambda sink: sink["state"] == "retrying" and sink["retries"] >= 2)
    check("No space left" in sink["reason"] and sink["behind"] > 0, sink)
    until_sink(daemon, "other", caught_up)
    equal(ids_in(other), daemon.rows())
    send(daemon, 100, node)
    subprocess.run(["/usr/bin/mount", "-o", "remount,size=16m", folder], check=True)
    sink = until_sink(daemon, "full", caught_up)
    equal((sink["state"], "reason" in sink), ("ok", False))
    daemon.stop()
    equal(ids_in(out), daemon.rows())


@test
def test_full_file_system_and_sigkill(s):
    """The line that was cut off when the space ended is mended by the next daemon, which has space."""
    folder = s.path("small")
    os.mkdir(folder)
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder], check=True)
    s.undo.callback(subprocess.run, ["/usr/bin/umount", "-l", folder], check=False)
    out = os.path.join(folder, "out")
    arguments = config(s, {"name": "full", "type": "file", "path": out})
    daemon = s.start(*arguments, out=None)
    send(daemon, 1000)
    until_sink(daemon, "full", lambda sink: sink["state"] == "retrying")
    daemon.kill()
    with open(out, "rb") as file:
        check(not file.read().endswith(b"\n"), "no line is torn: the test shows nothing")
    subprocess.run(["/usr/bin/mount", "-o", "remount,size=16m", folder], check=True)
    daemon = s.start(*arguments, out=None)
    until_sink(daemon, "full", caught_up)
    daemon.stop()
    equal(ids_in(out), daemon.rows())


@test
def test_renderings_in_files(s):
    """A torn line is mended in every rendering, and nothing is repeated."""
    for form in ("native", "ecs", "otlp"):
        out = s.path("out." + form)
        arguments = config(s, {"name": form, "type": "file", "path": out, "format": form})
        daemon = s.start(*arguments, out=None)
        if form == "native":
            send(daemon, 20)
        until_sink(daemon, form, caught_up)
        daemon.stop()
        with open(out, "rb") as file:
            whole = file.read()
        lines = whole.splitlines(keepends=True)
        equal(len(lines), 20)
        for part in (0, 3, 30, 200, 400, -1):
            with open(out, "wb") as file:
                file.write(b"".join(lines[:18]) + lines[18][:part])
            subprocess.run(["/usr/bin/sqlite3", daemon.segments()[-1], "DELETE FROM sinks"], check=True)
            daemon = s.start(*arguments, out=None, binary=s.plain)
            until_sink(daemon, form, caught_up)
            daemon.stop()
            with open(out, "rb") as file:
                check(file.read() == whole, "not what it was", form, part)


# The types that the Elastic Common Schema 8.11 gives to the fields that are used.
KEYWORD, LONG, DATE, KEYWORDS = str, int, "date", "keywords"
ECS = {
    "@timestamp": DATE, "message": str, "ecs.version": KEYWORD, "log.level": KEYWORD, "log.logger": KEYWORD,
    "event.id": KEYWORD, "event.kind": KEYWORD, "event.category": KEYWORDS, "event.type": KEYWORDS,
    "event.action": KEYWORD, "event.dataset": KEYWORD, "event.reason": KEYWORD, "event.code": KEYWORD,
    "event.outcome": KEYWORD, "event.sequence": LONG, "event.provider": KEYWORD,
    "error.type": KEYWORD, "error.message": str, "error.stack_trace": str,
    "host.name": KEYWORD, "host.hostname": KEYWORD, "process.pid": LONG, "process.entity_id": KEYWORD,
    "service.node.name": KEYWORD, "service.type": KEYWORD,
}
ECS_VALUES = {
    "event.kind": {"event"}, "event.category": {"process"}, "event.type": {"end", "info"},
    "event.outcome": {"success", "failure", "unknown"}, "log.level": {"info", "warning", "error"},
}


def flat(value, prefix=""):
    for key, item in value.items():
        if isinstance(item, dict):
            yield from flat(item, prefix + key + ".")
        else:
            yield prefix + key, item


def check_ecs(line):
    record = json.loads(line)
    own = dict(flat(record.pop("erlang")))
    for field, item in flat(record):
        check(field in ECS, "no field of ECS", field)
        kind = ECS[field]
        if kind is DATE:
            check(len(item) == 30 and item.endswith("Z"), field, item)
        elif kind is KEYWORDS:
            check(isinstance(item, list) and all(isinstance(one, str) for one in item), field, item)
        else:
            check(type(item) is kind, field, item)
        values = set(item) if isinstance(item, list) else {item}
        check(values <= ECS_VALUES.get(field, values), field, item)
    check(all(not isinstance(item, int) or abs(item) < 2 ** 53 for item in own.values()))
    check(own.get("process.pid") is None or own["process.pid"].startswith("<"), own)
    return record


ANY = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": False, "properties": {
    "stringValue": {"type": "string"}, "boolValue": {"type": "boolean"}, "doubleValue": {"type": "number"},
    "intValue": {"type": "string", "pattern": "^-?[0-9]{1,19}$"},
    "arrayValue": {"type": "object", "required": ["values"], "additionalProperties": False,
                   "properties": {"values": {"type": "array", "items": {"$ref": "#/definitions/any"}}}}}}
KEYS = {"type": "array", "items": {
    "type": "object", "required": ["key", "value"], "additionalProperties": False,
    "properties": {"key": {"type": "string", "minLength": 1}, "value": {"$ref": "#/definitions/any"}}}}
NANOSECONDS = {"type": "string", "pattern": "^[0-9]{19}$"}
# opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest in its JSON mapping, as far as it is used.
OTLP = jsonschema.Draft7Validator({
    "definitions": {"any": ANY},
    "type": "object", "required": ["resourceLogs"], "additionalProperties": False,
    "properties": {"resourceLogs": {"type": "array", "minItems": 1, "maxItems": 1, "items": {
        "type": "object", "required": ["resource", "scopeLogs"], "additionalProperties": False, "properties": {
            "resource": {"type": "object", "additionalProperties": False, "properties": {"attributes": KEYS}},
            "scopeLogs": {"type": "array", "minItems": 1, "maxItems": 1, "items": {
                "type": "object", "additionalProperties": False, "properties": {
                    "scope": {"type": "object", "properties": {"name": {"const": "coroner"}}},
                    "logRecords": {"type": "array", "minItems": 1, "maxItems": 1, "items": {
                        "type": "object", "additionalProperties": False,
                        "required": ["timeUnixNano", "severityNumber", "severityText", "body", "attributes"],
                        "properties": {
                            "timeUnixNano": NANOSECONDS, "observedTimeUnixNano": NANOSECONDS,
                            "severityNumber": {"enum": [9, 13, 17]}, "severityText": {"type": "string"},
                            "eventName": {"type": "string"}, "body": {"$ref": "#/definitions/any"},
                            "attributes": KEYS}}}}}}}}}}})


def check_otlp(line):
    """Returns the attributes of the resource and of the record."""
    OTLP.validate(json.loads(line))
    logs = json.loads(line)["resourceLogs"][0]
    result = []
    for attributes in (logs["resource"]["attributes"], logs["scopeLogs"][0]["logRecords"][0]["attributes"]):
        keys = [attribute["key"] for attribute in attributes]
        equal(len(keys), len(set(keys)), "a key stands twice")
        result.append({attribute["key"]: attribute["value"] for attribute in attributes})
    check("process.pid" not in result[0] or "intValue" in result[0]["process.pid"])
    check("process.pid" not in result[1], "the pid of an Erlang process")
    return result


@test
def test_renderings(s):
    """Whatever a record holds, every line is what Elasticsearch and OpenTelemetry expect."""
    forms = ("native", "ecs", "otlp")
    daemon = s.start(*config(s, *[{"name": form, "type": "file", "path": s.path(form), "format": form, "fold": "on",
                                   "fold_first": 3} for form in forms]), out=None)
    node = FakeNode(daemon.ingest)
    for source in ("kill", "self_error", "link", "supervisor_shutdown", "unknown", "normal"):
        for name, reason in ((None, "x"), ("n\u00e4me", "\"\n\u2028\\"), ("y" * 255, "r" * 3500)):
            node.make(exit_record("<0.%d.0>" % node.made, source=source, name=name, reason=reason,
                                  origin={"pid": "<0.1.0>", "module": "m", "timeout_ms": 5000}))
    node.make({"severity": "warning", "message": "m", "gap": {"from": 1700000000000000000, "why": "x"}}, kind=1)
    cascade(node, 10)
    send(daemon, 0, node)
    for form in forms:
        until_sink(daemon, form, caught_up)
    daemon.stop()
    lines = {}
    for form in forms:
        with open(s.path(form), "rb") as file:
            lines[form] = file.readlines()
    equal([len(lines[form]) for form in forms], [23] * 3)
    for native, ecs, otlp in zip(*lines.values()):
        record = json.loads(native)
        rendered = check_ecs(ecs)
        resource, attributes = check_otlp(otlp)
        equal(rendered["event"]["id"], record["id"])
        equal(attributes["log.record.uid"], {"stringValue": record["id"]})
        equal(rendered["@timestamp"], record["time"])
        equal(rendered["process"]["pid"], os.getpid())
        equal(resource["process.pid"], {"intValue": str(os.getpid())})
        equal(rendered["message"], record["message"])
        nanoseconds = json.loads(otlp)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["timeUnixNano"]
        seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(nanoseconds) // 10 ** 9))
        equal("%s.%sZ" % (seconds, nanoseconds[-9:]), record["time"])


# ---- commands ---------------------------------------------------------------------------------------


@test
def test_command(s):
    out, fds = s.path("out"), s.path("fds")
    daemon = s.start(*config(s, {"name": "x", "type": "exec", "command": script(s, "keep.py", """
import os, sys
names = sorted(os.listdir("/proc/self/fd"))
open(%r, "w").write(" ".join(names))
with open(%r, "ab") as out:
    for line in sys.stdin.buffer:
        out.write(line)
        out.flush()
""" % (fds, out))}), out=None)
    send(daemon, 2000)
    until_sink(daemon, "x", caught_up)
    daemon.stop()
    equal(ids_in(out), daemon.rows())
    with open(fds) as file:
        equal(file.read(), "0 1 2 3", "descriptors (the last one is of the folder itself)")
    equal(processes_of(s.path("keep.py")), {})


@test
def test_command_that_dies(s):
    """It reads byte by byte and dies after each few lines: what it did not read goes to its successor."""
    out = s.path("out")
    daemon = s.start(*config(s, {"name": "x", "type": "exec", "command": [
        "/bin/sh", "-c", "for i in 1 2 3 4 5 6 7; do IFS= read -r line || exit 0; printf '%%s\\n' \"$line\" >> '%s'; done; "
        "echo 'that is enough' >&2; exit 3" % out]}), out=None)
    send(daemon, 30)
    sink = until_sink(daemon, "x", caught_up)
    equal(ids_in(out), daemon.rows())
    check(sink["retries"] >= 4, sink)
    daemon.wait_log("sink x says: that is enough", 4)
    check(daemon.logged("/bin/sh ended with exit code 3"), daemon.log())
    daemon.stop()


@test
def test_command_that_acknowledges(s):
    """It reads much at once and dies with it: with acknowledgements nothing is lost, what was not is repeated."""
    out = s.path("out")
    command = script(s, "ack.py", """
import os, sys
done = 0
lines = sys.stdin.buffer.read1(65536)
while True:
    while b"\\n" in lines:
        line, lines = lines.split(b"\\n", 1)
        with open(%r, "ab") as out:
            out.write(line + b"\\n")
        done += 1
        if done == 40:
            os._exit(1)   # this one was handled, and nobody is told
        print("done")
    more = sys.stdin.buffer.read1(65536)
    if not more:
        break
    lines += more
""" % out)
    daemon = s.start(*config(s, {"name": "x", "type": "exec", "command": command, "ack": "lines"}), out=None)
    send(daemon, 150)
    sink = until_sink(daemon, "x", caught_up)
    ids = ids_in(out)
    equal(sorted(set(ids)), sorted(daemon.rows()))
    equal(len(ids), 150 + 3, "each death repeats the one that was not acknowledged")
    check(sink["retries"] == 3, sink)
    daemon.stop()


@test
def test_command_that_never_reads(s):
    """It holds up itself alone; at the end it is killed with its group, and nothing that it did not get is lost."""
    out, ready = s.path("out"), s.path("ready")
    seconds = str(random.randrange(10 ** 7, 10 ** 8))  # what the processes are known by
    s.undo.callback(end_processes_of, seconds)
    command = ["/bin/sh", "-c", "trap '' TERM; sh -c \"trap '' TERM; : > '%s'; sleep %s\" & wait; sleep %s" % (
        ready, seconds, seconds)]
    arguments = config(s, {"name": "deaf", "type": "exec", "command": command},
                       {"name": "file", "type": "file", "path": out})
    daemon = s.start(*arguments, out=None)
    wait_for_file(ready)
    send(daemon, 3000)
    until_sink(daemon, "file", caught_up)
    equal(ids_in(out), daemon.rows())
    sink = sink_of(daemon, "deaf")
    check(sink["behind"] > 0 and sink["unsafe"] > 0 and sink["state"] == "ok", sink)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_log("finishing what has come")
    daemon.process.send_signal(signal.SIGTERM)
    equal(daemon.wait(), 74)
    check(daemon.logged("does not end after SIGTERM"), daemon.log())
    equal(processes_of(seconds), {})
    # Its successor gets it all.
    arguments = config(s, {"name": "deaf", "type": "exec", "command": ["/bin/sh", "-c", "cat > '%s'" % s.path("all")]})
    daemon = s.start(*arguments, out=None)
    until_sink(daemon, "deaf", caught_up)
    daemon.stop()
    equal(ids_in(s.path("all")), daemon.rows())


@test
def test_command_that_is_not_there(s):
    daemon = s.start(*config(s, {"name": "x", "type": "exec", "command": ["/nowhere/at/all"]}), out=None)
    sink = until_sink(daemon, "x", lambda sink: sink["retries"] >= 2)
    equal(sink["state"], "retrying")
    check("No such file" in sink["reason"], sink)
    send(daemon, 10)
    daemon.process.send_signal(signal.SIGTERM)
    equal(daemon.wait(), 0)


@test
def test_command_that_talks(s):
    """What it says is in the log, bounded; a line without an end, too."""
    daemon = s.start(*config(s, {"name": "x", "type": "exec", "command": [
        "/bin/sh", "-c", "i=0; while [ $i -lt 3000 ]; do echo \"word $i\" >&2; i=$((i+1)); done; "
        "head -c 2000000 /dev/zero | tr '\\0' y >&2; echo >&2; cat > /dev/null"]}), out=None, binary=s.plain)
    send(daemon, 10)
    until_sink(daemon, "x", caught_up)
    daemon.stop()
    said = daemon.logged("sink x says: ")
    check(50 <= len(said) <= 200, "lines", len(said))
    check(all(len(line) < 1100 for line in daemon.log()))


@test
def test_zombies_and_waiting_cost_nothing(s):
    """A command that ends at once is started less and less often, and leaves no zombie."""
    daemon = s.start(*config(s, {"name": "x", "type": "exec", "command": ["/bin/true", "coroner-test"]}), out=None)
    send(daemon, 1)
    until_sink(daemon, "x", lambda sink: sink["retries"] >= 4)
    children = subprocess.run(["/usr/bin/ps", "--ppid", str(daemon.process.pid), "-o", "stat="],
                              capture_output=True, text=True, check=False).stdout
    check("Z" not in children, children)
    daemon.stop()


# ---- one does not hold up another -------------------------------------------------------------------


@test
def test_many_blocked_sinks(s):
    """More of them than libuv's pool has threads: FIFOs and commands that nobody empties."""
    seconds = str(random.randrange(10 ** 7, 10 ** 8))
    s.undo.callback(end_processes_of, seconds)
    stuck = []
    for number in range(6):
        os.mkfifo(s.path("fifo%d" % number))
        stuck.append({"name": "fifo%d" % number, "type": "file", "path": s.path("fifo%d" % number)})
    for number in range(6):
        stuck.append({"name": "deaf%d" % number, "type": "exec", "command": ["/bin/sleep", seconds]})
    out = s.path("out")
    daemon = s.start(*config(s, *stuck, {"name": "file", "type": "file", "path": out}), out=None, binary=s.plain)
    node = send(daemon, 3000)
    until_sink(daemon, "file", caught_up)
    send(daemon, 1, node)
    until_sink(daemon, "file", caught_up)
    equal(ids_in(out), daemon.rows())
    equal(len(daemon.ask({"op": "query", "limit": 10})), 11)
    for sink in daemon.status()["sinks"]:
        check((sink["behind"] > 0) == (sink["name"] != "file"), sink)
    # They wait without turning round and round: two of their seconds, by the daemon's own clock.
    cpu = daemon.cpu_seconds()
    select.select([], [], [], 2)
    check(daemon.cpu_seconds() - cpu < 0.5, "busy", daemon.cpu_seconds() - cpu)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_log("finishing what has come")
    daemon.process.send_signal(signal.SIGTERM)
    equal(daemon.wait(), 74)
    equal(processes_of(seconds), {})


# ---- folding ----------------------------------------------------------------------------------------


def cascade(node, count, root=None, calls=1, source="kill"):
    """Records of a cascade, the root first unless it is given. Returns the root's id."""
    for number in range(count):
        record = exit_record("<0.%d.1>" % number, source="link", reason="killed",
                             module="worker%d" % (number % calls))
        root = root or "%s-%d" % (node.incarnation, node.made + 1)
        record["origin"] = {"source": source, "pid": "<0.1.1>", "id": root, "by_name": "shell"}
        node.make(record)
    return root


def read_folded(path):
    """Returns (ids of lines, summaries)."""
    lines, summaries = [], []
    with open(path, "rb") as file:
        for line in file:
            record = json.loads(line)
            if record["schema"] == "coroner.fold/1":
                FOLD.validate(record)
                check(len(line) <= 8192)
                summaries.append(record)
            else:
                lines.append(check_line(line)["id"])
    return lines, summaries


def seqs(*ids):
    return [int(item.rsplit("-", 1)[1]) for item in ids]


@test
def test_fold(s):
    out = s.path("out")
    daemon = s.start(*config(s, {"name": "f", "type": "file", "path": out, "fold": "on", "fold_first": 5}), out=None)
    node = FakeNode(daemon.ingest)
    first = cascade(node, 1000, calls=12)
    plain = [node.make() for _ in range(10)]
    second = cascade(node, 3)
    gap = node.make({"severity": "warning", "message": "m", "gap": {"from": 1700000000000000000, "why": "x"}}, kind=1)
    check(node.connect() and node.deliver())
    sink = until_sink(daemon, "f", caught_up)
    equal(sink["folded"], 995)
    lines, summaries = read_folded(out)
    equal(seqs(*lines), list(range(1, 6)) + list(range(1001, 1015)))
    check(set(plain + [gap]) <= set(lines))
    equal(len(summaries), 1)
    fold = summaries[0]["fold"]
    equal((fold["root"], fold["source"], fold["count"], fold["by_name"]), (first, "kill", 995, "shell"))
    equal(seqs(fold["first_id"], fold["last_id"]), [6, 1000])
    equal(sum(call["count"] for call in fold["initial_calls"]) + fold["other"] + fold["unknown"], 995)
    equal(len(fold["initial_calls"]), 8)
    counts = [call["count"] for call in fold["initial_calls"]]
    equal(counts, sorted(counts, reverse=True))
    check(second not in summaries[0]["message"])
    check(daemon.rows() == ["%s-%d" % (node.incarnation, n) for n in range(1, 1015)], "the store keeps all")
    daemon.stop()


@test
def test_fold_at_the_end(s):
    """SIGTERM does not wait for a cascade to be quiet, and the next daemon repeats nothing."""
    out = s.path("out")
    arguments = config(s, {"name": "f", "type": "file", "path": out, "fold": "on", "fold_first": 2})
    daemon = s.start(*arguments, out=None)
    node = FakeNode(daemon.ingest)
    cascade(node, 500)
    check(node.connect() and node.deliver())
    daemon.stop()
    before = read_folded(out)
    equal((len(before[0]), [summary["fold"]["count"] for summary in before[1]]), (2, [498]))
    daemon = s.start(*arguments, out=None)
    until_sink(daemon, "f", caught_up)
    daemon.stop()
    equal(read_folded(out), before)


@test
def test_fold_and_sigkill(s):
    """Killed at any moment: every row is a line, or is counted in a summary."""
    out = s.path("out")
    arguments = config(s, {"name": "f", "type": "file", "path": out, "fold": "on", "fold_first": 3})
    node = FakeNode(s.path("ingest.sock"))
    chance = random.Random(5)
    root = None
    for turn in range(20):
        daemon = s.start(*arguments, out=None, binary=s.plain if turn % 3 else s.san)
        check(node.connect())
        if turn % 5 == 4:
            # Let some of the summaries come.
            check(node.deliver())
            until_sink(daemon, "f", lambda sink: sink["behind"] == 0)
        root = cascade(node, 300, root if turn % 3 else None, calls=3)
        goal = node.acked + chance.randrange(1, 300)
        node.until(lambda goal=goal: node.acked >= goal)
        daemon.kill()
        node.close()
    daemon = s.start(*arguments, out=None)
    check(node.connect() and node.deliver())
    until_sink(daemon, "f", caught_up)
    daemon.stop()
    rows = daemon.rows()
    by_root = collections.defaultdict(list)  # root -> its ids in the order of the store
    root = {}
    for line in daemon_lines(daemon):
        by_root[line["origin"]["id"]].append(line["id"])
        root[line["id"]] = line["origin"]["id"]
    lines, summaries = read_folded(out)
    told = collections.Counter(lines)
    for summary in summaries:
        fold = summary["fold"]
        members = by_root[fold["root"]]
        span = members[members.index(fold["first_id"]):members.index(fold["last_id"]) + 1]
        equal(len(span), fold["count"], "a summary counts what it spans")
        told.update(span)
    equal([row for row in rows if told[row] == 0], [], "neither written nor counted")
    check(len(summaries) > 5, "no storm", len(summaries))
    # Once, but for what a kill repeats.
    check(sum(told.values()) < 2.5 * len(rows), sum(told.values()), len(rows))


@test
def test_fold_keeps_the_cursor(s):
    """A cascade that goes on for longer than it takes to save a cursor, and then a kill: what was counted and not told
    is counted again."""
    out = s.path("out")
    arguments = config(s, {"name": "f", "type": "file", "path": out, "fold": "on", "fold_first": 3})
    daemon = s.start(*arguments, out=None)
    node = FakeNode(daemon.ingest)
    root = cascade(node, 10)
    check(node.connect() and node.deliver())
    until = time.monotonic() + 4
    while time.monotonic() < until:
        cascade(node, 1, root)
        node.turn(0.1)
        node.make()  # one that is no cascade
        node.turn(0.1)
    check(node.deliver())
    daemon.kill()
    before = read_folded(out)
    equal(before[1], [])
    daemon = s.start(*arguments, out=None)
    until_sink(daemon, "f", caught_up)
    daemon.stop()
    lines, summaries = read_folded(out)
    counted = sum(summary["fold"]["count"] for summary in summaries)
    rows = daemon.rows()
    check(len(set(lines)) + counted >= len(rows), "vanished", len(set(lines)), counted, len(rows))


def daemon_lines(daemon):
    """All lines of the store of a daemon that has ended."""
    return [json.loads(line) for line in daemon.stored()]


@test
def test_fold_of_countless_cascades(s):
    """20,000 cascades at once, each counting: bounded memory, and nothing vanishes."""
    out = s.path("out")
    daemon = s.start(*config(s, {"name": "f", "type": "file", "path": out, "fold": "on", "fold_first": 1}), out=None,
                     binary=s.plain)
    node = FakeNode(daemon.ingest)
    roots = [cascade(node, 1) for _ in range(20000)]
    check(node.connect() and node.deliver())
    for root in roots:
        cascade(node, 1, root)
    check(node.deliver())
    until_sink(daemon, "f", caught_up, 120)
    rss = daemon.rss_mib()
    check(rss < 110, "RSS", rss)
    daemon.stop()
    lines, summaries = read_folded(out)
    equal(len(lines) + sum(summary["fold"]["count"] for summary in summaries), 40000)
    equal(len(set(lines)), len(lines))


# ---- running them -----------------------------------------------------------------------------------


if __name__ == "__main__":
    sys.exit(daemon_harness.main())
