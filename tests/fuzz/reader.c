/* A whole LTX file: read at once and in pieces it must be the same, and a good one must give the
 * same pages by its index, and is refused when a bit of it is another. The mutator gives most files
 * the index and the checksums that their frames ask for, and some of them an index that lies. */
#include "fuzz.h"

#include "base/hash.h"
#include "format/ltx.h"

struct told {
    struct ltx_header header;
    uint32_t page_count;
    uint64_t crc;
};

static rc on_header(void *arg, const struct ltx_header *h, struct err *e) {
    (void)e;
    ((struct told *)arg)->header = *h;
    return ok();
}

static rc on_page(void *arg, uint32_t pgno, const uint8_t *page, struct err *e) {
    struct told *t = arg;
    (void)e;
    t->page_count++;
    t->crc = crc64(crc64(t->crc, &pgno, sizeof pgno), page, t->header.page_size);
    return ok();
}

static rc read_pieces(const uint8_t *bytes, size_t size, size_t piece, struct told *t,
                      struct err *e) {
    struct ltx_reader *reader;
    uint64_t checksum;
    *t = (struct told){0};
    TRY(ltx_reader_new(&reader, (struct ltx_reader_events){on_header, on_page, t}, e));
    rc r = ok();
    for (size_t at = 0; at < size && is_ok(r); at += piece)
        r = ltx_reader_feed(reader, bytes + at, size - at < piece ? size - at : piece, e);
    if (is_ok(r)) r = ltx_reader_finish(reader, &checksum, e);
    ltx_reader_free(reader);
    return r;
}

static void by_index(const uint8_t *bytes, size_t size, const struct told *whole) {
    static uint8_t page[LIMIT_PAGE_SIZE];
    struct told t = {.header = whole->header};
    struct ltx_index_cursor c;
    struct ltx_entry entry;
    struct err e;
    uint64_t at, n;
    memset(page, 0, sizeof page);
    MUST(is_ok(ltx_index_place(bytes + size - 24, size, &at, &n, &e)));
    ltx_index_begin(&c, bytes + at, (size_t)n, t.header.page_size, at);
    for (;;) {
        MUST(is_ok(ltx_index_next(&c, &entry, &e)));
        if (!entry.pgno) break;
        MUST(is_ok(ltx_frame_decode(bytes + entry.offset, entry.size, t.header.page_size,
                                    entry.pgno, page, &e)));
        MUST(is_ok(on_page(&t, entry.pgno, page, &e)));
    }
    MUST(t.page_count == whole->page_count && t.crc == whole->crc);
}

/* One bit is another. Then it is refused; but a block has more than one encoding of its page. */
static void check_flipped(uint8_t *bytes, size_t size, size_t at, const struct told *whole) {
    struct told t;
    struct err e;
    bytes[at] ^= (uint8_t)(1u << at % 8);
    rc r = read_pieces(bytes, size, size, &t, &e);
    bytes[at] ^= (uint8_t)(1u << at % 8);
    if (!is_ok(r)) return;
    MUST(at >= LTX_HEADER_SIZE && at < size - LTX_TRAILER_SIZE);
    MUST(t.page_count == whole->page_count && t.crc == whole->crc);
}

/* Some of all bits of the pages, and those of the header, the index's last bytes and the
 * trailer. */
static void flip(const uint8_t *bytes, size_t size, const struct told *whole) {
    uint8_t *copy = malloc(size);
    size_t step = size / 64 + 1;
    memcpy(copy, bytes, size);
    for (size_t at = 0; at < size; at += at < LTX_HEADER_SIZE ? 3 : step)
        check_flipped(copy, size, at, whole);
    for (size_t at = size - LTX_TRAILER_SIZE; at < size; at++) check_flipped(copy, size, at, whole);
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const size_t pieces[] = {1, 7, 100};
    struct told whole, t;
    struct err e;
    rc r = read_pieces(bytes, size, size ? size : 1, &whole, &e);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        MUST(read_pieces(bytes, size, pieces[i], &t, &e).code == r.code);
        MUST(t.page_count == whole.page_count && t.crc == whole.crc);
    }
    if (is_ok(r)) by_index(bytes, size, &whole);
    if (is_ok(r)) flip(bytes, size, &whole);
    return 0;
}

/* Whatever follows the frames that can be read becomes a right end; `lie`: but for its index. */
static size_t mend(uint8_t *bytes, size_t size, size_t max, unsigned lie) {
    static uint8_t page[LIMIT_PAGE_SIZE];
    struct ltx_header h;
    struct err e;
    size_t at = LTX_HEADER_SIZE;
    if (size < at || !is_ok(ltx_header_decode(&h, bytes, &e))) return size;
    struct buf end;
    buf_init(&end, LIMIT_SMALL_OBJECT);
    buf_put(&end, "\0\0\0\0\0", LTX_PAGE_HEADER_SIZE);
    uint64_t crc = crc64(0, bytes, at), sum = LTX_CHECKSUM_BIT;
    for (size_t n; at + 10 <= size; at += n) {
        uint32_t pgno = get_u32be(bytes + at), block = get_u32be(bytes + at + 6);
        n = 10 + (size_t)block;
        if (!pgno || block > size - at - 10) break;
        if (!is_ok(ltx_frame_decode(bytes + at, n, h.page_size, pgno, page, &e))) break;
        crc = crc64(crc64(crc, bytes + at, 10), page, h.page_size);
        uint64_t of_page = crc64(crc64(0, bytes + at, 4), page, h.page_size);
        sum = LTX_CHECKSUM_BIT | (sum ^ (of_page | LTX_CHECKSUM_BIT));
        buf_uvarint(&end, pgno);
        buf_uvarint(&end, at);
        buf_uvarint(&end, n);
    }
    buf_u8(&end, 0);
    if (lie && end.size > LTX_PAGE_HEADER_SIZE + 1)
        end.bytes[LTX_PAGE_HEADER_SIZE + lie % (end.size - LTX_PAGE_HEADER_SIZE - 1)] ^= 1;
    buf_u64be(&end, end.size - LTX_PAGE_HEADER_SIZE);
    buf_u64be(&end, h.flags & LTX_FLAG_NO_CHECKSUM ? 0 : sum);
    buf_u64be(&end, crc64(crc, end.bytes, end.size) | LTX_CHECKSUM_BIT);
    if (!end.failed && end.size <= max - at) {
        memcpy(bytes + at, end.bytes, end.size);
        size = at + end.size;
    }
    buf_deinit(&end);
    return size;
}

size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed) {
    size = LLVMFuzzerMutate(bytes, size, max);
    return seed % 4 ? mend(bytes, size, max, seed % 16 == 1 ? seed / 16 : 0) : size;
}
