#!/usr/bin/env bash
# Apptainer for a machine whose Debian has none: sid's package beside trixie's libraries, unpacked into a folder and not installed.
#   apptainer.sh FOLDER     afterwards FOLDER/bin/apptainer works; a second call does nothing
# Exit code 3 and one line: this machine does not allow it.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
folder=$(realpath -m "${1:?usage: apptainer.sh FOLDER}")
refuse() { printf 'apptainer.sh: %s\n' "$*" >&2; exit 3; }
[ -x "$folder/bin/apptainer" ] && exit 0
[ "$(id -u)" = 0 ] || refuse "building images of our own base needs root"
command -v apt-get dpkg-deb >/dev/null || refuse "this is no Debian"
apt=$folder/apt
mkdir -p "$apt"/{etc/apt.conf.d,etc/preferences.d,etc/trusted.gpg.d,lists/partial,cache/archives/partial} "$folder/debs"
key=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null | grep -Eo 'https?://[^ ]*/debian/?( |$)' | head -1 || true)
[ -n "$mirror" ] && [ -e "$key" ] || refuse "no Debian mirror and key are configured"
printf "deb [signed-by=$key] ${mirror% } %s main\n" trixie sid >"$apt/etc/sources.list"
private=(-o "Dir::Etc=$apt/etc" -o "Dir::Etc::sourcelist=$apt/etc/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
apt-get "${private[@]}" update -qq || refuse "Debian's mirror is out of reach"
(cd "$folder/debs" && apt-get "${private[@]}" download -qq apptainer/sid libc6/trixie libsqlite3-0/trixie libseccomp2/trixie)
missing() { for program in patchelf debootstrap mksquashfs squashfuse fusermount3 siftool; do command -v "$program" >/dev/null || return 0; done; return 1; }
if missing; then
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq patchelf debootstrap squashfs-tools squashfuse fuse3 siftool >"$folder/apt.log" 2>&1 || refuse "apt-get install failed: $folder/apt.log"
fi
rm -rf "$folder/root"
mkdir "$folder/root"
for package in "$folder"/debs/*.deb; do dpkg-deb -x "$package" "$folder/root"; done
cd "$folder/root"
loader=$(find "$PWD" -name 'ld-linux-x86-64.so.2' -type f | head -1)
libraries=$(dirname "$loader"):$PWD/usr/lib/x86_64-linux-gnu:/usr/lib/x86_64-linux-gnu
for program in usr/bin/apptainer usr/lib/x86_64-linux-gnu/apptainer/bin/starter; do
    patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$program"
done
# where a program that was moved looks for its configuration and its session folder
for prefix in usr usr/lib; do [ -e "$prefix/etc" ] || ln -s "$PWD/etc" "$prefix/etc"; done
mkdir -p usr/lib/var/lib/apptainer/mnt/session var/lib/apptainer/mnt/session usr/var/lib/apptainer/mnt/session
mkdir -p "$folder/bin"
printf '#!/bin/sh\nexec env APPTAINER=%s "%s" "$@"\n' "$PWD/usr/bin/apptainer" "$here/all_capabilities.sh" >"$folder/bin/apptainer"
chmod +x "$folder/bin/apptainer"
"$folder/bin/apptainer" --version
