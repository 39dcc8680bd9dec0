#!/bin/bash
# Puts what `make` has built where it belongs, or takes it away again.
#
#   packaging/install.sh install|uninstall DESTDIR PREFIX
#
# The Erlang application is PREFIX/lib/coroner; coronerctl stands in its priv, where it finds the application, with a
# link to it in PREFIX/bin. The settings are installed as an example only: /etc/coroner/coronerd.conf is the operator's.
set -euo pipefail
cd "$(dirname "$0")/.." || exit 70

if [ $# != 3 ] || [[ $1 != install && $1 != uninstall ]] || [[ $3 != /* ]]; then
    echo "usage: install.sh install|uninstall DESTDIR PREFIX" >&2
    exit 64
fi
action=$1 root=$2 prefix=${3%/}
library=$prefix/lib/coroner
documents=$prefix/share/doc/coroner

# Mode, source, target; the source of a link is what it points to.
list() {
    echo "0755 priv/coronerd $prefix/sbin/coronerd"
    echo "0755 priv/coronerctl $library/priv/coronerctl"
    echo "link ../lib/coroner/priv/coronerctl $prefix/bin/coronerctl"
    echo "0644 priv/coroner_nif.so $library/priv/coroner_nif.so"
    local file
    for file in _build/default/lib/coroner/ebin/*; do
        echo "0644 $file $library/ebin/${file##*/}"
    done
    for file in priv/schema/*; do
        echo "0644 $file $library/priv/schema/${file##*/}"
    done
    for file in priv/*.service priv/*.socket; do
        echo "unit $file $prefix/lib/systemd/system/${file##*/}"
    done
    echo "0644 packaging/coroner.sysusers $prefix/lib/sysusers.d/coroner.conf"
    for file in _build/man/*; do
        echo "0644 $file $prefix/share/man/man${file##*.}/${file##*/}"
    done
    for file in README.md docs/*.md; do
        echo "0644 $file $documents/${file##*/}"
    done
    echo "0644 priv/coronerd.conf $documents/examples/coronerd.conf"
}

put() {
    local mode=$1 source=$2 target=$3
    case $mode in
    link)
        install -d -m 0755 "${target%/*}"
        ln -sfn "$source" "$target"
        ;;
    unit)
        install -D -m 0644 "$source" "$target"
        sed -i "s|/usr/sbin/coronerd|$prefix/sbin/coronerd|" "$target"
        ;;
    *) install -D -m "$mode" "$source" "$target" ;;
    esac
}

if [ "$action" = install ]; then
    umask 022
    while read -r mode source target; do
        put "$mode" "$source" "$root$target"
    done < <(list)
else
    list | while read -r _ _ target; do
        rm -f "$root$target"
    done
    # Of the directories those that are coroner's alone.
    for directory in "$library/ebin" "$library/priv/schema" "$library/priv" "$library" "$documents/examples" "$documents"; do
        rmdir "$root$directory" 2>/dev/null || true
    done
fi
