/* Reading one object of a replica: its header, its page index, or all of it.
 *
 * Why the tail first: the index stands at the end, and how long it is stands behind it. 32 KiB hold
 * the index of some 3,000 pages, so a second read is for large files only.
 *
 * Invariant: nothing here trusts a name; the header must say the same TXIDs.
 */
#include "replica/internal.h"

#include <stdlib.h>
#include <string.h>

#define TAIL_GUESS 32768u
#define PIECE (1u << 20)

static rc check_name(const struct replica_file *f, const struct ltx_header *h, struct err *e) {
    if (h->min_txid == f->min_txid && h->max_txid == f->max_txid) return ok();
    return err_set(e, RC_CORRUPT, "its header says TXIDs %llu to %llu: renamed, or swapped",
                   (unsigned long long)h->min_txid, (unsigned long long)h->max_txid);
}

static rc check_size(const struct replica_file *f, struct err *e) {
    if (f->size_bytes >= LTX_LEAST_SIZE) return ok();
    return err_set(e, RC_CORRUPT, "%llu bytes are too few for an LTX file",
                   (unsigned long long)f->size_bytes);
}

static rc take_header(const struct replica_file *f, const uint8_t bytes[LTX_HEADER_SIZE],
                      struct ltx_header *out, struct err *e) {
    struct ltx_header h;
    TRY(ltx_header_decode(&h, bytes, e));
    TRY(check_name(f, &h, e));
    *out = h;
    return ok();
}

static rc read_header(struct store *store, const struct replica_file *f, struct ltx_header *h,
                      struct err *e) {
    uint8_t bytes[LTX_HEADER_SIZE];
    char key[KEY_SIZE];
    replica_key(store, f, key);
    TRY(check_size(f, e));
    TRY(store->ops->get(store, key, 0, bytes, sizeof bytes, e));
    return take_header(f, bytes, h, e);
}

rc replica_read_header(struct store *store, const struct replica_file *f, struct ltx_header *h,
                       struct err *e) {
    return replica_name(store, f, read_header(store, f, h, e), e);
}

/* ---- page index ---- */

void index_deinit(struct index *i) {
    free(i->bytes);
    *i = (struct index){0};
}

/* The index is longer than the tail that was read. */
static rc read_long_index(struct store *store, const char *key, struct index *out, struct err *e) {
    free(out->bytes);
    out->bytes = malloc(out->size);
    if (!out->bytes)
        return err_set(e, RC_NOMEM, "no memory for a page index of %zu bytes", out->size);
    return store->ops->get(store, key, out->at, out->bytes, out->size, e);
}

static rc load(struct store *store, const struct replica_file *f, struct ltx_header *h,
               struct index *out, struct err *e) {
    char key[KEY_SIZE];
    uint64_t size, tail = f->size_bytes < TAIL_GUESS ? f->size_bytes : TAIL_GUESS;
    replica_key(store, f, key);
    TRY(check_size(f, e));
    out->bytes = malloc(tail);
    if (!out->bytes) return err_set(e, RC_NOMEM, "no memory");
    TRY(store->ops->get(store, key, f->size_bytes - tail, out->bytes, tail, e));
    if (h)
        TRY(tail == f->size_bytes ? take_header(f, out->bytes, h, e) : read_header(store, f, h, e));
    TRY(ltx_index_place(out->bytes + tail - 24, f->size_bytes, &out->at, &size, e));
    out->size = (size_t)size;
    uint64_t need = f->size_bytes - out->at;
    if (need > tail) return read_long_index(store, key, out, e);
    memmove(out->bytes, out->bytes + (tail - need), out->size);
    uint8_t *less = realloc(out->bytes, out->size);
    if (less) out->bytes = less;
    return ok();
}

rc replica_load(struct store *store, const struct replica_file *f, struct ltx_header *h,
                struct index *out, struct err *e) {
    struct index index = {0};
    rc r = load(store, f, h, &index, e);
    if (is_ok(r)) *out = index;
    else index_deinit(&index);
    return replica_name(store, f, r, e);
}

static rc add_pages(const struct index *index, uint32_t page_size, struct bitmap *pages,
                    struct err *e) {
    struct ltx_index_cursor c;
    struct ltx_entry entry;
    ltx_index_begin(&c, index->bytes, index->size, page_size, index->at);
    for (;;) {
        TRY(ltx_index_next(&c, &entry, e));
        if (!entry.pgno) return ok();
        TRY(bitmap_add(pages, entry.pgno, e));
    }
}

rc replica_read_index(struct store *store, const struct replica_file *f, uint32_t page_size,
                      struct bitmap *pages, struct err *e) {
    struct index index;
    TRY(replica_load(store, f, NULL, &index, e));
    rc r = add_pages(&index, page_size, pages, e);
    index_deinit(&index);
    return replica_name(store, f, r, e);
}

/* ---- whole files ---- */

struct named_events {
    const struct replica_file *file;
    struct ltx_reader_events inner;
};

static rc on_header(void *arg, const struct ltx_header *h, struct err *e) {
    const struct named_events *n = arg;
    TRY(check_name(n->file, h, e));
    return n->inner.header ? n->inner.header(n->inner.arg, h, e) : ok();
}

static rc on_page(void *arg, uint32_t pgno, const uint8_t *page, struct err *e) {
    const struct named_events *n = arg;
    return n->inner.page ? n->inner.page(n->inner.arg, pgno, page, e) : ok();
}

static rc feed_all(struct store *store, const struct replica_file *f, size_t room,
                   struct ltx_reader *reader, struct err *e) {
    if (room == 0) room = store->layout == LAYOUT_BUCKET ? LIMIT_RANGE : PIECE;
    if (room > f->size_bytes) room = (size_t)f->size_bytes;
    uint8_t *bytes = malloc(room);
    char key[KEY_SIZE];
    if (!bytes) return err_set(e, RC_NOMEM, "no memory");
    replica_key(store, f, key);
    rc r = ok();
    for (uint64_t at = 0; is_ok(r) && at < f->size_bytes; at += room) {
        size_t n = f->size_bytes - at < room ? (size_t)(f->size_bytes - at) : room;
        r = store->ops->get(store, key, at, bytes, n, e);
        if (is_ok(r)) r = ltx_reader_feed(reader, bytes, n, e);
    }
    free(bytes);
    return r;
}

rc replica_read_whole(struct store *store, const struct replica_file *f, size_t at_once,
                      struct ltx_reader_events events, uint64_t *checksum, struct err *e) {
    struct named_events named = {f, events};
    struct ltx_reader *reader = NULL;
    rc r = check_size(f, e);
    if (is_ok(r))
        r = ltx_reader_new(&reader, (struct ltx_reader_events){on_header, on_page, &named}, e);
    if (is_ok(r)) r = feed_all(store, f, at_once, reader, e);
    if (is_ok(r)) r = ltx_reader_finish(reader, checksum, e);
    ltx_reader_free(reader);
    return replica_name(store, f, r, e);
}

rc replica_read_back(struct store *store, const struct replica_file *f, const uint64_t *expect,
                     struct err *e) {
    uint64_t checksum;
    TRY(replica_read_whole(store, f, 0, (struct ltx_reader_events){0}, &checksum, e));
    if (!expect || checksum == *expect) return ok();
    return replica_name(store, f, err_set(e, RC_CORRUPT, "holds other bytes than were written"), e);
}
