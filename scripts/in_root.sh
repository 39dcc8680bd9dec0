#!/bin/bash
# Runs a command inside a root folder that scripts/otp_root.sh made, in this project's folder, as root.
#
#   scripts/in_root.sh ROOT COMMAND [ARGUMENT...]
#
# It sees the project under the same path as here, and an empty /tmp. Mounts and processes are its own: when it
# ends, however it ends, the kernel unmounts and kills what is left. The exit code is the command's.
set -euo pipefail
cd "$(dirname "$0")/.." || exit 70

if [ $# -lt 2 ]; then
    echo "usage: in_root.sh ROOT COMMAND [ARGUMENT...]" >&2
    exit 64
fi
if [ "$(id -u)" != 0 ]; then
    echo "in_root.sh: running a command in a root folder needs root (mount, chroot)" >&2
    exit 77
fi

# The shell stays as the first process: it reaps what loses its parent in there.
inside='
root=$1 project=$2
shift 2
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root$project"
mount --bind "$project" "$root$project"
status=0
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C.UTF-8 TERM="${TERM-dumb}" \
    chroot "$root" /bin/sh -c "cd \"\$1\" && shift && exec \"\$@\"" sh "$project" "$@" || status=$?
exit "$status"
'
# unshare ignores what would end it while it waits; so it is told to go when this shell goes.
setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child -- \
    bash -euc "$inside" in_root.sh "$(realpath "$1")" "$PWD" "${@:2}" &
child=$!
trap 'kill -KILL "$child" 2>/dev/null || true; exit 130' INT TERM HUP
status=0
wait "$child" || status=$?
exit "$status"
