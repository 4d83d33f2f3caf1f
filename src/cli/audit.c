/* Audit and status: a second pair of eyes on the database and its replica.
 *
 * Both take what a look (source/look.h) says. The audit compares pages, not sums: it does not share
 * the arithmetic that it checks.
 */
#include "cli/audit.h"

#include "os/system.h"
#include "replica/notes.h"
#include "source/look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AUDIT_TIMES 100 /* retention may delete what was to be compared */

/* ---- audit ---- */

static rc compare_page(struct look *l, struct env *env, struct file *restored, uint32_t pgno,
                       uint8_t *pages, bool *same, struct err *e) {
    uint8_t *ours = pages, *theirs = pages + l->page_size;
    uint64_t at = (uint64_t)(pgno - 1) * l->page_size;
    TRY(look_page(l, pgno, ours, e));
    TRY(env->files->read(env, restored, at, theirs, l->page_size, e));
    *same = memcmp(ours, theirs, l->page_size) == 0;
    return ok();
}

static rc compare(struct look *l, struct env *env, struct file *restored, uint32_t restored_pages,
                  struct audit_result *out, struct err *e) {
    uint8_t *pages = malloc(2 * (size_t)l->page_size);
    rc r = pages ? ok() : err_set(e, RC_NOMEM, "no memory");
    for (uint32_t p = 1; is_ok(r) && p <= l->page_count; p++) {
        bool same = false;
        if (p == ltx_lock_page(l->page_size)) continue;
        if (bitmap_has(l->pending, p)) {
            out->pages_pending++;
            continue;
        }
        out->pages++;
        if (p <= restored_pages) r = compare_page(l, env, restored, p, pages, &same, e);
        if (is_ok(r) && !same && !out->differing++) out->first_differing = p;
    }
    free(pages);
    if (is_ok(r) && !l->pending->count && restored_pages > l->page_count) {
        if (!out->differing) out->first_differing = l->page_count + 1;
        out->differing += restored_pages - l->page_count;
    }
    return r;
}

static rc not_continued(const struct look *l, const struct store *store, struct err *e) {
    return err_set(e, RC_CONFLICT, "%s: %s does not continue the replica %s (%s)", l->path,
                   class_name(l->class), store->url, l->refusal.text);
}

/* The newest state of the replica that the log continues; not proven: the newest, of which nothing
 * is known, but which may turn out to be equal. 0: there is none. */
static uint64_t state_to_compare(const struct look *l, bool *proven) {
    *proven = l->class == CLASS_CONTINUES || l->class == CLASS_EQUAL;
    if (*proven || l->class == CLASS_AHEAD || l->class == CLASS_UNPROVEN) return l->txid;
    if (l->class != CLASS_BEHIND) return 0;
    *proven = true; /* shipped after we looked: an earlier slot is ours */
    return l->known_txid;
}

static rc restore_and_compare(struct look *l, struct store *store, uint64_t txid,
                              struct audit_result *out, struct err *e) {
    struct env *env = store->env;
    char path[LIMIT_PATH];
    uint64_t random;
    struct restore_options options = {.target = {.txid = txid}};
    struct restore_result restored;
    struct file *file = NULL;
    env->random(env, &random, sizeof random);
    snprintf(path, sizeof path, "%.4000s/holdfast-audit-%016llx", system_temp_dir(),
             (unsigned long long)random);
    TRY(replica_restore(store, path, &options, &restored, e));
    rc r = env->files->open(env, path, FILE_READ, &file, e);
    (void)env->files->remove(env, path, NULL); /* a file of ours in the temp directory */
    TRY(r);
    r = compare(l, env, file, restored.page_count, out, e);
    env->files->close(env, file);
    return r;
}

/* RC_NOTFOUND: retention has deleted what was to be compared. */
static rc audit(struct env *env, struct store *store, const char *db, struct audit_result *out,
                struct err *e) {
    struct look l;
    bool proven = false;
    *out = (struct audit_result){0};
    rc r = look_open(&l, env, store, db, e);
    if (is_ok(r) && l.empty) r = replica_no_backup(store, e);
    uint64_t txid = is_ok(r) ? state_to_compare(&l, &proven) : 0;
    if (is_ok(r) && !txid) r = not_continued(&l, store, e);
    out->txid = txid;
    if (is_ok(r)) r = restore_and_compare(&l, store, txid, out, e);
    if (is_ok(r) && out->differing && !proven) r = not_continued(&l, store, e);
    look_close(&l);
    return r;
}

/* While retention is faster than we are, each time there is a newer end to compare. One that is not
 * there although none came after it was not deleted by retention. */
rc audit_source(struct env *env, struct store *store, const char *db, struct audit_result *out,
                struct err *e) {
    uint64_t before;
    int times = 0;
    rc r;
    *out = (struct audit_result){0};
    do {
        before = out->txid;
        r = audit(env, store, db, out, e);
    } while (r.code == RC_NOTFOUND && out->txid != before && ++times < AUDIT_TIMES);
    TRY(r);
    if (!out->differing) return ok();
    return err_set(e, RC_CORRUPT, "%s: %u pages differ from TXID %llu of %s, first page %u", db,
                   out->differing, (unsigned long long)out->txid, store->url, out->first_differing);
}

/* ---- status ---- */

static void judge(const struct look *l, int64_t now, int64_t late_ms, struct status *out) {
    snprintf(out->class, sizeof out->class, "%s", class_name(l->class));
    if (l->class == CLASS_NEW) {
        snprintf(out->reason, sizeof out->reason, "nothing has been replicated yet");
        return;
    }
    out->txid = l->txid;
    out->txid_time_ms = l->txid_time_ms;
    if (l->class == CLASS_AHEAD || l->refusal.code) {
        snprintf(out->reason, sizeof out->reason, "%.500s",
                 l->refusal.code
                     ? l->refusal.text
                     : "the log was reset since the last shipment: run 'holdfast replicate'");
        return;
    }
    out->safety = SAFETY_SAFE;
    out->commits_pending = l->commits_pending;
    out->bytes_pending = l->bytes_pending;
    if (!l->commits_pending) return;
    out->lag_seconds = (double)(now - l->txid_time_ms) / 1000;
    bool late = now - l->txid_time_ms > late_ms && now - l->log_written_ms > late_ms;
    if (!late && l->replicator_pid) return;
    out->safety = SAFETY_LATE;
    snprintf(out->reason, sizeof out->reason, "%u commits are not durable%s", l->commits_pending,
             l->replicator_pid ? "" : ", and no holdfast replicates this database here");
}

/* It may say that the replica is broken: one that cannot be read is not none. */
static rc read_verified_note(struct store *store, struct status *out, struct err *e) {
    json_t *note = NULL;
    TRY(note_read(store, VERIFIED_KEY, &note, e));
    out->verified_ms = json_integer_value(json_object_get(note, "time_ms"));
    out->verified_ok = json_is_true(json_object_get(note, "ok"));
    json_decref(note);
    return ok();
}

rc audit_status(struct env *env, struct store *store, const char *db, int64_t late_ms,
                struct status *out, struct err *e) {
    struct look l;
    *out = (struct status){.safety = SAFETY_UNSAFE};
    rc r = look_open(&l, env, store, db, e);
    if (is_ok(r)) {
        out->replicator_pid = l.replicator_pid;
        out->wal_frames = l.log_frames;
        out->backfilled = l.backfilled;
        out->holder_pid = l.reader_pid;
        if (l.reader_pid)
            system_process_name(l.reader_pid, out->holder_name, sizeof out->holder_name);
        judge(&l, env->unix_ms(env), late_ms, out);
        r = read_verified_note(store, out, e);
    }
    look_close(&l);
    return r;
}
