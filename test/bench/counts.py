#!/usr/bin/python3
"""Counts the instructions of the node's C by callgrind and compares them with those that are kept.

    counts.py PROGRAM WORK BASELINE COMPILER [--keep | --report]

PROGRAM is count_node; what callgrind writes goes into the folder WORK. Instructions are those of c_src alone, a case once;
calls of the allocator and of a lock are counted beside them. One JSON object a line on stdout, then "N passed, N failed". A
case fails when it takes more than 5 % more instructions than in BASELINE, or one allocation or lock more. Another compiler than
the one that BASELINE was made with makes other instructions: then nothing is compared. --keep writes BASELINE; with --report the exit code does not tell whether there are more.
"""

import json
import os
import re
import shutil
import subprocess
import sys

MORE = 1.05
COST = re.compile(r"^(?:\+|-)?(?:\d+|\*)(?: (\d+))?")
NAMED = re.compile(r"^(fl|fi|fe|fn|cfn|cfi|cfl|ob|cob)=(?:\((\d+)\))?(?: ?(.*))?$")
COUNTED = {"memory_alloc": "allocations", "memory_zalloc": "allocations", "pthread_mutex_lock": "locks"}  # those of the ledger are inline


def read(path):
    """The counts of one dump: instructions of files of c_src, and of calls from there."""
    names = {}
    found = {"instructions": 0, "allocations": 0, "locks": 0}
    here, called, skip = "", "", False
    with open(path, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            line = line.rstrip("\n")
            if skip:
                skip = False  # what was called has its own lines
                continue
            named = NAMED.match(line)
            if named:
                kind, number, name = named.groups()
                table = names.setdefault("fn" if kind.endswith("fn") else "ob" if kind.endswith("ob") else "fl", {})
                if number and name:
                    table[number] = name
                name = name or table.get(number, "")
                if kind in ("fl", "fi", "fe"):
                    here = name
                elif kind == "cfn":
                    called = name
            elif line.startswith("calls="):
                skip = True
                if "c_src/" in here:
                    key = COUNTED.get(re.sub(r"['@].*", "", called))
                    if key:
                        found[key] += int(line[6:].split()[0])
            elif "c_src/" in here:
                cost = COST.match(line)
                if cost and cost.group(1):
                    found["instructions"] += int(cost.group(1))
    return found


def measure(program, work):
    """Runs all cases. Returns {case: counts of one}."""
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(work)
    done = subprocess.run(
        ["valgrind", "--quiet", "--tool=callgrind", "--collect-atstart=no", "--compress-pos=no",
         "--callgrind-out-file=%s/out" % work, program],
        capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        sys.exit("count_node ended with %d: %s" % (done.returncode, done.stderr))
    cases = {}
    for number, line in enumerate(done.stdout.split("\n")[:-1], 1):
        name, times = line.split()
        path = "%s/out.%d" % (work, number)
        with open(path, encoding="utf-8", errors="replace") as dump:
            if "desc: Trigger: Client Request: %s\n" % name not in dump.read(4000):
                sys.exit("%s is not the dump of %s" % (path, name))
        cases[name] = {key: round(count / int(times), 1) for key, count in read(path).items()}
        if cases[name]["instructions"] == 0:
            sys.exit("no instructions of c_src in the dump of %s" % name)
    return cases


def worse(now, kept):
    """What is worse than it was, in words; empty when nothing is."""
    if kept is None:
        return "is not in the baseline: make bench-counts-keep"
    if now["instructions"] > kept["instructions"] * MORE:
        return "takes %(instructions)s instructions" % now + ", not %(instructions)s" % kept
    for key in ("allocations", "locks"):
        if now[key] > kept[key] + 0.1:
            return "takes %s %s, not %s" % (now[key], key, kept[key])
    return ""


def main():
    program, work, baseline, compiler = sys.argv[1:5]
    cases = measure(program, work)
    if "--keep" in sys.argv[5:]:
        with open(baseline, "w", encoding="utf-8") as out:
            json.dump({"compiler": compiler, "cases": cases}, out, indent=1)
            out.write("\n")
    with open(baseline, encoding="utf-8") as kept_file:
        kept = json.load(kept_file)
    comparable = kept["compiler"] == compiler
    passed = failed = 0
    for name, now in cases.items():
        before = kept["cases"].get(name)
        why = worse(now, before) if comparable else ""
        ratio = round(now["instructions"] / before["instructions"], 3) if before else None
        line = {"name": "counts / " + name, "unit": "instructions", "value": now["instructions"], "ratio": ratio,
                "allocations": now["allocations"], "locks": now["locks"], "compiler": compiler}
        if comparable and before:
            line.update({"bar": "%.2f x baseline" % MORE, "figure": ratio, "met": not why})
        print(json.dumps(line))
        passed, failed = passed + (not why), failed + bool(why)
        print("%s counts.%s%s" % ("not ok" if why else "ok", name, ": " + why if why else ""), file=sys.stderr)
    gone = sorted(set(kept["cases"]) - set(cases))
    for name in gone:
        failed += 1
        print("not ok counts.%s: is in the baseline, and is not counted" % name, file=sys.stderr)
    if not comparable:
        print("not compared: the baseline is of %s, this is %s" % (kept["compiler"], compiler), file=sys.stderr)
    print("%d passed, %d failed" % (passed, failed), file=sys.stderr)
    return 1 if failed and "--report" not in sys.argv[5:] else 0


if __name__ == "__main__":
    sys.exit(main())
