/* Records what a program does to a tree of files (trace.h): to be preloaded.
 *
 *     LD_PRELOAD=librecord.so HOLDFAST_RECORD=TRACE HOLDFAST_RECORD_ROOT=DIR PROGRAM...
 *
 * HOLDFAST_RECORD_SLOW=NAME/: what comes below that directory of the root gets its name late, so
 * that of two destinations one is behind the other.
 *
 * Several processes write into one trace. A change and its record are made under one lock (a mutex
 * of the process, then a lock on the trace), so that the order of the records is the order of the
 * changes; a sync is not, as others go on writing meanwhile.
 *
 * Only the calls that SQLite and Holdfast make are known here. That none is missing is found out by
 * the explorer: the whole trace must give the tree that is there.
 *
 * Writes to a mapping are not seen. The one file that SQLite maps, NAME-shm, does not outlive a
 * power cut in any case.
 */
#include "trace.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* The C library's declarations differ from system to system; these are the symbols. */
EXPORT int open(const char *, int, ...);
EXPORT int open64(const char *, int, ...);
EXPORT ssize_t write(int, const void *, size_t);
EXPORT ssize_t pwrite(int, const void *, size_t, off_t);
EXPORT ssize_t pwrite64(int, const void *, size_t, off_t);
EXPORT int ftruncate(int, off_t);
EXPORT int ftruncate64(int, off_t);
EXPORT int fallocate(int, int, off_t, off_t);
EXPORT int fallocate64(int, int, off_t, off_t);

static struct {
    pthread_mutex_t mutex;
    int fd;
    pid_t pid;        /* whose fd it is: a lock of the parent's would be shared */
    const char *root; /* NULL: nothing is recorded */
    size_t root_size;
    dev_t device;
    atomic_uint syncs;
} trace = {.mutex = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static void die(const char *what) {
    dprintf(STDERR_FILENO, "record: %s: %s\n", what, strerror(errno));
    _exit(99);
}

static void start(void) {
    const char *root = getenv("HOLDFAST_RECORD_ROOT");
    struct stat st;
    if (trace.pid == getpid()) return;
    trace.pid = getpid();
    if (!root || !getenv("HOLDFAST_RECORD")) return;
    if (stat(root, &st) != 0) die(root);
    trace.fd = (int)syscall(SYS_openat, AT_FDCWD, getenv("HOLDFAST_RECORD"),
                            O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (trace.fd < 0) die("trace");
    trace.device = st.st_dev;
    trace.root = root;
    trace.root_size = strlen(root);
}

/* Whether anything is recorded; then the lock is held until unlock(). */
static bool lock(void) {
    pthread_mutex_lock(&trace.mutex);
    start();
    if (trace.root && flock(trace.fd, LOCK_EX) == 0) return true;
    pthread_mutex_unlock(&trace.mutex);
    return false;
}

static void unlock(bool locked) {
    int saved = errno;
    if (!locked) return;
    flock(trace.fd, LOCK_UN);
    pthread_mutex_unlock(&trace.mutex);
    errno = saved;
}

struct change {
    enum trace_op op;
    const char *path, *to;
    const void *data;
    size_t size;
    uint64_t inode;
    int64_t at;
};

static void put(const struct change *c) {
    int saved = errno;
    struct trace_record r = {.op = c->op,
                             .path_size = c->path ? (uint32_t)strlen(c->path) : 0,
                             .to_size = c->to ? (uint32_t)strlen(c->to) : 0,
                             .data_size = (uint32_t)c->size,
                             .inode = c->inode,
                             .at = c->at};
    struct iovec v[] = {{&r, sizeof r},
                        {(void *)(uintptr_t)c->path, r.path_size},
                        {(void *)(uintptr_t)c->to, r.to_size},
                        {(void *)(uintptr_t)c->data, c->size}};
    ssize_t all = (ssize_t)(sizeof r + r.path_size + r.to_size + c->size);
    if (syscall(SYS_writev, trace.fd, v, 4) != all) die("write the trace");
    errno = saved;
}

/* Relative to the root; NULL: not below it, or nothing is recorded. "" is the root. */
static const char *inside(const char *path, char full[4096]) {
    if (!trace.root) return NULL;
    if (path[0] != '/') {
        char here[2048];
        if (!getcwd(here, sizeof here)) return NULL;
        snprintf(full, 4096, "%s/%s", here, path);
        path = full;
    }
    if (strncmp(path, trace.root, trace.root_size) != 0) return NULL;
    path += trace.root_size;
    if (*path != '/' && *path != 0) return NULL;
    while (*path == '/') path++;
    return path;
}

static bool is_recorded(int fd, struct stat *st) {
    return trace.root && fstat(fd, st) == 0 && st->st_dev == trace.device && S_ISREG(st->st_mode);
}

/* ---- names ---- */

static int open_recorded(const char *path, int flags, mode_t mode) {
    char full[4096];
    struct stat st;
    bool locked = lock();
    const char *name = locked ? inside(path, full) : NULL;
    bool was = syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (name && fd >= 0 && is_recorded(fd, &st)) {
        if ((flags & O_TMPFILE) == O_TMPFILE)
            put(&(struct change){.op = TRACE_TEMP, .inode = st.st_ino});
        else if ((flags & O_CREAT) && !was)
            put(&(struct change){.op = TRACE_CREATE, .path = name, .inode = st.st_ino});
        else if (flags & O_TRUNC) put(&(struct change){.op = TRACE_SIZE, .inode = st.st_ino});
    }
    unlock(locked);
    return fd;
}

static mode_t mode_of(int flags, va_list list) {
    bool has = (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE;
    return has ? (mode_t)va_arg(list, int) : 0;
}

int open(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_recorded(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_recorded(path, flags, mode);
}

static int remove_name(const char *path, int flags) {
    char full[4096];
    bool locked = lock();
    const char *name = locked ? inside(path, full) : NULL;
    int r = (int)syscall(SYS_unlinkat, AT_FDCWD, path, flags);
    if (name && r == 0) put(&(struct change){.op = TRACE_REMOVE, .path = name});
    unlock(locked);
    return r;
}

EXPORT int unlink(const char *path) {
    return remove_name(path, 0);
}

EXPORT int rmdir(const char *path) {
    return remove_name(path, AT_REMOVEDIR);
}

EXPORT int remove(const char *path) {
    int r = remove_name(path, 0);
    return r != 0 && errno == EISDIR ? remove_name(path, AT_REMOVEDIR) : r;
}

EXPORT int mkdir(const char *path, mode_t mode) {
    char full[4096];
    bool locked = lock();
    const char *name = locked ? inside(path, full) : NULL;
    int r = (int)syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (name && r == 0) put(&(struct change){.op = TRACE_MKDIR, .path = name});
    unlock(locked);
    return r;
}

/* Without the lock: others go on. */
static void take_time(const char *to) {
    static const struct timespec moment = {.tv_nsec = 30000000};
    const char *slow = getenv("HOLDFAST_RECORD_SLOW");
    if (slow && *slow && strstr(to, slow)) nanosleep(&moment, NULL);
}

EXPORT int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    char full[4096];
    struct stat st;
    take_time(to);
    bool locked = lock();
    const char *name = locked ? inside(to, full) : NULL;
    int r = (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
    if (name && r == 0 && stat(to, &st) == 0)
        put(&(struct change){.op = TRACE_LINK, .path = name, .inode = st.st_ino});
    unlock(locked);
    return r;
}

EXPORT int link(const char *from, const char *to) {
    return linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int rename_recorded(const char *from, const char *to, unsigned flags) {
    char full[2][4096];
    bool locked = lock();
    const char *a = locked ? inside(from, full[0]) : NULL, *b = locked ? inside(to, full[1]) : NULL;
    int r = (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, flags);
    if (a && b && r == 0) put(&(struct change){.op = TRACE_RENAME, .path = a, .to = b});
    unlock(locked);
    return r;
}

EXPORT int rename(const char *from, const char *to) {
    return rename_recorded(from, to, 0);
}

EXPORT int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    (void)from_dir, (void)to_dir; /* the current one, by all who call this here */
    return rename_recorded(from, to, flags);
}

/* ---- data ---- */

/* What is said is promised: it is recorded before anybody can hear it. */
static void mark(const void *bytes, size_t n) {
    bool locked = lock();
    if (locked) put(&(struct change){.op = TRACE_MARK, .data = bytes, .size = n});
    unlock(locked);
}

/* A handler of signals may write to a pipe or the like, while its thread has the lock. */
ssize_t write(int fd, const void *bytes, size_t n) {
    struct stat st;
    if (fd == STDOUT_FILENO) mark(bytes, n);
    if (fd <= STDERR_FILENO || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return syscall(SYS_write, fd, bytes, n);
    bool locked = lock();
    bool is = locked && is_recorded(fd, &st);
    off_t at = is ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = syscall(SYS_write, fd, bytes, n);
    if (is && done > 0)
        put(&(struct change){
            .op = TRACE_WRITE, .inode = st.st_ino, .at = at, .data = bytes, .size = (size_t)done});
    unlock(locked);
    return done;
}

static ssize_t pwrite_recorded(int fd, const void *bytes, size_t n, off_t at) {
    struct stat st;
    bool locked = lock();
    ssize_t done = syscall(SYS_pwrite64, fd, bytes, n, at);
    if (locked && done > 0 && is_recorded(fd, &st))
        put(&(struct change){
            .op = TRACE_WRITE, .inode = st.st_ino, .at = at, .data = bytes, .size = (size_t)done});
    unlock(locked);
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t at) {
    return pwrite_recorded(fd, bytes, n, at);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off_t at) {
    return pwrite_recorded(fd, bytes, n, at);
}

/* Of a call that changed an open file and said 0. */
static int note(bool locked, int r, int fd, enum trace_op op, int64_t at) {
    struct stat st;
    if (locked && r == 0 && is_recorded(fd, &st))
        put(&(struct change){.op = op, .inode = st.st_ino, .at = at});
    unlock(locked);
    return r;
}

int ftruncate(int fd, off_t size) {
    bool locked = lock();
    return note(locked, (int)syscall(SYS_ftruncate, fd, size), fd, TRACE_SIZE, size);
}

int ftruncate64(int fd, off_t size) {
    return ftruncate(fd, size);
}

int fallocate(int fd, int mode, off_t at, off_t n) {
    bool locked = lock();
    return note(locked, (int)syscall(SYS_fallocate, fd, mode, at, n), fd, TRACE_ROOM, at + n);
}

int fallocate64(int fd, int mode, off_t at, off_t n) {
    return fallocate(fd, mode, at, n);
}

EXPORT int futimens(int fd, const struct timespec times[2]) {
    bool locked = lock();
    int64_t ns = times[1].tv_sec * INT64_C(1000000000) + times[1].tv_nsec;
    return note(locked, (int)syscall(SYS_utimensat, fd, NULL, times, 0), fd, TRACE_TIME, ns);
}

/* ---- syncs ---- */

/* Of a directory the path is found by its descriptor. */
static bool describe(int fd, struct change *c, char path[4096], char full[4096]) {
    char link_name[64];
    struct stat st;
    if (fstat(fd, &st) != 0 || st.st_dev != trace.device) return false;
    c->inode = st.st_ino;
    c->op = TRACE_SYNC;
    if (!S_ISDIR(st.st_mode)) return S_ISREG(st.st_mode);
    snprintf(link_name, sizeof link_name, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link_name, path, 4095);
    if (n <= 0) return false;
    path[n] = 0;
    c->op = TRACE_SYNC_DIR;
    c->path = inside(path, full);
    return c->path != NULL;
}

static int sync_recorded(int fd, long call) {
    char path[4096], full[4096];
    struct change c = {0};
    bool locked = lock();
    bool is = locked && describe(fd, &c, path, full);
    c.at = (int64_t)trace.pid << 32 | atomic_fetch_add(&trace.syncs, 1);
    if (is) put(&c);
    unlock(locked);
    int r = (int)syscall(call, fd);
    if (!is || r != 0) return r;
    locked = lock();
    c.op = c.op == TRACE_SYNC ? TRACE_SYNCED : TRACE_DIR_SYNCED;
    if (locked) put(&c);
    unlock(locked);
    return r;
}

EXPORT int fsync(int fd) {
    return sync_recorded(fd, SYS_fsync);
}

EXPORT int fdatasync(int fd) {
    return sync_recorded(fd, SYS_fdatasync);
}
