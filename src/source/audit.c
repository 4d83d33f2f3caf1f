/* Audit and status: a second pair of eyes on the database and its replica.
 *
 * Both class the database as a start would (so a fork or an older file is seen) and never fence,
 * ship or delete. The audit compares pages, not sums: it does not share the arithmetic that it
 * checks.
 */
#include "source/audit.h"

#include "replica/notes.h"
#include "source/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_TIMES 5

/* Class one destination, without the lock of a run: a `replicate` may be at work. */
static rc look_at(struct dest *d, struct err *e) {
    struct source *s = d->source;
    int vanished = 0;
    dest_open_start(d);
    for (;;) {
        for (struct job *j; (j = jobs_done_take(s->done)) != NULL;) {
            struct task *t = (struct task *)((char *)j - offsetof(struct task, job));
            t->busy = false;
            t->ended(t);
        }
        if (d->state == DEST_REFUSED && d->class == CLASS_NEW) { /* it could not be read */
            *e = d->refusal;
            return (rc){e->code};
        }
        if (d->state == DEST_CLOSED && d->open_task.result.code == RC_NOTFOUND &&
            ++vanished < LOOK_TIMES) { /* listed, and then deleted by retention */
            dest_open_start(d);
        } else if (d->state == DEST_CLOSED) { /* whoever asks may ask again */
            *e = d->open_task.err;
            return d->open_task.result;
        }
        if (d->state >= DEST_CLASSED) return ok();
        if (d->state == DEST_KNOWN && !d->open_task.busy) {
            /* The log is read after the replica: a slot beyond it would look like a lost log. */
            if (!d->history_read) TRY(source_retake_start(s, e));
            TRY(dest_classify(d, e));
            continue;
        }
        s->env->sleep_ns(s->env, 200000);
    }
}

rc source_look_open(struct env *env, struct store *store, const char *db, struct source **out,
                    struct err *e) {
    struct source_options options = {.verify_ms = -1, .observe = true};
    struct store *own = NULL;
    TRY(store_open(env, store->url, &own, e));
    rc r = source_open(out, env, db, &options, e);
    if (!is_ok(r)) {
        store_free(own);
        return r;
    }
    TRY(source_add(*out, own, e));
    return look_at(&(*out)->dest[0], e);
}

/* ---- audit ---- */

static rc compare(struct source *s, struct file *restored, uint32_t restored_pages,
                  const struct bitmap *pending, struct audit_result *out, struct err *e) {
    struct cut cut = {.at = s->start.header, .low = s->start.low};
    uint32_t size = s->live.page_size;
    uint8_t *theirs = malloc(size);
    rc r = theirs ? ok() : err_set(e, RC_NOMEM, "no memory");
    for (uint32_t p = 1; is_ok(r) && p <= cut.at.page_count; p++) {
        if (p == ltx_lock_page(size)) continue;
        if (bitmap_has(pending, p)) {
            out->pages_pending++;
            continue;
        }
        out->pages++;
        bool there = p <= restored_pages;
        r = source_read(s, &cut, p, s->page, e);
        if (is_ok(r) && there)
            r = s->env->files->read(s->env, restored, (uint64_t)(p - 1) * size, theirs, size, e);
        if (is_ok(r) && (!there || memcmp(theirs, s->page, size) != 0) && !out->differing++)
            out->first_differing = p;
    }
    free(theirs);
    if (is_ok(r) && !pending->count && restored_pages > cut.at.page_count) {
        if (!out->differing) out->first_differing = cut.at.page_count + 1;
        out->differing += restored_pages - cut.at.page_count;
    }
    return r;
}

static rc not_continued(const struct dest *d, struct err *e) {
    return err_set(e, RC_CONFLICT, "%s: %s does not continue the replica %s (%s)",
                   d->source->live.path, class_name(d->class), d->store->url, d->refusal.text);
}

/* The newest state of the replica that the log at the start continues; not proven: the newest, of
 * which nothing is known, but which may turn out to be equal. */
static rc state_to_compare(struct dest *d, uint64_t *txid, bool *proven, struct err *e) {
    *txid = d->tail.txid;
    *proven = d->class == CLASS_CONTINUES || d->class == CLASS_EQUAL;
    if (*proven || d->class == CLASS_AHEAD || d->class == CLASS_UNPROVEN) return ok();
    if (d->class == CLASS_BEHIND) { /* shipped after we looked: an earlier slot is ours */
        *txid = source_known_state(d);
        *proven = *txid > 0;
    }
    return *proven ? ok() : not_continued(d, e);
}

static rc restore_and_compare(struct source *s, uint64_t txid, struct audit_result *out,
                              struct err *e) {
    struct dest *d = &s->dest[0];
    char path[LIMIT_PATH];
    uint64_t random;
    struct restore_options options = {.target = {.txid = txid}};
    struct restore_result restored;
    struct file *file = NULL;
    s->env->random(s->env, &random, sizeof random);
    snprintf(path, sizeof path, "%.4000s/holdfast-audit-%016llx", system_temp_dir(),
             (unsigned long long)random);
    TRY(replica_restore(d->store, path, &options, &restored, e));
    rc r = s->env->files->open(s->env, path, FILE_READ, &file, e);
    struct err ignored;
    if (!is_ok(s->env->files->remove(s->env, path,
                                     &ignored))) { /* a file of ours in the temp directory */
    }
    TRY(r);
    out->txid = txid;
    r = compare(s, file, restored.page_count, &d->pending, out, e);
    s->env->files->close(s->env, file);
    return r;
}

/* RC_NOTFOUND: retention has deleted what was to be compared. */
static rc audit(struct env *env, struct store *store, const char *db, struct audit_result *out,
                bool *empty, struct err *e) {
    struct source *s = NULL;
    uint64_t txid = 0;
    bool proven = false;
    *out = (struct audit_result){0};
    rc r = source_look_open(env, store, db, &s, e);
    *empty = is_ok(r) && s->dest[0].tail.empty;
    if (*empty) r = replica_no_backup(store, e);
    if (is_ok(r)) r = state_to_compare(&s->dest[0], &txid, &proven, e);
    if (is_ok(r)) r = restore_and_compare(s, txid, out, e);
    if (is_ok(r) && out->differing && !proven) r = not_continued(&s->dest[0], e);
    source_free(s);
    return r;
}

rc source_audit(struct env *env, struct store *store, const char *db, struct audit_result *out,
                struct err *e) {
    bool empty = false;
    rc r = audit(env, store, db, out, &empty, e);
    for (int i = 1; i < LOOK_TIMES && r.code == RC_NOTFOUND && !empty; i++)
        r = audit(env, store, db, out, &empty, e);
    TRY(r);
    if (!out->differing) return ok();
    return err_set(e, RC_CORRUPT, "%s: %u pages differ from TXID %llu of %s, first page %u", db,
                   out->differing, (unsigned long long)out->txid, store->url, out->first_differing);
}

/* ---- status ---- */

struct reader_search {
    struct source *s;
    struct status *out;
};

static void see_reader(void *arg, const struct foreign_lock *l) {
    struct reader_search *f = arg;
    if (l->pid <= 0 || l->pid == system_pid() || l->pid == f->out->replicator_pid) return;
    for (int i = 1; i < WALINDEX_READERS; i++) {
        uint64_t byte = WALINDEX_LOCK_READ + (uint64_t)i;
        if (l->start > byte || l->end < byte) continue;
        uint32_t mark = walindex_read_mark(f->s->live.regions[0], i);
        if (mark < f->s->start.header.frame_count) f->out->holder_pid = l->pid;
    }
}

static void find_reader(struct source *s, struct status *out) {
    struct file_stat st;
    struct err ignored;
    struct reader_search search = {s, out};
    if (!is_ok(s->env->files->stat(s->env, s->live.shm_path, &st, &ignored))) return;
    system_locks(st.inode, see_reader, &search);
    if (out->holder_pid)
        system_process_name(out->holder_pid, out->holder_name, sizeof out->holder_name);
}

static void count_pending(const struct dest *d, struct status *out) {
    const struct start_log *l = &d->source->start;
    const struct ltx_header *t = &d->tail.header;
    uint64_t frame_size = WAL_FRAME_HEADER_SIZE + d->source->live.page_size;
    bool same = t->salt[0] == l->header.salt[0] && t->salt[1] == l->header.salt[1];
    uint64_t from = same && t->wal_offset >= WAL_HEADER_SIZE
                        ? (t->wal_offset + t->wal_size - WAL_HEADER_SIZE) / frame_size
                        : 0;
    if (d->class == CLASS_EQUAL) from = l->header.frame_count;
    for (uint64_t i = from; i < l->header.frame_count; i++)
        out->commits_pending += l->frames[i].commit;
    if (l->header.frame_count > from)
        out->bytes_pending = (l->header.frame_count - from) * frame_size;
}

static void judge(struct dest *d, int64_t late_ms, struct status *out) {
    int64_t now = unix_now(d->source);
    bool appendable = d->state == DEST_CLASSED && d->class != CLASS_NEW && d->class != CLASS_AHEAD;
    snprintf(out->class, sizeof out->class, "%s", class_name(d->class));
    out->safety = SAFETY_UNSAFE;
    if (d->class == CLASS_NEW) {
        snprintf(out->reason, sizeof out->reason, "nothing has been replicated yet");
        return;
    }
    out->txid = d->tail.txid;
    out->txid_time_ms = d->tail.header.timestamp_ms;
    if (!appendable) {
        snprintf(out->reason, sizeof out->reason, "%.500s",
                 d->refusal.text[0]
                     ? d->refusal.text
                     : "the log was reset since the last shipment: run 'holdfast replicate'");
        return;
    }
    count_pending(d, out);
    if (out->commits_pending) out->lag_seconds = (double)(now - out->txid_time_ms) / 1000;
    int64_t since_write = now - d->source->start.wal_mtime_ms;
    if (out->commits_pending && out->lag_seconds * 1000 > (double)late_ms && since_write > late_ms)
        out->safety = SAFETY_LATE;
    else if (out->commits_pending && !out->replicator_pid) out->safety = SAFETY_LATE;
    else out->safety = SAFETY_SAFE;
    if (out->safety == SAFETY_LATE)
        snprintf(out->reason, sizeof out->reason, "%u commits are not durable%s",
                 out->commits_pending,
                 out->replicator_pid ? "" : ", and no holdfast replicates this database here");
}

static void read_verified_note(struct dest *d, struct status *out) {
    json_t *note = NULL;
    struct err ignored;
    if (!is_ok(note_read(d->store, VERIFIED_KEY, &note, &ignored))) return;
    out->verified_ms = json_integer_value(json_object_get(note, "time_ms"));
    out->verified_ok = json_is_true(json_object_get(note, "ok"));
    json_decref(note);
}

rc source_status(struct env *env, struct store *store, const char *db, int64_t late_ms,
                 struct status *out, struct err *e) {
    struct source *s = NULL;
    *out = (struct status){.safety = SAFETY_UNSAFE};
    rc r = source_look_open(env, store, db, &s, e);
    if (is_ok(r)) {
        out->replicator_pid = s->run.holder;
        out->wal_frames = s->start.header.frame_count;
        out->backfilled = live_backfilled(&s->live);
        find_reader(s, out);
        judge(&s->dest[0], late_ms, out);
        read_verified_note(&s->dest[0], out);
    }
    source_free(s);
    return r;
}
