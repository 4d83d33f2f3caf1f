/* Finding and building what Litestream 0.3 left. Private to replica/; docs/format.md 5. */
#ifndef REPLICA_V03_H
#define REPLICA_V03_H

#include "format/v03.h"
#include "replica/fetch.h"

/* A file's level in `objects`; its min_txid is the index, its max_txid the offset of a segment. */
enum { V03_SNAPSHOT, V03_SEGMENT };

/* The objects that make a state: a snapshot, then the segments to replay. */
struct v03_plan {
    char generation[V03_GENERATION_SIZE];
    struct listing objects; /* empty: there is no backup, or none by that time */
    size_t snapshots;       /* of the generation, as are: */
    int64_t created_ms, updated_ms;
    char stranger[64]; /* "": none */
    int64_t first_ms;  /* of the first snapshot that is known; INT64_MAX: there is none */
    int64_t newest_ms; /* of the plan's objects */
};

/* `time_ms` 0: the newest; nothing unless it has an object newer than `than_ms`. What is found may
 * still turn out to lack objects. Free what is in `objects`, also after a failure. */
MUST_USE rc v03_plan_make(struct store *, int64_t time_ms, int64_t than_ms, struct v03_plan *,
                          struct err *);
/* Into f->out, proven as far as there are checksums. In the place of all of fetch_load to
 * fetch_pages. */
MUST_USE rc v03_fetch(const struct v03_plan *, struct fetch *f, struct err *);

#endif
