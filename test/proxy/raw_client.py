#!/usr/bin/python3
"""A MySQL client that does what the usual ones do not: it sends its bytes as it likes.

    raw_client.py PORT USER CASE

USER must have no password. Prints `ok`, or says what went wrong and ends with exit code 1.

    dribble     every byte in a segment of its own
    pipeline    three commands in one segment, answers read afterwards
    long_data   COM_STMT_SEND_LONG_DATA, then tells it on stdout and waits for a line on stdin, then
                executes the statement
    slow        asks for 200 MB, tells it on stdout and waits for a line on stdin, then reads them
"""

import hashlib
import socket
import struct
import sys

COM_QUERY, COM_STMT_PREPARE, COM_STMT_EXECUTE, COM_STMT_SEND_LONG_DATA, COM_STMT_CLOSE = 0x03, 0x16, 0x17, 0x18, 0x19
CLIENT_PROTOCOL_41, CLIENT_SECURE_CONNECTION, CLIENT_LONG_PASSWORD = 0x200, 0x8000, 0x1


class Client:
    def __init__(self, port, user, one_by_one=False):
        self.socket = socket.create_connection(("127.0.0.1", int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb")
        self.one_by_one = one_by_one
        greeting = self.packet()
        assert greeting[0] == 10, greeting
        capabilities = CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION | CLIENT_LONG_PASSWORD
        self.send(frame(1, struct.pack("<IIB23x", capabilities, 1 << 24, 45) + user.encode() + b"\0\0"))
        self.expect_ok()

    def send(self, data):
        if self.one_by_one:
            for i in range(len(data)):
                self.socket.sendall(data[i:i + 1])
        else:
            self.socket.sendall(data)

    def packet(self):
        """The next packet's payload; one that is longer than 16 MB in one piece."""
        payload = b""
        while True:
            length = int.from_bytes(self.reader.read(4)[:3], "little")
            payload += self.reader.read(length)
            if length < 0xffffff:
                return payload

    def expect_ok(self):
        answer = self.packet()
        if answer[0] == 0xfe:  # the server wants another authentication: an empty password in it is empty
            self.send(frame(3, b""))
            answer = self.packet()
        assert answer[0] == 0, answer

    def rows(self):
        """The rows of a text result set, as bytes that still hold the lengths."""
        columns = self.packet()[0]
        for _ in range(columns):
            self.packet()
        assert self.packet()[0] == 0xfe
        while True:
            row = self.packet()
            if row[0] == 0xfe and len(row) < 9:
                return
            yield row


def frame(sequence, payload):
    return len(payload).to_bytes(3, "little") + bytes([sequence]) + payload


def query(text):
    return frame(0, bytes([COM_QUERY]) + text.encode())


def ready():
    """Hands over to the script: it says by a line when to go on."""
    print("ready", flush=True)
    assert sys.stdin.readline() == "go\n"


def dribble(port, user):
    client = Client(port, user, one_by_one=True)
    client.send(query("SELECT 6 * 7"))
    assert list(client.rows()) == [b"\x0242"]


def pipeline(port, user):
    client = Client(port, user)
    client.send(query("SELECT 1") + query("SELECT 2") + query("SELECT 3"))
    for expected in b"123":
        assert list(client.rows()) == [bytes([1, expected])]


def long_data(port, user):
    client = Client(port, user)
    client.send(frame(0, bytes([COM_STMT_PREPARE]) + b"SELECT MD5(?)"))
    prepared = client.packet()
    assert prepared[0] == 0, prepared
    statement = prepared[1:5]
    for _ in range(4):  # a parameter, EOF, a column, EOF
        client.packet()
    data = b"0123456789abcdef" * 100_000
    client.send(frame(0, bytes([COM_STMT_SEND_LONG_DATA]) + statement + b"\0\0" + data))
    ready()
    # no flags, one iteration, no NULL, types follow: BLOB
    client.send(frame(0, bytes([COM_STMT_EXECUTE]) + statement + b"\0\x01\0\0\0" + b"\0" + b"\x01" + b"\xfc\0"))
    rows = list(client.rows())
    assert rows == [b"\0\0\x20" + hashlib.md5(data).hexdigest().encode()], rows
    client.send(frame(0, bytes([COM_STMT_CLOSE]) + statement))
    # which has no answer: the next one is this query's
    client.send(query("SELECT 1"))
    assert list(client.rows()) == [b"\x011"]


def slow(port, user):
    client = Client(port, user)
    client.send(query("SELECT REPEAT('x', 1000000) FROM shop.seq_1_to_200"))
    ready()
    assert [len(row) for row in client.rows()] == [1_000_004] * 200


try:
    {"dribble": dribble, "pipeline": pipeline, "long_data": long_data, "slow": slow}[sys.argv[3]](*sys.argv[1:3])
except AssertionError as error:
    sys.exit(f"{sys.argv[3]}: line {error.__traceback__.tb_next.tb_lineno}: {error}")
print("ok")
