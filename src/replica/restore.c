/* Restore: plan, fetch, prove, and only then give it a name.
 *
 * Why an unnamed file in the directory of the output: a crash leaves nothing there, and a link
 * gives it its name without replacing anything, whatever else happens meanwhile.
 *
 * Why times are read from headers for a time target: the store's times do not survive a copy. And
 * why two files more are then read whole: a header that is read by itself is covered by no
 * checksum, so the one that ends the plan and the one that would have come next must prove their
 * times.
 *
 * Invariants
 *  1. The output has no name until its sum is right (where one is known) and it is on stable
 *     storage.
 *  2. An object that vanishes between listing and reading is looked for again, by a new list and a
 *     new plan: retention may have been faster. LIST_TIMES times; after that it is missing.
 *  3. A failed proof names the object that breaks it, where that can be told.
 *  4. What is taken from a base is proven by the sum of the whole output; where no sum is known,
 *     nothing is taken from it.
 * After a crash at any point: nothing, or the whole output.
 */
#include "os/system.h"
#include "replica/fetch.h"
#include "replica/v03.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIST_TIMES 10
#define COPY_SIZE (1u << 20)

struct restore {
    struct store *store;
    struct env *env;
    const char *path;
    char dir[LIMIT_PATH];
    const struct restore_options *opt;
    const char *base_path; /* NULL: from nothing */
    int parallel;
    struct listing listing;
    struct v03_plan v03; /* empty: not what is restored */
    struct fetch fetch;
    struct file *base, *out;
    uint64_t base_size;
    uint32_t base_page_size;
    struct restore_result result;
};

/* ---- planning ---- */

/* The listing with the base for its one snapshot: what then is planned continues the base. `fresh`:
 * only with files that hold nothing that the base holds. */
static rc plan_from_base(const struct restore *r, bool fresh, struct plan *out, struct err *e) {
    struct listing with = {0};
    uint64_t txid = r->opt->base_txid;
    struct replica_file base = {
        .level = LEVEL_SNAPSHOT, .min_txid = 1, .max_txid = txid, .time_ms = INT64_MIN};
    rc result = listing_add(&with, base, e);
    for (size_t i = 0; is_ok(result) && i < r->listing.count; i++) {
        const struct replica_file *f = &r->listing.files[i];
        if (f->level != LEVEL_SNAPSHOT && (!fresh || f->min_txid > txid))
            result = listing_add(&with, *f, e);
    }
    if (is_ok(result)) result = plan_make(&with, r->opt->target, out, e);
    listing_deinit(&with);
    return result;
}

/* With a base: the files that continue it, when they lead as far as the plan from nothing does. */
static rc make_plan(const struct restore *r, struct plan *out, struct err *e) {
    struct err ignored;
    TRY(plan_make(&r->listing, r->opt->target, out, e));
    if (!r->base_path) return ok();
    if (out->txid < r->opt->base_txid)
        return err_set(e, RC_USAGE,
                       "the local state is at TXID %" PRIu64 ", the one asked for at %" PRIu64,
                       r->opt->base_txid, out->txid);
    for (int fresh = 1; fresh >= 0; fresh--) {
        struct plan from_base = {0};
        rc found = plan_from_base(r, fresh, &from_base, &ignored);
        if (is_ok(found) && from_base.txid == out->txid && from_base.count > 1) {
            plan_deinit(out);
            *out = from_base;
            return ok();
        }
        plan_deinit(&from_base);
    }
    return ok();
}

/* What would have come next must be as late as its header says, checksum and all: the finest file
 * of that state, whose time is the state's own. */
static rc prove_end(const struct restore *r, const struct plan *p, struct err *e) {
    const struct replica_file *next = NULL;
    for (size_t i = 0; i < r->listing.count; i++) {
        const struct replica_file *f = &r->listing.files[i];
        if (f->min_txid - 1 > p->txid || f->max_txid <= p->txid) continue;
        if (!next || f->max_txid < next->max_txid) next = f;
    }
    rc read = next ? replica_read_back(r->store, next, NULL, e) : ok();
    if (read.code != RC_CORRUPT) return read;
    return err_prefix(e, read,
                      "whether TXID %" PRIu64 " is the last before that time cannot be told "
                      "(it can be restored by its number)",
                      p->txid);
}

/* docs/format.md 5.4: what has the newer objects; both, up to the time asked for. */
static rc plan_v03(struct restore *r, struct err *e) {
    const struct target *t = &r->opt->target;
    int64_t newest_ms = INT64_MIN;
    if (t->txid || r->base_path || r->opt->ltx_only) return ok();
    for (size_t i = 0; i < r->listing.count; i++) {
        const struct replica_file *f = &r->listing.files[i];
        if (f->time_ms > newest_ms && (!t->time_ms || f->time_ms < t->time_ms))
            newest_ms = f->time_ms;
    }
    return v03_plan_make(r->store, t->time_ms, newest_ms, &r->v03, e);
}

static rc no_backup(const struct restore *r, struct err *e) {
    if (!r->opt->target.time_ms || r->v03.first_ms == INT64_MAX)
        return replica_no_backup(r->store, e);
    return err_prefix(e, plan_too_early(r->v03.first_ms, e), "%s", r->store->url);
}

static rc list_and_plan(struct restore *r, struct plan *p, struct err *e) {
    struct listing *l = &r->listing;
    bool by_time = r->opt->target.time_ms != 0;
    progress_phase(r->fetch.progress, 0);
    TRY(replica_list_backup(r->store, l, NULL, e));
    if (by_time) TRY(listing_read_times(r->store, l, r->parallel, e));
    TRY(plan_v03(r, e));
    if (r->v03.objects.count) return ok();
    if (l->count == 0) return no_backup(r, e);
    rc planned = make_plan(r, p, e);
    if (!is_ok(planned)) return err_prefix(e, planned, "%s", r->store->url);
    if (!by_time) return ok();
    rc proven = prove_end(r, p, e);
    if (proven.code == RC_NOTFOUND) atomic_store(&r->fetch.vanished, true);
    return proven;
}

/* The last file of the plan is needed even if the base holds its pages: its header says what the
 * result must be. */
static rc take_plan(struct restore *r, const struct plan *p, struct err *e) {
    uint64_t from = r->base_path ? r->opt->base_txid : 0;
    struct fetch *f = &r->fetch;
    f->files = calloc(p->count, sizeof *f->files);
    if (!f->files) return err_set(e, RC_NOMEM, "no memory for %zu files", p->count);
    for (size_t i = 0; i < p->count; i++)
        if (p->files[i].max_txid > from || i + 1 == p->count)
            f->files[f->file_count++].file = p->files[i];
    if (r->opt->target.time_ms) f->files[f->file_count - 1].whole = true;
    return ok();
}

/* ---- the base ---- */

/* The page size stands in bytes 16 and 17 of an SQLite database; 1 means 65536. */
rc replica_database_size(struct env *env, struct file *file, uint32_t *page_size,
                         uint32_t *page_count, struct err *e) {
    uint8_t bytes[2];
    uint64_t size;
    TRY(env->files->size(env, file, &size, e));
    if (size < 512) return err_set(e, RC_CORRUPT, "not a database");
    TRY(env->files->read(env, file, 16, bytes, sizeof bytes, e));
    uint32_t said = (uint32_t)(bytes[0] << 8 | bytes[1]);
    *page_size = said == 1 ? 65536 : said;
    if (said == 0 || size % *page_size)
        return err_set(e, RC_CORRUPT, "%" PRIu64 " bytes in pages of %u", size, *page_size);
    *page_count = (uint32_t)(size / *page_size);
    return ok();
}

static rc open_base(struct restore *r, struct err *e) {
    const char *path = r->base_path;
    struct fetch *f = &r->fetch;
    if (!path) return ok();
    r->base = r->opt->base;
    if (!r->base) TRY(r->env->files->open(r->env, path, FILE_READ, &r->base, e));
    rc sized = replica_database_size(r->env, r->base, &r->base_page_size, &f->base_pages, e);
    if (!is_ok(sized)) return err_prefix(e, sized, "%s", path);
    r->base_size = (uint64_t)f->base_pages * r->base_page_size;
    return ok();
}

static rc copy_base(struct restore *r, struct err *e) {
    if (!r->base) return ok();
    if (r->base_page_size != r->fetch.page_size)
        return err_set(e, RC_CORRUPT, "%s: pages of %u bytes, where the backup has %u",
                       r->base_path, r->base_page_size, r->fetch.page_size);
    uint8_t *bytes = malloc(COPY_SIZE);
    rc result = bytes ? ok() : err_set(e, RC_NOMEM, "no memory");
    for (uint64_t at = 0; is_ok(result) && at < r->base_size; at += COPY_SIZE) {
        size_t n = r->base_size - at < COPY_SIZE ? (size_t)(r->base_size - at) : COPY_SIZE;
        result = r->env->files->read(r->env, r->base, at, bytes, n, e);
        if (is_ok(result)) result = r->env->files->write(r->env, r->out, at, bytes, n, e);
    }
    free(bytes);
    return result;
}

/* ---- the proof ---- */

/* Files do not fit together, says `why`: walk all states up to here, and name the first object that
 * breaks them instead, if one does. */
static rc blame(struct restore *r, rc why, struct err *e) {
    const struct fetch *f = &r->fetch;
    struct listing upto = {0};
    struct verify_result ignored;
    struct err broken;
    rc result = ok();
    for (size_t i = 0; is_ok(result) && i < r->listing.count; i++)
        if (r->listing.files[i].max_txid <= f->files[f->file_count - 1].file.max_txid)
            result = listing_add(&upto, r->listing.files[i], e);
    if (is_ok(result))
        result = verify_listing(r->store, &upto, r->parallel, NULL, &ignored, &broken);
    listing_deinit(&upto);
    return result.code == RC_CORRUPT ? err_set(e, RC_CORRUPT, "%s", broken.text) : why;
}

/* The last file says no sum; one before may. All of them have been read whole. */
static rc prove_links(struct restore *r, struct err *e) {
    struct fetch *f = &r->fetch;
    struct listing plan = {0};
    struct verify_result ignored;
    bool any = false;
    rc result = ok();
    for (int i = 0; is_ok(result) && i < f->file_count; i++) {
        any |= f->files[i].header.chain.present && f->files[i].header.chain.sum;
        result = listing_add(&plan, f->files[i].file, e);
    }
    if (is_ok(result) && any)
        result = verify_listing(r->store, &plan, r->parallel, NULL, &ignored, e);
    if (result.code == RC_NOTFOUND) atomic_store(&f->vanished, true); /* invariant 2 */
    listing_deinit(&plan);
    return result;
}

/* A snapshot of another database is whole, and right by its own sum. But a file that was not needed
 * may end at the same TXID and say another one. */
static rc compare_sums(struct restore *r, struct err *e) {
    struct fetch *f = &r->fetch;
    const struct replica_file *last = &f->files[f->file_count - 1].file;
    for (size_t i = 0; i < r->listing.count; i++) {
        const struct replica_file *same = &r->listing.files[i];
        struct ltx_header h;
        struct err ignored;
        if (same->max_txid != last->max_txid || same->level == last->level) continue;
        if (!is_ok(replica_read_header(r->store, same, &h, &ignored))) continue;
        if (!h.chain.present || !h.chain.sum || h.chain.sum == f->sum) continue;
        if (!is_ok(replica_read_back(r->store, same, NULL, &ignored))) continue;
        f->disagree = true;
        return replica_name(
            r->store, last,
            err_set(e, RC_CORRUPT, "level %d has another database at this TXID", same->level), e);
    }
    return ok();
}

static rc prove(struct restore *r, struct err *e) {
    struct fetch *f = &r->fetch;
    uint64_t sum = atomic_load(&f->sum_fetched);
    progress_phase(f->progress, 3);
    if (!f->sum) return prove_links(r, e);
    if (r->base) TRY(fetch_sum_output(f, &sum, e));
    r->result.sum_checked = true;
    if ((sum ? sum : 1) == f->sum) return compare_sums(r, e);
    f->disagree = true;
    rc wrong =
        err_set(e, RC_CORRUPT, "the restored database does not have the sum that this file says%s",
                r->base ? ": perhaps the local state is not what it was taken for" : "");
    return replica_name(r->store, &f->files[f->file_count - 1].file, wrong, e);
}

/* ---- the output ---- */

static rc check_output(const struct restore *r, struct err *e) {
    static const char *const beside[] = {"", "-wal", "-shm", "-journal"};
    char name[LIMIT_PATH + 16];
    struct file_stat st;
    struct err why;
    for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
        snprintf(name, sizeof name, "%s%s", r->path, beside[i]);
        rc found = r->env->files->stat(r->env, name, &st, &why);
        if (found.code == RC_NOTFOUND) continue;
        if (!is_ok(found)) return err_set(e, found.code, "%s", why.text);
        return err_set(e, RC_CONFLICT,
                       i ? "%s is left over: SQLite would apply it to the restored database; move "
                           "it away first"
                         : "%s exists already",
                       name);
    }
    return ok();
}

static rc give_name(struct restore *r, struct err *e) {
    TRY(r->env->files->sync(r->env, r->out, e));
    TRY(check_output(r, e)); /* again: all that took a while */
    TRY(r->env->files->link(r->env, r->out, NULL, r->path, e));
    rc synced = r->env->files->sync_dir(r->env, r->dir, e);
    if (!is_ok(synced)) (void)r->env->files->remove(r->env, r->path, NULL);
    return synced;
}

/* ---- all of it ---- */

static void fill_result(struct restore *r) {
    const struct fetch *f = &r->fetch;
    const struct listing *v03 = &r->v03.objects;
    if (v03->count) {
        memcpy(r->result.generation, r->v03.generation, sizeof r->result.generation);
        r->result.index = (uint32_t)v03->files[v03->count - 1].min_txid;
        r->result.time_ms = r->v03.newest_ms;
    } else {
        r->result.txid = f->files[f->file_count - 1].file.max_txid;
        r->result.time_ms = f->files[f->file_count - 1].header.timestamp_ms;
    }
    r->result.page_size = f->page_size;
    r->result.page_count = f->page_count;
    r->result.bytes_fetched = atomic_load(&f->bytes_fetched);
    r->result.bytes_written = atomic_load(&f->bytes_written);
}

static rc build_ltx(struct restore *r, struct err *e) {
    struct fetch *f = &r->fetch;
    TRY(open_base(r, e));
    TRY(fetch_load(f, e));
    if (r->base && !f->sum) {
        r->base_path = NULL; /* invariant 4: restore_once says again */
        return err_set(e, RC_RETRY, "no sum is known that could prove %s", r->opt->base_path);
    }
    TRY(copy_base(r, e));
    TRY(fetch_claim(f, e));
    TRY(r->env->files->reserve(r->env, r->out, (uint64_t)f->page_count * f->page_size, e));
    TRY(fetch_pages(f, e));
    return prove(r, e);
}

static rc build(struct restore *r, struct err *e) {
    TRY(r->env->files->open(r->env, r->dir, FILE_TEMP, &r->out, e));
    r->fetch.out = r->out;
    TRY(r->v03.objects.count ? v03_fetch(&r->v03, &r->fetch, e) : build_ltx(r, e));
    TRY(give_name(r, e));
    progress_phase(r->fetch.progress, 4);
    fill_result(r);
    return ok();
}

static rc restore_once(struct restore *r, bool *again, struct err *e) {
    struct plan plan = {0};
    r->fetch =
        (struct fetch){.store = r->store, .progress = r->opt->progress, .parallel = r->parallel};
    r->base = r->out = NULL;
    r->result = (struct restore_result){0};
    if (r->opt->progress) atomic_store(&r->opt->progress->bytes_done, 0);
    rc result = list_and_plan(r, &plan, e);
    bool planned = is_ok(result);
    if (is_ok(result) && !r->v03.objects.count) result = take_plan(r, &plan, e);
    if (is_ok(result)) result = build(r, e);
    if (r->fetch.disagree) result = blame(r, result, e);
    bool vanished = atomic_load(&r->fetch.vanished) && result.code == RC_NOTFOUND;
    if (planned && result.code == RC_NOTFOUND && !vanished) result.code = RC_IO; /* the output's */
    *again = vanished || (r->base && !r->base_path);
    if (!r->opt->base) r->env->files->close(r->env, r->base);
    r->env->files->close(r->env, r->out);
    fetch_deinit(&r->fetch);
    plan_deinit(&plan);
    listing_deinit(&r->v03.objects);
    listing_deinit(&r->listing);
    return result;
}

rc replica_restore(struct store *store, const char *path, const struct restore_options *o,
                   struct restore_result *out, struct err *e) {
    struct restore r = {.store = store, .env = store->env, .path = path, .opt = o};
    struct err why;
    rc result = ok();
    bool again = true;
    r.base_path = o->base_path;
    r.parallel = replica_parallel(o->parallel);
    if (strlen(path) >= LIMIT_PATH - 64)
        return err_set(e, RC_USAGE, "%.80s...: path too long", path);
    system_directory_of(path, r.dir);
    TRY(check_output(&r, e));
    for (int i = 0; i < LIST_TIMES && again; i++) result = restore_once(&r, &again, &why);
    if (is_ok(result)) {
        *out = r.result;
        return ok();
    }
    if (again) /* RC_NOTFOUND would say that there is no backup */
        return err_set(e, RC_CORRUPT, "%s: an object that is listed is not there: %s", store->url,
                       why.text);
    return err_set(e, result.code, "%s", why.text);
}
