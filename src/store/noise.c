/* The noise file: what may be lost, and so is made anew when it is lost or damaged.
 *
 * Damage is looked for before anything is done: a whole quick_check when the file is small, or when
 * a power cut may have torn it: it is written without syncs, so a boot that ended while it was open
 * leaves it in any state. The mark `dirty` has the boot in which it was opened; the last to close
 * it syncs, and takes the mark off.
 *
 * Invariants:
 * 1. Nothing is removed: a damaged file is set aside under another name.
 * 2. It is set aside only if main remembers it as its noise: a wrong path costs nobody his file.
 * 3. It is set aside under main's write lock, and if nobody has it open: no two do it at once, and
 *    nobody goes on writing into what has been set aside.
 */
#include "os/system.h"
#include "store/parts.h"

#include <stdio.h>
#include <string.h>

#define CHECK_ALWAYS_BYTES (4u << 20)
#define SHM_IN_USE 128 /* the byte that each who has the -shm file open holds a lock on */

static const char *base_of(const char *path) {
    return strrchr(path, '/') + 1;
}

/* ---- is it sound? ---- */

static rc quick_check(struct conn *c, struct err *e) {
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(c->db, "PRAGMA noise.quick_check(1)", -1, &st, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    rc r = ok();
    if (code != SQLITE_ROW) r = conn_error(c, code, "quick_check", e);
    else if (strcmp((const char *)sqlite3_column_text(st, 0), "ok") != 0)
        r = err_set(e, RC_CORRUPT, "%s", (const char *)sqlite3_column_text(st, 0));
    sqlite3_finalize(st);
    return r;
}

static bool is_torn_perhaps(hf_store *s, const char *dirty) {
    char boot[BOOT_ID_SIZE];
    struct file_stat st;
    system_boot_id(boot);
    if (*dirty && strcmp(dirty, boot) != 0) return true;
    return is_ok(s->env->files->stat(s->env, s->noise, &st, NULL)) &&
           st.size_bytes <= CHECK_ALWAYS_BYTES;
}

/* A database that is not ours has tables, and not that of the marks. */
rc noise_check_ours(struct conn *c, struct err *e) {
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(
        c->db, "SELECT count(*) AND NOT max(name = 'holdfast') FROM noise.sqlite_master", -1, &st,
        NULL);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    bool foreign = code == SQLITE_ROW && sqlite3_column_int(st, 0);
    rc r = code == SQLITE_ROW ? ok() : conn_error(c, code, c->store->noise, e);
    sqlite3_finalize(st);
    TRY(r);
    if (!foreign) return r;
    return err_set(e, RC_USAGE, "%s: a database, but not the noise of a store: name another",
                   c->store->noise);
}

static rc open_sound(hf_store *s, int64_t deadline_ns, struct err *e) {
    struct conn **c = &s->writers[HF_NOISE];
    char dirty[BOOT_ID_SIZE];
    TRY(conn_open(s, HF_NOISE, deadline_ns, c, e));
    rc r = mark_get(*c, "dirty", dirty, sizeof dirty, e);
    if (is_ok(r) && is_torn_perhaps(s, dirty)) r = quick_check(*c, e);
    if (is_ok(r)) return r;
    conn_close(*c);
    *c = NULL;
    return r;
}

/* ---- set aside ---- */

static void see_user(void *pid, const struct foreign_lock *l) {
    bool uses = l->start <= SHM_IN_USE && l->end >= SHM_IN_USE;
    if (uses && (!*(int *)pid || l->pid != system_pid())) *(int *)pid = l->pid;
}

/* Another process, if there is one; else this one, or 0. */
static int user_of(hf_store *s) {
    char shm[LIMIT_PATH + 8];
    struct file_stat st;
    int pid = 0;
    snprintf(shm, sizeof shm, "%s-shm", s->noise);
    if (is_ok(s->env->files->stat(s->env, shm, &st, NULL)))
        system_locks_surely(st.inode, see_user, &pid);
    return pid;
}

static void free_name(hf_store *s, char out[LIMIT_PATH]) {
    struct file_stat st;
    int i = 0;
    do snprintf(out, LIMIT_PATH, "%.600s.damaged-%d", s->noise, ++i);
    while (is_ok(s->env->files->stat(s->env, out, &st, NULL)));
}

/* The log goes first: left alone, it would be taken for the new file's. */
static rc move_files(hf_store *s, char kept[LIMIT_PATH], struct err *e) {
    static const char *const endings[] = {"-wal", "-shm", ""};
    free_name(s, kept);
    for (int i = 0; i < 3; i++) {
        char from[LIMIT_PATH + 8], to[LIMIT_PATH + 8];
        snprintf(from, sizeof from, "%s%s", s->noise, endings[i]);
        snprintf(to, sizeof to, "%s%s", kept, endings[i]);
        rc r = s->env->files->rename(s->env, from, to, false, e);
        if (r.code != RC_NOTFOUND) TRY(r);
    }
    return ok();
}

static rc set_aside_locked(hf_store *s, int64_t deadline_ns, char kept[LIMIT_PATH], struct err *e) {
    rc r = open_sound(s, deadline_ns, e); /* another process may have done it meanwhile */
    if (r.code != RC_CORRUPT) return r;
    char name[64];
    int pid = user_of(s);
    if (!pid && !is_open_twice(s, s->noise)) return move_files(s, kept, e);
    system_process_name(pid, name, sizeof name);
    return err_prefix(e,
                      err_set(e, RC_BUSY, "process %d (%s) has it open: end that first", pid, name),
                      "%s is damaged", s->noise);
}

static rc set_aside(hf_store *s, int64_t deadline_ns, char kept[LIMIT_PATH], struct err *e) {
    struct conn *c = s->writers[HF_MAIN];
    TRY(turn_lock(c, "open", s->env->mono_ns(s->env), e));
    rc r = set_aside_locked(s, deadline_ns, kept, e);
    conn_run(c, c->rollback);
    return r;
}

/* ---- open and close ---- */

static rc mark_dirty(hf_store *s, struct err *e) {
    struct conn *c = s->writers[HF_NOISE];
    char boot[BOOT_ID_SIZE], dirty[BOOT_ID_SIZE];
    system_boot_id(boot);
    TRY(mark_get(c, "dirty", dirty, sizeof dirty, e));
    if (s->options.noise_sync != HF_SYNC_OFF) return *dirty ? mark_set(c, "dirty", NULL, e) : ok();
    return strcmp(boot, dirty) == 0 ? ok() : mark_set(c, "dirty", boot, e);
}

static void say_recreated(hf_store *s, const char *reason, const char *kept) {
    const char *pairs[] = {"noise", s->noise, "reason", reason, "kept", kept};
    store_event(s, "noise.recreated", pairs, *kept ? 6 : 4);
}

static rc open_or_remake(hf_store *s, int64_t deadline_ns, bool known, char kept[LIMIT_PATH],
                         struct err *why, struct err *e) {
    rc r = open_sound(s, deadline_ns, why);
    if (r.code == RC_CORRUPT && known) {
        TRY(set_aside(s, deadline_ns, kept, e));
        return s->writers[HF_NOISE] ? ok() : open_sound(s, deadline_ns, e);
    }
    if (r.code == RC_CORRUPT)
        return err_set(e, RC_CORRUPT, "%s: %.600s; it was never the noise of %s, and is left alone",
                       s->noise, why->text, s->path);
    return is_ok(r) ? r : err_set(e, r.code, "%s", why->text);
}

rc noise_open(hf_store *s, const char *schema, int64_t deadline_ns, struct err *e) {
    struct err why = {0};
    struct file_stat st;
    char kept[LIMIT_PATH] = "", known[LIMIT_PATH] = "";
    bool missing = s->env->files->stat(s->env, s->noise, &st, NULL).code == RC_NOTFOUND;
    TRY(mark_get(s->writers[HF_MAIN], "noise", known, sizeof known, e));
    bool is_known = strcmp(known, base_of(s->noise)) == 0;
    TRY(open_or_remake(s, deadline_ns, is_known, kept, &why, e));
    TRY(fill_file(s->writers[HF_NOISE], schema, e));
    if (!s->temp[0]) TRY(mark_dirty(s, e));
    if (!is_known && !s->temp[0]) TRY(mark_set(s->writers[HF_MAIN], "noise", base_of(s->noise), e));
    if (*kept) say_recreated(s, why.text, kept);
    else if (missing && is_known) say_recreated(s, "it was not there", "");
    return ok();
}

/* All other connections to it are closed. What fails leaves the mark, and the next open checks. */
void noise_close(hf_store *s) {
    struct conn *c = s->writers[HF_NOISE];
    if (!c || s->temp[0] || s->options.noise_sync != HF_SYNC_OFF) return;
    c->deadline_ns = 0;
    const char *sync = "PRAGMA noise.synchronous = FULL; PRAGMA noise.wal_checkpoint(TRUNCATE);"
                       "BEGIN IMMEDIATE";
    if (!is_ok(conn_exec(c, sync, true, NULL))) return;
    bool last = user_of(s) == system_pid() && !is_open_twice(s, s->noise);
    if (!last || !is_ok(mark_set(c, "dirty", NULL, NULL)) || conn_run(c, c->commit) != SQLITE_OK)
        conn_run(c, c->rollback);
}
