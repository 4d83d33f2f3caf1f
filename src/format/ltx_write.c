/* Writing an LTX file to a sink, page by page.
 *
 * Invariants
 *  1. Pages ascend, none is the lock page, none lies above `commit`.
 *  2. The file checksum covers the header, page headers with uncompressed pages, marker, index and
 *     the empty database checksum, in this order (docs/format.md 1.4).
 *  3. The same pages give the same bytes: the state is made anew for each page.
 */
#include "format/ltx.h"

#include "base/hash.h"

#include <lz4.h>
#include <lz4frame.h>
#include <stdlib.h>

#define ACCELERATION 1

static size_t payload_max(uint32_t page_size) {
    size_t block = (size_t)LZ4_compressBound((int)page_size);
    size_t frame = LZ4F_compressFrameBound(page_size, NULL);
    return block > frame ? block : frame;
}

size_t ltx_frame_max(uint32_t page_size) {
    return LTX_PAGE_HEADER_SIZE + 4 + payload_max(page_size) + 16;
}

static rc emit(struct ltx_writer *w, const void *bytes, size_t n, struct err *e) {
    w->offset += n;
    return w->sink(w->sink_arg, bytes, n, e);
}

static rc emit_summed(struct ltx_writer *w, const void *bytes, size_t n, struct err *e) {
    w->crc = crc64(w->crc, bytes, n);
    return emit(w, bytes, n, e);
}

/* The scratch holds the state of the compressor, then room for one frame. */
static void *state_of(const struct ltx_writer *w) {
    return w->scratch;
}
static uint8_t *frame_of(const struct ltx_writer *w) {
    return w->scratch + LZ4_sizeofState();
}

rc ltx_writer_init(struct ltx_writer *w, const struct ltx_header *h, enum ltx_encoding encoding,
                   ltx_sink sink, void *sink_arg, struct err *e) {
    uint8_t head[LTX_HEADER_SIZE];
    struct ltx_header readable;
    *w =
        (struct ltx_writer){.encoding = encoding, .sink = sink, .sink_arg = sink_arg, .header = *h};
    buf_init(&w->index, LIMIT_INDEX);
    ltx_header_encode(h, head);
    TRY(ltx_header_decode(&readable, head, e));
    w->scratch_size = (size_t)LZ4_sizeofState() + ltx_frame_max(h->page_size);
    w->scratch = malloc(w->scratch_size);
    if (!w->scratch) return err_set(e, RC_NOMEM, "no memory to encode pages");
    return emit_summed(w, head, sizeof head, e);
}

static int encode_block(struct ltx_writer *w, const void *page, uint8_t *to) {
    int size = (int)w->header.page_size;
    return LZ4_compress_fast_extState(state_of(w), page, (char *)to, size,
                                      (int)payload_max((uint32_t)size), ACCELERATION);
}

static int encode_frame(struct ltx_writer *w, const void *page, uint8_t *to) {
    LZ4F_preferences_t p = {.frameInfo = {.blockSizeID = LZ4F_max64KB,
                                          .blockMode = LZ4F_blockIndependent,
                                          .contentChecksumFlag = LZ4F_contentChecksumEnabled}};
    size_t n = LZ4F_compressFrame(to, LZ4F_compressFrameBound(w->header.page_size, &p), page,
                                  w->header.page_size, &p);
    return LZ4F_isError(n) ? 0 : (int)n;
}

rc ltx_writer_page(struct ltx_writer *w, uint32_t pgno, const void *page, struct err *e) {
    ENSURE(pgno > w->last_pgno && pgno <= w->header.commit);
    ENSURE(pgno != ltx_lock_page(w->header.page_size));
    uint8_t *frame = frame_of(w);
    bool sized = w->encoding == LTX_BLOCKS;
    size_t head = LTX_PAGE_HEADER_SIZE + (sized ? 4u : 0u);
    int n = sized ? encode_block(w, page, frame + head) : encode_frame(w, page, frame + head);
    if (n <= 0) return err_set(e, RC_NOMEM, "page %u cannot be encoded", pgno);
    put_u32be(frame, pgno);
    put_u16be(frame + 4, sized ? LTX_PAGE_SIZED : 0);
    if (sized) put_u32be(frame + LTX_PAGE_HEADER_SIZE, (uint32_t)n);
    w->crc = crc64(w->crc, frame, head);
    w->crc = crc64(w->crc, page, w->header.page_size);
    buf_uvarint(&w->index, pgno);
    buf_uvarint(&w->index, w->offset);
    buf_uvarint(&w->index, head + (size_t)n);
    w->last_pgno = pgno;
    w->page_count++;
    return emit(w, frame, head + (size_t)n, e);
}

rc ltx_writer_finish(struct ltx_writer *w, uint64_t *file_checksum, uint64_t *size, struct err *e) {
    static const uint8_t marker[LTX_PAGE_HEADER_SIZE];
    uint8_t trailer[LTX_TRAILER_SIZE] = {0};
    if (ltx_is_snapshot(&w->header) && w->page_count != ltx_complete_count(&w->header))
        return err_set(e, RC_CORRUPT, "a snapshot of %u pages has only %u", w->header.commit,
                       w->page_count);
    TRY(emit_summed(w, marker, sizeof marker, e));
    buf_u8(&w->index, 0);
    buf_u64be(&w->index, w->index.size);
    TRY(buf_check(&w->index, "page index", e));
    TRY(emit_summed(w, w->index.bytes, w->index.size, e));
    w->crc = crc64(w->crc, trailer, 8);
    put_u64be(trailer + 8, w->crc | LTX_CHECKSUM_BIT);
    TRY(emit(w, trailer, sizeof trailer, e));
    *file_checksum = w->crc | LTX_CHECKSUM_BIT;
    *size = w->offset;
    return ok();
}

void ltx_writer_deinit(struct ltx_writer *w) {
    buf_deinit(&w->index);
    free(w->scratch);
    w->scratch = NULL;
}
