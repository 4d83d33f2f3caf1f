/* SQLite's files, call by call: each is a place where another actor may go on.
 *
 * The shim stands before SQLite's own VFS, which does the work on real files. All connections are
 * of one process, so that SQLite's own bookkeeping of locks keeps them apart, as it does in a
 * process with threads. Each actor passes for a process of its own all the same: the locks that the
 * source asks the system about are answered from here, by --wrap at link time. So is the place of
 * the lock page, which SQLite moves for tests (SQLITE_TESTCTRL_PENDING_BYTE) and we compute.
 *
 * Before each call the oracle looks whether something was committed: between any two commits there
 * is one.
 */
#include "format/ltx.h"
#include "format/wal.h"
#include "os/system.h"
#include "sim.h"

#include <string.h>

enum kind { OTHER, DATABASE, LOG };

struct sim_file {
    sqlite3_file base;
    sqlite3_file *real;
    enum kind kind;
    int pid;
    bool mapped;
    uint16_t shared, exclusive; /* slots of the wal-index that it has locked */
    struct sim_file *next;
};

static sqlite3_vfs *real_vfs, shim;
static struct sim_file *files;
static struct {
    const char *path;
    void (*changed)(void);
    int pid[32];
    const volatile uint8_t *index;
    int mapped;
} watched;

static struct sim_file *sim_file_of(sqlite3_file *f) {
    return (struct sim_file *)f;
}

static sqlite3_file *real_of(sqlite3_file *f) {
    return sim_file_of(f)->real;
}

#define REAL(f, method) (real_of(f)->pMethods->method)

/* Something is about to be done to a file of the world. */
static void before(sqlite3_file *f, int op, int64_t at) {
    if (sim_file_of(f)->kind == OTHER) return;
    oracle_look();
    sim_count.calls++;
    sim_spend(300);
    sim_note((uint64_t)op << 56 ^ (uint64_t)sim_file_of(f)->kind << 48 ^ (uint64_t)at);
    sim_yield();
    oracle_look();
}

static void changed(sqlite3_file *f) {
    if (sim_file_of(f)->kind != OTHER && watched.changed) watched.changed();
}

/* ---- a file ---- */

static int sim_close(sqlite3_file *f) {
    before(f, 1, 0);
    for (struct sim_file **p = &files; *p; p = &(*p)->next)
        if (*p == sim_file_of(f)) {
            *p = (*p)->next;
            break;
        }
    return REAL(f, xClose)(real_of(f));
}

static int sim_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 at) {
    before(f, 2, at);
    return REAL(f, xRead)(real_of(f), buf, n, at);
}

static int sim_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 at) {
    before(f, 3, at);
    if (sim_file_of(f)->kind == LOG) oracle_log_written((uint64_t)at, buf, (size_t)n);
    int code = REAL(f, xWrite)(real_of(f), buf, n, at);
    changed(f);
    return code;
}

static int sim_truncate(sqlite3_file *f, sqlite3_int64 size) {
    before(f, 4, size);
    int code = REAL(f, xTruncate)(real_of(f), size);
    changed(f);
    return code;
}

/* Nothing is lost in this world, so nothing need be synced: it takes its time. */
static int sim_sync(sqlite3_file *f, int flags) {
    (void)flags;
    before(f, 5, 0);
    if (sim_file_of(f)->kind == OTHER) return SQLITE_OK;
    if (sim_one_in(4)) sim_sleep(sim_between(10 * SIM_US, 3 * SIM_MS));
    return SQLITE_OK;
}

static int sim_size(sqlite3_file *f, sqlite3_int64 *out) {
    before(f, 6, 0);
    return REAL(f, xFileSize)(real_of(f), out);
}

static int sim_lock(sqlite3_file *f, int level) {
    before(f, 7, level);
    return REAL(f, xLock)(real_of(f), level);
}

static int sim_unlock(sqlite3_file *f, int level) {
    before(f, 8, level);
    return REAL(f, xUnlock)(real_of(f), level);
}

static int sim_reserved(sqlite3_file *f, int *out) {
    return REAL(f, xCheckReservedLock)(real_of(f), out);
}

static int sim_control(sqlite3_file *f, int op, void *arg) {
    return REAL(f, xFileControl)(real_of(f), op, arg);
}

static int sim_sector(sqlite3_file *f) {
    return REAL(f, xSectorSize)(real_of(f));
}

static int sim_traits(sqlite3_file *f) {
    return REAL(f, xDeviceCharacteristics)(real_of(f));
}

static int sim_shm_map(sqlite3_file *f, int region, int size, int extend, void volatile **out) {
    struct sim_file *s = sim_file_of(f);
    before(f, 9, region);
    int code = REAL(f, xShmMap)(real_of(f), region, size, extend, out);
    if (s->kind != DATABASE || code != SQLITE_OK) return code;
    if (region == 0 && *out) watched.index = *out;
    watched.mapped += !s->mapped;
    s->mapped = true;
    return code;
}

static void note_lock(struct sim_file *s, int first, int n, int flags) {
    uint16_t slots = (uint16_t)(((1u << n) - 1) << first);
    if (flags & SQLITE_SHM_UNLOCK) {
        s->shared &= (uint16_t)~slots;
        s->exclusive &= (uint16_t)~slots;
    } else if (flags & SQLITE_SHM_SHARED) {
        s->shared |= slots;
    } else {
        s->exclusive |= slots;
    }
}

static int sim_shm_lock(sqlite3_file *f, int first, int n, int flags) {
    before(f, 10, first << 8 | flags);
    int code = REAL(f, xShmLock)(real_of(f), first, n, flags);
    if (code == SQLITE_OK) note_lock(sim_file_of(f), first, n, flags);
    sim_note((uint64_t)code);
    return code;
}

static void sim_shm_barrier(sqlite3_file *f) {
    before(f, 11, 0);
    REAL(f, xShmBarrier)(real_of(f));
}

static int sim_shm_unmap(sqlite3_file *f, int delete_it) {
    struct sim_file *s = sim_file_of(f);
    before(f, 12, delete_it);
    if (s->kind == DATABASE && s->mapped && --watched.mapped == 0) watched.index = NULL;
    s->mapped = false;
    s->shared = s->exclusive = 0;
    return REAL(f, xShmUnmap)(real_of(f), delete_it);
}

static int sim_fetch(sqlite3_file *f, sqlite3_int64 at, int n, void **out) {
    (void)f, (void)at, (void)n;
    *out = NULL; /* not mapped: so each page is read by a call */
    return SQLITE_OK;
}

/* Where a checkpoint that has read a header newer than its own lets go of mapped pages. SQLite's
 * WAL-reset bug needs one that stops here until the log has been reset, and is as long again. */
static void wait_for_another_log(void) {
    struct boundary then = *oracle_boundary(oracle_newest());
    int64_t end = sim_now() + sim_between(0, 300 * SIM_MS);
    bool there = false;
    while (!there && sim_now() < end) {
        sim_sleep(sim_between(0, 2 * SIM_MS));
        const struct boundary *now = oracle_boundary(oracle_newest());
        there = !same_salts(now->salt, then.salt) && now->frame >= then.frame;
    }
}

static int sim_unfetch(sqlite3_file *f, sqlite3_int64 at, void *page) {
    (void)page;
    before(f, 13, at);
    bool copies =
        sim_file_of(f)->exclusive == 1 << (WALINDEX_LOCK_CHECKPOINT - WALINDEX_LOCK_WRITE);
    if (copies && sim_current() >= 0 && sim_one_in(2)) wait_for_another_log();
    return SQLITE_OK;
}

static const sqlite3_io_methods methods = {
    .iVersion = 3,
    .xClose = sim_close,
    .xRead = sim_read,
    .xWrite = sim_write,
    .xTruncate = sim_truncate,
    .xSync = sim_sync,
    .xFileSize = sim_size,
    .xLock = sim_lock,
    .xUnlock = sim_unlock,
    .xCheckReservedLock = sim_reserved,
    .xFileControl = sim_control,
    .xSectorSize = sim_sector,
    .xDeviceCharacteristics = sim_traits,
    .xShmMap = sim_shm_map,
    .xShmLock = sim_shm_lock,
    .xShmBarrier = sim_shm_barrier,
    .xShmUnmap = sim_shm_unmap,
    .xFetch = sim_fetch,
    .xUnfetch = sim_unfetch,
};

/* ---- the VFS ---- */

static enum kind kind_of(const char *name, int flags) {
    size_t n = watched.path ? strlen(watched.path) : 0;
    if (!n || !name || strncmp(name, watched.path, n) != 0) return OTHER;
    if (flags & SQLITE_OPEN_WAL) return LOG;
    return flags & SQLITE_OPEN_MAIN_DB && !name[n] ? DATABASE : OTHER;
}

static int sim_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *out) {
    (void)v;
    struct sim_file *s = sim_file_of(f);
    *s = (struct sim_file){.real = (sqlite3_file *)(s + 1), .kind = kind_of(name, flags)};
    memset(s->real, 0, (size_t)real_vfs->szOsFile);
    if (sim_current() >= 0) s->pid = watched.pid[sim_current()];
    sim_yield();
    int code = real_vfs->xOpen(real_vfs, name, s->real, flags, out);
    if (code != SQLITE_OK) return code;
    s->base.pMethods = &methods;
    s->next = files;
    files = s;
    return SQLITE_OK;
}

static int sim_delete(sqlite3_vfs *v, const char *name, int sync_dir) {
    (void)v, (void)sync_dir;
    sim_yield();
    oracle_look();
    size_t n = watched.path ? strlen(watched.path) : 0;
    int code = real_vfs->xDelete(real_vfs, name, 0);
    if (n && strncmp(name, watched.path, n) == 0 && strcmp(name + n, "-wal") == 0)
        oracle_log_gone();
    return code;
}

static int sim_randomness(sqlite3_vfs *v, int n, char *out) {
    (void)v;
    for (int i = 0; i < n; i++) out[i] = (char)sim_random();
    return n;
}

static int sim_vfs_sleep(sqlite3_vfs *v, int us) {
    (void)v;
    sim_sleep(us * SIM_US);
    return us;
}

static int sim_time_ms(sqlite3_vfs *v, sqlite3_int64 *out) {
    (void)v;
    *out = 210866760000000 + sim_now() / SIM_MS;
    return SQLITE_OK;
}

void vfs_install(void) {
    real_vfs = sqlite3_vfs_find(NULL);
    shim = *real_vfs;
    shim.zName = "sim";
    shim.pNext = NULL;
    shim.szOsFile = (int)sizeof(struct sim_file) + real_vfs->szOsFile;
    shim.xOpen = sim_open;
    shim.xDelete = sim_delete;
    shim.xRandomness = sim_randomness;
    shim.xSleep = sim_vfs_sleep;
    shim.xCurrentTimeInt64 = sim_time_ms;
    sqlite3_vfs_register(&shim, 1);
}

void vfs_watch(const char *path) {
    watched.path = path;
    watched.index = NULL;
    watched.mapped = 0;
    watched.changed = NULL;
    memset(watched.pid, 0, sizeof watched.pid);
}

void vfs_on_change(void (*told)(void)) {
    watched.changed = told;
}

void vfs_pid(int actor, int pid) {
    watched.pid[actor] = pid;
}

const volatile uint8_t *vfs_index(void) {
    return watched.index;
}

/* ---- what the source would ask the machine ---- */

void __wrap_system_locks(uint64_t inode, void (*each)(void *, const struct foreign_lock *),
                         void *arg);
void __wrap_system_locks_surely(uint64_t inode, void (*each)(void *, const struct foreign_lock *),
                                void *arg);
void __wrap_system_runtime_files(const char *database, const char *name,
                                 void (*each)(void *, const char *path), void *arg);
uint32_t __wrap_ltx_lock_page(uint32_t page_size);

void __wrap_system_locks(uint64_t inode, void (*each)(void *, const struct foreign_lock *),
                         void *arg) {
    (void)inode;
    for (const struct sim_file *s = files; s; s = s->next)
        for (unsigned slot = 0; s->kind == DATABASE && slot < 8; slot++) {
            bool write = s->exclusive >> slot & 1;
            uint64_t byte = WALINDEX_LOCK_WRITE + slot;
            struct foreign_lock lock = {s->pid, write, byte, byte};
            if (write || (s->shared >> slot & 1)) each(arg, &lock);
        }
}

void __wrap_system_locks_surely(uint64_t inode, void (*each)(void *, const struct foreign_lock *),
                                void *arg) {
    __wrap_system_locks(inode, each, arg);
}

/* Nobody else's are here; and to look for them takes longer than the rest of a start. */
void __wrap_system_runtime_files(const char *database, const char *name,
                                 void (*each)(void *, const char *path), void *arg) {
    (void)database, (void)name, (void)each, (void)arg;
}

static uint32_t pending_byte = 0x40000000;

void vfs_move_lock_page(uint32_t byte) {
    sqlite3_test_control(SQLITE_TESTCTRL_PENDING_BYTE, (int)byte);
    pending_byte = byte;
}

uint32_t __wrap_ltx_lock_page(uint32_t page_size) {
    return pending_byte / page_size + 1;
}
