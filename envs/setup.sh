#!/usr/bin/env bash
# Set this machine up: GL libraries, .venv, the locked packages, the `dtr` command. Asks nothing; takes a second when nothing changed.
set -euo pipefail
cd -P "$(dirname "$0")/.."
exec </dev/null
venv=.venv
stamp=$venv/dtr-installed # what was installed and in which folder; 'unfinished' until all of it is
log=logs/setup-apt.log
say() { printf 'setup: %s\n' "$*" >&2; }
stop() { printf 'setup: error: %s\n' "$*" >&2; exit 2; }
apt_install() { # as root install Debian packages, else say which are missing and why
    local why=$1; shift
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        stop "$why: ask an administrator for 'apt-get install $*' (or your system's equivalent), then run the same command again."
    fi
    say "$why: installing $*"
    export DEBIAN_FRONTEND=noninteractive
    mkdir -p "${log%/*}"
    if ! { apt-get install -y -qq "$@" || { apt-get update -qq && apt-get install -y -qq "$@"; }; } >"$log" 2>&1; then
        tail -5 "$log" >&2
        stop "$why, and 'apt-get install $*' failed (log: $log): install them by hand, then run the same command again."
    fi
    rm -f "$log"
}
python_fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; }

# 1. GL: software rendering through EGL (Mesa). A library is there when the dynamic loader finds it.
gl_missing() {
    local found library
    found=$(ldconfig -p 2>/dev/null || /sbin/ldconfig -p 2>/dev/null || true)
    for library in libEGL.so.1 libOpenGL.so.0; do grep -q "$library" <<<"$found" || return 0; done
    grep -Eq 'libEGL_(mesa|nvidia)\.so' <<<"$found" || return 0
    return 1
}
if gl_missing; then
    apt_install "rendering needs EGL" libegl1 libegl-mesa0 libgl1-mesa-dri libopengl0
fi

# 2. The virtual environment. One without pip was interrupted while it was made. One that came with a copied checkout is no use either:
# the first line of each of its scripts names the Python of the old folder.
usable() {
    [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 || return 1
    ! [ -s "$stamp" ] || [ "$(cut -d' ' -f2- "$stamp")" = "$PWD" ]
}
if ! usable; then
    PATH=${PATH//"$PWD/$venv/bin:"/} # make puts it first, and what is cleared must not be what clears
    python=
    for candidate in ${PYTHON:-python3 python3.11 python3.12 python3.13}; do
        if command -v "$candidate" >/dev/null && python_fits "$candidate"; then python=$candidate; break; fi
    done
    [ -n "$python" ] || stop "Python 3.11, 3.12 or 3.13 is needed, and ${PYTHON:-python3} is $(${PYTHON:-python3} --version 2>&1 || true): install one, or name it with PYTHON=/path/to/python3.11."
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        apt_install "$python has no venv module" "python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    fi
    say "creating $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
    printf 'unfinished %s\n' "$PWD" >"$stamp"
fi
python_fits "$venv/bin/python" || stop "$venv holds $("$venv/bin/python" --version 2>&1): move it away and run the same command again."

# 3. The packages. The stamp names their lock only once all are there, so an interrupted set-up goes on.
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@"; }
wanted=$(cat envs/lock.txt pyproject.toml envs/setup.sh | sha256sum | cut -d' ' -f1)" $PWD"
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$wanted" ]; then
    say "installing $(grep -c == envs/lock.txt) locked packages (a few minutes the first time)"
    pip install --quiet --no-deps -r envs/lock.txt
    # A CPU build of torch is complete now; a CUDA build pins further libraries itself: let pip add those, and nothing else.
    pip install --quiet --constraint envs/lock.txt 'torch==2.13.0'
    pip install --quiet --no-deps --no-build-isolation --editable .
    "$venv/bin/python" -m compileall -q "$venv"/lib/python*/site-packages/{robosuite,libero,bddl} >/dev/null 2>&1 || true
    printf '%s\n' "$wanted" >"$stamp"
    say "done"
fi
