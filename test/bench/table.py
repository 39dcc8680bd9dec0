#!/usr/bin/python3
"""Makes the tables of docs/cost.md of what the benches printed.

    make bench >run.json; test/bench/table.py run.json
    table.py RUN RUN27 RUN29          besides, the workloads in the node of several runs, one OTP beside the other
    table.py --into PAGE RUN...       into the page, each between <!-- table: NAME --> and <!-- end -->

Where several lines have the same name (a part was run again), the last one counts.
"""

import contextlib
import io
import json
import sys

VARIANTS = ("none", "floor", "coroner", "process")


def number(value):
    """With three digits, or whole."""
    if value is None:
        return ""
    if abs(value) >= 100:
        return "{:,.0f}".format(value)
    return "%.*f" % (3 if abs(value) < 0.1 else 2 if abs(value) < 10 else 1, value)


def time_of(nanoseconds):
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if abs(nanoseconds) >= size:
            return "%s %s" % (number(nanoseconds / size), unit)
    return "%.0f ns" % nanoseconds


def amount(value, unit):
    return time_of(value) if unit == "ns" else "%s %s" % (number(value), unit)


def whole(value):
    return "{:,.0f}".format(value)


def spread(line, unit):
    """The median, with the least and the most of several runs."""
    return "%s %s" % (number(line["median"]), unit) + (" (%s to %s)" % (number(line["min"]), number(line["max"])) if line["runs"] > 1 else "")


def within(line, key):
    text = number(line[key])
    low, high = line.get(key + "_low"), line.get(key + "_high")
    return text + (" (%s to %s)" % (number(low), number(high)) if low is not None and line["runs"] > 1 else "")


def verdict(line):
    """What is held against a bar, bold where that is not met."""
    if "bar" not in line:
        return ""
    text = number(line["figure"])
    if isinstance(line["value"], int) and line["figure"] == line["value"]:
        text = whole(line["figure"])
    if line["bar"].startswith("floor + "):
        text = "floor %s %s" % ("+" if line["figure"] >= 0 else "−", time_of(abs(line["figure"])))
    elif line["bar"].endswith(" ns"):
        text = time_of(line["figure"])
    return text if line["met"] else "**%s**" % text


def bar(line):
    text = line.get("bar", "")
    if text.startswith("floor + "):
        return "floor + " + time_of(float(text.split()[2]))
    return text.replace(" x ", " × ") if not text.endswith(" ns") else time_of(float(text.split()[0]))


def table(heads, rows):
    if rows:
        print("| " + " | ".join(heads) + " |\n|" + "---|" * len(heads))
        for row in rows:
            print("| " + " | ".join(row) + " |")
        print()


def read(path):
    lines = {}
    with open(path, encoding="utf-8") as run:
        for text in run:
            if not text.startswith("{"):
                continue  # of make or a compiler
            line = json.loads(text)
            lines[(line["part"], line["name"], line.get("processes", 1))] = line
    return lines


def workloads(lines):
    """{(workload, processes): {variant: line}}, in their order."""
    found = {}
    for line in lines.values():
        if line["part"] == "node" and "variant" in line:
            found.setdefault((line["workload"], line["processes"]), {})[line["variant"]] = line
    return found


def title(workload, processes):
    return workload + (" (%d processes at once)" % processes if processes > 1 else "")


def node_table(lines):
    rows = []
    for (workload, processes), by in workloads(lines).items():
        share = by.get("of process")
        rows.append([title(workload, processes)] + [time_of(by[variant]["median"]) for variant in VARIANTS]
                    + [within(by["coroner"], "to_floor"), number(by["coroner"]["to_floor_of_least"]), bar(by["coroner"]), verdict(by["coroner"]),
                       ("%s (floor: %s)" % (verdict(share), number(share["floor_of_process"]))) if share else ""])
    table(["workload"] + list(VARIANTS) + ["to the floor (95 %)", "shortest rounds", "bar", "reached", "of what `process` adds"], rows)


def node_memory(lines):
    table(["memory", "bytes", "bar", "reached"],
          [[line["name"].replace("memory ", ""), number(line["value"]), bar(line), verdict(line)]
           for (part, name, _), line in lines.items() if part == "node" and name.startswith("memory")])


def attach(lines):
    rows = []
    for step in ("start", "pause", "resume", "stop", "control", "control with another process that is busy"):
        took, call = [lines.get(("attach", "%s with idle processes, %s" % (step, what), 1))
                      for what in ("time", "longest gen_server:call meanwhile")]
        if took and call:
            rows.append([step, spread(took, "s"), bar(took), spread(call, "ms"), bar(call),
                         "" if "met" not in took else "yes" if took["met"] and call["met"] else "**no**",
                         "%d of %s" % (call["calls_over_5_ms"], whole(call["calls"]))])
    table(["", "time", "bar", "longest call meanwhile", "bar", "met", "calls over 5 ms"], rows)


def scope(lines):
    table(["messages", "none", "with coroner", "ratio (95 %)", "1.00 is within"],
          [[line["name"], time_of(line["none"]), time_of(line["value"]), within(line, "ratio"),
            {True: "yes", False: "**no**", None: ""}[line.get("met")]]
           for (part, name, _), line in lines.items() if part == "scope" and not name.startswith("machine")])


def longest(lines):
    rows = []
    for (part, name, _), line in lines.items():
        if part == "longest" and name.startswith("longest"):
            scenario = name.split(" / ")[1]
            work = lines.get((part, "most work in a callback / " + scenario, 1))
            kind = max(work["kinds"], key=work["kinds"].get) if work else ""
            rows.append([scenario, "%s (%s)" % (whole(work["value"]), kind) if work else "", verdict(line), time_of(line["own"]), time_of(line["control"]),
                         str(line["runs"]), time_of(line["max"]), "%d of %s" % (line["over_1_ms"], whole(line["callbacks"])),
                         str(line["control_over_1_ms"])])
    table(["", "most work: basic blocks", "longest: least of the runs", "without waiting", "control", "runs", "longest of all", "over 1 ms", "of control"], rows)


def daemon(lines):
    rows = []
    for (part, name, _), line in lines.items():
        if part == "daemon" and not name.startswith("machine"):
            several = line["runs"] > 1
            rows.append([name.replace("daemon_", "").replace("_", " ") + (", p99" if "p99" in line else ""), amount(line["value"], line["unit"]),
                         "%s of %s" % (number(line["median"]), whole(line["runs"])) if several else "", bar(line),
                         {True: "yes", False: "**no**", None: ""}[line.get("met")]])
    table(["", "value", "median", "bar", "met"], rows)


def proxy(lines):
    table(["", "none", "with coroner", "ratio (95 %)", "bar", "met"],
          [[name.split(" / ")[1], amount(line["none"], line["unit"]), amount(line["value"], line["unit"]), within(line, "ratio"), bar(line),
            "yes" if line["met"] else "**no**"]
           for (part, name, _), line in lines.items() if part == "proxy" and not name.startswith("machine")])


def counts(lines):
    table(["case", "instructions", "of the kept ones"],
          [[name.split(" / ")[1].replace("_", " "), whole(line["value"]), number(line["ratio"])]
           for (part, name, _), line in lines.items() if part == "counts" and not name.startswith("machine")])


def machine(lines):
    for (part, _, _), line in lines.items():
        if part == "machine":
            others = ["%s %s" % (other["part"], number(other["value"])) for other in lines.values()
                      if other["name"].startswith("machine, during")]
            print("%s, %d processors, Linux %s; load before %s; processors that others took meanwhile: %s.\n"
                  % (line["cpu"], line["processors"], line["kernel"], number(line["value"]), ", ".join(others)))


def missed(lines):
    rows = [[title(line["name"], line.get("processes", 1)), verdict(line), bar(line)] for line in lines.values() if line.get("met") is False]
    print("%d bars met, %d not met%s\n" % (sum(line.get("met") is True for line in lines.values()), len(rows), ":" if rows else "."))
    table(["not met", "reached", "bar"], rows)


def otps(runs):
    """The same workload on several OTPs."""
    found = [workloads(lines) for lines in runs]
    names = [next(iter(by.values()))["coroner"]["otp"] for by in found]
    rows = []
    for key in found[0]:
        lines = [by.get(key) for by in found]
        rows.append([title(*key)] + [time_of(by["coroner"]["above_floor"]) if by else "" for by in lines]
                    + [within(by["coroner"], "to_floor") if by else "" for by in lines]
                    + [number(by["of process"]["value"]) if by and "of process" in by else "" for by in lines])
    table(["workload"] + ["%s, %s" % (what, name) for what in ("above the floor", "× floor (95 %)", "of `process`") for name in names], rows)


SECTIONS = {"machine": machine, "node": node_table, "memory": node_memory, "attach": attach, "scope": scope, "longest": longest,
            "daemon": daemon, "proxy": proxy, "counts": counts, "missed": missed}


def section(name, runs):
    """The text of a section; empty when no run has anything for it."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if name == "otps":
            if len(runs) > 1:
                otps(runs)
        else:
            SECTIONS[name](runs[0])
    return out.getvalue()


def replace(path, runs):
    """Writes the tables between their marks; what the runs tell nothing of stays as it was."""
    with open(path, encoding="utf-8") as page:
        text = page.read()
    for name in list(SECTIONS) + ["otps"]:
        begin, end = "<!-- table: %s -->\n" % name, "<!-- end -->\n"
        new = section(name, runs)
        if new and begin in text:
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(end)
            text = before + begin + "\n" + new + end + after
    with open(path, "w", encoding="utf-8") as page:
        page.write(text)


def main(arguments):
    page = arguments[1] if len(arguments) > 2 and arguments[0] == "--into" else None
    paths = arguments[2:] if page else arguments
    if not paths or paths[0].startswith("-"):
        sys.exit(__doc__)
    runs = [read(path) for path in paths]
    if page:
        replace(page, runs)
    else:
        for name in list(SECTIONS) + ["otps"]:
            sys.stdout.write(section(name, runs))


if __name__ == "__main__":
    main(sys.argv[1:])
