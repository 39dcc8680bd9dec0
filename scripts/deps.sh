#!/bin/bash
# Sees to it that the Debian packages a task needs are there.
#
#   scripts/deps.sh GROUP...      groups: build, test, matrix, demo, fuzz, bench (each is one list below)
#
# As root, what is missing is installed, and said. As another user, what is missing is named and the
# exit code is 1. Everything is printed on stderr: stdout belongs to the caller.
set -euo pipefail

build="gcc make erlang-base erlang-dev erlang-runtime-tools libuv1-dev libjansson-dev libsqlite3-dev libcbor-dev libconfuse-dev libsystemd-dev libnats-dev scdoc libmicrohttpd-dev"
test="erlang-eunit erlang-common-test erlang-tools erlang-proper libcmocka-dev valgrind clang sqlite3 python3-minimal python3-jsonschema python3-cbor2 libdbd-mariadb-perl procps rsyslog nats-server curl prometheus fiu-utils faketime systemd strace mandoc man-db adduser init-system-helpers dpkg-dev binutils"
# The roots of other OTPs that test-matrix makes.
matrix="debootstrap debian-archive-keyring util-linux"
fuzz="clang libclang-rt-dev llvm libcmocka-dev libcbor-dev erlang-dev"
# The proxy under a load (make bench); valgrind counts the instructions.
bench="sysbench valgrind mariadb-server mariadb-client erlang-tools erlang-runtime-tools python3-minimal"
demo="mariadb-server mariadb-client erlang-tools erlang-runtime-tools python3-minimal python3-jsonschema"

wanted=()
for group in "$@"; do
    case "$group" in
    build | test | matrix | demo | fuzz | bench) read -ra list <<<"${!group}" ;;
    *)
        echo "deps.sh: no group '$group'; there are: build test matrix demo fuzz bench" >&2
        exit 64
        ;;
    esac
    wanted+=("${list[@]}")
done

installed=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' 2>/dev/null | sed -n 's/^ii //p')
missing=()
for package in "${wanted[@]}"; do
    grep -qxF "$package" <<<"$installed" || missing+=("$package")
done
# The same package may stand in several groups.
[ ${#missing[@]} -eq 0 ] && exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

if [ "$(id -u)" != 0 ]; then
    echo "coroner needs packages that are not installed. Run as root:" >&2
    echo "    apt-get update && apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
fi

echo "coroner: installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 25 "$log" >&2
    echo "coroner: installing failed; the lines above are apt-get's" >&2
    exit 1
fi
