#!/bin/sh
# doc/errors.md says what core/base/errors.h says.
set -u

echo "1..1"
page=${srcdir:-.}/doc/errors.md
if scripts/errors-page | cmp -s - "$page"; then
    echo "ok 1 - doc/errors.md is what scripts/errors_page.c prints"
else
    echo "not ok 1 - doc/errors.md is what scripts/errors_page.c prints"
    echo "# mend it by: build/scripts/errors-page >doc/errors.md"
fi
