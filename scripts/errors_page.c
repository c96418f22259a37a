/*
 * scripts/errors_page.c - prints doc/errors.md from the one list of errors, core/base/errors.h.
 */
#include <stdio.h>

#include "common/error.h"

int main(void)
{
    puts("# Errors\n"
         "\n"
         "Every reply is `{\"ok\":true,…}` or `{\"ok\":false,\"error\":{\"code\":…}}`. The code is "
         "one\n"
         "of these words, and stays what it is; the message, detail and hint beside it are for\n"
         "people. Where *again* says yes, the same request may simply be sent again.\n"
         "\n"
         "This page is printed by `scripts/errors_page.c` from `core/base/errors.h`.\n"
         "\n"
         "| code | HTTP | again | what it means, and what to do |\n"
         "|---|---|---|---|");
    for (int code = ERR_NONE + 1; code < ERR_CODES; code++)
        printf("| `%s` | %d | %s | %s |\n", error_word((enum error_code)code),
               error_http_status((enum error_code)code),
               error_retryable((enum error_code)code) ? "yes" : "no",
               error_meaning((enum error_code)code));
    return 0;
}
