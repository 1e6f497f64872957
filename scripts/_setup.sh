# Sourced by the scripts beside it. set_up makes .venv and installs the pinned packages into it,
# again only when pyproject.toml, constraints.txt or the Python changed.
#
#   PYTHON=...               which Python to use (3.11 or newer) instead of looking for one
#   DHTNODE_TORCH_INDEX=URL  package index to take torch from, for example PyTorch's own CPU index:
#                            the default build for Linux brings 3 GB of CUDA along

set -euo pipefail

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="$ROOT/.venv"

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    die "no Python 3.11 or newer found; install one, or name it: PYTHON=/path/to/python3.11 $0"
}

# set_up [EXTRA]: afterwards $VENV/bin has everything, EXTRA ("test", "bench") included.
set_up() {
    local extra="${1:-base}" python wanted stamp started=$SECONDS
    [ -x "$VENV/bin/python" ] && python="$VENV/bin/python" || python="$(find_python)"
    wanted="$(cat "$ROOT/pyproject.toml" "$ROOT/constraints.txt" <("$python" --version) | cksum)"
    for stamp in "$extra" $([ "$extra" = base ] && echo test bench); do
        [ "$(cat "$VENV/.installed-$stamp" 2>/dev/null)" = "$wanted" ] && return 0
    done
    if [ ! -x "$VENV/bin/python" ]; then
        say "making .venv with $python"
        "$python" -m venv "$VENV" || die "cannot make .venv; on Debian and Ubuntu: apt-get install python3-venv"
    fi
    say "installing packages, some minutes the first time (torch alone is 200 MB or more)"
    if [ -n "${DHTNODE_TORCH_INDEX:-}" ]; then
        pip_install --constraint "$ROOT/constraints.txt" --index-url "$DHTNODE_TORCH_INDEX" torch
    fi
    local target="$ROOT"
    [ "$extra" = base ] || target="$ROOT[$extra]"
    if can_build; then
        pip_install --constraint "$ROOT/constraints.txt" --editable "$target"
    else
        # One pinned package, fastecdsa 2.3.2, comes as C source only. libp2p asks for just that
        # version but works with 3.0.1, which comes built; pip must not be asked about it then.
        say "no C compiler with gmp.h here: taking a built fastecdsa"
        sed 's/^fastecdsa==.*/fastecdsa==3.0.1/' "$ROOT/constraints.txt" > "$VENV/pins.txt"
        pip_install --no-deps --requirement "$VENV/pins.txt"
        pip_install --no-deps --editable "$ROOT"
    fi
    echo "$wanted" > "$VENV/.installed-$extra"
    say "installed in $((SECONDS - started)) s"
}

can_build() {
    local headers
    headers="$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["include"])')"
    printf '#include <Python.h>\n#include <gmp.h>\n' | cc -E -I "$headers" - >/dev/null 2>&1
}

pip_install() {
    "$VENV/bin/python" -m pip install -qq --disable-pip-version-check "$@" ||
        die "installing failed, see above; it goes on from there when started again"
}
