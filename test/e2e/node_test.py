#!/usr/bin/python3
"""Tests of the whole way: real Erlang nodes with coroner in them, the real coronerd, and everything that can go
wrong between the two. One rule over all: made in the node = stored + counted as lost.

    node_test.py --daemon BINARY --san-daemon BINARY [NAME...]

Prints "ok NAME" or "not ok NAME: why" for each test and closes with "N passed, N failed".
"""
import os
import random
import re
import resource
import signal
import subprocess
import sys

import daemon_harness
from daemon_harness import NOBODY, ROOT, check, check_line, equal, test
from real_node import PATHS, RealNode

ROOMY = 256 << 20  # holds all that any test makes
SMALL = 256 << 10


def new_node(s, **options):
    node = RealNode(**options)
    s.undo.callback(node.close)
    return node


def told(daemon, incarnation, holds=lambda told: told["pending"] == 0, seconds=30):
    """What the daemon says of a node, asked until it holds: the node tells its counters once a second."""
    def find():
        return daemon.nodes().get(incarnation)

    daemon.until_status(lambda _: (found := find()) and holds(found), seconds)
    return find()


def ids_of(incarnation, count):
    return ["%s-%d" % (incarnation, number) for number in range(1, count + 1)]


def accounts_agree(daemon, node):
    """made = stored + lost, by the node's count and by the daemon's; what is stored is in the store and in the file,
    each once and in its order. Returns (status of the node, what the daemon says of it)."""
    node.sync()
    status = node.status()
    incarnation = status["incarnation"]
    line = told(daemon, incarnation, lambda told: told["pending"] == 0 and told["made"] >= status["made"] and
                told["counters"].get("lost") == status["lost"])
    rows = [row for row in daemon.rows() if row.startswith(incarnation)]
    numbers = [int(row.split("-")[1]) for row in rows]
    equal(numbers, sorted(set(numbers)), "each once, in its order")
    equal((line["made"], line["stored"], line["lost"]), (status["made"], len(rows), status["lost"]),
          "made, stored, lost: the daemon's count and the node's")
    equal(status["made"], len(rows) + status["lost"])
    equal((status["unacknowledged"], status["without_memory"], status["encode_failures"]), (0, 0, 0))
    return status, line


def file_agrees(daemon):
    """Every line of the file: valid, short, and the same as the store's rows; its `lost_before` is exactly what is
    missing between it and the one before. Returns the ids."""
    daemon.until_status(lambda status: status["sinks"][0]["behind"] == 0)
    ids, last = [], {}
    with open(daemon.out, "rb") as lines:
        for line in lines:
            record = check_line(line)
            ids.append(record["id"])
            incarnation, number = record["id"].split("-")
            equal(record["lost_before"], int(number) - last.get(incarnation, 0) - 1, record["id"])
            last[incarnation] = int(number)
    equal(len(ids), len(set(ids)), "ids in the file")
    equal(ids, daemon.rows(), "the file and the store")
    return ids


def hello(daemon, count=1):
    """Wait until a node has connected. Returns (made, first held) as it said."""
    line = daemon.wait_log(r"node .* connected", count)
    return tuple(map(int, re.search(r"made (\d+), first held (\d+)", line).groups()))


# ---- a daemon that comes and goes --------------------------------------------------------------------


def kill_ten_times(s, memory):
    """50,000 exits; ten times the daemon is killed in the middle of 5,000 of them and started anew."""
    dice = random.Random(20261124)
    node = new_node(s)
    node.start(s.path("ingest.sock"), memory=memory)
    in_the_middle, firsts = 0, []
    for number in range(11):
        daemon = s.start(binary=s.plain)
        firsts.append(hello(daemon)[1])
        if number > 0:
            node.answer()  # the storm, which went on without a daemon
        if number < 10:
            # In turn: with what is left from the last time, and while the daemon is at it.
            what = ("made", "stored")[number % 2]
            if what == "stored":
                node.sync()
            mark = dice.randrange(500, 3500)
            node.tell("driver:storm(5000, {%s, %d})" % (what, mark))
            check(node.answer() >= mark)
            daemon.kill()
            in_the_middle += not node.answered()
    status, line = accounts_agree(daemon, node)
    check(status["made"] >= 50000, status)
    check(in_the_middle >= 5, "too seldom in the middle of it", in_the_middle)
    check(len(set(firsts)) >= 6, "it seldom had stored any", firsts)
    file_agrees(daemon)
    equal(node.call("coroner:stop()"), "ok")
    check(told(daemon, status["incarnation"], lambda told: not told["connected"])["ended"], "it said goodbye")
    daemon.stop()
    return status, line


@test
def test_sigkill_ten_times_with_an_outbox_that_holds_all(s):
    status, line = kill_ten_times(s, ROOMY)
    equal((status["lost"], line["lost"]), (0, 0))


@test
def test_sigkill_ten_times_with_a_small_outbox(s):
    status, line = kill_ten_times(s, SMALL)
    check(status["lost"] > 0 and line["lost"] == status["lost"], status, line)


@test
def test_node_before_daemon_and_a_daemon_restarted_under_load(s):
    node = new_node(s)
    node.start(s.path("ingest.sock"), memory=ROOMY)
    first = node.call("driver:crash(early)")
    node.call("driver:storm(300)")
    status = node.until("maps:get(uplink_error, S) =/= <<\"not connected yet\">>")
    check(not status["connected"] and s.path("ingest.sock") in status["uplink_error"], status)
    equal((status["acknowledged"], status["unacknowledged"], status["lost"]), (0, status["made"], 0))
    early = status["made"]
    daemon = s.start()
    equal(hello(daemon), (early, 1))
    node.sync()
    equal(daemon.rows(), ids_of(status["incarnation"], early))
    check(first in daemon.rows(), first)
    for number in range(8):
        node.tell("driver:storm(3000, {%s, %d})" % (("made", "stored")[number % 2], 300 * number + 1))
        node.answer()
        daemon.stop()
        daemon = s.start(binary=s.san if number % 4 == 0 else s.plain)
        node.answer()
    status, _ = accounts_agree(daemon, node)
    equal(status["lost"], 0)
    equal(file_agrees(daemon), ids_of(status["incarnation"], status["made"]))
    daemon.stop()


@test
def test_daemon_that_hangs(s):
    """It is stopped for the length of a storm: that gets to its end, and what the node holds stays in its bound."""
    daemon = s.start(binary=s.plain)
    node = new_node(s)
    for memory, count in ((64 << 10, 5000), (SMALL, 10000), (ROOMY, 10000)):
        node.start(daemon.ingest, memory=memory)
        node.until("maps:get(connected, S)")
        daemon.process.send_signal(signal.SIGSTOP)
        os.waitpid(daemon.process.pid, os.WUNTRACED)
        before = node.memory_mib()
        node.call("driver:storm(%d)" % count)
        status = node.status()
        check(status["bytes"] <= memory, "more than the bound", status)
        check(status["made"] >= count and status["connected"], status)
        equal(status["lost"] == 0, memory == ROOMY, status)
        check(node.memory_mib() - before < 200, before, node.memory_mib())
        daemon.process.send_signal(signal.SIGCONT)
        accounts_agree(daemon, node)
        equal(node.call("coroner:stop()"), "ok")
    file_agrees(daemon)
    daemon.stop()


@test
def test_daemon_that_hangs_before_it_answers_the_hello(s):
    """The node can be stopped all the same, and what it made before that is counted."""
    daemon = s.start(binary=s.plain)
    node = new_node(s)
    daemon.process.send_signal(signal.SIGSTOP)
    os.waitpid(daemon.process.pid, os.WUNTRACED)
    node.start(daemon.ingest)
    node.call("driver:storm(1000)")
    check(not node.status()["connected"])
    equal(node.call("coroner:stop()", seconds=20), "ok")
    node.start(daemon.ingest)
    node.call("driver:storm(1000)")
    daemon.process.send_signal(signal.SIGCONT)
    status, _ = accounts_agree(daemon, node)
    equal(status["lost"], 0)
    daemon.stop()


# ---- what a record may hold --------------------------------------------------------------------------


@test
def test_reasons_of_every_kind(s):
    daemon = s.start()
    node = new_node(s)
    node.start(daemon.ingest, memory=ROOMY)
    count = node.call("driver:reasons()", seconds=120)
    check(count >= 40, count)
    status, _ = accounts_agree(daemon, node)
    check(status["made"] >= 2 * count, status)
    equal((status["lost"], daemon.status()["ingest"]["connections_refused"]), (0, 0))
    equal(file_agrees(daemon), ids_of(status["incarnation"], status["made"]))
    daemon.stop()


@test
def test_hostile_names_and_long_chains(s):
    daemon = s.start()
    node = new_node(s)
    node.start(daemon.ingest, memory=ROOMY)
    count = node.call("driver:hostile()", seconds=120)
    check(count >= 100, count)
    chain = node.call("driver:chain(1000)")
    status, _ = accounts_agree(daemon, node)
    check(status["made"] >= count + chain, status)
    equal((status["lost"], daemon.status()["ingest"]["connections_refused"]), (0, 0))
    equal(file_agrees(daemon), ids_of(status["incarnation"], status["made"]))
    longest, seen = 0, set()
    with open(daemon.out, "rb") as lines:
        for line in lines:
            record = check_line(line)
            check(not any(ord(character) < 32 for text in texts(record) for character in text), line)
            longest = max(longest, record.get("chain_length", 0))
            seen.update(place for place, text in named(record) if "\U0001F480" in (text or ""))
    equal(longest, 1000)
    equal(seen, {"name", "initial_call", "reason", "ancestors", "by_name", "stack"}, "where the names have come to")
    daemon.stop()


def named(record):
    """The places of a record that a name can come to, and what stands there."""
    process, end = record["process"], record["exit"]
    yield from (("name", process.get("name")), ("initial_call", process.get("initial_call")), ("reason", end["reason"]),
                ("ancestors", str(process.get("ancestors"))), ("stack", str(end.get("stack"))),
                ("by_name", record["origin"].get("by_name")))


def texts(value):
    """Every text in it."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


# ---- nodes that come and go --------------------------------------------------------------------------


@test
def test_four_nodes_that_end_in_different_ways(s):
    daemon = s.start()
    nodes = {how: new_node(s) for how in ("stays", "SIGKILL", "init:stop", "halt")}
    for node in nodes.values():
        node.start(daemon.ingest, memory=ROOMY)
    for node in nodes.values():
        node.tell("driver:storm(2000, {stored, 500})")
    for node in nodes.values():
        node.answer()
    # Killed in the middle; what it had been told to be committed is there.
    nodes["SIGKILL"].kill()
    status = {how: node.status() for how, node in nodes.items() if how != "SIGKILL" and node.answer()}
    for how in ("init:stop", "halt"):
        nodes[how].tell(how + "()")
        equal(nodes[how].process.wait(60), 0, how)
    status["stays"], line = accounts_agree(daemon, nodes["stays"])
    equal((line["connected"], line["ended"], line["lost"]), (True, False, 0))
    table = {line["os_pid"]: line for line in daemon.nodes().values()}
    equal(len(table), 4)
    for how in ("init:stop", "halt", "SIGKILL"):
        pid = nodes[how].process.pid
        line = told(daemon, table[pid]["incarnation"], lambda told: not told["connected"])
        rows = [row for row in daemon.rows() if row.startswith(line["incarnation"])]
        # All in a row from the first: nothing in between can be lost.
        equal(rows, ids_of(line["incarnation"], len(rows)))
        equal((line["stored"], line["made"]), (len(rows), line["stored"] + line["lost"] + line["pending"]))
        if how == "SIGKILL":
            # Nobody said goodbye: what was made and not sent may be told of, and nobody says that it is lost.
            check(len(rows) >= 500 and not line["ended"], line)
            daemon.wait_log("incarnation %s,.* (disconnected|it ended in the middle of a frame)" % line["incarnation"])
        else:
            equal((line["ended"], line["lost"], line["pending"]), (True, 0, 0), how)
            check(line["stored"] >= status[how]["made"], how, line, status[how])
            daemon.wait_log("incarnation %s,.* said goodbye" % line["incarnation"])
    file_agrees(daemon)
    daemon.stop()


@test
def test_stopped_and_started_again_in_one_node(s):
    daemon = s.start()
    node = new_node(s)
    seen = {}
    for number in range(5):
        node.start(daemon.ingest, memory=ROOMY)
        node.call("driver:storm(100)")
        node.call("driver:crash(again)")
        if number % 2:
            node.sync()
        status = node.status()
        equal(node.call("coroner:stop()"), "ok")  # it drains
        seen[status["incarnation"]] = status["made"]
        line = told(daemon, status["incarnation"], lambda told: told["ended"])
        equal((line["made"], line["stored"], line["lost"]), (status["made"], status["made"], 0))
    equal(len(seen), 5, "incarnations")
    equal(daemon.rows(), [row for incarnation, made in seen.items() for row in ids_of(incarnation, made)])
    file_agrees(daemon)
    daemon.stop()


@test
def test_halt_that_comes_to_nothing(s):
    """The node said goodbye and lives on: it comes back, and nothing is lost."""
    daemon = s.start()
    node = new_node(s)
    node.start(daemon.ingest)
    node.call("driver:storm(100)")
    equal(node.call("catch erlang:halt(nonsense), element(1, catch erlang:halt(nonsense))"), "EXIT")
    node.call("driver:storm(100)")
    status = node.until("not maps:get(connected, S)")
    check(told(daemon, status["incarnation"], lambda told: not told["connected"])["ended"])
    status, line = accounts_agree(daemon, node)
    equal((line["connected"], line["ended"], line["lost"], status["connects"]), (True, False, 0, 2))
    daemon.stop()


# ---- a way that is barred ----------------------------------------------------------------------------


def until_told(node, words, path):
    status = node.until("binary:match(case maps:get(uplink_error, S) of undefined -> <<>>; E -> E end, <<\"%s\">>)"
                        " =/= nomatch" % words)
    check(path in status["uplink_error"] and not status["connected"], status)


def barred(s, words, open_way, folder="way", **options):
    """The ingest socket's folder is such that nobody can connect; then ${open_way} makes it good."""
    path = s.path(folder + "/ingest.sock")
    node = new_node(s, **options)
    node.start(path)
    until_told(node, words, path)
    node.call("driver:storm(500)")
    equal((node.status()["lost"], node.status()["acknowledged"]), (0, 0))
    open_way()
    daemon = s.start("--listen", path)
    if options:
        os.chmod(path, 0o666)
    status, line = accounts_agree(daemon, node)
    equal((status["lost"], status["uplink_error"], line["uid"]), (0, None, options.get("user", os.getuid())))
    equal(daemon.rows(), ids_of(status["incarnation"], status["made"]))
    return daemon, node, path


@test
def test_path_that_does_not_exist(s):
    barred(s, "No such file or directory", lambda: os.mkdir(s.path("way")))[0].stop()


@test
def test_path_that_is_a_folder(s):
    os.makedirs(s.path("way/ingest.sock"))
    barred(s, "Connection refused", lambda: os.rmdir(s.path("way/ingest.sock")))[0].stop()


@test
def test_socket_that_nobody_listens_on(s):
    daemon, node, path = barred(s, "No such file", lambda: os.mkdir(s.path("way")))
    daemon.kill()
    until_told(node, "Connection refused", path)
    node.call("driver:storm(500)")
    daemon = s.start("--listen", path)
    accounts_agree(daemon, node)
    daemon.stop()


@test
def test_path_that_is_not_permitted(s):
    """The node is another user, who may not search the folder; then may, but not write to the socket."""
    if os.getuid() != 0:
        return
    os.chmod(s.folder, 0o755)
    os.mkdir(s.path("way"), 0o700)
    user = dict(user=NOBODY, group=NOBODY, extra_groups=[])
    daemon, node, path = barred(s, "Permission denied", lambda: os.chmod(s.path("way"), 0o755), **user)
    daemon.stop()
    daemon = s.start("--listen", path, umask=0o077)
    until_told(node, "Permission denied", path)
    node.call("driver:storm(100)")
    os.chmod(path, 0o666)
    accounts_agree(daemon, node)
    daemon.stop()


@test
def test_node_without_a_file_descriptor_to_spare(s):
    path = s.path("ingest.sock")
    node = new_node(s)
    node.start(path)
    until_told(node, "No such file", path)
    limit = len(os.listdir("/proc/%d/fd" % node.process.pid))
    resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (limit, 4096))
    daemon = s.start()
    until_told(node, "Too many open files", path)
    node.call("driver:storm(500)")
    resource.prlimit(node.process.pid, resource.RLIMIT_NOFILE, (4096, 4096))
    status, _ = accounts_agree(daemon, node)
    equal(status["lost"], 0)
    daemon.stop()


# ---- coroner itself is upgraded ------------------------------------------------------------------------
#
# Four storms of exits (test/erlang/storm.erl) rage meanwhile, and a daemon collects: none of their exits is missed or lost.

BUILT = os.path.join(ROOT, "_build", "default", "lib", "coroner")
MODULES = sorted(name[:-len(".erl")] for name in os.listdir(os.path.join(ROOT, "src")) if name.endswith(".erl"))
VAST = 2 << 30  # the storms can be faster than the daemon


def release_node(s, daemon, older=()):
    """A target system with coroner in it, started as release 1. Release 2, with the next version of coroner, is there to
    be unpacked; or release 1 has the version and the library of `older`, and release 2 those that were built. Returns the
    node and the folder of its libraries."""
    root = s.path("root")
    build = subprocess.run(["escript", os.path.join(ROOT, "test", "e2e", "build_release.escript"), BUILT, root,
                            '[{ingest, "%s"}, {memory, %d}]' % (daemon.ingest, VAST), *older],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                           check=False, timeout=120)
    equal((build.returncode, build.stdout), (0, ""), "the releases cannot be built")
    releases = os.path.join(root, "releases")
    # Embedded, as releases are: what is not in the boot script is loaded by name.
    node = new_node(s, command=[
        os.path.join(root, "bin", "start_erl"), root, releases, os.path.join(releases, "start_erl.data"), "-mode", "embedded",
        "-noshell", "-pa", PATHS[1], "-eval", "[{module, _} = code:load_file(M) || M <- [driver, storm, testlib]], driver:main()."])
    return node, os.path.join(root, "lib")


def libraries(node):
    """The copies of coroner's library that are mapped into the node."""
    with open("/proc/%d/maps" % node.process.pid) as maps:
        return {line.split(maxsplit=5)[5].rstrip("\n") for line in maps if "coroner_nif" in line}


def attributes(node):
    """It still tells who killed whom."""
    equal(node.call("begin V = testlib:spawn_waiting(), R = testlib:end_of(V, fun(P) -> exit(P, kill) end), "
                    "{testlib:get(\"exit.source\", R), testlib:get(\"exit.confidence\", R), "
                    "testlib:get(\"origin.by\", R) =:= testlib:text(self())} end"), ["kill", "observed", True])


def storms_agree(daemon, node, crashed):
    """All that was made is stored, none lost, and among it is each of the storms' exits that makes a record."""
    status, _ = accounts_agree(daemon, node)
    equal(status["lost"], 0)
    equal(daemon.rows(), ids_of(status["incarnation"], status["made"]))
    groups = daemon.ask({"op": "count", "by": ["process.initial_call"]})
    equal([group["count"] for group in groups[:-1] if group["group"]["process.initial_call"] == "storm:member/0"], [crashed])


@test
def test_upgraded_by_a_release_and_back_again(s):
    daemon = s.start(binary=s.plain)
    node, lib = release_node(s, daemon)
    node.until("maps:get(connected, S)")
    incarnation, server = node.status()["incarnation"], node.call("testlib:text(whereis(coroner_server))")
    equal(node.call('element(1, release_handler:unpack_release("coroner_test-2"))'), "ok")
    total = 0
    for release, patch in (("2", 1), ("1", 0)):
        (installed, permanent), crashed = node.call(
            'driver:in_storms(fun() -> {element(1, release_handler:install_release("%s")), '
            'release_handler:make_permanent("%s")} end)' % (release, release), seconds=300)
        equal((installed, permanent), ("ok", "ok"), release)
        check(crashed > 1000, "that was no storm", crashed)
        total += crashed
        version = node.call("{ok, V} = application:get_key(coroner, vsn), list_to_binary(V)")
        equal(int(version.split(".")[-1]), patch)
        folder = os.path.join(lib, "coroner-" + version)
        equal(libraries(node), {os.path.join(folder, "priv", "coroner_nif.so")}, "the library that is mapped")
        equal(node.call("[{M, list_to_binary(code:which(M)), erlang:check_old_code(M)} || M <- [%s]]" % ", ".join(MODULES)),
              [[module, os.path.join(folder, "ebin", module + ".beam"), False] for module in MODULES])
        attributes(node)
        status = node.status()
        equal((status["armed"], status["trace"], status["incarnation"]), (True, "intact", incarnation))
        equal(node.call("testlib:text(whereis(coroner_server))"), server, "it went on, upgraded")
    storms_agree(daemon, node, total)
    equal(node.call("application:stop(coroner)"), "ok")
    file_agrees(daemon)
    daemon.stop()


@test
def test_upgraded_from_a_version_of_another_layout(s):
    """Its library is not one to take over from: the application is started anew, and the node lives."""
    daemon = s.start(binary=s.plain)
    node, lib = release_node(s, daemon, ("0.1.7", os.path.join(ROOT, "_build", "test", "other_layout", "priv", "coroner_nif.so")))
    node.until("maps:get(connected, S)")
    equal(node.call('element(1, release_handler:unpack_release("coroner_test-2"))'), "ok")
    os_pid, incarnations = node.process.pid, [node.status()["incarnation"]]
    for release in ("2", "1"):
        attributes(node)
        # All is the daemon's before: what is restarted is another incarnation, and the one before it has lost nothing.
        equal(node.call("coroner:sync(infinity)"), "ok")
        made = node.status()["made"]
        equal(node.call('{element(1, release_handler:install_release("%s")), release_handler:make_permanent("%s")}'
                        % (release, release), seconds=120), ["ok", "ok"])
        attributes(node)
        status = node.status()
        equal((status["armed"], status["trace"]), (True, "intact"))
        check(status["incarnation"] not in incarnations, "another incarnation", status["incarnation"])
        check(set(ids_of(incarnations[-1], made)) <= set(daemon.rows()), "what was made before is stored", made)
        incarnations.append(status["incarnation"])
        version = node.call("{ok, V} = application:get_key(coroner, vsn), list_to_binary(V)")
        equal(libraries(node), {os.path.join(lib, "coroner-" + version, "priv", "coroner_nif.so")})
    check(node.process.poll() is None and node.process.pid == os_pid, "it is the same node")
    equal(node.call("coroner:sync(infinity)"), "ok")
    equal(node.call("application:stop(coroner)"), "ok")
    file_agrees(daemon)
    daemon.stop()


@test
def test_every_module_loaded_anew(s):
    """As l/1 of the shell does it, each twice."""
    daemon = s.start(binary=s.plain)
    node = new_node(s)
    node.start(daemon.ingest, memory=VAST)
    reload = "_ = [{module, M} = c:l(M) || M <- [%s], _ <- [1, 2]]" % ", ".join(MODULES)
    crashed = node.call("element(2, driver:in_storms(fun() -> %s end))" % reload, seconds=300)
    check(crashed > 1000, "that was no storm", crashed)
    equal(libraries(node), {os.path.join(ROOT, "priv", "coroner_nif.so")})
    attributes(node)
    equal(node.status()["trace"], "intact")
    storms_agree(daemon, node, crashed)
    file_agrees(daemon)
    daemon.stop()


# ---- running them -----------------------------------------------------------------------------------


if __name__ == "__main__":
    sys.exit(daemon_harness.main())
