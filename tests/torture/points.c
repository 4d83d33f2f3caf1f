/* The wrappers of system calls: see the header.
 *
 * Each has libc's name, asks whether it is to fail, and else goes on to the next definition of that
 * name (libc's, or a sanitizer's). What libc calls inside itself does not come by; that is why
 * fopen, opendir, realpath and remove are wrapped as wholes. Not wrapped: what cannot fail for a
 * reason from outside (munmap, clock_gettime, sigaction), and letting go of a lock.
 */
#include "points.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

/* name, ways to fail */
#define CALLS(X)                                                                                   \
    X(open, EIO, EMFILE, EACCES, ENOSPC, EROFS, ENOMEM, EINTR)                                     \
    X(fopen, EIO, EMFILE, EACCES, ENOMEM)                                                          \
    X(opendir, EIO, EMFILE, EACCES, ENOMEM)                                                        \
    X(readdir, EIO)                                                                                \
    X(close, EIO, EINTR)                                                                           \
    X(read, EIO, EINTR, FAIL_SHORT)                                                                \
    X(pread, EIO, EINTR, FAIL_SHORT)                                                               \
    X(write, EIO, ENOSPC, EDQUOT, EINTR, FAIL_SHORT)                                               \
    X(pwrite, EIO, ENOSPC, EDQUOT, EINTR, FAIL_SHORT)                                              \
    X(fsync, EIO, ENOSPC, EDQUOT, FAIL_DROP)                                                       \
    X(fdatasync, EIO, ENOSPC, EDQUOT, FAIL_DROP)                                                   \
    X(ftruncate, EIO, ENOSPC, EINTR)                                                               \
    X(fallocate, EIO, ENOSPC, EDQUOT, EOPNOTSUPP, EINTR)                                           \
    X(rename, EIO, ENOSPC, EACCES, EROFS)                                                          \
    X(renameat2, EIO, ENOSPC, EACCES, EROFS, EINVAL)                                               \
    X(link, EIO, ENOSPC, EACCES, EROFS)                                                            \
    X(linkat, EIO, ENOSPC, EACCES, EROFS)                                                          \
    X(symlink, EIO, ENOSPC, EACCES, EROFS)                                                         \
    X(unlink, EIO, EACCES, EROFS)                                                                  \
    X(remove, EIO, EACCES, EROFS)                                                                  \
    X(mkdir, EIO, ENOSPC, EACCES, EROFS)                                                           \
    X(stat, EIO, ENOMEM, EACCES)                                                                   \
    X(lstat, EIO, ENOMEM, EACCES)                                                                  \
    X(fstat, EIO, ENOMEM)                                                                          \
    X(statx, EIO, ENOMEM, EACCES)                                                                  \
    X(statfs, EIO, ENOMEM)                                                                         \
    X(fstatvfs, EIO)                                                                               \
    X(access, EIO, ENOMEM, EACCES)                                                                 \
    X(readlink, EIO, ENOMEM)                                                                       \
    X(realpath, EIO, ENOMEM, EACCES)                                                               \
    X(chmod, EIO, EPERM, EROFS)                                                                    \
    X(chown, EIO, EPERM, EROFS)                                                                    \
    X(fchmod, EIO, EPERM, EROFS)                                                                   \
    X(futimens, EIO, EPERM)                                                                        \
    X(fcntl, EIO, ENOLCK, EAGAIN, EINTR)                                                           \
    X(mmap, ENOMEM)                                                                                \
    X(getrandom, EINTR)                                                                            \
    X(socket, EMFILE, ENOBUFS)                                                                     \
    X(socketpair, EMFILE, ENOBUFS)                                                                 \
    X(bind, EADDRINUSE, EACCES)                                                                    \
    X(listen, EADDRINUSE)                                                                          \
    X(accept4, EMFILE, ECONNABORTED, EINTR)                                                        \
    X(connect, ECONNREFUSED, ETIMEDOUT, EACCES)                                                    \
    X(send, EPIPE, ECONNRESET, EINTR, FAIL_SHORT)                                                  \
    X(recv, ECONNRESET, EIO, EINTR, FAIL_SHORT)                                                    \
    X(sendmsg, EPIPE, ECONNRESET, ENOBUFS)                                                         \
    X(setsockopt, ENOBUFS)                                                                         \
    X(getsockopt, ENOBUFS)                                                                         \
    X(poll, EINTR, ENOMEM)                                                                         \
    X(ppoll, EINTR, ENOMEM)                                                                        \
    X(epoll_create1, EMFILE, ENOMEM)                                                               \
    X(epoll_ctl, ENOMEM, ENOSPC)                                                                   \
    X(epoll_wait, EINTR)                                                                           \
    X(eventfd, EMFILE, ENOMEM)                                                                     \
    X(inotify_init1, EMFILE, ENOMEM)                                                               \
    X(inotify_add_watch, ENOSPC, ENOMEM)                                                           \
    X(nanosleep, EINTR)                                                                            \
    X(fork, EAGAIN, ENOMEM)                                                                        \
    X(pthread_create, EAGAIN)

enum call {
#define X(name, ...) CALL_##name,
    CALLS(X)
#undef X
        CALL_COUNT
};

#define WAYS 8

static const struct {
    const char *name;
    int ways[WAYS];
} calls[] = {
#define X(name, ...) {#name, {__VA_ARGS__}},
    CALLS(X)
#undef X
};

const char *call_name(unsigned call) {
    return call < CALL_COUNT ? calls[call].name : "?";
}

int call_way(unsigned call, unsigned which) {
    return call < CALL_COUNT && which < WAYS ? calls[call].ways[which] : 0;
}

int call_named(const char *name) {
    for (int call = 0; call < CALL_COUNT; call++)
        if (strcmp(calls[call].name, name) == 0) return call;
    return -1;
}

bool way_may_last(int way) {
    return way != EINTR && way != FAIL_DROP && way != EAGAIN;
}

const char *way_name(int way) {
    return way == FAIL_SHORT ? "short" : way == FAIL_DROP ? "drop" : strerrorname_np(way);
}

int way_named(const char *name) {
    for (unsigned call = 0; call < CALL_COUNT; call++)
        for (unsigned which = 0; call_way(call, which); which++)
            if (strcmp(way_name(call_way(call, which)), name) == 0) return call_way(call, which);
    return 0;
}

/* ---- which one fails ---- */

static struct {
    bool counting, armed, loud;
    struct point point;
    struct points_seen *seen;
    atomic_ullong counted[POINT_KINDS], counted_call[CALL_COUNT];
} now;
static _Thread_local int paused;

void points_count(struct points_seen *seen) {
    memset(&now, 0, sizeof now);
    now.seen = seen;
    now.counting = true;
}

void points_arm(const struct point *p, struct points_seen *seen, bool loud) {
    memset(&now, 0, sizeof now);
    now.seen = seen;
    now.point = *p;
    now.loud = loud;
    now.armed = true;
}

void points_stop(void) {
    now.counting = now.armed = false;
    for (int k = 0; now.seen && k < POINT_KINDS; k++) now.seen->counted[k] = now.counted[k];
}

/* LeakSanitizer does not ask for what was allocated between these. */
#ifdef SANITIZED
void __lsan_disable(void);
void __lsan_enable(void);
#else
#define __lsan_disable() (void)0
#define __lsan_enable() (void)0
#endif

void points_pause(void) {
    paused++;
    __lsan_disable();
}

void points_resume(void) {
    __lsan_enable();
    paused--;
}

static void tell_callers(void) {
#ifndef SANITIZED
    void *from[24];
    backtrace_symbols_fd(from, backtrace(from, 24), STDERR_FILENO);
#endif
}

static void note(const char *what, int way) {
    char words[120];
    now.seen->fired++;
    if (!now.loud) return;
    paused++;
    int n = snprintf(words, sizeof words, "torture: %s fails: %s\n", what,
                     way ? way_name(way) : "no memory");
    if (write(STDERR_FILENO, words, (size_t)n) == n && now.seen->fired == 1) tell_callers();
    paused--;
}

static bool is_hit(enum point_kind kind, uint64_t n) {
    return now.armed && now.point.kind == kind &&
           (n == now.point.at || (now.point.onward && n > now.point.at));
}

bool points_allocation_fails(void) {
    if ((!now.counting && !now.armed) || paused) return false;
    if (!is_hit(POINT_ALLOCATION, ++now.counted[POINT_ALLOCATION])) return false;
    note("malloc", 0);
    return true;
}

/* 0, or how this call is to fail. */
static int failure(enum call call) {
    if ((!now.counting && !now.armed) || paused) return 0;
    uint64_t n = ++now.counted[POINT_CALL], of_call = ++now.counted_call[call];
    if (now.counting && n <= TRACE_MOST) now.seen->trace[n - 1] = (uint8_t)call;
    if (call != now.point.call || !is_hit(POINT_CALL, of_call)) return 0;
    note(call_name(call), now.point.way);
    return now.point.way;
}

/* errno and true: the wrapper returns its failure at once. */
static bool fails(enum call call) {
    int way = failure(call);
    if (way > 0) errno = way;
    return way > 0;
}

#pragma GCC visibility push(default) /* for the libraries, too */

/* The next definition of the name. */
#define NEXT(name)                                                                                 \
    static __typeof__(name) *next;                                                                 \
    if (!next) find_next(#name, &next)

/* `out`: a pointer to a pointer to a function, which C does not convert to one to an object. */
static void find_next(const char *name, void *out) {
    paused++;
    void *p = dlsym(RTLD_NEXT, name);
    paused--;
    if (!p) abort();
    memcpy(out, &p, sizeof p);
}

#define WRAP(call, type, name, failed, parameters, arguments)                                      \
    type name parameters {                                                                         \
        NEXT(name);                                                                                \
        return fails(CALL_##call) ? (failed) : next arguments;                                     \
    }

/* ---- what an fsync drops ---- */

/* What lay in a file before it was written, for as long as that was not synced. */
struct undo {
    struct undo *before;
    dev_t device;
    ino_t inode;
    off_t at;
    size_t bytes;
    char old[];
};
static struct undo *undos; /* newest first */
static pthread_mutex_t undo_lock = PTHREAD_MUTEX_INITIALIZER;

/* Not SQLite's files: what becomes of a database whose sync failed is between SQLite and the
 * disk. */
static bool is_ours(int fd, struct stat *st) {
    char link[40], path[600];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0 || fstat(fd, st) != 0 || !S_ISREG(st->st_mode)) return false;
    path[n] = 0;
    return strstr(path, ".db") == NULL;
}

static bool may_drop(void) {
    return now.armed && !paused && now.point.kind == POINT_CALL;
}

static void before_write(int fd, off_t at, size_t bytes) {
    struct stat st;
    if (!may_drop()) return;
    paused++;
    if (is_ours(fd, &st)) {
        struct undo *u = calloc(1, sizeof *u + bytes);
        if (!u) abort();
        u->device = st.st_dev, u->inode = st.st_ino, u->at = at, u->bytes = bytes;
        if (pread(fd, u->old, bytes, at) < 0) memset(u->old, 0, bytes);
        pthread_mutex_lock(&undo_lock);
        u->before = undos;
        undos = u;
        pthread_mutex_unlock(&undo_lock);
    }
    paused--;
}

/* A sync: what went before is safe, or gone. */
static void after_sync(int fd, bool dropped) {
    struct stat st;
    if (!may_drop() && !dropped) return;
    paused++;
    pthread_mutex_lock(&undo_lock);
    for (struct undo **p = &undos; *p && is_ours(fd, &st);) {
        struct undo *u = *p;
        if (u->device != st.st_dev || u->inode != st.st_ino) {
            p = &u->before;
            continue;
        }
        if (dropped && pwrite(fd, u->old, u->bytes, u->at) != (ssize_t)u->bytes) abort();
        *p = u->before;
        free(u);
    }
    pthread_mutex_unlock(&undo_lock);
    paused--;
}

#define WRAP_SYNC(name)                                                                            \
    int name(int fd) {                                                                             \
        NEXT(name);                                                                                \
        int way = failure(CALL_##name);                                                            \
        if (way == FAIL_DROP) after_sync(fd, true);                                                \
        if (!way && next(fd) == 0) {                                                               \
            after_sync(fd, false);                                                                 \
            return 0;                                                                              \
        }                                                                                          \
        if (way) errno = way > 0 ? way : EIO;                                                      \
        return -1;                                                                                 \
    }
WRAP_SYNC(fsync)
WRAP_SYNC(fdatasync)

/* ---- reading and writing ---- */

static size_t part(int way, size_t n) {
    return way == FAIL_SHORT && n > 1 ? n / 2 : n;
}

#define WRAP_PART(call, name, parameters, size, arguments)                                         \
    ssize_t name parameters {                                                                      \
        NEXT(name);                                                                                \
        int way = failure(CALL_##call);                                                            \
        if (way > 0) {                                                                             \
            errno = way;                                                                           \
            return -1;                                                                             \
        }                                                                                          \
        size = part(way, size);                                                                    \
        return next arguments;                                                                     \
    }
WRAP_PART(read, read, (int fd, void *b, size_t n), n, (fd, b, n))
WRAP_PART(pread, pread, (int fd, void *b, size_t n, off_t at), n, (fd, b, n, at))
WRAP_PART(pread, pread64, (int fd, void *b, size_t n, off64_t at), n, (fd, b, n, at))
WRAP_PART(send, send, (int fd, const void *b, size_t n, int flags), n, (fd, b, n, flags))
WRAP_PART(recv, recv, (int fd, void *b, size_t n, int flags), n, (fd, b, n, flags))
WRAP_PART(send, sendto,
          (int fd, const void *b, size_t n, int flags, __CONST_SOCKADDR_ARG to, socklen_t size), n,
          (fd, b, n, flags, to, size))

ssize_t pwrite64(int fd, const void *b, size_t n, off64_t at) {
    NEXT(pwrite64);
    int way = failure(CALL_pwrite);
    if (way > 0) {
        errno = way;
        return -1;
    }
    n = part(way, n);
    before_write(fd, at, n);
    return next(fd, b, n, at);
}

ssize_t pwrite(int fd, const void *b, size_t n, off_t at) {
    return pwrite64(fd, b, n, at);
}

ssize_t write(int fd, const void *b, size_t n) {
    NEXT(write);
    int way = failure(CALL_write);
    if (way > 0) {
        errno = way;
        return -1;
    }
    n = part(way, n);
    off_t at = may_drop() ? lseek(fd, 0, SEEK_CUR) : -1;
    if (at >= 0) before_write(fd, at, n);
    return next(fd, b, n);
}

/* ---- names and descriptors ---- */

static mode_t mode_of(int flags, va_list args) {
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
}

#define WRAP_OPEN(name)                                                                            \
    int name(const char *path, int flags, ...) {                                                   \
        NEXT(name);                                                                                \
        va_list args;                                                                              \
        va_start(args, flags);                                                                     \
        mode_t mode = mode_of(flags, args);                                                        \
        va_end(args);                                                                              \
        return fails(CALL_open) ? -1 : next(path, flags, mode);                                    \
    }
WRAP_OPEN(open)
WRAP_OPEN(open64)

int openat(int dir, const char *path, int flags, ...) {
    NEXT(openat);
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    return fails(CALL_open) ? -1 : next(dir, path, flags, mode);
}

int close(int fd) {
    NEXT(close);
    int way = failure(CALL_close), result = next(fd);
    if (!way || result != 0) return result;
    errno = way;
    return -1;
}

static bool takes_lock(int command, const void *arg) {
    switch (command) {
    case F_SETLK:
    case F_SETLKW:
    case F_OFD_SETLK:
    case F_OFD_SETLKW: return ((const struct flock *)arg)->l_type != F_UNLCK;
    default: return false;
    }
}

#define WRAP_FCNTL(name)                                                                           \
    int name(int fd, int command, ...) {                                                           \
        NEXT(name);                                                                                \
        va_list args;                                                                              \
        va_start(args, command);                                                                   \
        void *arg = va_arg(args, void *);                                                          \
        va_end(args);                                                                              \
        return takes_lock(command, arg) && fails(CALL_fcntl) ? -1 : next(fd, command, arg);        \
    }
WRAP_FCNTL(fcntl)
WRAP_FCNTL(fcntl64)

WRAP(fopen, FILE *, fopen, NULL, (const char *path, const char *mode), (path, mode))
WRAP(fopen, FILE *, fopen64, NULL, (const char *path, const char *mode), (path, mode))
WRAP(opendir, DIR *, opendir, NULL, (const char *path), (path))
WRAP(readdir, struct dirent *, readdir, NULL, (DIR * d), (d))
WRAP(readdir, struct dirent64 *, readdir64, NULL, (DIR * d), (d))
WRAP(ftruncate, int, ftruncate, -1, (int fd, off_t size), (fd, size))
WRAP(ftruncate, int, ftruncate64, -1, (int fd, off64_t size), (fd, size))
WRAP(fallocate, int, fallocate, -1, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n))
WRAP(fallocate, int, fallocate64, -1, (int fd, int mode, off64_t at, off64_t n), (fd, mode, at, n))
WRAP(rename, int, rename, -1, (const char *from, const char *to), (from, to))
WRAP(renameat2, int, renameat2, -1,
     (int from_dir, const char *from, int to_dir, const char *to, unsigned flags),
     (from_dir, from, to_dir, to, flags))
WRAP(link, int, link, -1, (const char *from, const char *to), (from, to))
WRAP(linkat, int, linkat, -1,
     (int from_dir, const char *from, int to_dir, const char *to, int flags),
     (from_dir, from, to_dir, to, flags))
WRAP(symlink, int, symlink, -1, (const char *to, const char *path), (to, path))
WRAP(unlink, int, unlink, -1, (const char *path), (path))
WRAP(remove, int, remove, -1, (const char *path), (path))
WRAP(mkdir, int, mkdir, -1, (const char *path, mode_t mode), (path, mode))
WRAP(stat, int, stat, -1, (const char *path, struct stat *out), (path, out))
WRAP(stat, int, stat64, -1, (const char *path, struct stat64 *out), (path, out))
WRAP(lstat, int, lstat, -1, (const char *path, struct stat *out), (path, out))
WRAP(lstat, int, lstat64, -1, (const char *path, struct stat64 *out), (path, out))
WRAP(fstat, int, fstat, -1, (int fd, struct stat *out), (fd, out))
WRAP(fstat, int, fstat64, -1, (int fd, struct stat64 *out), (fd, out))
WRAP(statx, int, statx, -1,
     (int dir, const char *path, int flags, unsigned mask, struct statx *out),
     (dir, path, flags, mask, out))
WRAP(statfs, int, statfs, -1, (const char *path, struct statfs *out), (path, out))
WRAP(statfs, int, statfs64, -1, (const char *path, struct statfs64 *out), (path, out))
WRAP(fstatvfs, int, fstatvfs, -1, (int fd, struct statvfs *out), (fd, out))
WRAP(fstatvfs, int, fstatvfs64, -1, (int fd, struct statvfs64 *out), (fd, out))
WRAP(access, int, access, -1, (const char *path, int mode), (path, mode))
WRAP(readlink, ssize_t, readlink, -1, (const char *path, char *out, size_t n), (path, out, n))
WRAP(realpath, char *, realpath, NULL, (const char *path, char *out), (path, out))
WRAP(chmod, int, chmod, -1, (const char *path, mode_t mode), (path, mode))
WRAP(chown, int, chown, -1, (const char *path, uid_t user, gid_t group), (path, user, group))
WRAP(fchmod, int, fchmod, -1, (int fd, mode_t mode), (fd, mode))
WRAP(futimens, int, futimens, -1, (int fd, const struct timespec times[2]), (fd, times))
WRAP(getrandom, ssize_t, getrandom, -1, (void *b, size_t n, unsigned flags), (b, n, flags))

/* ---- memory, sockets, waiting, threads ---- */

WRAP(mmap, void *, mmap, MAP_FAILED,
     (void *at, size_t n, int rights, int flags, int fd, off_t from),
     (at, n, rights, flags, fd, from))
WRAP(mmap, void *, mmap64, MAP_FAILED,
     (void *at, size_t n, int rights, int flags, int fd, off64_t from),
     (at, n, rights, flags, fd, from))
WRAP(socket, int, socket, -1, (int domain, int type, int protocol), (domain, type, protocol))
WRAP(socketpair, int, socketpair, -1, (int domain, int type, int protocol, int out[2]),
     (domain, type, protocol, out))
WRAP(bind, int, bind, -1, (int fd, __CONST_SOCKADDR_ARG at, socklen_t n), (fd, at, n))
WRAP(listen, int, listen, -1, (int fd, int n), (fd, n))
WRAP(accept4, int, accept4, -1, (int fd, __SOCKADDR_ARG of, socklen_t *n, int flags),
     (fd, of, n, flags))
WRAP(connect, int, connect, -1, (int fd, __CONST_SOCKADDR_ARG to, socklen_t n), (fd, to, n))
WRAP(sendmsg, ssize_t, sendmsg, -1, (int fd, const struct msghdr *m, int flags), (fd, m, flags))
WRAP(setsockopt, int, setsockopt, -1, (int fd, int level, int name, const void *v, socklen_t n),
     (fd, level, name, v, n))
WRAP(getsockopt, int, getsockopt, -1, (int fd, int level, int name, void *v, socklen_t *n),
     (fd, level, name, v, n))
WRAP(poll, int, poll, -1, (struct pollfd * fds, nfds_t n, int ms), (fds, n, ms))
WRAP(ppoll, int, ppoll, -1,
     (struct pollfd * fds, nfds_t n, const struct timespec *t, const sigset_t *mask),
     (fds, n, t, mask))
WRAP(epoll_create1, int, epoll_create1, -1, (int flags), (flags))
/* To take one away cannot fail. */
int epoll_ctl(int fd, int op, int of, struct epoll_event *e) {
    NEXT(epoll_ctl);
    return op == EPOLL_CTL_ADD && fails(CALL_epoll_ctl) ? -1 : next(fd, op, of, e);
}

WRAP(epoll_wait, int, epoll_wait, -1, (int fd, struct epoll_event *e, int n, int ms),
     (fd, e, n, ms))
WRAP(eventfd, int, eventfd, -1, (unsigned value, int flags), (value, flags))
WRAP(inotify_init1, int, inotify_init1, -1, (int flags), (flags))
WRAP(inotify_add_watch, int, inotify_add_watch, -1, (int fd, const char *path, uint32_t mask),
     (fd, path, mask))
WRAP(nanosleep, int, nanosleep, -1, (const struct timespec *t, struct timespec *left), (t, left))
/* SQLite's: where it tries a lock a hundred times, that is enough of a test in a thousandth of the
 * time. */
int usleep(useconds_t us) {
    NEXT(usleep);
    return next(now.armed && !paused ? us / 1000 : us);
}

WRAP(fork, pid_t, fork, -1, (void), ())
WRAP(pthread_create, int, pthread_create, EAGAIN,
     (pthread_t * out, const pthread_attr_t *a, void *(*run)(void *), void *arg),
     (out, a, run, arg))

#pragma GCC visibility pop
