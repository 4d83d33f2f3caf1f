/* The live database, seen through SQLite's own handles.
 *
 * Why not open(2): closing any descriptor of the database or of -shm drops all POSIX locks that
 * SQLite holds in the process, and a VFS may keep its files elsewhere. Why four connections: a
 * reader must begin before the other ends; a checkpoint must not run on a connection that reads;
 * and a failed statement on a holding connection would end its transaction without a word, so those
 * two run nothing else.
 *
 * Invariants
 *  1. A read transaction begins with BEGIN and PRAGMA schema_version: it takes the lock and parses
 *     no schema, so that a malformed or newer schema is no obstacle.
 *  2. No statement here parses the schema or writes, but for the one switch to WAL mode.
 *  3. The last close leaves the log where it is: it holds our position.
 */
#include "source/live.h"

#include "base/bytes.h"
#include "os/system.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUSY_BEGIN_MS 5000
#define HEADER_PATIENCE_NS 100000000

/* `db` may be NULL: a code without a connection that knows more. */
static rc result_of(int code, sqlite3 *db, const char *path, const char *doing, struct err *e) {
    const char *words = db ? sqlite3_errmsg(db) : sqlite3_errstr(code);
    int errnum = db ? sqlite3_system_errno(db) : 0;
    switch (code & 0xff) {
    case SQLITE_OK: return ok();
    case SQLITE_BUSY:
    case SQLITE_PROTOCOL:
    case SQLITE_LOCKED:
        return err_set(e, RC_BUSY, "%s: %s: locked by another connection (%s)", path, doing, words);
    case SQLITE_NOTADB:
        return err_set(e, RC_CORRUPT, "%s: not an SQLite database, or encrypted", path);
    case SQLITE_CORRUPT: return err_set(e, RC_CORRUPT, "%s: %s: %s", path, doing, words);
    case SQLITE_NOMEM: return err_set(e, RC_NOMEM, "%s: %s: no memory", path, doing);
    case SQLITE_FULL: return err_set(e, RC_FULL, "%s: %s: %s", path, doing, words);
    default:
        if (errnum) return err_errno(e, errnum, "%s: %s: %s", path, doing, words);
        return err_set(e, RC_IO, "%s: %s: %s", path, doing, words);
    }
}

static rc connect_to(struct live *l, sqlite3 **out, struct err *e) {
    int code = sqlite3_open_v2(
        l->path, out, SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_PRIVATECACHE,
        NULL);
    TRY(result_of(code, *out, l->path, "open", e));
    if (sqlite3_db_readonly(*out, "main") == 1)
        return err_set(e, RC_IO, "%s: no permission to write: the WAL protocol needs it", l->path);
    sqlite3_wal_autocheckpoint(*out, 0);
    sqlite3_busy_timeout(*out, BUSY_BEGIN_MS);
    sqlite3_db_config(*out, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
    return ok();
}

static rc prepare(struct live *l, sqlite3 *db, const char *sql, sqlite3_stmt **out, struct err *e) {
    int code = sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL);
    return result_of(code, db, l->path, sql, e);
}

static int run(sqlite3_stmt *s) {
    int code = sqlite3_step(s);
    int reset = sqlite3_reset(s);
    return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK
           : reset != SQLITE_OK                      ? reset
                                                     : code;
}

rc live_begin(struct live *l, int reader, struct err *e) {
    int code = run(l->begin[reader]);
    if (code == SQLITE_OK) code = run(l->touch[reader]);
    if (code == SQLITE_OK) return ok();
    rc r = result_of(code, l->reader[reader], l->path, "begin a read transaction", e);
    if (!sqlite3_get_autocommit(l->reader[reader])) run(l->end[reader]);
    return r;
}

rc live_end(struct live *l, int reader, struct err *e) {
    return result_of(run(l->end[reader]), l->reader[reader], l->path, "end a read", e);
}

static rc check_path(struct live *l, const char *path, struct err *e) {
    struct file_stat s;
    TRY(system_real_path(path, l->path, e));
    TRY(l->env->files->stat(l->env, l->path, &s, e));
    if (s.is_directory) return err_set(e, RC_USAGE, "%s: a directory, not a database", path);
    if (!s.is_regular) return err_set(e, RC_USAGE, "%s: not a regular file", path);
    const char *fs;
    if (system_is_network_fs(l->path, &fs))
        return err_set(e, RC_USAGE, "%s: on a network file system (%s), where WAL mode cannot work",
                       path, fs);
    l->device = s.device;
    l->inode = s.inode;
    snprintf(l->wal_path, sizeof l->wal_path, "%.*s-wal", LIMIT_PATH - 8, l->path);
    snprintf(l->shm_path, sizeof l->shm_path, "%.*s-shm", LIMIT_PATH - 8, l->path);
    return ok();
}

static rc open_reader(struct live *l, int i, struct err *e) {
    TRY(connect_to(l, &l->reader[i], e));
    TRY(prepare(l, l->reader[i], "BEGIN", &l->begin[i], e));
    TRY(prepare(l, l->reader[i], "PRAGMA schema_version", &l->touch[i], e));
    return prepare(l, l->reader[i], "COMMIT", &l->end[i], e);
}

/* Bytes 16 and 17 of the header are the page size, 1 meaning 65536; 18 and 19 are 2 in WAL mode. A
 * database of no bytes has no header yet. */
static rc read_header(struct live *l, bool *wal, uint32_t *page_size, struct err *e) {
    uint8_t head[24] = {0};
    int code = l->db->pMethods->xRead(l->db, head, sizeof head, 0);
    if (code != SQLITE_OK && code != SQLITE_IOERR_SHORT_READ)
        return result_of(code, NULL, l->path, "read the header", e);
    *wal = head[18] == 2 && head[19] == 2;
    *page_size = (uint32_t)head[16] << 8 | (uint32_t)head[17] << 16;
    return ok();
}

static rc switch_to_wal(struct live *l, struct err *e) {
    sqlite3 *db = NULL;
    rc r = connect_to(l, &db, e);
    sqlite3_stmt *s = NULL;
    if (is_ok(r)) r = prepare(l, db, "PRAGMA journal_mode=WAL", &s, e);
    if (is_ok(r)) {
        int code = sqlite3_step(s);
        const char *mode = code == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
        if (code != SQLITE_ROW) r = result_of(code, db, l->path, "switch to WAL mode", e);
        else if (!mode || strcmp(mode, "wal") != 0)
            r = err_set(e, RC_BUSY,
                        "%s: stays in %s mode: somebody has it open, or its VFS has no WAL",
                        l->path, mode ? mode : "its");
    }
    sqlite3_finalize(s);
    sqlite3_close(db);
    l->switched = is_ok(r);
    return r;
}

/* The two file handles live as long as the connection stays in WAL mode, and nobody can leave WAL
 * mode while it is open. */
static rc take_handles(struct live *l, struct err *e) {
    sqlite3_file_control(l->reader[0], "main", SQLITE_FCNTL_FILE_POINTER, &l->db);
    sqlite3_file_control(l->reader[0], "main", SQLITE_FCNTL_JOURNAL_POINTER, &l->wal);
    if (!l->db || !l->db->pMethods || l->db->pMethods->iVersion < 2 || !l->db->pMethods->xShmMap)
        return err_set(e, RC_USAGE, "%s: its VFS has no shared memory", l->path);
    if (!l->wal || !l->wal->pMethods)
        return err_set(e, RC_IO, "%s: SQLite did not open the log", l->path);
    return ok();
}

static uint64_t inode_of(struct live *l, const char *path) {
    struct file_stat s;
    return is_ok(l->env->files->stat(l->env, path, &s, NULL)) ? s.inode : 0;
}

static rc open_all(struct live *l, bool may_switch, struct err *e) {
    TRY(open_reader(l, 0, e));
    TRY(live_begin(l, 0, e));
    sqlite3_file_control(l->reader[0], "main", SQLITE_FCNTL_FILE_POINTER, &l->db);
    bool wal = false;
    uint32_t page_size = 0;
    TRY(read_header(l, &wal, &page_size, e));
    if (!wal && !may_switch)
        return err_set(e, RC_USAGE, "%s: not in WAL mode, so no holdfast replicates it", l->path);
    if (!wal) {
        TRY(live_end(l, 0, e));
        TRY(switch_to_wal(l, e));
        TRY(live_begin(l, 0, e));
        TRY(read_header(l, &wal, &page_size, e));
    }
    TRY(take_handles(l, e));
    /* At once: what comes to these paths from now on is not ours. */
    l->wal_inode = inode_of(l, l->wal_path);
    l->shm_inode = inode_of(l, l->shm_path);
    TRY(open_reader(l, 1, e));
    TRY(connect_to(l, &l->checkpointer, e));
    TRY(connect_to(l, &l->locker, e));
    sqlite3_busy_timeout(l->checkpointer, 0);
    sqlite3_busy_timeout(l->locker, 0);
    TRY(prepare(l, l->locker, "BEGIN IMMEDIATE", &l->lock, e));
    TRY(prepare(l, l->locker, "ROLLBACK", &l->unlock, e));
    /* A connection that has never read checkpoints nothing and says OK. */
    int code = sqlite3_exec(l->checkpointer, "PRAGMA schema_version", NULL, NULL, NULL);
    TRY(result_of(code, l->checkpointer, l->path, "read", e));
    struct walindex_header h;
    TRY(live_header(l, &h, e));
    l->page_size = h.page_size ? h.page_size : page_size;
    if (l->page_size < 512 || l->page_size > LIMIT_PAGE_SIZE)
        return err_set(e, RC_CORRUPT, "%s: page size %u", l->path, l->page_size);
    l->frame = malloc(WAL_FRAME_HEADER_SIZE + l->page_size);
    return l->frame ? ok() : err_set(e, RC_NOMEM, "no memory");
}

rc live_open(struct live *l, struct env *env, const char *path, bool may_switch, struct err *e) {
    *l = (struct live){.env = env};
    TRY(check_path(l, path, e));
    rc r = open_all(l, may_switch, e);
    if (!is_ok(r)) live_close(l);
    return r;
}

void live_close(struct live *l) {
    for (int i = 0; i < 2; i++) {
        sqlite3_finalize(l->begin[i]);
        sqlite3_finalize(l->touch[i]);
        sqlite3_finalize(l->end[i]);
        sqlite3_close(l->reader[i]);
    }
    sqlite3_finalize(l->lock);
    sqlite3_finalize(l->unlock);
    sqlite3_close(l->checkpointer);
    sqlite3_close(l->locker);
    free(l->regions);
    free(l->frame);
    *l = (struct live){.env = l->env};
}

static const volatile uint8_t *region(struct live *l, uint32_t number) {
    if (number < l->region_count && l->regions[number]) return l->regions[number];
    if (number >= l->region_count) {
        const volatile uint8_t **grown = realloc((void *)l->regions, (number + 16) * sizeof *grown);
        if (!grown) return NULL;
        for (uint32_t i = l->region_count; i < number + 16; i++) grown[i] = NULL;
        l->regions = grown;
        l->region_count = number + 16;
    }
    void volatile *p = NULL;
    int code = l->db->pMethods->xShmMap(l->db, (int)number, WALINDEX_REGION_SIZE, 0, &p);
    if (code != SQLITE_OK) return NULL;
    return l->regions[number] = p;
}

/* A wal-index that was built from an empty log names neither page size nor page count; the
 * database, which nobody can change before a frame is there, does. */
static bool fill_from_database(struct live *l, struct walindex_header *h) {
    sqlite3_int64 size = 0;
    if (h->page_size == 0) h->page_size = l->page_size;
    if (h->page_count || !h->page_size) return true;
    if (l->db->pMethods->xFileSize(l->db, &size) != SQLITE_OK) return false;
    h->page_count = (uint32_t)((uint64_t)size / h->page_size);
    return true;
}

bool live_header_now(struct live *l, struct walindex_header *h) {
    const volatile uint8_t *r = region(l, 0);
    return r && walindex_header_read(r, h) && fill_from_database(l, h);
}

rc live_header(struct live *l, struct walindex_header *h, struct err *e) {
    int64_t start = l->env->mono_ns(l->env), nap = 1000;
    for (int spin = 0; spin < 100; spin++)
        if (live_header_now(l, h)) return ok();
    while (l->env->mono_ns(l->env) - start < HEADER_PATIENCE_NS) {
        if (live_header_now(l, h)) return ok();
        l->env->sleep_ns(l->env, nap);
        if (nap < 5000000) nap += nap / 2;
    }
    /* A writer died there: the next transaction of anybody makes SQLite rebuild the header. */
    int code = sqlite3_exec(l->locker, "BEGIN; PRAGMA schema_version; COMMIT", NULL, NULL, NULL);
    if (code != SQLITE_OK) {
        rc r = result_of(code, l->locker, l->path, "recover the wal-index", e);
        sqlite3_exec(l->locker, "ROLLBACK", NULL, NULL, NULL); /* if it had begun */
        return r;
    }
    if (live_header_now(l, h)) return ok();
    return err_set(e, RC_RETRY, "%s: the wal-index header cannot be read", l->path);
}

rc live_file_pages(struct live *l, uint32_t *out, struct err *e) {
    sqlite3_int64 size = 0;
    int code = l->db->pMethods->xFileSize(l->db, &size);
    TRY(result_of(code, NULL, l->path, "size", e));
    *out = (uint32_t)((uint64_t)size / l->page_size);
    return ok();
}

uint32_t live_backfilled(const struct live *l) {
    return walindex_backfilled(l->regions[0]);
}

static rc get_region(struct live *l, uint32_t number, const volatile uint8_t **out, struct err *e) {
    *out = region(l, number);
    if (*out) return ok();
    return err_set(e, RC_IO, "%s: part %u of the wal-index is gone", l->path, number);
}

rc live_page_of_frame(struct live *l, uint32_t frame, uint32_t *pgno, struct err *e) {
    const volatile uint8_t *r;
    TRY(get_region(l, walindex_region_of(frame), &r, e));
    *pgno = walindex_page_of(r, frame);
    if (*pgno == 0 || *pgno == UINT32_MAX)
        return err_set(e, RC_CORRUPT, "%s: wal-index: frame %u has no page", l->path, frame);
    return ok();
}

static rc read_frame(struct live *l, uint32_t frame, size_t n, struct err *e) {
    int code = l->wal->pMethods->xRead(l->wal, l->frame, (int)n,
                                       (sqlite3_int64)wal_frame_offset(frame, l->page_size));
    if (code == SQLITE_OK) return ok();
    if (code == SQLITE_IOERR_SHORT_READ)
        return err_set(e, RC_CORRUPT, "%s: frame %u lies beyond its end", l->wal_path, frame);
    return result_of(code, NULL, l->wal_path, "read", e);
}

rc live_frame_header(struct live *l, uint32_t frame, struct wal_frame_header *h, struct err *e) {
    TRY(read_frame(l, frame, WAL_FRAME_HEADER_SIZE, e));
    wal_frame_header_decode(l->frame, h);
    return ok();
}

rc live_checksum_before(struct live *l, uint32_t frame, uint32_t sum[2], struct err *e) {
    struct wal_frame_header h;
    TRY(read_frame(l, frame, WAL_FRAME_HEADER_SIZE + l->page_size, e));
    wal_frame_header_decode(l->frame, &h);
    memcpy(sum, h.checksum, sizeof h.checksum);
    wal_checksum_back(l->frame + WAL_FRAME_HEADER_SIZE, l->page_size, sum);
    wal_checksum_back(l->frame, 8, sum);
    return ok();
}

static rc find_frame(struct live *l, uint32_t pgno, uint32_t last, uint32_t *out, struct err *e) {
    *out = 0;
    if (last == 0) return ok();
    for (int64_t number = walindex_region_of(last); number >= 0; number--) {
        const volatile uint8_t *r;
        TRY(get_region(l, (uint32_t)number, &r, e));
        *out = walindex_find(r, (uint32_t)number, pgno, last);
        if (*out) return ok();
    }
    return ok();
}

/* Its salts, or nothing at all: SQLite 3.40.1 leaves frames so when a savepoint is rolled back
 * after the page cache has spilled. They are committed and are read by every connection; a recovery
 * ends there. */
static bool of_this_log(const struct wal_frame_header *h, const uint32_t salt[2]) {
    bool blank = !(h->salt[0] | h->salt[1] | h->checksum[0] | h->checksum[1]);
    return blank || same_salts(h->salt, salt);
}

rc live_page(struct live *l, uint32_t pgno, uint32_t last, uint32_t low, const uint32_t salt[2],
             uint8_t *page, struct err *e) {
    uint32_t frame = 0;
    if (last > low) TRY(find_frame(l, pgno, last, &frame, e));
    if (frame > low) {
        struct wal_frame_header h;
        TRY(read_frame(l, frame, WAL_FRAME_HEADER_SIZE + l->page_size, e));
        wal_frame_header_decode(l->frame, &h);
        if (h.pgno != pgno || !of_this_log(&h, salt))
            return err_set(e, RC_CORRUPT, "%s: frame %u is not page %u of this log", l->wal_path,
                           frame, pgno);
        memcpy(page, l->frame + WAL_FRAME_HEADER_SIZE, l->page_size);
        return ok();
    }
    int code = l->db->pMethods->xRead(l->db, page, (int)l->page_size,
                                      (sqlite3_int64)(pgno - 1) * l->page_size);
    /* Short: a page that was allocated and freed without ever being written. SQLite, too, takes
     * zeros. */
    if (code == SQLITE_OK || code == SQLITE_IOERR_SHORT_READ) return ok();
    return result_of(code, NULL, l->path, "read", e);
}

rc live_checkpoint(struct live *l, int64_t wait_ns, struct err *e) {
    int64_t start = l->env->mono_ns(l->env), nap = 2000;
    for (;;) {
        int in_log = -1, copied = -1;
        int code = sqlite3_wal_checkpoint_v2(l->checkpointer, NULL, SQLITE_CHECKPOINT_PASSIVE,
                                             &in_log, &copied);
        if (code == SQLITE_OK && in_log >= 0) return ok();
        if (code == SQLITE_OK) return err_set(e, RC_RETRY, "%s: a checkpoint did nothing", l->path);
        if (code != SQLITE_BUSY) return result_of(code, l->checkpointer, l->path, "checkpoint", e);
        if (l->env->mono_ns(l->env) - start >= wait_ns)
            return err_set(e, RC_BUSY, "%s: another checkpoint is under way", l->path);
        l->env->sleep_ns(l->env, nap);
        if (nap < 200000) nap += nap / 2;
    }
}

rc live_sync_database(struct live *l, struct err *e) {
    return result_of(l->db->pMethods->xSync(l->db, SQLITE_SYNC_NORMAL), NULL, l->path, "sync", e);
}

struct both_locks {
    int checkpointer, writer;
};

static void see_lock(void *arg, const struct foreign_lock *f) {
    struct both_locks *b = arg;
    if (f->start <= WALINDEX_LOCK_CHECKPOINT && f->end >= WALINDEX_LOCK_CHECKPOINT)
        b->checkpointer = f->pid;
    if (f->start <= WALINDEX_LOCK_WRITE && f->end >= WALINDEX_LOCK_WRITE) b->writer = f->pid;
}

bool live_checkpoint_runs(struct live *l) {
    struct both_locks b = {0};
    system_locks_surely(l->shm_inode, see_lock, &b);
    return b.checkpointer > 0;
}

bool live_checkpointer_writes(struct live *l) {
    struct both_locks b = {0};
    system_locks(l->shm_inode, see_lock, &b);
    return b.checkpointer > 0 && b.checkpointer == b.writer && b.writer != system_pid();
}

rc live_lock(struct live *l, struct err *e) {
    return result_of(run(l->lock), l->locker, l->path, "take the write lock", e);
}

void live_unlock(struct live *l) {
    run(l->unlock);
}

/* What cannot be asked for now has not moved: that it is gone is only said by who looked.
 * (SQLITE_FCNTL_HAS_MOVED says "moved" of what it could not ask for.) */
static bool is_another(struct live *l, const char *path, uint64_t inode) {
    struct file_stat s;
    rc r = l->env->files->stat(l->env, path, &s, NULL);
    return is_ok(r) ? s.inode != inode : r.code == RC_NOTFOUND && inode;
}

bool live_has_moved(struct live *l) {
    struct file_stat s;
    rc r = l->env->files->stat(l->env, l->path, &s, NULL);
    if (!is_ok(r)) return r.code == RC_NOTFOUND;
    if (s.inode != l->inode || s.device != l->device) return true;
    return is_another(l, l->wal_path, l->wal_inode) || is_another(l, l->shm_path, l->shm_inode);
}
