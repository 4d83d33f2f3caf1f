/* Questions to the machine: /proc, inotify, locks, statfs.
 *
 * Why our own lock file has a lock of its open file description (OFD): a plain POSIX lock goes when
 * any descriptor of the file is closed anywhere in the process, and an flock cannot be asked about
 * without being taken, which would be in the way of whoever starts at that instant.
 */
#include "os/system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define LOCKS_MAX 256 /* more are not let go of in a child */

#define LOCK_LOOKS 3

static bool read_line(const char *path, char *out, size_t size) {
    FILE *f = fopen(path, "re");
    if (!f) return false;
    bool got = fgets(out, (int)size, f) != NULL;
    fclose(f);
    if (got) out[strcspn(out, "\n")] = 0;
    return got;
}

void system_boot_id(char out[BOOT_ID_SIZE]) {
    if (!read_line("/proc/sys/kernel/random/boot_id", out, BOOT_ID_SIZE)) out[0] = 0;
}

int64_t system_boot_time_ms(void) {
    FILE *f = fopen("/proc/stat", "re");
    if (!f) return 0;
    char line[4096];
    long long seconds = 0;
    while (fgets(line, sizeof line, f))
        if (sscanf(line, "btime %lld", &seconds) == 1) break;
    fclose(f);
    return (int64_t)seconds * 1000;
}

void system_host_name(char *out, size_t size) {
    if (gethostname(out, size) != 0) snprintf(out, size, "unknown");
    out[size - 1] = 0;
}

int system_pid(void) {
    return (int)getpid();
}

bool system_is_network_fs(const char *path, const char **name) {
    static const struct {
        uint32_t magic;
        const char *name;
    } network[] = {{0x6969, "NFS"},      {0xff534d42, "CIFS"},  {0xfe534d42, "SMB2"},
                   {0x517b, "SMB"},      {0x73757245, "Coda"},  {0x5346414f, "AFS"},
                   {0x00c36400, "Ceph"}, {0x0bd00bd0, "Lustre"}};
    struct statfs s;
    if (statfs(path, &s) != 0) return false;
    for (size_t i = 0; i < sizeof network / sizeof network[0]; i++)
        if ((uint32_t)s.f_type == network[i].magic) {
            *name = network[i].name;
            return true;
        }
    return false;
}

rc system_real_path(const char *path, char out[LIMIT_PATH], struct err *e) {
    char real[PATH_MAX];
    if (!realpath(path, real)) return err_errno(e, errno, "%s", path);
    if (strlen(real) >= LIMIT_PATH - 16) return err_set(e, RC_USAGE, "%s: path too long", path);
    snprintf(out, LIMIT_PATH, "%s", real);
    return ok();
}

void system_directory_of(const char *path, char out[LIMIT_PATH]) {
    const char *slash = strrchr(path, '/');
    if (!slash) snprintf(out, LIMIT_PATH, ".");
    else snprintf(out, LIMIT_PATH, "%.*s", (int)(slash == path ? 1 : slash - path), path);
}

int system_cpu_count(void) {
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n > 0 ? (int)n : 1;
}

void system_ack_now(int socket) {
    setsockopt(socket, IPPROTO_TCP, TCP_QUICKACK, &(int){1}, sizeof(int));
}

const char *system_env(const char *name) {
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

const char *system_temp_dir(void) {
    const char *dir = system_env("TMPDIR");
    return dir ? dir : "/var/tmp";
}

static bool usable_dir(const char *path) {
    if (mkdir(path, 0755) != 0 && errno != EEXIST) return false;
    struct stat s;
    return stat(path, &s) == 0 && S_ISDIR(s.st_mode) && access(path, W_OK | X_OK) == 0;
}

/* Where everybody may make a directory, somebody may have made ours. */
static bool is_only_ours(const char *path) {
    struct stat s;
    return lstat(path, &s) == 0 && s.st_uid == geteuid() && !(s.st_mode & (S_IWGRP | S_IWOTH));
}

rc system_runtime_dir(char out[LIMIT_PATH], struct err *e) {
    const char *given = getenv("RUNTIME_DIRECTORY"), *user = getenv("XDG_RUNTIME_DIR");
    if (given && given[0]) {
        snprintf(out, LIMIT_PATH, "%.*s", (int)strcspn(given, ":"), given);
        if (usable_dir(out)) return ok();
    }
    snprintf(out, LIMIT_PATH, "/run/holdfast");
    if (usable_dir(out)) return ok();
    if (user && user[0]) {
        snprintf(out, LIMIT_PATH, "%.4000s/holdfast", user);
        if (usable_dir(out)) return ok();
    }
    snprintf(out, LIMIT_PATH, "/dev/shm/holdfast-%u", (unsigned)geteuid());
    if (usable_dir(out) && is_only_ours(out)) return ok();
    return err_set(e, RC_IO, "no runtime directory can be written: set RUNTIME_DIRECTORY");
}

/* Only root, we and the database's owner can have put something there. */
static bool is_trusted(const char *file, uid_t owner) {
    struct stat s;
    char dir[LIMIT_PATH];
    system_directory_of(file, dir);
    if (stat(dir, &s) != 0 || (s.st_mode & (S_IWGRP | S_IWOTH))) return false;
    return s.st_uid == 0 || s.st_uid == geteuid() || s.st_uid == owner;
}

/* Not by glob(3): glibc's frees names twice when it has no memory for one. */
void system_runtime_files(const char *database, const char *name,
                          void (*each)(void *, const char *path), void *arg) {
    static const char *const places[][3] = {{"/run", "", ""}, /* in it, beginning with, below */
                                            {"/run/holdfast", "", ""},
                                            {"/run/user", "", "/holdfast"},
                                            {"/dev/shm", "holdfast-", ""}};
    char path[LIMIT_PATH];
    struct stat s, st;
    if (stat(database, &s) != 0) return;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        DIR *d = opendir(places[i][0]);
        for (struct dirent *entry; d && (entry = readdir(d));) {
            bool begins = strncmp(entry->d_name, places[i][1], strlen(places[i][1])) == 0;
            if (entry->d_type == DT_REG || entry->d_name[0] == '.' || !begins) continue;
            snprintf(path, sizeof path, "%s/%s%s/%s", places[i][0], entry->d_name, places[i][2],
                     name);
            if (stat(path, &st) == 0 && is_trusted(path, s.st_uid)) each(arg, path);
        }
        if (d) closedir(d);
    }
}

/* 0: whoever it is has not written it yet. */
static int read_pid(int fd) {
    char pid[32];
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? n : 0] = 0;
    return (int)strtol(pid, NULL, 10);
}

int lock_file_holder(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    bool held = fcntl(fd, F_OFD_GETLK, &whole) == 0 && whole.l_type != F_UNLCK;
    int pid = held ? read_pid(fd) : 0;
    close(fd);
    return pid;
}

/* The descriptors of locks that are held. They belong to open files, which a child shares: without
 * this one that outlives us would keep them. */
static atomic_int held[LOCKS_MAX];

static void let_go_in_child(void) {
    for (int i = 0; i < LOCKS_MAX; i++) {
        if (held[i]) close(held[i]);
        held[i] = 0;
    }
}

static void watch_forks(void) {
    ENSURE(pthread_atfork(NULL, NULL, let_go_in_child) == 0);
}

static void hold(int fd, int instead_of) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    for (int i = 0, expected = instead_of; i < LOCKS_MAX; i++, expected = instead_of)
        if (atomic_compare_exchange_strong(&held[i], &expected, fd)) return;
}

rc lock_file_take(struct lock_file *lock, const char *path, int *holder, struct err *e) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return err_errno(e, errno, "%s", path);
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (fcntl(fd, F_OFD_SETLK, &whole) != 0) {
        int errnum = errno;
        *holder = read_pid(fd);
        close(fd);
        if (errnum != EAGAIN && errnum != EACCES) return err_errno(e, errnum, "lock %s", path);
        return err_set(e, RC_BUSY, "%s is locked by process %d", path, *holder);
    }
    char pid[32];
    int n = snprintf(pid, sizeof pid, "%-10d\n", (int)getpid());
    /* Only a courtesy to whoever comes next, and for all who may ask who holds it. */
    if (pwrite(fd, pid, (size_t)n, 0) != n || fchmod(fd, 0644) != 0) {
    }
    lock->fd = fd;
    hold(fd, 0);
    return ok();
}

void lock_file_release(struct lock_file *lock) {
    if (lock->fd > 0) {
        hold(0, lock->fd);
        close(lock->fd);
    }
    lock->fd = 0;
}

void system_locks(uint64_t inode, void (*each)(void *, const struct foreign_lock *), void *arg) {
    FILE *f = fopen("/proc/locks", "re");
    if (!f) return;
    char line[512], kind[16], way[16], end[32];
    while (fgets(line, sizeof line, f)) {
        struct foreign_lock l;
        unsigned long long file_inode, start;
        unsigned major_number, minor_number;
        if (sscanf(line, "%*d: %15s %*s %15s %d %x:%x:%llu %llu %31s", kind, way, &l.pid,
                   &major_number, &minor_number, &file_inode, &start, end) != 8)
            continue; /* "->" lines: those who wait */
        if (file_inode != inode || strcmp(kind, "FLOCK") == 0) continue;
        l.write = strcmp(way, "WRITE") == 0;
        l.start = start;
        l.end = strcmp(end, "EOF") == 0 ? UINT64_MAX : strtoull(end, NULL, 10);
        each(arg, &l);
    }
    fclose(f);
}

void system_locks_surely(uint64_t inode, void (*each)(void *, const struct foreign_lock *),
                         void *arg) {
    for (int i = 0; i < LOCK_LOOKS; i++) system_locks(inode, each, arg);
}

void system_process_name(int pid, char *out, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/comm", pid);
    if (!read_line(path, out, size)) snprintf(out, size, "?");
}

struct watch {
    int inotify, wake;
};

rc watch_new(struct watch **out, struct err *e) {
    struct watch *w = calloc(1, sizeof *w);
    if (!w) return err_set(e, RC_NOMEM, "no memory");
    w->inotify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    w->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (w->inotify < 0 || w->wake < 0) {
        int errnum = errno;
        watch_free(w);
        return err_errno(e, errnum, "inotify");
    }
    *out = w;
    return ok();
}

void watch_free(struct watch *w) {
    if (!w) return;
    if (w->inotify >= 0) close(w->inotify);
    if (w->wake >= 0) close(w->wake);
    free(w);
}

void watch_arm(struct watch *w, const char *const *paths, int count) {
    for (int i = 0; i < count; i++) /* the same inode again replaces its watch */
        (void)inotify_add_watch(w->inotify, paths[i],
                                IN_MODIFY | IN_MOVE_SELF | IN_DELETE_SELF | IN_ATTRIB | IN_ONESHOT);
}

void watch_wake(struct watch *w) {
    uint64_t one = 1;
    if (write(w->wake, &one, sizeof one) < 0) { /* full: it is awake already */
    }
}

void watch_wait(struct watch *w, int64_t timeout_ns, bool *changed) {
    struct pollfd fds[2] = {{.fd = w->inotify, .events = POLLIN},
                            {.fd = w->wake, .events = POLLIN}};
    if (timeout_ns < 0) timeout_ns = 0;
    struct timespec t = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    *changed = false;
    if (ppoll(fds, 2, &t, NULL) <= 0) return;
    char events[4096] __attribute__((aligned(8)));
    while (read(w->inotify, events, sizeof events) > 0) *changed = true;
    uint64_t wakes;
    if (read(w->wake, &wakes, sizeof wakes) < 0) { /* only the files */
    }
}
