# Sourced by the scripts beside it: a virtual environment that holds this checkout.
# POSIX sh. Expects $root, the checkout; reads $PYTHON, the interpreter to use.

python=${PYTHON:-python3}

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# The Python is there and recent enough.
check_python() {
    command -v "$python" >/dev/null 2>&1 ||
        die "there is no $python here; install Python 3.8 or newer, or name one with PYTHON=..."
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' ||
        die "$python is $("$python" -V 2>&1), but Python 3.8 or newer is needed; name one with PYTHON=..."
}

# Debian keeps what `python -m venv` needs in a package of its own.
python_lacks_venv() {
    ! "$python" -c 'import ensurepip, venv' 2>/dev/null
}

# The package of Debian or Ubuntu that has it.
python_venv_package() {
    "$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
}

# Only apt-get's complaints are of interest.
apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" </dev/null >/dev/null
}

# On Debian and Ubuntu root can have it without asking anybody.
install_venv() {
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "installing $(python_venv_package)"
        apt update || true
        apt install --yes --no-install-recommends "$(python_venv_package)" || true
    fi
    if python_lacks_venv; then
        die "$python cannot make virtual environments: install $(python_venv_package)"
    fi
}

# make_venv DIRECTORY [EXTRAS]: an environment in which `import ovl1` is this checkout. Made anew
# when the interpreter or what has to be installed has changed, otherwise used as it is.
make_venv() {
    made_from=$1/made-from
    wanted=$("$python" -c 'import sys; print(sys.executable, sys.version)' &&
        echo "$root $2" && cat "$root/setup.cfg" "$root/pyproject.toml")
    if [ -f "$made_from" ] && [ "$(cat "$made_from")" = "$wanted" ]; then
        return
    fi
    if python_lacks_venv; then install_venv; fi
    if [ -e "$1" ] && [ ! -f "$1/pyvenv.cfg" ]; then
        die "$1 exists and is no virtual environment; move it away or choose another --venv"
    fi
    echo "installing into $1"
    "$python" -m venv --clear "$1" || die "cannot make a virtual environment in $1"
    "$1/bin/python" -m pip install -qq --disable-pip-version-check --editable "$root$2" ||
        die "pip could not install ovl1; its message is above (is the network there?)"
    printf '%s\n' "$wanted" >"$made_from"
}
