#!/usr/bin/env bash
# A base image for containers/dtr.def without a registry: the same Debian by debootstrap, packed as Apptainer packs it.
#   base.sh IMAGE.sif
set -euo pipefail
image=$(realpath -m "$1")
[ -e "$image" ] && exit 0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"
mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources 2>/dev/null | grep -Eo 'https?://[^ ]*/debian/?( |$)' | head -1 || true)
debootstrap --variant=minbase --include=ca-certificates bookworm "$folder/root" "${mirror% }" >"$image.log" 2>&1
rm -rf "$folder"/root/var/cache/apt/archives/*.deb
mksquashfs "$folder/root" "$folder/root.squashfs" -noappend -quiet -no-progress -comp gzip -wildcards -e 'dev/*' >>"$image.log" 2>&1
siftool new "$folder/image.sif"
siftool add --datatype 4 --parttype 2 --partfs 1 --partarch 2 --groupid 1 "$folder/image.sif" "$folder/root.squashfs"
mv "$folder/image.sif" "$image"
