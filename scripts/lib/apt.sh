# Sourced: installs Debian's packages where that is allowed.
# shellcheck shell=bash

# Set AS_ROOT to the words that make a command run as root; fail if there are none without a password.
may_be_root() {
    AS_ROOT=()
    [ "$(id -u)" -eq 0 ] && return
    sudo -n true >/dev/null 2>&1 && AS_ROOT=(sudo -n)
}

as_root() {
    # "${a[@]+...}": an empty array counts as unset under `set -u` in old versions of bash.
    ${AS_ROOT[@]+"${AS_ROOT[@]}"} "$@"
}

# apt_install PACKAGE...: as root; the lists of packages are fetched only when it does not work without.
apt_install() {
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@")
    as_root "${install[@]}" >/dev/null 2>&1 && return
    as_root apt-get update -qq || true
    as_root "${install[@]}" >/dev/null
}
