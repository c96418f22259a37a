#!/bin/sh
# Every transcript beside this script holds, as TAP.
set -u

stories=${srcdir:-.}/tests/transcript
set -- "$stories"/*.txt
echo "1..$#"
number=0
for story; do
    number=$((number + 1))
    name=$(basename "$story" .txt)
    if output=$(tests/transcript/run "$story" 2>&1); then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name"
        echo "$output" | sed 's/^/# /'
    fi
done
