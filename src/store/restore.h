/* Before an application starts: its database comes from a replica if it is not here, or up to the
 * replica's tip if it is behind. For hf_restore_if_missing, and `holdfast replicate -exec`. */
#ifndef STORE_RESTORE_H
#define STORE_RESTORE_H

#include "object/object.h"
#include "replica/replica.h"

#define RESTORE_URLS 8

struct restoration {
    struct env *env;
    const char *db;
    const char *const *urls;
    int url_count;
    int64_t wait_ns; /* for destinations that do not answer */
    bool strict;     /* all of them must */
    void (*event)(void *arg, const char *name, const char *const *pairs, int count);
    void *event_arg;
    struct progress progress; /* its `cancel` ends all of this with RC_CANCELLED */
    /* found */
    bool restored;
    /* Where another destination holds an older state of what was restored, written by the same run:
     * its TXID. Up to there the database is right, whatever it holds (source_older). 0: it holds
     * none, or it is not known to be older. */
    uint64_t older[RESTORE_URLS];
};

/* There is no file, or an empty one. From the destination whose last state is the newest; the first
 * of equals. No destination holds a backup: ok(), and not restored. RC_TIMEOUT: one did not answer,
 * and it alone may hold the backup. */
MUST_USE rc restore_missing(struct restoration *, struct err *);
/* A start said RC_BEHIND. RC_NOTFOUND: it is behind none of them. */
MUST_USE rc restore_fast_forward(struct restoration *, struct err *);

/* The event `requests`: how many of each kind were sent; none: nothing is told. */
void tell_requests(const struct store *,
                   void (*event)(void *, const char *, const char *const *, int), void *arg);

/* Whether this process restored the file, so that it need not be told to take the replica over.
 * older[i] of urls[i], as above. */
bool restored_here(const struct file_stat *, const char *const *urls, uint64_t older[RESTORE_URLS]);

#endif
