/* The file system under SQLite, one of whose effects fails, or kills: the nth write, truncation,
 * sync, deletion or lock from now on. Syncs are counted and left out. */
#ifndef TESTS_SCHEMA_VFS_H
#define TESTS_SCHEMA_VFS_H

#include <signal.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum fault { FAULT_IO, FAULT_FULL, FAULT_KILL };

static enum fault fault_kind;
static int fault_left;  /* effects until it; 0: none */
static int fault_fired; /* how often: a full disk stays full */

static sqlite3_vfs *real_vfs, faulty_vfs;

struct faulty {
    sqlite3_file base;
    sqlite3_file *real;
};

static inline sqlite3_file *real_of(sqlite3_file *f) {
    return ((struct faulty *)f)->real;
}

static inline bool fault_now(void) {
    if (!fault_left) return fault_kind == FAULT_FULL && fault_fired;
    if (--fault_left) return false;
    if (fault_kind == FAULT_KILL) kill(getpid(), SIGKILL);
    fault_fired++;
    return true;
}

static inline void fault_at(enum fault kind, int n) {
    fault_kind = kind;
    fault_left = n;
    fault_fired = 0;
}

#define CALL(method, ...) real_of(f)->pMethods->method(real_of(f), __VA_ARGS__)

static int f_close(sqlite3_file *f) {
    int code = real_of(f)->pMethods->xClose(real_of(f));
    sqlite3_free(real_of(f));
    return code;
}
static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at) {
    return CALL(xRead, p, n, at);
}
static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at) {
    if (fault_now()) return fault_kind == FAULT_FULL ? SQLITE_FULL : SQLITE_IOERR_WRITE;
    return CALL(xWrite, p, n, at);
}
static int f_truncate(sqlite3_file *f, sqlite3_int64 size) {
    return fault_now() && fault_kind == FAULT_IO ? SQLITE_IOERR_TRUNCATE : CALL(xTruncate, size);
}
static int f_sync(sqlite3_file *f, int flags) {
    (void)f, (void)flags;
    return fault_now() && fault_kind == FAULT_IO ? SQLITE_IOERR_FSYNC : SQLITE_OK;
}
static int f_size(sqlite3_file *f, sqlite3_int64 *size) {
    return CALL(xFileSize, size);
}
static int f_lock(sqlite3_file *f, int level) {
    return fault_now() && fault_kind == FAULT_IO ? SQLITE_IOERR_LOCK : CALL(xLock, level);
}
static int f_unlock(sqlite3_file *f, int level) {
    return CALL(xUnlock, level);
}
static int f_reserved(sqlite3_file *f, int *out) {
    return CALL(xCheckReservedLock, out);
}
static int f_control(sqlite3_file *f, int op, void *arg) {
    return CALL(xFileControl, op, arg);
}
static int f_sector(sqlite3_file *f) {
    return real_of(f)->pMethods->xSectorSize(real_of(f));
}
static int f_device(sqlite3_file *f) {
    return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}
static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **out) {
    if (extend && fault_now()) return SQLITE_IOERR_SHMMAP;
    return CALL(xShmMap, page, size, extend, out);
}
static int f_shm_lock(sqlite3_file *f, int at, int n, int flags) {
    return CALL(xShmLock, at, n, flags);
}
static void f_shm_barrier(sqlite3_file *f) {
    real_of(f)->pMethods->xShmBarrier(real_of(f));
}
static int f_shm_unmap(sqlite3_file *f, int delete) {
    return CALL(xShmUnmap, delete);
}

static int v_open(sqlite3_vfs *v, const char *name, sqlite3_file *file, int flags, int *out) {
    static const sqlite3_io_methods methods = {
        2,          f_close,       f_read,      f_write,   f_truncate, f_sync,   f_size,
        f_lock,     f_unlock,      f_reserved,  f_control, f_sector,   f_device, f_shm_map,
        f_shm_lock, f_shm_barrier, f_shm_unmap, NULL,      NULL};
    struct faulty *f = (struct faulty *)file;
    (void)v;
    f->base.pMethods = NULL;
    f->real = sqlite3_malloc(real_vfs->szOsFile);
    if (!f->real) return SQLITE_NOMEM;
    memset(f->real, 0, (size_t)real_vfs->szOsFile);
    int code = real_vfs->xOpen(real_vfs, name, f->real, flags, out);
    if (code == SQLITE_OK) f->base.pMethods = &methods;
    else sqlite3_free(f->real);
    return code;
}

static int v_delete(sqlite3_vfs *v, const char *name, int sync) {
    (void)v, (void)sync;
    if (fault_now() && fault_kind == FAULT_IO) return SQLITE_IOERR_DELETE;
    return real_vfs->xDelete(real_vfs, name, 0);
}

/* From now on under each connection of this process. */
static inline void take_vfs(void) {
    real_vfs = sqlite3_vfs_find(NULL);
    faulty_vfs = *real_vfs;
    faulty_vfs.zName = "faulty";
    faulty_vfs.szOsFile = sizeof(struct faulty);
    faulty_vfs.xOpen = v_open;
    faulty_vfs.xDelete = v_delete;
    sqlite3_vfs_register(&faulty_vfs, 1);
}

#endif
