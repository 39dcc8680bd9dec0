#!/usr/bin/python3
"""What the tests of coronerd stand on: the real daemon in a folder of its own, a client of its query
socket, and the list of tests. Nothing here sleeps: everything waits for a line, a frame or an end."""
import argparse
import contextlib
import glob
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import jsonschema

sys.dont_write_bytecode = True
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LINE_MAX = 8192
NOBODY = 65534
TESTS = []

with open(os.path.join(ROOT, "priv", "schema", "coroner.exit-1.schema.json")) as schema_file:
    SCHEMA = jsonschema.Draft7Validator(json.load(schema_file))


def test(function):
    TESTS.append(function)
    return function


def check(condition, message="", *values):
    if not condition:
        raise AssertionError(" ".join([str(message)] + [repr(v) for v in values]))


def equal(got, wanted, message=""):
    check(got == wanted, message or "differs", "got", got, "wanted", wanted)


class Shapes:
    """Holds records against a schema, and tens of thousands of them in little time: what the schema cannot tell
    apart is validated once. To it a text is the patterns it matches, and whether it is one that the schema names; an
    integer is whether it is in the range of those that the schema bounds."""

    def __init__(self, validator):
        self.validator = validator
        self.patterns, self.words, self.bounds = [], {""}, set()
        self._collect(validator.schema)
        self.texts, self.valid = {}, set()

    def _collect(self, schema):
        if isinstance(schema, list):
            for item in schema:
                self._collect(item)
        if not isinstance(schema, dict):
            return
        check(schema.get("minLength", 1) == 1 and "maxLength" not in schema, "a text's length is looked at, too")
        for key, value in schema.items():
            if key == "pattern" and isinstance(value, str):
                self.patterns.append(re.compile(value))
            elif key in ("minimum", "maximum") and isinstance(value, int):
                self.bounds.add(value)
            elif key in ("enum", "const"):
                self.words.update([value] if isinstance(value, str) else value)
            else:
                self._collect(value)

    def _text(self, text):
        if text in self.words:
            return text
        return tuple(number for number, pattern in enumerate(self.patterns) if pattern.search(text))

    def of(self, value):
        if isinstance(value, str):
            shape = self.texts.get(value)
            if shape is None:
                shape = self._text(value)
                if len(value) < 64 and len(self.texts) < 100000:
                    self.texts[value] = shape
            return shape
        if isinstance(value, dict):
            return tuple((key, self.of(item)) for key, item in value.items())
        if isinstance(value, list):
            return ("items", *sorted({repr(self.of(item)) for item in value}))
        if type(value) is int:  # True is an int, too
            return ("integer", *(bound <= value for bound in self.bounds), value in self.bounds)
        return (type(value).__name__, value)

    def validate(self, record):
        shape = self.of(record)
        if shape not in self.valid:
            self.validator.validate(record)
            self.valid.add(shape)


SHAPES = Shapes(SCHEMA)


def check_line(line, schema=True):
    """A line of output as bytes, with its newline. Returns the record."""
    check(line.endswith(b"\n"), "no newline", line[-50:])
    check(len(line) <= LINE_MAX, "too long", len(line))
    record = json.loads(line.decode("utf-8"))
    if schema:
        SHAPES.validate(record)
    return record


class Daemon:
    """coronerd, started and ready. Its folder outlives it, so that it can be started anew."""

    def __init__(self, binary, folder, *arguments, out="out.ndjson", limits=(), wrapper=(), **popen):
        self.folder = folder
        self.ingest = os.path.join(folder, "ingest.sock")
        self.query = os.path.join(folder, "query.sock")
        self.store = os.path.join(folder, "exits.db")
        self.out = out if out in (None, "-") else os.path.join(folder, out)
        self.lines = []
        self.news = threading.Condition()
        command = [*wrapper, binary, "--listen", self.ingest, "--query", self.query, "--store", self.store]
        if out is not None:
            command += ["--out", self.out]

        def limit():
            for what, value in limits:
                resource.setrlimit(what, (value, value))

        popen.setdefault("stdout", subprocess.DEVNULL)
        self.process = subprocess.Popen(command + list(arguments), stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE, preexec_fn=limit if limits else None, **popen)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self.news:
                self.lines.append(line.decode("utf-8", "replace").rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.lines.append(None)  # the end
            self.news.notify_all()

    def log(self):
        with self.news:
            return [line for line in self.lines if line is not None]

    def logged(self, pattern):
        return [line for line in self.log() if re.search(pattern, line)]

    def wait_log(self, pattern, count=1, seconds=60):
        """Wait until as many lines of the log match. Returns the last of them."""
        deadline = time.monotonic() + seconds
        with self.news:
            while True:
                found = [line for line in self.lines if line is not None and re.search(pattern, line)]
                if len(found) >= count:
                    return found[count - 1]
                check(self.lines[-1:] != [None], "ended without logging", pattern, self.lines)
                check(self.news.wait(deadline - time.monotonic()), "did not log", pattern, self.lines)

    def ready(self):
        self.wait_log(r"info: ready: ")
        return self

    def wait(self, seconds=60):
        """Wait for its end. Returns the exit code, after a look at what the sanitizers said."""
        code = self.process.wait(seconds)
        self.reader.join(seconds)
        text = "\n".join(self.log())
        check("Sanitizer" not in text and "runtime error" not in text and "==ERROR" not in text,
              "a sanitizer found something:", text)
        return code

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        equal(self.wait(), 0, "exit code: " + "\n".join(self.log()))

    def kill(self):
        self.process.kill()
        equal(self.wait(), -signal.SIGKILL)

    def ask(self, *requests, raw=False):
        """One connection: send the requests, no more, and return the answers until the daemon closes."""
        return ask(self.query, *requests, raw=raw)

    def nodes(self):
        return {line["node"]["incarnation"]: line["node"]
                for line in self.ask({"op": "nodes"}) if "node" in line}

    def status(self):
        return self.ask({"op": "status"})[0]["status"]

    def until_status(self, holds, seconds=30):
        """Ask for the status until holds(status)."""
        deadline = time.monotonic() + seconds
        while True:
            status = self.status()
            if holds(status):
                return status
            check(time.monotonic() < deadline, "the status did not become what it should", status)

    def rss_mib(self):
        with open("/proc/%d/status" % self.process.pid) as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) // 1024

    def cpu_seconds(self):
        with open("/proc/%d/stat" % self.process.pid) as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def segments(self):
        """The files that have the records, in their order; the last one is live."""
        return sorted(glob.glob(os.path.join(self.store + ".d", "*.seg")))

    def rows(self):
        """The ids in the store, in its order, after a look at its integrity."""
        ids = []
        for segment in self.segments():
            with contextlib.closing(sqlite3.connect(segment)) as database:
                equal(database.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
                ids += [row[0] for row in
                        database.execute("SELECT incarnation || '-' || seq FROM exits ORDER BY row")]
        return ids

    def stored(self):
        """The records in the store, in its order."""
        lines = []
        for segment in self.segments():
            with contextlib.closing(sqlite3.connect(segment)) as database:
                lines += [row[0] for row in database.execute("SELECT json FROM bodies ORDER BY row")]
        return lines

    def file_ids(self, name=None, every=1):
        """The ids in the output file; every so manieth line is held against the schema."""
        ids = []
        with open(name or self.out, "rb") as lines:
            for number, line in enumerate(lines):
                ids.append(check_line(line, schema=number % every == 0)["id"])
        return ids


class Client:
    """A connection to the query socket that stays open."""

    def __init__(self, path, receive_buffer=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(60)
        self.socket.connect(path)
        self.incoming = b""
        self.complete = []  # lines, the last one first

    def send(self, *requests):
        self.socket.sendall(b"".join(
            request if isinstance(request, bytes) else json.dumps(request).encode() + b"\n" for request in requests))

    def end(self):
        self.socket.shutdown(socket.SHUT_WR)

    def line(self):
        """The next line as an object, None at the end."""
        while not self.complete:
            data = self.socket.recv(262144)
            if not data:
                equal(self.incoming, b"", "a line that is cut off")
                return None
            *whole, self.incoming = (self.incoming + data).split(b"\n")
            self.complete = whole[::-1]
        return json.loads(self.complete.pop())

    def lines(self):
        while (line := self.line()) is not None:
            yield line

    def nothing_to_read(self):
        return not self.complete and not self.incoming and not select.select([self.socket], [], [], 0)[0]

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def ask(path, *requests, raw=False):
    with Client(path) as client:
        client.send(*requests)
        client.end()
        if raw:
            data = b""
            while part := client.socket.recv(262144):
                data += part
            return data
        return list(client.lines())


def receive_all(sock):
    """What the daemon says until it closes."""
    data = b""
    while True:
        try:
            part = sock.recv(65536)
        except ConnectionResetError:
            return data
        if not part:
            return data
        data += part


class Setting:
    """What one test gets: a folder of its own, and the end of everything it started."""

    def __init__(self, plain, san):
        self.plain = plain  # the daemon as it is shipped
        self.san = san      # the daemon with the sanitizers
        self.folder = tempfile.mkdtemp(prefix="coronerd-test-")
        self.undo = contextlib.ExitStack()
        self.undo.callback(shutil.rmtree, self.folder, ignore_errors=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, *arguments, binary=None, ready=True, **options):
        daemon = Daemon(binary or self.san, self.folder, *arguments, **options)
        self.undo.callback(self._end, daemon)
        return daemon.ready() if ready else daemon

    def config(self, text):
        """The options that make a daemon read this as its config file."""
        with open(self.path("coronerd.conf"), "w") as file:
            file.write(text + "\n")
        return "-c", self.path("coronerd.conf")

    def client(self, daemon, **options):
        return self.undo.enter_context(Client(daemon.query, **options))

    @staticmethod
    def _end(daemon):
        if daemon.process.poll() is None:
            daemon.process.kill()
            daemon.process.wait()
        daemon.reader.join(10)
        daemon.process.stderr.close()


def arguments():
    """The parser of what every program of tests is given. One may add to it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--daemon", required=True, help="coronerd as it is shipped")
    parser.add_argument("--san-daemon", required=True, help="coronerd built with the sanitizers")
    parser.add_argument("names", nargs="*", help="only these tests")
    return parser


def main(options=None, counted=(0, 0)):
    """Run the tests of the program that calls this, after those that are ${counted} already, (passed, failed); prints the sum.
    Returns its exit code."""
    options = options or arguments().parse_args()
    # So that what was started ends with us, whoever ends us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    passed, failed = run_tests(os.path.abspath(options.daemon), os.path.abspath(options.san_daemon), options.names)
    passed, failed = passed + counted[0], failed + counted[1]
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0


def run_tests(plain, san, names):
    """Run the tests that the caller has defined, those of ${names} if there are any. Returns (passed, failed)."""
    passed = failed = 0
    for function in TESTS:
        name = function.__name__[len("test_"):]
        if names and name not in names:
            continue
        setting = Setting(plain, san)
        with setting.undo:
            good = run(name, lambda function=function, setting=setting: function(setting))
        passed += good
        failed += not good
    return passed, failed


def run(name, function):
    """Run one test and print its line. Returns whether it passed."""
    began = time.monotonic()
    try:
        function()
    except Exception as error:  # pylint: disable=broad-except
        traceback.print_exc()
        why = (str(error) or type(error).__name__).replace("\n", " | ")
        print("not ok %s: %s" % (name, why[:2000]), flush=True)
        return False
    print("ok %s (%.1f s)" % (name, time.monotonic() - began), flush=True)
    return True
