#!/usr/bin/python3
"""Tests of coronerd as a service: its config file, systemd's protocols, signals, log, and who may use its sockets.

    service_test.py --daemon BINARY --san-daemon BINARY [NAME...]

Prints "ok NAME" or "not ok NAME: why" for each test and closes with "N passed, N failed". Who may do what can only be
tried by root: as another user those tests fail.
"""
import contextlib
import fcntl
import grp
import os
import pwd
import re
import resource
import select
import signal
import socket
import stat
import subprocess
import sys

import daemon_harness
from daemon_harness import NOBODY, Client, ask, check, equal, test
from fake_node import FakeNode, Refused

STRANGER, STRANGERS_GROUP, OTHER_GROUP = 54321, 54321, 54399


# ---- what the tests share ----------------------------------------------------------------------------


def write_config(s, text, name="coronerd.conf"):
    """Write a config file. Returns its path."""
    path = s.path(name)
    with open(path, "w") as file:
        file.write(text)
    return path


def run_daemon(s, *arguments, **options):
    done = subprocess.run([s.san, *arguments], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL,
                          check=False, **options)
    check("Sanitizer" not in done.stderr, done.stderr)
    return done.returncode, done.stdout, done.stderr


class Manager:
    """The end of $NOTIFY_SOCKET that systemd has."""

    def __init__(self, s):
        self.path = s.path("notify.sock")
        self.socket = s.undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        self.socket.bind(self.path)
        self.socket.settimeout(60)

    def environment(self, **more):
        return dict(os.environ, NOTIFY_SOCKET=self.path, **more)

    def next(self):
        """The next message, as a dictionary."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().split("\n") if line)

    def until(self, key):
        while True:
            message = self.next()
            if key in message:
                return message

    def everything(self):
        self.socket.setblocking(False)
        messages = []
        with contextlib.suppress(BlockingIOError):
            while True:
                messages.append(self.next())
        return messages


@contextlib.contextmanager
def as_user(uid, gid, groups=()):
    """What is connected in here is connected as this user."""
    equal(os.geteuid(), 0, "this test needs root")
    before = os.getgroups()
    os.setgroups(list(groups))
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


def ask_as(daemon, uid, gid, groups=()):
    with as_user(uid, gid, groups):
        client = Client(daemon.query)
    with client:
        # One that is refused may be so before this is sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.send({"op": "version"})
            client.end()
        return client.line()


def ingest_as(daemon, uid, gid, groups=()):
    """Connect as a node of that user. Returns what it was told if it was sent away, or None."""
    with as_user(uid, gid, groups):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(daemon.ingest)
    with sock:
        sock.settimeout(0.0)
        if select.select([sock], [], [], 0.3)[0]:
            return sock.recv(4096)
    return None


# ---- settings ----------------------------------------------------------------------------------------


@test
def test_check(s):
    code, out, err = run_daemon(s, "--check", "-c", write_config(s, "store { path = /x/y }\nsink a { path = /x/z }\n"))
    equal(code, 0)
    # What coronerd would fail at is told; it may be right where, or when, coronerd is started.
    for part in ("warning: store.path: the folder '/x' does not exist", "warning: the sink 'a': the folder '/x' does not exist"):
        check(part in err, err)
    check('    path = "/x/y"\n' in out and 'sink "a" {\n' in out and "drain_timeout = 10s\n" in out, out)
    # What it prints is a config file that says the same.
    equal(run_daemon(s, "--check", "--config", write_config(s, out))[:2], (0, out))
    places = "ingest { path = %s }\nquery { path = %s }\nstore { path = %s }\n" % (s.path("i"), s.path("q"), s.path("s"))
    equal(run_daemon(s, "--check", "-c", write_config(s, places))[2], "")
    code, out, err = run_daemon(s, "--check", "-c", write_config(s, "store { path = /x/y }"), "--store", "/else/where")
    equal(code, 0)
    check('path = "/else/where"' in out and "/x/y" not in out, out)
    check(not os.path.exists("/x"), "--check touches the disk")


@test
def test_all_that_is_wrong_is_named(s):
    """By --check, by the start and by a reload, a line each."""
    wrong = "store {\n max_byts = 1GiB\n max_age = 10\n}\nquery { mode = 1660 }\n"
    named = ("%s:2: no such option 'max_byts'", "%s:3: max_age: '10' is no duration", "%s:5: mode: '1660' is no file mode")
    path = write_config(s, wrong)
    code, out, err = run_daemon(s, "--check", "-c", path)
    equal((code, out, len(err.splitlines())), (78, "", 3))
    for line, part in zip(err.splitlines(), named):
        check(line.startswith("coronerd: " + part % path), line)
    daemon = s.start("-c", path, ready=False)
    equal(daemon.wait(), 78)
    for line, part in zip(daemon.log(), named):
        check("error: " + part % path in line, daemon.log())


@test
def test_wrong_settings_are_named(s):
    for text, line, why in (("\n\nnonsense = 1\n", 3, "no such option 'nonsense'"),
                            ("# c\nstore { max_bytes = much }\n", 2, "is no size"),
                            ("sink a { path = /x }\n\nsink a { path = /y }\n", 3, "duplicate"),
                            ("query {\n", 1, "not closed"),
                            ("query {\n allow_users = { no-such-user } }\n", 2, "no user 'no-such-user'")):
        path = write_config(s, text)
        code, out, err = run_daemon(s, "--check", "-c", path)
        equal((code, out), (78, ""))
        check(err.startswith("coronerd: %s:%d: " % (path, line)) and why in err, err)
        # Without --check it does not start, for the same reason.
        daemon = s.start("-c", path, ready=False)
        equal(daemon.wait(), 78)
        check("error: %s:%d: " % (path, line) in daemon.log()[0] and why in daemon.log()[0], daemon.log())
        check(not os.path.exists(daemon.store), "it has made a store")


@test
def test_hostile_config_files(s):
    fifo, large, binary = s.path("fifo"), s.path("large"), s.path("binary")
    os.mkfifo(fifo)
    with open(large, "w") as file:
        file.truncate(100 << 20)
    with open(binary, "wb") as file:
        file.write(b"# x\nstore\0 { }\n")
    for path, why in ((fifo, "is a FIFO"), (large, "at most 262144 bytes"), (binary, ":2: a byte 0x00"),
                      ("/dev/zero", "is a device"), (s.folder, "is a directory"),
                      (s.path("missing"), "No such file")):
        code, out, err = run_daemon(s, "--check", "-c", path)
        equal((code, out), (78, ""))
        check(err.startswith("coronerd: " + path) and why in err, err)
    path = s.path("self.conf")
    equal(run_daemon(s, "--check", "-c", write_config(s, 'include("%s")\n' % path, "self.conf"))[0], 78)


@test
def test_config_alone(s):
    """Everything from the file, with modes and groups."""
    text = """ingest { path = "%s" mode = 0600 }
              query { path = "%s" mode = 0666 group = %d }
              store { path = "%s" }
              sink lines { path = "%s" }""" % tuple(
        [s.path("i.sock"), s.path("q.sock"), OTHER_GROUP] + [s.path(name) for name in ("s.db", "o.ndjson")])
    process = s.undo.enter_context(subprocess.Popen([s.san, "-c", write_config(s, text)], stderr=subprocess.PIPE,
                                                    stdin=subprocess.DEVNULL, text=True))
    s.undo.callback(lambda: process.poll() is None and process.kill())
    check(s.path("q.sock") in process.stderr.readline())
    status = os.stat(s.path("q.sock"))
    equal((stat.S_IMODE(status.st_mode), status.st_gid), (0o666, OTHER_GROUP))
    equal(stat.S_IMODE(os.stat(s.path("i.sock")).st_mode), 0o600)
    node = FakeNode(s.path("i.sock"))
    node.make()
    check(node.connect() and node.deliver())
    equal(ask(s.path("q.sock"), {"op": "version"})[-1]["done"], True)
    process.send_signal(signal.SIGTERM)
    equal(process.wait(60), 0)
    with open(s.path("o.ndjson")) as lines:
        equal(len(lines.readlines()), 1)


# ---- systemd -----------------------------------------------------------------------------------------


@test
def test_systemd_is_told(s):
    manager = Manager(s)
    daemon = s.start(env=manager.environment(), ready=False)
    message = manager.next()
    equal(message["READY"], "1")
    check(message["STATUS"], message)
    # It is ready: both sockets are served and the store is there, at this moment.
    node = FakeNode(daemon.ingest)
    node.make()
    check(node.connect() and node.deliver())
    equal(daemon.ask({"op": "version"})[-1]["done"], True)
    daemon.process.send_signal(signal.SIGHUP)
    message = manager.next()
    equal(message["RELOADING"], "1")
    check(int(message["MONOTONIC_USEC"]) > 0, message)
    equal(manager.next()["READY"], "1")
    daemon.process.send_signal(signal.SIGTERM)
    equal(manager.next()["STOPPING"], "1")
    equal(daemon.wait(), 0)
    equal(manager.everything(), [])


@test
def test_systemd_is_not_told_too_early(s):
    manager = Manager(s)
    daemon = s.start("--query", s.path("missing/q.sock"), env=manager.environment(), ready=False)
    equal(daemon.wait(), 73)
    check(not any("READY" in message for message in manager.everything()), "it says that it is ready")


@test
def test_watchdog(s):
    manager = Manager(s)
    daemon = s.start(env=manager.environment(WATCHDOG_USEC="100000"))
    for _ in range(5):
        equal(manager.until("WATCHDOG"), {"WATCHDOG": "1"})
    daemon.process.send_signal(signal.SIGTERM)
    equal(daemon.wait(), 0)
    # Nobody asked, or asked another process: nothing comes.
    for environment in ({}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}):
        daemon = s.start(env=manager.environment(**environment))
        manager.socket.setblocking(True)
        manager.until("READY")
        daemon.stop()
        check(not any("WATCHDOG" in message for message in manager.everything()), "nobody wanted that")


def activated(s, names, *arguments):
    """The daemon, started by systemd-socket-activate at the first connection. Returns (daemon, a client)."""
    ingest, query = s.path("given-ingest.sock"), s.path("given-query.sock")
    daemon = s.start(*arguments, ready=False, wrapper=(
        "systemd-socket-activate", "-l", ingest, "-l", query, "--fdname=" + names))
    daemon.wait_log("Listening on", 2)
    client = s.undo.enter_context(Client(query))
    return daemon, ingest, query, client


@test
def test_socket_activation(s):
    daemon, ingest, query, client = activated(s, "ingest:query")
    # The client was there before the daemon.
    client.send({"op": "version"})
    check("version" in client.line())
    daemon.ready()
    check(query in daemon.logged("ready: ")[0] and ingest in daemon.logged("ready: ")[0], daemon.log())
    node = FakeNode(ingest)
    node.make()
    check(node.connect() and node.deliver())
    check(not os.path.exists(daemon.ingest) and not os.path.exists(daemon.query), "it has made sockets of its own")
    daemon.stop()
    check(os.path.exists(ingest) and os.path.exists(query), "it has removed systemd's sockets")


@test
def test_socket_activation_with_wrong_names(s):
    daemon, _, _, _ = activated(s, "ingest:coronerd.socket")
    equal(daemon.wait(), 78)
    check("FileDescriptorName" in daemon.logged("error: ")[0], daemon.log())
    os.unlink(s.path("given-ingest.sock"))
    os.unlink(s.path("given-query.sock"))
    daemon, _, _, _ = activated(s, "query:query")
    equal(daemon.wait(), 78)
    check("two sockets named 'query'" in daemon.logged("error: ")[0], daemon.log())


# ---- signals -----------------------------------------------------------------------------------------


@test
def test_reload(s):
    path = write_config(s, "limits { query_connections_per_user = 32 }\n")
    daemon = s.start("-c", path)
    write_config(s, """query { mode = 0600 allow_users = { root, %d } }
                       limits { query_connections_per_user = 5 }
                       http { address = 127.0.0.1:1 }
                       sink another { path = /nowhere/x }""" % STRANGER)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log("info: reloaded")
    for line in (r"info: query\.mode is 0600 now \(it was 0660\)",
                 r"info: query\.allow_users is \{0, %d\} now \(it was \{\}\)" % STRANGER,
                 r"info: limits\.query_connections_per_user is 5 now \(it was 32\)",
                 r"warning: http\.address is .*127\.0\.0\.1:1.* in the config file; it stays off until",
                 r"warning: sink 'another' is there in the config file; it stays not there until"):
        check(daemon.logged(line), line, daemon.log())
    equal(stat.S_IMODE(os.stat(daemon.query).st_mode), 0o600)
    # The same once more changes nothing.
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log("info: reloaded", 2)
    equal(len(daemon.logged(r" now \(it was")), 3)
    equal(daemon.ask({"op": "version"})[-1]["done"], True)
    daemon.stop()


@test
def test_reload_of_a_bad_file(s):
    os.chmod(s.folder, 0o755)
    daemon = s.start("-c", write_config(s, "query { mode = 0666 allow_users = { %d } }" % STRANGER))
    for number, text in enumerate(("query { mode = 0600 \n", "query { mode = 0600 }\nnonsense = 1\n",
                                   "query { mode = 0600 }\nsink a { path = 'x\n"), 1):
        path = write_config(s, text)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_log("info: the outputs are opened anew", number)
        equal(len(daemon.logged(r"error: all settings stay as they are")), number)
    equal(daemon.logged(r" now \(it was"), [])
    equal(stat.S_IMODE(os.stat(daemon.query).st_mode), 0o666)
    check("version" in ask_as(daemon, STRANGER, STRANGERS_GROUP))
    equal(ask_as(daemon, STRANGER + 1, STRANGERS_GROUP)["error"]["code"], "denied")
    # After that a good one is read as ever.
    write_config(s, "query { mode = 0666 }")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log(r"query\.allow_users is \{\} now")
    check("version" in ask_as(daemon, STRANGER + 1, STRANGERS_GROUP))
    daemon.stop()


def with_much_to_write(s, *arguments):
    """A daemon that cannot finish: its standard output is not read."""
    daemon = s.start(*arguments, out="-", stdout=subprocess.PIPE)
    s.undo.callback(daemon.process.stdout.close)
    node = FakeNode(daemon.ingest)
    for _ in range(3000):
        node.make()
    check(node.connect() and node.deliver())
    return daemon


@test
def test_drain_timeout(s):
    daemon = with_much_to_write(s, "-c", write_config(s, "drain_timeout = 1s\n"))
    daemon.process.send_signal(signal.SIGTERM)
    equal(daemon.wait(), 74)
    check(daemon.logged("error: ending before everything is written"), daemon.log())
    check(not os.path.exists(daemon.query), "the socket is left")


@test
def test_second_signal_ends_at_once(s):
    daemon = with_much_to_write(s, "-c", write_config(s, "drain_timeout = 1h\n"))
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_log("finishing what has come")
    daemon.process.send_signal(signal.SIGINT)
    equal(daemon.wait(), 74)


# ---- the log -----------------------------------------------------------------------------------------


def start_with_stderr(s, stderr, options=None, **environment):
    """The daemon with this as its standard error."""
    command = [s.san, "--listen", s.path("i.sock"), "--query", s.path("q.sock"), "--store", s.path("s.db")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                               env=dict(os.environ, **environment), **(options or {}))
    s.undo.callback(lambda: (process.poll() is None and process.kill(), process.wait()))
    return process


def read_to_the_end(file):
    with open(file, "rb") as lines:
        return lines.read().decode().splitlines()


@test
def test_journal_priorities(s):
    for right in (True, False):
        reading, writing = os.pipe()
        status = os.fstat(writing)
        process = start_with_stderr(s, writing, JOURNAL_STREAM="%d:%d" % (status.st_dev, status.st_ino + (not right)))
        os.close(writing)
        first = os.read(reading, 4096).decode()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(s.path("i.sock"))
            sock.sendall(b"\0\0\0\0")
            sock.settimeout(60)
            while sock.recv(4096):
                pass
        process.send_signal(signal.SIGTERM)
        lines = first.splitlines() + read_to_the_end(reading)
        equal(process.wait(60), 0)
        if right:
            check(lines[0].startswith("<6>ready: coronerd"), lines)
            check(any(line.startswith("<4>closed the connection") for line in lines), lines)
            check(all(re.match(r"<[346]>[^ ]", line) for line in lines), lines)
        else:
            check(all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z coronerd\[\d+\] (info|warning): ", line)
                      for line in lines), lines)
    daemon = s.start("--store", s.path("missing/x"), ready=False, env=dict(os.environ, JOURNAL_STREAM="nonsense"))
    equal(daemon.wait(), 73)
    check(" error: " in daemon.log()[0], daemon.log())


def pipe_pair(_):
    return os.pipe()


def socket_pair(_):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return ours.detach(), theirs.detach()


def terminal_pair(_):
    return os.openpty()


def cause_lines(s, count):
    for _ in range(count):
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(60)
            sock.connect(s.path("i.sock"))
            sock.sendall(b"\0\0\0\0")
            with contextlib.suppress(ConnectionResetError):
                while sock.recv(4096):
                    pass


def read_more(reading, text, wanted):
    """Read on until the text holds what is wanted."""
    while not re.search(wanted, text):
        check(select.select([reading], [], [], 60)[0], "nothing more comes", text[-500:])
        text += os.read(reading, 65536)
    return text


@test
def test_nobody_reads_the_log(s):
    """Neither a pipe nor a socket nor a terminal that is not read holds up the daemon, and it tells what is missing. A
    pipe of another user is one that it may not open anew."""
    os.chown(s.folder, NOBODY, NOBODY)
    nobody = dict(user=NOBODY, group=NOBODY, extra_groups=[])
    for pair, options in ((pipe_pair, nobody), (pipe_pair, {}), (socket_pair, {}), (terminal_pair, {})):
        reading, writing = pair(s)
        process = start_with_stderr(s, writing, options)
        text = read_more(reading, b"", rb"ready: ")
        cause_lines(s, 3500)
        # Everything is answered, though the log has come to a stop.
        status = ask(s.path("q.sock"), {"op": "status"})[0]["status"]
        equal(status["ingest"]["connections_refused"], 3500)
        equal(fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK, 0, "others who have this stderr are affected")
        os.close(writing)
        # It is read again: what was kept comes, and a later line says how much was not.
        caused = 3500
        while not re.search(rb"lines are left out here, nobody read", text):
            cause_lines(s, 1)
            caused += 1
            text = read_more(reading, text + os.read(reading, 65536), rb"\n\Z")
        process.send_signal(signal.SIGTERM)
        text = read_more(reading, text, rb"info: ended")
        equal(process.wait(60), 0)
        os.close(reading)
        kept = len(re.findall(rb"closed the connection", text))
        left_out = sum(map(int, re.findall(rb"(\d+) lines are left out here, nobody read", text)))
        check(200 < kept < 3500 and left_out > 0, "kept", kept, left_out)
        equal(kept + left_out, caused)


@test
def test_reader_of_the_log_has_gone(s):
    reading, writing = os.pipe()
    process = start_with_stderr(s, writing)
    os.close(writing)
    read_more(reading, b"", rb"ready: ")
    os.close(reading)
    cause_lines(s, 100)
    equal(ask(s.path("q.sock"), {"op": "version"})[-1]["done"], True)
    process.send_signal(signal.SIGTERM)
    equal(process.wait(60), 0)


# ---- who may -----------------------------------------------------------------------------------------


@test
def test_query_access(s):
    os.chmod(s.folder, 0o755)
    daemon = s.start("-c", write_config(s, "query { mode = 0666 allow_users = { %d } allow_groups = { %d } }" % (
        STRANGER, OTHER_GROUP)))
    check("version" in ask_as(daemon, STRANGER, STRANGERS_GROUP))
    check("version" in ask_as(daemon, 60001, OTHER_GROUP), "the primary group")
    check("version" in ask_as(daemon, 60001, 60001, [7, OTHER_GROUP, 9]), "a supplementary group")
    check("version" in ask_as(daemon, 0, 0))
    for groups in ([], [7, 9]):
        error = ask_as(daemon, 60001, 60001, groups)["error"]
        equal(error["code"], "denied")
        check("uid 60001" in error["message"] and "query.allow_users" in error["message"], error)
    check(daemon.logged("warning: refused a query client with pid %d: uid 60001" % os.getpid()), daemon.log())
    # Another socket, other people.
    equal(ingest_as(daemon, 0, 0), None)
    daemon.stop()


@test
def test_names_in_lists(s):
    """Users and groups by name, those of this host that are nobody's."""
    os.chmod(s.folder, 0o755)
    user = pwd.getpwuid(NOBODY)
    group = next(entry for entry in grp.getgrall() if entry.gr_gid not in (0, user.pw_gid))
    daemon = s.start("-c", write_config(s, "query { mode = 0666 allow_users = { %s } allow_groups = { %s } }" % (
        user.pw_name, group.gr_name)))
    check("version" in ask_as(daemon, NOBODY, 60001))
    check("version" in ask_as(daemon, 60001, 60001, [group.gr_gid]))
    equal(ask_as(daemon, 60001, 60001)["error"]["code"], "denied")
    daemon.stop()


@test
def test_ingest_access(s):
    os.chmod(s.folder, 0o755)
    daemon = s.start("-c", write_config(s, "ingest { mode = 0666 allow_users = { %d } }" % STRANGER))
    equal(ingest_as(daemon, STRANGER, STRANGERS_GROUP), None)
    equal(ingest_as(daemon, 0, 0), None)
    said = ingest_as(daemon, 60001, 60001)
    check(said is not None and b"uid 60001" in said and b"ingest.allow_users" in said and b"SIGHUP" in said, said)
    # What a node gets to read is an ERROR frame.
    with as_user(60001, 60001):
        node = FakeNode(daemon.ingest)
        node.make()
        with contextlib.suppress(Refused):
            check(not (node.connect() and node.deliver(10)), "it was served")
    equal(daemon.rows(), [])
    daemon.stop()


@test
def test_mode_keeps_others_out(s):
    os.chmod(s.folder, 0o755)
    daemon = s.start()
    for path in (daemon.query, daemon.ingest):
        with as_user(STRANGER, STRANGERS_GROUP), socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.connect(path)
                raise AssertionError("connected to " + path)
            except PermissionError:
                pass
    daemon.stop()


@test
def test_one_user_does_not_take_all(s):
    os.chmod(s.folder, 0o755)
    daemon = s.start("-c", write_config(s, """query { mode = 0666 } ingest { mode = 0666 }
        limits { query_connections = 16 query_connections_per_user = 4
                 ingest_connections = 16 ingest_connections_per_user = 4 }"""))
    clients = []
    with as_user(STRANGER, STRANGERS_GROUP):
        for _ in range(4):
            clients.append(s.client(daemon))
        fifth = s.client(daemon)
    error = fifth.line()["error"]
    equal(error["code"], "too_many_connections")
    check("query_connections_per_user" in error["message"], error)
    check("version" in ask_as(daemon, STRANGER + 1, STRANGERS_GROUP))
    # One that ends makes room for the next.
    clients[0].end()
    equal(clients[0].line(), None)
    check("version" in ask_as(daemon, STRANGER, STRANGERS_GROUP))
    # Many users together leave some for root.
    for number in range(11):
        with as_user(STRANGER + 2 + number, STRANGERS_GROUP):
            clients.append(s.client(daemon))
    answers = [ask_as(daemon, STRANGER + 20 + number, STRANGERS_GROUP) for number in range(2)]
    check("error" in answers[-1] and "kept for root" in answers[-1]["error"]["message"], answers)
    check("version" in ask_as(daemon, 0, 0))
    socks = []
    for number in range(5):
        with as_user(STRANGER, STRANGERS_GROUP):
            sock = s.undo.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(daemon.ingest)
        socks.append(sock)
    socks[4].settimeout(60)
    check(b"ingest_connections_per_user" in socks[4].recv(4096))
    node = FakeNode(daemon.ingest)
    node.make()
    check(node.connect() and node.deliver(), "a node of another user is not served")
    daemon.stop()


# ---- starting ----------------------------------------------------------------------------------------


@test
def test_one_of_many_gets_the_socket(s):
    """A dead daemon has left its sockets; of those that start at the same moment one replaces them."""
    first = s.start()
    first.kill()
    for round_number in range(5):
        daemons = [s.start("--store", s.path("s%d-%d.db" % (round_number, number)), ready=False, out=None)
                   for number in range(5)]
        for daemon in daemons:
            daemon.wait_log("ready: |error: ")
        ready = [daemon for daemon in daemons if daemon.logged("ready: ")]
        equal(len(ready), 1, [daemon.log() for daemon in daemons])
        for daemon in daemons:
            if daemon is not ready[0]:
                equal(daemon.wait(), 73, daemon.log())
                check(daemon.logged("somebody is listening on this socket"), daemon.log())
        equal(ready[0].ask({"op": "version"})[-1]["done"], True)
        ready[0].kill()


@test
def test_locked_folder(s):
    """Whoever keeps the folder locked does not keep the daemon waiting for ever."""
    folder = os.open(s.folder, os.O_RDONLY)
    s.undo.callback(os.close, folder)
    fcntl.flock(folder, fcntl.LOCK_EX)
    daemon = s.start(ready=False)
    equal(daemon.wait(), 75)
    check("locked" in daemon.logged("error: ")[0], daemon.log())
    fcntl.flock(folder, fcntl.LOCK_UN)
    s.start().stop()


@test
def test_socket_is_not_replaced_by_a_link(s):
    """A reload changes the mode of the socket, not of what somebody has put in its place."""
    daemon = s.start("-c", write_config(s, ""))
    with open(s.path("precious"), "w") as file:
        file.write("x")
    os.chmod(s.path("precious"), 0o600)
    os.unlink(daemon.query)
    os.symlink(s.path("precious"), daemon.query)
    write_config(s, "query { mode = 0666 }")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_log("error: .*somebody has replaced the socket")
    equal(stat.S_IMODE(os.stat(s.path("precious")).st_mode), 0o600)
    daemon.process.send_signal(signal.SIGTERM)
    equal(daemon.wait(), 0)
    check(os.path.islink(daemon.query), "it has removed what is not its own")


@test
def test_32_descriptors(s):
    """With all descriptors taken it neither spins nor dies, and serves those who wait once there are some."""
    daemon = s.start(binary=s.plain, limits=[(resource.RLIMIT_NOFILE, 32)], out=None)
    socks = []
    for number in range(64):
        sock = s.undo.enter_context(socket.socket(socket.AF_UNIX))
        sock.settimeout(60)
        sock.connect(daemon.query if number % 2 else daemon.ingest)
        socks.append(sock)
    # The last ones get no descriptor: they wait.
    daemon.wait_log("who comes has to wait")
    before = daemon.cpu_seconds()
    for sock in socks:
        sock.close()
    node = FakeNode(daemon.ingest)
    node.make()
    while not (node.connect() and node.deliver()):
        pass
    equal(daemon.ask({"op": "version"})[-1]["done"], True)
    check(daemon.cpu_seconds() - before < 2, "it spins")
    daemon.stop()


if __name__ == "__main__":
    sys.exit(daemon_harness.main())
