#!/bin/sh
# The core's folders are floors: a file includes only what is on its own or a lower one. And its
# files call each other in no circle, however long.
set -eu

source=${srcdir:-.}
archive=${1:-core/libcore.a}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

echo "1..2"

(cd "$source" && grep -n '^#include "core/' core/*/*.[ch]) |
    sed 's|^core/\([a-z]*\)/\([^:]*\):.*"core/\([a-z]*\)/\(.*\)"|\1 \2 \3 \4|' >"$folder/includes"
up=$(awk '
    BEGIN { split("base message ballot participant coordinator", floors); for (i in floors) at[floors[i]] = i }
    !($1 in at) || !($3 in at) || at[$3] > at[$1] { print "# core/" $1 "/" $2 " includes core/" $3 "/" $4 }
    $1 == "coordinator" && $3 == "participant" { print "# core/" $1 "/" $2 " includes core/" $3 "/" $4 }
' "$folder/includes")
if [ -s "$folder/includes" ] && [ -z "$up" ]; then
    echo "ok 1 - includes only go down the floors of the core"
else
    echo "not ok 1 - includes only go down the floors of the core"
    echo "$up"
fi

# "libcore.a:core_step.o: 0000 T name" and "...:  U name": who defines, who needs.
${NM:-nm} -A "$archive" | awk '
    { sub(/^[^:]*:/, ""); file = $1; sub(/:.*/, "", file); sub(/:$/, "", file) }
    $(NF - 1) ~ /^[TDRB]$/ { owner[$NF] = file }
    $(NF - 1) == "U" { needs[++n] = file " " $NF }
    END {
        for (i = 1; i <= n; i++) {
            split(needs[i], need)
            if (need[2] in owner && owner[need[2]] != need[1]) print need[1], owner[need[2]]
        }
    }' | sort -u >"$folder/calls"
if [ -s "$folder/calls" ] && tsort "$folder/calls" >/dev/null 2>"$folder/loop"; then
    echo "ok 2 - no file of the core calls one that calls it"
else
    echo "not ok 2 - no file of the core calls one that calls it"
    sed 's/^/# /' "$folder/loop"
fi
