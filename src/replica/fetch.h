/* Getting the pages of a plan's files into an open file. Private to replica/.
 *
 * In this order: fill in `store` to `base_pages`, fetch_load, fetch_claim, fetch_pages;
 * fetch_deinit always. One thread calls; the work is spread over env->parallel.
 */
#ifndef REPLICA_FETCH_H
#define REPLICA_FETCH_H

#include "replica/internal.h"

struct fetch_file {
    struct replica_file file;
    struct ltx_header header;
    struct index index;
    bool whole; /* all of it is read, so that its checksum covers what is taken from it */
};

struct range;
struct fetch {
    struct store *store;
    struct progress *progress; /* may be NULL */
    int parallel;
    struct fetch_file *files; /* in order of application; owned */
    int file_count;
    struct file *out;    /* not owned */
    uint32_t base_pages; /* in `out` already; these may come from no file */

    uint32_t page_size, page_count; /* of the result: from the last file */
    uint64_t sum;                   /* which its header promises; 0: none */
    atomic_ullong sum_fetched;      /* of the pages written */
    atomic_ullong bytes_fetched, bytes_written;

    struct range *ranges;
    int range_count, range_room;
    struct bitmap claimed;
    atomic_int next_range;
    atomic_bool failed, vanished; /* vanished: by a planned object that is not there any more */
    bool disagree; /* files that are each readable do not fit together: which is to blame? */
    rc result;
    struct err err;
};

/* Headers and page indexes. */
MUST_USE rc fetch_load(struct fetch *, struct err *);
/* Which page comes from where. */
MUST_USE rc fetch_claim(struct fetch *, struct err *);
MUST_USE rc fetch_pages(struct fetch *, struct err *);
/* The sum over all of `out`, as it is. */
MUST_USE rc fetch_sum_output(struct fetch *, uint64_t *sum, struct err *);
/* For workers: the failure to get a listed object stops all; has any, or a person? */
void fetch_fail_object(struct fetch *, rc, const struct err *);
MUST_USE rc fetch_outcome(struct fetch *, struct err *);
void fetch_deinit(struct fetch *);

#endif
