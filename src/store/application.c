/* A connection that is the application's own: see the header.
 *
 * Why a second copy of SQLite is refused: two copies in one process do not know of each other's
 * locks, and a close in one drops the POSIX locks of the other; the database would be corrupted.
 * And a handle of the other copy cannot be asked anything, as its struct may be laid out in another
 * way. So the handle is only looked at: its first word has been the VFS it was opened with in every
 * SQLite since 3.5, and the VFSs of the library's copy are known by their addresses.
 *
 * Invariant: no function of SQLite is called with a handle before that look says that it is ours.
 */
#include "store/application.h"

#include <stdio.h>
#include <string.h>

#define TRIES 100 /* a commit is published in microseconds, unless its writer is paused there */

static bool is_our_vfs(const void *vfs) {
    for (const sqlite3_vfs *v = sqlite3_vfs_find(NULL); v; v = v->pNext)
        if (v == vfs) return true;
    return false;
}

static const void *first_word(sqlite3 *db) {
    const void *word;
    memcpy(&word, db, sizeof word);
    return word;
}

/* A connection of our own shows how the handles of this copy look, and whether it has mutexes. */
static rc look_at_ours(bool *first_is_vfs, struct err *e) {
    sqlite3 *own = NULL;
    int code =
        sqlite3_open_v2(":memory:", &own, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX, NULL);
    bool threads = sqlite3_threadsafe() && code == SQLITE_OK && sqlite3_db_mutex(own);
    *first_is_vfs = code == SQLITE_OK && is_our_vfs(first_word(own));
    sqlite3_close(own);
    if (code != SQLITE_OK) return err_set(e, RC_NOMEM, "SQLite: %s", sqlite3_errstr(code));
    if (threads) return ok();
    return err_set(e, RC_UNFIT,
                   "this SQLite is built or configured for a single thread, and the replication"
                   " needs one of its own: call sqlite3_config(SQLITE_CONFIG_SERIALIZED) first, or"
                   " run 'holdfast replicate' beside the application");
}

rc application_check(sqlite3 *db, struct err *e) {
    bool first_is_vfs;
    void *vfs = NULL;
    if (!db) return err_set(e, RC_USAGE, "no connection was given");
    TRY(look_at_ours(&first_is_vfs, e));
    if (!first_is_vfs)
        return err_set(e, RC_UNFIT,
                       "SQLite %s is not known to this library: it cannot tell whose connections"
                       " are its own; run 'holdfast replicate' beside the application",
                       sqlite3_libversion());
    if (is_our_vfs(first_word(db)) &&
        sqlite3_file_control(db, "main", SQLITE_FCNTL_VFS_POINTER, &vfs) == SQLITE_OK && vfs)
        return ok();
    return err_set(e, RC_USAGE,
                   "the connection is not one of the SQLite that libholdfast uses (%s): two copies"
                   " of SQLite in a process corrupt a database that both open; link the"
                   " application with the shared libsqlite3, or run 'holdfast replicate' beside it",
                   sqlite3_libversion());
}

rc application_path(sqlite3 *db, char out[LIMIT_PATH], struct err *e) {
    const char *name = sqlite3_db_filename(db, "main");
    sqlite3_vfs *vfs = NULL;
    sqlite3_file_control(db, "main", SQLITE_FCNTL_VFS_POINTER, &vfs);
    bool memory = vfs && vfs->zName && strcmp(vfs->zName, "memdb") == 0;
    if (memory || !name || !*name)
        return err_set(e, RC_USAGE,
                       "a database in memory, or a temporary one, has no file that"
                       " could be replicated");
    if (snprintf(out, LIMIT_PATH, "%s", name) >= (int)LIMIT_PATH)
        return err_set(e, RC_USAGE, "the path of the database is too long");
    return ok();
}

rc application_position(sqlite3 *db, struct position *out, struct err *e) {
    TRY(application_check(db, e));
    rc r = position_read(db, "main", out, e);
    if (r.code == RC_USAGE && sqlite3_get_autocommit(db)) { /* it may only never have read */
        sqlite3_exec(db, "PRAGMA schema_version", NULL, NULL, NULL);
        r = position_read(db, "main", out, e);
    }
    for (int tries = 0; r.code == RC_BUSY && tries < TRIES; tries++) {
        sqlite3_sleep(1);
        r = position_read(db, "main", out, e);
    }
    return r;
}
