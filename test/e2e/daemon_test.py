#!/usr/bin/python3
"""Tests of coronerd from outside: the real binary, sockets, signals, files.

    daemon_test.py --daemon BINARY --san-daemon BINARY [--unit BINARY]... [--valgrind BINARY]... [NAME...]

Prints "ok NAME" or "not ok NAME: why" for each test and closes with "N passed, N failed".
"""
import contextlib
import os
import random
import shutil
import re
import resource
import select
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading

import cbor2

import daemon_harness
import query_test  # its tests are among those that are run
from daemon_harness import LINE_MAX, NOBODY, ROOT, check, check_line, equal, receive_all, test
from fake_node import BYE, COUNTERS, ERROR, GAP, HELLO, RECORD, FakeNode, Refused, exit_record, frame, frames_of, pack_keys

# ---- starting and not starting ---------------------------------------------------------------------


def run_daemon(setting, *arguments, **options):
    done = subprocess.run([setting.san, *arguments], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, **options)
    check("Sanitizer" not in done.stderr, done.stderr)
    return done.returncode, done.stdout, done.stderr


@test
def test_command_line(s):
    code, out, err = run_daemon(s, "--help")
    equal((code, err), (0, ""))
    for option in ("--listen", "--query", "--store", "--out", "--version"):
        check(option in out, option)
    code, out, err = run_daemon(s, "--version")
    equal((code, err), (0, ""))
    check(re.fullmatch(r"coronerd \d+\.\d+\.\d+\n", out), out)
    for wrong in (["--nonsense"], ["--listen"], ["extra"], ["-x"]):
        code, out, err = run_daemon(s, *wrong)
        equal((code, out), (64, ""))
        check(wrong[0].lstrip("-") in err and "--help" in err, err)


def refuses_to_start(daemon, code, *parts):
    equal(daemon.wait(), code, "exit code: " + "\n".join(daemon.log()))
    errors = daemon.logged(" error: ")
    equal(len(errors), 1, "one line says why")
    for part in parts:
        check(part in errors[0], part, errors)


@test
def test_alive_socket_is_left_alone(s):
    first = s.start()
    other = s.path("other")
    os.mkdir(other)
    for option, path in (("--listen", first.ingest), ("--query", first.query)):
        daemon = s.start(option, path, "--store", other + "/db", "--listen" if option == "--query" else "--query",
                         other + "/sock", ready=False, out=None)
        refuses_to_start(daemon, 73, path, "listening")
    # The second daemon took nothing away from the first.
    equal(first.ask({"op": "version"})[-1]["done"], True)
    check(FakeNode(first.ingest).connect())
    first.stop()


@test
def test_one_daemon_a_store(s):
    first = s.start()
    daemon = s.start("--listen", s.path("i2"), "--query", s.path("q2"), ready=False, out=None)
    refuses_to_start(daemon, 73, first.store, "another coronerd")
    first.stop()


@test
def test_stale_sockets_are_replaced(s):
    first = s.start()
    first.kill()
    check(os.path.exists(first.ingest) and os.path.exists(first.query))
    second = s.start()
    node = FakeNode(second.ingest)
    node.make()
    check(node.connect() and node.deliver())
    second.stop()
    check(not os.path.exists(second.ingest) and not os.path.exists(second.query), "sockets are left")


@test
def test_modes(s):
    daemon = s.start(umask=0)
    for path, mode in ((daemon.ingest, 0o660), (daemon.query, 0o660), (daemon.store, 0o600), (daemon.out, 0o640)):
        equal(stat.S_IMODE(os.stat(path).st_mode), mode, path)
    daemon.stop()


@test
def test_what_cannot_be_created_is_named(s):
    with open(s.path("file"), "w") as file:
        file.write("precious")
    os.mkdir(s.path("folder"))
    missing = s.path("missing/x")
    for option in ("--listen", "--query"):
        refuses_to_start(s.start(option, missing, ready=False), 73, missing, "No such file")
        refuses_to_start(s.start(option, s.path("file"), ready=False), 73, s.path("file"), "no socket")
        refuses_to_start(s.start(option, s.path("x" * 120), ready=False), 73, "x" * 120, "at most 107 bytes")
    daemon = s.start("--query", s.path("ingest.sock"), "--listen", s.path("ingest.sock"), ready=False)
    equal(daemon.wait(), 64, "\n".join(daemon.log()))
    check("name the same socket" in "\n".join(daemon.log()), daemon.log())
    refuses_to_start(s.start("--store", missing, ready=False), 73, missing, "No such file", "its directory must be there")
    refuses_to_start(s.start("--store", s.path("folder"), ready=False), 73, s.path("folder"))
    refuses_to_start(s.start("--out", missing, ready=False), 73, missing, "No such file")
    refuses_to_start(s.start("--out", s.path("folder"), ready=False), 73, s.path("folder"))
    with open(s.path("file")) as file:
        equal(file.read(), "precious")
    with open(s.path("garbage"), "wb") as file:
        file.write(b"this is no database\n" * 1000)
    refuses_to_start(s.start("--store", s.path("garbage"), ready=False), 74, s.path("garbage"), "not a database")


@test
def test_folder_that_is_not_writable_is_named(s):
    """A folder is made unwritable; root, whom that does not stop, is not root for it."""
    locked = s.path("locked")
    os.mkdir(locked)
    os.chmod(locked, 0o555)
    options = {}
    if os.getuid() == 0:
        os.chown(s.folder, NOBODY, NOBODY)
        options = dict(user=NOBODY, group=NOBODY, extra_groups=[])
        binary_reachable = subprocess.run([s.san, "--version"], **options, capture_output=True, check=False)
        equal(binary_reachable.returncode, 0, "the daemon can be run as another user")
    for option in ("--listen", "--query", "--store", "--out"):
        path = locked + "/x"
        refuses_to_start(s.start(option, path, ready=False, **options), 73, path, "Permission denied")


# ---- from the node to the world ---------------------------------------------------------------------


@test
def test_round_trip(s):
    daemon = s.start()
    node = FakeNode(daemon.ingest, name="proxy@db3")
    node.make(exit_record("<0.9.0>", source="purge", reason="killed", name="bob", module="session", origin={
        "pid": "<0.9.0>", "module": "session", "operation": "purge", "by": "<0.41.0>", "by_name": "release_handler",
        "by_call": "release_handler:'-brutal_purge/1-fun-0-'/1", "confidence": "observed"}),
        time_ns=1795448793094688123)
    check(node.connect() and node.deliver())
    record = daemon.ask({"id": 1, "op": "get", "record": node.incarnation + "-1"})[0]["exit"]
    daemon_harness.SCHEMA.validate(record)
    equal(list(record), ["schema", "id", "time", "severity", "message", "node", "process", "exit", "origin", "chain",
                         "lost_before"])
    equal(record["time"], "2026-11-23T15:46:33.094688123Z")
    equal(record["node"], {"name": "proxy@db3", "host": "host", "incarnation": node.incarnation,
                           "os_pid": os.getpid(), "otp": "25"})
    equal(record["origin"]["by_name"], "release_handler")
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)
    equal(daemon.file_ids(), [record["id"]])
    daemon.stop()


@test
def test_node_before_daemon(s):
    node = FakeNode(s.path("ingest.sock"))
    ids = [node.make() for _ in range(300)]
    check(not node.connect(), "nobody listens yet")
    daemon = s.start()
    check(node.connect() and node.deliver())
    equal(daemon.rows(), ids)
    daemon.stop()


@test
def test_several_nodes_at_once(s):
    daemon = s.start()
    nodes = [FakeNode(daemon.ingest, name="n%d@h" % i) for i in range(20)]
    for i, node in enumerate(nodes):
        for _ in range(100 + i):
            node.make()
        check(node.connect())
    # All talk in turn, a little at a time, and make more as they go.
    while any(node.outbox or not node.hello_acked for node in nodes):
        for node in nodes:
            if node.made < 300:
                node.make()
            check(node.turn(0))
        select.select([node.socket for node in nodes], [], [], 0.01)
    for node in nodes:
        node.bye()
        check(node.until(lambda node=node: not node.outgoing))
    table = daemon.nodes()
    equal(len(table), 20)
    for node in nodes:
        told = table[node.incarnation]
        equal((told["name"], told["made"], told["stored"], told["lost"], told["connected"]),
              (node.name, node.made, node.made, 0, True))
    rows = daemon.rows()
    equal(len(rows), len(set(rows)))
    equal(sorted(rows), sorted("%s-%d" % (node.incarnation, seq) for node in nodes
                               for seq in range(1, node.made + 1)))
    # What one node sent is in its order.
    for node in nodes:
        mine = [int(row[17:]) for row in rows if row.startswith(node.incarnation)]
        equal(mine, sorted(mine))
    daemon.stop()


@test
def test_sigkill_ten_times(s):
    """50,000 exits; the daemon is killed in the middle of them ten times. One node holds all it makes,
    the other has so small an outbox that it must lose some: everything is stored or counted."""
    dice = random.Random(20261123)
    total, rounds = 50000, 10
    roomy = FakeNode(s.path("ingest.sock"), name="roomy@h", outbox=total)
    small = FakeNode(s.path("ingest.sock"), name="small@h", outbox=700)
    nodes = [roomy, small]
    records = [exit_record("<0.%d.0>" % i, module="m%d" % (i % 7)) for i in range(100)]

    def make(count):
        for _ in range(count):
            nodes[roomy.made >= 4 * small.made].make(dice.choice(records))

    def made():
        return roomy.made + small.made

    def until_acked(wanted, daemon):
        """Run both nodes until so many records are acknowledged."""
        while roomy.acked + small.acked < wanted:
            for node in nodes:
                check(node.turn(0), "the connection went away", daemon.log())
            if made() < total:
                make(20)  # it is the middle: exits go on
            select.select([node.socket for node in nodes], [], [], 0.005)

    killed_with_work = 0
    for number in range(rounds):
        daemon = s.start(binary=s.plain)
        make(total * (number + 1) // (rounds + 1) - made())
        for node in nodes:
            check(node.connect())
            check(node.until(lambda node=node: node.hello_acked))
        acked = roomy.acked + small.acked
        until_acked(acked + dice.randrange(1, 2500), daemon)
        killed_with_work += bool(roomy.outbox)
        daemon.kill()
        for node in nodes:
            node.close()
        make(min(1500, total - made()))  # nobody listens: small's outbox overflows
    check(killed_with_work >= rounds - 2, "killed when there was nothing to do", killed_with_work)
    check(small.dropped > 0, "the small outbox never overflowed")

    daemon = s.start(binary=s.plain)
    make(total - made())
    for node in nodes:
        check(node.connect() and node.deliver(seconds=120))
        node.bye()
        check(node.until(lambda node=node: not node.outgoing))
    table = daemon.nodes()
    equal(made(), total)
    for node in nodes:
        told = table[node.incarnation]
        equal(told["made"], node.made)
        equal(told["made"], told["stored"] + told["lost"], node.name)
        equal(told["pending"], 0)
    equal(table[roomy.incarnation]["lost"], 0, "what fits the outbox is not lost")
    check(0 < table[small.incarnation]["lost"] <= small.dropped, "lost is at most what was dropped",
          table[small.incarnation], small.dropped)
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)
    daemon.stop()

    rows = daemon.rows()
    equal(len(rows), len(set(rows)), "ids are unique")
    equal(len(rows), sum(told["stored"] for told in table.values()))
    ids = daemon.file_ids(every=500)
    equal(set(ids), set(rows), "the file has what the store has")
    equal(len(ids), len(set(ids)), "a file is continued where it ended")


@test
def test_sigterm_finishes_what_came(s):
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    for _ in range(5000):
        node.make()
    check(node.connect())
    check(node.until(lambda: node.acked >= 500))
    daemon.process.send_signal(signal.SIGTERM)
    node.until(lambda: node.socket is None)  # all acknowledgements that come
    equal(daemon.wait(), 0, "\n".join(daemon.log()))
    rows = daemon.rows()
    check(len(rows) >= node.acked, "acknowledged and not stored")
    equal(daemon.file_ids(every=50), rows, "the sink was flushed")
    check(not os.path.exists(daemon.ingest) and not os.path.exists(daemon.query), "sockets are left")
    again = s.start()
    check(node.connect() and node.deliver())
    equal(again.rows(), ["%s-%d" % (node.incarnation, i) for i in range(1, 5001)])
    again.stop()
    equal(again.file_ids(every=50), again.rows())


@test
def test_lost_is_counted(s):
    daemon = s.start()
    node = FakeNode(daemon.ingest)

    def table():
        told = daemon.nodes()[node.incarnation]
        return tuple(told[key] for key in ("made", "stored", "lost", "pending", "connected", "ended"))

    node.make()
    node.drop()
    node.drop()
    node.make(lost_before=2)
    check(node.connect() and node.deliver())
    equal(table(), (4, 2, 2, 0, True, False))
    # Dropped at the end: only the node can tell.
    node.drop()
    node.counters(unrecorded=7)
    node.make()
    check(node.deliver())
    equal(table(), (6, 3, 3, 0, True, False))
    equal(daemon.nodes()[node.incarnation]["counters"], {"normal": 0, "lost": 3, "unrecorded": 7})
    node.drop()
    node.bye()
    check(node.until(lambda: not node.outgoing))
    node.socket.shutdown(socket.SHUT_WR)
    node.until(lambda: node.socket is None)
    equal(table(), (7, 3, 4, 0, False, True))
    # The same incarnation comes again and holds something that no one has seen.
    for _ in range(10):
        node.make()
    for _ in range(6):
        node.outbox.popitem(last=False)
        node.dropped += 1
    check(node.connect())
    check(node.until(lambda: node.hello_acked))
    made, stored, lost, pending, _, _ = table()
    equal((made, stored, lost, pending), (17, 3, 10, 4))
    check(node.deliver())
    equal(table(), (17, 7, 10, 0, True, False))
    equal([r["exit"]["lost_before"] for r in daemon.ask({"op": "query", "order": "asc"})[:-1]][:2], [0, 2])
    daemon.stop()


@test
def test_newer_connection_replaces_older(s):
    daemon = s.start()
    old = FakeNode(daemon.ingest)
    old.make()
    check(old.connect() and old.deliver())
    new = FakeNode(daemon.ingest, incarnation=old.incarnation)
    new.made, new.acked = old.made, old.acked
    new.make()
    check(new.connect() and new.deliver())
    try:
        old.until(lambda: False, seconds=20)
        check(old.socket is None)
    except Refused as refused:
        check("anew" in str(refused), refused)
    daemon.wait_log("connected anew")
    equal(len(daemon.logged("connected anew")), 1)
    equal(daemon.rows(), [old.incarnation + "-1", old.incarnation + "-2"])
    daemon.stop()


@test
def test_nobody_poses_as_anothers_node(s):
    if os.getuid() != 0:
        return  # it takes two users
    daemon = s.start()
    os.chmod(s.folder, 0o755)
    os.chmod(daemon.ingest, 0o666)
    node = FakeNode(daemon.ingest)
    node.make()

    def pose():
        """As another user, with the incarnation of ${node}. Returns what the daemon says."""
        code = ("import sys; sys.path.insert(0, %r); from fake_node import *\n"
                "node = FakeNode(%r, name='evil@h', incarnation=%r)\n"
                "node.make(); node.connect()\n"
                "try: node.deliver(); print('delivered')\n"
                "except Refused as refused: print(refused)\n") % (
                    os.path.join(ROOT, "test", "e2e"), daemon.ingest, node.incarnation)
        done = subprocess.run(["/usr/bin/python3", "-B", "-c", code], user=NOBODY, group=NOBODY, extra_groups=[],
                              capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    check(node.connect() and node.deliver())
    check("belongs to another user" in pose(), "while the node is connected")
    check(node.turn(0), "the node itself is not disturbed")
    node.close()
    check("belongs to another user" in pose(), "when it is not")
    equal(daemon.nodes()[node.incarnation]["name"], node.name)
    equal(daemon.nodes()[node.incarnation]["made"], 1)
    equal(len(daemon.rows()), 1)
    daemon.stop()


@test
def test_gap_record(s):
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    node.make({"severity": "warning", "message": "exits were not seen",
               "gap": {"from": 1795448793094688123, "to": 1795448794094688123, "why": "another tool held the tracer"}},
              kind=GAP)
    check(node.connect() and node.deliver())
    record = daemon.ask({"op": "query", "where": {"schema": "coroner.gap/1"}})[0]["exit"]
    daemon_harness.SCHEMA.validate(record)
    equal(record["gap"]["from"], "2026-11-23T15:46:33.094688123Z")
    daemon.stop()
    equal(daemon.file_ids(), [record["id"]])


def nasty_texts():
    yield from ("", "\0", "\0" * 500, "\x01\x1f\x7f" * 1000, "\"\\" * 2000, "\u2028\ufeff\uffff", "💀" * 1000,
                "\n" * 3000, "}{][,:" * 600, "é" * 2048)


@test
def test_whatever_a_record_holds(s):
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    for text in nasty_texts():
        record = exit_record("<0.1.0>", origin={"pid": "<0.1.0>", "module": text, "by_stack": [text, text]})
        record["exit"]["reason"] = record["message"] = record["process"]["name"] = text
        record["exit"]["stack"] = [text] * 3
        node.make(record)
    for size in (10, 100, 600):
        record = exit_record("<0.2.0>")
        record["process"]["ancestors"] = ["ancestor"] * size
        record["chain"] = [{"pid": "<0.%d.0>" % i, "source": "link", "reason": "r" * (i % 50)} for i in range(size)]
        record["exit"]["candidates"] = [{"source": "kill", "by": "<0.%d.0>" % i} for i in range(size)]
        record["tomorrow"] = {"yes": True, "no": None, "list": [1, 2 ** 53, 2 ** 62]}
        node.make(record)
    for raw in (b"\xff" * 4096, b"\xc3", b"\xed\xa0\x80", b"\xf0\x9f\x92" * 1000, bytes(range(256)) * 16):
        node.make()
        # The frame by hand: no library writes a text that is none.
        mark = "M" * len(raw)
        record = exit_record("<0.3.0>", reason=mark)
        record["message"] = mark
        data = frame([RECORD, node.made, 1, 0, 0, pack_keys(record)])
        node.outbox[node.made] = data.replace(mark.encode(), raw)
    check(node.connect() and node.deliver())
    daemon.stop()
    with open(daemon.out, "rb") as lines:
        records = [check_line(line) for line in lines]
    equal([record["id"] for record in records], ["%s-%d" % (node.incarnation, i) for i in range(1, node.made + 1)])
    equal(records[7]["exit"]["reason"][:2], "\n\n")
    equal(records[2]["exit"]["reason"][0], "\ufffd", "U+0000")
    equal(records[10]["tomorrow"]["list"], [1, "9007199254740992", "4611686018427387904"])
    check(records[12]["exit"]["truncated"], "cut and says so")
    equal(records[12]["process"]["pid"], "<0.2.0>")


# ---- frames that are wrong --------------------------------------------------------------------------


def hello(**changes):
    told = {"incarnation": "%016x" % random.getrandbits(64), "name": "bad@h", "host": "h", "os_pid": 1, "otp": "25",
            "first_held": 1, "made": 0}
    told.update(changes)
    return frame([HELLO, 1, pack_keys({key: value for key, value in told.items() if value is not None})])


def wrong_conversations():
    """(name, what is said before the first ACK, what is said after it, part of the reason)"""
    good = exit_record("<0.1.0>")

    def record(*array):
        return frame([RECORD, *array])

    def without(part, key):
        changed = exit_record("<0.1.0>")
        del changed[part][key]
        return record(1, 1, 0, 0, pack_keys(changed))

    yield "length zero", b"\0\0\0\0", None, "0 bytes"
    yield "length max + 1", b"\0\1\0\1", None, "65537 bytes"
    yield "length 2^32 - 1", b"\xff\xff\xff\xff", None, "4294967295 bytes"
    yield "http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", None, "bytes"
    yield "garbage", b"\0\0\0\x10" + bytes(range(0xf0, 0x100)), None, ""
    yield "version 2", frame([HELLO, 2, {}]), None, "version 2"
    yield "version huge", frame([HELLO, 2 ** 62]), None, "version 4611686018427387904"
    yield "version text", frame([HELLO, "1", {}]), None, "no unsigned"
    yield "no array", frame({}), None, "no array"
    yield "unknown type", frame([99]), None, "unknown type 99"
    yield "an ACK", frame([16, 1]), None, "unknown type 16"
    yield "record first", record(1, 1, 0, 0, pack_keys(good)), None, "before the HELLO"
    yield "bye first", frame([BYE, 0]), None, "before the HELLO"
    for key in ("incarnation", "name", "host", "os_pid", "otp", "first_held", "made"):
        yield "hello without " + key, hello(**{key: None}), None, key
    yield "incarnation of wrong form", hello(incarnation="XYZ"), None, "hex digits"
    yield "name too long", hello(name="n" * 4000), None, "name"
    yield "hello, then record at once", hello() + record(1, 1, 0, 0, pack_keys(good)), None, "acknowledged"
    yield "two hellos", hello(), hello(), "second HELLO"
    yield "sequence 0", hello(), record(0, 1, 0, 0, pack_keys(good)), "number 0"
    yield "sequence negative", hello(), record(-1, 1, 0, 0, pack_keys(good)), "does not have"
    yield "sequence 2^63", hello(), record(2 ** 63, 1, 0, 0, pack_keys(good)), "2^63"
    yield "kind unknown", hello(), record(1, 1, 0, 77, pack_keys(good)), "kind 77"
    yield "record without a map", hello(), record(1, 1, 0, 0, []), "map"
    yield "record that is empty", hello(), record(1, 1, 0, 0, {}), "severity"
    yield "record too short", hello(), record(1, 1), "elements"
    yield "record with a float", hello(), record(1, 1, 0, 0, {2: 1.5}), "does not have"
    yield "record with bytes", hello(), record(1, 1, 0, 0, {2: b"x"}), "does not have"
    yield "record with a tag", hello(), record(1, 1, 0, 0, {2: cbor2.CBORTag(1, 1)}), "does not have"
    yield "record with a text key", hello(), record(1, 1, 0, 0, {"Bad Key": 1}), "key"
    yield "record without pid", hello(), without("process", "pid"), "process.pid"
    yield "record without source", hello(), without("exit", "source"), "exit.source"
    yield "record with wrong pid", hello(), record(1, 1, 0, 0, pack_keys(dict(good, process={"pid": 1}))), "process.pid"
    yield "record with an id of its own", hello(), record(1, 1, 0, 0, pack_keys(dict(good, id="x"))), "'id'"
    yield "severity unknown", hello(), record(1, 1, 0, 0, pack_keys(dict(good, severity="fatal"))), "severity"
    yield "gap without gap", hello(), record(1, 1, 0, 1, {1: "info", 2: "m"}), "gap"
    yield "depth bomb", hello(), b"\0\0\xea\x60" + b"\x81" * 60000, "no unsigned"
    yield "items bomb", hello(), frame([RECORD, 1, 1, 0, 0, {2: [None] * 60000}]), "items"
    yield "map that claims 2^60 pairs", hello(), b"\0\0\0\x0f\x86\2\1\1\0\0\xbb\x10\0\0\0\0\0\0\0", "item"
    yield "text that claims 4 GiB", hello(), b"\0\0\0\x0c\x86\2\1\1\0\0\xa1\x02\x7a\xff\xff\xff", "item"
    yield "text too long", hello(), record(1, 1, 0, 0, {2: "x" * 5000}), "5000 bytes"
    yield "two items in a frame", hello(), b"\0\0\0\4" + b"\x82\4\0\0", "after the end"
    yield "counters with text", hello(), frame([COUNTERS, 1, {59: "x"}]), "normal"
    yield "counters without map", hello(), frame([COUNTERS, 1]), "elements"
    yield "frame after bye", hello(), frame([BYE, 0]) + frame([BYE, 0]), "after BYE"


@test
def test_wrong_frames(s):
    """Each closes its own connection with one line in the log and an ERROR, and harms no other."""
    daemon = s.start()
    healthy = FakeNode(daemon.ingest, name="healthy@h")
    check(healthy.connect())
    count = 0
    for name, first, second, reason in wrong_conversations():
        before = len(daemon.logged("warning: "))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(daemon.ingest)
            sock.sendall(first)
            if second is not None:
                equal(cbor2.loads(sock.recv(100)[4:])[0], 16, name + ": the hello is acknowledged")
                sock.sendall(second)
            said = list(frames_of(receive_all(sock)))
        count += 1
        check(said and said[-1][0] == ERROR, name + ": no ERROR frame", said)
        check(reason in said[-1][1], name, said)
        daemon.wait_log("warning: ", before + 1)
        healthy.make()
        check(healthy.deliver(), name + ": the healthy node was harmed")
        equal(len(daemon.logged("warning: ")), before + 1, name + ": one line")
    check(count > 40)
    equal(len(daemon.rows()), healthy.made, "nothing wrong was stored")
    daemon.stop()


@test
def test_truncated_frames(s):
    """Every prefix of a conversation, and then the end."""
    daemon = s.start()
    healthy = FakeNode(daemon.ingest, name="healthy@h")
    check(healthy.connect())
    record = frame([RECORD, 1, 1, 0, 0, pack_keys(exit_record("<0.1.0>"))])
    middle = 0
    for cut in range(0, len(record) + 1, 3):
        greeting = hello(incarnation="%016x" % (cut + 1))
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(daemon.ingest)
            sock.sendall(greeting)
            sock.recv(100)
            sock.sendall(record[:cut])
            sock.shutdown(socket.SHUT_WR)
            said = list(frames_of(receive_all(sock)))
        if 0 < cut < len(record):
            middle += 1
            equal(said[-1][0], ERROR)
            daemon.wait_log("in the middle of a frame", middle)
        else:
            check(all(array[0] == 16 for array in said), cut, said)
    for cut in range(1, len(hello()), 7):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(daemon.ingest)
            sock.sendall(hello()[:cut])
        middle += 1
        daemon.wait_log("in the middle of a frame", middle)
    healthy.make()
    check(healthy.deliver())
    equal(len(daemon.logged("middle of a frame")), middle)
    daemon.stop()


@test
def test_one_byte_at_a_time(s):
    daemon = s.start()
    record = frame([RECORD, 1, 1, 0, 0, pack_keys(exit_record("<0.1.0>"))])
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(daemon.ingest)
        for byte in hello():
            sock.sendall(bytes([byte]))
        equal(cbor2.loads(sock.recv(100)[4:]), [16, 0])
        for byte in record:
            sock.sendall(bytes([byte]))
        equal(cbor2.loads(sock.recv(100)[4:]), [16, 1])
    daemon.stop()


@test
def test_silent_peer_is_sent_away(s):
    daemon = s.start(binary=s.plain)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(daemon.ingest)
        said = list(frames_of(receive_all(sock)))
    check("10 seconds" in said[0][1], said)
    daemon.stop()


@test
def test_too_few_descriptors(s):
    """More peers than descriptors: the daemon neither dies nor spins, says so once, and serves who waits as soon as it can."""
    daemon = s.start(binary=s.plain, limits=[(resource.RLIMIT_NOFILE, 40)])
    socks = []
    for _ in range(24):
        sock = socket.socket(socket.AF_UNIX)
        s.undo.callback(sock.close)
        sock.settimeout(60)
        sock.connect(daemon.ingest)
        socks.append(sock)
    daemon.wait_log("cannot accept a node: Too many open files; who comes has to wait")
    before = daemon.cpu_seconds()
    node = FakeNode(daemon.ingest)
    node.make()
    # Nobody of them says HELLO: the daemon itself makes room, and the last of those who waited gets its turn.
    check(b"no HELLO" in socks[-1].recv(100))
    for sock in socks:
        sock.close()
    while not (node.connect() and node.deliver()):
        pass
    check(daemon.cpu_seconds() - before < 2, "it spins")
    daemon.stop()


# ---- questions --------------------------------------------------------------------------------------


def with_records(s, **options):
    """A daemon that has something to tell."""
    daemon = s.start(**options)
    node = FakeNode(daemon.ingest, name="a@h")
    for i in range(60):
        source = ("self_error", "kill", "purge")[i % 3]
        origin = {"pid": "<0.%d.0>" % i, "module": "m%d" % (i % 2), "by_name": "shell"} if source == "purge" else None
        node.make(exit_record("<0.%d.0>" % i, source=source, name="name%d" % i if i % 10 == 0 else None,
                              module="mod%d" % (i % 4), origin=origin), time_ns=(1000 + i) * 10 ** 9)
    check(node.connect() and node.deliver())
    other = FakeNode(daemon.ingest, name="b@h")
    for i in range(10):
        other.make(exit_record("<0.%d.0>" % i, module="mod0"), time_ns=(2000 + i) * 10 ** 9)
    check(other.connect() and other.deliver())
    return daemon, node, other


def records_of(answer):
    return [line["exit"] for line in answer if "exit" in line]


def pids_of(answer):
    return [int(record["process"]["pid"][3:-3]) for record in records_of(answer)]


@test
def test_query(s):
    daemon, node, other = with_records(s)
    answer = daemon.ask({"id": "q", "op": "query"})
    equal(len(answer), 71)
    check(all(line["id"] == "q" for line in answer))
    equal(answer[-1], {"id": "q", "done": True, "count": 70})
    equal([record["id"] for record in records_of(answer)], list(reversed(daemon.rows())))
    equal([record["id"] for record in records_of(daemon.ask({"op": "query", "order": "asc"}))], daemon.rows())

    def pids(**request):
        return pids_of(daemon.ask(dict(request, op="query", order="asc")))

    equal(pids(where={"node": "b@h"}), list(range(10)))
    equal(pids(where={"node": "a@h", "exit.source": "kill"}), list(range(1, 60, 3)))
    equal(pids(where={"exit.source": ["kill", "purge"], "process.initial_call": "mod1:init/1", "node": "a@h"}),
          [i for i in range(60) if i % 3 != 0 and i % 4 == 1])
    equal(pids(where={"origin.module": "m1"}), [i for i in range(60) if i % 3 == 2 and i % 2 == 1])
    equal(pids(where={"process.pid": "<0.7.0>"}), [7, 7])
    equal(pids(where={"process.name": None, "node": "a@h"}), [i for i in range(60) if i % 10])
    equal(pids(where={"process.trap_exit": True}), [])
    equal(len(pids(where={"process.trap_exit": False, "node.os_pid": os.getpid()})), 70)
    equal(pids(where={"origin.by_name": "shell", "exit.reason": "badarg", "node.incarnation": node.incarnation}),
          list(range(2, 60, 3)))
    equal(pids(where={"id": other.incarnation + "-3"}), [2])
    equal(pids(since="1970-01-01T00:17:30Z", until="1970-01-01T00:17:35.5Z"), list(range(50, 56)))
    equal(pids(since="1970-01-01T00:33:25Z"), list(range(5, 10)))
    equal(pids(until="1970-01-01T00:16:40Z"), [0])
    equal(pids(since="-1h"), [])
    equal(len(pids(until="now")), 70)
    equal(pids(where={"node": "' OR 1=1 --"}), [])
    daemon.stop()


@test
def test_cursors(s):
    daemon, _, _ = with_records(s)
    for order in ("asc", "desc", None):
        whole, request = [], {"op": "query", "limit": 7, "where": {"node": "a@h"}}
        if order is not None:
            request["order"] = order
        while True:
            answer = daemon.ask(request)
            whole += pids_of(answer)
            equal(answer[-1]["count"], len(answer) - 1)
            if "next" not in answer[-1]:
                break
            equal(len(answer), 8)
            request = {"op": "query", "limit": 7, "where": {"node": "a@h"}, "cursor": answer[-1]["next"]}
        equal(whole, list(range(60)) if order == "asc" else list(range(59, -1, -1)))
    # When the limit is just met there is no more.
    check("next" not in daemon.ask({"op": "query", "limit": 70})[-1])
    check("next" in daemon.ask({"op": "query", "limit": 69})[-1])
    daemon.stop()


@test
def test_why(s):
    daemon, node, other = with_records(s)

    def why(**request):
        return daemon.ask(dict(request, op="why", id=5))

    answer = why(pid="<0.7.0>")
    equal(answer[0]["exit"]["id"], other.incarnation + "-8")
    equal(answer[1], {"id": 5, "done": True, "count": 1, "others": [
        {"node": "a@h", "incarnation": node.incarnation, "count": 1, "record": node.incarnation + "-8"}]})
    answer = why(pid="<0.7.0>", node="a@h")
    equal((answer[0]["exit"]["id"], answer[1]["others"]), (node.incarnation + "-8", []))
    equal(why(name="name50")[0]["exit"]["process"]["pid"], "<0.50.0>")
    answer = why(name="mod0")
    equal(answer[0]["exit"]["id"], other.incarnation + "-10")
    equal(answer[1]["others"], [{"node": "a@h", "incarnation": node.incarnation, "count": 15,
                                 "record": node.incarnation + "-57"}])
    equal(why(name="mod3")[0]["exit"]["id"], node.incarnation + "-60")
    for request in (dict(pid="<0.99.0>"), dict(name="nobody"), dict(pid="<0.7.0>", node="c@h")):
        error = why(**request)[-1]["error"]
        equal((error["code"], error["field"]), ("not_found", next(iter(request))))
    daemon.stop()


@test
def test_why_counts_others_within_bounds(s):
    """Of a name that up to 256 exits have it is told which other nodes have it; of more it is not, however fast it were."""
    daemon = s.start(*s.config("store { segment_rows = 100 }"), out=None)
    nodes = [FakeNode(daemon.ingest, name="n%d@h" % i) for i in range(4)]
    for node in nodes:
        for i in range(60):
            node.make(exit_record("<0.%d.0>" % i, name="both" if i < 15 else None, module="both" if i < 30 else "many"))
        check(node.connect() and node.deliver())
    answer = daemon.ask({"op": "why", "name": "both"})
    equal(answer[0]["exit"]["id"], nodes[3].incarnation + "-30")
    equal([(other["node"], other["count"], other["record"]) for other in answer[1]["others"]],
          [("n%d@h" % i, 30, nodes[i].incarnation + "-30") for i in (2, 1, 0)])
    for i in range(16):
        nodes[0].make(exit_record("<0.%d.1>" % i, name="many"))
        nodes[0].make(exit_record("<0.%d.1>" % i, module="many"))
    check(nodes[0].deliver())
    # 16 of the name, and 120 and 16 of the module: fewer than 256.
    equal(sum(other["count"] for other in daemon.ask({"op": "why", "name": "many"})[-1]["others"]), 90)
    for i in range(105):
        nodes[1].make(exit_record("<0.%d.2>" % i, module="many"))
    check(nodes[1].deliver())
    answer = daemon.ask({"op": "why", "name": "many"})
    equal(answer[0]["exit"]["process"]["pid"], "<0.104.2>")
    check(answer[-1]["done"] and "others" not in answer[-1], answer[-1])
    daemon.stop()


@test
def test_sleeps_when_nothing_comes(s):
    """With a node and a subscriber that are silent, no thread of the daemon wakes up."""
    daemon = s.start(binary=s.plain)
    node = FakeNode(daemon.ingest)
    node.make()
    check(node.connect() and node.deliver())
    with s.client(daemon) as client:
        client.send({"id": 1, "op": "subscribe"})
        client.line()
        threads = "/proc/%d/task" % daemon.process.pid

        def sleeps():
            total = 0
            for thread in os.listdir(threads):
                with open("%s/%s/status" % (threads, thread)) as status:
                    total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.M).group(1))
            return total

        # What is begun comes to its end: the cursor of the file is noted within a second or two.
        for _ in range(20):
            before = sleeps()
            check(not select.select([client.socket], [], [], 2.2)[0], "nothing was to come")
            if sleeps() == before:
                break
        else:
            check(False, "it does not come to rest")
    daemon.stop()


@test
def test_count(s):
    daemon, _, _ = with_records(s)

    def count(**request):
        answer = daemon.ask(dict(request, op="count"))
        check(answer[-1].get("done"), answer)
        return {tuple(line["group"].values()): line["count"] for line in answer[:-1]}

    equal(count(), {(): 70})
    equal(count(by=[]), {(): 70})
    equal(count(by=["exit.source"]), {("self_error",): 30, ("kill",): 20, ("purge",): 20})
    equal(count(by=["node", "exit.source"], where={"exit.source": ["kill", "self_error"]}),
          {("a@h", "kill"): 20, ("a@h", "self_error"): 20, ("b@h", "self_error"): 10})
    equal(count(by=["origin.module"]), {(None,): 50, ("m0",): 10, ("m1",): 10})
    equal(count(by=["process.trap_exit"]), {(0,): 70})
    equal(count(since="1970-01-01T00:33:25Z"), {(): 5})
    answer = daemon.ask({"op": "count", "by": ["process.pid"], "limit": 3})
    equal((len(answer), answer[-1]["count"], answer[-1]["truncated"]), (4, 3, True))
    daemon.stop()


@test
def test_bad_questions(s):
    daemon, node, _ = with_records(s)
    cases = [
        ({"op": "query", "limmit": 1}, "bad_request", "limmit"),
        ({"op": "query", "limit": 0}, "bad_request", "limit"),
        ({"op": "query", "limit": 10001}, "bad_request", "limit"),
        ({"op": "query", "limit": "5"}, "bad_request", "limit"),
        ({"op": "query", "order": "up"}, "bad_request", "order"),
        ({"op": "query", "order": 1}, "bad_request", "order"),
        ({"op": "query", "cursor": "c1.x"}, "bad_request", "cursor"),
        ({"op": "query", "cursor": 7}, "bad_request", "cursor"),
        ({"op": "query", "cursor": "c1.d5", "order": "asc"}, "bad_request", "cursor"),
        ({"op": "query", "where": {"origin.sauce": "x"}}, "bad_request", "origin.sauce"),
        ({"op": "query", "where": {"node": {"like": "x"}}}, "bad_request", "node"),
        ({"op": "query", "where": "node"}, "bad_request", "where"),
        ({"op": "query", "since": "yesterday"}, "bad_request", "since"),
        ({"op": "query", "until": 5}, "bad_request", "until"),
        ({"op": "query", "bare": 1}, "bad_request", "bare"),
        ({"op": "get"}, "bad_request", "record"),
        ({"op": "get", "record": 5}, "bad_request", "record"),
        ({"op": "get", "record": "x"}, "bad_request", "record"),
        ({"op": "get", "record": node.incarnation + "-1x"}, "bad_request", "record"),
        ({"op": "get", "record": node.incarnation + "--1"}, "bad_request", "record"),
        ({"op": "get", "record": node.incarnation + "-99999999999999999999"}, "bad_request", "record"),
        ({"op": "get", "record": node.incarnation + "-12345"}, "not_found", "record"),
        ({"op": "why"}, "bad_request", "pid"),
        ({"op": "why", "pid": "<0.1.0>", "name": "x"}, "bad_request", "name"),
        ({"op": "why", "pid": 5}, "bad_request", "pid"),
        ({"op": "why", "pid": "<0.1.0>", "node": 5}, "bad_request", "node"),
        ({"op": "count", "by": "node"}, "bad_request", "by"),
        ({"op": "count", "by": ["node", "severity", "id"]}, "bad_request", "by"),
        ({"op": "count", "by": ["nod"]}, "bad_request", "by"),
        ({"op": "count", "by": [1]}, "bad_request", "by"),
        ({"op": "subscribe", "from": "then"}, "bad_request", "from"),
        ({"op": "subscribe", "from": "c1.d5"}, "bad_request", "from"),
        ({"op": "subscribe", "limit": 5}, "bad_request", "limit"),
        ({"op": "unsubscribe"}, "not_found", "id"),
        ({"op": "status", "x": 1}, "bad_request", "x"),
        ({"op": "dance"}, "unknown_op", "op"),
        ({"op": "\u00e9" * 100}, "unknown_op", "op"),
        ({"op": 5}, "bad_request", "op"),
        ({}, "bad_request", "op"),
        ({"op": "query", "\u20ac" * 60: 1}, "bad_request", None),
        ({"op": "help", "id": "x" * 400}, "bad_request", "id"),
    ]
    with s.client(daemon) as client:
        for number, (request, code, field) in enumerate(cases):
            request.setdefault("id", number)
            client.send(request)
            answer = client.line()
            equal(answer["id"], number if len(str(request["id"])) < 100 else None)
            error = answer["error"]
            equal(error["code"], code, request)
            if field is not None:
                equal(error["field"], field, request)
            check(len(error["message"]) > 10, error)
            equal(set(error), {"code", "message", "field"})
        # It is still the same connection, and it still works.
        client.send({"id": "end", "op": "version"})
        equal(client.line()["version"]["protocol"], 1)
    for junk in (b"hello\n", b"{\n", b"[]\n", b"5\n", b"null\n", b'{"op":"help","op":"help"}\n', b"\xff\xfe\n",
                 b'{"op":"\xff"}\n', b"[" * 5000 + b"\n", b'{"op":"query","limit":99999999999999999999}\n',
                 b'{"op":"help"} {"op":"help"}\n'):
        answer = daemon.ask(junk, {"id": 1, "op": "version"})
        equal([line["error"]["code"] for line in answer], ["bad_json"], junk)
    for size in (65537, 70000, 1000000):
        with s.client(daemon) as client:
            try:
                client.send(b"x" * size)
            except (BrokenPipeError, ConnectionResetError):
                pass
            equal(client.line()["error"]["code"], "too_large")
    daemon.stop()


@test
def test_one_shot(s):
    """As `nc -N -U`: the answers come after the end of the questions, whether or not they end in a newline."""
    daemon, _, _ = with_records(s)
    equal(len(daemon.ask(b'{"op":"query","limit":3}')), 4)
    equal(daemon.ask(b""), [])
    equal(daemon.ask(b"\n \n\r\n"), [])
    answer = daemon.ask(*[{"id": i, "op": ("version", "nonsense", "query", "status")[i % 4]} for i in range(200)])
    ids = [line["id"] for line in answer]
    equal(ids, sorted(ids), "answers come in the order of the questions")
    equal(len(set(ids)), 200)
    lines = daemon.ask({"op": "query", "bare": True, "limit": 5}, raw=True).splitlines(keepends=True)
    equal(len(lines), 5)
    for line in lines:
        check_line(line)
    equal(daemon.ask({"op": "query", "bare": True, "limit": 0})[0]["error"]["field"], "limit")
    equal(daemon.ask({"op": "count", "bare": True}), [{"group": {}, "count": 70}])
    daemon.stop()


@test
def test_help_is_true(s):
    """What help shows can be asked."""
    daemon, node, _ = with_records(s)
    answer = daemon.ask({"op": "help"})[0]
    ops = {op["op"]: op for op in answer["ops"]}
    equal(set(ops), {"query", "get", "why", "count", "tree", "subscribe", "unsubscribe", "nodes", "status", "version", "help"})
    for name, op in ops.items():
        check(len(op["summary"]) > 10, op)
        with s.client(daemon) as client:
            client.send(op["usage"].encode() + b"\n")
            line = client.line()
            check("error" not in line or line["error"]["code"] == "not_found", name, line)
    for field in answer["fields"]:
        value = [answer["values"].get(field, ["x"])[0], 1, True] if field not in ("time", "gap.from", "gap.to") else ["now"]
        equal(daemon.ask({"op": "count", "by": [field], "where": {field: value}})[-1]["done"], True, field)
    # A closed list is closed, for every value of it and for every field that has one.
    for field, values in answer["values"].items():
        check(field in answer["fields"] + answer["lists"] and len(values) > 2, field)
        equal(daemon.ask({"op": "query", "where": {field: values}})[-1]["done"], True, field)
        error = daemon.ask({"op": "query", "where": {field: values + ["no_such"]}})[-1]["error"]
        check(error["code"] == "bad_request" and error["field"] == field and values[-1] in error["message"], error)
    status = daemon.status()
    equal((status["store"]["stored"], status["store"]["incarnations"], status["ingest"]["nodes_connected"]), (70, 2, 2))
    daemon.stop()


@test
def test_long_answer_to_a_slow_reader(s):
    """A large answer is made as it is read, not before."""
    daemon = s.start(binary=s.plain)
    node = FakeNode(daemon.ingest)
    record = exit_record("<0.1.0>", reason="r" * 1500)
    for _ in range(10000):
        node.make(record)
    check(node.connect() and node.deliver())
    before = daemon.rss_mib()
    with s.client(daemon) as slow, s.client(daemon) as quick:
        slow.send({"id": 1, "op": "query", "limit": 10000}, {"id": 2, "op": "version"})
        # The slow one's answer of tens of MiB has begun; others are served meanwhile.
        equal(slow.line()["id"], 1)
        quick.send({"op": "count"})
        equal(quick.line()["count"], 10000)
        quick.line()
        check(daemon.rss_mib() - before < 16, "the answer is kept in memory", before, daemon.rss_mib())
        equal(sum(1 for _ in range(10000) if slow.line()["id"] == 1), 10000)
        check("version" in slow.line())
    daemon.stop()


@test
def test_connection_limits(s):
    with open(s.path("coronerd.conf"), "w") as config:
        config.write("limits { query_connections = 64 }\n")
    daemon = s.start("-c", s.path("coronerd.conf"))
    clients = [s.client(daemon) for _ in range(64)]
    clients[-1].send({"op": "version"})
    check("version" in clients[-1].line())
    with s.client(daemon) as extra:
        equal(extra.line()["error"]["code"], "too_many_connections")
        equal(extra.line(), None)
    clients[0].close()
    clients[1].send(*[{"id": i, "op": "subscribe"} for i in range(17)])
    answers = [clients[1].line() for _ in range(17)]
    equal(sum(1 for line in answers if line.get("subscribed")), 16)
    equal([line["error"]["code"] for line in answers if "error" in line], ["too_many_requests"])
    clients[1].send({"id": 3, "op": "subscribe"}, {"id": 3, "op": "unsubscribe"}, {"id": 3, "op": "subscribe"})
    equal(clients[1].line()["error"]["code"], "too_many_requests")
    equal(clients[1].line(), {"id": 3, "done": True, "count": 0})
    equal(clients[1].line()["subscribed"], True)
    clients[1].send({"id": 3, "op": "unsubscribe"})
    equal(clients[1].line()["done"], True)
    clients[1].send({"id": 4, "op": "subscribe"})
    equal(clients[1].line()["error"]["field"], "id")
    daemon.stop()


# ---- subscriptions ----------------------------------------------------------------------------------


@test
def test_history_joins_live(s):
    """From a cursor in the past into what is being written: every record once, in order."""
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    for _ in range(3000):
        node.make(exit_record("<0.%d.0>" % (node.made % 10)))
    check(node.connect())
    check(node.until(lambda: node.acked >= 1000))
    first = daemon.ask({"op": "query", "order": "asc", "limit": 500})
    seen = [record["id"] for record in records_of(first)]
    client = s.client(daemon)
    client.send({"id": 1, "op": "subscribe", "from": first[-1]["next"]},
                {"id": 2, "op": "subscribe", "from": first[-1]["next"], "where": {"process.pid": "<0.3.0>"}})
    filtered = []
    total = 6000

    def feed():
        while node.made < total:
            node.make(exit_record("<0.%d.0>" % (node.made % 10)))
            node.turn(0)
        node.deliver()

    thread = threading.Thread(target=feed)
    thread.start()
    s.undo.callback(thread.join)
    cursors = []
    while len(seen) < total or len(filtered) < 550:
        line = client.line()
        if "exit" not in line:
            check(line.get("subscribed"), line)
            continue
        if line["id"] == 1:
            seen.append(line["exit"]["id"])
            cursors.append(line["cursor"])
        else:
            filtered.append(line["exit"]["id"])
    thread.join()
    equal(seen, ["%s-%d" % (node.incarnation, i) for i in range(1, total + 1)])
    equal(filtered, [row for row in seen[500:] if (int(row[17:]) - 1) % 10 == 3])
    # The cursor of any line is a place to go on from, for a subscription and for a query.
    half = cursors[1000]
    with s.client(daemon) as other:
        other.send({"id": 9, "op": "subscribe", "from": half})
        other.line()
        equal(other.line()["exit"]["id"], seen[1501])
    equal(records_of(daemon.ask({"op": "query", "cursor": half, "limit": 1}))[0]["id"], seen[1501])
    client.send({"id": 1, "op": "unsubscribe"})
    equal(client.line(), {"id": 1, "done": True, "count": total - 500})
    node.make(exit_record("<0.3.0>"))
    check(node.deliver())
    equal(client.line()["id"], 2)
    check(client.nothing_to_read())
    daemon.stop()


@test
def test_subscription_from_now(s):
    daemon, node, _ = with_records(s)
    client = s.client(daemon)
    client.send({"id": "s", "op": "subscribe", "where": {"exit.source": "kill"}})
    equal(client.line()["subscribed"], True)
    bare = s.client(daemon)
    bare.send({"op": "subscribe", "bare": True}, {"id": 1, "op": "version"})
    check("version" in bare.line(), "a bare subscription says nothing of itself")
    equal(bare.line()["done"], True)
    node.make(exit_record("<0.1.0>"))
    wanted = node.make(exit_record("<0.2.0>", source="kill"))
    check(node.deliver())
    equal(client.line()["exit"]["id"], wanted)
    equal(bare.line()["process"]["pid"], "<0.1.0>")
    equal(bare.line()["id"], wanted)
    daemon.stop()
    equal(client.line(), None)


@test
def test_subscriber_that_does_not_read(s):
    """It costs the daemon no memory and the nodes no time; it is told what it missed, and where that is."""
    daemon = s.start(binary=s.plain)
    node = FakeNode(daemon.ingest)
    record = exit_record("<0.1.0>", reason="r" * 300)
    node.make(record)
    check(node.connect() and node.deliver())
    client = s.client(daemon, receive_buffer=4096)
    client.send({"id": 1, "op": "subscribe"})
    equal(client.line()["subscribed"], True)
    before = daemon.rss_mib()
    for _ in range(40):
        for _ in range(1000):
            node.make(record)
        check(node.deliver())
    check(daemon.rss_mib() - before < 24, "memory grows with what is not read", before, daemon.rss_mib())
    lagged, seen = None, []
    while lagged is None:
        line = client.line()
        if "lagged" in line:
            lagged = line["lagged"]
        else:
            seen.append(line["exit"]["id"])
    last = node.make(record)
    check(node.deliver())
    after = client.line()["exit"]["id"]
    while after != last:
        after = client.line()["exit"]["id"]
    check(lagged["dropped"] > 16384, lagged)
    # What was left out can be had: together it is everything, once.
    missed, cursor = [], lagged["resume"]
    while len(missed) < lagged["dropped"]:
        answer = daemon.ask({"op": "query", "cursor": cursor, "limit": min(10000, lagged["dropped"] - len(missed))})
        missed += [record["id"] for record in records_of(answer)]
        cursor = answer[-1].get("next")
    both = seen + missed
    equal(both, ["%s-%d" % (node.incarnation, i) for i in range(2, 2 + len(both))])
    check(len(both) <= 40001)
    daemon.stop()


@test
def test_half_closed_subscription(s):
    """`nc -N` sends its end at once: the subscription goes on, until the peer is really gone."""
    daemon, node, _ = with_records(s)
    client = s.client(daemon)
    client.send({"id": 1, "op": "subscribe"}, {"id": 2, "op": "version"})
    client.end()
    answers = [client.line() for _ in range(3)]
    check(any("subscribed" in line for line in answers) and any("version" in line for line in answers), answers)
    wanted = node.make()
    check(node.deliver())
    equal(client.line()["exit"]["id"], wanted)
    equal(daemon.status()["query"]["subscriptions"], 1)
    client.close()
    daemon.until_status(lambda status: status["query"]["subscriptions"] == 0)
    daemon.stop()


# ---- the sink ---------------------------------------------------------------------------------------


@test
def test_sighup_opens_the_file_anew(s):
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    check(node.connect())
    moved = []
    for turn in range(5):
        for _ in range(500):
            node.make()
        check(node.until(lambda: node.acked >= node.made - 250))
        moved.append(s.path("moved%d" % turn))
        os.rename(daemon.out, moved[-1])
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_log("opened anew", turn + 1)
    check(node.deliver())
    daemon.stop()
    ids = [line for name in moved + [daemon.out] for line in daemon.file_ids(name, every=50)]
    equal(ids, daemon.rows())
    equal(len(ids), 2500)


@test
def test_torn_line_is_mended(s):
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    for _ in range(20):
        node.make()
    check(node.connect() and node.deliver())
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)
    with open(daemon.out, "rb") as file:
        whole = file.read()
    lines = whole.splitlines(keepends=True)
    daemon.kill()
    # Killed at any point of the last line, or of the one before it, or of the very first one.
    cuts = [(count, part) for count in (19, 18, 0) for part in (0, 1, 5, 40, 60, 80, 200, -1)]
    for number, (count, part) in enumerate(cuts):
        with open(daemon.out, "wb") as file:
            file.write(b"".join(lines[:count]) + lines[count][:part])
        # As if the cursor had not been saved either.
        subprocess.run(["/usr/bin/sqlite3", daemon.segments()[-1], "DELETE FROM sinks"], check=True)
        daemon = s.start(binary=s.plain if number % 4 else s.san)
        daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)
        daemon.stop()
        with open(daemon.out, "rb") as file:
            got = file.read()
        check(got == whole, "not what it was", count, part, got[-300:])


@test
def test_foreign_file_is_not_damaged(s):
    with open(s.path("out.ndjson"), "wb") as file:
        file.write(b"somebody's notes\nwithout an end")
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    node.make()
    check(node.connect() and node.deliver())
    daemon.stop()
    with open(daemon.out, "rb") as file:
        lines = file.read().splitlines(keepends=True)
    equal(lines[:2], [b"somebody's notes\n", b"without an end\n"])
    check_line(lines[2])


@test
def test_new_sink_gets_everything(s):
    daemon = s.start(out=None)
    node = FakeNode(daemon.ingest)
    for _ in range(100):
        node.make()
    check(node.connect() and node.deliver())
    equal(daemon.status()["sinks"], [])
    daemon.stop()
    daemon = s.start()
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)
    daemon.stop()
    equal(daemon.file_ids(), daemon.rows())
    # And one that had everything gets nothing twice, also by another name of the same file.
    daemon = s.start(out="./out.ndjson")
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)
    daemon.stop()
    equal(len(daemon.file_ids()), 100)


@test
def test_stdout(s):
    """A pipe that is not read holds up neither the loop nor the nodes; then everything comes."""
    daemon = s.start(out="-", stdout=subprocess.PIPE)
    s.undo.callback(daemon.process.stdout.close)
    node = FakeNode(daemon.ingest)
    for _ in range(3000):
        node.make()
    check(node.connect() and node.deliver(), "ingest waits for the reader of stdout")
    check(daemon.status()["sinks"][0]["behind"] > 0, "the pipe took it all")
    ids = [check_line(daemon.process.stdout.readline(), schema=i % 50 == 0)["id"] for i in range(3000)]
    equal(ids, daemon.rows())
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)
    daemon.stop()
    # The next run goes on, and says so when its reader goes.
    daemon = s.start(out="-", stdout=subprocess.PIPE)
    node.make()
    check(node.connect() and node.deliver())
    equal(check_line(daemon.process.stdout.readline())["id"], node.incarnation + "-3001")
    daemon.process.stdout.close()
    node.make()
    check(node.deliver())
    daemon.wait_log("nobody reads any more")
    node.make()
    check(node.deliver())
    equal(daemon.status()["sinks"][0]["state"], "broken")
    daemon.stop()


@test
def test_second_sigterm_ends_at_once(s):
    """What a reader of stdout did not take stays in the store for the next run."""
    daemon = s.start(out="-", stdout=subprocess.PIPE)
    s.undo.callback(daemon.process.stdout.close)
    node = FakeNode(daemon.ingest)
    for _ in range(3000):
        node.make()
    check(node.connect() and node.deliver())
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_log("finishing what has come")
    daemon.process.send_signal(signal.SIGTERM)
    equal(daemon.wait(), 74)
    equal(len(daemon.logged("error: ")), 1)
    check(not os.path.exists(daemon.ingest) and not os.path.exists(daemon.query), "sockets are left")
    seen = {check_line(line, schema=False)["id"] for line in daemon.process.stdout.read().splitlines(keepends=True)
            if line.endswith(b"\n")}
    again = s.start(out="-", stdout=subprocess.PIPE)
    s.undo.callback(again.process.stdout.close)
    while len(seen) < 3000:
        seen.add(check_line(again.process.stdout.readline(), schema=False)["id"])
    equal(seen, set(again.rows()))
    again.stop()


@test
def test_full_disk(s):
    """A store or file that cannot grow: nothing is acknowledged that is not stored, and when there is
    room again everything goes on."""
    daemon = s.start(binary=s.plain)
    node = FakeNode(daemon.ingest)
    record = exit_record("<0.1.0>", reason="r" * 3000)
    for _ in range(100):
        node.make(record)
    check(node.connect() and node.deliver())
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)

    def limit(size):
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    # First only the file: it is a little larger than what the store's journal needs for one record.
    size = os.path.getsize(daemon.out)
    wal = os.path.getsize(daemon.segments()[-1] + "-wal")
    limit(max(size, wal) + 300000)
    for _ in range(2000):
        node.make(record)
    daemon_said = "cannot write"
    while not daemon.logged(daemon_said):
        check(node.turn(0.1))
    stored = daemon.status()["store"]["stored"]
    check(node.acked <= stored, "acknowledged and not stored", node.acked, stored)
    limit(resource.RLIM_INFINITY)
    check(node.deliver(seconds=60))
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)
    daemon.wait_log("can be written again")
    equal(len(daemon.rows()), 2100)
    daemon.stop()
    equal(daemon.file_ids(every=100), daemon.rows())


@test
def test_fifo_becomes_a_file(s):
    """A FIFO took a part of a line; the file that takes its place begins with a whole one."""
    os.mkfifo(s.path("out.ndjson"))
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    for _ in range(500):
        node.make(exit_record("<0.1.0>", reason="r" * 700))
    check(node.connect() and node.deliver())
    daemon.until_status(lambda status: status["sinks"][0]["behind"] > 0)
    os.rename(daemon.out, s.path("fifo"))
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log("opened anew")
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)
    daemon.stop()
    ids = daemon.file_ids()
    equal(ids, daemon.rows()[-len(ids):])


@test
def test_output_that_turns_bad(s):
    """A full device, a folder, nothing: SIGHUP after SIGHUP, and no record is lost when a file is there again."""
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    check(node.connect())

    def put(what):
        os.rename(daemon.out, s.path("moved%d" % len(os.listdir(s.folder))))
        if what == "folder":
            os.mkdir(daemon.out)
        elif what is not None:
            os.symlink(what, daemon.out)
        for _ in range(50):
            daemon.process.send_signal(signal.SIGHUP)
        for _ in range(20):
            node.make()
        check(node.deliver())

    put("/dev/full")
    daemon.wait_log("cannot write.*No space left")
    equal(daemon.status()["sinks"][0]["state"], "retrying")
    put("folder")
    daemon.wait_log("Is a directory; going on with the old one")
    put(None)
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)
    daemon.stop()
    equal(daemon.file_ids(), daemon.rows())


@test
def test_path_that_is_no_utf8(s):
    """The status tells it as well as JSON can."""
    folder = os.path.join(os.fsencode(s.folder), b"\xff")
    os.mkdir(folder)
    daemon = s.start("--store", folder + b"/\xe9.db", "--out", folder + b"/\xc3.ndjson")
    status = daemon.status()
    check(status["store"]["path"].endswith("\ufffd/\ufffd.db"), status)
    check(status["sinks"][0]["path"].endswith("\ufffd/\ufffd.ndjson"), status)
    daemon.stop()


def limits(s, **values):
    """Arguments that bound the store by these keys of its section; sizes are in bytes."""
    return s.config("store { %s }" % " ".join("%s = %s" % (name, "%dB" % value if name.endswith("bytes") else value)
                                              for name, value in values.items()))


def held(daemon):
    """Rows that can be read and rows that were dropped, by each node."""
    return {incarnation: (node["stored"] - node["expired"], node["expired"])
            for incarnation, node in daemon.nodes().items()}


@test
def test_killed_between_segments(s):
    """A new segment every 40 rows, and killed in the middle of it again and again: no row is lost, none is there twice,
    and none of the counts is wrong."""
    dice = random.Random(20261125)
    nodes = [FakeNode(s.path("ingest.sock"), name="%s@h" % name, outbox=100000) for name in "ab"]
    for number in range(25):
        daemon = s.start(*limits(s, segment_rows=40), binary=s.plain)
        for node in nodes:
            for _ in range(400):
                node.make()
            check(node.connect())
            check(node.until(lambda node=node: node.hello_acked))
        wanted = sum(node.acked for node in nodes) + dice.randrange(1, 600)
        while sum(node.acked for node in nodes) < wanted:
            for node in nodes:
                check(node.turn(0.001), daemon.log())
        daemon.kill()
        for node in nodes:
            node.close()
        check(not daemon.logged("degraded"), daemon.log())
    daemon = s.start(*limits(s, segment_rows=40))
    for node in nodes:
        check(node.connect() and node.deliver())
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0 and not status["store"]["unindexed"])
    status = daemon.status()["store"]
    check(status["segments"] > 20, status)
    equal((status["state"], status["rows"], status["missing"]), ("ok", 20000, 0))
    for node in nodes:
        told = daemon.nodes()[node.incarnation]
        equal((told["made"], told["stored"], told["lost"], told["expired"]), (10000, 10000, 0, 0))
    daemon.stop()
    rows = daemon.rows()
    equal((len(rows), len(set(rows))), (20000, 20000))
    equal(daemon.file_ids(every=200), rows)


@test
def test_killed_while_dropping(s):
    """The store may take 600 KB and drops all the time, and the daemon is killed all the time: what is there and what
    was dropped are all that was stored."""
    dice = random.Random(11252026)
    node = FakeNode(s.path("ingest.sock"), outbox=100000)
    arguments = limits(s, segment_rows=50, max_bytes=600000)
    for number in range(25):
        daemon = s.start(*arguments, binary=s.plain)
        for _ in range(400):
            node.make()
        check(node.connect() and node.until(lambda: node.hello_acked))
        wanted = node.acked + dice.randrange(1, 390)
        while node.acked < wanted:
            check(node.turn(0.001), daemon.log())
        daemon.kill()
        node.close()
    daemon = s.start(*arguments)
    check(node.connect() and node.deliver(seconds=60))
    status = daemon.status()["store"]
    equal((status["state"], status["missing"]), ("ok", 0))
    check(status["expired"]["size"] > 5000, status)
    check(status["bytes"] < 700000, status)
    here, expired = held(daemon)[node.incarnation]
    equal((here, expired), (status["rows"], status["expired"]["size"]))
    equal(here + expired, 10000)
    daemon.stop()
    equal(daemon.rows(), ["%s-%d" % (node.incarnation, seq) for seq in range(expired + 1, 10001)])


@test
def test_small_disk(s):
    """A disk of 8 MiB that others fill, too: the oldest rows are dropped and counted, what comes is taken; when there is
    nothing left to drop the nodes keep what they have, and when there is room again all goes on."""
    if os.getuid() != 0:
        return  # it takes a mount
    disk = s.path("disk")
    os.mkdir(disk)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], check=True)
    s.undo.callback(subprocess.run, ["umount", "-l", disk], check=False)
    daemon = s.start("--store", os.path.join(disk, "exits.db"), binary=s.plain, out=None)
    daemon.store = os.path.join(disk, "exits.db")
    node = FakeNode(daemon.ingest, outbox=100000)
    check(node.connect() and node.until(lambda: node.hello_acked))
    record = exit_record("<0.1.0>", reason="r" * 3000)
    for _ in range(5000):
        node.make(record)
    check(node.deliver(seconds=120), daemon.log())
    status = daemon.status()["store"]
    here, expired = held(daemon)[node.incarnation]
    equal(here + expired, 5000, status)
    check(not daemon.logged("cannot be read"), daemon.log())
    check(expired > 2000 and here > 100, status)
    equal(status["expired"]["disk_full"] + status["expired"]["size"] + status["expired"]["age"], expired)
    equal((status["state"], status["writable"]), ("degraded", True))
    check("disk was full" in status["reason"], status)
    # Somebody else takes all there is and all that is set free.
    with open(os.path.join(disk, "other"), "wb", buffering=0) as other:
        def fill():
            with contextlib.suppress(OSError):
                while True:
                    other.write(b"x" * 4096)
        fill()
        while not daemon.logged("cannot write to the store"):
            for _ in range(20):
                node.make(record)
            check(node.turn(0.05))
            fill()
        status = daemon.status()["store"]
        equal((status["state"], status["writable"]), ("failing", False))
        acked = node.acked
        check(acked <= sum(held(daemon)[node.incarnation]), "acknowledged and not stored")
        with contextlib.suppress(OSError):
            other.truncate(0)
    os.unlink(os.path.join(disk, "other"))
    check(node.deliver(seconds=120), daemon.log())
    status = daemon.until_status(lambda status: status["store"]["writable"])["store"]
    check(status["state"] != "failing", status)
    here, expired = held(daemon)[node.incarnation]
    equal(here + expired, node.made)
    daemon.stop()
    equal(daemon.rows(), ["%s-%d" % (node.incarnation, seq) for seq in range(expired + 1, node.made + 1)])


@test
def test_flood_starves_nobody(s):
    """Sixteen nodes send as fast as they can; another one's records are taken all the same, at its first asking."""
    daemon = s.start(binary=s.plain, out=None)
    floods = [FakeNode(daemon.ingest, name="flood%d@h" % number) for number in range(16)]
    quiet = FakeNode(daemon.ingest, name="quiet@h")
    record = exit_record("<0.1.0>", reason="r" * 1000)
    for node in [*floods, quiet]:
        check(node.connect() and node.until(lambda node=node: node.hello_acked))
    for node in floods:
        for _ in range(3000):
            node.make(record)
    behind = 0
    for _ in range(20):
        for node in floods:
            check(node.turn(0))
        before = sum(node.acked for node in floods)
        quiet.make()
        check(quiet.until(lambda: not quiet.outbox))
        behind = max(behind, 48000 - before)
        for node in floods:
            check(node.turn(0))
    check(behind > 0, "there was no flood")
    for node in floods:
        check(node.deliver(seconds=120))
    equal(daemon.status()["store"]["rows"], 48020)
    daemon.stop()


@test
def test_name_of_another_user(s):
    """A node's name is its user's: another user who says it is refused, by name, and changes nothing."""
    if os.getuid() != 0:
        return  # it takes two users
    daemon = s.start()
    os.chmod(s.folder, 0o755)
    os.chmod(daemon.ingest, 0o666)
    node = FakeNode(daemon.ingest, name="mine@h")
    node.make()
    check(node.connect() and node.deliver())
    code = ("import sys; sys.path.insert(0, %r); from fake_node import *\n"
            "node = FakeNode(%r, name='mine@h')\nnode.connect()\n"
            "try: node.until(lambda: node.hello_acked); print('welcomed')\n"
            "except Refused as refused: print(refused)\n") % (os.path.join(ROOT, "test", "e2e"), daemon.ingest)
    done = subprocess.run(["/usr/bin/python3", "-B", "-c", code], user=NOBODY, group=NOBODY, extra_groups=[],
                          stdout=subprocess.PIPE, text=True, check=True)
    check("name mine@h belongs to another user" in done.stdout, done.stdout)
    equal(len(daemon.nodes()), 1)
    node.make()
    check(node.deliver())
    daemon.stop()


@test
def test_store_that_is_broken(s):
    """A segment that was damaged while nobody looked is set aside, or asked about in vain; the daemon takes records."""
    daemon, node, _ = with_records(s)
    daemon.stop()
    segment = daemon.segments()[-1]
    with open(segment, "rb") as file:
        whole = file.read()
    dice = random.Random(7)
    aside = 0
    for turn in range(12):
        damaged = bytearray(whole)
        for _ in range(1 + turn * 3):
            at = dice.randrange(100, len(damaged) - 64)
            damaged[at:at + 64] = dice.randbytes(64)
        shutil.rmtree(daemon.store + ".d")
        os.mkdir(daemon.store + ".d")
        if os.path.exists(daemon.out):
            os.unlink(daemon.out)
        with open(segment, "wb") as file:
            file.write(damaged)
        daemon = s.start()
        for request in ({"op": "query", "limit": 1000}, {"op": "nodes"}, {"op": "count", "by": ["exit.reason"]},
                        {"op": "why", "pid": "<0.7.0>"}, {"op": "status"}, {"op": "query", "where": {"exit.via": 1}}):
            with s.client(daemon) as client:
                client.send(request)
                client.end()
                while client.socket.recv(262144):
                    pass
        if daemon.logged("set aside"):
            aside += 1
            equal(daemon.status()["store"]["state"], "degraded")
            check(any(".damaged-" in name for name in os.listdir(daemon.store + ".d")))
        other = FakeNode(daemon.ingest)
        other.make()
        check(other.connect())
        other.deliver(seconds=5)
        daemon.process.send_signal(signal.SIGTERM)
        check(daemon.wait() in (0, 74), daemon.log())
    check(aside > 0, "nothing was found")


# ---- hostile peers ----------------------------------------------------------------------------------


def counters_of(count, length):
    """So many counters with names of this length, which [a-z_] allows."""
    return {"".join("abcdefghij"[int(digit)] for digit in "%04d" % i).ljust(length, "x"): 1 for i in range(count)}


@test
def test_lies_of_a_node(s):
    """Whatever a node tells of its numbers, made = stored + lost + pending, and none is below 0. A record that does
    not come in order ends the connection."""
    daemon = s.start()
    edges = [0, 1, 2, 7, 2 ** 31, 2 ** 53 - 1]
    huge = edges + [2 ** 53, 2 ** 62, 2 ** 63 - 1]
    dice = random.Random(20261124)
    stored = {}
    for number in range(60):
        incarnation = "%016x" % number
        seen, last, in_order = set(), 0, True
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(daemon.ingest)
            sock.sendall(hello(incarnation=incarnation, made=dice.choice(edges), first_held=dice.choice(edges)))
            equal(cbor2.loads(sock.recv(100)[4:]), [16, 0])
            for _ in range(dice.randrange(12)):
                if not in_order:
                    break
                if dice.random() < 0.6:
                    seq = dice.choice(huge[1:])
                    # Again with other contents, back, or far ahead.
                    in_order, last = seq > last, seq
                    if in_order:
                        seen.add(seq)
                    sock.sendall(frame([RECORD, seq, dice.choice(huge), dice.choice(huge), 0,
                                        pack_keys(exit_record("<0.%d.0>" % dice.randrange(99)))]))
                else:
                    sock.sendall(frame([COUNTERS, dice.choice(huge),
                                        {59: dice.choice(edges), 60: dice.choice(edges)}]))
            if in_order and dice.random() < 0.5:
                sock.sendall(frame([BYE, dice.choice(huge)]))
            if in_order:
                sock.shutdown(socket.SHUT_WR)
            answers = list(frames_of(receive_all(sock)))
            check(all(array[0] == 16 for array in answers[:len(answers) if in_order else -1]), "refused")
            check(in_order or "they rise" in answers[-1][1], answers)
        stored[incarnation] = len(seen)
    daemon.until_status(lambda status: status["store"]["queued"] == 0)
    table = daemon.nodes()
    equal(len(table), len(stored))
    for incarnation, told in table.items():
        told.update({key: int(told[key]) for key in ("made", "stored", "lost", "pending")})  # large ones are strings
        equal(told["stored"], stored[incarnation], told)
        equal(told["made"], told["stored"] + told["lost"] + told["pending"], told)
        check(min(told["made"], told["stored"], told["lost"], told["pending"]) >= 0, told)
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)
    rows = daemon.rows()
    equal(len(rows), sum(stored.values()))
    daemon.stop()
    equal(daemon.file_ids(), rows)


@test
def test_counters_are_bounded(s):
    """They wait for the store as records do and stand in the answer to `nodes`: neither grows without end."""
    daemon = s.start(binary=s.plain)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(daemon.ingest)
        sock.sendall(hello())
        equal(cbor2.loads(sock.recv(100)[4:]), [16, 0])
        sock.sendall(frame([COUNTERS, 0, counters_of(1600, 32)]))
        said = list(frames_of(receive_all(sock)))
        check("counters that take" in said[-1][1], said)
    node = FakeNode(daemon.ingest)
    check(node.connect())
    check(node.until(lambda: node.hello_acked))
    before = daemon.rss_mib()
    # Nothing can be committed, so reading stops; the socket says when.
    with contextlib.closing(sqlite3.connect(daemon.segments()[-1], isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        one = frame([COUNTERS, 0, counters_of(50, 32)])
        sent, many = 0, memoryview(one * 100)
        while select.select([], [node.socket], [], 2)[1]:
            sent += node.socket.send(many[sent % len(one):])
            check(sent < 64 << 20, "it reads on and on")
        check(daemon.rss_mib() - before < 16, "memory grows", before, daemon.rss_mib())
        database.execute("ROLLBACK")
    node.outgoing += one[sent % len(one):] if sent % len(one) else b""
    node.make()
    check(node.deliver(seconds=60))
    equal(len(daemon.nodes()[node.incarnation]["counters"]), 50)
    daemon.stop()


@test
def test_many_incarnations(s):
    """`nodes` is told as it is read, also when each of them has as long a name as there is."""
    daemon = s.start(binary=s.plain)
    told = counters_of(50, 32)
    for number in range(1200):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(daemon.ingest)
            sock.sendall(hello(incarnation="%016x" % number, name="\x01" * 200))
            sock.recv(100)
            sock.sendall(frame([COUNTERS, 0, told]))
            sock.recv(100)
    before = daemon.rss_mib()
    readers = [s.client(daemon) for _ in range(30)]
    for reader in readers:
        reader.send({"id": 1, "op": "nodes"})
        check("node" in reader.line(), "it has begun")
    check(daemon.rss_mib() - before < 40, "answers are kept in memory", before, daemon.rss_mib())
    seen = [line["node"]["incarnation"] for line in daemon.ask({"op": "nodes"})[:-1]]
    equal(seen, ["%016x" % number for number in range(1199, 199, -1)])
    equal(sum("node" in reader.line() for reader in readers[:3] for _ in range(999)), 3 * 999)
    equal(daemon.status()["store"]["incarnations"], 1200)
    check(daemon.rss_mib() < 150, daemon.rss_mib())
    daemon.stop()


@test
def test_claim_does_not_keep_the_owner_out(s):
    """Another user says the incarnation of a node just before the node comes back: the store knows whose it is."""
    if os.getuid() != 0:
        return  # it takes two users
    daemon = s.start()
    os.chmod(s.folder, 0o755)
    os.chmod(daemon.ingest, 0o666)
    node = FakeNode(daemon.ingest)
    node.make()
    check(node.connect() and node.deliver())
    node.close()
    # While nothing is committed the daemon cannot know that the claim is false.
    with contextlib.closing(sqlite3.connect(daemon.segments()[-1], isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        code = ("import sys; sys.path.insert(0, %r); from fake_node import *\n"
                "node = FakeNode(%r, name='evil@h', incarnation=%r)\n"
                "node.connect(); node.until(lambda: not node.outgoing); print('said', flush=True)\n"
                "try: node.until(lambda: node.hello_acked); print('welcomed')\n"
                "except Refused as refused: print(refused)\n") % (
                    os.path.join(ROOT, "test", "e2e"), daemon.ingest, node.incarnation)
        with subprocess.Popen(["/usr/bin/python3", "-B", "-c", code], user=NOBODY, group=NOBODY, extra_groups=[],
                              stdout=subprocess.PIPE, text=True) as evil:
            equal(evil.stdout.readline(), "said\n")
            daemon.wait_log("node evil@h connected")
            node.make()
            check(node.connect())
            check(node.until(lambda: not node.outgoing))
            daemon.wait_log(r"node fake@host connected", 2)
            database.execute("ROLLBACK")
            check(node.deliver(), "the owner is kept out")
            check("belongs to another user" in evil.stdout.read())
    equal(daemon.nodes()[node.incarnation]["name"], node.name)
    equal(len(daemon.rows()), 2)
    daemon.stop()


@test
def test_log_is_harmless(s):
    """What a node calls itself neither steers a terminal nor hides who it was."""
    daemon = s.start()
    names = ["a\x9b31mb", "x\u202ey", "x\u2066y", "a\u2028b", "a\nb\x1b[2J", "\u00e9" * 33 + "x", "n" * 1000,
             "x" + "\u20ac" * 40]
    for number, name in enumerate(names):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(daemon.ingest)
            sock.sendall(hello(name=name, host="h" * 1000 if number == 0 else name[:300], otp=name[:100]))
            sock.recv(100)
            sock.sendall(b"\0\0\0\0")
            receive_all(sock)
        daemon.wait_log("0 bytes", number + 1)
    for line in daemon.log():
        check(line.isprintable() and "\ufffd" not in line, "not harmless", line)
    equal(len(daemon.logged(r"connected \(incarnation [0-9a-f]{16}, .*uid %d, made 0, first held 1\)$" % os.getuid())),
          len(names))
    daemon.stop()


@test
def test_log_is_bounded(s):
    """A peer that is sent away again and again does not fill the disk; how much is left out is told."""
    daemon = s.start(binary=s.plain)
    count = 6000
    for _ in range(count):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(30)
            sock.connect(daemon.ingest)
            sock.sendall(b"\0\0\0\0")
            receive_all(sock)
    equal(daemon.status()["ingest"]["connections_refused"], count)
    daemon.wait_log("are left out here")
    daemon.process.send_signal(signal.SIGTERM)
    equal(daemon.wait(), 0)
    left_out = sum(int(re.search(r"(\d+) lines are left out", line).group(1))
                   for line in daemon.logged("are left out here"))
    check(0 < len(daemon.logged("0 bytes")) < count, "all are there")
    check(len(daemon.logged("0 bytes")) + left_out <= count + 3, left_out)


@test
def test_empty_lines_hold_up_nobody(s):
    """The daemon reads a megabyte of them in no time, as it does a question between them."""
    daemon = s.start(binary=s.plain)
    before = daemon.cpu_seconds()
    with s.client(daemon) as client:
        client.send(b"\n" * (4 << 20), {"id": 1, "op": "version"}, b" \r\n" * 300000, {"id": 2, "op": "version"})
        client.end()
        equal([line["id"] for line in client.lines()], [1, 1, 2, 2])
    spent = daemon.cpu_seconds() - before
    check(spent < 1, "it takes long", spent)
    daemon.stop()


@test
def test_record_of_countless_parts(s):
    """Cutting it to size takes no time that the other nodes would wait."""
    daemon = s.start(binary=s.plain)
    node = FakeNode(daemon.ingest)
    bulky = exit_record("<0.1.0>")
    bulky["tomorrow"] = {key: "x" * 49 for key in counters_of(1100, 4)}
    for _ in range(30):
        node.make(bulky)
    check(node.connect())
    check(node.until(lambda: node.hello_acked))
    before = daemon.cpu_seconds()
    check(node.deliver())
    spent = (daemon.cpu_seconds() - before) / node.made
    check(spent < 0.03, "it takes long", spent)
    daemon.stop()
    with open(daemon.out, "rb") as lines:
        for line in lines:
            check(check_line(line)["exit"]["truncated"])


@test
def test_groups_are_bounded(s):
    """Counting by long texts makes no answer that is longer than 2 MiB, and says that there is more."""
    daemon = s.start(binary=s.plain)
    node = FakeNode(daemon.ingest)
    for number in range(1000):
        record = exit_record("<0.1.0>")
        record["exit"]["reason"] = "%04d" % number + "r" * 4000
        node.make(record)
    check(node.connect() and node.deliver())
    question = {"op": "count", "by": ["exit.reason"], "limit": 10000}
    answer = daemon.ask(question, raw=True)
    check(2 << 20 <= len(answer) < (2 << 20) + 2 * LINE_MAX, len(answer))
    last = daemon.ask(question)[-1]
    equal((last["done"], last["truncated"]), (True, True))
    check(500 < last["count"] < 600, last)
    daemon.stop()


@test
def test_forged_questions(s):
    """Whatever stands in a field is a value: it finds nothing, or is refused, and the daemon goes on."""
    daemon, node, _ = with_records(s)
    values = ["' OR 1=1 --", "\"; DROP TABLE exits; --", "%", "_", "*", "?1", "a@h\u0001", "\u202e", "x" * 30000,
              "$.node", "(a+)+$" * 1000, -1, 0, 2 ** 63 - 1, -2 ** 63, True, None, [], {}, 1.5, 1e300, ["%", None],
              [[]], "", "c1.", "c1.afffffffffffffff", "c1.d0", "c1.a" + "f" * 16, "c1.a-1", "-99999999999999999999d",
              "-0s", "--1s", "9999-99-99T99:99:99Z", "2026-11-24T00:00:00+99:99", "now "]
    keys = {"query": ["where", "since", "until", "order", "limit", "cursor"], "get": ["record"],
            "why": ["pid", "name", "node"], "count": ["by", "where", "since", "until", "limit"],
            "subscribe": ["where", "from"]}
    number = 0
    with s.client(daemon) as client:
        def ask(request):
            nonlocal number
            number += 1
            client.send(dict(request, id=number))
            while True:
                line = client.line()
                equal(line["id"], number, request)
                if "subscribed" in line:
                    client.send({"id": number, "op": "unsubscribe"})
                elif "done" in line or "error" in line:
                    return line

        for value in values:
            for op, names in keys.items():
                for name in names:
                    ask({"op": op, name: value})
                if not isinstance(value, bool):
                    equal(ask({"op": op, "bare": value})["error"]["field"], "bare")
            for field in ("node", "id", "exit.reason", "node.os_pid", "process.trap_exit"):
                line = ask({"op": "query", "where": {field: value}})
                check("error" in line or value is None or line["count"] == 0 or value in (True, 0), field, value, line)
            echoed = daemon.ask({"op": "version", "id": value})
            equal(echoed[-1]["id"], value if len(str(value)) < 100 else None)
            if isinstance(value, str):
                equal(ask({"op": "query", "where": {value: 1}})["error"]["code"], "bad_request")
                equal(ask({"op": "count", "by": [value]})["error"]["code"], "bad_request")
                equal(ask({"op": value})["error"]["code"], "unknown_op")
        equal(ask({"op": "query", "where": {"id": ["x"] * 257}})["error"]["field"], "id")
    for junk in (b"[" * 60000 + b"\n", b'{"a":' * 10000 + b"\n", b'{"op":"version","id":' + b"[" * 30000 + b"\n",
                 b'{"op":"ver\0sion"}\n', b'{"op":"version"}\0\n', b'{"op":"version\\u0000"}\n', b'{"id":1e999}\n',
                 b'{"id":' + b"9" * 60000 + b"}\n"):
        equal([line["error"]["code"] for line in daemon.ask(junk)], ["bad_json"], junk[:50])
    equal(len(daemon.rows()), 70)
    daemon.stop()


@test
def test_clients_that_go_away(s):
    """In the middle of an answer, of a question, of a subscription; the daemon keeps nothing of them."""
    daemon, node, _ = with_records(s)
    for turn in range(300):
        with s.client(daemon) as client:
            client.send(*[{"id": i, "op": ("query", "count", "subscribe", "nodes", "why")[i % 5],
                           **({"from": "c1.a0"} if i % 5 == 2 else {"pid": "<0.7.0>"} if i % 5 == 4 else {})}
                          for i in range(turn % 40)], b'{"op":"que'[:turn % 11])
            if turn % 3 == 0:
                client.end()
            if turn % 2 and turn % 40 > 1:
                client.line()
    daemon.until_status(lambda status: (status["query"]["connections"], status["query"]["subscriptions"]) == (1, 0))
    node.make()
    check(node.deliver())
    with s.client(daemon) as client:
        for byte in b'{"id":1,"op":"version"}\n':
            client.send(bytes([byte]))
        check("version" in client.line())
    daemon.stop()


# ---- with valgrind ----------------------------------------------------------------------------------


VALGRIND = ["/usr/bin/valgrind", "-q", "--error-exitcode=99", "--leak-check=full",
            "--errors-for-leak-kinds=definite,indirect"]


@test
def test_daemon_under_valgrind(s):
    daemon = s.start(binary=s.plain, wrapper=VALGRIND)
    node = FakeNode(daemon.ingest)
    for i in range(300):
        node.make(exit_record("<0.%d.0>" % (i % 50)))
    check(node.connect() and node.deliver(seconds=120))
    client = s.client(daemon)
    client.send({"id": 1, "op": "subscribe", "from": "c1.a0"}, {"id": 2, "op": "query", "where": {"node": node.name}},
                {"id": 3, "op": "count", "by": ["node", "process.pid"]}, {"id": 4, "op": "why", "pid": "<0.3.0>"},
                {"id": 5, "op": "why", "name": "worker"}, {"id": 6, "op": "nodes"}, {"id": 7, "op": "status"},
                {"id": 8, "op": "help"}, {"id": 9, "op": "nonsense"}, {"id": 10, "op": "query", "where": {"x": 1}},
                {"id": 11, "op": "get", "record": node.incarnation + "-1"}, {"id": 1, "op": "unsubscribe"})
    pending = set(range(1, 12))
    while pending:
        line = client.line()
        if "done" in line or "error" in line:
            pending.discard(line["id"])
    for _, first, _, _ in wrong_conversations():
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(daemon.ingest)
            sock.sendall(first)
            sock.shutdown(socket.SHUT_WR)
            receive_all(sock)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log("opened anew")
    client.send({"id": 12, "op": "subscribe"})
    client.line()
    node.bye()
    check(node.until(lambda: not node.outgoing))
    daemon.process.send_signal(signal.SIGTERM)
    equal(daemon.wait(120), 0, "valgrind found something: " + "\n".join(daemon.log()))


# ---- running them -----------------------------------------------------------------------------------


def unit_test(binary, wrapper):
    """Run a cmocka program. Returns (passed, failed), each test printed as a line of its own."""
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP")
    if wrapper:
        environment["TEST_QUICK"] = "1"
    done = subprocess.run([*wrapper, binary], env=environment, capture_output=True, text=True, timeout=900,
                          errors="replace", check=False)
    label = os.path.basename(binary) + (" (valgrind)" if wrapper else " (sanitizers)")
    passed = failed = 0
    for line in done.stdout.splitlines():
        if match := re.match(r"(not )?ok \d+ - (.*)", line):
            print("%sok %s: %s" % (match.group(1) or "", label, match.group(2)), flush=True)
            failed += bool(match.group(1))
            passed += not match.group(1)
    if done.returncode != 0 or passed + failed == 0:
        sys.stderr.write(done.stdout + done.stderr)
        print("not ok %s: exit code %d" % (label, done.returncode), flush=True)
        failed += 1
    return passed, failed


def main():
    parser = daemon_harness.arguments()
    parser.add_argument("--unit", action="append", default=[])
    parser.add_argument("--valgrind", action="append", default=[])
    options = parser.parse_args()
    programs = [(options.unit, []), (options.valgrind, VALGRIND)] if not options.names else []
    counts = [unit_test(binary, wrapper) for binaries, wrapper in programs for binary in binaries]
    return daemon_harness.main(options, [sum(count) for count in zip((0, 0), *counts)])


if __name__ == "__main__":
    sys.exit(main())
