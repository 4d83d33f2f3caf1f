/* One page frame: by place and as part of a stream it must be the same page or refused, and by
 * place it is refused for another page. Input: a byte that chooses the page size, then the
 * frame. */
#include "fuzz.h"

#include "format/ltx.h"

static uint8_t streamed[LIMIT_PAGE_SIZE];
static bool seen;

static rc on_page(void *arg, uint32_t pgno, const uint8_t *page, struct err *e) {
    (void)pgno, (void)e;
    memcpy(streamed, page, *(uint32_t *)arg);
    seen = true;
    return ok();
}

/* Whether the stream takes exactly these bytes as one page. */
static bool stream(const uint8_t *frame, size_t size, uint32_t page_size) {
    struct ltx_header h = {
        .page_size = page_size, .commit = LIMIT_PAGES, .min_txid = 2, .max_txid = 2};
    uint8_t head[LTX_HEADER_SIZE];
    struct ltx_reader *reader;
    struct err e;
    rc r = ok();
    ltx_header_encode(&h, head);
    seen = false;
    MUST(is_ok(ltx_reader_new(&reader, (struct ltx_reader_events){NULL, on_page, &page_size}, &e)));
    MUST(is_ok(ltx_reader_feed(reader, head, sizeof head, &e)));
    for (size_t i = 0; i < size && is_ok(r) && !seen; i++) {
        r = ltx_reader_feed(reader, frame + i, 1, &e);
        if (seen && i + 1 < size) seen = false, r = (rc){RC_CORRUPT}; /* ended early */
    }
    ltx_reader_free(reader);
    return is_ok(r) && seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static uint8_t page[LIMIT_PAGE_SIZE];
    struct err e;
    if (size < 1) return 0;
    uint32_t page_size = 512u << bytes[0] % 8;
    const uint8_t *frame = bytes + 1;
    uint32_t pgno = size >= 5 ? get_u32be(frame) : 1;
    if (pgno == 0 || pgno > LIMIT_PAGES || pgno == ltx_lock_page(page_size)) return 0;
    if (size - 1 > ltx_frame_max(page_size)) return 0; /* refused by the index before this */
    memset(page, 0, sizeof page);
    bool placed = is_ok(ltx_frame_decode(frame, size - 1, page_size, pgno, page, &e));
    MUST(placed == stream(frame, size - 1, page_size));
    if (placed) MUST(memcmp(page, streamed, page_size) == 0);
    MUST(!is_ok(ltx_frame_decode(frame, size - 1, page_size, pgno + 1, page, &e)));
    return 0;
}
