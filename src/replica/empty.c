/* A replica to which nothing was ever shipped: fences only (docs/format.md 3.1).
 *
 * Why it matters: what they make is an empty database, and to hand that out as the newest state
 * would say that all rows were deleted.
 */
#include "replica/internal.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <string.h>

#define BEHIND_MAX 1000 /* a writer may be as fast as we are */

void replica_empty_page(uint8_t *page, uint32_t page_size) {
    memset(page, 0, page_size);
    memcpy(page, "SQLite format 3", 16);
    put_u16be(page + 16, (uint16_t)(page_size == 65536 ? 1 : page_size));
    page[18] = page[19] = 2;
    page[21] = 64;
    page[22] = page[23] = 32;
    put_u32be(page + 28, 1); /* pages */
    put_u32be(page + 44, 4); /* schema format */
    put_u32be(page + 56, 1); /* UTF-8 */
    page[100] = 13;          /* an empty leaf */
    put_u16be(page + 105, (uint16_t)(page_size == 65536 ? 0 : page_size));
}

uint64_t replica_empty_sum(uint32_t page_size) {
    uint8_t page[LIMIT_PAGE_SIZE];
    replica_empty_page(page, page_size);
    return page_sum(1, page, page_size);
}

static bool may_be_fences(const struct listing *l) {
    for (size_t i = 0; i < l->count; i++)
        if (!file_is_permanent(&l->files[i])) return false;
    return l->count > 0 && l->files[0].min_txid == 1;
}

/* A bucket's list may be older than the bucket: the slots behind its end are looked at. */
static rc look_behind(struct store *store, struct listing *l, struct err *e) {
    struct replica_file f = {0};
    for (size_t i = 0; i < l->count; i++)
        if (l->files[i].max_txid > f.max_txid) f.max_txid = l->files[i].max_txid;
    for (int i = 0; i < BEHIND_MAX; i++) {
        char key[KEY_SIZE];
        struct object_info info;
        f.min_txid = ++f.max_txid;
        replica_key(store, &f, key);
        rc r = store->ops->stat(store, key, &info, e);
        if (r.code == RC_NOTFOUND) return ok();
        TRY(r);
        f.size_bytes = info.size_bytes;
        f.time_ms = info.time_ms;
        TRY(listing_add(l, f, e));
    }
    return ok();
}

rc replica_list_backup(struct store *store, struct listing *out, size_t *strangers, struct err *e) {
    struct listing l = {0};
    struct ltx_header h;
    bool other = false;
    rc r = replica_list(store, &l, strangers, e);
    if (is_ok(r) && l.count == 0) r = replica_other_layout(store, &other, e);
    if (is_ok(r) && other) { /* a copy is as good to read */
        store->layout = store->layout == LAYOUT_LTX ? LAYOUT_BUCKET : LAYOUT_LTX;
        r = replica_list(store, &l, strangers, e);
    }
    if (is_ok(r) && l.count && store->layout == LAYOUT_BUCKET) r = look_behind(store, &l, e);
    if (is_ok(r) && may_be_fences(&l)) {
        r = replica_read_header(store, &l.files[0], &h, e);
        bool empty = is_ok(r) && h.chain.present && h.commit == 1 &&
                     h.chain.sum == replica_empty_sum(h.page_size);
        if (empty || r.code == RC_CORRUPT) r = ok(); /* a corrupt one is the reader's to find */
        if (empty) listing_deinit(&l);
    }
    if (is_ok(r)) *out = l;
    else listing_deinit(&l);
    return r;
}
