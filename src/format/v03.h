/* Replicas of Litestream 0.3: names <-> structs, and a log as its segments stream by. No I/O.
 *
 * Source: docs/format.md 5. A generation has snapshots (the database as it was while the log of
 * that index was written) and, for each index, the segments that make a whole SQLite log.
 *
 *     struct v03_log log = {0};
 *     struct rd in = rd_of(bytes, n);
 *     do TRY(v03_log_next(&log, &in, &frame, &page, e));
 *     while (frame.pgno);
 */
#ifndef FORMAT_V03_H
#define FORMAT_V03_H

#include "base/bytes.h"
#include "base/limits.h"
#include "format/names.h"
#include "format/wal.h"

#define V03_GENERATION_SIZE 17 /* 16 lowercase hex digits and the final NUL */

bool v03_is_generation(const char *name);
/* What its directory says: `segment`, else a snapshot. False for any other name than v03_key gives.
 * `offset`: where in the log of its index a segment begins; 0 for a snapshot. */
bool v03_name_parse(const char *name, bool segment, uint32_t *index, uint64_t *offset);
void v03_key(const char *generation, bool segment, uint32_t index, uint64_t offset,
             char out[KEY_SIZE]);

/* The log of one index; zero-initialised at its begin. */
struct v03_log {
    struct wal_header header; /* page_size 0: not read yet */
    uint32_t sum[2];          /* the checksum so far */
    uint64_t size;            /* bytes so far: where the next segment begins */
    size_t held;              /* of a header or frame that is not whole */
    uint8_t part[WAL_FRAME_HEADER_SIZE + LIMIT_PAGE_SIZE];
};
/* Takes bytes up to the end of one frame, checked: its salts, its checksum, hence all before it.
 * frame->pgno 0: all bytes are taken. `page` is valid until the next call. */
MUST_USE rc v03_log_next(struct v03_log *, struct rd *in, struct wal_frame_header *frame,
                         const uint8_t **page, struct err *e);

#endif
