#!/bin/sh
# No function of the daemons has its name twice, static ones too: whoever reads a name in one file,
# a debugger or a profile knows whose it is. Each program has its own main().
#
# What is defined stands in the form that .clang-format gives it: the name at the left edge, the
# opening brace alone on its line.
set -eu

source=${srcdir:-.}
# So many names may stand twice or more: none.
allowance=0

definitions() {
    cd "$source"
    find core common log tm rm-agent -name '*.[ch]' | sort | xargs awk '
        FNR == 1 { text = "" }
        /^[A-Za-z_]/ && text == "" { text = $0; if (text ~ /;/) text = ""; next }
        /^\{/ {
            sub(/__attribute__\(\([^()]*(\([^()]*\))?[^()]*\)\)/, "", text)
            if (match(text, /[A-Za-z_0-9]+\(/) && text !~ /^(struct|enum|union) [a-z_0-9]* *$/)
                print substr(text, RSTART, RLENGTH - 1), FILENAME
            text = ""
            next
        }
        text != "" { text = text " " $0; if ($0 ~ /;[ \t]*$/ || $0 ~ /^[#}]/) text = "" }'
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(definitions) | sort -u >"$folder/names"
awk '$1 != "main" { files[$1] = files[$1] " " $2; count[$1]++ }
     END { for (name in count) if (count[name] > 1) print name ":" files[name] }' \
    "$folder/names" | sort >"$folder/twice"
twice=$(wc -l <"$folder/twice")

echo "1..2"
if grep -q '^coordinator_init core/' "$folder/names"; then
    echo "ok 1 - functions are found"
else
    echo "not ok 1 - functions are found"
fi
if [ "$twice" -le "$allowance" ]; then
    echo "ok 2 - no function has its name twice"
else
    echo "not ok 2 - no function has its name twice"
fi
echo "# $(wc -l <"$folder/names") functions; $twice names stand twice or more ($allowance may)"
sed 's/^/# /' "$folder/twice"
