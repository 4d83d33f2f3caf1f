/* Reading a destination at start, and taking a slot in it.
 *
 * All on workers: a destination that does not answer holds nobody up.
 *
 * Fencing (docs/design.md): level-0 slots are create-only. A run begins by putting a fence into the
 * first free slot after the tail; so the next slot of a writer that was paused or replaced is
 * always taken, and it learns so at its next shipment, for ever, because fences are never deleted.
 */
#include "source/internal.h"

#include "os/system.h"
#include "replica/notes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OWNER_KEY "holdfast/owner.json"
#define PROBE_KEY "holdfast/probe"
#define FILE_ID_SIZE 48
#define FENCE_MAX (256u + 2 * LIMIT_PAGE_SIZE)

static const char *text_of(json_t *note, const char *key) {
    const char *text = json_string_value(json_object_get(note, key));
    return text ? text : "?";
}

/* Inode and time of birth: they go with a volume that moves to another machine or container, and a
 * copy has others. "" where the file system does not tell. */
static void file_id(struct source *s, char out[FILE_ID_SIZE]) {
    struct file_stat st;
    out[0] = 0;
    if (!is_ok(s->env->files->stat(s->env, s->live.path, &st, NULL)) || !st.birth_ns) return;
    snprintf(out, FILE_ID_SIZE, "%llu-%lld", (unsigned long long)st.inode, (long long)st.birth_ns);
}

static void take_owner(struct dest *d, json_t *note) {
    char host[256], file[FILE_ID_SIZE];
    const char *path = text_of(note, "path"), *owner = text_of(note, "host");
    system_host_name(host, sizeof host);
    file_id(d->source, file);
    snprintf(d->owner, sizeof d->owner, "%.200s, %.200s, process %lld", owner, path,
             (long long)json_integer_value(json_object_get(note, "pid")));
    d->owner_is_us = (file[0] && strcmp(text_of(note, "file"), file) == 0) ||
                     (strcmp(owner, host) == 0 && strcmp(path, d->source->live.path) == 0);
}

/* A note that makes no sense is somebody's, and not ours. */
static rc read_owner(struct dest *d, struct err *e) {
    json_t *note = NULL;
    d->owner[0] = 0;
    d->owner_is_us = false;
    rc r = note_read(d->store, OWNER_KEY, &note, e);
    if (r.code == RC_CORRUPT) {
        snprintf(d->owner, sizeof d->owner, "%.500s", e->text);
        return ok();
    }
    if (note) take_owner(d, note);
    json_decref(note);
    return r;
}

/* Only for people: who writes here. Safety never rests on it. */
static rc write_owner(struct dest *d, struct err *e) {
    char host[256], nonce[24], file[FILE_ID_SIZE];
    system_host_name(host, sizeof host);
    file_id(d->source, file);
    snprintf(nonce, sizeof nonce, "%016llx", (unsigned long long)d->source->nonce);
    json_t *note = json_pack("{s:s, s:s, s:s, s:i, s:s, s:I}", "host", host, "path",
                             d->source->live.path, "file", file, "pid", system_pid(), "node", nonce,
                             "since_ms", (json_int_t)unix_now(d->source));
    rc r = note_write(d->store, OWNER_KEY, note, e);
    json_decref(note);
    return r;
}

static void read_verified(struct dest *d) {
    json_t *note = NULL;
    struct err ignored;
    d->verified_ms = 0;
    d->verified_txid = 0;
    if (is_ok(note_read(d->store, VERIFIED_KEY, &note, &ignored)) && note) {
        d->verified_ms = json_integer_value(json_object_get(note, "time_ms"));
        if (json_is_true(json_object_get(note, "ok")))
            d->verified_txid = (uint64_t)json_integer_value(json_object_get(note, "txid"));
    }
    for (size_t i = 0; !note && i < d->files.count;
         i++) /* never: due a while after its first file */
        if (!d->verified_ms || d->files.files[i].time_ms < d->verified_ms)
            d->verified_ms = d->files.files[i].time_ms;
    json_decref(note);
}

static const struct replica_file *find_slot(const struct listing *files, uint64_t txid) {
    const struct replica_file *best = NULL;
    for (size_t i = 0; i < files->count; i++) {
        const struct replica_file *f = &files->files[i];
        if (f->max_txid == txid && (!best || f->level < best->level)) best = f;
    }
    return best;
}

static rc read_tail(struct dest *d, struct err *e) {
    struct plan plan = {0};
    d->tail = (struct tail){0};
    rc r = plan_make(&d->files, (struct target){0}, &plan, e);
    if (r.code == RC_NOTFOUND && d->files.count == 0) {
        d->tail.empty = true;
        return ok();
    }
    TRY(r);
    d->tail.txid = plan.txid;
    plan_deinit(&plan);
    const struct replica_file *slot = find_slot(&d->files, d->tail.txid);
    if (!slot) return err_set(e, RC_CORRUPT, "%s: no object ends at its last TXID", d->store->url);
    return replica_read_header(d->store, slot, &d->tail.header, e);
}

static int by_min(const void *a, const void *b) {
    const struct replica_file *x = a, *y = b;
    return x->min_txid < y->min_txid ? -1 : x->min_txid > y->min_txid;
}

/* Whether the files below a level lead from its newest to the tail. Retention may have taken some
 * that it had not yet made its own, as a snapshot led over them. */
static rc lead_to_tail(const struct dest *d, int level, bool *lead, struct err *e) {
    struct replica_file *files = malloc((d->files.count + 1) * sizeof *files);
    uint64_t at = d->level_max[level];
    size_t n = 0;
    if (!files) return err_set(e, RC_NOMEM, "no memory for %zu objects", d->files.count);
    for (size_t i = 0; i < d->files.count; i++)
        if (d->files.files[i].level < level && d->files.files[i].max_txid > at)
            files[n++] = d->files.files[i];
    qsort(files, n, sizeof *files, by_min);
    for (size_t i = 0; i < n && files[i].min_txid - 1 <= at; i++)
        if (files[i].max_txid > at) at = files[i].max_txid;
    free(files);
    *lead = at >= d->tail.txid;
    return ok();
}

/* The pages of a level's files behind `reached`, which moves on. Retention may be at work on what a
 * coarser file covers: that is left out. */
static rc read_finer(struct dest *d, int level, uint64_t *reached, struct bitmap *pages,
                     struct err *e) {
    for (size_t i = 0; i < d->files.count; i++) {
        const struct replica_file *f = &d->files.files[i];
        if (f->level != level || f->max_txid <= *reached) continue;
        TRY(replica_read_index(d->store, f, d->tail.header.page_size, pages, e));
        if (f->min_txid - 1 <= *reached) *reached = f->max_txid;
    }
    return ok();
}

/* What each level lacks: the pages of all finer files after its newest, or, if it has none yet,
 * after the newest snapshot. */
static rc read_levels(struct dest *d, struct err *e) {
    memset(d->level_max, 0, sizeof d->level_max);
    for (size_t i = 0; i < d->files.count; i++) {
        const struct replica_file *f = &d->files.files[i];
        if (f->max_txid > d->level_max[f->level]) d->level_max[f->level] = f->max_txid;
    }
    for (int level = 1; level < 4; level++) {
        if (!d->level_max[level]) d->level_max[level] = d->level_max[LEVEL_SNAPSHOT];
        bitmap_clear(&d->since[level]);
        uint64_t reached = d->level_max[level];
        for (int finer = level - 1; finer >= 0; finer--)
            TRY(read_finer(d, finer, &reached, &d->since[level], e));
        bool lead = false;
        TRY(lead_to_tail(d, level, &lead, e));
        if (!lead) TRY(bitmap_add_range(&d->since[level], 1, d->tail.header.commit, e));
    }
    return ok();
}

/* A fence of this run that does not stand: it lies in the middle of what another has shipped, so
 * its place is covered. One on which another run builds stays: that one's is the next, for ever. */
static rc take_fence_back(struct dest *d, struct err *e) {
    struct ltx_header h;
    char key[KEY_SIZE];
    bool there = false, covered = false;
    for (size_t i = 0; i < d->files.count; i++) {
        const struct replica_file *f = &d->files.files[i];
        bool here = f->min_txid <= d->fence.min_txid && f->max_txid >= d->fence.max_txid;
        *(f->level ? &covered : &there) |= here;
        if (f->min_txid == d->fence.max_txid + 1 && f->size_bytes == LTX_LEAST_SIZE) return ok();
    }
    if (!there || !covered) return ok();
    TRY(replica_read_header(d->store, &d->fence, &h, e));
    if (h.node_id != d->source->nonce) return ok();
    replica_key(d->store, &d->fence, key);
    listing_remove(&d->files, &d->fence);
    return d->store->ops->remove(d->store, key, e);
}

static rc read_replica(struct task *t, struct err *e) {
    struct dest *d = HOLDER_OF(t, struct dest, open_task);
    size_t strangers;
    bool copied = false;
    listing_deinit(&d->files);
    TRY(replica_list(d->store, &d->files, &strangers, e));
    if (d->files.count == 0) TRY(replica_other_layout(d->store, &copied, e));
    if (copied)
        return err_set(
            e, RC_USAGE,
            "%s holds a replica whose levels are named %s, as they are not in a %s: it can be "
            "restored, but replicate to another URL, or copy it with its levels renamed",
            d->store->url, d->store->layout == LAYOUT_LTX ? "0000/" : "ltx/0/",
            d->store->layout == LAYOUT_LTX ? "directory" : "bucket");
    if (d->files.count == 0 && d->store->no_root)
        return err_set(e, RC_USAGE,
                       "%s is a whole bucket: give the replica a path of its own in it, as in "
                       "s3://bucket/app",
                       d->store->url);
    TRY(take_fence_back(d, e));
    TRY(read_tail(d, e));
    TRY(read_owner(d, e));
    read_verified(d);
    if (!d->tail.empty) TRY(read_levels(d, e));
    return ok();
}

void dest_retry(struct dest *d, const char *event, const char *words) {
    int64_t wait = backoff_ns(d->source, d->attempts++);
    char in[24];
    d->state = DEST_CLOSED;
    d->retry_ns = mono(d->source) + wait;
    snprintf(d->trouble, sizeof d->trouble, "%s", words);
    EVENT(d->source, event, "to", d->store->url, "in_ms", u64_text(in, (uint64_t)wait / 1000000),
          "err", words);
}

static void replica_was_read(struct task *t) {
    struct dest *d = HOLDER_OF(t, struct dest, open_task);
    if (is_ok(t->result)) {
        d->state = DEST_KNOWN; /* `attempts` go on: it may answer and take nothing */
        return;
    }
    if (t->result.code == RC_CORRUPT || t->result.code == RC_USAGE || t->result.code == RC_UNFIT) {
        d->state = DEST_REFUSED;
        d->refusal = t->err;
        if (t->result.code == RC_CORRUPT)
            err_fill(&d->refusal, RC_CORRUPT,
                     "%.700s: it cannot be continued: replicate %.200s to a new URL", t->err.text,
                     d->source->live.path);
        return;
    }
    dest_retry(d, "destination.retry", t->err.text);
}

void dest_open_start(struct dest *d) {
    d->state = DEST_OPENING;
    d->history_read = false;
    task_start(&d->open_task, read_replica, replica_was_read);
}

/* Who holds a slot that we wanted. */
rc slot_resolve(struct dest *d, const char *key, uint64_t file_checksum, bool *adopted,
                struct err *e) {
    uint8_t head[LTX_HEADER_SIZE], last[LTX_TRAILER_SIZE];
    struct object_info info;
    struct ltx_header h;
    uint64_t min, max;
    struct store *store = d->store;
    TRY(store->ops->stat(store, key, &info, e));
    if (info.size_bytes < LTX_HEADER_SIZE + LTX_TRAILER_SIZE)
        return err_set(e, RC_CORRUPT, "%s of %s: too short", key, store->url);
    TRY(store->ops->get(store, key, 0, head, sizeof head, e));
    TRY(store->ops->get(store, key, info.size_bytes - LTX_TRAILER_SIZE, last, sizeof last, e));
    TRY(ltx_header_decode(&h, head, e));
    *adopted = false;
    if (!name_parse(strrchr(key, '/') + 1, &min, &max) || h.min_txid != min || h.max_txid != max)
        return err_set(e, RC_CORRUPT, "%s of %s: its header is another object's", key, store->url);
    if (h.node_id == d->source->nonce) {
        *adopted = get_u64be(last + 8) != file_checksum;
        return ok();
    }
    if (!is_ok(read_owner(d, e))) d->owner[0] = 0; /* the words do without it */
    return err_set(
        e, RC_FENCED, "FENCED: %s of %s was written by node %016llx%s%s: another writer took over",
        key, store->url, (unsigned long long)h.node_id, d->owner[0] ? ", now " : "", d->owner);
}

rc slot_put(struct dest *d, const char *key, const void *bytes, size_t size, int64_t time_ms,
            uint64_t file_checksum, bool *adopted, struct err *e) {
    rc r = d->store->ops->put(d->store, key, bytes, size, time_ms, e);
    *adopted = false;
    if (r.code != RC_CONFLICT) return r;
    return slot_resolve(d, key, file_checksum, adopted, e);
}

static rc append_to(void *arg, const void *bytes, size_t n, struct err *e) {
    buf_put(arg, bytes, n);
    return buf_check(arg, "fence", e);
}

static void fence_header(const struct dest *d, struct ltx_header *h) {
    const struct ltx_header *t = &d->tail.header;
    *h = (struct ltx_header){.page_size = d->source->live.page_size,
                             .commit = 1,
                             .min_txid = d->tail.txid + 1,
                             .max_txid = d->tail.txid + 1,
                             .timestamp_ms = unix_now(d->source),
                             .wal_offset = WAL_HEADER_SIZE,
                             .node_id = d->source->nonce,
                             .chain = {.present = true}};
    if (d->tail.empty) return;
    if (h->timestamp_ms <= t->timestamp_ms) h->timestamp_ms = t->timestamp_ms + 1;
    h->commit = t->commit;
    h->chain.sum = t->chain.sum;
    memcpy(h->chain.frame_checksum, t->chain.frame_checksum, sizeof h->chain.frame_checksum);
    memcpy(h->salt, t->salt, sizeof h->salt);
    if (t->wal_offset >= WAL_HEADER_SIZE) h->wal_offset = t->wal_offset + t->wal_size;
}

/* A local database that is adopted against its replica, or may be an older copy, leaves the
 * replica's last state restorable. */
static rc pin_what_was(struct dest *d, struct err *e) {
    if (d->tail.empty || (d->class < CLASS_BEHIND && !d->pin_tail)) return ok();
    return replica_pin(d->store, d->tail.txid, d->class < CLASS_BEHIND ? "ahead" : "adopt-local",
                       e);
}

/* The same key twice: the second must be refused, as at every start but the first is the first. */
static rc create_twice(struct store *store, struct err *e) {
    TRY(store->ops->put(store, PROBE_KEY, "x", 1, 0, e));
    TRY(store->ops->put(store, PROBE_KEY, "x", 1, 0, e));
    return err_set(e, RC_UNFIT, "it replaces what it was asked not to");
}

/* Before anything is put that matters. */
static rc probe(struct dest *d, struct err *e) {
    if (!d->store->probe || d->store->unfenced) return ok();
    rc r = create_twice(d->store, e);
    if (r.code == RC_CONFLICT) return ok();
    if (r.code != RC_UNFIT) return r;
    d->store->unfenced = d->source->opt.unfenced;
    if (d->store->unfenced) return ok();
    return err_set(e, RC_UNFIT,
                   "%s has no conditional writes (%.300s): of two that write there neither would"
                   " notice, and commits would be lost: use another store, or, if nobody else can"
                   " ever write there, -unfenced",
                   d->store->url, e->text);
}

/* Retention frees the names of slots. Who read the replica, and stood still for longer than that
 * takes, may find the next slot free in the middle of what another has shipped since. And what a
 * run had sent before it died may have come since: unknown, it would stay when its neighbours go.
 */
static rc fence_is_last(struct dest *d, const char *key, struct err *e) {
    struct listing now = {0};
    rc r = replica_list(d->store, &now, NULL, e);
    for (size_t i = 0; is_ok(r) && i < now.count; i++)
        r = now.files[i].max_txid > d->fence.max_txid
                ? err_set(e, RC_CONFLICT, "%s of %s: another went on behind it", key, d->store->url)
                : listing_add(&d->files, now.files[i], e);
    listing_deinit(&now);
    return r;
}

static rc put_fence(struct task *t, struct err *e) {
    struct dest *d = HOLDER_OF(t, struct dest, open_task);
    struct ltx_header h;
    struct ltx_writer w;
    uint64_t checksum, size;
    char key[KEY_SIZE];
    bool adopted;
    uint8_t *page = malloc(d->source->live.page_size);
    struct buf b AUTO(buf_deinit);
    buf_init(&b, FENCE_MAX);
    if (!page) return err_set(e, RC_NOMEM, "no memory");
    replica_empty_page(page, d->source->live.page_size);
    fence_header(d, &h);
    if (d->tail.empty) h.chain.sum = replica_empty_sum(h.page_size);
    rc r = ltx_writer_init(&w, &h, d->source->opt.encoding, append_to, &b, e);
    if (is_ok(r) && d->tail.empty) r = ltx_writer_page(&w, 1, page, e);
    if (is_ok(r)) r = ltx_writer_finish(&w, &checksum, &size, e);
    ltx_writer_deinit(&w);
    free(page);
    TRY(r);
    d->fence = (struct replica_file){.min_txid = h.min_txid,
                                     .max_txid = h.max_txid,
                                     .size_bytes = b.size,
                                     .time_ms = h.timestamp_ms};
    replica_key(d->store, &d->fence, key);
    TRY(probe(d, e));
    TRY(pin_what_was(d, e));
    TRY(slot_put(d, key, b.bytes, b.size, h.timestamp_ms, checksum, &adopted, e));
    TRY(fence_is_last(d, key, e));
    struct err ignored;
    (void)write_owner(d, &ignored).code; /* a courtesy */
    return ok();
}

void dest_fence_stands(struct dest *d, const struct replica_file *fence) {
    char text[24];
    d->txid = fence->max_txid;
    d->txid_time_ms = fence->time_ms;
    d->state = DEST_READY;
    d->attempts = 0;
    d->trouble[0] = 0;
    d->last_ship_ns = 0;
    compact_schedule(d);
    EVENT(d->source, "destination.ready", "to", d->store->url, "txid", u64_text(text, d->txid),
          "class", class_name(d->class));
    if (d->store->unfenced)
        EVENT(d->source, "destination.unfenced", "to", d->store->url, "warning",
              "a second writer would not be noticed: commits of both could be lost");
}

static void fence_was_put(struct task *t) {
    struct dest *d = HOLDER_OF(t, struct dest, open_task);
    if (is_ok(t->result)) t->result = listing_add(&d->files, d->fence, &t->err);
    if (is_ok(t->result)) {
        dest_fence_stands(d, &d->fence);
    } else if (t->result.code == RC_UNFIT) {
        d->state = DEST_REFUSED;
        d->refusal = t->err;
    } else { /* somebody took the slot, or it is not known: read the replica again */
        dest_retry(d, "fence.retry", t->err.text);
    }
}

rc dest_fence_start(struct dest *d, struct err *e) {
    d->known_tail = (struct run_tail){d->tail.txid, d->tail.header.node_id, d->source->nonce};
    TRY(source_write_run_file(d->source, e));
    d->state = DEST_FENCING;
    task_start(&d->open_task, put_fence, fence_was_put);
    return ok();
}
