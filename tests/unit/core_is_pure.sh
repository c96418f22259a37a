#!/bin/sh
# The core needs nothing from outside but these: no clock, file, socket, heap or callback.
# What a hardened or optimising compiler makes of them counts as the same.
set -eu

archive=${1:-core/libcore.a}
allowed=$(sort <<'NAMES'
memcpy
memset
memcmp
memmove
bcmp
__memcpy_chk
__memset_chk
__memmove_chk
__assert_fail
__stack_chk_fail
NAMES
)

# libtool's NM is a command with an option.
names() {
    ${NM:-nm} "$@" "$archive" | awk 'NF >= 2 && $(NF - 1) ~ /^[A-Za-z]$/ { print $NF }' | sort -u
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
names --undefined-only >"$folder/needed"
names --defined-only >"$folder/own"
echo "$allowed" >"$folder/allowed"

echo "1..2"
test -s "$folder/own" || echo "# $archive defines nothing"
test -s "$folder/own" && echo "ok 1 - nm reads the core" || echo "not ok 1 - nm reads the core"

foreign=$(comm -23 "$folder/needed" "$folder/own" | comm -23 - "$folder/allowed")
if [ -z "$foreign" ]; then
    echo "ok 2 - the core needs only memory functions and assert"
else
    echo "not ok 2 - the core needs only memory functions and assert"
    for name in $foreign; do
        echo "# needed from outside: $name"
    done
fi
