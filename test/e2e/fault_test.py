#!/usr/bin/python3
"""Faults: whatever is killed, fills up, fails or is slow, what nodes made is stored or counted as lost.

    fault_test.py --daemon BINARY --san-daemon BINARY [--long] [NAME...]

Each test ends with the same look: made = stored + lost, ids unique, nothing acknowledged is missing, the database intact.
--long: as many rounds and as much time as one takes who wants to know; without it, a little of each.
Prints "ok NAME" or "not ok NAME: why" for each test and closes with "N passed, N failed".
"""
import errno
import json
import os
import random
import re
import resource
import select
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

import cbor2

import daemon_harness
from daemon_harness import Client, check, equal, receive_all, test
from fake_node import ACK, ERROR, HELLO, RECORD, FakeNode, exit_record, frame, frames_of, pack_keys
from real_node import RealNode

LONG = False
FRAME_MAX = 65536
PRELOAD = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"


class Node(FakeNode):
    """One that makes many records in little time, remembers what it dropped, and reconnects."""

    def __init__(self, path, name="fault@h", body=None, **options):
        super().__init__(path, name=name, **options)
        self.body = b"\x00\x00" + cbor2.dumps(pack_keys(body or exit_record("<0.1.0>", source="kill")))
        self.lost = set()
        self.told = 0  # the highest number that was ever acknowledged

    def burst(self, count):
        """So many records more."""
        stamp = b"\x1b" + struct.pack(">Q", time.time_ns())
        for seq in range(self.made + 1, self.made + count + 1):
            if len(self.outbox) >= self.capacity:
                self.lost.add(self.outbox.popitem(last=False)[0])
                self.dropped += 1
            array = b"\x86\x02" + cbor2.dumps(seq) + stamp + self.body
            self.outbox[seq] = struct.pack(">I", len(array)) + array
        self.made += count

    def _on_frame(self, array):
        if array[0] == ACK:
            check(array[1] >= self.told, self.name, "what was acknowledged is not there any more", array[1], self.told)
            self.told = array[1]
        super()._on_frame(array)

    def ids(self):
        return ["%s-%d" % (self.incarnation, seq) for seq in range(1, self.made + 1)]


def pump(nodes, done, daemon=None, seconds=120, make=None):
    """Let all nodes talk in turn until done()."""
    deadline = time.monotonic() + seconds
    while not done():
        check(time.monotonic() < deadline, "not done in time", [(node.name, node.made, node.acked) for node in nodes])
        for node in nodes:
            if not node.turn(0):
                check(daemon is None, "the connection went away", daemon and daemon.log())
                node.connect()
        if make is not None:
            make()
        select.select([node.socket for node in nodes if node.socket is not None], [], [], 0.005)


def delivered(nodes):
    return all(node.hello_acked and not node.outbox and not node.outgoing for node in nodes)


def settle(nodes, seconds=120):
    """Reconnect as often as it takes until everything is acknowledged, then tell what was dropped and say goodbye."""
    for node in nodes:
        if node.socket is None:
            node.connect()
    pump(nodes, lambda: delivered(nodes), seconds=seconds)
    for node in nodes:
        node.counters()
        node.bye()
        check(node.until(lambda node=node: not node.outgoing), node.name)


def accounts(daemon, nodes, expired=0):
    """The invariant; ${expired} records were stored and dropped by the store itself, the oldest ones. Returns what
    `nodes` says, by name."""
    table = {}

    def ended():
        table.update(daemon.nodes())
        return all(table[node.incarnation]["ended"] for node in nodes)

    daemon.until_status(lambda _: ended())
    daemon.stop()
    rows = daemon.rows()
    equal(len(rows), len(set(rows)), "ids are unique")
    by_node = {}
    for row in rows:
        by_node.setdefault(row.split("-")[0], []).append(int(row.split("-")[1]))
    equal(len(rows) + expired, sum(table[node.incarnation]["stored"] for node in nodes), "what is in the store")
    for node in nodes:
        told, stored = table[node.incarnation], by_node.get(node.incarnation, [])
        equal((told["made"], told["pending"]), (node.made, 0), node.name)
        equal(told["made"], told["stored"] + told["lost"], node.name)
        if expired:
            stored = [*range(1, told["stored"] - len(stored) + 1), *stored]  # of what is not lost, the oldest
        equal(len(stored), told["stored"], node.name)
        equal(stored, sorted(stored), node.name + ": in its order")
        missing = set(range(1, node.made + 1)) - set(stored)
        check(missing <= node.lost, node.name, "missing and never dropped", sorted(missing - node.lost)[:20])
        equal(len(missing), told["lost"], node.name)
    return {node.name: table[node.incarnation] for node in nodes}


def say(*what):
    print("   ", *what, flush=True)


# ---- killed -----------------------------------------------------------------------------------------


@test
def test_sigkill_of_the_daemon(s):
    """At random, again and again, while several nodes send: one of them drops what its small outbox does not hold."""
    rounds = 200 if LONG else 20
    dice = random.Random(20261125)
    path = s.path("ingest.sock")
    nodes = [Node(path, name="n%d@h" % i) for i in range(3)] + [Node(path, name="small@h", outbox=300)]
    in_the_middle = 0
    for number in range(rounds):
        daemon = s.start(binary=s.plain, out="out.ndjson" if number % 2 else None)
        for node in nodes:
            node.burst(dice.randrange(400))
            check(node.connect())
        # Somewhere: before the first answer, between two commits, in the middle of one.
        wanted = sum(node.told for node in nodes) + dice.randrange(800)
        turns = dice.randrange(1, 120)

        def done(wanted=wanted):
            nonlocal turns
            turns -= 1
            return turns < 0 or sum(node.told for node in nodes) >= wanted

        pump(nodes, done, daemon, make=lambda: nodes[dice.randrange(4)].burst(dice.randrange(30)))
        in_the_middle += not delivered(nodes)
        daemon.kill()
        for node in nodes:
            node.close()
            node.burst(dice.randrange(150))
        if number % 20 == 0:
            equal(len(daemon.rows()), len(set(daemon.rows())))
    check(in_the_middle > rounds / 2, "killed when there was nothing to do", in_the_middle)
    check(nodes[3].dropped > 0, "the small outbox never overflowed")
    daemon = s.start(binary=s.plain)
    settle(nodes)
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)
    told = accounts(daemon, nodes)
    for node in nodes[:3]:
        equal(told[node.name]["lost"], 0, "what fits the outbox is not lost")
    ids = daemon.file_ids(every=500)
    equal(len(ids), len(set(ids)))
    equal(set(ids), set(daemon.rows()), "the file and the store")
    say("%d kills, %d records, %d of them lost by a full outbox" %
        (rounds, sum(node.made for node in nodes), told["small@h"]["lost"]))


def last_told(lines):
    """(made, unacknowledged) as the last whole line says."""
    found = re.findall(rb"^made (\d+) unacknowledged (\d+)\n", lines, re.M)
    return tuple(map(int, found[-1]))


@test
def test_sigkill_of_the_node(s):
    """What had left the node is there. What had not is at risk: measured, at a steady rate, with a daemon that keeps up."""
    rounds, rate = (20, 2000) if LONG else (4, 2000)
    dice = random.Random(20261126)
    daemon = s.start(binary=s.plain)
    at_risk, unacknowledged = [], []
    for _ in range(rounds):
        node = RealNode()
        s.undo.callback(node.close)
        node.start(daemon.ingest)
        incarnation = node.status()["incarnation"]
        node.until("maps:get(connected, S)")
        node.tell("driver:steady(%d, 3600)" % rate)
        lines, ticks = b"", dice.randrange(50, 250)
        while lines.count(b"\nmade ") < ticks:
            lines += os.read(node.process.stdout.fileno(), 65536)
        node.kill()
        while part := os.read(node.process.stdout.fileno(), 65536):
            lines += part
        made, waiting = last_told(lines)
        daemon.wait_log("incarnation %s.* disconnected" % incarnation)
        # What came is still to be committed.
        daemon.until_status(lambda status: status["ingest"]["pending_bytes"] == 0)
        told = daemon.nodes()[incarnation]
        rows = [row for row in daemon.rows() if row.startswith(incarnation)]
        equal(rows, ["%s-%d" % (incarnation, seq) for seq in range(1, told["stored"] + 1)], "all that left it, in order")
        equal((told["lost"], told["ended"], told["connected"]), (0, False, False))
        # Of the group that was being made when it was killed it could not tell any more.
        check(told["stored"] <= made + rate // 100 + 50, told, made)
        at_risk.append(max(0, made - told["stored"]))
        unacknowledged.append(waiting)
        node.close()
    daemon.stop()
    say("%d kills at %d exits/s: made and not stored: median %d, most %d; not acknowledged when it last told: median %d, "
        "most %d" % (rounds, rate, statistics.median(at_risk), max(at_risk), statistics.median(unacknowledged),
                     max(unacknowledged)))
    check(max(at_risk) <= rate, "more than a second's", at_risk)


# ---- the disk ---------------------------------------------------------------------------------------


def preloaded(s, *libraries, **environment):
    """How to start a daemon with these libraries before libc."""
    for library in libraries:
        check(os.path.exists(library), library, "is not installed")
    return {"binary": s.plain, "env": {**os.environ, "LD_PRELOAD": " ".join(libraries), **environment}}


@test
def test_input_and_output_that_fail(s):
    """EIO, ENOSPC, short writes and failing syncs of the store: nothing is acknowledged that is not there, and when the
    disk is well again all is. (libfiu cannot tell files apart: write(2) is libuv's own, too, and stays as it is.)"""
    daemon = s.start(**preloaded(s, "/usr/lib/fiu/fiu_run_preload.so", "/usr/lib/fiu/fiu_posix_preload.so",
                                 FIU_CTRL_FIFO=s.path("fiu")))
    nodes = [Node(daemon.ingest, name="n%d@h" % i) for i in range(3)]

    def control(command):
        subprocess.run(["fiu-ctrl", "-f", s.path("fiu"), "-c", command, str(daemon.process.pid)], check=True)

    faults = [("posix/io/rw/pwrite", errno.EIO, 0.2), ("posix/io/rw/pwrite", errno.ENOSPC, 1),
              ("posix/io/rw/pwrite/reduce", 0, 0.5), ("posix/io/sync/fdatasync", errno.EIO, 0.3),
              ("posix/io/sync/*", errno.EIO, 1), ("posix/io/rw/pread", errno.EIO, 0.05),
              ("posix/io/rw/ftruncate", errno.EIO, 1)]
    failed = 0
    for name, number, chance in faults * (3 if LONG else 1):
        for node in nodes:
            node.burst(1500)
            if node.socket is None:
                check(node.connect())
        control("enable_random name=%s,probability=%s,failinfo=%d" % (name, chance, number))
        goal = [node.told + 500 for node in nodes]
        before, turns = len(daemon.logged("cannot write to the store")), 150

        def done(goal=goal, before=before):
            nonlocal turns
            turns -= 1
            return turns < 0 or len(daemon.logged("cannot write to the store")) > before or \
                all(node.told >= wanted for node, wanted in zip(nodes, goal))

        pump(nodes, done)
        failed += len(daemon.logged("cannot write to the store")) > before
        control("disable name=" + name)
        pump(nodes, lambda: delivered(nodes))
        check(daemon.process.poll() is None, "it died", daemon.log())
    check(failed >= 3, "it never failed", daemon.log())
    settle(nodes)
    told = accounts(daemon, nodes)
    equal(sum(line["lost"] for line in told.values()), 0)
    say("%d faults, of which %d stopped the store; %d records" %
        (len(faults) * (3 if LONG else 1), failed, sum(node.made for node in nodes)))


@test
def test_full_disk(s):
    """A disk of 8 MiB is full: nothing is acknowledged that is not there. With space again, everything goes on."""
    if os.getuid() != 0:
        say("not looked at: only root can mount a small disk")
        return
    small = s.path("small")
    os.mkdir(small)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small], check=True)
    s.undo.callback(subprocess.run, ["umount", "-l", small], check=False)
    filler = os.path.join(small, "filler")
    with open(filler, "wb") as file:
        file.write(b"x" * (13 << 19))
    daemon = s.start("--store", os.path.join(small, "exits.db"), "--http", "unix:" + s.path("http.sock"),
                     binary=s.plain, out=None)
    daemon.store = os.path.join(small, "exits.db")
    nodes = [Node(daemon.ingest, name="n%d@h" % i, body=exit_record("<0.1.0>", reason="r" * 500)) for i in range(2)]
    for node in nodes:
        node.burst(600)
        check(node.connect())
    pump(nodes, lambda: daemon.logged("cannot write to the store.*full"))
    stored = daemon.status()["store"]["stored"]
    check(sum(node.told for node in nodes) <= stored, "acknowledged and not stored")
    check(0 < stored < 1200, stored)

    def expired():
        page = subprocess.run(["curl", "-s", "--unix-socket", s.path("http.sock"), "http://localhost/metrics"],
                              capture_output=True, check=True).stdout.decode()
        return int(re.search(r'^coroner_store_expired_total{why="full"} (\d+)$', page, re.M).group(1))

    done = subprocess.run(["curl", "-s", "-w", "%{http_code}", "--unix-socket", s.path("http.sock"),
                           "http://localhost/healthz"], capture_output=True, check=True).stdout
    equal(done[-3:], b"503")
    equal([reason["code"] for reason in json.loads(done[:-3])["reasons"]], ["store_not_writable"])
    check(daemon.ask({"op": "query", "limit": 1})[-1]["done"], "questions are answered")
    os.unlink(filler)
    pump(nodes, lambda: delivered(nodes))
    daemon.wait_log("can be written again")
    settle(nodes)
    dropped = expired()
    told = accounts(daemon, nodes, dropped)
    equal(sum(line["lost"] for line in told.values()), 0)
    say("%d of %d records fitted the full disk, the others waited; the store dropped the %d oldest" %
        (stored, sum(node.made for node in nodes), dropped))


# ---- descriptors and clocks -------------------------------------------------------------------------


@test
def test_32_descriptors(s):
    """Nodes and clients together want more than there are: each gets its turn, and nothing is lost."""
    daemon = s.start(binary=s.plain, limits=[(resource.RLIMIT_NOFILE, 32)], out=None)
    nodes = [Node(daemon.ingest, name="n%02d@h" % i) for i in range(24)]
    for node in nodes:
        node.burst(300)
    clients = []
    for _ in range(6):
        client = Client(daemon.query)
        s.undo.callback(client.close)
        clients.append(client)
    before = daemon.cpu_seconds()
    waiting, served = list(nodes), 0
    deadline = time.monotonic() + 120
    while waiting:
        check(time.monotonic() < deadline, "nodes are not served", [(node.name, node.told) for node in waiting])
        for node in list(waiting):
            if node.socket is None:
                node.connect()
            elif node.turn(0) and delivered([node]):
                node.counters()
                node.bye()
                check(node.until(lambda node=node: not node.outgoing))
                node.close()  # it makes room for another
                waiting.remove(node)
                served += 1
        select.select([node.socket for node in waiting if node.socket is not None], [], [], 0.02)
    for client in clients:
        client.close()
    # Whom there is no descriptor for waits.
    check(daemon.logged("cannot accept a node: Too many open files"), "it had enough")
    check(daemon.cpu_seconds() - before < 10, "it spins", daemon.cpu_seconds() - before)
    equal(served, 24)
    accounts(daemon, nodes)


@test
def test_clock_that_steps_back(s):
    """An hour back, and forth again, in a daemon that runs: timers, deadlines, subscriptions and cursors go on."""
    with open(s.path("clock"), "w") as file:
        file.write("+0\n")
    daemon = s.start("--http", "unix:" + s.path("http.sock"),
                     **preloaded(s, PRELOAD, FAKETIME_TIMESTAMP_FILE=s.path("clock"), FAKETIME_NO_CACHE="1",
                                 FAKETIME_DONT_FAKE_MONOTONIC="1"))
    node = Node(daemon.ingest)
    check(node.connect())
    client = s.client(daemon)
    client.send({"id": 1, "op": "subscribe"})
    equal(client.line()["subscribed"], True)
    seen = []
    for number, step in enumerate(["+0", "-3600s", "-7200s", "+0", "+86400s", "+0"]):
        with open(s.path("clock"), "w") as file:
            file.write(step + "\n")
        node.burst(500)
        check(node.deliver())
        while len(seen) < node.made:
            seen.append(client.line()["exit"]["id"])
        status = daemon.status()
        check(status["store"]["writable"], status)
        if number == 1:
            told = time.strftime("%Y-%m-%dT%H", time.gmtime(time.time() - 3600))
            check(status["time"].startswith(told) or time.gmtime().tm_min in (0, 59), "the clock was not set", status["time"])
        answer = daemon.ask({"op": "query", "limit": 10000, "order": "asc"})
        equal(answer[-1]["count"], node.made)
        # What was made an hour "from now" is stored as it was told.
        equal(daemon.ask({"op": "count", "by": ["exit.source"]})[-1].get("done"), True)
    equal(seen, node.ids(), "a subscription has neither gap nor double")
    page = subprocess.run(["curl", "-s", "--unix-socket", s.path("http.sock"), "http://localhost/metrics"],
                          capture_output=True, check=True).stdout.decode()
    check(re.search(r"^coroner_exit_stored_seconds_count %d$" % node.made, page, re.M), page)
    check(not re.search(r"_seconds_(sum|bucket\S*) -", page), "a negative time")
    settle([node])
    accounts(daemon, [node])
    equal(daemon.file_ids(every=100), daemon.rows())


# ---- many, and slow ---------------------------------------------------------------------------------


@test
def test_subscriber_that_reads_a_kilobyte_a_second(s):
    """While 20,000 records a second come: it costs no memory and nobody else anything, and it is told that it lags."""
    seconds, rate = (30, 20000) if LONG else (4, 20000)
    daemon = s.start(binary=s.plain, out=None)
    node = Node(daemon.ingest, name="fast@h", outbox=10 ** 7)
    check(node.connect() and node.until(lambda: node.hello_acked))
    client = s.client(daemon, receive_buffer=4096)
    client.send({"id": 1, "op": "subscribe"})
    equal(client.line()["subscribed"], True)
    before, most, read = daemon.rss_mib(), 0, b""
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        due = min(int(passed * rate), seconds * rate) - node.made
        if due > 0:
            node.burst(min(due, 2000))
        check(node.turn(0.002), "ingest is affected", daemon.log())
        if len(read) < 1024 * passed and select.select([client.socket], [], [], 0)[0]:
            read += client.socket.recv(int(1024 * passed) + 1 - len(read))
        most = max(most, daemon.rss_mib())
    made, took = node.made, time.monotonic() - began
    waiting = len(node.outbox)
    check(node.deliver(seconds=120))
    check(most - before < 40, "memory grows with what is not read", before, most)
    # Now it reads what it was sent: it is told what it missed.
    client.incoming = read + client.incoming
    lagged = None
    while lagged is None:
        line = client.line()
        lagged = line.get("lagged")
    check(lagged["dropped"] > 16384, lagged)
    settle([node])
    accounts(daemon, [node])
    say("%d records/s for %d s, %d waiting at the end; %d MiB more; the subscriber read %d bytes and was told that %d were "
        "left out" % (made / took, took, waiting, most - before, len(read), lagged["dropped"]))


@test
def test_500_idle_clients(s):
    """500 nodes that say nothing more, and 500 clients that ask nothing: little memory, no processor time, room for
    whoever has something to say."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
                                                resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    daemon = s.start(binary=s.plain)
    before = daemon.rss_mib()
    idle = [Node(daemon.ingest, name="idle%03d@h" % i) for i in range(500)]
    for node in idle:
        check(node.connect())
        s.undo.callback(node.close)
    pump(idle, lambda: all(node.hello_acked for node in idle), daemon)
    clients = []
    while len(clients) < 500:
        try:
            client = Client(daemon.query)
        except BlockingIOError:  # the kernel's queue is full: the daemon has not come to them yet
            continue
        s.undo.callback(client.close)
        clients.append(client)
    for client in (clients[0], clients[-1]):
        client.send({"op": "version"})
        check("version" in client.line() and client.line()["done"])
    busy = Node(daemon.ingest, name="busy@h")
    busy.burst(20000)
    check(busy.connect() and busy.deliver())
    check(daemon.rss_mib() - before < 100, "memory", before, daemon.rss_mib())
    for client in clients:
        client.close()
    deadline = time.monotonic() + 60
    while True:
        check(time.monotonic() < deadline, "the places do not become free")
        try:
            if daemon.status()["query"]["connections"] == 1:
                break
        except (ConnectionError, KeyError):  # it still has too many
            continue
    began = daemon.cpu_seconds()
    equal(select.select([idle[0].socket], [], [], 2)[0], [], "nobody is sent away")
    check(daemon.cpu_seconds() - began < 0.5, "idle clients cost time", daemon.cpu_seconds() - began)
    settle(idle + [busy])
    equal(accounts(daemon, idle + [busy])["busy@h"]["stored"], 20000)


@test
def test_32_nodes_at_once(s):
    """All send as fast as they can, some with small outboxes, while somebody subscribes and somebody asks."""
    daemon = s.start(binary=s.plain)
    count = 10000 if LONG else 1500
    nodes = [Node(daemon.ingest, name="n%02d@h" % i, outbox=200 if i % 8 == 7 else 10 ** 6) for i in range(32)]
    for i, node in enumerate(nodes):
        node.burst(count + i)
        check(node.connect())
    client = s.client(daemon)
    client.send({"id": 1, "op": "subscribe", "where": {"node": "n03@h"}})
    seen, asked = [], []

    def read():
        for line in client.lines():
            seen.append(line)

    def ask():
        for _ in range(20):
            asked.append(daemon.ask({"op": "count", "by": ["node"]})[-1].get("done"))

    threads = [threading.Thread(target=read, daemon=True), threading.Thread(target=ask)]
    for thread in threads:
        thread.start()
    pump(nodes, lambda: delivered(nodes), daemon, seconds=300)
    settle(nodes)
    threads[1].join(60)
    equal(asked, [True] * 20)
    told = accounts(daemon, nodes)
    threads[0].join(60)
    got = [line["exit"]["id"] for line in seen if "exit" in line]
    dropped = sum(line["lagged"]["dropped"] for line in seen if "lagged" in line)
    equal(len(got), len(set(got)))
    equal(len(got) + dropped, nodes[3].made, "seen, or told to be left out")
    equal(sum(line["lost"] for name, line in told.items() if int(name[1:3]) % 8 != 7), 0)
    equal(sum(line["lost"] for line in told.values()), sum(node.dropped for node in nodes))


# ---- frames -----------------------------------------------------------------------------------------


def hello(incarnation):
    return frame([HELLO, 1, pack_keys({"incarnation": incarnation, "name": "x@h", "host": "h", "os_pid": 1, "otp": "25",
                                       "first_held": 1, "made": 0})])


def opened(daemon, incarnation):
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60)
    sock.connect(daemon.ingest)
    sock.sendall(hello(incarnation))
    equal(cbor2.loads(sock.recv(100)[4:]), [ACK, 0])
    return sock


def padded(seq, size):
    """A record whose frame has exactly so many bytes after its length."""
    record = exit_record("<0.1.0>")
    record["exit"]["stack"] = ["x" * 4000] * ((size - 1000) // 4003)
    while True:
        data = frame([RECORD, seq, 1, 0, 0, pack_keys(record)])
        if len(data) == size + 4:
            return data
        # A text of up to 255 bytes has two bytes before it, or one, or three.
        record["message"] += "y" * min(200, size + 4 - len(data))
        check(len(data) < size + 4, "no such frame", len(data), size)


@test
def test_every_prefix_of_every_frame(s):
    """And then the end. What came whole before it is stored, what was cut is not."""
    daemon = s.start(out=None)
    record = frame([RECORD, 1, 1, 0, 0, pack_keys(exit_record("<0.1.0>"))])
    frames = {"record": record, "counters": frame([3, 1, {59: 1}]), "bye": frame([4, 1])}
    stored, number = 0, 0
    for name, data in frames.items():
        for cut in range(1, len(data)):
            number += 1
            with opened(daemon, "%016x" % number) as sock:
                sock.sendall(record + data[:cut] if name != "record" else data[:cut])
                sock.shutdown(socket.SHUT_WR)
                said = list(frames_of(receive_all(sock)))
            equal(said[-1], [ERROR, "it ended in the middle of a frame"], (name, cut))
            stored += name != "record"
    greeting = hello("%016x" % 999999)
    for cut in range(1, len(greeting)):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(daemon.ingest)
            sock.sendall(greeting[:cut])
            sock.shutdown(socket.SHUT_WR)
            equal(list(frames_of(receive_all(sock)))[-1][0], ERROR, cut)
    daemon.until_status(lambda status: status["store"]["stored"] == stored)
    daemon.stop()
    equal(len(daemon.rows()), stored)
    say("%d cuts" % (number + len(greeting) - 1))


@test
def test_lengths_at_the_edge(s):
    daemon = s.start(out=None)
    largest = padded(1, FRAME_MAX)
    equal(len(largest), FRAME_MAX + 4)
    with opened(daemon, "%016x" % 1) as sock:
        sock.sendall(largest)
        equal(cbor2.loads(sock.recv(100)[4:]), [ACK, 1])
    for number, (length, why) in enumerate([(0, "0 bytes"), (FRAME_MAX + 1, "65537 bytes"), (2 ** 31, "2147483648 bytes"),
                                            (2 ** 32 - 1, "4294967295 bytes")]):
        with opened(daemon, "%016x" % (number + 2)) as sock:
            sock.sendall(struct.pack(">I", length) + b"\x86" * 100)
            said = list(frames_of(receive_all(sock)))
        equal(said[-1][0], ERROR)
        check(why in said[-1][1], said)
    daemon.stop()
    equal(daemon.rows(), ["%016x-1" % 1])


@test
def test_writes_of_every_size(s):
    """A conversation in writes of one byte, of two, of three ...; and several frames, and parts of them, in one write."""
    daemon = s.start(out=None)
    frames = [frame([RECORD, seq, 1, 0, 0, pack_keys(exit_record("<0.1.0>"))]) for seq in range(1, 21)]
    frames += [padded(21, 30000), padded(22, FRAME_MAX)]
    whole = b"".join(frames)
    sizes = (1, 2, 3, 5, 7, 64, 300, 301, 4095, 65535, 65540, 131072, len(whole))
    for number, size in enumerate(sizes):
        with opened(daemon, "%016x" % (number + 1)) as sock:
            for at in range(0, len(whole), size):
                sock.sendall(whole[at:at + size])
            acked, data = 0, b""
            while acked < 22:
                data += sock.recv(4096)
                check(b"\x82\x11" not in data[4:6], "refused", data)
                while len(data) >= 4 and len(data) >= 4 + struct.unpack(">I", data[:4])[0]:
                    length = struct.unpack(">I", data[:4])[0]
                    acked, data = cbor2.loads(data[4:4 + length])[1], data[4 + length:]
            equal(acked, 22)
    daemon.stop()
    rows = daemon.rows()
    equal(len(rows), 22 * len(sizes))
    equal(len(set(rows)), len(rows))


def main():
    global LONG  # pylint: disable=global-statement
    parser = daemon_harness.arguments()
    parser.add_argument("--long", action="store_true")
    options = parser.parse_args()
    LONG = options.long
    return daemon_harness.main(options)


if __name__ == "__main__":
    sys.exit(main())
