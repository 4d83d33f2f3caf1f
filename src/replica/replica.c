/* What a replica is: its files and their times.
 *
 * Invariant: a listing is sorted by level, then min, then max TXID, and holds no file twice.
 */
#include "os/system.h"
#include "replica/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARALLEL_LEAST 4 /* it is a store that is waited for, not a CPU */

void listing_deinit(struct listing *l) {
    free(l->files);
    *l = (struct listing){0};
}

rc listing_copy(const struct listing *l, struct listing *out, struct err *e) {
    struct replica_file *files = malloc((l->count + 1) * sizeof *files);
    if (!files) return err_set(e, RC_NOMEM, "no memory for %zu objects", l->count);
    if (l->count) memcpy(files, l->files, l->count * sizeof *files);
    *out = (struct listing){.files = files, .count = l->count, .capacity = l->count + 1};
    return ok();
}

static int compare(const void *pa, const void *pb) {
    const struct replica_file *a = pa, *b = pb;
    if (a->level != b->level) return a->level < b->level ? -1 : 1;
    if (a->min_txid != b->min_txid) return a->min_txid < b->min_txid ? -1 : 1;
    return a->max_txid < b->max_txid ? -1 : a->max_txid > b->max_txid;
}

static rc reserve(struct listing *l, struct err *e) {
    if (l->count < l->capacity) return ok();
    if (l->count >= LIMIT_OBJECTS)
        return err_set(e, RC_CORRUPT, "more than %u objects", LIMIT_OBJECTS);
    size_t capacity = l->capacity ? l->capacity * 2 : 64;
    struct replica_file *files = realloc(l->files, capacity * sizeof *files);
    if (!files) return err_set(e, RC_NOMEM, "no memory for %zu objects", capacity);
    l->files = files;
    l->capacity = capacity;
    return ok();
}

rc listing_append(struct listing *l, const struct replica_file *f, struct err *e) {
    TRY(reserve(l, e));
    l->files[l->count++] = *f;
    return ok();
}

void listing_sort(struct listing *l) {
    if (l->count) qsort(l->files, l->count, sizeof *l->files, compare);
}

void listing_levels(const struct listing *l, size_t from[LIMIT_LEVELS + 1]) {
    size_t at = 0;
    for (int level = 0; level <= LIMIT_LEVELS; level++) {
        from[level] = at;
        while (at < l->count && l->files[at].level == level) at++;
    }
}

/* The place of the first file that is not before `f`; whether it is `f`. */
static bool find(const struct listing *l, const struct replica_file *f, size_t *at) {
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (compare(&l->files[mid], f) < 0) low = mid + 1;
        else high = mid;
    }
    *at = low;
    return low < l->count && compare(&l->files[low], f) == 0;
}

rc listing_add(struct listing *l, struct replica_file f, struct err *e) {
    size_t at;
    if (find(l, &f, &at)) {
        l->files[at] = f;
        return ok();
    }
    TRY(reserve(l, e));
    memmove(&l->files[at + 1], &l->files[at], (l->count - at) * sizeof f);
    l->files[at] = f;
    l->count++;
    return ok();
}

void listing_remove(struct listing *l, const struct replica_file *f) {
    size_t at;
    if (!find(l, f, &at)) return;
    l->count--;
    memmove(&l->files[at], &l->files[at + 1], (l->count - at) * sizeof *f);
}

bool listing_has(const struct listing *l, const struct replica_file *f) {
    size_t at;
    return find(l, f, &at);
}

bool file_is_permanent(const struct replica_file *f) {
    return f->level == 0 && (f->size_bytes == LTX_LEAST_SIZE || f->min_txid == 1);
}

bool file_is_snapshot(const struct replica_file *f) {
    return f->level == LEVEL_SNAPSHOT && f->min_txid == 1;
}

bool level_has_gap(const struct replica_file *f, const struct replica_file *next) {
    return f->level == next->level && next->min_txid - 1 > f->max_txid && !file_is_permanent(f);
}

void replica_key(const struct store *store, const struct replica_file *f, char key[KEY_SIZE]) {
    key_of_file(store->layout == LAYOUT_BUCKET, f->level, f->min_txid, f->max_txid, key);
}

rc replica_name(const struct store *store, const struct replica_file *f, rc r, struct err *e) {
    char key[KEY_SIZE];
    if (is_ok(r)) return r;
    replica_key(store, f, key);
    return err_prefix(e, r, "%s", key);
}

/* ---- listing ---- */

struct level_list {
    int level;
    struct listing *found;
    size_t strangers;
};

static rc take_object(void *arg, const struct object_info *info, struct err *e) {
    struct level_list *l = arg;
    struct replica_file f = {
        .level = l->level, .size_bytes = info->size_bytes, .time_ms = info->time_ms};
    if (!name_parse(info->name, &f.min_txid, &f.max_txid)) {
        l->strangers++;
        return ok();
    }
    return listing_append(l->found, &f, e);
}

/* "000<level>/NAME" */
static rc take_key(void *arg, const struct object_info *info, struct err *e) {
    struct level_list *l = arg;
    if (strlen(info->name) < 5 || info->name[3] < '0' || info->name[3] > '9' ||
        info->name[4] != '/')
        return ok();
    l->level = info->name[3] - '0';
    struct object_info below = *info;
    below.name += 5;
    return take_object(arg, &below, e);
}

static rc list_levels(struct store *store, struct level_list *l, struct err *e) {
    if (store->layout == LAYOUT_BUCKET && store->ops->list_keys)
        return store->ops->list_keys(store, "000", take_key, l, e);
    for (; l->level < LIMIT_LEVELS; l->level++) {
        char dir[KEY_SIZE];
        key_of_level(store->layout == LAYOUT_BUCKET, l->level, dir);
        TRY(store->ops->list(store, dir, take_object, l, e));
    }
    return ok();
}

/* A list may name an object twice. */
static void drop_twins(struct listing *l) {
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++)
        if (!kept || compare(&l->files[kept - 1], &l->files[i])) l->files[kept++] = l->files[i];
    l->count = kept;
}

/* One after the other and upwards: what retention takes away in a level was covered by one above
 * before, so what is not seen here any more will be seen there. */
rc replica_list(struct store *store, struct listing *out, size_t *strangers, struct err *e) {
    struct listing all = {0};
    struct level_list l = {.found = &all};
    rc r = list_levels(store, &l, e);
    if (!is_ok(r)) {
        listing_deinit(&all);
        /* Not the replica is damaged: a proxy may have spoken in the server's place. */
        if (r.code == RC_CORRUPT) r = (rc){e ? (e->code = RC_RETRY) : RC_RETRY};
        return err_prefix(e, r, "list %s", store->url);
    }
    listing_sort(&all);
    drop_twins(&all);
    *out = all;
    if (strangers) *strangers = l.strangers;
    return ok();
}

static rc see_dir(void *arg, const char *name, struct err *e) {
    bool *seen = arg;
    (void)e;
    seen[LAYOUT_LTX] |= strcmp(name, "ltx") == 0;
    seen[LAYOUT_BUCKET] |= strlen(name) == 4 && strncmp(name, "000", 3) == 0 && name[3] <= '9';
    return ok();
}

rc replica_other_layout(struct store *store, bool *found, struct err *e) {
    bool seen[2] = {false, false};
    TRY(store->ops->list_dirs(store, "", see_dir, seen, e));
    *found = seen[store->layout == LAYOUT_LTX ? LAYOUT_BUCKET : LAYOUT_LTX];
    return ok();
}

/* ---- times ---- */

struct times {
    struct store *store;
    struct listing *listing;
    atomic_bool failed;
    rc result;
    struct err err;
};

static void read_time(void *arg, int i) {
    struct times *t = arg;
    struct replica_file *f = &t->listing->files[i];
    struct ltx_header h;
    struct err e;
    if (atomic_load(&t->failed)) return;
    rc r = replica_read_header(t->store, f, &h, &e);
    if (is_ok(r)) f->time_ms = h.timestamp_ms;
    if (is_ok(r) || r.code == RC_CORRUPT || r.code == RC_NOTFOUND) return;
    if (atomic_exchange(&t->failed, true)) return;
    t->result = r;
    t->err = e;
}

rc listing_read_times(struct store *store, struct listing *l, int parallel, struct err *e) {
    struct times t = {.store = store, .listing = l};
    TRY(store->env->parallel(store->env, replica_parallel(parallel), (int)l->count, read_time, &t,
                             e));
    if (atomic_load(&t.failed) && e) *e = t.err;
    return t.result;
}

void progress_phase(struct progress *p, int phase) {
    if (p) atomic_store(&p->phase, phase);
}

int replica_parallel(int asked) {
    int n = asked > 0 ? asked : system_cpu_count();
    if (asked <= 0 && n < PARALLEL_LEAST) n = PARALLEL_LEAST;
    return n > PARALLEL_MOST ? PARALLEL_MOST : n;
}
