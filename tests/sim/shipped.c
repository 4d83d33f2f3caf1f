/* A replica in memory, and each object that comes into it against the history: see the header.
 *
 * Shipments are applied one after the other, so that what they make is there to be compared as a
 * whole. Of a compacted object each page is compared with that of its end, and none may be missing
 * that changed in its span.
 */
#include "shipped.h"

#include "base/bitmap.h"
#include "format/ltx.h"
#include "format/names.h"
#include "format/wal.h"
#include "sim.h"
#include "store/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_TXIDS 4096

static uint32_t page_size;
static struct err err;

static struct {
    uint64_t txid;
    uint32_t pages;
    size_t capacity;
    uint8_t *bytes;
    int at[MOST_TXIDS]; /* the boundary of each TXID; -1: none, there are fences only */
} made;

struct object {
    int level;
    struct ltx_header header;
    struct bitmap has;
    uint32_t wrong, first_wrong; /* of a compacted one */
};

int shipped_boundary(uint64_t txid) {
    return txid && txid < MOST_TXIDS ? made.at[txid] : -1;
}

static rc apply_header(void *arg, const struct ltx_header *h, struct err *e) {
    (void)e;
    struct object *o = arg;
    o->header = *h;
    if (h->max_txid >= MOST_TXIDS) sim_fatal("too many shipments");
    if (o->level) return ok();
    size_t size = (size_t)h->commit * page_size, before = (size_t)made.pages * page_size;
    if (size > made.capacity) {
        made.bytes = realloc(made.bytes, made.capacity = size * 2);
        if (!made.bytes) sim_fatal("no memory");
    }
    if (size > before) memset(made.bytes + before, 0, size - before);
    made.pages = h->commit;
    return ok();
}

static rc apply_page(void *arg, uint32_t pgno, const uint8_t *page, struct err *e) {
    struct object *o = arg;
    if (pgno > o->header.commit) return err_set(e, RC_CORRUPT, "page %u beyond the end", pgno);
    if (o->level == 0) {
        memcpy(made.bytes + (size_t)(pgno - 1) * page_size, page, page_size);
        return bitmap_add(&o->has, pgno, e);
    }
    int k = shipped_boundary(o->header.max_txid);
    const uint8_t *true_page = k < 0 ? NULL : oracle_page(pgno, k);
    if (true_page && memcmp(true_page, page, page_size) != 0 && o->wrong++ == 0)
        o->first_wrong = pgno;
    return bitmap_add(&o->has, pgno, e);
}

static rc decode(struct object *o, const void *bytes, size_t size, struct err *e) {
    struct ltx_reader *reader = NULL;
    uint64_t checksum;
    TRY(ltx_reader_new(&reader, (struct ltx_reader_events){apply_header, apply_page, o}, e));
    rc r = ltx_reader_feed(reader, bytes, size, e);
    if (is_ok(r)) r = ltx_reader_finish(reader, &checksum, e);
    ltx_reader_free(reader);
    if (is_ok(r)) sim_note(checksum);
    return r;
}

/* The boundary at which a shipment says that it ends, at or after the last one; that of a log
 * without a name (there is none yet) may be any of several, so that which fits is taken. */
static int find_boundary(const struct ltx_header *h, int from, uint32_t *wrong, uint32_t *first) {
    uint32_t frame_size = WAL_FRAME_HEADER_SIZE + page_size;
    uint32_t end = (uint32_t)((h->wal_offset + h->wal_size - WAL_HEADER_SIZE) / frame_size);
    int k = from < 0 ? 0 : from, found = -1;
    for (; (k = oracle_find(k, h->salt, end)) >= 0; k++) {
        found = k;
        *wrong = 1;
        *first = 0;
        if (oracle_boundary(k)->pages == h->commit)
            *wrong = oracle_differ(k, made.bytes, h->commit, first);
        if (*wrong == 0) return k;
    }
    return found;
}

static void check_lock_page(void) {
    uint32_t lock = ltx_lock_page(page_size);
    for (uint32_t i = 0; lock <= made.pages && i < page_size; i++)
        if (made.bytes[(size_t)(lock - 1) * page_size + i]) {
            sim_found(DIFFERENT, "TXID %" PRIu64 ": the lock page is not zero", made.txid);
            return;
        }
}

static void check_shipment(const struct object *o) {
    const struct ltx_header *h = &o->header;
    uint32_t wrong = 0, first = 0;
    int before = shipped_boundary(made.txid);
    if (h->min_txid != made.txid + 1) {
        sim_found(DIFFERENT, "TXID %" PRIu64 " is put after %" PRIu64, h->min_txid, made.txid);
        return;
    }
    made.txid++;
    made.at[made.txid] = before;
    if (before < 0 && h->commit == 1 && !(h->salt[0] | h->salt[1])) return; /* a fence */
    int k = find_boundary(h, before, &wrong, &first);
    if (k < 0) {
        sim_found(DIFFERENT,
                  "TXID %" PRIu64 " ends at no commit after the one before (log %08x%08x)",
                  made.txid, h->salt[0], h->salt[1]);
        return;
    }
    SIM_SAY("TXID %" PRIu64 " is boundary %d, %u pages of %u", made.txid, k, o->has.count,
            h->commit);
    made.at[made.txid] = k;
    sim_count.shipments += o->has.count > 0;
    if (wrong)
        sim_found(DIFFERENT, "TXID %" PRIu64 ": %u pages of %u differ from boundary %d, first %u",
                  made.txid, wrong, h->commit, k, first);
    check_lock_page();
}

static void check_compacted(const struct object *o) {
    const struct ltx_header *h = &o->header;
    int k = shipped_boundary(h->max_txid), before = shipped_boundary(h->min_txid - 1);
    SIM_SAY("level %d: TXID %" PRIu64 " to %" PRIu64 ", %u pages of %u", o->level, h->min_txid,
            h->max_txid, o->has.count, h->commit);
    if (o->wrong)
        sim_found(DIFFERENT, "level %d to TXID %" PRIu64 ": %u pages are wrong, first %u", o->level,
                  h->max_txid, o->wrong, o->first_wrong);
    if (k < 0) return;
    if (oracle_boundary(k)->pages != h->commit)
        sim_found(DIFFERENT, "level %d to TXID %" PRIu64 ": %u pages, the database had %u",
                  o->level, h->max_txid, h->commit, oracle_boundary(k)->pages);
    for (uint32_t p = 1; p <= h->commit; p++) {
        const uint8_t *page = oracle_page(p, k);
        if (!page || bitmap_has(&o->has, p)) continue;
        const uint8_t *old_page = before < 0 ? NULL : oracle_page(p, before);
        if (old_page && memcmp(page, old_page, page_size) == 0) continue; /* maybe written again */
        sim_found(DIFFERENT, "level %d to TXID %" PRIu64 ": page %u changed and is not there",
                  o->level, h->max_txid, p);
        return;
    }
}

static void check_object(const char *key, const void *bytes, size_t size) {
    struct object o = {0};
    if (sscanf(key, "ltx/%d/", &o.level) != 1) return;
    sim_count.objects++;
    if (!is_ok(decode(&o, bytes, size, &err))) sim_found(DIFFERENT, "%s: %s", key, err.text);
    else if (o.level == 0) check_shipment(&o);
    else check_compacted(&o);
    bitmap_deinit(&o.has);
}

/* ---- a store that takes its time ---- */

static struct store *replica;
static struct store_ops slow_ops;
static const struct store_ops *mem;
static int64_t slowness;

struct slow_upload {
    struct store *store;
    struct object_upload *inner;
    char key[KEY_SIZE];
};

/* A request; of a run that is as good as dead it may get lost on its way. */
static rc travel(struct store *s, struct err *e) {
    sim_sleep(sim_between(0, slowness));
    if (atomic_load(&s->abandoned) && sim_one_in(2)) return err_set(e, RC_RETRY, "lost");
    return ok();
}

static rc slow_put(struct store *s, const char *key, const void *bytes, size_t size,
                   int64_t time_ms, struct err *e) {
    TRY(travel(s, e));
    TRY(mem->put(s, key, bytes, size, time_ms, e));
    check_object(key, bytes, size);
    return travel(s, e);
}

static rc slow_put_note(struct store *s, const char *key, const void *bytes, size_t size,
                        struct err *e) {
    TRY(travel(s, e));
    return mem->put_note(s, key, bytes, size, e);
}

static rc slow_get(struct store *s, const char *key, uint64_t at, void *buf, size_t n,
                   struct err *e) {
    TRY(travel(s, e));
    return mem->get(s, key, at, buf, n, e);
}

static rc slow_list(struct store *s, const char *key,
                    rc (*each)(void *, const struct object_info *, struct err *), void *arg,
                    struct err *e) {
    TRY(travel(s, e));
    return mem->list(s, key, each, arg, e);
}

static rc slow_remove(struct store *s, const char *key, struct err *e) {
    TRY(travel(s, e));
    return mem->remove(s, key, e);
}

static rc slow_upload_open(struct store *s, const char *key, uint64_t most,
                           struct object_upload **out, struct err *e) {
    struct slow_upload *u = calloc(1, sizeof *u);
    if (!u) sim_fatal("no memory");
    u->store = s;
    snprintf(u->key, sizeof u->key, "%s", key);
    rc r = travel(s, e);
    if (is_ok(r)) r = mem->upload_open(s, key, most, &u->inner, e);
    if (is_ok(r)) *out = (struct object_upload *)u;
    else free(u);
    return r;
}

static rc slow_upload_write(struct object_upload *upload, const void *bytes, size_t n,
                            struct err *e) {
    struct slow_upload *u = (struct slow_upload *)upload;
    TRY(travel(u->store, e));
    return mem->upload_write(u->inner, bytes, n, e);
}

static void slow_upload_abort(struct object_upload *upload) {
    struct slow_upload *u = (struct slow_upload *)upload;
    if (u) mem->upload_abort(u->inner);
    free(u);
}

static rc slow_upload_commit(struct object_upload *upload, int64_t time_ms, struct err *e) {
    struct slow_upload *u = (struct slow_upload *)upload;
    struct object_info info;
    rc r = mem->upload_commit(u->inner, time_ms, e);
    if (is_ok(r)) r = mem->stat(u->store, u->key, &info, e);
    void *bytes = is_ok(r) ? malloc(info.size_bytes) : NULL;
    if (bytes) r = mem->get(u->store, u->key, 0, bytes, info.size_bytes, e);
    sim_count.streamed += is_ok(r);
    if (bytes && is_ok(r)) check_object(u->key, bytes, info.size_bytes);
    if (is_ok(r)) r = travel(u->store, e);
    free(bytes);
    free(u);
    return r;
}

static void keep(struct store *s) {
    (void)s; /* one replica for all lives */
}

struct store *shipped_open(struct env *env, uint32_t size) {
    page_size = size;
    if (!is_ok(store_new_mem(env, &replica, &err))) sim_fatal("%s", err.text);
    mem = replica->ops;
    slow_ops = *mem;
    slow_ops.put = slow_put;
    slow_ops.put_note = slow_put_note;
    slow_ops.get = slow_get;
    slow_ops.list = slow_list;
    slow_ops.remove = slow_remove;
    slow_ops.upload_open = slow_upload_open;
    slow_ops.upload_write = slow_upload_write;
    slow_ops.upload_abort = slow_upload_abort;
    slow_ops.upload_commit = slow_upload_commit;
    slow_ops.free = keep;
    replica->ops = &slow_ops;
    slowness = sim_one_in(3) ? 0 : sim_between(SIM_US, 6 * SIM_MS);
    return replica;
}

void shipped_hurry(void) {
    slowness = 0;
    atomic_store(&replica->abandoned, false);
}

void shipped_close(void) {
    mem->free(replica);
    replica = NULL;
    made.txid = made.pages = 0;
}
