/* SQLite's write-ahead log and wal-index: bytes <-> structs. No I/O.
 *
 * Source: SQLite's file format documentation, "The Write-Ahead Log" (section 4), and "WAL-mode File
 * Format" for the wal-index, whose layout is the same in every SQLite from 3.7.0 on. The WAL is
 * big-endian; the wal-index is in the machine's own order, except the salts, which are bytes.
 */
#ifndef FORMAT_WAL_H
#define FORMAT_WAL_H

#include "base/rc.h"

#include <stddef.h>
#include <stdint.h>

#define WAL_HEADER_SIZE 32u
#define WAL_FRAME_HEADER_SIZE 24u

struct wal_header {
    uint32_t page_size;
    bool big_endian; /* the words that are summed */
    uint32_t salt[2];
    uint32_t checksum[2]; /* that of the first frame goes on from here */
};

/* RC_CORRUPT unless all of it is right, its checksum included. */
MUST_USE rc wal_header_decode(const uint8_t bytes[WAL_HEADER_SIZE], struct wal_header *,
                              struct err *e);
/* Go on with a checksum over n bytes, a multiple of 8. */
void wal_checksum(bool big_endian, const uint8_t *bytes, size_t n, uint32_t sum[2]);
/* Back to what it was before them, in a log of this machine's own order. */
void wal_checksum_back(const uint8_t *bytes, size_t n, uint32_t sum[2]);

struct wal_frame_header {
    uint32_t pgno;
    uint32_t commit; /* database size in pages if this frame ends a transaction, else 0 */
    uint32_t salt[2];
    uint32_t checksum[2]; /* cumulative from the start of the log: it identifies the whole prefix */
};

void wal_frame_header_decode(const uint8_t bytes[WAL_FRAME_HEADER_SIZE], struct wal_frame_header *);
/* Byte offset of frame `frame` (1-based) in the log; frame n+1's is the end of n frames. */
uint64_t wal_frame_offset(uint32_t frame, uint32_t page_size);

/* ---- the wal-index ---- */
#define WALINDEX_REGION_SIZE 32768u
#define WALINDEX_HEADER_SIZE 48u
#define WALINDEX_READERS 5
#define WALINDEX_LOCK_WRITE 120u /* bytes of the -shm file that SQLite locks */
#define WALINDEX_LOCK_CHECKPOINT 121u
#define WALINDEX_LOCK_READ 123u /* +0..4 */

struct walindex_header {
    uint32_t change; /* counts commits, over resets too; a recovery starts it at 0 again */
    uint32_t page_size;
    uint32_t frame_count; /* mxFrame: frames up to here are committed */
    uint32_t page_count;  /* database size in pages after the last commit */
    uint32_t checksum[2]; /* of frame frame_count */
    uint32_t salt[2];
};

/* False while a writer is between the two copies (or was killed there), and before the first
 * use. */
bool walindex_header_read(const volatile uint8_t *region0, struct walindex_header *out);
/* Of two headers or frames: whether they are of one log. */
static inline bool same_salts(const uint32_t a[2], const uint32_t b[2]) {
    return a[0] == b[0] && a[1] == b[1];
}
bool walindex_header_same(const struct walindex_header *a, const struct walindex_header *b);
uint32_t walindex_backfilled(const volatile uint8_t *region0);         /* nBackfill */
uint32_t walindex_backfill_attempted(const volatile uint8_t *region0); /* nBackfillAttempted */
uint32_t walindex_read_mark(const volatile uint8_t *region0, int reader);

/* Which region holds a frame, and how many frames the regions before it hold. */
uint32_t walindex_region_of(uint32_t frame);
uint32_t walindex_region_base(uint32_t region);
/* Page number of a frame, from its region. */
uint32_t walindex_page_of(const volatile uint8_t *region, uint32_t frame);
/* Newest frame <= last of page `pgno` inside one region, 0 if none. */
uint32_t walindex_find(const volatile uint8_t *region, uint32_t region_number, uint32_t pgno,
                       uint32_t last);

#endif
