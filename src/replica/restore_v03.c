/* Litestream 0.3: which snapshot and which segments make a state, and making it from them.
 *
 * The pieces of all objects are fetched some at a time, side by side, and decoded one after the
 * other: LZ4, then for segments SQLite's own log, whose pages are written where they belong. So it
 * takes no more memory for a large database, nor a file for the log. A log that ends within a
 * transaction, as one does whose last segments were never sent, shows only at its end; then all is
 * done once more, up to its last commit.
 *
 * Invariants
 *  1. Every object of a plan follows the one before it, or the plan is RC_CORRUPT: by name when it
 *     is made, by its bytes when they are there. Only the end of the last log may be missing.
 *  2. An error that comes of an object's bytes names it.
 */
#include "replica/v03.h"

#include <inttypes.h>
#include <lz4frame.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_PIECES (16u << 20) /* all that are fetched at once */
#define DECODED_SIZE (256u << 10)

static const struct v03_plan none = {.created_ms = INT64_MAX,
                                     .updated_ms = INT64_MIN,
                                     .first_ms = INT64_MAX,
                                     .newest_ms = INT64_MIN};

static void key_of(const struct v03_plan *p, const struct replica_file *o, char key[KEY_SIZE]) {
    v03_key(p->generation, o->level == V03_SEGMENT, (uint32_t)o->min_txid, o->max_txid, key);
}

static rc name_object(const struct v03_plan *p, const struct replica_file *o, rc r, struct err *e) {
    char key[KEY_SIZE];
    if (r.code != RC_CORRUPT) return r;
    key_of(p, o, key);
    return err_prefix(e, r, "%s", key);
}

/* ---- planning ---- */

/* What only looks like one of these may be a part of the backup: then it must not be left out. */
static rc take_object(struct v03_plan *p, int level, const struct object_info *info,
                      struct err *e) {
    struct replica_file o = {
        .level = level, .size_bytes = info->size_bytes, .time_ms = info->time_ms};
    const char *end = strrchr(info->name, '.');
    uint32_t index = 0;
    if (!end || strcmp(end, ".lz4") != 0) return ok();
    if (!v03_name_parse(info->name, level == V03_SEGMENT, &index, &o.max_txid))
        snprintf(p->stranger, sizeof p->stranger, "%s", info->name);
    o.min_txid = index;
    if (o.time_ms < p->created_ms) p->created_ms = o.time_ms;
    if (o.time_ms > p->updated_ms) p->updated_ms = o.time_ms;
    return listing_append(&p->objects, &o, e);
}

static rc take_snapshot(void *arg, const struct object_info *info, struct err *e) {
    struct v03_plan *p = arg;
    TRY(take_object(p, V03_SNAPSHOT, info, e));
    if (info->time_ms < p->first_ms) p->first_ms = info->time_ms;
    p->snapshots = p->objects.count;
    return ok();
}

static rc take_segment(void *arg, const struct object_info *info, struct err *e) {
    return take_object(arg, V03_SEGMENT, info, e);
}

static rc list_generation(struct store *store, struct v03_plan *p, struct err *e) {
    char dir[KEY_SIZE];
    snprintf(dir, sizeof dir, "generations/%s/snapshots", p->generation);
    TRY(store->ops->list(store, dir, take_snapshot, p, e));
    snprintf(dir, sizeof dir, "generations/%s/wal", p->generation);
    TRY(store->ops->list(store, dir, take_segment, p, e));
    listing_sort(&p->objects);
    return ok();
}

static bool is_by(int64_t then_ms, int64_t time_ms) {
    return !time_ms || then_ms <= time_ms;
}

/* The segments that follow a snapshot: up to the first that is too late, as 0.3.13 has it. Gives
 * the first of them that cannot come next (invariant 1), or NULL. */
static const struct replica_file *follow(const struct v03_plan *p, size_t snapshot, int64_t time_ms,
                                         size_t *from, size_t *to) {
    const struct replica_file *o = p->objects.files, *loose = NULL;
    uint64_t index = o[snapshot].min_txid;
    size_t i = p->snapshots;
    while (i < p->objects.count && o[i].min_txid < index) i++;
    for (*from = i; i < p->objects.count && is_by(o[i].time_ms, time_ms); i++) {
        uint64_t want = index + (i > *from && !o[i].max_txid); /* each index begins at 0 */
        if (!loose && (o[i].min_txid != want || (i == *from && o[i].max_txid))) loose = &o[i];
        index = o[i].min_txid;
    }
    *to = i;
    return loose;
}

/* The newest snapshot by then. But the log may have reached the store later than a snapshot that
 * holds a part of it: replayed to an end before that, it would turn pages back to what they were
 * while others stay new. So rather one whose log by then ends after it, where there is such. */
static size_t choose_snapshot(const struct v03_plan *p, int64_t time_ms) {
    const struct replica_file *o = p->objects.files;
    size_t newest = p->snapshots, from, to;
    for (size_t i = p->snapshots; i-- > 0;) {
        if (!is_by(o[i].time_ms, time_ms)) continue;
        if (newest == p->snapshots) newest = i;
        const struct replica_file *loose = follow(p, i, time_ms, &from, &to);
        bool covered = from == to || o[to - 1].time_ms >= o[i].time_ms;
        if (!time_ms || (covered && !loose)) return i;
    }
    return newest;
}

/* Leaves what makes the state at that time. */
static rc choose(struct v03_plan *p, int64_t time_ms, struct err *e) {
    struct replica_file *o = p->objects.files;
    size_t snapshot = choose_snapshot(p, time_ms), from, to;
    if (*p->stranger)
        return err_set(e, RC_CORRUPT, "generations/%s: '%s' is not a name of Litestream 0.3",
                       p->generation, p->stranger);
    if (snapshot == p->snapshots && !time_ms)
        return err_set(e, RC_CORRUPT, "generations/%s: it has no snapshot", p->generation);
    if (snapshot == p->snapshots) return ok();
    const struct replica_file *loose = follow(p, snapshot, time_ms, &from, &to);
    if (loose)
        return name_object(p, loose, err_set(e, RC_CORRUPT, "what goes before it is missing"), e);
    o[0] = o[snapshot];
    memmove(o + 1, o + from, (to - from) * sizeof *o);
    p->objects.count = 1 + to - from;
    int64_t last_ms = o[to - from].time_ms;
    p->newest_ms = last_ms > o->time_ms ? last_ms : o->time_ms;
    return ok();
}

static rc take_generation(void *arg, const char *name, struct err *e) {
    struct buf *names = arg;
    if (v03_is_generation(name)) buf_put(names, name, V03_GENERATION_SIZE);
    return buf_check(names, "generations", e);
}

/* Of the generations that had begun by then, the one that was written to last, as 0.3.13 has it. */
static rc choose_generation(struct store *store, const struct buf *names, int64_t time_ms,
                            struct v03_plan *best, struct err *e) {
    for (size_t at = 0; at < names->size; at += V03_GENERATION_SIZE) {
        struct v03_plan p = none;
        p.first_ms = best->first_ms;
        memcpy(p.generation, names->bytes + at, V03_GENERATION_SIZE);
        rc r = list_generation(store, &p, e);
        best->first_ms = p.first_ms;
        if (is_ok(r) && p.objects.count && is_by(p.created_ms, time_ms) &&
            p.updated_ms > best->updated_ms) {
            listing_deinit(&best->objects);
            *best = p;
        } else listing_deinit(&p.objects);
        TRY(r);
    }
    return ok();
}

rc v03_plan_make(struct store *store, int64_t time_ms, int64_t than_ms, struct v03_plan *out,
                 struct err *e) {
    struct buf names;
    *out = none;
    buf_init(&names, LIMIT_OBJECTS);
    rc r = store->ops->list_dirs(store, "generations", take_generation, &names, e);
    if (is_ok(r)) r = choose_generation(store, &names, time_ms, out, e);
    buf_deinit(&names);
    if (is_ok(r) && out->updated_ms > than_ms) r = choose(out, time_ms, e);
    if (out->newest_ms <= than_ms) listing_deinit(&out->objects);
    return is_ok(r) ? r : err_prefix(e, r, "%s", store->url);
}

rc replica_no_backup(struct store *store, struct err *e) {
    struct v03_plan plan;
    rc r = v03_plan_make(store, 0, INT64_MIN, &plan, e);
    bool any = plan.objects.count > 0;
    listing_deinit(&plan.objects);
    TRY(r);
    if (!any) return err_set(e, RC_NOTFOUND, "no backup at %s", store->url);
    return err_set(e, RC_USAGE,
                   "%s holds a replica of Litestream 0.3 only: `holdfast restore` reads it, the "
                   "newest state or that of a time (it knows no TXIDs)",
                   store->url);
}

/* ---- fetching ---- */

/* A part of an object, on its way. */
struct piece {
    const struct replica_file *object;
    uint64_t at;
    size_t size;
    uint8_t *bytes;
};

struct build {
    const struct v03_plan *plan;
    struct fetch *f;
    LZ4F_dctx *lz4;
    bool ended;       /* the object's LZ4 frame */
    uint64_t decoded; /* bytes of the snapshot */
    struct v03_log log;
    uint64_t frames, committed, stop; /* since the snapshot; stop: how many are wanted */
    struct piece pieces[PARALLEL_MOST];
    uint8_t bytes[LIMIT_PIECES], out[DECODED_SIZE];
};

static void get_piece(void *arg, int i) {
    const struct build *b = arg;
    const struct piece *p = &b->pieces[i];
    struct store *store = b->f->store;
    char key[KEY_SIZE];
    struct err e;
    if (!is_ok(fetch_outcome(b->f, NULL))) return;
    key_of(b->plan, p->object, key);
    rc r = store->ops->get(store, key, p->at, p->bytes, p->size, &e);
    if (!is_ok(r)) fetch_fail_object(b->f, err_prefix(&e, r, "%s", key), &e);
    atomic_fetch_add(&b->f->bytes_fetched, p->size);
    if (b->f->progress) atomic_fetch_add(&b->f->progress->bytes_done, p->size);
}

/* The next pieces, from *object on at *at; both are moved. */
static rc get_pieces(struct build *b, size_t *object, uint64_t *at, int *count, struct err *e) {
    size_t room = LIMIT_PIECES / (size_t)b->f->parallel;
    int n = 0;
    for (; n < b->f->parallel && *object < b->plan->objects.count; n++) {
        const struct replica_file *o = &b->plan->objects.files[*object];
        uint64_t left = o->size_bytes - *at;
        size_t size = left < room ? (size_t)left : room;
        b->pieces[n] = (struct piece){o, *at, size, b->bytes + (size_t)n * room};
        *at = size < left ? *at + size : 0;
        *object += size == left;
    }
    TRY(b->f->store->env->parallel(b->f->store->env, n, n, get_piece, b, e));
    *count = n;
    return fetch_outcome(b->f, e);
}

/* ---- building ---- */

static rc write_out(struct build *b, uint64_t at, const void *bytes, size_t n, struct err *e) {
    struct env *env = b->f->store->env;
    atomic_fetch_add(&b->f->bytes_written, n);
    return env->files->write(env, b->f->out, at, bytes, n, e);
}

/* The log of an index is at its end: as after a checkpoint. */
static rc end_log(struct build *b, struct err *e) {
    struct env *env = b->f->store->env;
    if (b->frames != b->committed)
        return err_set(e, RC_CORRUPT, "the log before it ends within a transaction");
    memset(&b->log, 0, sizeof b->log);
    uint64_t size = (uint64_t)b->f->page_count * b->f->page_size;
    return env->files->truncate(env, b->f->out, size, e);
}

static rc take_frame(struct build *b, const struct wal_frame_header *h, const uint8_t *page,
                     struct err *e) {
    struct fetch *f = b->f;
    struct env *env = f->store->env;
    if (b->log.header.page_size != f->page_size)
        return err_set(e, RC_CORRUPT, "pages of %u bytes, where the snapshot has %u",
                       b->log.header.page_size, f->page_size);
    if (b->frames == b->stop) return ok();
    TRY(write_out(b, (uint64_t)(h->pgno - 1) * f->page_size, page, f->page_size, e));
    b->frames++;
    if (!h->commit) return ok();
    b->committed = b->frames;
    if (h->commit > f->page_count)
        TRY(env->files->reserve(env, f->out, (uint64_t)h->commit * f->page_size, e));
    f->page_count = h->commit;
    return ok();
}

static rc take_decoded(struct build *b, bool segment, size_t n, struct err *e) {
    struct rd in = rd_of(b->out, n);
    struct wal_frame_header h;
    const uint8_t *page;
    if (!segment) {
        b->decoded += n;
        return write_out(b, b->decoded - n, b->out, n, e);
    }
    for (;;) {
        TRY(v03_log_next(&b->log, &in, &h, &page, e));
        if (!h.pgno) return ok();
        TRY(take_frame(b, &h, page, e));
    }
}

static rc decode(struct build *b, const struct piece *p, struct err *e) {
    size_t at = 0, in, out;
    do {
        if (b->ended) return err_set(e, RC_CORRUPT, "bytes after the end of its LZ4 frame");
        in = p->size - at;
        out = DECODED_SIZE;
        size_t more = LZ4F_decompress(b->lz4, b->out, &out, p->bytes + at, &in, NULL);
        if (LZ4F_isError(more))
            return err_set(e, RC_CORRUPT, "not LZ4, or damaged: %s", LZ4F_getErrorName(more));
        at += in;
        b->ended = more == 0;
        TRY(take_decoded(b, p->object->level == V03_SEGMENT, out, e));
    } while (at < p->size || (out == DECODED_SIZE && !b->ended));
    return ok();
}

static rc begin_object(struct build *b, const struct piece *p, struct err *e) {
    static const char age[] = "age-encryption.org/";
    const struct replica_file *o = p->object;
    b->ended = false;
    if (p->size >= sizeof age - 1 && memcmp(p->bytes, age, sizeof age - 1) == 0)
        return err_set(e, RC_CORRUPT, "encrypted with age: decrypt a copy of the replica first");
    if (o->level == V03_SNAPSHOT) return ok();
    if (o->max_txid == 0) TRY(end_log(b, e));
    if (o->max_txid == b->log.size) return ok();
    return err_set(e, RC_CORRUPT, "the log before it ends at byte %" PRIu64, b->log.size);
}

static rc end_object(struct build *b, const struct replica_file *o, struct err *e) {
    struct fetch *f = b->f;
    if (!b->ended) return err_set(e, RC_CORRUPT, "cut off: its LZ4 frame has no end");
    if (o->level == V03_SNAPSHOT)
        return replica_database_size(f->store->env, f->out, &f->page_size, &f->page_count, e);
    if (b->log.held || b->log.size == o->max_txid)
        return err_set(e, RC_CORRUPT, "it ends within a frame of the log");
    return ok();
}

static rc take_piece(struct build *b, const struct piece *p, struct err *e) {
    if (p->at == 0) TRY(begin_object(b, p, e));
    TRY(decode(b, p, e));
    return p->at + p->size == p->object->size_bytes ? end_object(b, p->object, e) : ok();
}

/* Up to `stop` frames. */
static rc build(struct build *b, uint64_t stop, struct err *e) {
    struct env *env = b->f->store->env;
    size_t object = 0;
    uint64_t at = 0;
    int count = 0;
    b->stop = stop;
    b->decoded = b->frames = b->committed = 0;
    LZ4F_resetDecompressionContext(b->lz4);
    if (b->f->progress) atomic_store(&b->f->progress->bytes_done, 0);
    TRY(env->files->truncate(env, b->f->out, 0, e));
    while (object < b->plan->objects.count) {
        TRY(get_pieces(b, &object, &at, &count, e));
        for (int i = 0; i < count; i++)
            TRY(name_object(b->plan, b->pieces[i].object, take_piece(b, &b->pieces[i], e), e));
    }
    return b->frames == b->committed ? end_log(b, e) : ok();
}

rc v03_fetch(const struct v03_plan *plan, struct fetch *f, struct err *e) {
    struct build *b = calloc(1, sizeof *b); /* what is not used of it costs nothing */
    uint64_t total = 0;
    rc r = b && !LZ4F_isError(LZ4F_createDecompressionContext(&b->lz4, LZ4F_VERSION))
               ? ok()
               : err_set(e, RC_NOMEM, "no memory");
    for (size_t i = 0; i < plan->objects.count; i++) total += plan->objects.files[i].size_bytes;
    if (f->progress) atomic_store(&f->progress->bytes_total, total);
    progress_phase(f->progress, 2);
    if (is_ok(r)) {
        b->plan = plan;
        b->f = f;
        r = build(b, UINT64_MAX, e);
        if (is_ok(r) && b->frames != b->committed) r = build(b, b->committed, e);
        LZ4F_freeDecompressionContext(b->lz4);
    }
    free(b);
    return r;
}
