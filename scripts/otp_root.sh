#!/bin/bash
# Makes a Debian root folder with another OTP than this machine's, to run the Erlang suites in.
#
#   scripts/otp_root.sh OTP      27 (Debian trixie) or 29 (Debian sid)
#
# The folder, _build/roots/SUITE, is printed on stdout; everything else goes to stderr. A root that is there
# and was made from the same list of packages is used as it is. A new one is made under another name and
# renamed when it is complete, so that an interrupted run leaves no root that looks like one.
set -euo pipefail
cd "$(dirname "$0")/.." || exit 70

case "${1-}" in
27) suite=trixie ;;
29) suite=sid ;;
*)
    echo "usage: otp_root.sh 27|29" >&2
    exit 64
    ;;
esac
otp=$1
packages="erlang-base erlang-dev erlang-eunit erlang-proper erlang-runtime-tools erlang-syntax-tools erlang-tools"
roots=$PWD/_build/roots
root=$roots/$suite
stamp="$suite $packages"

is_complete() {
    [ -f "$root/.made_from" ] && [ "$(<"$root/.made_from")" = "$stamp" ]
}

mkdir -p "$roots"
# One at a time makes this root; another one waits and then finds it made.
exec 9>"$roots/$suite.lock"
flock 9
if is_complete; then
    echo "$root"
    exit 0
fi

if [ "$(id -u)" != 0 ]; then
    echo "otp_root.sh: making a root folder with OTP $otp needs root (debootstrap, mount, chroot)" >&2
    exit 77
fi

# debootstrap mounts /proc inside of what it makes: in mounts and processes of its own, nothing is left of that.
alone() {
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc -- "$@"
}

# The mirrors that this machine's apt uses for Debian itself come first.
mirrors() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        grep -E '^(https?|file):.*/debian/?$' || true
    echo http://deb.debian.org/debian
}

if [ -z "${http_proxy-}" ]; then
    eval "$(apt-config shell http_proxy Acquire::http::Proxy)"
    [ -z "${http_proxy-}" ] || export http_proxy
fi

rm -rf --one-file-system "$roots/.$suite".??????
fresh=$(mktemp -d "$roots/.$suite.XXXXXX")
trap 'rm -rf --one-file-system "$fresh"' EXIT
trap 'exit 130' INT TERM HUP
made=
while read -r mirror && [ -z "$made" ]; do
    rm -rf --one-file-system "$fresh"
    mkdir "$fresh"
    echo "coroner: making a root with OTP $otp (Debian $suite from $mirror)" >&2
    if alone debootstrap --variant=minbase --include="${packages// /,}" "$suite" "$fresh" "$mirror" \
        >"$roots/$suite.log" 2>&1 9>&-; then
        made=yes
    else
        tail -n 5 "$roots/$suite.log" >&2
    fi
done < <(mirrors | awk '!seen[$0]++')
if [ -z "$made" ]; then
    echo "otp_root.sh: debootstrap failed; the lines above are its last, all are in _build/roots/$suite.log" >&2
    exit 1
fi

# sid moves on: what is tested under the name of one OTP must not be another.
release=$(chroot "$fresh" dpkg-query -W -f '${Version}' erlang-base | sed -E 's/^[0-9]+://; s/\..*//')
if [ "$release" != "$otp" ]; then
    echo "otp_root.sh: Debian $suite has OTP $release now, not $otp" >&2
    exit 1
fi
chmod 755 "$fresh"
# The packages as they were fetched are not needed any more.
rm -rf "$fresh"/var/cache/apt/archives/*.deb "$fresh"/var/lib/apt/lists/*
printf '%s\n' "$stamp" >"$fresh/.made_from"
rm -rf --one-file-system "$root"
mv -T "$fresh" "$root"
trap - EXIT
echo "$root"
