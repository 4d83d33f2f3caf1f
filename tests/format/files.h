/* LTX files in memory: made page by page, read in pieces. */
#ifndef TESTS_FORMAT_FILES_H
#define TESTS_FORMAT_FILES_H

#include "../os/temp.h"

#include "format/ltx.h"

#define FILE_LIMIT ((size_t)64 << 20)

/* What a reader told: the header, and each page as number and bytes. */
struct told {
    bool header_seen;
    struct ltx_header header;
    uint32_t page_count, last_pgno;
    struct buf pages;
    uint64_t checksum;
};

static inline rc told_header(void *arg, const struct ltx_header *h, struct err *e) {
    struct told *t = arg;
    (void)e;
    ck_assert(!t->header_seen);
    t->header_seen = true;
    t->header = *h;
    return ok();
}

static inline rc told_page(void *arg, uint32_t pgno, const uint8_t *page, struct err *e) {
    struct told *t = arg;
    ck_assert(t->header_seen);
    t->page_count++;
    t->last_pgno = pgno;
    buf_u32be(&t->pages, pgno);
    buf_put(&t->pages, page, t->header.page_size);
    return buf_check(&t->pages, "pages", e);
}

static inline void told_deinit(struct told *t) {
    buf_deinit(&t->pages);
}

static inline rc feed_pieces(struct ltx_reader *r, const uint8_t *bytes, size_t n, size_t piece,
                             struct err *e) {
    for (size_t at = 0; at < n; at += piece)
        TRY(ltx_reader_feed(r, bytes + at, n - at < piece ? n - at : piece, e));
    return ok();
}

static inline rc read_file(const uint8_t *bytes, size_t n, size_t piece, struct told *t,
                           struct err *e) {
    struct ltx_reader *reader;
    *t = (struct told){0};
    buf_init(&t->pages, FILE_LIMIT);
    TRY(ltx_reader_new(&reader, (struct ltx_reader_events){told_header, told_page, t}, e));
    rc r = feed_pieces(reader, bytes, n, piece, e);
    if (is_ok(r)) r = ltx_reader_finish(reader, &t->checksum, e);
    ltx_reader_free(reader);
    return r;
}

/* Read and forget: only the result counts. */
static inline rc check_file(const uint8_t *bytes, size_t n, struct err *e) {
    struct told t;
    rc r = read_file(bytes, n, n ? n : 1, &t, e);
    told_deinit(&t);
    return r;
}

/* Each page by its place in the index must be what the reader told. */
static inline void expect_frames(const uint8_t *bytes, size_t n, const struct told *t) {
    uint64_t at, size;
    uint8_t page[LIMIT_PAGE_SIZE];
    struct ltx_index_cursor c;
    struct ltx_entry entry;
    struct rd pages = rd_of(t->pages.bytes, t->pages.size);
    OK(ltx_index_place(bytes + n - 24, n, &at, &size, e));
    ltx_index_begin(&c, bytes + at, (size_t)size, t->header.page_size, at);
    for (uint32_t i = 0; i < t->page_count; i++) {
        OK(ltx_index_next(&c, &entry, e));
        ck_assert_uint_eq(entry.pgno, rd_u32be(&pages));
        OK(ltx_frame_decode(bytes + entry.offset, entry.size, t->header.page_size, entry.pgno, page,
                            e));
        ck_assert_mem_eq(page, rd_bytes(&pages, t->header.page_size), t->header.page_size);
    }
    OK(ltx_index_next(&c, &entry, e));
    ck_assert_uint_eq(entry.pgno, 0);
}

/* ---- making ---- */

enum content { ZEROS, SAME, WORDS, NOISE, CONTENTS };

static inline void fill_page(uint8_t *page, uint32_t size, uint32_t pgno, enum content content) {
    uint64_t x = 88172645463325252u ^ ((uint64_t)pgno << 20);
    for (uint32_t i = 0; i < size; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        page[i] = content == ZEROS   ? 0
                  : content == SAME  ? (uint8_t)pgno
                  : content == WORDS ? (uint8_t) "some words again "[(i + x % 3) % 17]
                                     : (uint8_t)(x >> 24);
    }
}

static inline rc into_buf(void *arg, const void *bytes, size_t n, struct err *e) {
    buf_put(arg, bytes, n);
    return buf_check(arg, "file", e);
}

struct recipe {
    struct ltx_header header;
    enum ltx_encoding encoding;
    enum content content;
    const uint32_t *pgnos; /* NULL: 1 to commit */
    size_t pgno_count;
};

static inline rc write_file(const struct recipe *recipe, struct buf *out, uint64_t *checksum,
                            struct err *e) {
    struct ltx_writer w;
    uint8_t page[LIMIT_PAGE_SIZE];
    uint32_t size = recipe->header.page_size;
    uint64_t file_size = 0;
    size_t count = recipe->pgnos ? recipe->pgno_count : recipe->header.commit;
    buf_init(out, FILE_LIMIT);
    rc r = ltx_writer_init(&w, &recipe->header, recipe->encoding, into_buf, out, e);
    for (size_t i = 0; i < count && is_ok(r); i++) {
        uint32_t pgno = recipe->pgnos ? recipe->pgnos[i] : (uint32_t)i + 1;
        if (pgno == ltx_lock_page(size) && !recipe->pgnos) continue;
        fill_page(page, size, pgno, recipe->content);
        r = ltx_writer_page(&w, pgno, page, e);
    }
    if (is_ok(r)) r = ltx_writer_finish(&w, checksum, &file_size, e);
    ltx_writer_deinit(&w);
    if (is_ok(r)) ck_assert_uint_eq(file_size, out->size);
    return r;
}

#endif
