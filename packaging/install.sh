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
        echo "page $file $documents/${file##*/}"
    done
    # What the pages link to.
    echo "0644 LICENSE $documents/LICENSE"
    echo "0644 docs/alerts.yml $documents/alerts.yml"
    echo "0644 priv/coronerd.conf $documents/examples/coronerd.conf"
}

put() {
    local mode=$1 source=$2 target=$3
    case $mode in
    link)
        install -d -m 0755 "${target%/*}"
        ln -sfn "$source" "$target"
        ;;
    page) # all in one folder, so the links are others
        install -D -m 0644 "$source" "$target"
        sed -i 's|](docs/|](|g; s|](\.\./README\.md|](README.md|g; s|](priv/coronerd\.conf)|](examples/coronerd.conf)|g' "$target"
        ;;
    unit)
        install -D -m 0644 "$source" "$target"
        sed -i "s|/usr/sbin/coronerd|$prefix/sbin/coronerd|" "$target"
        ;;
    *) install -D -m "$mode" "$source" "$target" ;;
    esac
}

# What is left to be done, where it was installed to be used and not to be packed.
say_next() {
    local unit=coronerd.service
    # Elsewhere systemd does not look for units.
    case $prefix in /usr | /usr/local) ;; *) unit=$prefix/lib/systemd/system/$unit ;; esac
    cat <<END
coroner is installed below $prefix. To run it as a service, as root:

    systemd-sysusers $prefix/lib/sysusers.d/coroner.conf   # the user and group coroner
    systemctl daemon-reload
    systemctl enable --now $unit
    usermod -aG coroner USER                  # the user of your nodes, and who may ask; it counts from their next start on

Then load it into a node, or make it a part of your release, and ask:

    $prefix/bin/coronerctl attach NAME@HOST
    $prefix/bin/coronerctl status

$documents/README.md tells more; $documents/examples/coronerd.conf has every setting.
END
}

if [ "$action" = install ]; then
    umask 022
    while read -r mode source target; do
        put "$mode" "$source" "$root$target"
    done < <(list)
    [ -n "$root" ] || say_next
else
    list | while read -r _ _ target; do
        rm -f "$root$target"
    done
    # Of the directories those that are coroner's alone.
    for directory in "$library/ebin" "$library/priv/schema" "$library/priv" "$library" "$documents/examples" "$documents"; do
        rmdir "$root$directory" 2>/dev/null || true
    done
fi
