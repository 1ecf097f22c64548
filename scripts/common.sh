# What scripts/demo and scripts/test share: a Python, a virtual environment that is made once, and Debian packages.
# Sourced, with the working directory at the root of the project.

say() { printf '%s\n' "$*" >&2; }

# Prints the path of a Python that will do: $PYTHON, else the first of python3 and its versioned names.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    say "offhook needs Python 3.11 or newer; set PYTHON to one."
    return 1
}

# make_venv FOLDER LOCK: installs what the lock file names, by its hashes, and the project itself.
# Quick when nothing changed since the last time.
make_venv() {
    local venv=$1 lock=$2 python stamp state
    stamp="$venv/.installed-$(basename "$lock")"
    state=$(cat "$lock" pyproject.toml | cksum)
    [ -x "$venv/bin/python" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$state" ] && return
    if [ ! -x "$venv/bin/python" ]; then
        python=$(find_python)
        say "Making $venv with $("$python" --version) ..."
        # Without the venv module's own pip (Debian splits it off), the pip that is there installs into the new folder.
        "$python" -m venv "$venv" 2>/dev/null || "$python" -m venv --without-pip "$venv"
    fi
    say "Installing what $lock names ..."
    install_into "$venv" --require-hashes -r "$lock"
    install_into "$venv" --no-deps --no-build-isolation -e .
    printf '%s' "$state" >"$stamp"
}

install_into() {
    local venv=$1
    shift
    local flags=(-qq --disable-pip-version-check --no-warn-script-location)
    if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        "$venv/bin/python" -m pip install "${flags[@]}" "$@"
    else
        "$(find_python)" -m pip --python "$venv/bin/python" install "${flags[@]}" "$@"
    fi
}

# debian_packages PROGRAM=PACKAGE...: installs the packages whose program is missing, where apt can.
debian_packages() {
    local pair missing=() run=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair#*=}")
    done
    [ "${#missing[@]}" -eq 0 ] && return
    command -v apt-get >/dev/null 2>&1 || return 0
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || return 0
        run=(sudo -n)
    fi
    say "Installing ${missing[*]} ..."
    "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" \
        >/dev/null 2>&1 && return
    "${run[@]}" apt-get update -q >/dev/null 2>&1 || true
    "${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" \
        >/dev/null 2>&1 || say "apt could not install ${missing[*]}; the tests that need them will say so."
}
