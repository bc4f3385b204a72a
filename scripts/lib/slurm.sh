# Sourced by scripts/test, after venv.sh: the real SLURM of the tests marked slurm.
# shellcheck shell=bash

POLICY=/usr/sbin/policy-rc.d

missing_slurm() {
    local packages
    packages="$("$PY" "$ROOT/scripts/slurm-sandbox" missing)"
    # shellcheck disable=SC2086 # words, on one line
    echo $packages
}

# Install what the sandbox lacks, where that needs no password; without, those tests are skipped.
install_slurm() {
    local packages
    packages="$(missing_slurm)"
    [ -n "$packages" ] || return 0
    command -v apt-get >/dev/null && may_be_root || return 0
    echo "Installing $packages (the real SLURM of some tests; no service is started)"
    # shellcheck disable=SC2086 # words
    without_services apt_install $packages || echo "apt-get could not install them; its words are above." >&2
    # Nor may they start with the machine. The sandbox has servers of its own.
    if [ -d /run/systemd/system ]; then
        # shellcheck disable=SC2086 # words
        as_root systemctl --quiet disable $(services_of $packages) || true
    fi
}

# Run a command during which no package starts a service: Debian's policy for that is a program.
without_services() {
    [ ! -e "$POLICY" ] || { "$@"; return; }
    trap 'as_root rm -f "$POLICY"' EXIT
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$POLICY" >/dev/null
    as_root chmod 755 "$POLICY"
    local status=0
    "$@" || status=$?
    as_root rm -f "$POLICY"
    trap - EXIT
    return "$status"
}

services_of() {
    local package
    for package in "$@"; do
        case "$package" in
            mariadb-server) echo mariadb ;;
            slurm-client) ;;
            *) echo "$package" ;;
        esac
    done
}

# Say which tests were skipped because SLURM is missing, and what to type.
print_missing_slurm() {
    local packages
    packages="$(missing_slurm)"
    [ -n "$packages" ] || return 0
    {
        echo "The tests marked slurm did not run, since SLURM is not installed. They are in:"
        (cd "$ROOT" && grep -rlE --include='test_*.py' '^(@|pytestmark = .*|    )pytest\.mark\.slurm' tests | sed 's/^/  /')
        printf '%s\n' "Type:" "  sudo apt-get install $packages" "then run this script again."
    } >&2
}
