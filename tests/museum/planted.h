/* Which bug is planted: the first thing that each file of the museum's copy includes.
 *
 * A patch of the museum puts its bug behind `if (planted("NAME"))`, and HOLDFAST_BUG=NAME lets it
 * out. So one build has all of them, and without that word none. */
#ifndef MUSEUM_PLANTED_H
#define MUSEUM_PLANTED_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static inline bool planted(const char *name) {
    const char *wanted = getenv("HOLDFAST_BUG");
    return wanted && strcmp(wanted, name) == 0;
}

#endif
