/* Before an application starts: its database comes from a replica if it is not here, or up to the
 * replica's tip if it is behind. */
#ifndef CLI_PREPARE_H
#define CLI_PREPARE_H

#include "base/log.h"
#include "object/object.h"

struct prepare {
    struct env *env;
    struct log *log;
    const char *db;
    char **urls;
    int url_count;
    int64_t wait_ns; /* for destinations that do not answer */
    bool strict;     /* all of them must */
    /* found */
    bool restored;
    /* The other destinations hold older states of what was restored, written by the same run: the
     * database is right, whatever they hold. */
    bool others_are_older;
};

/* The database is absent. From the destination whose last state is the newest; the first of equals.
 * No destination holds a backup: ok(), and not restored. RC_TIMEOUT: one did not answer, and it
 * alone may hold the backup. RC_CANCELLED: SIGINT or SIGTERM. */
MUST_USE rc prepare_restore(struct prepare *, struct err *);
/* A start said RC_BEHIND. RC_NOTFOUND: it is behind none of them. */
MUST_USE rc prepare_fast_forward(struct prepare *, struct err *);

void log_requests(struct log *,
                  const struct store *); /* the event `requests`; none made: nothing */

#endif
