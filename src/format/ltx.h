/* LTX files: bytes <-> structs. Source: docs/format.md 1 (Litestream 0.5's LTX "v3", both page
 * encodings read, blocks written unless frames are asked for). No I/O, no clock.
 *
 * One file: header (100) | page frames, ascending | 6 zero bytes | page index | trailer (16).
 */
#ifndef FORMAT_LTX_H
#define FORMAT_LTX_H

#include "base/bytes.h"
#include "base/limits.h"

#define LTX_HEADER_SIZE 100u
#define LTX_TRAILER_SIZE 16u
#define LTX_FLAG_NO_CHECKSUM 2u
#define LTX_PAGE_HEADER_SIZE 6u
#define LTX_PAGE_SIZED 1u /* flag of a page: a length and a block follow, else a frame */
/* Header, end mark, the index's end and its size, trailer: the least that a file can be. */
#define LTX_LEAST_SIZE (LTX_HEADER_SIZE + LTX_PAGE_HEADER_SIZE + 1 + 8 + LTX_TRAILER_SIZE)
#define LTX_CHECKSUM_BIT ((uint64_t)1 << 63)

/* Holdfast's chain in the reserved header bytes 80..99: "HF01", sum, WAL frame checksum. */
struct ltx_chain {
    bool present;
    uint64_t sum; /* the database's sum after this file; 0 = unknown (base/hash.h) */
    uint32_t
        frame_checksum[2]; /* of the last WAL frame that this file covers; 0,0 in compacted files */
};

struct ltx_header {
    uint32_t flags; /* 0 when writing means LTX_FLAG_NO_CHECKSUM */
    uint32_t page_size;
    uint32_t commit; /* database size after this file, in pages */
    uint64_t min_txid, max_txid;
    int64_t timestamp_ms; /* Unix time */
    uint64_t pre_apply_checksum;
    uint64_t wal_offset, wal_size; /* bytes of the source WAL that it covers */
    uint32_t salt[2];
    uint64_t node_id; /* Holdfast: the nonce of the run that wrote it */
    struct ltx_chain chain;
};

uint32_t
ltx_lock_page(uint32_t page_size); /* the page at 1 GiB: never stored, zero when restored */
/* How many pages a whole database of this size stores. */
static inline uint32_t ltx_complete_count(const struct ltx_header *h) {
    return h->commit - (h->commit >= ltx_lock_page(h->page_size));
}
static inline bool ltx_is_snapshot(const struct ltx_header *h) {
    return h->min_txid == 1;
}

/* Checks every rule of docs/format.md 1.2; RC_CORRUPT names the first that fails. */
MUST_USE rc ltx_header_decode(struct ltx_header *h, const uint8_t bytes[LTX_HEADER_SIZE],
                              struct err *e);
void ltx_header_encode(const struct ltx_header *h, uint8_t bytes[LTX_HEADER_SIZE]);

/* ---- writing ---- */
enum ltx_encoding { LTX_BLOCKS, LTX_FRAMES /* for Litestream before 0.5.16 */ };

typedef rc (*ltx_sink)(void *arg, const void *bytes, size_t n, struct err *e);

struct ltx_writer {
    enum ltx_encoding encoding;
    ltx_sink sink;
    void *sink_arg;
    struct ltx_header header;
    uint64_t offset, crc;
    uint32_t last_pgno, page_count;
    struct buf index;
    uint8_t *scratch; /* one encoded page, then LZ4 state */
    size_t scratch_size;
};

/* Writes the header to the sink; one that no reader would take is RC_CORRUPT. Deinit after success
 * and after failure. */
MUST_USE rc ltx_writer_init(struct ltx_writer *w, const struct ltx_header *h, enum ltx_encoding,
                            ltx_sink sink, void *sink_arg, struct err *e);
/* Pages ascend; the lock page and pages above `commit` are a programmer's error (ENSURE). */
MUST_USE rc ltx_writer_page(struct ltx_writer *w, uint32_t pgno, const void *page, struct err *e);
/* End marker, index, trailer. A snapshot (min TXID 1) that lacks a page is RC_CORRUPT. */
MUST_USE rc ltx_writer_finish(struct ltx_writer *w, uint64_t *file_checksum, uint64_t *size,
                              struct err *e);
void ltx_writer_deinit(struct ltx_writer *w);

/* ---- reading a whole file, in pieces of any size ---- */
struct ltx_reader; /* heap */

struct ltx_reader_events {
    rc (*header)(void *arg, const struct ltx_header *, struct err *);        /* may be NULL */
    rc (*page)(void *arg, uint32_t pgno, const uint8_t *page, struct err *); /* may be NULL */
    void *arg;
};

MUST_USE rc ltx_reader_new(struct ltx_reader **out, struct ltx_reader_events, struct err *e);
void ltx_reader_free(struct ltx_reader *);
MUST_USE rc ltx_reader_feed(struct ltx_reader *, const void *bytes, size_t n, struct err *e);
/* The end of the file: checks that it is complete, that the index says what the frames were, the
 * file checksum, that a snapshot holds every page, and a database checksum where there is one. */
MUST_USE rc ltx_reader_finish(struct ltx_reader *, uint64_t *file_checksum, struct err *e);

/* ---- reading parts ---- */
struct ltx_entry {
    uint32_t pgno;
    uint32_t size;   /* of the frame, page header included */
    uint64_t offset; /* of the frame, from the start of the file */
};

/* Sizes from the last 24 bytes of a file: where the index begins. Bounded by LIMIT_INDEX. */
MUST_USE rc ltx_index_place(const uint8_t last24[24], uint64_t file_size, uint64_t *at,
                            uint64_t *size, struct err *e);
/* An iterator over the encoded entries (index bytes without the 8-byte size). Checks that page
 * numbers ascend, offsets are consecutive from 100, sizes are legal for the page size, and that the
 * entries end exactly 6 bytes before `index_at`. */
struct ltx_index_cursor {
    struct rd r;
    uint32_t page_size, last_pgno;
    uint64_t next_offset, index_at;
};
void ltx_index_begin(struct ltx_index_cursor *, const uint8_t *bytes, size_t n, uint32_t page_size,
                     uint64_t index_at);
/* entry->pgno == 0 at the end. */
MUST_USE rc ltx_index_next(struct ltx_index_cursor *, struct ltx_entry *entry, struct err *e);

/* One page frame as stored (either encoding) -> page_size bytes at `page`. Checks pgno, flags and
 * that it decodes to exactly page_size bytes. */
MUST_USE rc ltx_frame_decode(const uint8_t *frame, size_t size, uint32_t page_size, uint32_t pgno,
                             uint8_t *page, struct err *e);
/* Largest legal frame of a page size. */
size_t ltx_frame_max(uint32_t page_size);

#endif
