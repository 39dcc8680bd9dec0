"""Tests of what can be asked: every field in every way, cursors, counts, cascades, and who waits for whom. Run by
daemon_test.py with its own."""
import json
import os
import random
import select

from daemon_harness import ask, check, equal, test
from fake_node import COUNTERS, GAP, FakeNode, exit_record, pack_keys

LARGE = 2 ** 53


def records(answer):
    return [line["exit"] for line in answer if "exit" in line]


def ids(answer):
    return [record["id"] for record in records(answer)]


def rich_record(choose):
    """A record with a bit of everything."""
    record = exit_record("<0.%d.0>" % choose.randrange(40), source=choose.choice(("kill", "purge", "link", "noproc")),
                         name=choose.choice((None, None, "shell", "ump_one", "ump_two", "\u00e9t\u00e9")),
                         module=choose.choice(("ump_a", "ump_b", "z")), reason=choose.choice(("killed", "badarg", "")))
    record["severity"] = choose.choice(("info", "warning", "error"))
    record["exit"]["reason_class"] = choose.choice(("killed", "error", "other"))
    record["process"]["age_us"] = choose.choice((0, 1000, 4999, 5000, LARGE - 1, LARGE, LARGE + 1, 2 ** 62))
    record["process"]["trap_exit"] = choose.choice((True, False))
    record["process"]["ancestors"] = choose.sample(["sup", "top", "<0.9.0>"], choose.randrange(4))
    record["origin"] = {"source": record["exit"]["source"], "pid": "<0.%d.0>" % choose.randrange(9), "by_line": 12,
                        "by": choose.choice((None, "<0.41.0>")), "by_name": choose.choice((None, "release_handler")),
                        "module": choose.choice(("ump_a", "z")), "timeout_ms": choose.choice((5000, "infinity")),
                        "size_words": choose.choice((1, 233, LARGE))}
    record["exit"]["evidence_lost"] = choose.choice((True, False, 3))
    if choose.random() < 0.5:
        record["exit"]["via"] = "<0.%d.0>" % choose.randrange(40)
        record["exit"]["stack"] = ["a:b/1 (a.erl:%d)" % choose.randrange(3)]
        record["exit"]["candidates"] = [{"source": "kill", "by": "<0.%d.0>" % choose.randrange(3)}]
    hops = choose.randrange(4)
    record["chain"] = [{"pid": "<0.%d.0>" % choose.randrange(9), "source": "kill", "reason": "r"} for _ in range(hops)]
    record["chain_length"] = hops
    return record


def values_of(record, field, lists):
    """What a field is in a record: the values, of which a list has any number."""
    if field == "node":
        field = "node.name"
    if field == "process.initial_module":
        call = record.get("process", {}).get("initial_call")
        return [] if call is None else [call.split(":")[0]]
    at = [record]
    for key in field.split("."):
        at = [item.get(key) for item in at if isinstance(item, dict)]
        at = [part for item in at for part in (item if isinstance(item, list) else [item])]
    check(field in lists or len(at) <= 1, field, at)
    return [value for value in at if value is not None]


def number_of(value):
    """Truth values are 1 and 0, large integers are strings of digits."""
    if isinstance(value, str) and value.isdigit() and len(value) >= 16:
        return int(value)
    return int(value) if isinstance(value, bool) else value


def fits(values, how, wanted):
    values = [number_of(value) for value in values]
    if how == "equal":
        return number_of(wanted) in values
    if how == "list":
        return any(number_of(item) in values for item in wanted)
    if how == "null":
        return not values
    if how == "not null":
        return bool(values)
    if how == "not":
        return number_of(wanted) not in values
    if how == "prefix":
        return any(isinstance(value, str) and value.startswith(wanted) for value in values)
    low, high = wanted
    if len(values) > 1:  # of a list, one fits the one bound and one the other
        return any(value.encode() >= low.encode() for value in values) and any(
            value.encode() < high.encode() for value in values)
    if isinstance(number_of(low), int):
        # A text, as "infinity", is beyond every number, as in SQLite.
        return any(isinstance(value, int) and number_of(low) <= value < number_of(high) for value in values)
    return any(isinstance(value, str) and low.encode() <= value.encode() < high.encode() for value in values)


def condition(how, wanted):
    if how in ("equal", "list"):
        return wanted
    if how == "null":
        return None
    if how == "not null":
        return {"not": None}
    if how == "range":
        return {"ge": wanted[0], "lt": wanted[1]}
    return {how: wanted}


@test
def test_source_of_a_newer_node(s):
    """One that this daemon does not know: it is kept, counted, and found by a prefix, but no slip of the pen is taken for it."""
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    newer = node.make(exit_record("<0.1.0>", source="tomorrow"))
    node.make(exit_record("<0.2.0>", source="kill"))
    check(node.connect() and node.deliver())
    groups = daemon.ask({"op": "count", "by": ["exit.source"]})[:-1]
    equal({line["group"]["exit.source"]: line["count"] for line in groups}, {"tomorrow": 1, "kill": 1})
    for found in ({"prefix": "tomorrow"}, {"ge": "tomorrow", "le": "tomorrow"}, {"not": "kill"}):
        equal([record["id"] for record in records(daemon.ask({"op": "query", "where": {"exit.source": found}}))], [newer], found)
    for refused in ("tomorrow", ["kill", "tomorow"], {"not": "tomorrow"}):
        error = daemon.ask({"op": "query", "where": {"exit.source": refused}})[-1]["error"]
        equal((error["code"], error["field"]), ("bad_request", "exit.source"))
        check("asked for by a prefix" in error["message"], error)
    with s.client(daemon) as client:
        client.send({"id": 1, "op": "subscribe", "where": {"severity": "fatal"}})
        equal(client.line()["error"]["field"], "severity")
    daemon.stop()


@test
def test_where_on_every_field(s):
    """Random conditions on all fields that help lists, held against the same conditions on the records themselves."""
    daemon = s.start(*s.config("store { segment_rows = 40 }"))
    choose = random.Random(20261125)
    node = FakeNode(daemon.ingest, name="a@h")
    other = FakeNode(daemon.ingest, name="b@h")
    check(node.connect() and other.connect())
    for i in range(300):
        one = node if i % 3 else other
        one.make(rich_record(choose), time_ns=(1000 + i) * 10 ** 9)
        if i % 10 == 9:
            check(node.deliver() and other.deliver())
    for i in range(5):
        other.make({"severity": "warning", "message": "gap", "gap": {"from": (500 + i) * 10 ** 9, "why": "paused"}},
                   kind=GAP, time_ns=2000 * 10 ** 9)
    check(other.deliver())
    # In some parts with indexes, and in the last without.
    status = daemon.until_status(lambda status: status["store"]["unindexed"] == 0)
    check(status["store"]["segments"] > 4, status)
    whole = records(daemon.ask({"op": "query", "limit": 10000}))
    equal(len(whole), 305)
    help_ = daemon.ask({"op": "help"})[0]
    lists = set(help_["lists"])
    fields = help_["fields"] + help_["lists"]
    check(len(fields) == len(set(fields)) and len(fields) > 70, fields)
    seen = {}
    with s.client(daemon) as client:
        for number in range(1500):
            where, wanted = {}, whole
            for field in {fields[number % len(fields)], *choose.sample(fields, choose.randrange(2))}:
                present = [value for record in whole for value in values_of(record, field, lists)] or ["x"]
                pick = lambda: choose.choice(present)
                how = choose.choice(("equal", "list", "null", "not null", "not", "prefix", "range"))
                value = pick()
                times = field in ("time", "gap.from", "gap.to")
                if present == ["x"]:
                    value = choose.choice(help_["values"].get(field, ["1970-01-01T00:08:20Z"]))
                    how = choose.choice(("null", "equal"))
                elif how == "list":
                    value = [pick() for _ in range(choose.choice((1, 3, 20)))]
                elif how == "prefix":
                    if times or not isinstance(value, str) or isinstance(number_of(value), int) or value in (
                            "", "infinity"):
                        continue
                    value = value[:choose.randrange(1, len(value) + 1)]
                elif how == "range":
                    if isinstance(value, bool) or field == "exit.evidence_lost":
                        continue
                    same = [item for item in present if type(number_of(item)) is type(number_of(value))]
                    value = (value, choose.choice(same))
                where[field] = condition(how, value)
                wanted = [record for record in wanted if fits(values_of(record, field, lists), how, value)]
                seen[how] = seen.get(how, 0) + bool(wanted)
            order = choose.choice(("asc", "desc"))
            client.send({"id": number, "op": "query", "where": where, "limit": 1000, "order": order})
            answer = []
            while "done" not in (line := client.line()):
                check("error" not in line, where, line)
                answer.append(line)
            expected = [record["id"] for record in wanted]
            equal(ids(answer), expected if order == "desc" else expected[::-1], (where, len(wanted)))
            client.send({"id": number, "op": "count", "where": where})
            equal(client.line()["count"], len(wanted), where)
            client.line()
    check(all(count > 20 for count in seen.values()) and len(seen) == 7, "too few of a kind found anything", seen)
    # Counting by each of them gives what the records have.
    for field in help_["fields"]:
        groups = {}
        for record in whole:
            value = (values_of(record, field, lists) or [None])[0]
            if field == "exit.evidence_lost":
                value = number_of(value)
            groups[str(value)] = groups.get(str(value), 0) + 1
        answer = daemon.ask({"op": "count", "by": [field], "limit": 10000})
        equal({str(line["group"][field]): line["count"] for line in answer[:-1]}, groups, field)
        equal((answer[-1]["total"], answer[-1].get("truncated")), (305, None))
    for field in help_["lists"]:
        equal(daemon.ask({"op": "count", "by": [field]})[0]["error"]["field"], "by")
    daemon.stop()


@test
def test_buckets(s):
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    base = 1_790_000_000 // 3600 * 3600
    for second in (0, 1, 59, 60, 61, 3599, 3600):
        node.make(exit_record("<0.1.0>", source="kill" if second % 2 else "purge"),
                  time_ns=(base + second) * 10 ** 9 + 999)
    check(node.connect() and node.deliver())

    def count(**request):
        answer = daemon.ask(dict(request, op="count"))
        return [(line["group"]["bucket"][11:19], *list(line["group"].values())[1:], line["count"])
                for line in answer[:-1]], answer[-1]

    hour = daemon.ask({"op": "query", "order": "asc", "limit": 1})[0]["exit"]["time"][11:13]
    after = "%02d" % ((int(hour) + 1) % 24)
    groups, done = count(bucket="1m")
    equal(groups, [(hour + ":00:00", 3), (hour + ":01:00", 2), (hour + ":59:00", 1), (after + ":00:00", 1)])
    equal(done["total"], 7)
    equal(count(bucket="1h")[0], [(hour + ":00:00", 6), (after + ":00:00", 1)])
    equal(count(bucket="60s")[0], groups)
    equal(count(bucket="1h", by=["exit.source"])[0],
          [(hour + ":00:00", "kill", 4), (hour + ":00:00", "purge", 2), (after + ":00:00", "purge", 1)])
    # Of more than fit, the latest.
    groups, done = count(bucket="1m", limit=2)
    equal((groups, done["truncated"], done["total"]), ([(hour + ":59:00", 1), (after + ":00:00", 1)], True, 7))
    for bad in ("1", "m", "0m", "-1m", "1y", "1m ", "1 m", "01m", "999999999d", "367d", 60, None, True, [], ""):
        equal(daemon.ask({"op": "count", "bucket": bad})[0]["error"]["field"], "bucket", bad)
    daemon.stop()


@test
def test_groups_without_end(s):
    """More groups than there is room for: those that there are, and that there are more."""
    daemon = s.start(binary=s.plain)
    node = FakeNode(daemon.ingest, outbox=200000)
    for _ in range(110000):
        node.make(exit_record("<0.1.0>"))
    check(node.connect() and node.deliver(120))
    answer = daemon.ask({"op": "count", "by": ["id"], "limit": 10000})
    equal((len(answer), answer[-1]["total"], answer[-1]["truncated"]), (10001, 110000, True))
    check(daemon.rss_mib() < 64, "memory", daemon.rss_mib())
    daemon.stop()


# ---- cursors ----------------------------------------------------------------------------------------


@test
def test_cursors_that_lead_nowhere(s):
    """Beyond the newest record, or before the oldest that is kept: said at once."""
    daemon = s.start(*s.config("store { segment_rows = 30 }"))
    node = FakeNode(daemon.ingest)
    check(node.connect())
    for number in range(100):
        node.make()
        if number % 10 == 9:
            check(node.deliver())
    client = s.client(daemon)

    def line(request):
        client.send(request)
        return client.line()

    for cursor in ("c1.a65", "c1.afffffffffffffff", "c1.d65", "c1.dfffffffffffffff"):
        error = line({"id": 1, "op": "query", "cursor": cursor})["error"]
        equal((error["code"], error["field"]), ("bad_request", "cursor"))
        check("beyond" in error["message"], error)
    error = line({"id": 1, "op": "subscribe", "from": "c1.a65"})["error"]
    equal((error["code"], error["field"]), ("bad_request", "from"))
    equal(line({"id": 1, "op": "query", "cursor": "c1.a64"}), {"id": 1, "done": True, "count": 0})
    equal(line({"id": 1, "op": "query", "cursor": "c1.d1"}), {"id": 1, "done": True, "count": 0})
    for forged in ("c1.a0x", "c1.b5", "c2.a5", "c1.a", "c1.a-5", "c1.a 5", "a5", "", "c1.a5\u0001", "c1.aA"):
        error = line({"id": 1, "op": "query", "cursor": forged})["error"]
        equal((error["code"], error["field"]), ("bad_request", "cursor"), forged)
    daemon.stop()

    for name in (daemon.segments()[0] + ending for ending in ("", "-wal", "-shm")):  # as retention does
        if os.path.exists(name):
            os.unlink(name)
    daemon = s.start()
    oldest = daemon.status()["store"]["oldest_row"]
    check(20 < oldest < 60, oldest)
    cursor = lambda letter, row: "c1.%s%x" % (letter, row)
    answer = daemon.ask({"op": "query", "cursor": "c1.aa", "limit": 2})
    equal((ids(answer)[0], answer[-1]["gone"]), ("%s-%d" % (node.incarnation, oldest), oldest - 11))
    equal(daemon.ask({"op": "query", "cursor": cursor("a", oldest - 1), "limit": 1})[-1].get("gone"), None)
    equal(daemon.ask({"op": "query", "cursor": cursor("a", oldest - 2), "limit": 1})[-1].get("gone"), 1)
    answer = daemon.ask({"op": "query", "cursor": cursor("d", oldest), "limit": 2})
    equal((ids(answer), answer[-1]["gone"]), ([], oldest - 1))
    equal(daemon.ask({"op": "query", "cursor": cursor("d", oldest + 1), "limit": 1})[-1].get("gone"), None)
    client = s.client(daemon)
    client.send({"id": 2, "op": "subscribe", "from": "c1.a0"})
    equal(client.line(), {"id": 2, "gone": oldest - 1, "subscribed": True, "cursor": cursor("a", oldest - 1)})
    equal(client.line()["exit"]["id"], "%s-%d" % (node.incarnation, oldest))
    daemon.stop()


@test
def test_heartbeat(s):
    """A silent subscription says that it lives, and where it is; one that was not asked to does not."""
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    node.make()
    check(node.connect() and node.deliver())
    client = s.client(daemon)
    client.send({"id": 1, "op": "subscribe", "heartbeat": 1, "where": {"exit.source": "purge"}},
                {"id": 2, "op": "subscribe"}, {"id": 3, "op": "subscribe", "heartbeat": True, "bare": True})
    equal({client.line()["id"], client.line()["id"]}, {1, 2})
    beat = client.line()
    equal((beat["id"], beat["cursor"]), (1, "c1.a1"))
    check(beat["heartbeat"].endswith("Z"), beat)
    # Its cursor moves with what does not fit, too.
    node.make()
    check(node.deliver())
    while (line := client.line()).get("cursor") == "c1.a1":
        equal(line["id"], 1)
    lines = [line, client.line(), client.line()]
    check(any(line["id"] == 1 and line.get("heartbeat") and line["cursor"] == "c1.a2" for line in lines), lines)
    for bad in (0, -1, 3601, 1.5, "1", [], None):
        equal(ask(daemon.query, {"op": "subscribe", "heartbeat": bad})[0]["error"]["field"], "heartbeat", bad)
    daemon.stop()


# ---- cascades ---------------------------------------------------------------------------------------


def cascade(node, width, depth=2, root_pid="<0.1.0>", between=None):
    """A kill, and who died of it: `width` linked to it, and then to these, hop by hop. Returns the ids."""
    root = "%s-%d" % (node.incarnation, node.made + 1)
    origin = {"source": "kill", "pid": root_pid, "by": "<0.99.0>", "by_name": "shell", "id": root}
    first = {"pid": root_pid, "source": "kill", "reason": "killed", "id": root}
    record = exit_record(root_pid, source="kill", module="root", reason="killed")
    record.update(origin=origin, chain=[first], chain_length=1)
    equal(node.make(record), root)
    members, level = [], [first]
    for hop in range(1, depth + 1):
        above, level = level, []
        for i in range(width):
            parent = above[i % len(above)]
            pid = "<0.%d.%d>" % (1000 + i, hop)
            own = {"pid": pid, "source": "link", "reason": "killed", "id": "%s-%d" % (node.incarnation, node.made + 1)}
            record = exit_record(pid, source="link", module="hop%d" % hop, reason="killed")
            record["exit"]["via"] = parent["pid"]
            record.update(origin=origin, chain=[first] + ([parent] if hop > 1 else []) + [own], chain_length=hop + 1)
            members.append(node.make(record))
            level.append(own)
            if between:
                between()
    return root, members


@test
def test_cascade_as_one_story(s):
    daemon = s.start(*s.config("store { segment_rows = 100 }"))
    node = FakeNode(daemon.ingest, name="a@h")
    lone = node.make(exit_record("<0.7.0>"))
    root, members = cascade(node, 300, 2, between=lambda: node.make() if node.made % 7 == 0 else None)
    other_root, others = cascade(node, 5, 1, root_pid="<0.2.0>")
    check(node.connect() and node.deliver())

    for request in ({"record": root}, {"record": members[-1]}, {"pid": "<0.1.0>"}, {"name": "root", "node": "a@h"},
                    {"pid": "<0.1299.2>"}):
        answer = daemon.ask(dict(request, id=1, op="tree"))
        wanted_root = other_root if request.get("name") else root
        equal(answer[0]["exit"]["id"], wanted_root, request)
        summary = answer[1]["cascade"]
        equal(summary["root"], wanted_root)
        if wanted_root == other_root:
            equal((summary["count"], summary["depth"]), (len(others), 1))
            continue
        equal((summary["count"], summary["depth"]), (600, 2))
        equal(summary["by_source"], [{"source": "link", "count": 600}])
        equal(summary["by_initial_call"], [{"initial_call": "hop1:init/1", "count": 300},
                                           {"initial_call": "hop2:init/1", "count": 300}])
        equal(summary["by_hop"], [{"hop": 1, "count": 300}, {"hop": 2, "count": 300}])
        check(summary["first"] <= summary["last"], summary)
        equal(answer[2], {"id": 1, "done": True, "count": 2})

    answer = daemon.ask({"op": "tree", "record": root, "nodes": 301})
    nodes = [line["node"] for line in answer if "node" in line]
    equal([line["record"] for line in nodes], members[:301])
    equal([line["parent"] for line in nodes], [root] * 300 + [members[0]])
    equal((nodes[300]["hop"], nodes[300]["via"], nodes[300]["pid"]), (2, "<0.1000.1>", "<0.1000.2>"))

    # Beside the record of the origin, and of nobody else.
    for request in ({"op": "why", "pid": "<0.1.0>"}, {"op": "get", "record": root},
                    {"op": "query", "where": {"id": root}, "cascade": True}):
        line = daemon.ask(request)[0]
        equal((line["exit"]["id"], line["cascade"]["count"]), (root, 600), request)
        check("cascade" not in line["exit"])
    for request in ({"op": "get", "record": members[0]}, {"op": "get", "record": lone},
                    {"op": "query", "where": {"id": root}}):
        check("cascade" not in daemon.ask(request)[0], request)
    check("cascade" not in daemon.ask({"op": "get", "record": root, "bare": True})[0])
    # One line of a count.
    answer = daemon.ask({"op": "count", "by": ["origin.id"], "where": {"origin.id": {"not": None}}})
    equal([(line["group"]["origin.id"], line["count"]) for line in answer[:-1]], [(root, 601), (other_root, 6)])
    # What is no cascade is one, too: of nobody else.
    answer = daemon.ask({"op": "tree", "record": lone})
    equal((answer[0]["exit"]["id"], answer[1]["cascade"]["count"]), (lone, 0))
    for request, code, field in (({}, "bad_request", "record"), ({"record": root, "pid": "<0.1.0>"}, "bad_request", "pid"),
                                 ({"record": root, "nodes": 1001}, "bad_request", "nodes"),
                                 ({"record": root, "nodes": -1}, "bad_request", "nodes"),
                                 ({"record": "x"}, "bad_request", "record"), ({"name": "nobody"}, "not_found", "name"),
                                 ({"record": node.incarnation + "-99999"}, "not_found", "record")):
        error = daemon.ask(dict(request, op="tree"))[-1]["error"]
        equal((error["code"], error["field"]), (code, field), request)
    daemon.stop()


@test
def test_root_that_is_not_kept(s):
    """The origin's record is lost: its cascade is told all the same."""
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    root, members = cascade(node, 10, 1)
    del node.outbox[1]
    check(node.connect() and node.deliver())
    answer = daemon.ask({"op": "tree", "record": members[3]})
    equal((answer[0]["cascade"]["root"], answer[0]["cascade"]["count"], len(answer)), (root, 10, 2))
    equal(daemon.ask({"op": "tree", "record": root})[0]["error"]["code"], "not_found")
    daemon.stop()


@test
def test_cascade_of_a_hundred_thousand(s):
    daemon = s.start(binary=s.plain, out=None)
    node = FakeNode(daemon.ingest, outbox=200000)
    root, _ = cascade(node, 50000, 2)
    check(node.connect() and node.deliver(240))
    before = daemon.rss_mib()
    answer = daemon.ask({"op": "tree", "record": root, "nodes": 1000})
    equal(answer[-1].get("done"), True, answer[-1])
    equal((answer[0]["exit"]["id"], answer[1]["cascade"]["count"], len(answer)), (root, 100000, 1003))
    check(daemon.rss_mib() - before < 24, "memory", before, daemon.rss_mib())
    equal(daemon.ask({"op": "why", "pid": "<0.1.0>"})[0]["cascade"]["count"], 100000)
    equal(daemon.ask({"op": "count", "by": ["origin.id"]})[0]["count"], 100001)
    daemon.stop()


# ---- who waits for whom -----------------------------------------------------------------------------

# All of these hold, so each has to be looked up in every line.
SLOW = {field: {"not": "node_stop" if field.endswith("source") else "nobody"} for field in
        ("exit.reason", "process.parent", "exit.via", "origin.name", "origin.why", "origin.child", "origin.port",
         "origin.driver", "origin.command", "origin.target", "origin.node", "origin.sibling", "origin.supervisor",
         "origin.application", "origin.operation", "origin.by_call", "origin.by_file", "origin.by_function",
         "message", "schema", "node.host", "node.otp", "process.ancestors", "exit.stack", "origin.by_stack", "chain.pid",
         "chain.name", "chain.initial_call", "chain.source", "chain.reason", "chain.id", "exit.candidates.source",
         "exit.candidates.via", "exit.candidates.by")}


@test
def test_heavy_questions_hold_up_nobody(s):
    """While counts that take long are worked on, short answers come, and what takes too long ends with `timeout`."""
    daemon = s.start(*s.config("limits { query_deadline = 2s }"), binary=s.plain, out=None)
    node = FakeNode(daemon.ingest, outbox=200000)
    record = exit_record("<0.5.0>")
    for _ in range(120000):
        node.make(record)
    last = node.make(exit_record("<0.77.0>"))
    check(node.connect() and node.deliver(120))
    heavy = [s.client(daemon) for _ in range(4)]
    for client in heavy:
        client.send({"id": "heavy", "op": "count", "where": SLOW, "by": ["exit.reason"]})
    watcher = s.client(daemon)
    watcher.send({"id": "watch", "op": "subscribe"})
    equal(watcher.line()["subscribed"], True)
    quick = s.client(daemon)
    for number in range(20):
        quick.send({"id": number, "op": "status"}, {"id": number, "op": "get", "record": last},
                   {"id": number, "op": "query", "limit": 5}, {"id": number, "op": "nodes"})
        done = 0
        while done < 4:
            line = quick.line()
            check("error" not in line, line)
            done += "done" in line
    fresh = node.make()
    check(node.deliver())
    equal(watcher.line()["exit"]["id"], fresh)
    waiting = sum(client.nothing_to_read() for client in heavy)
    check(waiting >= 1, "the heavy ones were done before", waiting)
    first = select.select([client.socket for client in heavy], [], [], 60)[0][0]
    error = next(client for client in heavy if client.socket is first).line().get("error", {})
    equal(error.get("code"), "timeout")
    for client in heavy:
        client.close()
    # Those who went away are not worked for any more.
    daemon.until_status(lambda status: status["query"]["connections"] == 3)
    daemon.stop()


def many_clients(s, daemon, count):
    """Open so many connections, no more at once than can wait to be accepted."""
    clients = []
    for number in range(count):
        clients.append(s.client(daemon))
        if number % 32 == 31 or number == count - 1:
            clients[-1].send({"op": "version"})
            check("version" in clients[-1].line() and clients[-1].line()["done"])
    return clients


# ---- the stream of requests -------------------------------------------------------------------------

REQUESTS = [
    {"id": 1, "op": "query", "where": {"exit.source": ["kill", "purge"], "process.age_us": {"ge": 1, "lt": 5}},
     "since": "-1h", "limit": 1},
    {"id": {"a": [1, "\u00e9"]}, "op": "count", "by": ["exit.source"], "bucket": "1m"},
    {"op": "tree", "pid": "<0.1.0>", "nodes": 3},
    {"op": "why", "name": "worker"},
]


@test
def test_every_prefix_of_a_request(s):
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    node.make(exit_record("<0.1.0>"))
    check(node.connect() and node.deliver())
    for request in REQUESTS:
        whole = json.dumps(request, ensure_ascii=False).encode()
        for length in range(len(whole) + 1):
            answer = daemon.ask(whole[:length])
            last = [line for line in answer if "done" in line or "error" in line]
            equal(len(last), 0 if length == 0 else 1, whole[:length])
            if length == len(whole):
                check("done" in last[0] and last[0]["id"] == request.get("id"), last)
            elif length:
                equal(last[0]["error"]["code"], "bad_json", whole[:length])
    daemon.stop()


@test
def test_requests_in_pieces_and_in_heaps(s):
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    node.make(exit_record("<0.1.0>"))
    check(node.connect() and node.deliver())
    whole = b"".join(json.dumps(request).encode() + b"\n" for request in REQUESTS)
    at_once = [line for line in daemon.ask(whole) if "done" in line]
    equal(len(at_once), len(REQUESTS))
    with s.client(daemon) as client:
        for byte in whole:
            client.send(bytes([byte]))
        client.end()
        equal([line for line in client.lines() if "done" in line], at_once)
    # Many more than are taken in at a time, in one write.
    answer = daemon.ask(b"".join(b'{"id":%d,"op":"version"}\n' % i for i in range(3000)))
    equal([line["id"] for line in answer if "done" in line], list(range(3000)))
    # The longest there may be, with its newline and without, and one byte more.
    start, end = b'{"id":1,"op":"version"', b"}"
    for length in (65535, 65536):
        line = start + b" " * (length - len(start) - len(end)) + end
        equal(len(line), length)
        if length == 65535:
            equal(daemon.ask(line + b"\n", b"\n")[-1]["done"], True)
            equal(daemon.ask(line)[-1]["done"], True)
        else:
            with s.client(daemon) as client:
                client.send(line + b"\n")
                equal(client.line()["error"]["code"], "too_large")
    daemon.stop()


@test
def test_large_numbers_of_nodes(s):
    """From 2^53 on a number is a string, wherever it stands."""
    daemon = s.start()
    node = FakeNode(daemon.ingest)
    check(node.connect() and node.until(lambda: node.hello_acked))
    node.send([COUNTERS, LARGE + 10, pack_keys({"normal": 7, "lost": LARGE - 1})])
    check(node.until(lambda: not node.outgoing))
    daemon.until_status(lambda _: daemon.nodes()[node.incarnation]["made"] != 0)
    told = daemon.nodes()[node.incarnation]
    equal((told["made"], told["counters"]), (str(LARGE + 10), {"normal": 7, "lost": LARGE - 1}))
    equal(int(told["made"]), int(told["stored"]) + int(told["lost"]) + int(told["pending"]))
    daemon.stop()
