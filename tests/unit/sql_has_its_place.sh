#!/bin/sh
# All that an agent says to PostgreSQL is in rm-agent/postgres/: no other file of it holds SQL or
# names libpq, but for those that still do. The list may only become shorter.
set -eu
LC_ALL=C
export LC_ALL

source=${srcdir:-.}/rm-agent
still=$(sort <<'FILES'
config.c
state_file.c
talk/adopt.c
talk/book.h
talk/peers.c
talk/peers.h
talk/recall.c
talk/tms.c
votes/acceptors.c
votes/ballots.c
FILES
)

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
pattern='"[^"]*(SELECT |UPDATE |INSERT |DELETE |COMMIT PREPARED|ROLLBACK PREPARED|PREPARE TRANSACTION)'
pattern="$pattern|libpq-fe|(^|[^A-Za-z_])PQ[a-z]+[A-Za-z]*\\(|PGresult"
echo "$still" >"$folder/still"
(cd "$source" && find . -name '*.[ch]' | sed 's,^\./,,' | sort | xargs grep -lE "$pattern") >"$folder/all"
grep -v '^postgres/' "$folder/all" | sort >"$folder/found"

echo "1..3"
grep -q '^postgres/greeting.c$' "$folder/all" && echo "ok 1 - the search finds SQL" ||
    echo "not ok 1 - the search finds SQL"

say() {
    if [ -z "$2" ]; then
        echo "ok $1"
    else
        echo "not ok $1"
        echo "$2" | sed 's/^/# /'
    fi
}

say "2 - no other file holds SQL or names libpq" "$(comm -13 "$folder/still" "$folder/found")"
say "3 - those that were left still do" "$(comm -23 "$folder/still" "$folder/found")"
