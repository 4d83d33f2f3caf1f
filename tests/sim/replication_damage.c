/* Damage: each time something else is wrong in a bucket, and put right again.
 *
 * A forged object has right checksums and one page that is not what it was: what a store gives that
 * mixed up two databases, or a tool that made a mistake. Only the chain of sums tells.
 */
#include "replication.h"

#include "replica/internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum damage { GONE, FLIPPED, SHORTENED, SWAPPED, FORGED, DAMAGES };
static const char *const damages[] = {"gone", "flipped", "shortened", "swapped", "forged"};

/* ---- doing it ---- */

struct forgery {
    struct ltx_writer w;
    struct buf bytes;
    uint32_t left; /* pages before the one that changes */
};

static rc collect(void *arg, const void *bytes, size_t n, struct err *e) {
    buf_put(arg, bytes, n);
    return buf_check(arg, "object", e);
}

static rc copy_header(void *arg, const struct ltx_header *h, struct err *e) {
    struct forgery *f = arg;
    return ltx_writer_init(&f->w, h, LTX_BLOCKS, collect, &f->bytes, e);
}

static rc copy_page(void *arg, uint32_t pgno, const uint8_t *page, struct err *e) {
    struct forgery *f = arg;
    uint8_t copy[LIMIT_PAGE_SIZE];
    uint32_t size = f->w.header.page_size;
    memcpy(copy, page, size);
    if (f->left-- == 0) copy[below(size)] ^= (uint8_t)(1u << below(8));
    return ltx_writer_page(&f->w, pgno, copy, e);
}

static void forge(struct object *o) {
    struct forgery f = {.left = below(o->page_count)};
    struct ltx_reader *r;
    struct err e;
    uint64_t checksum, size;
    buf_init(&f.bytes, 64u << 20);
    ENSURE(is_ok(ltx_reader_new(&r, (struct ltx_reader_events){copy_header, copy_page, &f}, &e)));
    ENSURE(is_ok(ltx_reader_feed(r, o->bytes, o->size, &e)) &&
           is_ok(ltx_reader_finish(r, &checksum, &e)) &&
           is_ok(ltx_writer_finish(&f.w, &checksum, &size, &e)));
    ltx_reader_free(r);
    ltx_writer_deinit(&f.w);
    o->bytes = realloc(o->bytes, f.bytes.size);
    ENSURE(o->bytes);
    memcpy(o->bytes, f.bytes.bytes, f.bytes.size);
    o->size = f.bytes.size;
    buf_deinit(&f.bytes);
}

static void do_damage(struct bucket *b, struct object *o, enum damage d, struct object *saved) {
    *saved = *o;
    saved->bytes = malloc(o->size);
    ENSURE(saved->bytes);
    memcpy(saved->bytes, o->bytes, o->size);
    const struct object *other = d == SWAPPED ? &b->objects[below((uint32_t)b->count)] : NULL;
    switch (d) {
    case GONE: o->gone_ns = now_ns; return;
    case FLIPPED: o->bytes[below((uint32_t)o->size)] ^= (uint8_t)(1u << below(8)); return;
    case SHORTENED: o->size = below((uint32_t)o->size); return;
    case SWAPPED:
        if (other->size < o->size) o->size = other->size;
        memcpy(o->bytes, other->bytes, o->size);
        return;
    case FORGED: forge(o); return;
    case DAMAGES: return;
    }
}

static void undo_damage(struct object *o, struct object *saved) {
    free(o->bytes);
    *o = *saved;
}

/* A block has more than one encoding, and another level's object of this range is as good. */
static bool is_the_same(const struct object *o, const struct object *saved) {
    struct object again = {.bytes = o->bytes, .size = o->size};
    struct err e;
    uint64_t checksum;
    if (o->gone_ns) return false;
    rc ended = oracle_read(&again, &checksum, &e);
    bool same = is_ok(ended) && again.page_count == saved->page_count &&
                again.header.min_txid == saved->header.min_txid &&
                again.header.max_txid == saved->header.max_txid &&
                again.header.commit == saved->header.commit;
    for (uint32_t i = 0; i < again.page_count && same; i++)
        same = again.pages[i].pgno == saved->pages[i].pgno &&
               again.pages[i].hash == saved->pages[i].hash;
    free(again.pages);
    return same;
}

/* ---- what must be told ---- */

/* Whether a walk by the finest files comes by the state at which it ends. */
static bool is_on_the_way(const struct listing *l, uint64_t txid) {
    uint64_t at = 0;
    while (at < txid) {
        const struct replica_file *next = NULL;
        for (size_t i = 0; i < l->count; i++) {
            const struct replica_file *f = &l->files[i];
            if (f->min_txid - 1 > at || f->max_txid <= at) continue;
            if (!next || f->level < next->level) next = f;
        }
        if (!next) return false;
        at = next->max_txid;
    }
    return at == txid;
}

/* Of level 0, one before it that may go, and one behind: retention makes no such gap, but around a
 * pin. */
static bool leaves_a_gap(struct bucket *b, const struct object *gone) {
    bool before = false, behind = false;
    if (gone->file.level || bucket_find(b, PINS)) return false;
    for (size_t i = 0; i < b->count; i++) {
        const struct object *o = &b->objects[i];
        if (!o->ltx || o->gone_ns || o->file.level) continue;
        before |= o->file.max_txid == gone->file.min_txid - 1 && !file_is_permanent(&o->file);
        behind |= o->file.min_txid == gone->file.max_txid + 1;
    }
    return before && behind;
}

/* `l` is what is there. */
static bool verify_must_tell(struct bucket *b, const struct listing *l, const struct object *o,
                             enum damage d) {
    if (d == GONE) return leaves_a_gap(b, o);
    return d != FORGED || is_on_the_way(l, o->file.max_txid);
}

/* An error that names what is wrong and leaves no file; or exactly the state asked for. */
static void restore_damaged(struct bucket *b, const char *dir, struct env *env, uint64_t asked,
                            uint64_t newest, const struct object *o, enum damage d) {
    struct restore_result result;
    struct err e;
    rc r = oracle_restore(b, dir, env, (struct target){.txid = asked}, &result, &e);
    trace("%s: %s %s, TXID %" PRIx64 " asked for: %s", b->name, o->key, damages[d], asked,
          is_ok(r) ? "restored" : e.text);
    if (!is_ok(r)) {
        count.damages_told++;
        if (access(oracle_restored, F_OK) == 0)
            violated("I11 fail loud", "a file is left: %s", e.text);
        if (r.code == RC_CORRUPT && d != GONE && d != FORGED &&
            !strstr(e.text, strrchr(o->key, '/') + 1))
            violated("I11 fail loud", "%s is damaged (%d), and is not named: %s", o->key, (int)d,
                     e.text);
        return;
    }
    const struct slot *s = oracle_slot(b, result.txid);
    uint64_t wanted = asked ? asked : newest;
    if (!s || result.txid != wanted)
        violated("I11 fail loud",
                 "%s %s is damaged (%d): TXID %" PRIx64 " and not %" PRIx64 ", without a word",
                 b->name, o->key, (int)d, result.txid, wanted);
    state_check_file(oracle_restored, s->state, "I11 fail loud");
    unlink(oracle_restored);
}

static void verify_damaged(struct bucket *b, struct env *env, const struct object *o,
                           enum damage d) {
    struct verify_result result;
    struct err e;
    struct store *store = bucket_open(b, NULL, env);
    if (is_ok(replica_verify(store, 1, NULL, &result, &e)))
        violated("I11 fail loud", "%s %s is %s, and verify is content", b->name, o->key,
                 damages[d]);
    count.verify_told++;
    store_free(store);
}

void oracle_damage(struct bucket *b, const char *dir, struct env *env, int times) {
    uint64_t newest = oracle_newest_txid(b);
    for (int i = 0; i < times && b->count; i++) {
        struct object *o = &b->objects[below((uint32_t)b->count)], saved;
        enum damage d = below(DAMAGES);
        if (!o->ltx || o->gone_ns || (d == FORGED && !o->page_count)) continue;
        if (d == GONE && o->file.max_txid == newest) continue; /* nothing tells of the very last */
        do_damage(b, o, d, &saved);
        if (!is_the_same(o, &saved)) {
            struct listing l = {0};
            size_t n;
            count.damages++;
            bucket_list(b, &l);
            uint64_t *can = oracle_restorable(&l, &n);
            restore_damaged(b, dir, env, 0, newest, o, d);
            if (n && chance(500))
                restore_damaged(b, dir, env, can[below((uint32_t)n)], newest, o, d);
            if (verify_must_tell(b, &l, o, d)) verify_damaged(b, env, o, d);
            free(can);
            listing_deinit(&l);
        }
        undo_damage(o, &saved);
    }
}
