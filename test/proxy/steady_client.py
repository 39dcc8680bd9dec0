#!/usr/bin/python3
"""A MySQL user who never stops: runs statements in one `mariadb` client and checks every answer.

    steady_client.py PORT USER PROGRESS

Each turn inserts an order and asks for it, for the sum of all orders of the user so far and for the
connection's id, and then appends a line "TURN CONNECTION" to the file PROGRESS. The first answer that is not what it
must be ends it with a message and exit code 1. SIGTERM ends it after the turn: exit code 0 if the
client, too, ends well.
"""

import hashlib
import signal
import subprocess
import sys


def main():
    port, user, progress_path = sys.argv[1:]
    asked_to_end = False

    def ask_to_end(_signal, _frame):
        nonlocal asked_to_end
        asked_to_end = True

    signal.signal(signal.SIGTERM, ask_to_end)
    # An interrupt typed at the terminal is for the script that started us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    client = subprocess.Popen(
        ["mariadb", "--no-defaults", "-h", "127.0.0.1", "-P", port, "-u", user, "--batch", "--unbuffered",
         "--skip-column-names", "--skip-reconnect", "shop"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
        start_new_session=True)
    connection = None
    turn = 0
    with open(progress_path, "w", buffering=1, encoding="utf-8") as progress:
        while not asked_to_end:
            turn += 1
            text = f"{user}-{turn}"
            # The SLEEP makes it a session that has a command in flight most of the time.
            try:
                client.stdin.write(
                    f"INSERT INTO orders (customer, cents) VALUES ('{user}', {turn});\n"
                    f"SELECT {turn}, MD5('{text}'), COUNT(*), SUM(cents), SLEEP(0.005), CONNECTION_ID()"
                    f" FROM orders WHERE customer = '{user}';\n")
            except BrokenPipeError:
                pass  # why, the client says in what it printed last
            answer = client.stdout.readline().rstrip("\n")
            expected = [str(turn), hashlib.md5(text.encode()).hexdigest(), str(turn),
                        str(turn * (turn + 1) // 2), "0"]
            fields = answer.split("\t")
            if connection is None and len(fields) == 6:
                connection = fields[5]
            if fields != expected + [connection]:
                rest = client.communicate()[0].strip()
                sys.exit(f"{user}: turn {turn}: expected {expected + [connection]}, got: {answer} {rest}".rstrip())
            progress.write(f"{turn} {connection}\n")
    rest = client.communicate()[0].strip()
    if client.returncode != 0 or rest:
        sys.exit(f"{user}: the client ended with {client.returncode}: {rest}")
    print(f"{user}: {2 * turn} statements on connection {connection}, every answer right")


main()
