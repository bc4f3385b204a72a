# Sourced by scripts/test, after venv.sh: CalculiX, the finite-element program of an example.
# shellcheck shell=bash

# Install it where that needs no password; without, the tests of that example are skipped.
install_calculix() {
    command -v ccx >/dev/null && return
    command -v apt-get >/dev/null && may_be_root || return 0
    echo "Installing calculix-ccx (the finite-element program of an example)"
    apt_install calculix-ccx || echo "apt-get could not install it; its words are above." >&2
}

print_missing_calculix() {
    command -v ccx >/dev/null && return
    echo "The tests of docs/examples/plate_calculix.py did not run. Type: sudo apt-get install calculix-ccx" >&2
}
