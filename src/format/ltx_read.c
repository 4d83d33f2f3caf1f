/* Reading an LTX file: as a stream of pieces, or single frames and the index by place.
 *
 * Why push: the bytes come from a store in pieces of its choice, and a legacy page frame does not
 * say how long it is.
 *
 * Invariants
 *  1. Memory is one page, one encoded frame and the encoded index, whatever the file says; a length
 *     is checked against the largest legal one before anything is read by it.
 *  2. The index in the file must be byte for byte the one that its frames make.
 *  3. A file is good only after ltx_reader_finish; after a failure nothing makes it good.
 */
#include "format/ltx.h"

#include "base/hash.h"

#include <lz4.h>
#include <lz4frame.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_MAGIC "\x04\x22\x4d\x18"
#define FRAME_FLG 4u
#define FLG_CONTENT_CHECKSUM 0x04u
#define FLG_DICTIONARY 0x01u

enum part { HEADER, PAGE, SIZE, BLOCK, FRAME, INDEX, TRAILER, END };

struct ltx_reader {
    struct ltx_reader_events events;
    struct ltx_header header;
    enum part part;
    bool failed;
    uint8_t *bytes; /* of the part being collected */
    size_t have, want, room;
    uint8_t *page;
    LZ4F_dctx *legacy;
    size_t legacy_size, legacy_out;
    uint64_t offset, frame_offset, crc, database_sum, file_checksum, index_at;
    uint32_t pgno, last_pgno, page_count;
    struct buf index;
};

rc ltx_reader_new(struct ltx_reader **out, struct ltx_reader_events events, struct err *e) {
    struct ltx_reader *r = calloc(1, sizeof *r);
    if (r) r->bytes = malloc(LTX_HEADER_SIZE);
    if (!r || !r->bytes) {
        free(r);
        return err_set(e, RC_NOMEM, "no memory");
    }
    r->events = events;
    r->want = LTX_HEADER_SIZE;
    r->database_sum = LTX_CHECKSUM_BIT;
    buf_init(&r->index, LIMIT_INDEX);
    *out = r;
    return ok();
}

void ltx_reader_free(struct ltx_reader *r) {
    if (!r) return;
    LZ4F_freeDecompressionContext(r->legacy);
    buf_deinit(&r->index);
    free(r->bytes);
    free(r->page);
    free(r);
}

static void expect(struct ltx_reader *r, enum part part, size_t want) {
    r->part = part;
    r->have = 0;
    r->want = want;
}

static rc take_header(struct ltx_reader *r, struct err *e) {
    TRY(ltx_header_decode(&r->header, r->bytes, e));
    r->crc = crc64(0, r->bytes, LTX_HEADER_SIZE);
    r->room = ltx_frame_max(r->header.page_size);
    uint8_t *bytes = realloc(r->bytes, r->room);
    if (bytes) r->bytes = bytes;
    r->page = calloc(1, r->header.page_size); /* a hostile block may copy what it did not write */
    if (!bytes || !r->page) return err_set(e, RC_NOMEM, "no memory");
    expect(r, PAGE, LTX_PAGE_HEADER_SIZE);
    return r->events.header ? r->events.header(r->events.arg, &r->header, e) : ok();
}

static rc take_marker(struct ltx_reader *r, struct err *e) {
    r->crc = crc64(r->crc, r->bytes, LTX_PAGE_HEADER_SIZE);
    if (ltx_is_snapshot(&r->header) && r->page_count != ltx_complete_count(&r->header))
        return err_set(e, RC_CORRUPT, "a snapshot of %u pages holds %u", r->header.commit,
                       r->page_count);
    buf_u8(&r->index, 0);
    buf_u64be(&r->index, r->index.size);
    TRY(buf_check(&r->index, "page index", e));
    expect(r, INDEX, 0);
    return ok();
}

static rc check_pgno(const struct ltx_reader *r, uint32_t pgno, struct err *e) {
    uint32_t lock = ltx_lock_page(r->header.page_size), last = r->last_pgno;
    if (pgno <= last) return err_set(e, RC_CORRUPT, "page %u follows page %u", pgno, last);
    if (pgno > LIMIT_PAGES) return err_set(e, RC_CORRUPT, "page %u: no page has this number", pgno);
    if (pgno == lock) return err_set(e, RC_CORRUPT, "holds the lock page %u", pgno);
    if (!ltx_is_snapshot(&r->header)) return ok();
    uint32_t next = last + 1 == lock ? last + 2 : last + 1;
    if (pgno != next || pgno > r->header.commit)
        return err_set(e, RC_CORRUPT, "a snapshot with page %u after page %u", pgno, last);
    return ok();
}

static rc take_page_header(struct ltx_reader *r, struct err *e) {
    uint32_t pgno = get_u32be(r->bytes), flags = (uint32_t)(r->bytes[4] << 8 | r->bytes[5]);
    if (pgno == 0 && flags == 0) return take_marker(r, e);
    if (pgno == 0 || flags & ~LTX_PAGE_SIZED)
        return err_set(e, RC_CORRUPT, "page header: page %u, flags %#x", pgno, flags);
    TRY(check_pgno(r, pgno, e));
    r->pgno = pgno;
    r->frame_offset = r->offset - LTX_PAGE_HEADER_SIZE;
    r->crc = crc64(r->crc, r->bytes, LTX_PAGE_HEADER_SIZE);
    if (flags & LTX_PAGE_SIZED) {
        expect(r, SIZE, 4);
        return ok();
    }
    if (!r->legacy && LZ4F_isError(LZ4F_createDecompressionContext(&r->legacy, LZ4F_VERSION)))
        return err_set(e, RC_NOMEM, "no memory");
    LZ4F_resetDecompressionContext(r->legacy);
    r->legacy_size = r->legacy_out = 0;
    expect(r, FRAME, 0);
    return ok();
}

static uint32_t block_max(uint32_t page_size) {
    return page_size + page_size / 255 + 16;
}

static rc take_size(struct ltx_reader *r, struct err *e) {
    uint32_t size = get_u32be(r->bytes);
    if (size == 0 || size > block_max(r->header.page_size))
        return err_set(e, RC_CORRUPT, "page %u: %u bytes", r->pgno, size);
    r->crc = crc64(r->crc, r->bytes, 4);
    expect(r, BLOCK, size);
    return ok();
}

static rc take_page(struct ltx_reader *r, struct err *e) {
    uint32_t size = r->header.page_size;
    r->crc = crc64(r->crc, r->page, size);
    if (!(r->header.flags & LTX_FLAG_NO_CHECKSUM)) {
        uint8_t number[4];
        put_u32be(number, r->pgno);
        uint64_t sum = crc64(crc64(0, number, sizeof number), r->page, size);
        r->database_sum = LTX_CHECKSUM_BIT | (r->database_sum ^ (sum | LTX_CHECKSUM_BIT));
    }
    buf_uvarint(&r->index, r->pgno);
    buf_uvarint(&r->index, r->frame_offset);
    buf_uvarint(&r->index, r->offset - r->frame_offset);
    TRY(buf_check(&r->index, "page index", e));
    r->last_pgno = r->pgno;
    r->page_count++;
    expect(r, PAGE, LTX_PAGE_HEADER_SIZE);
    return r->events.page ? r->events.page(r->events.arg, r->pgno, r->page, e) : ok();
}

static rc decode_block(const uint8_t *block, size_t n, uint8_t *page, uint32_t page_size,
                       uint32_t pgno, struct err *e) {
    int got = LZ4_decompress_safe((const char *)block, (char *)page, (int)n, (int)page_size);
    if (got == (int)page_size) return ok();
    return err_set(e, RC_CORRUPT, "page %u: its LZ4 block does not give %u bytes", pgno, page_size);
}

/* Checks of a legacy frame's first bytes that the library does not make. */
static bool legacy_start_ok(const uint8_t *frame, size_t n) {
    for (size_t i = 0; i < n && i < 4; i++)
        if (frame[i] != (uint8_t)FRAME_MAGIC[i]) return false;
    if (n <= FRAME_FLG) return true;
    return (frame[FRAME_FLG] & FLG_CONTENT_CHECKSUM) && !(frame[FRAME_FLG] & FLG_DICTIONARY);
}

/* Feed up to n bytes of a legacy frame; *used of them belong to it. */
static rc take_legacy(struct ltx_reader *r, const uint8_t *bytes, size_t n, size_t *used,
                      struct err *e) {
    for (size_t i = 0; i < n && r->legacy_size + i <= FRAME_FLG; i++) {
        r->bytes[r->legacy_size + i] = bytes[i];
        if (!legacy_start_ok(r->bytes, r->legacy_size + i + 1))
            return err_set(e, RC_CORRUPT, "page %u: not an LZ4 frame with a checksum", r->pgno);
    }
    uint8_t spill;
    bool full = r->legacy_out == r->header.page_size;
    size_t in = n, out = full ? 0 : r->header.page_size - r->legacy_out;
    size_t hint =
        LZ4F_decompress(r->legacy, full ? &spill : r->page + r->legacy_out, &out, bytes, &in, NULL);
    if (LZ4F_isError(hint))
        return err_set(e, RC_CORRUPT, "page %u: %s", r->pgno, LZ4F_getErrorName(hint));
    r->legacy_out += out;
    r->legacy_size += in;
    r->offset += in;
    *used = in;
    if (hint == 0) {
        if (r->legacy_out != r->header.page_size)
            return err_set(e, RC_CORRUPT, "page %u: its LZ4 frame gives %zu bytes", r->pgno,
                           r->legacy_out);
        return take_page(r, e);
    }
    if ((in == 0 && out == 0) || r->legacy_size > r->room)
        return err_set(e, RC_CORRUPT, "page %u: its LZ4 frame is too long", r->pgno);
    return ok();
}

static rc take_index(struct ltx_reader *r, const uint8_t *bytes, size_t n, size_t *used,
                     struct err *e) {
    size_t left = r->index.size - r->index_at;
    *used = n < left ? n : left;
    if (memcmp(bytes, r->index.bytes + r->index_at, *used) != 0)
        return err_set(e, RC_CORRUPT, "the page index does not fit the pages");
    r->crc = crc64(r->crc, bytes, *used);
    r->index_at += *used;
    r->offset += *used;
    if (r->index_at == r->index.size) expect(r, TRAILER, LTX_TRAILER_SIZE);
    return ok();
}

static rc take_trailer(struct ltx_reader *r, struct err *e) {
    uint64_t post = get_u64be(r->bytes);
    r->crc = crc64(r->crc, r->bytes, 8) | LTX_CHECKSUM_BIT;
    r->file_checksum = get_u64be(r->bytes + 8);
    r->part = END;
    if (r->file_checksum != r->crc) return err_set(e, RC_CORRUPT, "checksum mismatch");
    if (r->header.flags & LTX_FLAG_NO_CHECKSUM || !ltx_is_snapshot(&r->header)) return ok();
    if (post != r->database_sum) return err_set(e, RC_CORRUPT, "the database checksum is wrong");
    return ok();
}

static rc take_part(struct ltx_reader *r, struct err *e) {
    switch (r->part) {
    case HEADER: return take_header(r, e);
    case PAGE: return take_page_header(r, e);
    case SIZE: return take_size(r, e);
    case BLOCK:
        TRY(decode_block(r->bytes, r->want, r->page, r->header.page_size, r->pgno, e));
        return take_page(r, e);
    case TRAILER: return take_trailer(r, e);
    case FRAME:
    case INDEX:
    case END: break;
    }
    return err_set(e, RC_CORRUPT, "bytes after the end");
}

static rc feed(struct ltx_reader *r, const void *data, size_t n, struct err *e) {
    struct rd in = rd_of(data, n);
    while (rd_left(&in) > 0) {
        size_t used = rd_left(&in);
        const uint8_t *bytes = in.bytes + in.at;
        if (r->part == FRAME) TRY(take_legacy(r, bytes, used, &used, e));
        else if (r->part == INDEX) TRY(take_index(r, bytes, used, &used, e));
        else if (r->part == END) return err_set(e, RC_CORRUPT, "bytes after the end");
        else {
            if (used > r->want - r->have) used = r->want - r->have;
            memcpy(r->bytes + r->have, bytes, used);
            r->have += used;
            r->offset += used;
            if (r->have == r->want) TRY(take_part(r, e));
        }
        (void)rd_bytes(&in, used);
    }
    return ok();
}

rc ltx_reader_feed(struct ltx_reader *r, const void *data, size_t n, struct err *e) {
    if (r->failed) return err_set(e, RC_CORRUPT, "read on after a failure");
    rc result = feed(r, data, n, e);
    r->failed = !is_ok(result);
    return result;
}

rc ltx_reader_finish(struct ltx_reader *r, uint64_t *file_checksum, struct err *e) {
    if (r->failed) return err_set(e, RC_CORRUPT, "read on after a failure");
    if (r->part != END)
        return err_set(e, RC_CORRUPT, "ends after %llu bytes, in the middle",
                       (unsigned long long)r->offset);
    *file_checksum = r->file_checksum;
    return ok();
}

/* ---- parts ---- */

rc ltx_index_place(const uint8_t last24[24], uint64_t file_size, uint64_t *at, uint64_t *size,
                   struct err *e) {
    uint64_t n = get_u64be(last24);
    if (file_size < LTX_LEAST_SIZE) return err_set(e, RC_CORRUPT, "too short for an LTX file");
    if (n == 0 || n > LIMIT_INDEX || n > file_size - LTX_LEAST_SIZE + 1)
        return err_set(e, RC_CORRUPT, "a page index of %llu bytes", (unsigned long long)n);
    *at = file_size - LTX_TRAILER_SIZE - 8 - n;
    *size = n;
    return ok();
}

void ltx_index_begin(struct ltx_index_cursor *c, const uint8_t *bytes, size_t n, uint32_t page_size,
                     uint64_t index_at) {
    *c = (struct ltx_index_cursor){.r = rd_of(bytes, n),
                                   .page_size = page_size,
                                   .next_offset = LTX_HEADER_SIZE,
                                   .index_at = index_at};
}

rc ltx_index_next(struct ltx_index_cursor *c, struct ltx_entry *entry, struct err *e) {
    uint64_t pgno = rd_uvarint(&c->r);
    if (pgno == 0) {
        if (!rd_done(&c->r) || c->next_offset + LTX_PAGE_HEADER_SIZE != c->index_at)
            return err_set(e, RC_CORRUPT, "page index: does not end where the pages do");
        *entry = (struct ltx_entry){0};
        return ok();
    }
    uint64_t offset = rd_uvarint(&c->r), size = rd_uvarint(&c->r);
    if (!rd_ok(&c->r)) return err_set(e, RC_CORRUPT, "page index: short");
    if (pgno <= c->last_pgno || pgno > LIMIT_PAGES || pgno == ltx_lock_page(c->page_size))
        return err_set(e, RC_CORRUPT, "page index: page %llu after page %u",
                       (unsigned long long)pgno, c->last_pgno);
    if (offset != c->next_offset || size <= LTX_PAGE_HEADER_SIZE ||
        size > ltx_frame_max(c->page_size) || offset + size + LTX_PAGE_HEADER_SIZE > c->index_at)
        return err_set(e, RC_CORRUPT, "page index: page %llu is at %llu, %llu bytes",
                       (unsigned long long)pgno, (unsigned long long)offset,
                       (unsigned long long)size);
    *entry = (struct ltx_entry){.pgno = (uint32_t)pgno, .size = (uint32_t)size, .offset = offset};
    c->last_pgno = (uint32_t)pgno;
    c->next_offset = offset + size;
    return ok();
}

static rc decode_legacy(const uint8_t *frame, size_t n, uint8_t *page, uint32_t page_size,
                        uint32_t pgno, struct err *e) {
    LZ4F_dctx *d = NULL;
    size_t out = page_size, in = n;
    if (!legacy_start_ok(frame, n) || n <= FRAME_FLG)
        return err_set(e, RC_CORRUPT, "page %u: not an LZ4 frame with a checksum", pgno);
    if (LZ4F_isError(LZ4F_createDecompressionContext(&d, LZ4F_VERSION)))
        return err_set(e, RC_NOMEM, "no memory");
    size_t hint = LZ4F_decompress(d, page, &out, frame, &in, NULL);
    size_t first = in, none = 0;
    if (!LZ4F_isError(hint) && hint && first < n) { /* the end mark and the checksum */
        in = n - first;
        hint = LZ4F_decompress(d, page, &none, frame + first, &in, NULL);
        in += first;
    }
    LZ4F_freeDecompressionContext(d);
    if (hint == 0 && in == n && out == page_size) return ok();
    return err_set(e, RC_CORRUPT, "page %u: its LZ4 frame does not give %u bytes", pgno, page_size);
}

rc ltx_frame_decode(const uint8_t *frame, size_t size, uint32_t page_size, uint32_t pgno,
                    uint8_t *page, struct err *e) {
    struct rd r = rd_of(frame, size);
    uint32_t number = rd_u32be(&r), flags = rd_u16be(&r);
    if (!rd_ok(&r) || number != pgno)
        return err_set(e, RC_CORRUPT, "page %u: another page (%u) stands in its place", pgno,
                       number);
    if (flags & ~LTX_PAGE_SIZED) return err_set(e, RC_CORRUPT, "page %u: flags %#x", pgno, flags);
    if (!(flags & LTX_PAGE_SIZED))
        return decode_legacy(frame + LTX_PAGE_HEADER_SIZE, size - LTX_PAGE_HEADER_SIZE, page,
                             page_size, pgno, e);
    uint32_t n = rd_u32be(&r);
    const uint8_t *block = rd_bytes(&r, n);
    if (!block || !rd_done(&r))
        return err_set(e, RC_CORRUPT, "page %u: its length does not fit the index", pgno);
    return decode_block(block, n, page, page_size, pgno, e);
}
