#!/usr/bin/python3
"""Types at a remote Erlang shell, as a person does.

    remote_shell.py NODE <LINES

Starts `erl -remsh NODE` on a terminal of its own, waits for each prompt before it types the next line
of standard input, prints what the terminal shows, and leaves by Ctrl-G q, which ends the shell and not the
node. The cookie is $HOME/.erlang.cookie.
"""

import os
import pty
import re
import select
import signal
import sys
import time

PATIENCE_S = 60
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()=>].?")
ESCAPE_BEGUN = re.compile(r"\x1b(\[[0-9;?]*)?$")


class Terminal:
    def __init__(self, argv):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            # Without cursor movement erl takes it for no terminal, and -remsh for nothing.
            os.environ["TERM"] = "vt100"
            os.execvp(argv[0], argv)
        self.raw = ""
        self.shown = ""

    def await_text(self, pattern):
        """Waits until what is shown since the last time matches; returns it."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = re.search(pattern, self.shown)
            if found:
                text, self.shown = self.shown[:found.end()], self.shown[found.end():]
                return text
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                self.fail(f"nothing like {pattern!r} came within {PATIENCE_S} s")
            self.read(pattern)

    def read(self, pattern):
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # the other side is closed
            data = b""
        if not data:
            self.fail(f"the shell ended before {pattern!r} came")
        self.raw += data.decode("utf-8", "replace")
        # An escape sequence may be cut by the end of what was read.
        whole, cut, rest = self.raw.rpartition("\x1b") if ESCAPE_BEGUN.search(self.raw) else (self.raw, "", "")
        self.shown += ESCAPE.sub("", whole).replace("\r", "")
        self.raw = cut + rest

    def type(self, text):
        os.write(self.fd, text.encode())

    def fail(self, why):
        os.kill(self.pid, signal.SIGKILL)
        self.end()
        sys.exit(f"remote_shell.py: {why}; the terminal shows: {self.shown}")

    def end(self):
        """The shell has been told to go."""
        try:
            while os.read(self.fd, 65536):
                pass
        except OSError:
            pass
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def main():
    node = sys.argv[1]
    host = node.split("@")[1]
    terminal = Terminal(["erl", "-hidden", "-name", f"shell_{os.getpid()}@{host}", "-remsh", node])

    def end_it(*_):
        os.kill(terminal.pid, signal.SIGKILL)
        sys.exit(143)

    signal.signal(signal.SIGTERM, end_it)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    number = 1
    terminal.await_text(re.escape(f"({node}){number}> "))
    for line in sys.stdin.read().splitlines():
        terminal.type(line + "\n")
        number += 1
        prompt = f"({node}){number}> "
        shown = terminal.await_text(re.escape(prompt))[:-len(prompt)].strip("\n")
        print(f"({node})> {shown}", flush=True)
        if "** exception" in shown or "syntax error" in shown:
            terminal.fail("that is an error")
    terminal.type("\x07")
    terminal.await_text("--> ")
    terminal.type("q\n")
    terminal.end()


main()
