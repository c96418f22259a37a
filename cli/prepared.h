/*
 * cli/prepared.h - everything that is prepared in one database, as its agent says.
 */
#ifndef ASSENT_CLI_PREPARED_H
#define ASSENT_CLI_PREPARED_H

#include "cli/call.h"

/*
 * Ask the agent at url what is prepared, page by page, until nothing is left; brief: without locks
 * and whom they block. Waits at most wait_ms for each page.
 *
 * Returns EXIT_DONE with the whole list in one *answer, which the caller deletes; else the exit
 * code with *failure. A part is never returned: an agent of an older version, which says no more
 * than it has room for, is refused where it may have left something out.
 */
int prepared_ask(const char *url, bool brief, uint32_t wait_ms, cJSON **answer,
                 struct failure *failure);

#endif
