/* Shared by the files of this room. */
#ifndef REPLICA_INTERNAL_H
#define REPLICA_INTERNAL_H

#include "replica/replica.h"

/* The encoded page index of one file. */
struct index {
    uint8_t *bytes;
    size_t size;
    uint64_t at; /* where it begins in the file */
};
void index_deinit(struct index *);
/* One request for a small file, else one for the tail, one for a long index, one for the header.
 * `header` may be NULL. */
MUST_USE rc replica_load(struct store *, const struct replica_file *, struct ltx_header *header,
                         struct index *, struct err *);

/* Puts the key before the words of a failure. */
MUST_USE rc replica_name(const struct store *, const struct replica_file *, rc, struct err *);
/* Streams a whole object through the decoder; the events get what it holds, which is good only if
 * this then succeeds. `at_once`: bytes of one read, and of memory; 0: what suits the store. */
MUST_USE rc replica_read_whole(struct store *, const struct replica_file *, size_t at_once,
                               struct ltx_reader_events, uint64_t *checksum, struct err *);

/* Retention never takes it: a fence (level 0, no pages), or level 0's TXID 1. */
bool file_is_permanent(const struct replica_file *);
bool file_is_snapshot(const struct replica_file *);
/* `next` follows `f` in a listing: whether files of their level are missing between them. Not
 * before a permanent one's successor, because all between may have been pruned. */
bool level_has_gap(const struct replica_file *f, const struct replica_file *next);
MUST_USE rc plan_too_early(int64_t first_ms, struct err *); /* RC_NOTFOUND */
/* Of a database's file, by its first bytes and its length. */
MUST_USE rc replica_database_size(struct env *, struct file *, uint32_t *page_size,
                                  uint32_t *page_count, struct err *);
/* Adds what the plans of pinned TXIDs use. A pin whose state is gone keeps nothing. */
MUST_USE rc listing_add_pinned(const struct listing *, const uint64_t *pins, size_t count,
                               struct listing *keep, struct err *);
/* Many: append in any order, then sort. */
MUST_USE rc listing_append(struct listing *, const struct replica_file *, struct err *);
void listing_sort(struct listing *);
/* Where the files of each level begin; those of the last end at from[LIMIT_LEVELS]. */
void listing_levels(const struct listing *, size_t from[LIMIT_LEVELS + 1]);
void progress_phase(struct progress *, int phase); /* NULL is fine */
#define PARALLEL_MOST 64
/* How many threads to use where `asked` were asked for; 0: the number of CPUs, at least 4. */
int replica_parallel(int asked);
bool listing_has(const struct listing *, const struct replica_file *);
/* The states that can be restored next to `txid`; 0 where there is none. */
MUST_USE rc plan_neighbours(const struct listing *, uint64_t txid, uint64_t *before,
                            uint64_t *after, struct err *);

/* replica_verify of the files listed, and no others. */
MUST_USE rc verify_listing(struct store *, const struct listing *, int parallel, struct progress *,
                           struct verify_result *, struct err *);

#endif
