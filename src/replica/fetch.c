/* Fetching: every page once, in parallel, straight to its place.
 *
 * Load the page indexes; claim pages, newest file first, one bit a page, so that each is fetched
 * and decoded once; merge the claimed frames of a file into ranges; workers take range after range,
 * each with buffers of its own, decode and write in page order, and add up the pages' sums.
 *
 * Why a range carries bits and not a list: it remembers where its entries begin in the encoded
 * index, and one bit for each says whether it is wanted. That is all the memory that a page costs,
 * so a large database costs little more than a small one.
 *
 * Invariants
 *  1. A page of the result comes from the newest planned file that holds it, or from the base; a
 *     page from nowhere is an error.
 *  2. A file without a chain is read whole, so that its checksum covers what is taken from it.
 *     Files with one are read in parts when the last file's sum can prove the result, else whole.
 *  3. Buffers take at most LIMIT_BUFFERS, however many threads there are.
 */
#include "replica/fetch.h"

#include "base/hash.h"

#include <stdlib.h>
#include <string.h>

#define GAP (64u << 10)         /* unwanted bytes that are cheaper to fetch than to skip */
#define NEAR_RANGE (512u << 10) /* of a store without a network's way: what stays in a cache */
#define WRITE_SIZE (256u << 10)
#define LIMIT_BUFFERS (24u << 20)
#define FRAME_LEAST 8u /* bytes that a stored page takes, at the very least */
#define BITS_AT_ONCE 512u

struct range {
    int file;
    uint32_t entry_count;
    uint64_t offset, size;
    struct ltx_index_cursor from; /* before its first entry */
    uint8_t *wanted;              /* one bit an entry */
};

static void fail(struct fetch *f, rc r, const struct err *e) {
    if (atomic_exchange(&f->failed, true)) return;
    f->result = r;
    f->err = *e;
}

/* All objects that are asked for were listed. */
void fetch_fail_object(struct fetch *f, rc r, const struct err *e) {
    if (r.code == RC_NOTFOUND) atomic_store(&f->vanished, true);
    fail(f, r, e);
}

static bool stopped(struct fetch *f) {
    if (f->progress && atomic_load(&f->progress->cancel)) {
        struct err e;
        rc r = err_set(&e, RC_CANCELLED, "cancelled");
        fail(f, r, &e);
    }
    return atomic_load(&f->failed);
}

rc fetch_outcome(struct fetch *f, struct err *e) {
    if (!stopped(f)) return ok();
    if (e) *e = f->err;
    return f->result;
}

/* ---- headers and indexes ---- */

static void load_file(void *arg, int i) {
    struct fetch *f = arg;
    struct fetch_file *file = &f->files[i];
    struct err e;
    if (stopped(f)) return;
    rc r = replica_load(f->store, &file->file, &file->header, &file->index, &e);
    if (!is_ok(r)) fetch_fail_object(f, r, &e);
}

/* Files do not fit together; `file` is where that shows. */
static rc disagree(struct fetch *f, const struct fetch_file *file, rc r, struct err *e) {
    f->disagree = true;
    return replica_name(f->store, &file->file, r, e);
}

/* What a header says must be possible before anything is sized by it. */
static rc check_page_count(struct fetch *f, struct err *e) {
    uint64_t bytes = 0;
    for (int i = 0; i < f->file_count; i++) bytes += f->files[i].file.size_bytes;
    if (f->page_count <= f->base_pages + bytes / FRAME_LEAST + 1) return ok();
    rc r =
        err_set(e, RC_CORRUPT, "its header says %u pages: more than all files hold", f->page_count);
    return replica_name(f->store, &f->files[f->file_count - 1].file, r, e);
}

rc fetch_load(struct fetch *f, struct err *e) {
    progress_phase(f->progress, 1);
    TRY(f->store->env->parallel(f->store->env, f->parallel, f->file_count, load_file, f, e));
    TRY(fetch_outcome(f, e));
    const struct ltx_header *last = &f->files[f->file_count - 1].header;
    f->page_size = last->page_size;
    f->page_count = last->commit;
    f->sum = last->chain.present ? last->chain.sum : 0;
    /* The sum leaves the lock page out: it does not tell whether the database ends with it. */
    if (f->page_count + 1 - ltx_lock_page(f->page_size) <= 1)
        f->files[f->file_count - 1].whole = true;
    for (int i = 0; i < f->file_count; i++) {
        struct fetch_file *file = &f->files[i];
        if (!file->header.chain.present || !f->sum) file->whole = true;
        if (file->header.page_size == f->page_size) continue;
        rc r = err_set(e, RC_CORRUPT, "pages of %u bytes, where the last file has %u",
                       file->header.page_size, f->page_size);
        return disagree(f, file, r, e);
    }
    return check_page_count(f, e);
}

/* ---- claims ---- */

static rc new_range(struct fetch *f, int file, const struct ltx_index_cursor *from, uint64_t offset,
                    struct err *e) {
    if (f->range_count == f->range_room) {
        int room = f->range_room ? f->range_room * 2 : 64;
        struct range *ranges = realloc(f->ranges, (size_t)room * sizeof *ranges);
        if (!ranges) return err_set(e, RC_NOMEM, "no memory for %d ranges", room);
        f->ranges = ranges;
        f->range_room = room;
    }
    f->ranges[f->range_count++] = (struct range){.file = file, .from = *from, .offset = offset};
    return ok();
}

static rc add_entry(struct range *r, bool wanted, const struct ltx_entry *entry, struct err *e) {
    if (r->entry_count % BITS_AT_ONCE == 0) {
        uint8_t *bits = realloc(r->wanted, (r->entry_count + BITS_AT_ONCE) / 8);
        if (!bits) return err_set(e, RC_NOMEM, "no memory for a range");
        memset(bits + r->entry_count / 8, 0, BITS_AT_ONCE / 8);
        r->wanted = bits;
    }
    if (wanted) {
        r->wanted[r->entry_count / 8] |= (uint8_t)(1u << (r->entry_count % 8));
        r->size = entry->offset + entry->size - r->offset;
    }
    r->entry_count++;
    return ok();
}

static bool is_wanted(const struct range *r, uint32_t i) {
    return r->wanted[i / 8] >> (i % 8) & 1;
}

static uint64_t range_limit(const struct fetch *f) {
    uint64_t most = f->store->layout == LAYOUT_BUCKET ? LIMIT_RANGE : NEAR_RANGE;
    uint64_t room = LIMIT_BUFFERS / (uint64_t)f->parallel - WRITE_SIZE;
    return room < most ? room : most;
}

static bool fits(const struct fetch *f, const struct range *r, const struct ltx_entry *entry) {
    uint64_t wanted_to = r->offset + r->size, end = entry->offset + entry->size;
    return entry->offset - wanted_to <= GAP && end - r->offset <= range_limit(f);
}

static rc claim(struct fetch *f, uint32_t pgno, bool *wanted, struct err *e) {
    *wanted = pgno <= f->page_count && !bitmap_has(&f->claimed, pgno);
    return *wanted ? bitmap_add(&f->claimed, pgno, e) : ok();
}

/* Walk one index: claim what no newer file holds, and cut that into ranges. A file that is read
 * whole is one range, also when nothing of it is wanted. */
static rc claim_file(struct fetch *f, int number, struct err *e) {
    const struct fetch_file *file = &f->files[number];
    struct ltx_index_cursor c;
    struct ltx_entry entry;
    struct range *range = NULL;
    ltx_index_begin(&c, file->index.bytes, file->index.size, f->page_size, file->index.at);
    if (file->whole) TRY(new_range(f, number, &c, LTX_HEADER_SIZE, e));
    if (file->whole) range = &f->ranges[f->range_count - 1];
    for (;;) {
        struct ltx_index_cursor before = c;
        bool wanted;
        TRY(ltx_index_next(&c, &entry, e));
        if (!entry.pgno) return ok();
        TRY(claim(f, entry.pgno, &wanted, e));
        if (!file->whole && (!range || !fits(f, range, &entry))) {
            if (!wanted) continue;
            TRY(new_range(f, number, &before, entry.offset, e));
            range = &f->ranges[f->range_count - 1];
        }
        TRY(add_entry(range, wanted, &entry, e));
    }
}

static rc check_complete(struct fetch *f, struct err *e) {
    uint32_t lock = ltx_lock_page(f->page_size);
    for (uint64_t p = (uint64_t)f->base_pages + 1; p <= f->page_count; p++) {
        if (p == lock || bitmap_has(&f->claimed, (uint32_t)p)) continue;
        rc r = err_set(e, RC_CORRUPT, "page %u of its %u is in no file of the plan", (uint32_t)p,
                       f->page_count);
        return disagree(f, &f->files[f->file_count - 1], r, e);
    }
    return ok();
}

static uint64_t cost(const struct fetch *f, const struct range *r) {
    const struct fetch_file *file = &f->files[r->file];
    return file->whole ? file->file.size_bytes : r->size;
}

rc fetch_claim(struct fetch *f, struct err *e) {
    uint64_t total = 0;
    for (int i = f->file_count - 1; i >= 0; i--)
        TRY(replica_name(f->store, &f->files[i].file, claim_file(f, i, e), e));
    TRY(check_complete(f, e));
    for (int i = 0; i < f->range_count; i++) total += cost(f, &f->ranges[i]);
    if (f->progress) atomic_store(&f->progress->bytes_total, total);
    return ok();
}

/* ---- pages ---- */

/* One worker's buffers. Pages that follow each other are written together. */
struct worker {
    struct fetch *f;
    uint8_t *range;
    size_t range_room;
    uint8_t *pages;
    size_t used;
    uint32_t first, next; /* page numbers in `pages` */
    uint64_t sum;
};

static rc flush(struct worker *w, struct err *e) {
    const struct env_files *files = w->f->store->env->files;
    if (w->used == 0) return ok();
    TRY(files->write(w->f->store->env, w->f->out, (uint64_t)(w->first - 1) * w->f->page_size,
                     w->pages, w->used, e));
    atomic_fetch_add(&w->f->bytes_written, w->used);
    w->used = 0;
    return ok();
}

/* Where page `pgno` is to be put; it is taken once page_placed says so. */
static rc place_page(struct worker *w, uint32_t pgno, uint8_t **page, struct err *e) {
    if (w->used && (pgno != w->next || w->used + w->f->page_size > WRITE_SIZE)) TRY(flush(w, e));
    if (w->used == 0) w->first = pgno;
    *page = w->pages + w->used;
    return ok();
}

static void page_placed(struct worker *w, uint32_t pgno) {
    w->sum += page_sum(pgno, w->pages + w->used, w->f->page_size);
    w->used += w->f->page_size;
    w->next = pgno + 1;
}

static rc decode_range(struct worker *w, const struct range *r, struct err *e) {
    struct ltx_index_cursor c = r->from;
    struct rd in = rd_of(w->range, (size_t)r->size);
    for (uint32_t i = 0; i < r->entry_count; i++) {
        struct ltx_entry entry;
        uint8_t *page;
        TRY(ltx_index_next(&c, &entry, e));
        if (entry.offset + entry.size > r->offset + r->size) break; /* none of the rest is wanted */
        const uint8_t *frame = rd_bytes(&in, entry.size);
        if (!is_wanted(r, i)) continue;
        TRY(place_page(w, entry.pgno, &page, e));
        TRY(ltx_frame_decode(frame, entry.size, w->f->page_size, entry.pgno, page, e));
        page_placed(w, entry.pgno);
    }
    return ok();
}

static rc reserve_range(struct worker *w, uint64_t size, struct err *e) {
    if (size <= w->range_room) return ok();
    free(w->range);
    w->range_room = 0;
    w->range = malloc((size_t)size);
    if (!w->range) return err_set(e, RC_NOMEM, "no memory for a range");
    w->range_room = (size_t)size;
    return ok();
}

static rc fetch_part(struct worker *w, const struct range *r, struct err *e) {
    struct store *store = w->f->store;
    const struct replica_file *file = &w->f->files[r->file].file;
    char key[KEY_SIZE];
    replica_key(store, file, key);
    rc result = reserve_range(w, r->size, e);
    if (is_ok(result))
        result = store->ops->get(store, key, r->offset, w->range, (size_t)r->size, e);
    if (is_ok(result)) result = decode_range(w, r, e);
    return replica_name(store, file, result, e);
}

/* A whole file as it streams by, beside its index as it was claimed. */
struct whole {
    struct worker *w;
    const struct range *range;
    struct ltx_index_cursor c;
    uint32_t at;
};

static rc take_page(void *arg, uint32_t pgno, const uint8_t *bytes, struct err *e) {
    struct whole *x = arg;
    struct ltx_entry entry = {0};
    uint8_t *page;
    if (stopped(x->w->f)) return err_set(e, RC_CANCELLED, "cancelled"); /* fail() was first */
    if (x->at < x->range->entry_count) TRY(ltx_index_next(&x->c, &entry, e));
    if (entry.pgno != pgno)
        return err_set(e, RC_CORRUPT, "page %u is not where the page index says", pgno);
    if (!is_wanted(x->range, x->at++)) return ok();
    TRY(place_page(x->w, pgno, &page, e));
    memcpy(page, bytes, x->w->f->page_size);
    page_placed(x->w, pgno);
    return ok();
}

static rc fetch_whole(struct worker *w, const struct range *r, struct err *e) {
    struct whole x = {.w = w, .range = r, .c = r->from};
    struct ltx_reader_events events = {NULL, take_page, &x};
    uint64_t checksum;
    return replica_read_whole(w->f->store, &w->f->files[r->file].file, range_limit(w->f), events,
                              &checksum, e);
}

static void fetch_one(struct worker *w, const struct range *r) {
    struct fetch *f = w->f;
    struct err e;
    rc result = f->files[r->file].whole ? fetch_whole(w, r, &e) : fetch_part(w, r, &e);
    if (!is_ok(result)) {
        fetch_fail_object(f, result, &e);
        return;
    }
    result = flush(w, &e);
    if (!is_ok(result)) fail(f, result, &e);
    atomic_fetch_add(&f->bytes_fetched, cost(f, r));
    if (f->progress) atomic_fetch_add(&f->progress->bytes_done, cost(f, r));
}

static void work(void *arg, int i) {
    struct fetch *f = arg;
    struct worker w = {.f = f, .pages = malloc(WRITE_SIZE)};
    struct err e;
    (void)i;
    if (!w.pages) fail(f, err_set(&e, RC_NOMEM, "no memory"), &e);
    while (!stopped(f)) {
        int at = atomic_fetch_add(&f->next_range, 1);
        if (at >= f->range_count) break;
        fetch_one(&w, &f->ranges[at]);
    }
    atomic_fetch_add(&f->sum_fetched, w.sum);
    free(w.range);
    free(w.pages);
}

rc fetch_pages(struct fetch *f, struct err *e) {
    progress_phase(f->progress, 2);
    int workers = f->parallel < f->range_count ? f->parallel : f->range_count;
    TRY(f->store->env->parallel(f->store->env, workers, workers, work, f, e));
    return fetch_outcome(f, e);
}

/* ---- the sum of what is there ---- */

static rc sum_piece(struct fetch *f, uint32_t first, uint8_t *bytes, struct err *e) {
    struct env *env = f->store->env;
    uint32_t lock = ltx_lock_page(f->page_size), count = WRITE_SIZE / f->page_size;
    uint64_t sum = 0;
    if (count > f->page_count - first + 1) count = f->page_count - first + 1;
    TRY(env->files->read(env, f->out, (uint64_t)(first - 1) * f->page_size, bytes,
                         (size_t)count * f->page_size, e));
    for (uint32_t i = 0; i < count; i++)
        if (first + i != lock)
            sum += page_sum(first + i, bytes + (size_t)i * f->page_size, f->page_size);
    atomic_fetch_add(&f->sum_fetched, sum);
    return ok();
}

static void sum_work(void *arg, int i) {
    struct fetch *f = arg;
    uint32_t pages = WRITE_SIZE / f->page_size;
    uint8_t *bytes = malloc(WRITE_SIZE);
    struct err e;
    rc r = bytes ? ok() : err_set(&e, RC_NOMEM, "no memory");
    for (uint64_t p = (uint64_t)i * pages + 1; is_ok(r) && p <= f->page_count && !stopped(f);
         p += (uint64_t)f->parallel * pages)
        r = sum_piece(f, (uint32_t)p, bytes, &e);
    free(bytes);
    if (!is_ok(r)) fail(f, r, &e);
}

rc fetch_sum_output(struct fetch *f, uint64_t *sum, struct err *e) {
    atomic_store(&f->sum_fetched, 0);
    TRY(f->store->env->parallel(f->store->env, f->parallel, f->parallel, sum_work, f, e));
    TRY(fetch_outcome(f, e));
    *sum = atomic_load(&f->sum_fetched);
    return ok();
}

void fetch_deinit(struct fetch *f) {
    for (int i = 0; i < f->file_count; i++) index_deinit(&f->files[i].index);
    for (int i = 0; i < f->range_count; i++) free(f->ranges[i].wanted);
    free(f->files);
    free(f->ranges);
    bitmap_deinit(&f->claimed);
}
