/* Kernel locks on single bytes of one file: see the header.
 *
 * Why locks of the open file description and not of the process: the latter are dropped when any
 * descriptor of the file is closed in it, and two handles of one process do not see each other.
 *
 * Why the waiting is done by asking again: the kernel waits for such a lock without an end, and a
 * signal that would end it is not a library's to send.
 *
 * Invariants
 *  1. What lock_take has given lies on the file that has the name; a file that was removed keeps
 *     nobody out.
 *  2. The file is never removed, and nothing is read from it or written to it.
 *  3. A child of fork() never unlocks: it shares the parent's locks.
 */
#include "schema/lock.h"

#include "base/limits.h"
#include "os/system.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TRIES 100 /* somebody would have to remove it as often as we make it */
#define PAUSE_FIRST_NS 1000000
#define PAUSE_MAX_NS 20000000

struct lock {
    struct env *env;
    int fd, pid;
    char path[LIMIT_PATH + 8];
};

/* ---- open and close ---- */

/* Whoever may open the database may open it. */
static int make(const char *path, const struct stat *database) {
    mode_t mode = database->st_mode & 0666;
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0) return fd;
    if (fchown(fd, database->st_uid, database->st_gid) != 0 || fchmod(fd, mode) != 0) {
        /* then it is the maker's, as the mode says */
    }
    return fd;
}

/* An errno; ELOOP: what is there is no file. */
static int open_or_make(const char *path, const struct stat *database, int *out) {
    struct stat st;
    int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) fd = make(path, database);
    if (fd < 0) return errno;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return ELOOP;
    }
    *out = fd;
    return 0;
}

static bool is_there(const char *path, int fd) {
    struct stat a, b;
    return fstat(fd, &a) == 0 && lstat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static rc open_there(struct lock *l, const char *database, struct err *e) {
    struct stat st;
    if (stat(database, &st) != 0) return err_errno(e, errno, "%s", database);
    for (int tries = 0; tries < TRIES; tries++) {
        int errnum = open_or_make(l->path, &st, &l->fd);
        if (errnum == EEXIST || errnum == ENOENT) continue; /* made, or removed, meanwhile */
        if (errnum == ELOOP) return err_set(e, RC_CONFLICT, "%s: it is not a file", l->path);
        if (errnum) return err_errno(e, errnum, "open %s", l->path);
        if (is_there(l->path, l->fd)) return ok();
        close(l->fd);
    }
    return err_set(e, RC_CONFLICT, "%s: somebody removes it again and again", l->path);
}

rc lock_open(struct env *env, const char *database, struct lock **out, struct err *e) {
    struct lock *l = calloc(1, sizeof *l);
    if (!l) return err_set(e, RC_NOMEM, "no memory");
    l->env = env;
    l->pid = system_pid();
    int n = snprintf(l->path, sizeof l->path, "%s-schema", database);
    rc r = n >= (int)LIMIT_PATH ? err_set(e, RC_USAGE, "%.80s...: path too long", database)
                                : open_there(l, database, e);
    if (is_ok(r)) *out = l;
    else free(l);
    return r;
}

static bool is_ours(const struct lock *l) {
    return l->pid == system_pid();
}

/* A range; an errno. */
static int change(struct lock *l, short type, int byte, int length) {
    struct flock f = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = length};
    int r;
    do r = fcntl(l->fd, F_OFD_SETLK, &f);
    while (r != 0 && errno == EINTR);
    return r == 0 ? 0 : errno;
}

void lock_close(struct lock *l) {
    if (!l) return;
    if (is_ours(l)) (void)change(l, F_UNLCK, 0, 0); /* children may have it open */
    close(l->fd);
    free(l);
}

/* ---- take and give back ---- */

static rc check_ours(const struct lock *l, struct err *e) {
    if (is_ours(l)) return ok();
    return err_set(e, RC_USAGE,
                   "%s was opened before fork(): it is the parent's; open another in the child",
                   l->path);
}

rc lock_take(struct lock *l, int byte, bool shared, struct err *e) {
    TRY(check_ours(l, e));
    int errnum = change(l, shared ? F_RDLCK : F_WRLCK, byte, 1);
    if (errnum == EAGAIN || errnum == EACCES)
        return err_set(e, RC_BUSY, "%s: somebody holds byte %d", l->path, byte);
    if (errnum) return err_errno(e, errnum, "lock %s", l->path);
    if (is_there(l->path, l->fd)) return ok();
    lock_release(l, byte);
    return err_set(e, RC_CONFLICT,
                   "%s was removed or replaced while it was in use, so that nobody knows any more"
                   " who has the database open: start this program again",
                   l->path);
}

static rc late(const struct lock *l, int byte, struct err *e) {
    const char *whose = byte == LOCK_TURN   ? "another process is changing the schema"
                        : byte == LOCK_GATE ? "another process is at a contract, or starting"
                                            : "another program has the slot";
    return err_set(e, RC_TIMEOUT, "%s: %s, for longer than was to be waited", l->path, whose);
}

rc lock_wait(struct lock *l, int byte, bool shared, int64_t deadline_ns, struct err *e) {
    struct env *env = l->env;
    for (int64_t pause = PAUSE_FIRST_NS;; pause = pause < PAUSE_MAX_NS ? pause * 2 : pause) {
        rc r = lock_take(l, byte, shared, e);
        if (r.code != RC_BUSY) return r;
        int64_t left = deadline_ns - env->mono_ns(env);
        if (left <= 0) return late(l, byte, e);
        env->sleep_ns(env, pause < left ? pause : left);
    }
}

void lock_release(struct lock *l, int byte) {
    if (is_ours(l)) (void)change(l, F_UNLCK, byte, 1);
}

/* ---- ask ---- */

/* Some lock of another handle in [from, to): where it begins, clipped; -1: none. The kernel names
 * one, and not the first. */
static rc ask(struct lock *l, int from, int to, int *found, struct err *e) {
    struct flock f = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = from, .l_len = to - from};
    int r;
    TRY(check_ours(l, e));
    do r = fcntl(l->fd, F_OFD_GETLK, &f);
    while (r != 0 && errno == EINTR);
    if (r != 0) return err_errno(e, errno, "look at the locks of %s", l->path);
    *found = f.l_type == F_UNLCK ? -1 : f.l_start < from ? from : (int)f.l_start;
    return ok();
}

rc lock_next(struct lock *l, int from, int to, int *byte, struct err *e) {
    int first = -1, found;
    for (; from < to; to = first) {
        TRY(ask(l, from, to, &found, e));
        if (found < 0) break;
        first = found;
    }
    *byte = first;
    return ok();
}

rc lock_held(struct lock *l, int byte, bool *held, struct err *e) {
    int found = -1;
    TRY(ask(l, byte, byte + 1, &found, e));
    *held = found >= 0;
    return ok();
}

/* With the time of its birth: a number of a file that was removed is soon given to the next. */
void lock_id(const struct lock *l, char out[LOCK_ID]) {
    struct statx st = {0};
    if (statx(l->fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &st) != 0) st.stx_ino = 0;
    snprintf(out, LOCK_ID, "%" PRIx64 "-%" PRIx64 ".%" PRIx32, (uint64_t)st.stx_ino,
             (uint64_t)st.stx_btime.tv_sec, (uint32_t)st.stx_btime.tv_nsec);
}
