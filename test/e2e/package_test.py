#!/usr/bin/python3
"""Tests of what is installed: the manual, the units, `make install`, `make uninstall` and the Debian package.

    package_test.py --daemon BINARY --san-daemon BINARY [NAME...]

Prints "ok NAME" or "not ok NAME: why" for each test and closes with "N passed, N failed". The package is installed
into a copy of this machine's files that is thrown away (an overlay), which takes root.
"""
import glob
import os
import re
import shutil
import subprocess
import sys

import daemon_harness
from daemon_harness import ROOT, check, equal, test

MANUAL = os.path.join(ROOT, "docs", "man")
SINKS = """sink "lines" { path = "/x" }
sink "out" { type = stdout }
sink "command" { type = exec command = {"/bin/cat"} }
sink "nats" { type = nats }
"""


def run(*command, code=0, **options):
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT,
                          stdin=subprocess.DEVNULL, **options)
    equal(done.returncode, code, "%s: %s" % (" ".join(command), done.stdout + done.stderr))
    return done.stdout, done.stderr


def make(*arguments):
    return run("make", "-s", "--no-print-directory", *arguments)[0]


def page(name):
    with open(os.path.join(MANUAL, name + ".scd")) as file:
        return file.read()


# ---- the manual --------------------------------------------------------------------------------------


@test
def test_manual_is_well_formed(s):
    sources = sorted(glob.glob(os.path.join(MANUAL, "*.scd")))
    equal([os.path.basename(source) for source in sources],
          ["coroner-protocol.7.scd", "coronerctl.1.scd", "coronerd.8.scd", "coronerd.conf.5.scd"])
    for source in sources:
        target = s.path(os.path.basename(source)[:-len(".scd")])
        with open(source) as text, open(target, "w") as out:
            subprocess.run(["scdoc"], stdin=text, stdout=out, check=True, timeout=60)
        # mandoc's warnings are about how scdoc writes; its errors are about what is written.
        equal(run("mandoc", "-Tlint", "-Werror", target), ("", ""))
        equal(run("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", target,
                  env=dict(os.environ, LC_ALL="C.UTF-8", MANWIDTH="80"))[1], "")


@test
def test_manual_has_every_option(s):
    text = run(s.plain, "--help")[0]
    options = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))
    check({"-c", "--check", "--listen"} <= options, options)
    for option in options:
        check("*%s*" % option in page("coronerd.8"), "coronerd(8) lacks", option)
    for code in re.findall(r"\b(0|\d\d) [a-z]", text.split("Exit codes:")[1]):
        check("\n*%s*\n" % code in page("coronerd.8"), "coronerd(8) lacks the exit code", code)

    control = os.path.join(ROOT, "priv", "coronerctl")
    text = run(control, "--help")[0]
    commands = re.findall(r"^  ([a-z]+) ", text, re.M)
    check({"why", "tail", "query", "status", "attach"} <= set(commands), commands)
    for command in commands:
        check("*coronerctl* *%s*" % command in page("coronerctl.1"), "coronerctl(1) lacks", command)
        if command != "help":
            text += run(control, "help", command)[0]
    for option in set(re.findall(r"^  (--[a-z-]+)", text, re.M)):
        check("\n*%s*" % option in page("coronerctl.1"), "coronerctl(1) lacks", option)


def settings_in_force(s, text):
    """What --check prints, as {(section, key): value}."""
    with open(s.path("conf"), "w") as file:
        file.write(text)
    section, values = "", {}
    for line in run(s.plain, "--check", "-c", s.path("conf"))[0].splitlines():
        if match := re.match(r'(\w+)( "[\w-]+")? \{$', line):
            section = match.group(1)
        elif match := re.match(r"\s*(\w+) = (.*)$", line):
            values.setdefault((section, match.group(1)), match.group(2).strip('"'))
        elif line == "}":
            section = ""
    return values


@test
def test_manual_has_every_setting(s):
    """Every key, in its section, with its default; and none that there is not."""
    described = {}
    for part in re.split(r"^# ", page("coronerd.conf.5"), flags=re.M):
        heading, _, body = part.partition("\n")
        if heading != "TOP LEVEL" and not heading.startswith("SECTION "):
            continue
        section = "" if heading == "TOP LEVEL" else heading[len("SECTION "):].lower()
        for match in re.finditer(r"^\*(\w+)\* = .*\n((?:\t.*\n)+)", body, re.M):
            default = re.search(r"Default: (.*)$", match.group(2).replace("\n\t", " ").strip())
            described[section, match.group(1)] = default.group(1) if default else None
    values = settings_in_force(s, SINKS)
    equal(sorted(described), sorted(values))
    for key, value in values.items():
        if key in (("sink", "path"), ("sink", "command")):
            equal(described[key], None)
        else:
            equal(described[key], {"": "empty", "{}": "empty"}.get(value, value), key)
    # Those that take effect at SIGHUP are the ones that are marked.
    marked = set(re.findall(r"^\*(\w+)\* = .* \(R\)$", page("coronerd.conf.5"), re.M))
    check("path" not in marked and {"drain_timeout", "mode", "allow_users", "query_deadline"} <= marked, marked)


# ---- units -------------------------------------------------------------------------------------------


@test
def test_units(s):
    units = sorted(glob.glob(os.path.join(ROOT, "priv", "coronerd*.s*")))
    equal([os.path.basename(unit) for unit in units],
          ["coronerd-ingest.socket", "coronerd-query.socket", "coronerd.service"])
    # 20 is 2.0 of 10.
    out = run("systemd-analyze", "security", "--offline=true", "--threshold=20",
              os.path.join(ROOT, "priv", "coronerd.service"))[0]
    check(float(re.search(r"Overall exposure level for coronerd.service: ([\d.]+)", out).group(1)) <= 2.0, out)
    # verify wants the program to be there.
    for unit in units:
        with open(unit) as file, open(s.path(os.path.basename(unit)), "w") as copy:
            text = file.read()
            copy.write(text.replace("/usr/sbin/coronerd", s.plain))
    equal(run("systemd-analyze", "verify", "--man=no", *[s.path(os.path.basename(unit)) for unit in units])[1], "")
    with open(os.path.join(ROOT, "priv", "coronerd.service")) as file:
        text = file.read()
    # With it the kernel says of every peer that it is nobody.
    check("PrivateUsers=no" in text)
    # What the sockets are called, and where they are, is what the daemon expects.
    values = settings_in_force(s, "")
    for name in ("ingest", "query"):
        with open(os.path.join(ROOT, "priv", "coronerd-%s.socket" % name)) as file:
            socket_unit = file.read()
        check("FileDescriptorName=%s\n" % name in socket_unit and "ListenStream=%s\n" % values[name, "path"] in socket_unit)


def allowed_system_calls():
    """What the unit's filter lets through, sets resolved by systemd itself."""
    sets = {}
    for line in run("systemd-analyze", "syscall-filter")[0].splitlines():
        if line.startswith("@"):
            name = line.strip()
            sets[name] = []
        elif match := re.match(r"    ([@\w-]+)$", line):
            sets[name].append(match.group(1))

    def resolve(name):
        return set().union(*map(resolve, sets[name])) if name in sets else {name}

    allowed = set()
    with open(os.path.join(ROOT, "priv", "coronerd.service")) as file:
        for line in re.findall(r"^SystemCallFilter=(.*)$", file.read(), re.M):
            names = set().union(*map(resolve, line.lstrip("~").split()))
            allowed = allowed - names if line.startswith("~") else allowed | names
    return allowed


@test
def test_filter_lets_through_what_is_used(s):
    """The system calls of a run with nodes, questions, a sink, a reload and groups, against the unit's filter."""
    trace = s.path("trace")
    with open(s.path("coronerd.conf"), "w") as file:
        file.write("query { group = 1 mode = 0666 allow_groups = { 1 } }\n")
    daemon = s.start("-c", s.path("coronerd.conf"), binary=s.plain, wrapper=("strace", "-f", "-qq", "-o", trace))
    from fake_node import FakeNode  # needs cbor2, which the other tests here do without
    node = FakeNode(daemon.ingest)
    for _ in range(100):
        node.make()
    check(node.connect() and node.deliver())
    daemon.ask({"op": "query"}, {"op": "status"}, {"op": "nodes"}, {"op": "count", "by": ["exit.source"]})
    with open(s.path("coronerd.conf"), "w") as file:
        file.write("query { group = 2 mode = 0660 }\n")
    children = subprocess.run(["pgrep", "-P", str(daemon.process.pid)], capture_output=True, text=True, check=True)
    inner = int(children.stdout.split()[0])
    os.kill(inner, 1)
    daemon.wait_log("info: reloaded")
    os.kill(inner, 15)
    equal(daemon.wait(), 0)
    with open(trace) as lines:
        used = set(re.findall(r"^\d+\s+(?:<\.\.\. )?(\w+)(?:\(| resumed)", lines.read(), re.M))
    check({"accept4", "fchownat", "listen"} <= used, used)
    # Asked for where it helps, and does without: the limit on descriptors, which the unit sets.
    equal(used - allowed_system_calls() - {"execve", "exit_group"}, set())


# ---- installing --------------------------------------------------------------------------------------


def files_below(folder):
    return sorted(os.path.relpath(os.path.join(path, name), folder)
                  for path, _, names in os.walk(folder) for name in names)


def check_links(folder):
    """Each relative link of the installed pages leads to what is installed, and each anchor to a heading."""
    def anchors(page):
        headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
        return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}

    pages = [name for name in os.listdir(folder) if name.endswith(".md")]
    checked = 0
    for name in pages:
        with open(os.path.join(folder, name)) as file:
            text = file.read()
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" in link:
                continue
            path, _, anchor = link.partition("#")
            target = os.path.join(folder, path) if path else os.path.join(folder, name)
            check(os.path.isfile(target), "%s links to %s, which is not installed" % (name, link))
            if anchor:
                with open(target) as file:
                    check(anchor in anchors(file.read()), "%s links to %s, which has no such heading" % (name, link))
            checked += 1
    check(len(pages) > 5 and checked > 10, pages, checked)


@test
def test_install_says_what_to_do_next(s):
    """Where it is installed to be used; each file that is named is there."""
    prefix = s.path("prefix")
    out = run("make", "--no-print-directory", "-C", ROOT, "install", "DESTDIR=", "PREFIX=" + prefix)[0]
    for part in ("systemctl enable --now " + prefix + "/lib/systemd/system/coronerd.service", "usermod -aG coroner USER",
                 prefix + "/bin/coronerctl attach NAME@HOST", "systemd-sysusers "):
        check(part in out, part, out)
    named = re.findall(re.escape(prefix) + r"/[^\s;]+", out)
    check(len(named) >= 6, out)
    for path in named:
        check(os.path.isfile(path), path)
    make("uninstall", "DESTDIR=", "PREFIX=" + prefix)
    equal(files_below(prefix), [])
    out = run("make", "--no-print-directory", "-C", ROOT, "install", "DESTDIR=" + s.path("stage"), "PREFIX=/usr")[0]
    check("systemctl" not in out, out)
    make("uninstall", "DESTDIR=" + s.path("stage"), "PREFIX=/usr")


@test
def test_install_and_uninstall(s):
    root, prefix = s.path("root"), "/opt/coroner"
    make("install", "DESTDIR=" + root, "PREFIX=" + prefix)
    files = files_below(root)
    for name in ("sbin/coronerd", "bin/coronerctl", "lib/coroner/ebin/coroner.app", "lib/coroner/ebin/coroner.beam",
                 "lib/coroner/priv/coroner_nif.so", "lib/coroner/priv/schema/coroner.exit-1.schema.json",
                 "lib/systemd/system/coronerd.service", "share/man/man8/coronerd.8", "share/man/man5/coronerd.conf.5",
                 "share/doc/coroner/examples/coronerd.conf"):
        check("opt/coroner/" + name in files, name, files)
    check(not any(name.startswith("etc") for name in files), "it writes over the operator's settings", files)
    installed = root + prefix
    check_links(installed + "/share/doc/coroner")
    check(run(installed + "/sbin/coronerd", "--version")[0].startswith("coronerd "))
    check(run(installed + "/bin/coronerctl", "--version")[0].startswith("coronerctl "))
    run(installed + "/sbin/coronerd", "--check", "-c", installed + "/share/doc/coroner/examples/coronerd.conf")
    # attach finds the application beside coronerctl: it gets as far as looking for the node.
    err = run(installed + "/bin/coronerctl", "attach", "--cookie", "x", "nobody@localhost", code=69)[1]
    check("cannot find the application" not in err, err)
    with open(installed + "/lib/systemd/system/coronerd.service") as unit:
        check("ExecStart=%s/sbin/coronerd\n" % prefix in unit.read())
    # Erlang finds it, and it is complete: the NIF is loaded.
    out = run("erl", "-noshell", "-pa", installed + "/lib/coroner/ebin", "-eval",
              "io:format(\"~p ~p\", [element(1, application:ensure_all_started(coroner)), code:priv_dir(coroner)]), halt().")[0]
    equal(out, 'ok "%s/lib/coroner/priv"' % installed)
    with open(root + prefix + "/share/doc/coroner/mine", "w") as file:
        file.write("of somebody else\n")
    make("uninstall", "DESTDIR=" + root, "PREFIX=" + prefix)
    equal(files_below(root), ["opt/coroner/share/doc/coroner/mine"])


# Runs in a namespace of mounts of its own, in which / is this machine's files with a layer that is thrown away.
INSTALL = r"""
set -eu
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" "$1/root"
mount -t tmpfs tmpfs "$1/root/run"
mount -t tmpfs tmpfs "$1/root/tmp"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
cp "$2" "$1/root/tmp/coroner.deb"
exec chroot "$1/root" /bin/sh -euc '
    export DEBIAN_FRONTEND=noninteractive
    list() { find /etc /usr /var /lib -xdev -name "*coroner*" 2>/dev/null | sort; }
    list >/tmp/before
    dpkg -i /tmp/coroner.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
    echo "user: $(getent passwd coroner | cut -d : -f 6,7)"
    echo "version: $(coronerd --version)"
    echo "control: $(coronerctl --version)"
    coronerd --check >/dev/null && echo "settings: fine"
    echo "conffile: $(dpkg-query -W -f "\${Conffiles}" coroner | cut -d " " -f 2)"
    echo "enabled: $(readlink /etc/systemd/system/multi-user.target.wants/coronerd.service)"
    echo "running: $(pgrep -x coronerd || echo nobody)"
    dpkg -V coroner && echo "files: as packaged"
    echo "drain_timeout = 7s" >>/etc/coroner/coronerd.conf
    dpkg -i /tmp/coroner.deb >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
    echo "kept: $(coronerd --check | grep drain_timeout)"
    mkdir /var/lib/coroner /var/log/coroner
    dpkg -r coroner >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
    test ! -e /usr/sbin/coronerd && test -e /etc/coroner/coronerd.conf && test -e /var/lib/coroner && echo "removed: but for data"
    dpkg -P coroner >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }
    list >/tmp/after
    comm -13 /tmp/before /tmp/after | sed "s/^/left: /"
'
"""


@test
def test_debian_package(s):
    package = make("deb").strip().splitlines()[-1]
    check(re.fullmatch(r"_build/deb/coroner_[\d.]+_\w+\.deb", package), package)
    # As it comes, without installing.
    unpacked = s.path("unpacked")
    run("dpkg-deb", "-x", package, unpacked)
    check(run(unpacked + "/usr/sbin/coronerd", "--version")[0].startswith("coronerd "))
    check_links(unpacked + "/usr/share/doc/coroner")
    depends = run("dpkg-deb", "-f", package, "Depends")[0]
    for library in ("libconfuse2", "libuv1", "libsqlite3-0", "libsystemd0", "adduser"):
        check(library in depends, depends)
    os.mkdir(s.path("place"))
    out = run("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", INSTALL, "sh", s.path("place"),
              os.path.join(ROOT, package))[0]
    said = dict(line.split(": ", 1) for line in out.splitlines() if not line.startswith("left: "))
    equal(said["user"], "/var/lib/coroner:/usr/sbin/nologin")
    check(said["version"].startswith("coronerd ") and said["control"].startswith("coronerctl "), said)
    equal(said["settings"], "fine")
    equal(said["conffile"], "/etc/coroner/coronerd.conf")
    check(said["enabled"].endswith("/lib/systemd/system/coronerd.service"), said)
    equal(said["running"], "nobody")
    equal(said["files"], "as packaged")
    equal(said["kept"], "drain_timeout = 7s")
    equal(said["removed"], "but for data")
    equal([line for line in out.splitlines() if line.startswith("left: ")], [])


def main():
    options = daemon_harness.arguments().parse_args()
    for program in ("scdoc", "mandoc", "man", "systemd-analyze", "strace", "pgrep"):
        check(shutil.which(program), "there is no " + program)
    return daemon_harness.main(options)


if __name__ == "__main__":
    sys.exit(main())
