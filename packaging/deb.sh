#!/bin/bash
# Makes a Debian package of what `make` has built.
#
#   packaging/deb.sh FOLDER      the package is FOLDER/coroner_VERSION_ARCHITECTURE.deb; its path is printed
set -euo pipefail
cd "$(dirname "$0")/.." || exit 70

folder=$1
version=$(sed -n 's/^#define CORONERD_VERSION "\(.*\)"$/\1/p' daemon/version.h)
architecture=$(dpkg --print-architecture)
package=$folder/coroner_${version}_$architecture.deb
umask 022
mkdir -p "$folder"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
root=$stage/root
packaging/install.sh install "$root" /usr
install -D -m 0644 priv/coronerd.conf "$root/etc/coroner/coronerd.conf"
install -D -m 0644 LICENSE "$root/usr/share/doc/coroner/copyright"
# The package's own scripts make the user.
rm -r "$root/usr/lib/sysusers.d"
find "$root/usr/share/man" -type f -exec gzip -9n {} +
strip --strip-unneeded "$root/usr/sbin/coronerd" "$root/usr/lib/coroner/priv/coronerctl" "$root/usr/lib/coroner/priv/coroner_nif.so"

# dpkg-shlibdeps reads debian/control of the folder it stands in.
mkdir -p "$stage/debian" "$root/DEBIAN"
printf 'Source: coroner\n\nPackage: coroner\nArchitecture: any\n' >"$stage/debian/control"
libraries=$(cd "$stage" && dpkg-shlibdeps -O root/usr/sbin/coronerd root/usr/lib/coroner/priv/coronerctl \
    root/usr/lib/coroner/priv/coroner_nif.so 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
[ -n "$libraries" ] || { echo "deb.sh: dpkg-shlibdeps does not say which libraries are needed" >&2; exit 1; }
size=$(du -k -s --apparent-size "$root" | cut -f 1)
sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@LIBRARIES@/$libraries/; s/@SIZE@/$size/" \
    packaging/debian/control >"$root/DEBIAN/control"
echo /etc/coroner/coronerd.conf >"$root/DEBIAN/conffiles"
install -m 0755 packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm "$root/DEBIAN/"
(cd "$root" && find etc usr -type f -print0 | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
dpkg-deb --root-owner-group --build "$root" "$package" >/dev/null
echo "$package"
