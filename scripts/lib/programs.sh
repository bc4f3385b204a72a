# Sourced by scripts/test, after venv.sh: other programs that some tests need, each with its Debian package and its use.
# shellcheck shell=bash

PROGRAMS=(
    "ccx calculix-ccx docs/examples/plate_calculix.py"
    "bindfs bindfs two mounts of one folder"
    "chromium-headless-shell chromium-headless-shell the report in a browser"
)

# Print program, package and use of those that are missing, one per line.
missing_programs() {
    local program
    for program in "${PROGRAMS[@]}"; do
        command -v "${program%% *}" >/dev/null || echo "$program"
    done
}

# Install them where that needs no password; without, their tests are skipped.
install_programs() {
    local package
    command -v apt-get >/dev/null && may_be_root || return 0
    missing_programs | while read -r _ package _; do
        echo "Installing $package (a program that some tests use)"
        apt_install "$package" </dev/null || echo "apt-get could not install it; its words are above." >&2
    done
}

print_missing_programs() {
    local package use
    missing_programs | while read -r _ package use; do
        echo "The tests of $use did not run. Type: sudo apt-get install $package" >&2
    done
}
