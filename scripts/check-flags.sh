#!/bin/sh
# Refuse arguments that `ingrain serve` does not take, before `make run` installs anything. The flags are those of
# docs/settings.md, which `make docs` writes. Values are checked by the command itself.
set -eu
flags=$(grep -o '`--[a-z0-9-]*`' "$(dirname "$0")/../docs/settings.md" | tr -d '`')
first=yes
for word in "$@"; do
    case $word in
    -h | --help) ;;
    -*)
        # Like the command, take the beginning of a flag for the flag.
        if ! echo "$flags" | grep -q -e "^${word%%=*}"; then
            printf 'ARGS: ingrain serve has no flag %s. It has:\n%s\n' "${word%%=*}" "$(echo "$flags" | paste -s -d ' ' | fold -s -w 110)" >&2
            exit 2
        fi
        ;;
    *)
        if [ $first = yes ]; then
            printf 'ARGS: %s is no flag of ingrain serve. Example: make run ARGS="--port 9000"\n' "$word" >&2
            exit 2
        fi
        ;;
    esac
    first=no
done
