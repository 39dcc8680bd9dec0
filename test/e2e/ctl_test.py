#!/usr/bin/python3
"""Tests of coronerctl as a user meets it: real nodes with real cookies, a stand-in for coronerd that
says what no real one would, and coronerd itself where it is built.

    ctl_test.py [--ctl BINARY] [--unit BINARY]... [--valgrind BINARY]... [NAME...]

Prints "ok NAME" or "not ok NAME: why" for each test and closes with "N passed, N failed".
"""
import argparse
import contextlib
import hashlib
import json
import os
import pty
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import traceback

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "test", "e2e"))
NOBODY = 65534
TESTS = []
KEEP = contextlib.ExitStack()  # what is undone at the very end
CTL = None  # path of coronerctl
WORK = None  # directory of this run
ESC = "\x1b"


def test(function):
    TESTS.append(function)
    return function


def check(condition, message="", *values):
    if not condition:
        raise AssertionError(" ".join([str(message)] + [repr(v) for v in values]))


def ctl(*args, env=None, as_nobody=False, stdin=None, timeout=90):
    """Run coronerctl. Return (exit code, stdout, stderr)."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": WORK}
    environment.update(env or {})
    done = subprocess.run([CTL, *args], env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
                          user=NOBODY if as_nobody else None, group=NOBODY if as_nobody else None,
                          extra_groups=[] if as_nobody else None, cwd=WORK)
    check(b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr, "sanitizer:", done.stderr.decode())
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def expect(result, code, out=None, err=None):
    """Check an exit code, and that the texts are found in stdout and stderr."""
    got, stdout, stderr = result
    check(got == code, "exit code %d, not %d" % (got, code), stdout, stderr)
    for wanted, text in ((out, stdout), (err, stderr)):
        for part in [wanted] if isinstance(wanted, str) else wanted or []:
            check(part in text, "no %r in" % part, text)
    check(ESC not in stdout + stderr, "an escape sequence came through", stdout, stderr)
    return result


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# ---------------------------------------------------------------------------------------------------
# A stand-in for coronerd.


class Daemon:
    """Listens on a Unix socket; each connection is given to ${script}(connection)."""

    def __init__(self, script):
        self.path = tempfile.mktemp(prefix="query", suffix=".sock", dir=WORK)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.script = script
        self.failure = None
        self.asked = []
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def serve(self):
        try:
            while True:
                try:
                    connection, _ = self.listener.accept()
                except OSError:
                    return
                with connection:
                    self.connection = connection
                    self.file = connection.makefile("rb")
                    try:
                        self.script(self)
                    except (BrokenPipeError, ConnectionResetError):
                        pass
                    finally:
                        self.file.close()
        except Exception as failure:  # told when the test leaves
            self.failure = failure

    def request(self):
        line = self.file.readline()
        if not line:
            raise ConnectionResetError
        request = json.loads(line)
        self.asked.append(request)
        return request

    def reply(self, value):
        self.raw(json.dumps(value).encode() + b"\n")

    def raw(self, data):
        self.connection.sendall(data)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, kind, value, trace):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        os.unlink(self.path)
        self.thread.join(10)
        if kind is None and self.failure:
            raise self.failure


def answering(*lines, done=None):
    """A script that answers every request with ${lines} and a done."""

    def script(daemon):
        while True:
            request = daemon.request()
            for line in lines:
                daemon.reply(dict(line, id=request["id"]))
            daemon.reply(dict({"id": request["id"], "done": True, "count": len(lines)}, **(done or {})))

    return script


with open(os.path.join(ROOT, "test/c/stories/design.json")) as f:
    RECORD = json.load(f)
with open(os.path.join(ROOT, "test/c/stories/hostile.json")) as f:
    HOSTILE = json.load(f)
TREE = """<0.31760.980> ump_proxy_cherly_server  exited: killed
└─ trapped the exit of linked process <0.29814.980> ump_proxy_session and stopped with the same reason
   └─ <0.29814.980> was killed by the purge of old code of module ump_proxy_session
      └─ purge requested by <0.41.0> release_handler  (release_handler:'-brutal_purge/1-fun-0-'/1 → code:purge/1)
"""


@test
def why_draws_the_tree_of_the_design():
    with Daemon(answering({"exit": RECORD})) as daemon:
        code, out, _ = expect(ctl("--query", daemon.path, "why", "<0.31760.980>"), 0)
        check(out.startswith(TREE), out)
        check(daemon.asked[0] == {"id": 1, "op": "why", "pid": "<0.31760.980>"}, daemon.asked)


@test
def why_says_how_many_died_of_it():
    with Daemon(answering({"exit": RECORD, "cascade": {"count": 600}})) as daemon:
        expect(ctl("why", "--query", daemon.path, "0.1.0"), 0, "600 died of it: coronerctl tree " + RECORD["id"])


@test
def why_takes_a_bare_pid_a_name_and_a_node():
    with Daemon(answering({"exit": RECORD})) as daemon:
        expect(ctl("why", "0.31760.980", "--query", daemon.path), 0)
        expect(ctl("why", "proxy_sup", "--node", "proxy@db3", "--query=" + daemon.path), 0)
        check(daemon.asked[0]["pid"] == "<0.31760.980>", daemon.asked)
        check(daemon.asked[1] == {"id": 1, "op": "why", "name": "proxy_sup", "node": "proxy@db3"}, daemon.asked)
        expect(ctl("why", "#PID<0.31760.980>", "--query", daemon.path), 0)
        check(daemon.asked[2]["pid"] == "<0.31760.980>", daemon.asked)


@test
def why_lists_others():
    others = [{"node": "proxy@db4", "incarnation": "6a1f0c2be5d94c12", "count": 3, "record": "6a1f0c2be5d94c12-9"}]
    with Daemon(answering({"exit": RECORD}, done={"others": others})) as daemon:
        expect(ctl("--query", daemon.path, "why", "0.1.0"), 0, 
               ["1 other run of a node:\n  proxy@db4  incarnation 6a1f0c2be5d94c12, 3 times, id 6a1f0c2be5d94c12-9\n"])


@test
def why_of_nothing_ends_with_1():
    with Daemon(answering()) as daemon:
        expect(ctl("--query", daemon.path, "why", "0.1.0"), 1, err="no exit of <0.1.0> is recorded")

    def script(daemon):
        request = daemon.request()
        daemon.reply({"id": request["id"], "error": {"code": "not_found", "message": "no", "field": "name"}})

    with Daemon(script) as daemon:
        expect(ctl("--query", daemon.path, "why", "x", "--node", "n@h"), 1, err="no exit of x on n@h is recorded")

    with Daemon(answering()) as daemon:
        expect(ctl("--query", daemon.path, "why", "<8903.1.0>"), 1, err=["no exit of <8903.1.0>", "have <0.1.0>"])


@test
def why_takes_a_name_as_it_is_shown_in_a_message():
    def script(daemon):
        request = daemon.request()
        check(request["name"] == "with space", request)
        daemon.reply({"id": request["id"], "exit": RECORD})
        daemon.reply({"id": request["id"], "done": True, "count": 1, "others": []})

    with Daemon(script) as daemon:
        expect(ctl("--query", daemon.path, "why", "'with space'"), 0)


@test
def why_of_what_is_neither_pid_nor_name_is_not_asked():
    for odd in ("<0.1", "<0.1.0", "#PID<0.1>", ""):
        expect(ctl("--query", "/no/such/socket", "why", odd), 64, err="'%s' is no pid" % odd)


@test
def why_in_json_is_the_bare_record():
    with Daemon(answering({"exit": RECORD})) as daemon:
        _, out, _ = expect(ctl("--query", daemon.path, "--json", "why", "0.1.0"), 0)
        check(out == json.dumps(RECORD, separators=(",", ":"), ensure_ascii=False) + "\n", out)


@test
def ascii_where_the_locale_is_not_utf8():
    with Daemon(answering({"exit": RECORD})) as daemon:
        for locale in ("C", "POSIX", "no_SUCH.locale"):
            _, out, _ = expect(ctl("--query", daemon.path, "why", "0.1.0", env={"LC_ALL": locale}), 0, "`- trapped")
            check(out.isascii(), out)


def on_terminal(*args, env=None):
    """Run coronerctl with a terminal for standard output. Return what it wrote."""
    master, slave = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm", "HOME": WORK}
    environment.update(env or {})
    child = subprocess.Popen([CTL, *args], env=environment, stdin=subprocess.DEVNULL, stdout=slave)
    os.close(slave)
    out = b""
    while True:
        try:
            data = os.read(master, 65536)
        except OSError:
            break
        if not data:
            break
        out += data
    os.close(master)
    check(child.wait(60) == 0, "exit code", child.returncode)
    return out.decode()


@test
def colour_on_terminals_only_and_not_against_no_color():
    with Daemon(answering({"exit": RECORD})) as daemon:
        args = ("--query", daemon.path, "why", "0.1.0")
        check(ESC in on_terminal(*args))
        check(ESC not in on_terminal(*args, env={"NO_COLOR": "1"}))
        check(ESC not in on_terminal(*args, env={"TERM": "dumb"}))
        check(ESC in on_terminal(*args, env={"NO_COLOR": ""}))


@test
def json_cannot_drive_a_terminal():
    record = dict(HOSTILE, message="\x7f\x9b\u202e" + ESC)
    with Daemon(answering({"exit": record})) as daemon:
        out = on_terminal("--query", daemon.path, "--json", "why", "0.1.0")
        check(re.fullmatch(r"[\x20-\x7e]+\r\n", out), out)
        check(json.loads(out) == record, out)


@test
def hostile_records_are_harmless_in_every_command():
    bad = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
    with Daemon(answering({"exit": HOSTILE}, done={"others": [HOSTILE, ESC]})) as daemon:
        for args in (["why", "0.1.0"], ["query"], ["tail"]):
            _, out, err = expect(ctl("--query", daemon.path, *args), 0)
            check(not bad.search(out + err), args, out, err)


@test
def query_sends_conditions_and_prints_lines():
    with Daemon(answering({"exit": RECORD}, {"exit": RECORD})) as daemon:
        _, out, _ = expect(ctl("query", "--query", daemon.path, "--limit", "5", "--since", "-1h", "--until", "-5m",
                               "--order", "asc", "source=kill", "by=<0.41.0>"), 0)
        line = "2026-11-23T15:46:33.094Z error proxy@db3  ump_proxy_cherly_server <0.31760.980> exited killed: "
        check(out.count(line) == 2 and out.count("\n") == 2, out)
        check(daemon.asked == [{"id": 1, "op": "query", "where": {"exit.source": "kill", "origin.by": "<0.41.0>"},
                                "since": "-1h", "until": "-5m", "order": "asc", "limit": 5}], daemon.asked)


@test
def query_in_json_is_a_record_a_line():
    with Daemon(answering({"exit": RECORD}, {"exit": HOSTILE})) as daemon:
        _, out, _ = ctl("query", "--json", "--query", daemon.path)
        check([json.loads(line) for line in out.splitlines()] == [RECORD, HOSTILE], out)


@test
def query_follows_cursors_up_to_its_limit():
    def script(daemon):
        sent = 0
        while True:
            request = daemon.request()
            for _ in range(request["limit"]):
                sent += 1
                daemon.reply({"id": request["id"], "exit": dict(RECORD, id="x-%d" % sent)})
            daemon.reply({"id": request["id"], "done": True, "count": request["limit"], "next": "c1.%d" % sent})

    with Daemon(script) as daemon:
        _, out, _ = expect(ctl("query", "--json", "--limit", "2500", "--query", daemon.path, "node=n@h"), 0)
        check([json.loads(line)["id"] for line in out.splitlines()] == ["x-%d" % n for n in range(1, 2501)])
        check([(r.get("cursor"), r["limit"]) for r in daemon.asked] == [(None, 1000), ("c1.1000", 1000), ("c1.2000", 500)],
              daemon.asked)
        # A cursor is a place, no more.
        check(all(r["where"] == {"node.name": "n@h"} for r in daemon.asked), daemon.asked)


@test
def conditions_have_lists_prefixes_ranges_and_null():
    with Daemon(answering({"exit": RECORD})) as daemon:
        expect(ctl("query", "--query", daemon.path, "source=kill,purge", "process.initial_call=ump_*", "age>=1000",
                   "age<5000", "name=null", "node!=a@h", "exit.reason={a,b}", "pid=0.1.0,<0.2.0>"), 0)
        check(daemon.asked[0]["where"] == {
            "exit.source": ["kill", "purge"], "process.initial_call": {"prefix": "ump_"},
            "process.age_us": {"ge": 1000, "lt": 5000}, "process.name": None, "node.name": {"not": "a@h"},
            "exit.reason": "{a,b}", "process.pid": ["<0.1.0>", "<0.2.0>"]}, daemon.asked)
    for bad in (["name=a", "name>=b"], ["name=null", "name=b"], ["name>=a", "name=b"], ["name>=a", "name>=b"],
                ["Name=a"], [">=5"], ["name~a"]):
        expect(ctl("query", *bad), 64, err=bad[-1])


CASCADE = {"root": "6a1f0c2be5d94c11-48212", "count": 600, "first": "2026-11-23T15:46:33.094688123Z",
           "last": "2026-11-23T15:46:33.2Z", "depth": 2,
           "by_initial_call": [{"initial_call": "hop1:init/1", "count": 400}, {"rest": 200}],
           "by_source": [{"source": "link", "count": 600}], "by_hop": [{"hop": 1, "count": 300}, {"hop": 2, "count": 300}]}


def members(count):
    return [{"node": {"record": "x-%d" % n, "parent": CASCADE["root"] if n < 3 else "x-%d" % (n - 2),
                      "pid": "<0.%d.0>" % n, "initial_call": "hop1:init/1", "source": "link"}}
            for n in range(1, count + 1)]


@test
def tree_tells_a_cascade():
    with Daemon(answering({"exit": RECORD}, {"cascade": CASCADE}, *members(4))) as daemon:
        _, out, _ = expect(ctl("tree", "--query", daemon.path, "0.41.0", "--nodes", "4", "--node", "a@h"), 0, [
            "600 processes died of it, from 2026-11-23T15:46:33.094688123Z", "      400  hop1:init/1", "      200  others",
            "      300  hop 2", "├─ <0.1.0> hop1  link", "│  └─ <0.3.0> hop1  link", "└─ <0.2.0> hop1", "596 more",
            "origin.id=6a1f0c2be5d94c11-48212"])
        check(daemon.asked == [{"id": 1, "op": "tree", "pid": "<0.41.0>", "node": "a@h", "nodes": 4}], daemon.asked)
        code, out, _ = ctl("tree", "--json", "--query", daemon.path, "6a1f0c2be5d94c11-5")
        lines = [json.loads(line) for line in out.splitlines()]
        check(code == 0 and lines == [RECORD, {"cascade": CASCADE}, *members(4)], lines)
        check(daemon.asked[1]["record"] == "6a1f0c2be5d94c11-5", daemon.asked)
        expect(ctl("tree", "--query", daemon.path, "shell"), 0)
        check(daemon.asked[2]["name"] == "shell", daemon.asked)
    with Daemon(answering({"cascade": dict(CASCADE, count=0)})) as daemon:
        expect(ctl("tree", "--query", daemon.path, "shell"), 0, "nobody else died of it")
    for args in (["x", "--nodes", "401"], ["x", "--nodes", "-1"], ["x", "--nodes", "y"]):
        with Daemon(answering()) as daemon:
            expect(ctl("tree", "--query", daemon.path, *args), 64, err="--nodes")
    # What a daemon says of loops and of much more than was asked for is drawn once.
    loop = [{"node": {"record": "a", "parent": "a", "pid": "<0.1.0>"}}, {"node": {"record": "b", "parent": "c"}},
            {"node": {"record": "c", "parent": "b"}}, {"node": {}}, *members(1200)]
    with Daemon(answering({"cascade": CASCADE}, *loop)) as daemon:
        expect(ctl("tree", "--query", daemon.path, "shell"), 0, "(its record is not kept)")


@test
def count_and_top_print_tables():
    groups = [{"group": {"exit.source": "kill", "origin.by_name": None}, "count": 12},
              {"group": {"exit.source": "li\x1bnk", "origin.by_name": "shell"}, "count": "9007199254740993"}]
    with Daemon(answering(*groups, done={"total": 5})) as daemon:
        expect(ctl("count", "--query", daemon.path, "--by", "source,by", "--bucket", "1m", "--since", "-1h",
                   "--limit", "7", "class=killed"), 0,
               ["       12  kill  -\n", "9007199254740993  li\\x1bnk  shell\n"])
        check(daemon.asked == [{"id": 1, "op": "count", "by": ["exit.source", "origin.by_name"], "bucket": "1m",
                                "since": "-1h", "limit": 7, "where": {"exit.reason_class": "killed"}}], daemon.asked)
        _, out, _ = expect(ctl("top", "--query", daemon.path), 0, ["killers since -1h", "victims", "sources"])
        check([r["by"] for r in daemon.asked[1:]] == [["origin.by_name", "origin.by_initial_call"],
                                                      ["process.initial_call"], ["exit.source", "origin.source"]])
        check(daemon.asked[1]["where"] == {"origin.by": {"not": None}}, daemon.asked)
        check(len(out.splitlines()) < 24, out)
        expect(ctl("top", "--query", daemon.path, "--by", "module", "--since", "-1d"), 0)
        check(daemon.asked[4]["by"] == ["origin.module"] and daemon.asked[4]["since"] == "-1d", daemon.asked)
        _, out, _ = ctl("count", "--json", "--query", daemon.path)
        check([json.loads(line) for line in out.splitlines()] == groups, out)
    with Daemon(answering()) as daemon:
        expect(ctl("top", "--query", daemon.path), 1)
    for args in (["--by", "a,b,c"], ["--by", ",a"], ["--limit", "0"], ["--by", "x" * 200]):
        expect(ctl("count", *args), 64, err=args[0])


@test
def query_of_nothing_ends_with_1():
    with Daemon(answering()) as daemon:
        expect(ctl("query", "--query", daemon.path), 1, err="no record fits")
        code, out, err = ctl("query", "--json", "--query", daemon.path)
        check((code, out, err) == (1, "", ""), code, out, err)


@test
def status_shows_the_daemon_and_its_nodes():
    def script(daemon):
        request = daemon.request()
        daemon.reply({"id": request["id"], "status": {"version": "0.1.0", "stored": 12}})
        daemon.reply({"id": request["id"], "done": True})
        request = daemon.request()
        daemon.reply({"id": request["id"], "node": {"name": "proxy@db3", "connected": True, "made": 48213,
                                                    "stored": 48200, "lost": 13}})
        daemon.reply({"id": request["id"], "done": True, "count": 1})

    with Daemon(script) as daemon:
        expect(ctl("status", "--query", daemon.path), 0, ["coronerd  0.1.0", "MADE", "proxy@db3  connected  48213   48200        -    13"])
        _, out, _ = expect(ctl("status", "--json", "--query", daemon.path), 0)
        check(json.loads(out)["nodes"][0]["lost"] == 13, out)


@test
def errors_of_the_daemon_are_told_with_their_field():
    codes = {"bad_request": 64, "unknown_op": 70, "too_many_connections": 75, "timeout": 75, "denied": 77, "internal": 70, "unavailable": 69}
    for code, wanted in codes.items():
        def script(daemon):
            request = daemon.request()
            daemon.reply({"id": request["id"], "error": {"code": code, "message": "no such thing" + ESC, "field": "wher"}})

        with Daemon(script) as daemon:
            expect(ctl("query", "--query", daemon.path), wanted, err=["no such thing\\x1b (wher)"])


@test
def what_is_no_daemon_is_told_so():
    cases = [
        (b"", 69, "closed the connection"),
        (b'{"id":1,"exit":{', 69, "closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", 70, "does not speak"),
        (b"\n", 70, "does not speak"),
        (b"[]\n", 70, "does not speak"),
        (b"\xff\xfe\n", 70, "does not speak"),
        (b"null\n", 70, "does not speak"),
        (b'{"id":2,"done":true}\n', 70, "does not speak"),
        (b'{"id":"1","done":true}\n', 70, "does not speak"),
        (b'{"id":1,"id":1,"done":true}\n', 70, "does not speak"),
        (b'{"id":99999999999999999999}\n', 70, "does not speak"),
        (b'{"id":1,"exit":' + b"[" * 5000 + b"]" * 5000 + b"}\n", 70, "does not speak"),
        (b"x" * (5 << 20) + b"\n", 70, "longer than 4 MiB"),
        (b'{"id":1,"exit":7}\n{"id":1,"exit":[]}\n{"id":1,"done":true,"next":7,"others":{}}\n', 1, "no "),
        (b'{"id":1,"error":7,"done":true}\n', 1, "no "),
        (b'{"id":null,"error":{"code":"bad_json"}}\n', 70, "bad_json"),
        (b'{"error":{}}\n', 70, "an error"),
    ]
    for data, wanted, text in cases:
        def script(daemon):
            daemon.request()
            daemon.raw(data)

        with Daemon(script) as daemon:
            for command in (["query"], ["why", "0.1.0"]):
                try:
                    expect(ctl(*command, "--query", daemon.path), wanted, err=text)
                except AssertionError as failure:
                    raise AssertionError("%r: %s" % (data[:60], failure)) from None


@test
def replies_in_pieces_are_put_together():
    def script(daemon):
        daemon.request()
        for byte in json.dumps({"id": 1, "exit": RECORD}).encode() + b'\n{"id":1,"done":true}\n':
            daemon.raw(bytes([byte]))

    with Daemon(script) as daemon:
        expect(ctl("why", "0.1.0", "--query", daemon.path), 0, TREE)


@test
def sockets_that_cannot_be_used_are_named():
    missing = os.path.join(WORK, "missing.sock")
    expect(ctl("--query", missing, "query"), 69, err=[missing, "start coronerd", "--query"])
    with Daemon(answering()) as daemon:
        stale = daemon.path + ".stale"
        os.link(daemon.path, stale)
    expect(ctl("--query", stale, "query"), 69, err=[stale, "nobody listens"])
    expect(ctl("--query", "x" * 200, "query"), 64, err="longer than 107 bytes")
    expect(ctl("--query", WORK, "query"), 69, err="nobody listens")
    if os.getuid() == 0:
        with Daemon(answering()) as daemon:
            os.chmod(daemon.path, 0o600)
            expect(ctl("--query", daemon.path, "query", as_nobody=True), 77, err=[daemon.path, "may not", "group"])


@test
def output_that_cannot_be_written_is_told():
    with Daemon(answering({"exit": RECORD})) as daemon, open("/dev/full", "w") as full:
        done = subprocess.run([CTL, "query", "--query", daemon.path], stdout=full, stderr=subprocess.PIPE, timeout=60)
        check(done.returncode == 74 and b"No space left" in done.stderr, done)


@contextlib.contextmanager
def tailing(daemon, *args):
    child = subprocess.Popen([CTL, "--query", daemon.path, "tail", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]})
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


class Feed:
    """A daemon's side of a subscription: lines are sent as the test asks for them."""

    def __init__(self):
        self.ready = threading.Semaphore(0)
        self.queue = []

    def __call__(self, daemon):
        request = daemon.request()
        daemon.reply({"id": request["id"], "subscribed": True, "cursor": "c1.0"})
        while True:
            self.ready.acquire()
            line = self.queue.pop(0)
            if line is None:
                return
            daemon.reply(dict(line, id=request["id"]))

    def send(self, line):
        self.queue.append(line)
        self.ready.release()


@test
def tail_prints_records_as_they_come():
    feed = Feed()
    with Daemon(feed) as daemon, tailing(daemon, "severity=error", "--node", "n@h") as child:
        for number in range(3):
            feed.send({"exit": dict(RECORD, message="number %d" % number), "cursor": "c1.1"})
            line = child.stdout.readline().decode()
            check(line.endswith("proxy@db3  number %d\n" % number), line)
        feed.send({"heartbeat": "2026-11-23T15:46:33Z", "cursor": "c1.2"})
        feed.send({"lagged": {"dropped": 512, "resume": "c1.2"}})
        line = child.stderr.readline().decode()
        check("512 records were left out" in line, line)
        check(daemon.asked == [{"id": 1, "op": "subscribe", "where": {"node.name": "n@h", "severity": "error"}}], daemon.asked)
        feed.send(None)
        _, err = child.communicate(timeout=30)
        check(child.returncode == 69 and b"went away" in err, child.returncode, err)


@test
def tail_ends_cleanly_at_signals():
    for number in (signal.SIGINT, signal.SIGTERM):
        feed = Feed()
        with Daemon(feed) as daemon, tailing(daemon) as child:
            feed.send({"exit": RECORD})
            child.stdout.readline()
            child.send_signal(number)
            out, err = child.communicate(timeout=30)
            check((child.returncode, out, err) == (0, b"", b""), child.returncode, out, err)
            feed.send(None)


@test
def tail_ends_at_a_signal_in_the_middle_of_a_flood():
    def script(daemon):
        daemon.request()
        line = (json.dumps({"id": 1, "exit": RECORD}) + "\n").encode() * 100
        while True:
            daemon.raw(line)

    with Daemon(script) as daemon, tailing(daemon) as child:
        for _ in range(1000):
            child.stdout.readline()
        child.send_signal(signal.SIGINT)
        out, _ = child.communicate(timeout=30)
        check(child.returncode == 0, child.returncode)
        check(out.endswith(b"\n"), "a torn line", out[-80:])


@test
def tail_ends_when_its_reader_has_gone():
    feed = Feed()
    with Daemon(feed) as daemon, tailing(daemon) as child:
        feed.send({"exit": RECORD})
        child.stdout.readline()
        child.stdout.close()  # and nothing more is sent
        check(child.wait(30) == 0, child.returncode)
        feed.send(None)


@test
def wrong_command_lines_end_with_64():
    cases = [
        ([], "which command"),
        (["frobnicate"], "no command 'frobnicate'"),
        (["--frob", "query"], "no option --frob"),
        (["query", "--limit"], "--limit needs a value"),
        (["query", "--limit", "0"], "--limit"),
        (["query", "--limit", "x"], "--limit"),
        (["query", "--limit", "99999999999999999999"], "--limit"),
        (["query", "--order", "sideways"], "asc"),
        (["query", "source"], "FIELD=VALUE"),
        (["why"], "an argument is missing"),
        (["why", "a", "b"], "too many"),
        (["why", "a", "--limit", "3"], "no option --limit"),
        (["status", "x"], "too many"),
        (["attach"], "an argument is missing"),
        (["help", "frobnicate"], "no command"),
        (["--cookie", "c", "attach", "nodename"], "NAME@HOST"),
        (["--cookie", "c", "detach", "@host"], "NAME@HOST"),
        (["--cookie", "c", "detach", "a@"], "NAME@HOST"),
        (["--cookie", "c", "detach", "a@b@c"], "NAME@HOST"),
        (["--cookie", "c", "detach", "a@" + "h" * 300], "longer than 255"),
        (["--cookie", "c", "detach", "a\x1b[2J@h"], "\\x1b[2J"),
        (["--cookie", "", "detach", "a@h"], "is empty"),
        (["--cookie", "c" * 300, "detach", "a@h"], "longer than 255"),
    ]
    for args, text in cases:
        expect(ctl(*args), 64, err=text)


@test
def help_and_version():
    for args in (["--help"], ["-h"], ["help"]):
        expect(ctl(*args), 0, ["usage: coronerctl COMMAND", "attach NODE", "--query"])
    for args in (["help", "query"], ["query", "--help"], ["--help", "query"]):
        expect(ctl(*args), 0, ["usage: coronerctl query", "--since", "exit.source"])
    expect(ctl("help", "fields"), 0, ["why it exited (source)", "info warning error", "those of exit.source"])
    expect(ctl("help", "query"), 0, ["coronerctl help fields", "quote them", "#PID<0.1.2>"])
    expect(ctl("--version"), 0, "coronerctl ")
    for name in ("why", "tail", "query", "status", "attach", "detach", "help", "tree", "top", "count"):
        expect(ctl("help", name), 0, "usage: coronerctl " + name)


# ---------------------------------------------------------------------------------------------------
# Real nodes.

EPMD_PORT = None
HOST = None

STAND_IN = """
-module(coroner_attach).
-export([attach/2, detach/0]).
attach(Ebin, Options) ->
    persistent_term:put(ctl_calls, [{Ebin, Options, nodes(), nodes(hidden)} | persistent_term:get(ctl_calls, [])]),
    case persistent_term:get(ctl_mode, ok) of
        ok -> Already = persistent_term:get(ctl_attached, false),
              persistent_term:put(ctl_attached, true),
              {ok, #{processes => 70000, incarnation => <<"6a1f0c2be5d94c11">>, ingest => maps:get(ingest, Options),
                     already => Already, some => {thing, self(), make_ref(), 1.5, fun() -> ok end}}};
        crash -> error({oops, <<27, "[2J">>});
        halt -> os:cmd("kill -9 " ++ os:getpid()), receive after infinity -> ok end; % SIGKILL is under way: no answer
        Other -> Other
    end.
detach() ->
    case persistent_term:get(ctl_detach, ok) of
        ok -> persistent_term:erase(ctl_attached), ok;
        Other -> Other
    end.
"""

# Reads expressions, a line each, and writes what they are.
EVALUATOR = """
Loop = fun Loop() ->
    case io:get_line("") of
        eof -> halt();
        Line ->
            {ok, Tokens, _} = erl_scan:string(Line),
            {ok, Expressions} = erl_parse:parse_exprs(Tokens),
            {value, Value, _} = erl_eval:exprs(Expressions, []),
            io:format("~0tp~n", [Value]),
            Loop()
    end
end, io:format("ready~n"), Loop().
"""


def erlang_environment():
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": WORK, "ERL_EPMD_PORT": str(EPMD_PORT),
            "ERL_CRASH_DUMP": "/dev/null"}


class Node:
    """A running erl with a cookie of its own."""

    def __init__(self, name="node%d" % os.getpid(), cookie="ctl_test_cookie", flags=(), long_name=None, as_nobody=False):
        self.name = long_name or "%s@%s" % (name, HOST)
        self.home = tempfile.mkdtemp(prefix="home", dir=WORK)
        cookie_file = os.path.join(self.home, ".erlang.cookie")
        with open(cookie_file, "w") as f:
            f.write(cookie)
        os.chmod(cookie_file, 0o400)
        if as_nobody:
            os.chown(self.home, NOBODY, NOBODY)
            os.chown(cookie_file, NOBODY, NOBODY)
        kind = ["-name", long_name] if long_name else ["-sname", name]
        self.child = subprocess.Popen(
            ["erl", "-noinput", "-noshell", "-start_epmd", "false", *kind, *flags, "-eval", EVALUATOR.replace("\n", " ")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=self.home,
            env=dict(erlang_environment(), HOME=self.home), user=NOBODY if as_nobody else None,
            group=NOBODY if as_nobody else None, extra_groups=[] if as_nobody else None)
        KEEP.callback(self.close)  # also when a signal comes before anybody entered it
        self.env = {"HOME": self.home, "ERL_EPMD_PORT": str(EPMD_PORT)}

    def __enter__(self):
        line = self.child.stdout.readline()
        while line and b"ready" not in line:
            line = self.child.stdout.readline()
        if not line:
            self.close()
            raise AssertionError("the node did not start")
        return self

    def eval(self, expression):
        self.child.stdin.write(expression.encode() + b".\n")
        self.child.stdin.flush()
        while True:
            line = self.child.stdout.readline().decode()
            check(line, "the node has gone")
            if not line.startswith("=") and not line.startswith("**") and line.strip():
                return line.strip()

    def attach(self, *args, env=None, **kw):
        return ctl("attach", self.name, *args, env=dict(self.env, **(env or {})), **kw)

    def detach(self, *args, env=None, **kw):
        return ctl("detach", self.name, *args, env=dict(self.env, **(env or {})), **kw)

    def close(self):
        self.child.kill()
        self.child.wait()
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.close()
        self.child.stdout.close()

    def __exit__(self, *_):
        self.close()


def prepare_erlang():
    """Start an epmd of our own and compile the stand-in. Return why not, or None."""
    global EPMD_PORT, HOST
    if not shutil.which("erl"):
        return "there is no erl"
    EPMD_PORT = free_port()
    epmd = shutil.which("epmd")
    child = subprocess.Popen([epmd, "-port", str(EPMD_PORT), "-address", "127.0.0.1"], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    KEEP.callback(child.wait)
    KEEP.callback(child.kill)
    app = os.path.join(WORK, "app")
    os.makedirs(os.path.join(app, "ebin"))
    source = os.path.join(WORK, "coroner_attach.erl")
    with open(source, "w") as f:
        f.write(STAND_IN)
    subprocess.run(["erlc", "-o", os.path.join(app, "ebin"), source], check=True, env=erlang_environment())
    found = subprocess.run(["erl", "-noshell", "-eval", "{ok, H} = inet:gethostname(), io:put_chars(H), halt()."],
                           check=True, capture_output=True, env=erlang_environment())
    HOST = found.stdout.decode().split(".")[0]
    return None


def app():
    return ["--app", os.path.join(WORK, "app")]


@test
def attach_and_detach_a_running_node():
    with Node() as node:
        check(node.eval("erlang:module_loaded(coroner_attach)") == "false")
        expect(node.attach(*app(), "--ingest", "some/ingest.sock"), 0,
               ["attached to " + node.name, "70000 processes", WORK + "/some/ingest.sock", "6a1f0c2be5d94c11"])
        check(node.eval("erlang:module_loaded(coroner_attach)") == "true")
        ebin = node.eval("element(1, hd(persistent_term:get(ctl_calls)))")
        check(ebin == '"%s/app/ebin"' % WORK, ebin)
        options = node.eval("element(2, hd(persistent_term:get(ctl_calls)))")
        check(options == '#{ingest => <<"%s/some/ingest.sock">>}' % WORK, options)
        expect(node.attach(*app()), 0, "was attached already to " + node.name)
        expect(node.detach(), 0, "detached from " + node.name)
        check(node.eval("erlang:module_loaded(coroner_attach)") == "false")
        check(node.eval("erlang:check_old_code(coroner_attach)") == "false")
        expect(node.detach(), 1, err="coroner is not attached to " + node.name)


@test
def attach_comes_as_a_hidden_node_with_a_name_of_its_own():
    with Node() as node:
        expect(node.attach(*app()), 0)
        expect(node.attach(*app()), 0)
        seen = node.eval("[{Visible, Hidden} || {_, _, Visible, Hidden} <- persistent_term:get(ctl_calls)]")
        names = re.findall(r"\{\[\],\['(coronerctl-[0-9]+-[0-9a-f]{8}@%s)'\]\}" % re.escape(HOST), seen)
        check(len(set(names)) == 2, seen)
        check(node.eval("[nodes(), nodes(hidden)]") in ("[[],[]]", seen) or "coronerctl" in node.eval("nodes(hidden)"))


@test
def attach_and_detach_in_json():
    with Node() as node:
        _, out, _ = expect(node.attach(*app(), "--json"), 0)
        check(json.loads(out) == {"node": node.name, "attached": True, "processes": 70000, "already": False,
                                  "incarnation": "6a1f0c2be5d94c11", "ingest": "/run/coroner/ingest.sock"}, out)
        _, out, _ = expect(node.detach("--json"), 0)
        check(json.loads(out) == {"node": node.name, "attached": False}, out)


@test
def long_names_work():
    with Node(long_name="long%d@127.0.0.1" % os.getpid()) as node:
        expect(node.attach(*app()), 0, "attached to " + node.name)
        expect(node.detach(), 0)


@test
def a_directory_with_other_letters_works():
    directory = os.path.join(WORK, "größe 应用 💀")
    shutil.copytree(os.path.join(WORK, "app"), directory)
    with Node(flags=("+fnu",)) as node:
        expect(node.attach("--app", directory, "--ingest", "/tmp/größe.sock"), 0, "/tmp/größe.sock")
        ebin = node.eval("[C + 0 || C <- element(1, hd(persistent_term:get(ctl_calls)))] -- [0]")
        check(node.eval("element(1, hd(persistent_term:get(ctl_calls))) =:= %s" % [ord(c) for c in directory + "/ebin"])
              == "true", ebin)


@test
def the_cookie_comes_from_where_it_is_said():
    with Node(cookie="from_somewhere") as node:
        bare = {"HOME": os.path.join(WORK, "nowhere"), "ERL_EPMD_PORT": str(EPMD_PORT)}
        name = os.path.join(WORK, "cookie")
        with open(name, "w") as f:
            f.write("from_somewhere\nand more\n")
        run = lambda *args, **env: ctl("attach", node.name, *app(), *args, env=dict(bare, **env))
        expect(run(), 64, err=["there is no cookie file", "/nowhere/.erlang.cookie", "--cookie-file"])
        expect(run("--cookie-file", name), 0)
        expect(run("--cookie-file", name, CORONER_COOKIE="wrong"), 0)
        expect(run(CORONER_COOKIE="from_somewhere"), 0)
        expect(run("--cookie", "from_somewhere", CORONER_COOKIE="wrong"), 0, err="warning: --cookie shows the cookie")
        expect(run(CORONER_COOKIE=""), 64, err="CORONER_COOKIE is empty")
        config = os.path.join(WORK, "config")
        os.makedirs(os.path.join(config, "erlang"))
        shutil.copy(name, os.path.join(config, "erlang", ".erlang.cookie"))
        expect(run(XDG_CONFIG_HOME=config), 0)


@test
def a_cookie_on_the_command_line_is_wiped_there():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)
    child = subprocess.Popen([CTL, "--cookie", "very_secret", "detach", "x@127.0.0.1"], stderr=subprocess.PIPE,
                             env={"ERL_EPMD_PORT": str(listener.getsockname()[1]), "PATH": os.environ["PATH"]})
    connection, _ = listener.accept()  # it asks us for the node now
    with open("/proc/%d/cmdline" % child.pid) as f:
        seen = f.read()
    connection.close()
    listener.close()
    _, err = child.communicate(timeout=30)
    check("very_secret" not in seen and "***********" in seen, seen)
    check(child.returncode == 69 and b"is no epmd" in err, child.returncode, err)


@test
def cookie_files_that_cannot_be_used_are_named():
    with Node() as node:
        empty = os.path.join(WORK, "empty_cookie")
        open(empty, "w").close()
        long_one = os.path.join(WORK, "long_cookie")
        with open(long_one, "w") as f:
            f.write("x" * 300)
        expect(node.attach(*app(), "--cookie-file", empty), 64, err=[empty, "is empty"])
        expect(node.attach(*app(), "--cookie-file", long_one), 64, err=[long_one, "longer than 255"])
        expect(node.attach(*app(), "--cookie-file", WORK), 64, err=[WORK, "Is a directory"])
        expect(node.attach(*app(), "--cookie-file", "/no/such/cookie"), 64, err=["/no/such/cookie", "No such file"])
        if os.getuid() == 0:
            secret = os.path.join(WORK, "secret_cookie")
            with open(secret, "w") as f:
                f.write("x")
            os.chmod(secret, 0o600)
            expect(node.attach(*app(), "--cookie-file", secret, as_nobody=True), 77, err=[secret, "Permission denied"])


@test
def a_wrong_cookie_ends_with_77():
    with Node() as node:
        expect(node.attach(*app(), env={"CORONER_COOKIE": "wrong"}), 77, err=[node.name, "rejected the cookie", "--cookie-file"])
        expect(node.detach(env={"CORONER_COOKIE": "wrong"}), 77, err="rejected the cookie")
        check(node.eval("erlang:module_loaded(coroner_attach)") == "false")


@test
def a_node_that_is_not_there_is_told_with_those_that_are():
    with Node() as node:
        expect(ctl("attach", "nosuch@" + HOST, *app(), env=node.env), 69,
               err=["knows no node 'nosuch'", node.name.split("@")[0], str(EPMD_PORT)])


@test
def no_epmd_is_told():
    with Node() as node:
        expect(node.attach(*app(), env={"ERL_EPMD_PORT": str(free_port())}), 69, err=["cannot reach epmd", "Connection refused"])


@test
def an_unknown_host_is_told():
    env = {"CORONER_COOKIE": "c", "ERL_EPMD_PORT": str(EPMD_PORT)}
    expect(ctl("attach", "x@no-such-host.invalid", *app(), env=env), 69, err=["no-such-host.invalid", "cannot find the host"])


@test
def a_node_that_is_killed_during_the_call_is_told():
    with Node() as node:
        node.eval("persistent_term:put(ctl_mode, halt)")
        expect(node.attach(*app()), 69, err=[node.name, "closed the connection during coroner_attach:attach"])


@test
def a_node_that_is_stopped_is_told():
    with Node() as node:
        os.kill(node.child.pid, signal.SIGSTOP)
        try:
            expect(node.attach(*app()), 69, err=[node.name, "does not answer"])
        finally:
            os.kill(node.child.pid, signal.SIGCONT)


@test
def an_error_of_attaching_is_told_and_leaves_nothing():
    with Node() as node:
        node.eval('persistent_term:put(ctl_mode, {error, {not_attached, <<"another tool traces\\e[2J here">>}})')
        expect(node.attach(*app()), 1, err=["cannot attach coroner to " + node.name, "another tool traces\\x1b[2J here"])
        check(node.eval("erlang:module_loaded(coroner_attach)") == "false")
        for mode in ("some_atom", "{error, x}", "{ok, 7, 8}", "#{a => [1 | 2]}", "{error, {1, 2}}"):
            node.eval("persistent_term:put(ctl_mode, %s)" % mode)
            expect(node.attach(*app()), 70, err="cannot attach coroner")
        node.eval("persistent_term:put(ctl_mode, {ok, []})")
        expect(node.attach(*app()), 0, "attached")
        node.eval("persistent_term:put(ctl_mode, crash)")
        expect(node.detach(), 0)
        expect(node.attach(*app()), 70, err=["failed in the node", "oops", "\\x1b[2J"])
        check(node.eval("erlang:module_loaded(coroner_attach)") == "false")


@test
def an_error_of_detaching_is_told():
    with Node() as node:
        expect(node.attach(*app()), 0)
        node.eval('persistent_term:put(ctl_detach, {error, {internal, <<"it does not stop">>}})')
        expect(node.detach(), 70, err="it does not stop")
        check(node.eval("erlang:module_loaded(coroner_attach)") == "true")
        node.eval('persistent_term:put(ctl_detach, {error, {not_attached, <<"not attached">>}})')
        expect(node.detach(), 1, err="not attached")
        check(node.eval("erlang:module_loaded(coroner_attach)") == "false")


@test
def an_application_that_is_not_there_or_broken_is_told():
    with Node() as node:
        expect(node.attach("--app", "/no/such/app"), 64, err=["/no/such/app", "ebin/coroner_attach.beam"])
        broken = os.path.join(WORK, "broken")
        os.makedirs(os.path.join(broken, "ebin"))
        beam = os.path.join(broken, "ebin", "coroner_attach.beam")
        with open(beam, "w") as f:
            f.write("no beam")
        expect(node.attach("--app", broken), 70, err=["cannot attach", "badfile"])
        open(beam, "w").close()
        expect(node.attach("--app", broken), 69, err="is not the beam of a module")
        lonely = os.path.join(WORK, "lonely", "bin")
        os.makedirs(lonely)
        shutil.copy(CTL, lonely)
        done = subprocess.run([os.path.join(lonely, "coronerctl"), "attach", node.name], capture_output=True, timeout=60,
                              env=dict(node.env, PATH=os.environ["PATH"]))
        check(done.returncode == 69 and b"--app" in done.stderr, done)
        # beside its own executable, as an installed application has it
        shutil.copytree(os.path.join(WORK, "app", "ebin"), os.path.join(WORK, "lonely", "ebin"))
        done = subprocess.run([os.path.join(lonely, "coronerctl"), "attach", node.name], capture_output=True, timeout=60,
                              env=dict(node.env, PATH=os.environ["PATH"]))
        check(done.returncode == 0, done)


@test
def a_node_that_may_not_read_the_application_is_told():
    if os.getuid() != 0:
        return
    closed = os.path.join(WORK, "closed")
    shutil.copytree(os.path.join(WORK, "app"), closed)
    os.chmod(os.path.join(closed, "ebin"), 0o700)
    unreadable = os.path.join(WORK, "unreadable")
    shutil.copytree(os.path.join(WORK, "app"), unreadable)
    os.chmod(os.path.join(unreadable, "ebin", "coroner_attach.beam"), 0o600)
    with Node(name="nobody%d" % os.getpid(), as_nobody=True) as node:
        for directory in (closed, unreadable):
            expect(node.attach("--app", directory), 77, err=[node.name, "may not read", directory])
        expect(node.attach(*app()), 0)


# ---------------------------------------------------------------------------------------------------
# The real coronerd and the real application, where they are built.

CORONERD = os.path.join(ROOT, "priv", "coronerd")
APPLICATION = os.path.join(ROOT, "_build", "default", "lib", "coroner")


def real(function):
    if os.path.exists(CORONERD) and os.path.exists(os.path.join(APPLICATION, "ebin", "coroner.app")):
        TESTS.append(function)
    return function


class RealDaemon:
    def __enter__(self):
        self.home = tempfile.mkdtemp(prefix="coronerd", dir=WORK)
        self.query, self.ingest = os.path.join(self.home, "query.sock"), os.path.join(self.home, "ingest.sock")
        self.child = subprocess.Popen([CORONERD, "--listen", self.ingest, "--query", self.query,
                                       "--store", os.path.join(self.home, "exits.db")], stderr=subprocess.PIPE)
        KEEP.callback(self.child.kill)
        line = self.child.stderr.readline()
        while line and b"ready" not in line:
            line = self.child.stderr.readline()
        check(line, "coronerd did not start")
        self.drain = threading.Thread(target=self.child.stderr.read, daemon=True)
        self.drain.start()
        return self

    def run(self, *args, **kw):
        return ctl("--query", self.query, *args, **kw)

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        self.drain.join(10)
        self.child.stderr.close()


@real
def a_kill_in_an_attached_node_is_told_by_the_daemon():
    with RealDaemon() as daemon, Node() as node:
        node.eval("register(before, spawn(fun() -> receive after infinity -> ok end end))")
        expect(node.attach("--app", APPLICATION, "--ingest", daemon.ingest), 0,
               ["coroner is attached to " + node.name, "processes and every new one", "sends to     " + daemon.ingest])
        _, out, _ = expect(node.attach("--app", APPLICATION, "--ingest", daemon.ingest), 0,
                           ["was attached already", "sends to     " + daemon.ingest])
        _, out, _ = expect(node.attach("--app", APPLICATION, "--ingest", "/other.sock"), 0,
                           ["was attached already", "sends to     " + daemon.ingest, "not where --ingest says"])
        check("but not yet" not in out, out)
        with tailing(daemon_with_path(daemon.query), "name=victim") as tail:
            wait_for_subscription(daemon)
            pid = node.eval("register(victim, V = spawn(fun() -> receive after infinity -> ok end end)), V")
            node.eval("register(killer, spawn(fun() -> receive go -> exit(whereis(victim), kill), receive stop -> ok end end "
                      "end)), killer ! go, M = monitor(process, %s), receive {'DOWN', M, _, _, R} -> R end"
                      % ("list_to_pid(\"%s\")" % pid))
            line = tail.stdout.readline().decode()
            check("victim" in line and "killed" in line and pid in line, line)
        _, out, _ = expect(daemon.run("why", "victim"), 0, ["%s victim  exited: killed" % pid, "was killed by ", " killer with exit(Pid, kill)"])
        check(daemon.run("why", pid)[1] == out)
        check(daemon.run("why", pid, "--node", node.name)[1] == out)
        expect(daemon.run("why", pid, "--node", "other@host"), 1)
        expect(daemon.run("why", "no_such_name"), 1, err="no exit of no_such_name is recorded")
        record = json.loads(daemon.run("why", "victim", "--json")[1])
        check((record["schema"], record["process"]["pid"], record["origin"]["source"]) == ("coroner.exit/1", pid, "kill"), record)
        for conditions in (["source=kill", "name=victim"], ["pid=" + pid], ["by=killer"], ["source=kill", "source=purge", "by=killer"],
                           ["--since", "-1h", "name=victim"], ["--order", "asc", "name=victim", "--limit", "1"]):
            _, out, _ = expect(daemon.run("query", "--json", *conditions), 0)
            check([json.loads(line)["id"] for line in out.splitlines()] == [record["id"]], conditions, out)
        expect(daemon.run("query", "name=victim", "--until", "-1h"), 1)
        expect(daemon.run("query", "nonsense=1"), 64, err="there is no field 'nonsense'")
        expect(daemon.run("query", "--since", "yesterday"), 64, err="since")
        expect(daemon.run("query", "source=kil"), 64, err=["there is no exit.source 'kil'", "kill, exit_signal", "(exit.source)"])
        expect(daemon.run("query", "severity=fatal"), 64, err="there are: info, warning, error")
        expect(daemon.run("query", "source=kil*", "name=victim"), 0)
        expect(daemon.run("query", "kind=gap"), 1)
        expect(daemon.run("why", "#PID" + pid), 0, "was killed by ")
        expect(daemon.run("status"), 0, ["coronerd  ", "NODE", node.name + "  connected  "])
        the_state_of_the_node_is_told(daemon, node)
        expect(daemon.run("query", "kind=gap"), 0, "paused by coroner:pause/0")
        status = json.loads(expect(daemon.run("status", "--json"), 0)[1])
        (entry,) = status["nodes"]
        check(entry["made"] == entry["stored"] + entry["lost"] + entry["pending"] and entry["connected"], entry)
        expect(node.detach(), 0, "detached")


def the_state_of_the_node_is_told(daemon, node):
    """The node tells it with its counters, once a second at most."""
    for call, wanted in (("coroner:scope(#{exclude => [some_name]})", "connected, scoped"), ("coroner:pause()", "paused, scoped"),
                         ("coroner:scope(all)", "paused "), ("coroner:resume()", "connected ")):
        check(node.eval(call) == "ok", call)
        for _ in range(10000):
            _, out, _ = expect(daemon.run("status"), 0)
            if wanted in out:
                break
        check(wanted in out, out)


def daemon_with_path(path):
    return type("Path", (), {"path": path})


def wait_for_subscription(daemon):
    """Until coronerd counts one: each answer is waited for."""
    for _ in range(10000):
        if json.loads(daemon.run("status", "--json")[1])["query"]["subscriptions"] == 1:
            return
    raise AssertionError("nobody subscribes")


@real
def detaching_leaves_the_node_as_it_was():
    look = ("{lists:sort([M || {M, _} <- code:all_loaded(), lists:prefix(\"coroner\", atom_to_list(M))]), "
            "[P || P <- processes(), erlang:trace_info(P, flags) =/= {flags, []}], "
            "[A || {A, _, _} <- application:loaded_applications(), A =:= coroner], "
            "[N || N <- registered(), lists:prefix(\"coroner\", atom_to_list(N))], code:get_path() -- Path}")
    with RealDaemon() as daemon, Node() as node:
        path = node.eval("persistent_term:put(ctl_path, code:get_path()), ok")
        check(path == "ok", path)
        look = look.replace("-- Path", "-- persistent_term:get(ctl_path)")
        before = node.eval(look)
        check(before == "{[],[],[],[],[]}", before)
        for _ in range(3):
            expect(node.attach("--app", APPLICATION, "--ingest", daemon.ingest), 0, "attached")
            check(node.eval(look) != before)
            expect(node.detach(), 0, "nothing of it is left")
            after = node.eval(look)
            check(after == before, after)
        missing = WORK + "/nobody.sock"
        expect(node.attach("--app", APPLICATION, "--ingest", missing), 0, "but not yet  %s: No such file" % missing)
        expect(node.attach("--app", APPLICATION, "--ingest", "/" + "x" * 120), 64, err="longer than 107 bytes")
        expect(node.detach(), 0, "nothing of it is left")


@real
def a_coroner_that_the_node_started_is_left_alone():
    """Attach and detach say whose it is, and only --force stops it."""
    starts = {"application": "application:set_env(coroner, ingest, \"%s\"), application:start(coroner)",
              "start": "coroner:start(#{ingest => \"%s\"})"}
    words = {"application": "as an application of its release", "start": "coroner:start"}
    for owner, start in starts.items():
        with RealDaemon() as daemon, Node(flags=("-kernel", "logger_level", "critical", "-pa", os.path.join(APPLICATION, "ebin"))) as node:
            expect(node.detach(), 1, err="coroner is not attached to " + node.name)
            started = node.eval(start % daemon.ingest)
            check(started == "ok", started)
            _, out, _ = expect(node.attach("--app", APPLICATION, "--ingest", "/other.sock"), 0,
                               ["nothing was attached: coroner runs already", words[owner], "sends to     " + daemon.ingest,
                                "not where --ingest says"])
            check("attached already" not in out, out)
            _, out, _ = expect(node.attach("--app", APPLICATION, "--json"), 0)
            told = json.loads(out)
            check((told["already"], told["owner"], told["ingest"]) == (True, owner, daemon.ingest), told)
            for _ in range(2):
                expect(node.detach(), 1, err=["coroner is not attached to " + node.name, words[owner], "detach --force " + node.name])
                check(node.eval("maps:get(armed, coroner:status())") == "true")
            expect(node.detach("--force"), 0, "coroner is stopped in " + node.name)
            check(node.eval("{coroner:is_started(), coroner:status(), erlang:module_loaded(coroner)}") ==
                  "{false,#{armed => false},true}")
            expect(node.detach("--force"), 1, err="coroner is not attached to " + node.name)


@real
def detach_takes_force_for_what_was_attached_too():
    with RealDaemon() as daemon, Node() as node:
        expect(node.attach("--app", APPLICATION, "--ingest", daemon.ingest), 0, "coroner is attached")
        expect(node.detach("--force"), 0, "nothing of it is left")
        check(node.eval("erlang:module_loaded(coroner)") == "false")


@real
def tail_says_that_the_daemon_went_away():
    with RealDaemon() as daemon, tailing(daemon_with_path(daemon.query)) as tail:
        wait_for_subscription(daemon)
        daemon.child.kill()
        _, err = tail.communicate(timeout=30)
        check(tail.returncode == 69 and b"went away" in err, tail.returncode, err)


# ---------------------------------------------------------------------------------------------------
# Nodes that say what no real one would.


class FakeNode:
    """An epmd and a node in one: answers the question for the port, does the handshake, then ${script}."""

    def __init__(self, script, cookie="fake", status=b"sok", epmd=None, digest=None):
        self.script, self.cookie, self.status, self.epmd, self.digest = script, cookie, status, epmd, digest
        self.epmd_socket, self.node_socket = socket.socket(), socket.socket()
        for s in (self.epmd_socket, self.node_socket):
            s.bind(("127.0.0.1", 0))
            s.listen(4)
        self.threads = [threading.Thread(target=self.loop, args=args, daemon=True)
                        for args in ((self.epmd_socket, self.serve_epmd), (self.node_socket, self.serve_node))]

    def loop(self, listener, serve):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError, struct.error):
                connection.settimeout(30)
                serve(connection)

    def serve_epmd(self, connection):
        (length,) = struct.unpack(">H", self.exactly(connection, 2))
        self.exactly(connection, length)
        if self.epmd is not None:
            connection.sendall(self.epmd)
            return
        port = self.node_socket.getsockname()[1]
        connection.sendall(b"w\0" + struct.pack(">HBBHHH", port, 77, 0, 6, 5, 4) + b"fake" + b"\0\0")

    @staticmethod
    def exactly(connection, count):
        data = b""
        while len(data) < count:
            piece = connection.recv(count - len(data))
            if not piece:
                raise OSError
            data += piece
        return data

    def packet(self, connection):
        (length,) = struct.unpack(">H", self.exactly(connection, 2))
        return self.exactly(connection, length)

    @staticmethod
    def send_packet(connection, data):
        connection.sendall(struct.pack(">H", len(data)) + data)

    def serve_node(self, connection):
        self.packet(connection)
        self.send_packet(connection, self.status)
        if self.status != b"sok":
            return
        flags = 0xD07DF7FBD | (1 << 36)
        self.send_packet(connection, b"N" + struct.pack(">QIIH", flags, 4711, 5, 14) + b"fake@127.0.0.1")
        reply = self.packet(connection)
        (challenge,) = struct.unpack(">I", reply[1:5])
        if reply[5:21] != hashlib.md5(self.cookie.encode() + b"4711").digest():
            return
        self.send_packet(connection, b"a" + (self.digest or hashlib.md5(self.cookie.encode() + b"%d" % challenge).digest()))
        self.connection = connection
        self.script(self)

    def frame(self):
        while True:
            (length,) = struct.unpack(">I", self.exactly(self.connection, 4))
            if length:
                return self.exactly(self.connection, length)

    def reply(self, term, rex=b"h\2w\3rex"):
        """Send {rex, Term} to a process, as the rpc server does."""
        control = b"p\x83h\3a\2w\0" + b"Xw\1n\0\0\0\1\0\0\0\0\0\0\0\1"
        data = control + b"\x83" + rex + term
        self.connection.sendall(struct.pack(">I", len(data)) + data)

    def raw(self, data):
        self.connection.sendall(data)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for s in (self.epmd_socket, self.node_socket):
            s.shutdown(socket.SHUT_RDWR)
            s.close()
        for thread in self.threads:
            thread.join(40)

    def run(self, command="detach", cookie="fake", extra=()):
        return ctl(command, "fake@127.0.0.1", *extra,
                   env={"CORONER_COOKIE": cookie, "ERL_EPMD_PORT": str(self.epmd_socket.getsockname()[1])})


@test
def a_fake_node_is_a_node():
    def script(node):
        node.frame()
        node.reply(b"w\x09undefined")  # coroner_server is nobody,
        node.frame()
        node.reply(b"w\5false")  # and the module is not loaded
        node.frame()

    with FakeNode(script) as node:
        expect(node.run(), 1, err="coroner is not attached to fake@127.0.0.1")
        expect(node.run(cookie="other"), 77, err="rejected the cookie")


@test
def handshakes_that_fail_are_told_apart():
    silent = lambda node: None
    with FakeNode(silent, status=b"snot_allowed") as node:
        expect(node.run(), 77, err="net_kernel:allow")
    with FakeNode(silent, status=b"snok") as node:
        expect(node.run(), 69, err="refused the connection: nok")
    with FakeNode(silent, status=b"s\x1b[2J" + b"x" * 400) as node:
        expect(node.run(), 69, err="refused the connection: \\x1b[2Jxxx")
    with FakeNode(silent, status=b"") as node:
        expect(node.run(), 69, err="broke off the handshake")
    with FakeNode(silent, digest=b"0123456789abcdef") as node:
        expect(node.run(), 77, err="rejected the cookie")
    with FakeNode(silent, epmd=b"") as node:
        expect(node.run(), 69, err="is no epmd")
    with FakeNode(silent, epmd=b"HTTP/1.1 400") as node:
        expect(node.run(), 69, err="is no epmd")
    with FakeNode(silent, epmd=b"w\0\1") as node:
        expect(node.run(), 69, err="is no epmd")
    with FakeNode(silent, epmd=b"w\1") as node:
        expect(node.run(), 69, err="knows no node")
    with FakeNode(silent, epmd=b"w\0" + struct.pack(">HBBHHH", free_port(), 77, 0, 6, 5, 4)) as node:
        expect(node.run(), 69, err="its port does not answer")


@test
def messages_that_are_none_are_refused():
    good = b"p\x83h\3a\2w\0Xw\1n\0\0\0\1\0\0\0\0\0\0\0\1\x83"
    cases = [
        (b"\xff\xff\xff\xff", "more than a megabyte"),
        (b"\x80\0\0\0", "more than a megabyte"),
        (b"\0\x10\0\1", "more than a megabyte"),
        (b"\0\0\0\1x", "no message"),
        (b"\0\0\0\1p", "no message"),
        (b"\0\0\0\3p\x83j", "no message"),
        (b"\0\0\0\4p\x83h\0", "no message"),
        (b"\0\0\0\6p\x83h\1w\0", "no message"),
        (b"\0\0\0\7p\x83i\xff\xff\xff\xff", "no message"),
        (b"\0\0\0\7p\x83m\xff\xff\xff\xff", "no message"),
        (struct.pack(">I", len(good)) + good, "no message"),
        (struct.pack(">I", len(good) - 1) + good[:-1], "no message"),
        (struct.pack(">I", len(good) + 6) + good + b"h\2w\3re", "no message"),
        (struct.pack(">I", len(good) + 9) + good + b"h\2w\3rexh\xff", "no message"),
        (struct.pack(">I", len(good) + 3) + good + b"h\2w", "no message"),
        (struct.pack(">I", 100) + b"p", "closed the connection"),
        (b"\0\0", "closed the connection"),
        (b"", "closed the connection"),
    ]
    for data, text in cases:
        def script(node):
            node.frame()
            node.raw(data)

        with FakeNode(script) as node:
            try:
                expect(node.run(), 69 if "closed" in text else 70, err=text)
            except AssertionError as failure:
                raise AssertionError("%r: %s" % (data, failure)) from None


@test
def ticks_and_messages_for_others_are_passed_over():
    def script(node):
        node.frame()
        node.raw(b"\0\0\0\0" * 3)
        check(node.exactly(node.connection, 12) == b"\0" * 12)
        link = b"p\x83h\3a\1" + b"Xw\1n\0\0\0\1\0\0\0\0\0\0\0\1" * 2
        node.raw(struct.pack(">I", len(link)) + link)
        node.reply(b"j", rex=b"h\2w\5other")
        node.reply(b"", rex=b"j")
        answer = b"p\x83h\3a\2w\0Xw\1n\0\0\0\1\0\0\0\0\0\0\0\1\x83h\2w\3rexw\x09undefined"
        for byte in struct.pack(">I", len(answer)) + answer:
            node.raw(bytes([byte]))
        node.frame()
        node.reply(b"w\5false")
        node.frame()

    with FakeNode(script) as node:
        expect(node.run(), 1, err="is not attached")


@test
def an_old_release_and_a_node_elsewhere_are_told():
    def answers(*terms):
        def script(node):
            for term in terms:
                node.frame()
                node.reply(term)
            node.frame()

        return script

    with FakeNode(answers(b"k\0\x0224")) as node:
        expect(node.run("attach", extra=app()), 69, err=["runs OTP 24", "needs OTP 25"])
    with FakeNode(answers(b"k\0\x03R16")) as node:
        expect(node.run("attach", extra=app()), 69, err="runs OTP R16")
    with FakeNode(answers(b"t\0\0\0\0")) as node:
        expect(node.run("attach", extra=app()), 69, err="runs OTP ?")
    with FakeNode(answers(b"k\0\x0227", b"h\2w\5errorw\6enoent")) as node:
        expect(node.run("attach", extra=app()), 69, err=["does not see", "enoent", "another machine"])
    with FakeNode(answers(b"k\0\x0227", b"j")) as node:
        expect(node.run("attach", extra=app()), 77, err="may not read")


# ---------------------------------------------------------------------------------------------------


def run_unit(binary, prefix, command):
    """Run a cmocka program and tell of each of its tests."""
    name = prefix + os.path.basename(binary)
    done = subprocess.run([*command, binary], cwd=ROOT, capture_output=True, timeout=580,
                          env=dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP"))
    text = done.stdout.decode(errors="replace")
    passed = re.findall(r"^ok \d+ - (\S+)$", text, re.M)
    failed = re.findall(r"^not ok \d+ - (\S+)$", text, re.M)
    for each in passed:
        print("ok %s.%s" % (name, each))
    for each in failed:
        print("not ok %s.%s: see below" % (name, each))
    wrong = len(failed)
    if done.returncode != 0 or not passed:
        if not failed:
            print("not ok %s: exit code %d" % (name, done.returncode))
            wrong = 1
        print(text + done.stderr.decode(errors="replace"), file=sys.stderr)
    return len(passed), wrong


def main():
    global CTL, WORK
    parser = argparse.ArgumentParser()
    parser.add_argument("--ctl", default=os.path.join(ROOT, "priv", "coronerctl"))
    parser.add_argument("--unit", action="append", default=[])
    parser.add_argument("--valgrind", action="append", default=[])
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    passed = failed = 0

    for binary in arguments.unit:
        more, wrong = run_unit(binary, "", [])
        passed, failed = passed + more, failed + wrong
    for binary in arguments.valgrind:
        more, wrong = run_unit(binary, "valgrind.", ["valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full"])
        passed, failed = passed + more, failed + wrong

    with KEEP:
        WORK = os.path.realpath(KEEP.enter_context(tempfile.TemporaryDirectory(prefix="coronerctl")))
        os.chmod(WORK, 0o755)
        os.umask(0o022)
        CTL = os.path.join(WORK, "coronerctl")
        shutil.copy(arguments.ctl, CTL)  # where everybody may run it
        why_not = prepare_erlang()
        if why_not:
            print("not ok prepare_erlang: " + why_not)
            failed += 1
        for function in TESTS:
            if arguments.names and function.__name__ not in arguments.names:
                continue
            try:
                function()
                print("ok " + function.__name__, flush=True)
                passed += 1
            except Exception as failure:
                last = traceback.extract_tb(failure.__traceback__)
                where = [frame.lineno for frame in last if frame.name == function.__name__]
                print("not ok %s: line %s: %s" % (function.__name__, where[-1] if where else "?",
                                                  " ".join(str(failure).split()) or type(failure).__name__), flush=True)
                failed += 1
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
