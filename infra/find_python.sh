#!/bin/sh
# Prints the first Python that will do, or says what is missing. PYTHON, if set, is the only candidate.
check='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
seen=
for name in ${PYTHON:-python3.11 python3.12 python3.13 python3 python}; do
    if "$name" -c "$check" >/dev/null 2>&1; then
        echo "$name"
        exit 0
    fi
    version=$("$name" --version 2>/dev/null) && seen="$seen; here $name is $version"
done
echo "flightdeck: needs Python 3.11, 3.12 or 3.13 with venv and pip$seen." \
    "Install one (on Debian and Ubuntu with python3-venv), or run: make PYTHON=/path/to/python" >&2
exit 1
