/* Fast-forward: an older local database takes the replica's tip.
 *
 * The local state is classed by the same table as a start (classify.c), so that what is not proven
 * to be an older state of this replica is refused.
 *
 * Invariants
 *  1. From the check that nobody has the database open until the rename, the file is locked
 *     exclusively.
 *  2. The old log is emptied into the old file and removed before the new file gets its name: a log
 *     that does not belong to a database must never lie beside it.
 * After a crash: the old database (its log empty or gone), or the new one.
 */
#include "store/fast_forward.h"

#include "os/system.h"
#include "source/look.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Nobody else may have it open; from here on nobody can. */
static rc lock_alone(const char *db, sqlite3 **out, struct err *e) {
    int code = sqlite3_open_v2(db, out, SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE, NULL);
    if (code == SQLITE_OK) {
        sqlite3_db_config(*out, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
        code = sqlite3_exec(*out, "PRAGMA locking_mode=EXCLUSIVE; BEGIN IMMEDIATE; ROLLBACK", NULL,
                            NULL, NULL);
    }
    if (code == SQLITE_OK) return ok();
    rc r = code == SQLITE_BUSY
               ? err_set(e, RC_BUSY, "%s: somebody has it open: stop the application first", db)
               : err_set(e,
                         code == SQLITE_NOTADB     ? RC_CORRUPT
                         : code == SQLITE_CANTOPEN ? RC_NOTFOUND
                                                   : RC_IO,
                         "%s: %s", db, sqlite3_errmsg(*out));
    sqlite3_close(*out);
    *out = NULL;
    return r;
}

/* All of it into the file, which then is a base to build on, or to keep. */
static rc empty_log(sqlite3 *alone, const char *db, struct err *e) {
    int code = sqlite3_exec(alone, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    return code == SQLITE_OK ? ok() : err_set(e, RC_IO, "%s: %s", db, sqlite3_errmsg(alone));
}

/* What every commit and every checkpoint changes. */
struct written {
    struct file_stat db, log;
};

static void when_written(struct env *env, const char *db, struct written *out) {
    char log[LIMIT_PATH + 16];
    struct err ignored;
    snprintf(log, sizeof log, "%s-wal", db);
    *out = (struct written){0};
    (void)env->files->stat(env, db, &out->db, &ignored).code;
    (void)env->files->stat(env, log, &out->log, &ignored).code;
}

static bool same_file(const struct file_stat *a, const struct file_stat *b) {
    return a->inode == b->inode && a->size_bytes == b->size_bytes && a->mtime_ms == b->mtime_ms;
}

static rc not_written_since(struct env *env, const char *db, const struct written *then,
                            struct err *e) {
    struct written now;
    when_written(env, db, &now);
    if (same_file(&now.db, &then->db) && same_file(&now.log, &then->log)) return ok();
    return err_set(e, RC_BUSY, "%s: somebody wrote to it meanwhile: stop the application first",
                   db);
}

/* Looking at a database without a log makes an empty one. SQLite takes it away when the last who
 * has it open closes, so that nobody's is taken. */
static void take_log_away(const char *db) {
    sqlite3 *c = NULL;
    if (sqlite3_open_v2(db, &c, SQLITE_OPEN_READWRITE | SQLITE_OPEN_PRIVATECACHE, NULL) ==
        SQLITE_OK)
        sqlite3_exec(c, "PRAGMA schema_version", NULL, NULL, NULL);
    sqlite3_close(c);
}

static rc remove_beside(struct env *env, const char *db, const char *suffix, struct err *e) {
    char path[LIMIT_PATH + 16];
    snprintf(path, sizeof path, "%s%s", db, suffix);
    rc r = env->files->remove(env, path, e);
    return r.code == RC_NOTFOUND ? ok() : r;
}

/* Build beside, then swap while nobody can open it. The log, the evidence of what the file is,
 * stays while the new one is built, or a crash meanwhile would leave a file of which nothing can be
 * proven; unless the old one is built on: then it is a state that the replica knows. `save` (may be
 * NULL) takes the old file's name. */
static rc swap(struct env *env, struct store *store, const char *db, sqlite3 *alone,
               struct restore_options *options, const char *save, struct restore_result *result,
               struct err *e) {
    char temp[LIMIT_PATH + 32], dir[LIMIT_PATH];
    snprintf(temp, sizeof temp, "%s.holdfast-new", db);
    system_directory_of(db, dir);
    rc r = env->files->remove(env, temp, e); /* of a run that died */
    if (r.code != RC_NOTFOUND) TRY(r);
    if (options->base) TRY(empty_log(alone, db, e));
    TRY(replica_restore(store, temp, options, result, e));
    if (!options->base) TRY(empty_log(alone, db, e));
    TRY(env->files->copy_access(env, db, temp, e));
    TRY(remove_beside(env, db, "-wal", e));
    TRY(remove_beside(env, db, "-shm", e));
    if (save) TRY(env->files->link(env, NULL, db, save, e)); /* it is never without its own name */
    TRY(env->files->sync_dir(env, dir, e)); /* invariant 2, whatever a power cut undoes */
    TRY(env->files->rename(env, temp, db, true, e));
    return env->files->sync_dir(env, dir, e);
}

rc fast_forward_database(struct env *env, struct store *store, const char *db, int parallel,
                         struct progress *progress, struct restore_result *result, struct err *e) {
    struct look look;
    struct written before, then;
    sqlite3 *alone = NULL;
    when_written(env, db, &before);
    /* First: a refusal names who is in the way before anything else. */
    rc r = lock_alone(db, &alone, e);
    TRY(r);
    when_written(env, db, &then);
    sqlite3_close(alone);
    r = look_open(&look, env, store, db, e);
    bool pending = is_ok(r) && look.pending->count > 0;
    look_close(&look);
    TRY(r);
    if (look.class == CLASS_AHEAD || (look.class == CLASS_CONTINUES && pending))
        return err_set(e, RC_CONFLICT,
                       "%s holds commits that the replica %s lacks: nothing to fast-forward", db,
                       store->url);
    if (look.class == CLASS_CONTINUES || look.class == CLASS_EQUAL) {
        if (!before.log.inode) take_log_away(db);
        *result = (struct restore_result){.txid = look.txid};
        return ok();
    }
    if (look.class == CLASS_NEW || look.class == CLASS_GONE) return replica_no_backup(store, e);
    if (look.class != CLASS_BEHIND && look.class != CLASS_OLDER) {
        *e = look.refusal;
        return (rc){e->code};
    }
    struct restore_options options = {.parallel = parallel, .progress = progress, .ltx_only = true};
    if (look.known_txid) { /* closed after the lock: a close in between would drop it */
        TRY(env->files->open(env, db, FILE_READ, &options.base, e));
        options.base_path = db;
        options.base_txid = look.known_txid;
    }
    r = lock_alone(db, &alone, e);
    if (is_ok(r)) r = not_written_since(env, db, &then, e); /* it is what was classed */
    if (is_ok(r)) r = swap(env, store, db, alone, &options, NULL, result, e);
    sqlite3_close(alone);
    env->files->close(env, options.base);
    return r;
}

rc fast_forward_adopt(struct env *env, struct store *store, const char *db, int parallel,
                      struct progress *progress, struct restore_result *result, char *saved,
                      struct err *e) {
    sqlite3 *alone = NULL;
    struct restore_options options = {.parallel = parallel, .progress = progress, .ltx_only = true};
    snprintf(saved, LIMIT_PATH, "%.*s.before-%lld", LIMIT_PATH - 40, db,
             (long long)env->unix_ms(env));
    TRY(lock_alone(db, &alone, e));
    rc r = swap(env, store, db, alone, &options, saved, result, e);
    sqlite3_close(alone);
    return r;
}
