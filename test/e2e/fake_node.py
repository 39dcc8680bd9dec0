#!/usr/bin/python3
"""A node as coronerd sees one: an outbox, sequence numbers, resending, acknowledgements.

It is written from common/wire.h and shares no code with the NIF, so that each is held against the
protocol and not against the other.
"""
import collections
import os
import re
import select
import socket
import struct
import time

import cbor2

HERE = os.path.dirname(os.path.abspath(__file__))
HELLO, RECORD, COUNTERS, BYE, ACK, ERROR = 1, 2, 3, 4, 16, 17
EXIT, GAP = 0, 1
VERSION = 1


def wire_keys():
    """The numbers of the keys, from the header itself."""
    with open(os.path.join(HERE, "..", "..", "common", "wire.h")) as header:
        return {name: int(number) for number, name in re.findall(r"X\((\d+), (\w+)\)", header.read())}


KEYS = wire_keys()


def pack_keys(value):
    """Names of known keys become their numbers, at every level."""
    if isinstance(value, dict):
        return {KEYS.get(key, key): pack_keys(item) for key, item in value.items()}
    if isinstance(value, list):
        return [pack_keys(item) for item in value]
    return value


def frame(array):
    body = cbor2.dumps(array)
    return struct.pack(">I", len(body)) + body


def frames_of(data):
    """The arrays in these bytes, which end with a whole frame."""
    while data:
        length = struct.unpack(">I", data[:4])[0]
        yield cbor2.loads(data[4:4 + length])
        data = data[4 + length:]


def exit_record(pid, source="self_error", reason="badarg", name=None, module="worker", origin=None):
    """A plausible record of an exit, as a map with names for keys."""
    record = {
        "severity": "error",
        "message": "%s %s exited %s" % (name or module, pid, reason),
        "process": {"pid": pid, "name": name, "initial_call": module + ":init/1",
                    "parent": "<0.50.0>", "ancestors": ["sup", "<0.40.0>"], "trap_exit": False,
                    "age_us": 1234},
        "exit": {"source": source, "reason": reason, "reason_class": reason, "truncated": False,
                 "confidence": "observed"},
    }
    if origin:
        record["origin"] = dict(origin, source=source)
        record["chain"] = [{"pid": pid, "source": source, "reason": reason}]
    return record


class Refused(Exception):
    """The daemon sent an ERROR frame."""


class FakeNode:
    """One incarnation of one node. Nothing here sleeps: everything waits for the socket."""

    def __init__(self, path, name="fake@host", incarnation=None, outbox=100000):
        self.path = path
        self.name = name
        self.incarnation = incarnation or os.urandom(8).hex()
        self.capacity = outbox
        self.outbox = collections.OrderedDict()  # seq -> frame
        self.made = 0
        self.dropped = 0
        self.acked = 0
        self.hello_acked = False
        self.sent = 0  # highest sequence number given to this connection
        self.socket = None
        self.incoming = b""
        self.outgoing = bytearray()
        self.connects = 0

    # ---- records ----

    def make(self, record=None, lost_before=None, time_ns=None, kind=EXIT):
        """One more record, into the outbox; the oldest is dropped if that is full."""
        self.made += 1
        if record is None:
            record = exit_record("<0.%d.0>" % (100 + self.made))
        if len(self.outbox) >= self.capacity:
            self.outbox.popitem(last=False)
            self.dropped += 1
        self.outbox[self.made] = frame([RECORD, self.made, time_ns or time.time_ns(),
                                        lost_before or 0, kind, pack_keys(record)])
        return "%s-%d" % (self.incarnation, self.made)

    def drop(self):
        """A record that is made and lost before it could be sent."""
        self.made += 1
        self.dropped += 1

    # ---- the connection ----

    def hello(self):
        first_held = next(iter(self.outbox), self.made + 1)
        return frame([HELLO, VERSION, pack_keys({
            "incarnation": self.incarnation, "name": self.name, "host": "host", "os_pid": os.getpid(),
            "otp": "25", "first_held": first_held, "made": self.made})])

    def connect(self):
        """Connect and say hello. False if nobody listens."""
        self.close()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(self.path)
        except OSError:
            sock.close()
            return False
        sock.setblocking(False)
        self.socket = sock
        self.connects += 1
        self.outgoing = bytearray(self.hello())
        self.incoming = b""
        self.hello_acked = False
        return True

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def send(self, array):
        """Queue any frame."""
        self.outgoing += frame(array)

    def counters(self, **more):
        self.send([COUNTERS, self.made, pack_keys(dict(normal=0, lost=self.dropped, **more))])

    def bye(self):
        self.send([BYE, self.made])

    def _fill(self):
        if not self.hello_acked or len(self.outgoing) > 65536:
            return
        while self.sent < self.made and len(self.outgoing) <= 262144:
            self.sent += 1
            self.outgoing += self.outbox.get(self.sent, b"")

    def _on_frame(self, array):
        if array[0] == ERROR:
            raise Refused(array[1])
        assert array[0] == ACK, array
        self.acked = array[1]
        if not self.hello_acked:
            self.hello_acked = True
            self.sent = self.acked
        while self.outbox and next(iter(self.outbox)) <= self.acked:
            self.outbox.popitem(last=False)

    def turn(self, timeout):
        """Send and receive once. False if the connection is gone."""
        if self.socket is None:
            return False
        self._fill()
        try:
            readable, writable, _ = select.select([self.socket], [self.socket] if self.outgoing else [],
                                                  [], timeout)
            if writable:
                del self.outgoing[:self.socket.send(self.outgoing)]
            if readable:
                data = self.socket.recv(65536)
                if not data:
                    self.close()
                    return False
                self.incoming += data
        except (BrokenPipeError, ConnectionResetError):
            self.close()
            return False
        while len(self.incoming) >= 4:
            length = struct.unpack(">I", self.incoming[:4])[0]
            if len(self.incoming) < 4 + length:
                break
            body, self.incoming = self.incoming[4:4 + length], self.incoming[4 + length:]
            self._on_frame(cbor2.loads(body))
        return True

    def until(self, done, seconds=30):
        """Run until done() holds. False if the connection went away first."""
        deadline = time.monotonic() + seconds
        while not done():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("%s: acked %d of %d made" % (self.name, self.acked, self.made))
            if not self.turn(left):
                return False
        return True

    def deliver(self, seconds=30):
        """Until everything made is acknowledged, reconnecting never."""
        return self.until(lambda: self.hello_acked and not self.outbox and not self.outgoing, seconds)
