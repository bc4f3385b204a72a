# Sourced by scripts/demo and scripts/test: makes and fills .venv. Sets ROOT, VENV and PY.
# shellcheck shell=bash

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)"
VENV="$ROOT/.venv"
PY="$VENV/bin/python"
# Otherwise each of many processes would compile all that it imports.
unset PYTHONDONTWRITEBYTECODE
. "$ROOT/scripts/lib/apt.sh"

die() {
    printf '%s\n' "$@" >&2
    exit 1
}

can_make_venvs() {
    "$1" -c 'import venv, ensurepip' >/dev/null 2>&1
}

# Print the first Python on PATH that is new enough; one that can make virtual environments, if there is one.
find_python() {
    local name second_best=""
    for name in python3.13 python3.12 python3.11 python3 python; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        if can_make_venvs "$name"; then
            command -v "$name"
            return
        fi
        second_best="${second_best:-$(command -v "$name")}"
    done
    [ -n "$second_best" ] && echo "$second_best"
}

# Debian and Ubuntu ship Python without ensurepip, in a package of its own.
install_venv_module() {
    local python="$1" package
    package="$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    local by_hand="apt-get install $package"
    command -v apt-get >/dev/null ||
        die "$python cannot make virtual environments: its modules venv and ensurepip are missing." \
            "Install them with your system's package manager, then run this script again."
    may_be_root ||
        die "$python cannot make virtual environments: the package $package is missing." \
            "Type:" "  sudo $by_hand" "then run this script again."
    echo "Installing $package (needed to make .venv)"
    apt_install "$package" || die "Could not install $package. Type:" "  $by_hand" "then run this script again."
}

make_venv() {
    local python
    python="$(find_python)" ||
        die "No Python 3.11 or newer was found (tried python3.13, 3.12, 3.11, python3, python)." \
            "Install one, put it on PATH, then run this script again."
    can_make_venvs "$python" || install_venv_module "$python"
    can_make_venvs "$python" ||
        die "$python still cannot make virtual environments (no modules venv and ensurepip)."
    echo "Making .venv with $("$python" --version) ($python)"
    "$python" -m venv --clear "$VENV"
    printf '%s\n' "$ROOT" >"$VENV/.made-for"
}

# fill_venv NAME PIP-ARGUMENT...: install into .venv, unless that was done since pyproject.toml changed.
fill_venv() {
    local stamp="$VENV/.installed-$1" wanted
    shift
    # An environment knows its own path: one that was made elsewhere (a moved folder) is made again.
    if [ -f "$VENV/.made-for" ] && [ "$(cat "$VENV/.made-for")" != "$ROOT" ]; then
        make_venv
    elif ! "$PY" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        make_venv
    fi
    wanted="$("$PY" - "$ROOT/pyproject.toml" "$@" <<'PYTHON'
import hashlib, pathlib, sys
text = [sys.version, *sys.argv[2:], pathlib.Path(sys.argv[1]).read_text()]
print(hashlib.sha256("\0".join(text).encode()).hexdigest())
PYTHON
)"
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
    echo "Installing into .venv (once; again when pyproject.toml changes)"
    # Python caches the bytecode of what it imports; pip would compile all there is.
    local pip=("$PY" -m pip install --no-compile --quiet --disable-pip-version-check)
    # uv is several times as fast, but does not read pip's configuration. Where it can't install, pip does.
    # --group needs pip 25.1, newer than what Python 3.11 brings.
    (cd "$ROOT" && {
        { "${pip[@]}" uv && UV_HTTP_TIMEOUT=10 "$PY" -m uv pip install --quiet --python "$PY" "$@"; } 2>/dev/null ||
            { "${pip[@]}" --upgrade 'pip>=25.1' && "${pip[@]}" "$@"; }
    }) ||
        die "pip could not install the project's dependencies; its words are above." \
            "Is the package index reachable? Then run this script again."
    printf '%s\n' "$wanted" >"$stamp"
}
