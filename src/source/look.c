/* A look: see the header.
 *
 * The database is looked at anew after the replica has been read, and not before: a slot beyond the
 * log would look like a lost log.
 */
#include "source/look.h"

#include "os/system.h"
#include "source/internal.h"

#define LOOK_TIMES 5 /* at objects that are listed, and then deleted by retention */
#define NAP_NS 200000

/* Class one destination, without the lock of a run: a `replicate` may be at work. */
static rc look_at(struct dest *d, struct err *e) {
    struct source *s = d->source;
    int vanished = 0;
    dest_open_start(d);
    for (;; s->env->sleep_ns(s->env, NAP_NS)) {
        source_take_ends(s);
        if (d->state == DEST_REFUSED && d->class == CLASS_NEW) { /* it could not be read */
            *e = d->refusal;
            return (rc){e->code};
        }
        if (d->state >= DEST_CLASSED) return ok();
        if (d->state == DEST_KNOWN && !d->open_task.busy) {
            if (!d->history_read) TRY(source_retake_start(s, e));
            TRY(dest_classify(d, e));
        } else if (d->state == DEST_CLOSED) { /* whoever asks may ask again */
            *e = d->open_task.err;
            if (d->open_task.result.code != RC_NOTFOUND || ++vanished == LOOK_TIMES)
                return d->open_task.result;
            dest_open_start(d);
        }
    }
}

static void see_reader(void *arg, const struct foreign_lock *f) {
    struct look *l = arg;
    if (f->pid <= 0 || f->pid == system_pid() || f->pid == l->replicator_pid) return;
    for (int i = 1; i < WALINDEX_READERS; i++) {
        uint64_t byte = WALINDEX_LOCK_READ + (uint64_t)i;
        if (f->start > byte || f->end < byte) continue;
        uint32_t mark = walindex_read_mark(l->source->live.regions[0], i);
        if (mark < l->log_frames) l->reader_pid = f->pid;
    }
}

static void tell(struct look *l) {
    const struct source *s = l->source;
    const struct dest *d = &s->dest[0];
    const struct walindex_header *at = &s->start.header;
    l->path = s->live.path;
    l->class = d->class;
    l->refusal = d->refusal;
    l->empty = d->tail.empty;
    l->txid = d->tail.txid;
    l->txid_time_ms = d->tail.header.timestamp_ms;
    l->known_txid = source_known_state(d);
    l->pending = &d->pending;
    l->page_size = s->live.page_size;
    l->page_count = at->page_count;
    l->log_frames = at->frame_count;
    l->backfilled = live_backfilled(&s->live);
    l->log_written_ms = s->start.wal_mtime_ms;
    l->replicator_pid = s->run.holder;
    uint32_t from = dest_end_in_start(d);
    l->commits_pending = start_commits_from(&s->start, from);
    if (from < at->frame_count)
        l->bytes_pending =
            wal_frame_offset(at->frame_count, l->page_size) - wal_frame_offset(from, l->page_size);
    system_locks_surely(s->live.shm_inode, see_reader, l);
}

rc look_open(struct look *l, struct env *env, struct store *store, const char *db, struct err *e) {
    struct source_options options = {.verify_ms = -1, .observe = true};
    struct store *own = NULL;
    *l = (struct look){0};
    TRY(store_open(env, store->url, &own, e));
    rc r = source_open(&l->source, env, db, &options, e);
    if (is_ok(r)) r = source_add(l->source, own, e);
    else store_free(own);
    if (is_ok(r)) r = look_at(&l->source->dest[0], e);
    if (is_ok(r)) tell(l);
    return r;
}

rc look_page(struct look *l, uint32_t pgno, uint8_t *page, struct err *e) {
    const struct start_log *start = &l->source->start;
    struct cut cut = {.at = start->header, .low = start->low};
    return source_read(l->source, &cut, pgno, page, e);
}

void look_close(struct look *l) {
    source_free(l->source);
    l->source = NULL;
}
