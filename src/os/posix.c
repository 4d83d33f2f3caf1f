/* Files on Linux: env->files of the real system.
 *
 * Why temporary files have no name (O_TMPFILE) where the file system can: a crash then leaves
 * nothing. Where it cannot (NFS, FUSE, no /proc to link from), one is called ".<random>.tmp" until
 * it is linked or closed. Unlinking it at once was rejected: it could never get a name again.
 *
 * Why fdatasync for files, fsync for directories: fdatasync keeps data and size, and a time set
 * before goes out with the size, or with the link that follows. Of a directory it may skip an
 * entry.
 *
 * Invariants:
 * 1. No descriptor is inherited by a child (O_CLOEXEC).
 * 2. An interrupted or partial read or write goes on; a caller sees all or an error.
 * 3. A name that exists is replaced only by rename(replace = true).
 * After a crash at any point there is, at most, one ".*.tmp" per open temporary file, and after a
 * rename without replacing on a file system that has no such call, both names of one file.
 */
#include "os/posix.h"
#include "base/limits.h"
#include "os/system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define WINDOW (1u << 20) /* once written to its end, goes on its way to the disk */

struct file {
    int fd;
    bool temp_named; /* `path` is a temporary name, ours to remove */
    char path[];     /* where it was opened: for words, and for temp_named */
};

/* Returns an errno. */
static int open_at(const char *path, int flags, struct file **out) {
    size_t n = strlen(path) + 1;
    struct file *f = malloc(sizeof *f + n);
    if (!f) return ENOMEM;
    memcpy(f->path, path, n);
    f->temp_named = false;
    f->fd = TEMP_FAILURE_RETRY(open(path, flags | O_CLOEXEC | O_NOCTTY, 0600));
    if (f->fd < 0) {
        int errnum = errno;
        free(f);
        return errnum;
    }
    *out = f;
    return 0;
}

static rc open_named_temp(struct env *env, const char *dir, struct file **out, struct err *e) {
    char path[LIMIT_PATH];
    uint64_t id;
    env->random(env, &id, sizeof id);
    int n = snprintf(path, sizeof path, "%s/.%016" PRIx64 ".tmp", dir, id);
    if (n < 0 || (size_t)n >= sizeof path) return err_set(e, RC_USAGE, "%.80s: path too long", dir);
    int errnum = open_at(path, O_RDWR | O_CREAT | O_EXCL, out);
    if (errnum) return err_errno(e, errnum, "create a file in %s", dir);
    (*out)->temp_named = true;
    return ok();
}

static rc open_temp(struct env *env, const char *dir, struct file **out, struct err *e) {
    static atomic_int proc_seen; /* 0: not looked yet, 1: there, -1: not; a link goes through it */
    if (!proc_seen) proc_seen = access("/proc/self/fd", X_OK) == 0 ? 1 : -1;
    if (proc_seen < 0) return open_named_temp(env, dir, out, e);
    int errnum = open_at(dir, O_RDWR | O_TMPFILE, out);
    switch (errnum) {
    case 0: return ok();
    case EOPNOTSUPP: /* the file system cannot */
    case EISDIR:     /* the kernel, or a layer between, does not know the flag */
    case EINVAL:
    case ENOSYS: return open_named_temp(env, dir, out, e);
    default: return err_errno(e, errnum, "create a file in %s", dir);
    }
}

static rc files_open(struct env *env, const char *path, enum file_mode mode, struct file **out,
                     struct err *e) {
    if (mode == FILE_TEMP) return open_temp(env, path, out, e);
    int flags = mode == FILE_READ         ? O_RDONLY
                : mode == FILE_CREATE_NEW ? O_RDWR | O_CREAT | O_EXCL
                                          : O_RDWR | O_CREAT;
    int errnum = open_at(path, flags, out);
    return errnum ? err_errno(e, errnum, "open %s", path) : ok();
}

static void files_close(struct env *env, struct file *f) {
    (void)env;
    if (!f) return;
    close(f->fd); /* what mattered was synced before */
    if (f->temp_named) unlink(f->path);
    free(f);
}

static rc files_read(struct env *env, struct file *f, uint64_t at, void *buf, size_t n,
                     struct err *e) {
    (void)env;
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(f->fd, (char *)buf + done, n - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return err_errno(e, errno, "read %s", f->path);
        if (got == 0)
            return err_set(e, RC_CORRUPT, "%s ends at byte %" PRIu64 ", wanted up to %" PRIu64,
                           f->path, at + done, at + n);
        done += (size_t)got;
    }
    return ok();
}

static rc files_write(struct env *env, struct file *f, uint64_t at, const void *buf, size_t n,
                      struct err *e) {
    (void)env;
    for (size_t done = 0; done < n;) {
        ssize_t put = pwrite(f->fd, (const char *)buf + done, n - done, (off_t)(at + done));
        if (put < 0 && errno == EINTR) continue;
        if (put <= 0) return err_errno(e, put < 0 ? errno : ENOSPC, "write %s", f->path);
        done += (size_t)put;
    }
    off_t from = (off_t)(at / WINDOW * WINDOW), to = (off_t)((at + n) / WINDOW * WINDOW);
    if (to > from) sync_file_range(f->fd, from, to - from, SYNC_FILE_RANGE_WRITE);
    return ok();
}

static rc files_truncate(struct env *env, struct file *f, uint64_t size, struct err *e) {
    (void)env;
    int r = TEMP_FAILURE_RETRY(ftruncate(f->fd, (off_t)size));
    return r == 0 ? ok() : err_errno(e, errno, "truncate %s", f->path);
}

/* Asked for more than there is, ext4 takes all there is before it says so, and everybody else's
 * writes fail meanwhile: so there is a look at the room first. */
static rc check_room(struct file *f, uint64_t size, struct err *e) {
    struct statvfs fs;
    struct stat st;
    if (fstatvfs(f->fd, &fs) != 0 || fstat(f->fd, &st) != 0) return ok();
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize + (uint64_t)st.st_blocks * 512;
    return size <= room ? ok()
                        : err_errno(e, ENOSPC, "reserve %" PRIu64 " bytes for %s", size, f->path);
}

static rc files_reserve(struct env *env, struct file *f, uint64_t size, struct err *e) {
    TRY(check_room(f, size, e));
    TRY(files_truncate(env, f, size, e));
    if (size == 0) return ok();
    int r = TEMP_FAILURE_RETRY(fallocate(f->fd, 0, 0, (off_t)size));
    if (r == 0 || errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) return ok();
    return err_errno(e, errno, "reserve %" PRIu64 " bytes for %s", size, f->path);
}

/* Not tried again after a failure: the kernel may have dropped the pages, and then says yes. */
static rc files_sync(struct env *env, struct file *f, struct err *e) {
    (void)env;
    int r = TEMP_FAILURE_RETRY(fdatasync(f->fd));
    return r == 0 ? ok() : err_errno(e, errno, "sync %s", f->path);
}

static rc files_set_mtime(struct env *env, struct file *f, int64_t unix_ms, struct err *e) {
    (void)env;
    int64_t s = unix_ms / 1000, ms = unix_ms % 1000;
    if (ms < 0) s--, ms += 1000;
    struct timespec t[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = s, .tv_nsec = ms * 1000000}};
    return futimens(f->fd, t) == 0 ? ok() : err_errno(e, errno, "set time of %s", f->path);
}

static rc files_size(struct env *env, struct file *f, uint64_t *out, struct err *e) {
    (void)env;
    struct stat s;
    if (fstat(f->fd, &s) != 0) return err_errno(e, errno, "stat %s", f->path);
    *out = (uint64_t)s.st_size;
    return ok();
}

/* NFS may do a link, lose the reply, try again and say EEXIST. */
static bool is_at(int fd, const char *path) {
    struct stat mine, there;
    return fstat(fd, &mine) == 0 && stat(path, &there) == 0 && mine.st_dev == there.st_dev &&
           mine.st_ino == there.st_ino;
}

static rc files_link(struct env *env, struct file *f, const char *temp_path, const char *path,
                     struct err *e) {
    (void)env;
    char proc[64] = "";
    if (f) snprintf(proc, sizeof proc, "/proc/self/fd/%d", f->fd);
    const char *from = temp_path ? temp_path : f && f->temp_named ? f->path : proc;
    if (linkat(AT_FDCWD, from, AT_FDCWD, path, from == proc ? AT_SYMLINK_FOLLOW : 0) != 0) {
        int errnum = errno;
        if (errnum != EEXIST || !f || !is_at(f->fd, path))
            return err_errno(e, errnum, "create %s", path);
    }
    if (f && f->temp_named && unlink(f->path) == 0) f->temp_named = false;
    return ok();
}

static rc rename_new(const char *from, const char *to, struct err *e) {
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return ok();
    if (errno != EINVAL && errno != ENOSYS) return err_errno(e, errno, "rename %s to %s", from, to);
    if (link(from, to) != 0) return err_errno(e, errno, "link %s to %s", from, to);
    return unlink(from) == 0 ? ok() : err_errno(e, errno, "remove %s, now also %s", from, to);
}

static rc files_rename(struct env *env, const char *from, const char *to, bool replace,
                       struct err *e) {
    (void)env;
    if (!replace) return rename_new(from, to, e);
    return rename(from, to) == 0 ? ok() : err_errno(e, errno, "rename %s to %s", from, to);
}

static rc files_remove(struct env *env, const char *path, struct err *e) {
    (void)env;
    return remove(path) == 0 ? ok() : err_errno(e, errno, "remove %s", path);
}

static rc files_stat(struct env *env, const char *path, struct file_stat *out, struct err *e) {
    (void)env;
    struct statx s;
    if (statx(AT_FDCWD, path, 0, STATX_BASIC_STATS | STATX_BTIME, &s) != 0)
        return err_errno(e, errno, "stat %s", path);
    *out = (struct file_stat){
        .size_bytes = s.stx_size,
        .mtime_ms = s.stx_mtime.tv_sec * 1000 + s.stx_mtime.tv_nsec / 1000000,
        .device = makedev(s.stx_dev_major, s.stx_dev_minor),
        .inode = s.stx_ino,
        .mode = s.stx_mode & 07777,
        .is_directory = S_ISDIR(s.stx_mode),
        .is_regular = S_ISREG(s.stx_mode),
    };
    if (s.stx_mask & STATX_BTIME)
        out->birth_ns = s.stx_btime.tv_sec * 1000000000 + s.stx_btime.tv_nsec;
    return ok();
}

static rc files_copy_access(struct env *env, const char *from, const char *to, struct err *e) {
    (void)env;
    struct stat s;
    if (stat(from, &s) != 0) return err_errno(e, errno, "stat %s", from);
    if (chown(to, s.st_uid, s.st_gid) != 0 && errno != EPERM)
        return err_errno(e, errno, "give %s the owner of %s", to, from);
    return chmod(to, s.st_mode & 07777) == 0 ? ok() : err_errno(e, errno, "set mode of %s", to);
}

static rc files_sync_dir(struct env *env, const char *path, struct err *e) {
    (void)env;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_errno(e, errno, "open directory %s", path);
    int errnum = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    if (errnum && errnum != EINVAL) /* some network file systems have no such thing */
        return err_errno(e, errnum, "sync directory %s", path);
    return ok();
}

static rc make_dir(struct env *env, const char *path, struct err *e) {
    char parent[LIMIT_PATH];
    system_directory_of(path, parent);
    if (mkdir(path, 0700) == 0) return files_sync_dir(env, parent, e);
    int errnum = errno;
    struct stat s;
    if (stat(path, &s) == 0 && S_ISDIR(s.st_mode)) return ok();
    if (errnum == EEXIST)
        return err_set(e, RC_IO, "make directory %s: it is not a directory", path);
    return err_errno(e, errnum, "make directory %s", path);
}

static rc files_make_dirs(struct env *env, const char *path, struct err *e) {
    char at[LIMIT_PATH];
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    if (n >= sizeof at) return err_set(e, RC_USAGE, "%.80s...: path too long", path);
    memcpy(at, path, n);
    at[n] = 0;
    for (size_t i = 1; i < n; i++) {
        if (at[i] != '/' || at[i - 1] == '/') continue;
        at[i] = 0;
        TRY(make_dir(env, at, e));
        at[i] = '/';
    }
    return make_dir(env, at, e);
}

static rc each_entry(DIR *d, const char *path, rc (*each)(void *, const char *, struct err *),
                     void *arg, struct err *e) {
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(d);
        if (!entry) return errno == 0 ? ok() : err_errno(e, errno, "read directory %s", path);
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        TRY(each(arg, entry->d_name, e));
    }
}

static rc files_list(struct env *env, const char *path,
                     rc (*each)(void *, const char *name, struct err *), void *arg, struct err *e) {
    (void)env;
    DIR *d = opendir(path);
    if (!d) return err_errno(e, errno, "open directory %s", path);
    rc r = each_entry(d, path, each, arg, e);
    closedir(d);
    return r;
}

const struct env_files posix_files = {
    .open = files_open,
    .close = files_close,
    .read = files_read,
    .write = files_write,
    .truncate = files_truncate,
    .reserve = files_reserve,
    .sync = files_sync,
    .set_mtime = files_set_mtime,
    .size = files_size,
    .link = files_link,
    .rename = files_rename,
    .remove = files_remove,
    .stat = files_stat,
    .copy_access = files_copy_access,
    .make_dirs = files_make_dirs,
    .make_dir = make_dir,
    .sync_dir = files_sync_dir,
    .list = files_list,
};
