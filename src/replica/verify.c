/* Verification: reads every object once, decodes it, and walks the states.
 *
 * The walk takes the finest file that continues the state (level 0 where there is one, else the
 * level above that does, the snapshots last), from TXID 1 on. Files that end where the walk comes
 * by are compared with the state there, page by page. Others (level-0 files whose predecessors
 * retention has taken) can be checked by themselves only.
 *
 * Small files are decoded ahead, in parallel, to the sums of their pages; large ones stream
 * through.
 *
 * Invariants
 *  1. Objects are judged in order of their TXIDs, so the first that breaks is the one named.
 *  2. Memory is the state's, and the sums of at most LIMIT_AHEAD bytes of files.
 *  3. A level without gaps, pins and permanent files aside: retention takes its old end only. Above
 *     level 0 what ends before the oldest snapshot is aside, too: that old end may have gone all
 *     but for an object that retention does not know of, and none of its states is promised.
 */
#include "replica/notes.h"
#include "replica/state.h"

#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VANISH_MAX 50
#define SAME_MAX 5
#define LAG_NS 100000000 /* and more, each time */
#define LIMIT_SMALL (4u << 20)
#define LIMIT_AHEAD (16u << 20)
#define AHEAD 64u
#define ENTRY_SIZE 12u /* a page number and a sum */

enum use { APPLY, COMPARE, ALONE, HOLE };

struct step {
    const struct replica_file *file;
    enum use use;
};

struct walk {
    struct store *store;
    struct progress *progress;
    struct verify_result *result;
    struct state state;
    struct step *steps;
    size_t count;
    atomic_bool failed; /* a read, otherwise than by what its file is */
};

/* A decoded file: its header, and a number and a sum for each page. */
struct digest {
    struct walk *walk;
    const struct replica_file *file;
    struct ltx_header header;
    struct buf pages;
    rc result;
    struct err err;
};

/* ---- the order ---- */

static int by_end(const void *pa, const void *pb) {
    const struct replica_file *a = *(const struct replica_file *const *)pa;
    const struct replica_file *b = *(const struct replica_file *const *)pb;
    if (a->max_txid != b->max_txid) return a->max_txid < b->max_txid ? -1 : 1;
    return a < b ? -1 : a > b; /* as they are listed */
}

/* Where each level stands: files that end at or before the state are behind. */
struct cursors {
    size_t next[LIMIT_LEVELS], from[LIMIT_LEVELS + 1];
};

static const struct replica_file *finest_next(struct cursors *c, const struct listing *l,
                                              uint64_t at) {
    for (int level = 0; level < LIMIT_LEVELS; level++) {
        size_t *next = &c->next[level];
        while (*next < c->from[level + 1] && l->files[*next].max_txid <= at) ++*next;
        if (*next < c->from[level + 1] && l->files[*next].min_txid - 1 <= at)
            return &l->files[*next];
    }
    return NULL;
}

static void add_step(struct walk *w, const struct replica_file *f, enum use use) {
    w->steps[w->count++] = (struct step){f, use};
}

static void order(struct walk *w, const struct listing *l, const struct replica_file **files) {
    struct cursors c;
    const struct replica_file *f;
    size_t at = 0;
    uint64_t txid = 0;
    listing_levels(l, c.from);
    memcpy(c.next, c.from, sizeof c.next);
    for (; (f = finest_next(&c, l, txid)) != NULL; txid = f->max_txid) {
        for (; files[at]->max_txid < f->max_txid; at++) add_step(w, files[at], ALONE);
        add_step(w, f, APPLY);
        for (; at < l->count && files[at]->max_txid == f->max_txid; at++)
            if (files[at] != f) add_step(w, files[at], COMPARE);
    }
    for (; at < l->count; at++) add_step(w, files[at], HOLE);
}

static rc make_steps(struct walk *w, const struct listing *l, struct err *e) {
    const struct replica_file **files = malloc((l->count + 1) * sizeof *files);
    w->steps = malloc((l->count + 1) * sizeof *w->steps);
    if (!files || !w->steps) {
        free(files);
        return err_set(e, RC_NOMEM, "no memory for %zu objects", l->count);
    }
    for (size_t i = 0; i < l->count; i++) files[i] = &l->files[i];
    qsort(files, l->count, sizeof *files, by_end);
    order(w, l, files);
    free(files);
    return ok();
}

/* ---- decoding ahead ---- */

static rc digest_header(void *arg, const struct ltx_header *h, struct err *e) {
    struct digest *d = arg;
    (void)e;
    d->header = *h;
    return ok();
}

static rc digest_page(void *arg, uint32_t pgno, const uint8_t *page, struct err *e) {
    struct digest *d = arg;
    buf_u32be(&d->pages, pgno);
    buf_u64be(&d->pages, page_sum(pgno, page, d->header.page_size));
    return buf_check(&d->pages, "sums of pages", e);
}

static bool is_about_the_file(rc r) {
    return is_ok(r) || r.code == RC_CORRUPT || r.code == RC_NOTFOUND;
}

static void digest_make(void *arg, int i) {
    struct digest *d = (struct digest *)arg + i;
    uint64_t checksum;
    if (atomic_load(&d->walk->failed)) return; /* a store that is away costs its patience once */
    buf_init(&d->pages, LIMIT_AHEAD);
    d->result = replica_read_whole(d->walk->store, d->file, 0,
                                   (struct ltx_reader_events){digest_header, digest_page, d},
                                   &checksum, &d->err);
    if (!is_about_the_file(d->result)) atomic_store(&d->walk->failed, true);
}

/* ---- one file ---- */

static rc begin(struct walk *w, enum use use, const struct ltx_header *h, struct err *e) {
    if (use == APPLY) return state_apply_begin(&w->state, h, e);
    if (use == COMPARE) return state_compare_begin(&w->state, h, e);
    return ok();
}

static rc page(struct walk *w, enum use use, uint32_t pgno, uint64_t sum, struct err *e) {
    w->result->pages++;
    if (use == APPLY) return state_apply_page(&w->state, pgno, sum, e);
    if (use == COMPARE) return state_compare_page(&w->state, pgno, sum, e);
    return ok();
}

static rc end(struct walk *w, enum use use, struct err *e) {
    if (use == APPLY) return state_apply_end(&w->state, e);
    if (use == COMPARE) return state_compare_end(&w->state, e);
    w->state.links_unknown++;
    return ok();
}

static rc judge_digest(struct walk *w, enum use use, const struct digest *d, struct err *e) {
    struct rd r = rd_of(d->pages.bytes, d->pages.size);
    TRY(begin(w, use, &d->header, e));
    while (rd_left(&r)) {
        uint32_t pgno = rd_u32be(&r);
        TRY(page(w, use, pgno, rd_u64be(&r), e));
    }
    return end(w, use, e);
}

struct stream {
    struct walk *w;
    enum use use;
    uint32_t page_size;
};

static rc stream_header(void *arg, const struct ltx_header *h, struct err *e) {
    struct stream *s = arg;
    s->page_size = h->page_size;
    return begin(s->w, s->use, h, e);
}

static rc stream_page(void *arg, uint32_t pgno, const uint8_t *bytes, struct err *e) {
    struct stream *s = arg;
    return page(s->w, s->use, pgno, page_sum(pgno, bytes, s->page_size), e);
}

static rc judge_stream(struct walk *w, const struct step *step, struct err *e) {
    struct stream s = {.w = w, .use = step->use};
    uint64_t checksum;
    TRY(replica_read_whole(w->store, step->file, 0,
                           (struct ltx_reader_events){stream_header, stream_page, &s}, &checksum,
                           e));
    return replica_name(w->store, step->file, end(w, step->use, e), e);
}

static rc judge_hole(struct walk *w, const struct step *step, struct err *e) {
    unsigned long long at = w->state.txid, next = step->file->min_txid;
    for (size_t i = (size_t)(step - w->steps); i < w->count; i++)
        if (w->steps[i].file->min_txid < next) next = w->steps[i].file->min_txid;
    rc r = at ? err_set(e, RC_CORRUPT,
                        "hole between TXID %llu and %llu: what lay between is missing", at, next)
              : err_set(e, RC_CORRUPT, "no object begins at TXID 1: there is nothing to build on");
    return replica_name(w->store, step->file, r, e);
}

static rc judge(struct walk *w, const struct step *step, const struct digest *d, struct err *e) {
    if (step->use == HOLE) return judge_hole(w, step, e);
    if (!d) return judge_stream(w, step, e);
    if (!is_ok(d->result)) {
        if (e) *e = d->err;
        return d->result;
    }
    return replica_name(w->store, step->file, judge_digest(w, step->use, d, e), e);
}

/* ---- all of them ---- */

static rc one(struct walk *w, const struct step *step, const struct digest *d, struct err *e) {
    if (w->progress && atomic_load(&w->progress->cancel))
        return err_set(e, RC_CANCELLED, "cancelled");
    rc r = judge(w, step, d, e);
    if (r.code == RC_CORRUPT || r.code == RC_NOTFOUND)
        replica_key(w->store, step->file, w->result->broken);
    TRY(r);
    w->result->files++;
    w->result->bytes += step->file->size_bytes;
    w->result->txid = w->state.txid;
    w->result->links_checked = w->state.links_checked;
    w->result->links_unknown = w->state.links_unknown;
    if (w->progress) atomic_fetch_add(&w->progress->bytes_done, step->file->size_bytes);
    return ok();
}

/* How many of the next steps can be decoded together; 0: the next is to be streamed, or a hole. */
static size_t ahead(const struct walk *w, size_t at) {
    uint64_t bytes = 0;
    size_t n = 0;
    for (; n < AHEAD && at + n < w->count; n++) {
        const struct step *s = &w->steps[at + n];
        bytes += s->file->size_bytes;
        if (s->use == HOLE || s->file->size_bytes > LIMIT_SMALL || bytes > LIMIT_AHEAD) break;
    }
    return n;
}

static rc together(struct walk *w, size_t at, size_t n, int parallel, struct err *e) {
    struct digest *digests = calloc(n, sizeof *digests);
    if (!digests) return err_set(e, RC_NOMEM, "no memory");
    for (size_t i = 0; i < n; i++) {
        digests[i].walk = w;
        digests[i].file = w->steps[at + i].file;
    }
    rc r = w->store->env->parallel(w->store->env, parallel, (int)n, digest_make, digests, e);
    for (size_t i = 0; is_ok(r) && i < n; i++)
        if (!is_about_the_file(digests[i].result)) r = one(w, &w->steps[at + i], &digests[i], e);
    for (size_t i = 0; is_ok(r) && i < n; i++) r = one(w, &w->steps[at + i], &digests[i], e);
    for (size_t i = 0; i < n; i++) buf_deinit(&digests[i].pages);
    free(digests);
    return r;
}

static rc walk(struct walk *w, int parallel, struct err *e) {
    for (size_t at = 0; at < w->count;) {
        size_t n = ahead(w, at);
        if (n) TRY(together(w, at, n, parallel, e));
        else TRY(one(w, &w->steps[at], NULL, e));
        at += n ? n : 1;
    }
    return ok();
}

rc verify_listing(struct store *store, const struct listing *l, int parallel,
                  struct progress *progress, struct verify_result *out, struct err *e) {
    struct walk *w = calloc(1, sizeof *w);
    uint64_t total = 0;
    *out = (struct verify_result){0};
    if (!w) return err_set(e, RC_NOMEM, "no memory");
    w->store = store;
    w->progress = progress;
    w->result = out;
    state_init(&w->state, store->env);
    for (size_t i = 0; i < l->count; i++) total += l->files[i].size_bytes;
    if (progress) atomic_store(&progress->bytes_total, total);
    progress_phase(progress, 3);
    rc r = make_steps(w, l, e);
    if (is_ok(r)) r = walk(w, replica_parallel(parallel), e);
    if (is_ok(r)) progress_phase(progress, 4);
    state_deinit(&w->state);
    free(w->steps);
    free(w);
    return r;
}

/* The end of the oldest object that builds on none: the floor of a retention that was done. 0:
 * there is none. */
static uint64_t oldest_base(const struct listing *l) {
    uint64_t end = 0;
    for (const struct replica_file *f = l->files; f < l->files + l->count; f++)
        if (f->min_txid == 1 && !file_is_permanent(f) && (!end || f->max_txid < end))
            end = f->max_txid;
    return end;
}

/* A level that goes on after a gap has lost an object, though others may lead over it. */
static rc check_levels(struct store *store, const struct listing *l, struct verify_result *out,
                       struct err *e) {
    uint64_t *pins = NULL, base = oldest_base(l);
    size_t pin_count = 0;
    struct listing keep = {0};
    TRY(replica_read_pins(store, &pins, &pin_count, e));
    rc r = listing_add_pinned(l, pins, pin_count, &keep, e);
    for (size_t i = 1; is_ok(r) && i < l->count; i++) {
        const struct replica_file *f = &l->files[i - 1], *next = &l->files[i];
        if (!level_has_gap(f, next) || listing_has(&keep, f)) continue;
        if (f->level > 0 && next->min_txid <= base) continue;
        replica_key(store, next, out->broken);
        r = err_set(e, RC_CORRUPT, "%s: hole between TXID %llu and %llu in its level", out->broken,
                    (unsigned long long)f->max_txid, (unsigned long long)next->min_txid);
    }
    free(pins);
    listing_deinit(&keep);
    return r;
}

static rc verify_all(struct store *store, const struct listing *l, int parallel,
                     struct progress *progress, struct verify_result *out, struct err *e) {
    if (!l->count) return replica_no_backup(store, e);
    TRY(verify_listing(store, l, parallel, progress, out, e));
    return check_levels(store, l, out, e);
}

static rc verify_once(struct store *store, int parallel, struct progress *progress,
                      struct verify_result *out, struct err *e) {
    struct listing l = {0};
    *out = (struct verify_result){0};
    progress_phase(progress, 0);
    if (progress) atomic_store(&progress->bytes_done, 0);
    TRY(replica_list_backup(store, &l, NULL, e));
    rc r = verify_all(store, &l, parallel, progress, out, e);
    listing_deinit(&l);
    return r;
}

static rc result_of(rc r, const struct verify_result *v, const struct err *why, struct err *e) {
    if (is_ok(r)) return r;
    if (r.code == RC_NOTFOUND && v->broken[0])
        return err_set(e, RC_CORRUPT, "an object that is listed is not there: %s", why->text);
    return err_set(e, r.code, "%s", why->text);
}

/* Objects may vanish between listing and reading: retention was faster, and a new list does not
 * have them. One that stays in the lists is missing. (A list may lag behind for a moment.) */
rc replica_verify(struct store *store, int parallel, struct progress *progress,
                  struct verify_result *out, struct err *e) {
    struct err why;
    char before[sizeof out->broken] = "";
    rc r = ok();
    for (int i = 0, same = 0; i < VANISH_MAX && same < SAME_MAX; i++) {
        r = verify_once(store, parallel, progress, out, &why);
        if (r.code != RC_NOTFOUND || !out->broken[0]) break;
        same = strcmp(out->broken, before) == 0 ? same + 1 : 0;
        if (same) store->env->sleep_ns(store->env, same * LAG_NS);
        memcpy(before, out->broken, sizeof before);
    }
    return result_of(r, out, &why, e);
}

rc replica_verify_listing(struct store *store, const struct listing *l, int parallel,
                          struct progress *progress, struct verify_result *out, struct err *e) {
    struct err why;
    *out = (struct verify_result){0};
    rc r = verify_all(store, l, parallel, progress, out, &why);
    return result_of(r, out, &why, e);
}
