#!/usr/bin/python3
"""Checks that the records of a demonstration tell what happened.

    check_story.py SCHEMA FACTS <NDJSON

FACTS is a JSON object with what the script knows by itself: `node`, `release_handler`, `shell` and
`shell_name`, and of the upgrade and of the kill by hand the pids `session` and `server`. Every
line must be valid against the JSON Schema in the file SCHEMA, and the records must tell exactly that story. Prints
each claim and whether it holds on standard error; exit code 1 if one does not.
"""

import json
import pathlib
import re
import sys

import jsonschema

LINE_MAX_BYTES = 8192


class Checks:
    def __init__(self):
        self.failures = 0

    def that(self, ok, claim, detail=""):
        if not ok:
            self.failures += 1
        print(f"  {'yes' if ok else 'NO '}  {claim}{'' if ok or not detail else f': {detail}'}", file=sys.stderr)
        return ok


def parse(checks, lines, schema):
    """The records, each line checked."""
    validator_class = jsonschema.validators.validator_for(schema)
    validator_class.check_schema(schema)
    validator = validator_class(schema)
    records = []
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line.decode("utf-8"))
            problems = [error.message for error in validator.iter_errors(record)]
        except ValueError as error:
            problems = [str(error)]
        if not line.endswith(b"\n") or len(line) > LINE_MAX_BYTES:
            problems.append(f"it has {len(line)} bytes or no end")
        if problems:
            checks.that(False, f"line {number} is valid", f"{problems[0]} in {line.decode('utf-8', 'replace').strip()}")
        else:
            records.append(record)
    checks.that(len(records) == len(lines) > 0, f"all {len(lines)} lines are valid against the JSON Schema")
    return records


def main():
    schema, facts = json.loads(pathlib.Path(sys.argv[1]).read_text(encoding="utf-8")), json.loads(sys.argv[2])
    checks = Checks()
    records = parse(checks, sys.stdin.buffer.readlines(), schema)
    exits = [record for record in records if record["schema"] == "coroner.exit/1"]
    by_pid = {record["process"]["pid"]: record for record in exits}

    checks.that(len({record["id"] for record in records}) == len(records), "no id comes twice")
    checks.that(all(record["lost_before"] == 0 for record in exits), "nothing was lost")
    checks.that({record["node"]["name"] for record in exits} == {facts["node"]}, f"all are from {facts['node']}")

    ours = {record["process"]["pid"]: record["process"]["initial_call"] for record in exits
            if (record["process"].get("initial_call") or "").startswith("ump_proxy")}
    expected = {pid: call for cause in ("upgrade", "by_hand") for pid, call in
                ((facts[cause]["session"], "ump_proxy_session:init/1"),
                 (facts[cause]["server"], "ump_proxy_cherly_server:init/1"))}
    checks.that(ours == expected, "of the proxy's processes these four died, and no other", f"{ours}, expected {expected}")

    purge = {"source": "purge", "pid": facts["upgrade"]["session"], "initial_call": "ump_proxy_session:init/1",
             "module": "ump_proxy_session", "operation": "purge", "by": facts["release_handler"],
             "by_name": "release_handler", "by_function": "code:purge/1"}
    told(checks, "the upgrade", by_pid, facts["upgrade"], purge, r"release_handler(_1)?:")
    kill = {"source": "kill", "pid": facts["by_hand"]["session"], "initial_call": "ump_proxy_session:init/1",
            "by": facts["shell"], "by_name": facts["shell_name"]}
    told(checks, "the kill by hand", by_pid, facts["by_hand"], kill, r"(erl_eval|shell):")
    if checks.failures:
        sys.exit(f"{checks.failures} of these claims are wrong")


def told(checks, what, by_pid, pids, origin, by_call):
    """Checks the records of a session that died of `origin`, and of the server that followed it."""
    session, server = by_pid.get(pids["session"]), by_pid.get(pids["server"])
    if not checks.that(session is not None and server is not None, f"{what}: the session and its server have a record"):
        return
    checks.that(session["exit"]["source"] == origin["source"] and session["exit"]["reason"] == "killed",
                f"{what}: session {pids['session']} exited killed of a {origin['source']}", session["exit"])
    # The operation is not known of every source.
    checks.that(server["exit"]["source"] in ("link_trapped", "link") and server["exit"]["reason"] == "killed"
                and server["exit"]["via"] == pids["session"],
                f"{what}: server {pids['server']} exited killed by its link to the session", server["exit"])
    for record in (session, server):
        found = record.get("origin") or {}
        wrong = {key: found.get(key) for key, value in origin.items() if found.get(key) != value}
        name = record["process"]["initial_call"].split(":")[0]
        if record is session:
            # Its own pid and initial call stand in its own record already.
            wrong = {key: value for key, value in wrong.items() if key not in ("pid", "initial_call") or value is not None}
        checks.that(not wrong, f"{what}: origin in {name}'s record: {origin['source']} by "
                    f"{origin['by']} {origin['by_name']}", f"wrong: {wrong}")
        checks.that(re.match(by_call, found.get("by_call") or ""),
                    f"{what}: its call site is {found.get('by_call')}", f"expected {by_call}")
        checks.that(found.get("confidence", record["exit"]["confidence"]) == "observed", f"{what}: it was observed", found)
    chain = [(hop["pid"], hop["source"], hop["reason"]) for hop in server["chain"]]
    checks.that(chain == [(pids["session"], origin["source"], "killed"),
                          (pids["server"], server["exit"]["source"], "killed")],
                f"{what}: the chain leads from the session to the server", chain)
    checks.that(server["chain"][0].get("id") == session["id"] and server["chain"][-1].get("id") == server["id"],
                f"{what}: the chain names both records", server["chain"])


main()
