#!/usr/bin/env bash
# Apptainer as root asks for every capability, and the root of a virtual machine or container often lacks one. In a user namespace root has
# them all; every user and group there is mapped to itself, so files keep their owners. (A map of all numbers would look like no namespace at all.)   APPTAINER=/path all_capabilities.sh arguments...
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkfifo "$folder/mapped"
unshare --user sh -c 'read -r _ <"$0"; exec "$@"' "$folder/mapped" "$APPTAINER" "$@" <&0 &
child=$!
trap 'kill -TERM "$child"' TERM INT
while [ "$(readlink "/proc/$child/ns/user" || echo gone)" = "$(readlink /proc/self/ns/user)" ]; do sleep 0.01; done
for map in uid_map gid_map; do echo "0 0 65536" >"/proc/$child/$map"; done
echo >"$folder/mapped"
wait "$child"
