#!/usr/bin/python3
"""Real log pipelines behind coronerd: rsyslog that follows its file, a NATS server with JetStream. Both are killed
in the middle. Loopback only, folders of the tests' own, and only what was started here is ended."""
import collections
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time

import daemon_harness
from daemon_harness import check, equal, test
from fake_node import FakeNode, exit_record
from sink_test import caught_up, config, ids_in, send, sink_of, until_sink


def until(holds, seconds=60):
    """Wait until holds() is true: for another program's file, which nothing tells of."""
    deadline = time.monotonic() + seconds
    while not (result := holds()):
        check(time.monotonic() < deadline, "it does not come", holds)
        select.select([], [], [], 0.05)
    return result


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


class Program:
    """A program of the pipeline. It is killed at the end of the test, whatever happens."""

    def __init__(self, s, *command):
        self.command = command
        self.folder = s.folder
        self.log = s.path(os.path.basename(command[0]) + ".log")
        self.process = None
        s.undo.callback(self.kill)

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            cwd=self.folder)

    def kill(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
        if self.process is not None:
            self.process.wait()

    def said(self):
        with open(self.log) as log:
            return log.read()


# ---- rsyslog ----------------------------------------------------------------------------------------


def rsyslog(s, followed, out):
    os.mkdir(s.path("rsyslog"))
    conf = s.path("rsyslog.conf")
    with open(conf, "w") as file:
        file.write("""
global(workDirectory="%s" maxMessageSize="64k")
module(load="imfile" mode="inotify")
template(name="line" type="string" string="%%msg%%\\n")
input(type="imfile" file="%s" tag="coroner" reopenOnTruncate="on" ruleset="keep")
ruleset(name="keep") { action(type="omfile" file="%s" template="line") }
""" % (s.path("rsyslog"), followed, out))
    return Program(s, "/usr/sbin/rsyslogd", "-n", "-f", conf, "-i", s.path("rsyslog.pid"))


def ids_arrived(path):
    """The ids in what came out at the other end. Where the shipper was killed while it wrote, there is a line that is
    unfinished, and the next one begins in the middle of it."""
    if not os.path.exists(path):
        return []
    with open(path, "rb") as file:
        lines = file.read().split(b"\n")[:-1]
    return [json.loads(line[line.rindex(b'{"schema":'):])["id"] for line in lines if line]


@test
def test_rsyslog_killed(s):
    """rsyslog is killed with SIGKILL three times while records come: each id arrives, some twice."""
    out, arrived = s.path("exits.ndjson"), s.path("arrived")
    daemon = s.start(*config(s, {"name": "file", "type": "file", "path": out}), out=None, binary=s.plain)
    shipper = rsyslog(s, out, arrived)
    shipper.start()
    node = FakeNode(daemon.ingest)
    check(node.connect())
    for turn in range(3):
        before = os.path.getsize(arrived) if turn else 0
        for _ in range(8000):
            node.make(exit_record("<0.1.0>", reason="r" * 500))
        # While records come: the node stops sending when some of this turn's have arrived.
        while not os.path.exists(arrived) or os.path.getsize(arrived) < before + 300000:
            node.turn(0.01)
        shipper.kill()
        check(len(ids_arrived(arrived)) < node.made - 500, "it had everything when it was killed")
        check(node.deliver())
        shipper.start()
    until_sink(daemon, "file", caught_up)
    rows = daemon.rows()
    equal(len(rows), 24000)
    until(lambda: set(ids_arrived(arrived)) >= set(rows))
    ids = ids_arrived(arrived)
    equal(set(ids), set(rows))
    print("# rsyslog: %d records, %d lines arrived" % (len(rows), len(ids)))
    daemon.stop()


@test
def test_rsyslog_and_rotation(s):
    """It follows the file over rotations, with coronerd killed in between: each id arrives."""
    out, arrived = s.path("exits.ndjson"), s.path("arrived")
    arguments = config(s, {"name": "file", "type": "file", "path": out, "rotate_bytes": "256KiB", "rotate_keep": 50})
    daemon = s.start(*arguments, out=None, binary=s.plain)
    shipper = rsyslog(s, out, arrived)
    shipper.start()
    node = FakeNode(daemon.ingest)
    for turn in range(10):
        send(daemon, 150, node, reason="r" * 500)
        until_sink(daemon, "file", lambda sink: sink["behind"] == 0)
        rows = set(daemon.rows())
        # A shipper must not be more than the kept files behind: here not more than a file.
        until(lambda rows=rows: set(ids_arrived(arrived)) >= rows)
        if turn % 3 == 2:
            daemon.kill()
            node.close()
            daemon = s.start(*arguments, out=None, binary=s.plain)
    check(len(os.listdir(s.folder)) > 6 and os.path.exists(out + ".2"), "did not rotate", os.listdir(s.folder))
    equal(set(ids_arrived(arrived)), set(daemon.rows()))
    daemon.stop()


# ---- NATS -------------------------------------------------------------------------------------------


class Nats:
    """A client in as many lines as the tests need: requests, and their answers."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.file = self.socket.makefile("rb")
        check(self.file.readline().startswith(b"INFO "))
        self.socket.sendall(b'CONNECT {"verbose":false,"headers":true,"lang":"test","version":"1"}\r\n'
                            b'SUB answer.* 1\r\nPING\r\n')
        equal(self.file.readline(), b"PONG\r\n")

    def request(self, subject, body=None):
        data = json.dumps(body).encode() if body is not None else b""
        self.socket.sendall(b"PUB %s answer.1 %d\r\n%s\r\n" % (subject.encode(), len(data), data))
        while True:
            line = self.file.readline().split()
            check(line, "the server is gone")
            if line[0] == b"PING":
                self.socket.sendall(b"PONG\r\n")
            elif line[0] in (b"MSG", b"HMSG"):
                payload = self.file.read(int(line[-1]) + 2)[:-2]
                if line[0] == b"HMSG":
                    payload = payload[int(line[-2]):]
                return json.loads(payload) if payload else None

    def messages(self, stream):
        """Every message in the stream, as (subject, Nats-Msg-Id, body)."""
        import base64
        state = self.request("$JS.API.STREAM.INFO." + stream)["state"]
        for number in range(state["first_seq"], state["last_seq"] + 1):
            message = self.request("$JS.API.STREAM.MSG.GET." + stream, {"seq": number})["message"]
            headers = base64.b64decode(message.get("hdrs", "")).decode()
            name = [line.split(":", 1)[1].strip() for line in headers.split("\r\n") if line.startswith("Nats-Msg-Id:")]
            yield message["subject"], name[0] if name else None, base64.b64decode(message["data"])

    def close(self):
        self.file.close()
        self.socket.close()


class Server(Program):
    def __init__(self, s, port=None, jetstream=True):
        self.port = port or free_port()
        arguments = ["-js", "-sd", s.path("jetstream")] if jetstream else []
        super().__init__(s, "/usr/sbin/nats-server", "-a", "127.0.0.1", "-p", str(self.port), *arguments)

    def listens(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        check(self.process.poll() is None, "nats-server ended", self.said())
        return False

    def start(self):
        super().start()
        until(self.listens)
        return self

    def client(self, s):
        client = Nats(self.port)
        s.undo.callback(client.close)
        return client


def nats_sink(port, **more):
    return dict({"name": "nats", "type": "nats", "url": "nats://127.0.0.1:%d" % port, "subject": "coroner.exit",
                 "stream": "EXITS"}, **more)


def check_stream(client, rows, prefix="coroner.exit."):
    """The stream has exactly these ids, each once."""
    seen = collections.Counter()
    for subject, name, body in client.messages("EXITS"):
        equal(json.loads(body)["id"], name)
        check(subject.startswith(prefix), subject)
        seen[name] += 1
    equal(sorted(seen), sorted(rows))
    equal([name for name, count in seen.items() if count > 1], [], "doubles")


@test
def test_nats(s):
    """Subjects, ids, and a stream that is created."""
    server = Server(s).start()
    daemon = s.start(*config(s, nats_sink(server.port)), out=None)
    node = FakeNode(daemon.ingest, name="we.ird*> name@host")
    for source in ("kill", "self_error", "link"):
        node.make(exit_record("<0.1.0>", source=source))
    node.make({"severity": "warning", "message": "m", "gap": {"from": 1700000000000000000, "why": "x"}}, kind=1)
    send(daemon, 0, node)
    until_sink(daemon, "nats", caught_up)
    client = server.client(s)
    subjects = [subject for subject, _, _ in client.messages("EXITS")]
    equal(subjects, ["coroner.exit.we_ird___name@host." + last for last in ("kill", "self_error", "link", "gap")])
    check_stream(client, daemon.rows())
    equal(sink_of(daemon, "nats")["lines"], 4)
    daemon.stop()
    node.close()
    # The next one goes on and repeats nothing.
    daemon = s.start(*config(s, nats_sink(server.port)), out=None)
    send(daemon, 1000, node)
    until_sink(daemon, "nats", caught_up)
    check_stream(client, daemon.rows())
    daemon.stop()


@test
def test_nats_killed(s):
    """The server is killed with SIGKILL and started again while records come, and so is coronerd: exactly the ids of
    the store are in the stream."""
    server = Server(s).start()
    arguments = config(s, nats_sink(server.port), {"name": "file", "type": "file", "path": s.path("out")})
    daemon = s.start(*arguments, out=None)
    node = FakeNode(daemon.ingest)
    for turn in range(4):
        for _ in range(3000):
            node.make()
        if node.socket is None:
            check(node.connect())
        lines = sink_of(daemon, "nats")["lines"]
        node.until(lambda: node.acked >= node.made - 2000)
        until_sink(daemon, "nats", lambda sink, lines=lines: sink["lines"] > lines)
        server.kill()
        check(node.deliver(), "a dead NATS holds up the node")
        until_sink(daemon, "file", caught_up)
        if turn == 2:
            daemon.kill()
            node.close()
            daemon = s.start(*arguments, out=None)
        sink = until_sink(daemon, "nats", lambda sink: sink["state"] == "retrying")
        check(sink["retries"] > 0 and sink["reason"], sink)
        server.start()
    until_sink(daemon, "nats", caught_up)
    equal(len(daemon.rows()), 12000)
    check_stream(server.client(s), daemon.rows())
    equal(ids_in(s.path("out")), daemon.rows())
    daemon.stop()


@test
def test_nats_that_is_down_at_the_start(s):
    """It comes later; until then the file has everything, and the daemon ends when it is told to."""
    port = free_port()
    arguments = config(s, nats_sink(port), {"name": "file", "type": "file", "path": s.path("out")})
    daemon = s.start(*arguments, out=None)
    node = send(daemon, 500)
    until_sink(daemon, "file", caught_up)
    sink = until_sink(daemon, "nats", lambda sink: sink["retries"] >= 2)
    equal((sink["state"], sink["behind"], sink["lines"]), ("retrying", 500, 0))
    daemon.stop()
    node.close()
    daemon = s.start(*arguments, out=None)
    send(daemon, 500, node)
    server = Server(s, port).start()
    until_sink(daemon, "nats", caught_up)
    check_stream(server.client(s), daemon.rows())
    daemon.stop()


@test
def test_nats_that_hangs(s):
    """The server is stopped and not dead: nothing is acknowledged, and nothing is lost or doubled."""
    server = Server(s).start()
    daemon = s.start(*config(s, nats_sink(server.port), {"name": "file", "type": "file", "path": s.path("out")}),
                     out=None)
    node = send(daemon, 100)
    until_sink(daemon, "nats", caught_up)
    server.process.send_signal(signal.SIGSTOP)
    try:
        send(daemon, 2000, node)
        until_sink(daemon, "file", caught_up)
        sink = until_sink(daemon, "nats", lambda sink: sink["state"] == "retrying")
        check("acknowledge" in sink["reason"], sink)
    finally:
        server.process.send_signal(signal.SIGCONT)
    until_sink(daemon, "nats", caught_up)
    check_stream(server.client(s), daemon.rows())
    daemon.stop()


@test
def test_nats_without_jetstream(s):
    """Neither JetStream nor the stream: retried, and said why; nothing counts as delivered."""
    server = Server(s, jetstream=False).start()
    daemon = s.start(*config(s, nats_sink(server.port, stream="")), out=None)
    send(daemon, 10)
    sink = until_sink(daemon, "nats", lambda sink: sink["retries"] >= 2)
    equal((sink["state"], sink["lines"]), ("retrying", 0))
    check(sink["reason"], sink)
    daemon.stop()


@test
def test_nats_folds_and_renders(s):
    server = Server(s).start()
    daemon = s.start(*config(s, nats_sink(server.port, format="ecs", fold="on", fold_first=2)), out=None)
    node = FakeNode(daemon.ingest)
    root = node.incarnation + "-1"
    for number in range(50):
        record = exit_record("<0.%d.0>" % number, source="link")
        record["origin"] = {"source": "kill", "id": root}
        node.make(record)
    send(daemon, 0, node)
    until_sink(daemon, "nats", caught_up)
    messages = list(server.client(s).messages("EXITS"))
    equal(len(messages), 3)
    equal([subject.rsplit(".", 1)[1] for subject, _, _ in messages], ["link", "link", "fold"])
    bodies = [json.loads(body) for _, _, body in messages]
    equal([body["event"]["id"] for body in bodies], [name for _, name, _ in messages])
    equal(bodies[2]["erlang"]["fold"]["count"], 48)
    daemon.stop()


# ---- running them -----------------------------------------------------------------------------------


def main():
    # Without those of sink_test, whose words are used here.
    daemon_harness.TESTS[:] = [function for function in daemon_harness.TESTS if function.__module__ == __name__]
    return daemon_harness.main()


if __name__ == "__main__":
    sys.exit(main())
