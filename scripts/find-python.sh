#!/bin/sh
# Print the first Python that Ingrain can be installed with: 3.11 or newer, with the venv module. The versions in
# requirements/constraints.txt were resolved on 3.11, so that one comes first. PYTHON=/path/to/python overrules.
set -eu
for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13 python}; do
    if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        command -v "$candidate"
        exit 0
    fi
done
cat >&2 <<'HELP'
No Python 3.11 or newer with the venv module was found.
Install one (Debian, Ubuntu: apt-get install python3 python3-venv), or name one: make PYTHON=/path/to/python3.11
HELP
exit 1
