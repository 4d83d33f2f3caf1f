/* Who replicates a file: a source in this process, or else the process beside.
 *
 * Errors begin with their reason: "timeout: ...", "no replicator: ...". Any thread. */
#ifndef EXT_BESIDE_H
#define EXT_BESIDE_H

#include "base/rc.h"
#include "source/position.h"

#include <stdint.h>

MUST_USE rc beside_wait(const char *path, const struct position *, int64_t timeout_ms, bool flush,
                        struct err *e);
/* *json is to be freed with free(). */
MUST_USE rc beside_status(const char *path, char **json, struct err *e);

#endif
