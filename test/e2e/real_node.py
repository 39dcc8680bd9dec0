#!/usr/bin/python3
"""A real Erlang node with coroner in its path, driven over a pipe: expressions in, values out (test/erlang/driver.erl).
It is on its own: without distribution, and it ends when the pipe does."""
import json
import os
import re
import select
import subprocess
import time

from daemon_harness import ROOT, check, equal

PATHS = [os.path.join(ROOT, "_build", *folder) for folder in (("default", "lib", "coroner", "ebin"), ("test", "ebin"))]


class RealNode:
    def __init__(self, command=None, **popen):
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": "/nonexistent",
                       "ERL_CRASH_DUMP": "/dev/null"}
        self.process = subprocess.Popen(
            command or ["erl", "-noshell", "-pa", *PATHS, "-kernel", "logger_level", "critical", "-s", "driver", "main"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", env=environment, **popen)
        self.incoming = b""
        try:
            equal(self.answer(), "ready")
        except BaseException:
            self.close()
            raise

    def tell(self, expression):
        """Begin to evaluate; answer() has the value."""
        self.process.stdin.write(expression.encode() + b".\n")
        self.process.stdin.flush()

    def answer(self, seconds=60):
        """The value of what was told first of all that is not answered yet."""
        deadline = time.monotonic() + seconds
        while True:
            line, found, rest = self.incoming.partition(b"\n")
            if found:
                self.incoming = rest
                if line.startswith(b"answer "):
                    value = json.loads(line[len(b"answer "):])
                    check(not isinstance(value, dict) or "failed" not in value, "the node could not", value)
                    return value
                continue  # something that OTP has to say
            left = deadline - time.monotonic()
            check(left > 0 and select.select([self.process.stdout], [], [], left)[0], "the node does not answer")
            data = os.read(self.process.stdout.fileno(), 65536)
            check(data, "the node has gone")
            self.incoming += data

    def answered(self):
        """Whether the answer to what was told is there already."""
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def call(self, expression, seconds=60):
        self.tell(expression)
        return self.answer(seconds)

    def start(self, ingest, **options):
        """Arm it; an option's value is an Erlang term as text."""
        pairs = ["ingest => <<%s/utf8>>" % json.dumps(ingest)] + ["%s => %s" % pair for pair in options.items()]
        equal(self.call("coroner:start(#{%s})" % ", ".join(pairs)), "ok")

    def status(self):
        return self.call("coroner:status()")

    def until(self, holds):
        """Until the status, as the Erlang variable S, holds."""
        return self.call("driver:until(fun(S) -> %s end)" % holds)

    def sync(self):
        equal(self.call("driver:sync()"), "ok")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def memory_mib(self):
        with open("/proc/%d/status" % self.process.pid) as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read()).group(1)) // 1024

    def close(self):
        if self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except BrokenPipeError:
                pass
