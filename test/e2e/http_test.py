#!/usr/bin/python3
"""Tests of coronerd's HTTP: /metrics, /healthz, /readyz, with curl, promtool and a real Prometheus.

    http_test.py --daemon BINARY --san-daemon BINARY [NAME...]

Prints "ok NAME" or "not ok NAME: why" for each test and closes with "N passed, N failed".
"""
import json
import os
import re
import resource
import select
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import daemon_harness
from daemon_harness import ROOT, check, equal, receive_all, test
from fake_node import COUNTERS, GAP, FakeNode, exit_record, frame

ANY_PORT = ("--http", "127.0.0.1:0")


def address(daemon):
    """(host, port) or the path, from what the daemon says when it is ready."""
    at = re.search(r", http (\S+)$", daemon.wait_log("info: ready: ")).group(1)
    if at.startswith("unix:"):
        return at[len("unix:"):]
    host, port = at.rsplit(":", 1)
    return host.strip("[]"), int(port)


def connect(daemon):
    at = address(daemon)
    sock = socket.socket(socket.AF_UNIX if isinstance(at, str) else socket.AF_INET6 if ":" in at[0] else socket.AF_INET)
    sock.settimeout(60)
    sock.connect(at)
    return sock


def say(daemon, request):
    """Send these bytes and return what comes until the daemon closes."""
    with connect(daemon) as sock:
        sock.sendall(request)
        return receive_all(sock)


def get(daemon, path, method="GET", headers=("Host: localhost",)):
    """Returns (status, headers, body)."""
    lines = ["%s %s HTTP/1.1" % (method, path), *headers, "Connection: close", "", ""]
    head, _, body = say(daemon, "\r\n".join(lines).encode()).partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    return int(first.split()[1]), {name.lower(): value for name, value in (line.split(": ", 1) for line in rest)}, body


def curl(daemon, path, *options):
    """The real one. Returns (status, body)."""
    at = address(daemon)
    where = ["--unix-socket", at, "http://localhost" + path] if isinstance(at, str) else \
        ["http://%s:%d%s" % ("[%s]" % at[0] if ":" in at[0] else at[0], at[1], path)]
    done = subprocess.run(["curl", "-sS", "--max-time", "60", "-w", "\n%{http_code}", *options, *where],
                          capture_output=True, check=False)
    equal((done.returncode, done.stderr), (0, b""))
    body, _, status = done.stdout.rpartition(b"\n")
    return int(status), body


SAMPLE = re.compile(r'([a-z_][a-z0-9_]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\.)*)"')


def parse(text):
    """A page as {(name, ((label, value), ...)): number}."""
    samples = {}
    for line in text.rstrip("\n").split("\n"):
        if line.startswith("# "):
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        pairs = tuple((key, re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), told))
                      for key, told in LABEL.findall(labels or ""))
        check((name, pairs) not in samples, "twice", line)
        samples[name, pairs] = float(value)
    return samples


def metrics(daemon):
    status, headers, body = get(daemon, "/metrics")
    equal((status, headers["content-type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
    equal(int(headers["content-length"]), len(body))
    return parse(body.decode())


def number(samples, name, **labels):
    return samples[name, tuple(labels.items())]


def until_metrics(daemon, holds):
    deadline = time.monotonic() + 60
    while not holds(samples := metrics(daemon)):
        check(time.monotonic() < deadline, "the metrics did not become what they should", samples)
    return samples


def promtool(daemon):
    """What promtool thinks of the page: nothing."""
    status, body = curl(daemon, "/metrics")
    equal(status, 200)
    done = subprocess.run(["promtool", "check", "metrics"], input=body, capture_output=True, check=False)
    equal((done.returncode, done.stdout, done.stderr), (0, b"", b""))


def linked(pid, origin):
    return exit_record(pid, source="link", origin={"pid": origin})


# ---- what is counted --------------------------------------------------------------------------------


@test
def test_what_came_is_counted(s):
    daemon = s.start(*ANY_PORT)
    node = FakeNode(daemon.ingest, name="a@h")
    for i in range(30):
        node.make(exit_record("<0.%d.0>" % i, source=("kill", "purge", "tomorrow")[i % 3]))
    for i in range(10):
        record = linked("<0.%d.0>" % (100 + i), "<0.7.0>")
        record["severity"] = "info"
        node.make(record)
    node.make(linked("<0.200.0>", "<0.9.0>"))
    node.make({"severity": "warning", "message": "m", "gap": {"from": 1, "to": 2, "why": "w"}}, kind=GAP)
    node.drop()
    node.drop()
    node.make(lost_before=2)
    check(node.connect() and node.deliver())
    # Sent again although it is stored: by one that did not hear the acknowledgement.
    again = FakeNode(daemon.ingest, name="a@h", incarnation=node.incarnation)
    for _ in range(45):
        again.make()
    last = b"".join(again.outbox[seq] for seq in range(41, 46))
    check(again.connect() and again.until(lambda: again.hello_acked))
    again.outgoing += last
    again.drop()
    again.send([COUNTERS, 46, {60: 3}])
    check(again.until(lambda: not again.outgoing))
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(daemon.ingest)
        sock.sendall(b"\0\0\0\0")
        receive_all(sock)
    daemon.ask({"op": "nodes"}, {"op": "version"}, {"op": "version"}, {"op": "nonsense"})
    samples = until_metrics(daemon, lambda samples: number(samples, "coroner_records_lost_total", node="a@h") == 3)

    def exits(source):
        return number(samples, "coroner_exits_total", node="a@h", source=source)

    equal([exits(source) for source in ("kill", "purge", "other", "link", "self_error")], [10, 10, 10, 11, 1])
    equal([number(samples, "coroner_exits_by_severity_total", severity=word) for word in ("error", "warning", "info")],
          [32, 0, 10])
    equal(number(samples, "coroner_gaps_total", node="a@h"), 1)
    # 43 and 44 were given up when 45 came, and are so still.
    equal(number(samples, "coroner_records_repeated_total", node="a@h"), 5)
    equal([number(samples, name) for name in ("coroner_cascades_total", "coroner_cascade_exits_total",
                                              "coroner_cascade_largest_exits")], [2, 13, 11])
    equal(number(samples, "coroner_nodes_connected"), 1)
    equal(number(samples, "coroner_connections_refused_total"), 2, "the older connection and the empty frame")
    equal([number(samples, "coroner_query_requests_total", op=op) for op in ("nodes", "version", "query", "other")],
          [1, 2, 0, 1])
    equal(number(samples, "coroner_query_errors_total"), 1)
    equal(number(samples, "coroner_query_seconds_count"), 4)
    rows = len(daemon.rows())
    for name in ("coroner_ingest_commit_seconds", "coroner_exit_stored_seconds"):
        equal(number(samples, name + "_count"), rows)
        equal(number(samples, name + "_bucket", le="+Inf"), rows)
    check(number(samples, "coroner_commit_seconds_count") >= 4, samples)
    equal(number(samples, "coroner_commit_changes_sum"), number(samples, "coroner_changes_committed_total"))
    equal((number(samples, "coroner_changes_queued"), number(samples, "coroner_ingest_pending_bytes"),
           number(samples, "coroner_ingest_lag_seconds")), (0, 0, 0))
    equal(number(samples, "coroner_store_writable"), 1)
    check(number(samples, "coroner_store_last_row") >= rows, samples)
    sink = daemon.status()["sinks"][0]["name"]
    samples = until_metrics(daemon, lambda samples: number(samples, "coroner_sink_lag_rows", sink=sink) == 0)
    equal(number(samples, "coroner_sink_lines_total", sink=sink), rows)
    promtool(daemon)
    daemon.stop()


@test
def test_process_and_store(s):
    daemon = s.start(*ANY_PORT, binary=s.plain)
    samples = metrics(daemon)
    pid = daemon.process.pid
    # And our connection; the store's threads open and close files as they please.
    check(abs(number(samples, "process_open_fds") - len(os.listdir("/proc/%d/fd" % pid)) - 1) <= 4, samples)
    check(abs(number(samples, "process_resident_memory_bytes") / 2 ** 20 - daemon.rss_mib()) < 4, samples)
    check(abs(number(samples, "process_start_time_seconds") - time.time()) < 600, samples)
    check(number(samples, "coroner_store_free_bytes") > 0, samples)
    check(number(samples, "coroner_store_bytes") > 0 and number(samples, "coroner_store_segments") == 1, samples)
    daemon.stop()


@test
def test_names_that_are_hostile(s):
    """A node's name is any text; the page stays valid and says it as it is."""
    daemon = s.start(*ANY_PORT)
    names = ['"quoted"@h', "back\\slash@h", "new\nline@h", 'a",source="kill"} 1\nb{c="@h', "\u2028💀@h", "other", "}"]
    for name in names:
        node = FakeNode(daemon.ingest, name=name)
        node.make()
        check(node.connect() and node.deliver())
    samples = metrics(daemon)
    for name in names:
        equal(number(samples, "coroner_exits_total", node=name, source="self_error"), 1)
    promtool(daemon)
    daemon.stop()


@test
def test_nodes_without_number(s):
    """The first 64 names have series of their own; those that come later share one."""
    daemon = s.start(*ANY_PORT)
    for i in range(100):
        node = FakeNode(daemon.ingest, name="n%03d@h" % i)
        node.make()
        check(node.connect() and node.deliver())
        node.close()
    samples = metrics(daemon)
    exits = {dict(labels)["node"]: value for (name, labels), value in samples.items() if name == "coroner_exits_total"}
    equal(exits.pop("other"), 36)
    equal(exits, {"n%03d@h" % i: 1 for i in range(64)})
    size = len(metrics(daemon))
    for i in range(100, 130):
        node = FakeNode(daemon.ingest, name="n%03d@h" % i)
        node.make()
        check(node.connect() and node.deliver())
    equal(len(metrics(daemon)), size, "series")
    promtool(daemon)
    daemon.stop()


@test
def test_counters_never_go_down(s):
    """While records are lost, come again, queries fail and nodes come and go."""
    daemon = s.start(*ANY_PORT, binary=s.plain)
    status, body = curl(daemon, "/metrics")
    equal(status, 200)
    counters = set(re.findall(r"# TYPE (\S+) (?:counter|histogram)", body.decode()))
    check(len(counters) > 20, counters)
    last, risen = {}, set()
    node = FakeNode(daemon.ingest, name="a@h", outbox=200)
    for turn in range(40):
        for _ in range(turn * 13):
            node.make(linked("<0.%d.0>" % (turn % 5 + 1), "<0.%d.0>" % (turn % 3 + 1)))
        check(node.connect())
        check(node.until(lambda: node.hello_acked))
        node.counters()
        node.deliver()
        if turn % 3 == 0:
            node.bye()
            check(node.until(lambda: not node.outgoing))
        daemon.ask({"op": ("query", "nonsense", "count")[turn % 3]})
        samples = metrics(daemon)
        for key, value in samples.items():
            if re.sub("_(bucket|sum|count)$", "", key[0]) not in counters and key[0] not in counters:
                continue
            check(value >= last.get(key, 0), "went down", key, last.get(key), value)
            if value > last.get(key, 0):
                risen.add(key[0])
        check(set(last) <= set(samples), "a series went away", set(last) - set(samples))
        last = samples
    check({"coroner_exits_total", "coroner_records_lost_total", "coroner_query_errors_total",
           "coroner_commit_seconds_sum"} <= risen, risen)
    # What the counter says is lost is what `nodes` says, for it started with nothing.
    equal(number(last, "coroner_records_lost_total", node="a@h"), daemon.nodes()[node.incarnation]["lost"])
    daemon.stop()
    # What was lost before this run is no news to it.
    daemon = s.start(*ANY_PORT)
    check(node.connect() and node.deliver())
    equal(number(metrics(daemon), "coroner_records_lost_total", node="a@h"), 0)
    check(daemon.nodes()[node.incarnation]["lost"] > 0)
    daemon.stop()


@test
def test_lagging_subscriber_is_counted(s):
    daemon = s.start(*ANY_PORT, binary=s.plain)
    node = FakeNode(daemon.ingest)
    record = exit_record("<0.1.0>", reason="r" * 300)
    check(node.connect() and node.deliver())
    client = s.client(daemon, receive_buffer=4096)
    client.send({"id": 1, "op": "subscribe"})
    equal(client.line()["subscribed"], True)
    equal(number(metrics(daemon), "coroner_query_subscriptions"), 1)
    for _ in range(30):
        for _ in range(1000):
            node.make(record)
        check(node.deliver())
    left_out = 0
    for line in client.lines():
        if "lagged" in line:
            left_out = line["lagged"]["dropped"]
            break
    samples = metrics(daemon)
    equal((number(samples, "coroner_query_lagged_total"), number(samples, "coroner_query_left_out_total")),
          (1, left_out))
    daemon.stop()


# ---- health -----------------------------------------------------------------------------------------


def health(daemon, path="/healthz"):
    status, _, body = get(daemon, path)
    return status, json.loads(body)


@test
def test_health(s):
    daemon = s.start(*ANY_PORT)
    equal(health(daemon), (200, {"status": "ok"}))
    equal(health(daemon, "/readyz"), (200, {"status": "ready"}))
    daemon.stop()


@test
def test_store_that_cannot_be_written(s):
    """Nothing is stored: 503 and why. With room again: 200."""
    daemon = s.start(*ANY_PORT, binary=s.plain, out=None)
    node = FakeNode(daemon.ingest)
    check(node.connect() and node.deliver())

    def limit(size):
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    limit(1)
    for _ in range(100):
        node.make()
    while not daemon.logged("cannot write to the store"):
        check(node.turn(0.1))
    status, told = health(daemon)
    equal((status, told["status"], [reason["code"] for reason in told["reasons"]]),
          (503, "failing", ["store_not_writable"]))
    check(daemon.store in told["reasons"][0]["message"], told)
    equal(health(daemon, "/readyz")[0], 200, "it takes connections")
    samples = metrics(daemon)
    equal(number(samples, "coroner_store_writable"), 0)
    check(number(samples, "coroner_commit_failures_total") > 0)
    check(number(samples, "coroner_changes_queued") > 0)
    check(number(samples, "coroner_ingest_pending_bytes") > 0)
    first = number(samples, "coroner_ingest_lag_seconds")
    until_metrics(daemon, lambda samples: number(samples, "coroner_ingest_lag_seconds") > first + 1)
    limit(resource.RLIM_INFINITY)
    check(node.deliver())
    equal(health(daemon), (200, {"status": "ok"}))
    equal(number(metrics(daemon), "coroner_ingest_lag_seconds"), 0)
    daemon.stop()


@test
def test_sink_that_cannot_be_written(s):
    """Records are stored, but somebody has to look: 200, degraded, and why."""
    os.symlink("/dev/full", s.path("out.ndjson"))
    daemon = s.start(*ANY_PORT)
    node = FakeNode(daemon.ingest)
    node.make()
    check(node.connect() and node.deliver())
    daemon.wait_log("cannot write.*No space left")
    status, told = health(daemon)
    equal((status, told["status"], [reason["code"] for reason in told["reasons"]]), (200, "degraded", ["sink_retrying"]))
    name = daemon.status()["sinks"][0]["name"]
    check(name in told["reasons"][0]["message"], told)
    samples = metrics(daemon)
    equal([number(samples, "coroner_sink_state", sink=name, state=state) for state in ("ok", "retrying", "broken")],
          [0, 1, 0])
    equal(number(samples, "coroner_sink_lag_rows", sink=name), 1)
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.wait(60)


@test
def test_not_ready_while_draining(s):
    daemon = s.start(*ANY_PORT, out="-", stdout=subprocess.PIPE)
    s.undo.callback(daemon.process.stdout.close)
    node = FakeNode(daemon.ingest)
    for _ in range(3000):
        node.make()
    check(node.connect() and node.deliver())
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_log("finishing what has come")
    equal(health(daemon, "/readyz"), (503, {"status": "not ready", "reason": "draining"}))
    equal(health(daemon)[0], 200)
    daemon.process.stdout.read()
    equal(daemon.wait(), 0)


# ---- where it is served -----------------------------------------------------------------------------


@test
def test_off_unless_asked_for(s):
    daemon = s.start()
    check(daemon.logged(", http off$"), daemon.log())
    listening = subprocess.run(["sh", "-c", "ls -l /proc/%d/fd" % daemon.process.pid], capture_output=True, text=True,
                               check=True).stdout
    inodes = set(re.findall(r"socket:\[(\d+)\]", listening))
    with open("/proc/net/tcp") as table:
        check(not inodes & {line.split()[9] for line in list(table)[1:]}, "a TCP socket is open")
    daemon.stop()


@test
def test_addresses(s):
    for place in ("127.0.0.1:0", "127.3.2.1:0", "[::1]:0", "unix:" + s.path("http.sock")):
        if place.startswith("[") and not os.path.exists("/proc/net/if_inet6"):
            continue  # a machine without IPv6
        daemon = s.start("--http", place)
        equal(curl(daemon, "/healthz"), (200, b'{"status":"ok"}\n'))
        daemon.stop()
        check(not os.path.exists(s.path("http.sock")), "the socket is left")
    for place in ("0.0.0.0:9717", "[::]:9717", "192.168.1.1:9717", "[2001:db8::1]:9717", "[::ffff:127.0.0.1]:9717"):
        daemon = s.start("--http", place, ready=False)
        equal(daemon.wait(), 78, daemon.log())
        check(place in daemon.log()[0] and "not an address of this host alone" in daemon.log()[0], daemon.log())
        equal(len(daemon.log()), 1)
    for place in ("", "9717", ":9717", "localhost:9717", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1",
                  "127.0.0.1:80x", "127.1:80", "::1:80", "unix:", "unix:relative", "http://127.0.0.1:80", "[::1]",
                  "x" * 5000, "127.0.0.1:" + "1" * 5000):
        daemon = s.start("--http", place, ready=False)
        equal(daemon.wait(), 78, (place, daemon.log()))
        check(place[:100] in daemon.log()[0], daemon.log())


@test
def test_address_that_is_taken(s):
    first = s.start(*ANY_PORT)
    os.mkdir(s.path("other"))
    where = ("--listen", s.path("other/i"), "--query", s.path("other/q"), "--store", s.path("other/db"))
    with open(s.path("file"), "w") as file:
        file.write("precious")
    for place, why in (("127.0.0.1:%d" % address(first)[1], "Address already in use"),
                       ("unix:" + first.query, "listening"), ("unix:" + s.path("file"), "no socket"),
                       ("unix:" + s.path("missing/x"), "No such file")):
        daemon = s.start(*where, "--http", place, ready=False, out=None)
        equal(daemon.wait(), 73, daemon.log())
        check(why in daemon.log()[-1], daemon.log())
    with open(s.path("file")) as file:
        equal(file.read(), "precious")
    equal(curl(first, "/readyz")[0], 200)
    first.stop()


@test
def test_unix_socket(s):
    path = s.path("http.sock")
    daemon = s.start("--http", "unix:" + path, umask=0)
    equal(stat.S_IMODE(os.stat(path).st_mode), 0o660)
    promtool(daemon)
    # Nobody's page in a browser gets here: Host is not looked at.
    equal(get(daemon, "/healthz", headers=("Host: anything.example",))[0], 200)
    daemon.kill()
    daemon = s.start("--http", "unix:" + path)
    equal(curl(daemon, "/readyz")[0], 200)
    daemon.stop()
    check(not os.path.exists(path))


# ---- requests that are none -------------------------------------------------------------------------


@test
def test_methods_paths_and_hosts(s):
    daemon = s.start(*ANY_PORT)
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "PROPFIND", "get"):
        status, headers, body = get(daemon, "/metrics", method)
        equal((status, headers["allow"], body), (405, "GET, HEAD", b"Only GET and HEAD are served.\n"), method)
    for path in ("/metrics", "/healthz", "/readyz", "/nothing"):
        status, headers, body = get(daemon, path)
        for name, value in (("x-content-type-options", "nosniff"), ("cache-control", "no-store"),
                            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'")):
            equal(headers[name], value)
        check("server" not in headers, headers)
        head_status, head_headers, head_body = get(daemon, path, "HEAD")
        equal((head_status, head_body), (status, b""), path)
        equal(head_headers["content-type"], headers["content-type"])
    for path in ("/", "/metrics/", "/metrics/../metrics", "//metrics", "/METRICS", "/%2e%2e/etc/passwd", "/healthz%00"):
        equal(get(daemon, path)[0], 404, path)
    check(b"/metrics /healthz /readyz" in get(daemon, "/")[2])
    equal(get(daemon, "/healthz?full=1")[0], 200)
    port = address(daemon)[1]
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1:%d" % port, "127.9.9.9", "[::1]:80", "[::1]"):
        equal(get(daemon, "/healthz", headers=("Host: " + host,))[0], 200, host)
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "", ":80",
                 "evil.example:%d" % port, "[::2]", "[::1]x", "127.0.0.1@evil.example", "x" * 3000):
        equal(get(daemon, "/healthz", headers=("Host: " + host,))[0], 403, host)
    equal(get(daemon, "/healthz", headers=())[0], 400, "HTTP/1.1 needs a host")
    check(b" 200 OK\r\n" in say(daemon, b"GET /healthz HTTP/1.0\r\n\r\n"))
    # A body is not read.
    for extra in ("Content-Length: 5", "Transfer-Encoding: chunked", "Content-Length: 99999999999"):
        equal(get(daemon, "/healthz", headers=("Host: localhost", extra))[0], 413, extra)
    equal(get(daemon, "/healthz", headers=("Host: localhost", "Content-Length: 0"))[0], 200)
    samples = metrics(daemon)
    equal(number(samples, "coroner_http_requests_total", path="/metrics", status="405"), 8)
    equal(number(samples, "coroner_http_requests_total", path="/healthz", status="413"), 3)
    equal(number(samples, "coroner_http_requests_total", path="/healthz", status="403"), 11)
    daemon.stop()


@test
def test_garbage(s):
    """Each is refused or cut off; the daemon stays, with its memory, and serves the next one."""
    daemon = s.start(*ANY_PORT)
    big = b"x" * 1000000
    cases = [b"\0" * 1000, b"\r\n" * 5000, b"GET\r\n\r\n", b"GET /metrics\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n",
             b"GET " + big + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"G" * 100000,
             b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + big + b"\r\n\r\n",
             b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 100000 + b"\r\n",
             b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n continued\r\n\r\n",
             b"GET /healthz HTTP/1.1\r\nHost localhost\r\n\r\n", frame([1, 1, {}]), bytes(range(256)) * 100]
    # Every prefix of a good request, and then the end.
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    cases += [request[:cut] for cut in range(len(request))]
    socks = []
    for case in cases:
        sock = connect(daemon)
        s.undo.callback(sock.close)
        socks.append(sock)
        try:
            sock.sendall(case)
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it did not wait for all of it
        equal(curl(daemon, "/healthz")[0], 200)
    for case, sock in zip(cases, socks):
        check(b" 200 OK" not in receive_all(sock), case[:40])
    until_metrics(daemon, lambda samples: number(samples, "coroner_http_connections") == 1)
    daemon.stop()


@test
def test_one_connection_many_requests(s):
    """Kept alive, byte by byte, and several at once."""
    daemon = s.start(*ANY_PORT)
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answers = b""
    with connect(daemon) as sock:
        for byte in request * 2:
            sock.sendall(bytes([byte]))
        sock.sendall(request * 30)
        while answers.count(b'{"status":"ok"}\n') < 32:
            answers += sock.recv(65536)
    equal(answers.count(b"HTTP/1.1 200 OK\r\n"), 32)
    equal(number(metrics(daemon), "coroner_http_requests_total", path="/healthz", status="200"), 32)
    daemon.stop()


# ---- many, and slow ones ----------------------------------------------------------------------------


@test
def test_two_hundred_connections(s):
    """More than have a place at once: all are answered."""
    daemon = s.start(*ANY_PORT, binary=s.plain)
    answers, lock = [], threading.Lock()

    def ask():
        status, _, body = get(daemon, "/metrics")
        with lock:
            answers.append((status, len(body) > 5000))

    threads = [threading.Thread(target=ask) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    equal(answers, [(200, True)] * 200)
    daemon.stop()


@test
def test_slow_clients(s):
    """All places are taken by clients that send a byte now and then, or read nothing: they are sent away, and
    somebody else is served; nodes do not notice."""
    daemon = s.start(*ANY_PORT, binary=s.plain)
    node = FakeNode(daemon.ingest)
    check(node.connect())
    slow = []
    for i in range(64):
        sock = connect(daemon)
        s.undo.callback(sock.close)
        sock.setblocking(False)
        sock.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ")
        slow.append(sock)
    served = []
    asker = threading.Thread(target=lambda: served.append(curl(daemon, "/readyz")[0]))
    asker.start()
    before, gone = daemon.cpu_seconds(), set()
    while asker.is_alive() or len(gone) < 60:
        for sock in select.select([sock for sock in slow if sock not in gone], [], [], 0.2)[0]:
            try:
                check(sock.recv(4096) == b"", "an answer to half a request")
            except ConnectionResetError:
                pass
            gone.add(sock)
        for sock in slow:
            if sock not in gone:
                try:
                    sock.send(b"x")
                except (BrokenPipeError, ConnectionResetError):
                    gone.add(sock)
        node.make()
        check(node.deliver())
    asker.join()
    equal(served, [200])
    check(number(metrics(daemon), "coroner_http_connections_slow_total") >= 60)
    check(daemon.cpu_seconds() - before < 2, "it spins")
    daemon.stop()


@test
def test_client_that_is_alone_and_slow(s):
    """Without a crowd it has 20 seconds, however often it sends a byte."""
    daemon = s.start(*ANY_PORT, binary=s.plain)
    with connect(daemon) as sock:
        sock.sendall(b"GET /metrics HTTP/1.1\r\n")
        while not select.select([sock], [], [], 0.5)[0]:
            try:
                sock.sendall(b"X: y\r\n")
            except (BrokenPipeError, ConnectionResetError):
                break
        equal(receive_all(sock), b"")
    equal(number(metrics(daemon), "coroner_http_connections_slow_total"), 1)
    daemon.stop()


@test
def test_no_descriptor_left(s):
    """It does not spin, and serves again when there is one."""
    daemon = s.start(*ANY_PORT, binary=s.plain, limits=[(resource.RLIMIT_NOFILE, 40)])
    socks = []
    for _ in range(60):
        sock = socket.socket(socket.AF_UNIX)
        s.undo.callback(sock.close)
        sock.connect(daemon.ingest)
        socks.append(sock)
    waiting = connect(daemon)
    s.undo.callback(waiting.close)
    waiting.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    daemon.wait_log("cannot accept an HTTP client: Too many open files")
    before = daemon.cpu_seconds()
    daemon.wait_log("cannot accept an HTTP client: Too many open files", 3)
    check(daemon.cpu_seconds() - before < 1, "it spins")
    for sock in socks:
        sock.close()
    check(waiting.recv(4096).startswith(b"HTTP/1.1 200 OK"))
    daemon.stop()


# ---- Prometheus -------------------------------------------------------------------------------------


@test
def test_prometheus(s):
    """A real one scrapes it over HTTP, and knows what the page said."""
    daemon = s.start(*ANY_PORT, binary=s.plain)
    node = FakeNode(daemon.ingest, name="a@h")
    for _ in range(17):
        node.make(exit_record("<0.1.0>", source="kill"))
    check(node.connect() and node.deliver())
    with open(s.path("prometheus.yml"), "w") as file:
        file.write("global: {scrape_interval: 1s}\nrule_files: ['%s/docs/alerts.yml']\n"
                   "scrape_configs: [{job_name: coroner, static_configs: [{targets: ['127.0.0.1:%d']}]}]\n"
                   % (ROOT, address(daemon)[1]))
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with open(s.path("prometheus.log"), "wb") as log:
        prometheus = subprocess.Popen(  # pylint: disable=consider-using-with
            ["prometheus", "--config.file", s.path("prometheus.yml"), "--storage.tsdb.path", s.path("data"),
             "--web.listen-address", "127.0.0.1:%d" % port], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    s.undo.callback(prometheus.wait)
    s.undo.callback(prometheus.kill)

    def question(expression):
        url = "http://127.0.0.1:%d/api/v1/query?%s" % (port, urllib.parse.urlencode({"query": expression}))
        with urllib.request.urlopen(url, timeout=30) as answer:
            return [(found["metric"], float(found["value"][1])) for found in json.load(answer)["data"]["result"]]

    deadline, found = time.monotonic() + 60, []
    while not found:
        check(prometheus.poll() is None and time.monotonic() < deadline, "Prometheus", open(s.path("prometheus.log")).read())
        try:
            found = question('coroner_exits_total{node="a@h",source="kill"}')
        except OSError:  # it is not up yet
            select.select([], [], [], 0.1)
    equal(found[0][1], 17)
    equal(question("up"), [(question("up")[0][0], 1)])
    check(question("histogram_quantile(0.99, coroner_ingest_commit_seconds_bucket)")[0][1] >= 0)
    daemon.stop()


@test
def test_alerts(_):
    done = subprocess.run(["promtool", "check", "rules", os.path.join(ROOT, "docs", "alerts.yml")], capture_output=True,
                          text=True, check=False)
    equal(done.returncode, 0, done.stdout + done.stderr)
    check("SUCCESS" in done.stdout, done.stdout)


@test
def test_documented(s):
    """docs/metrics.md has each family that there is, and no other; alerts ask for none that is not there."""
    daemon = s.start(*ANY_PORT)
    _, body = curl(daemon, "/metrics")
    told = set(re.findall(r"# TYPE (\S+)", body.decode()))
    with open(os.path.join(ROOT, "docs", "metrics.md")) as page:
        documented = set(re.findall(r"^\| `([a-z0-9_]+)`", page.read(), re.M))
    equal(documented, told)
    with open(os.path.join(ROOT, "docs", "alerts.yml")) as rules:
        asked = set(re.findall(r"\b((?:coroner|process)_[a-z_]+)", rules.read()))
    equal(sorted(name for name in asked if re.sub("_(bucket|sum|count)$", "", name) not in told and name not in told),
          [])
    daemon.stop()


if __name__ == "__main__":
    sys.exit(daemon_harness.main())
