#!/usr/bin/env bash
# Slurm for the cluster that the tests bring up, where this is root on Debian and there is none; elsewhere they skip and say why.
set -euo pipefail
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && ! command -v slurmctld >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    { apt-get update -qq && apt-get install -y -qq slurmctld slurmd slurm-client munge; } </dev/null >/dev/null
fi
