/* Stream sockets of this machine: see the header.
 *
 * Why the directory's descriptor: /proc/self/fd/N/name is short, whatever the directory is called.
 * Where /proc is missing a short path is used as it is.
 */
#include "daemon/unix.h"

#include "base/limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 4096 /* the kernel's own limit may be lower */
#define FULL_PAUSE_NS 1000000

/* The address of a path; *dir: to be closed after its use. */
static rc address(const char *path, struct sockaddr_un *out, int *dir, struct err *e) {
    char parent[LIMIT_PATH];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    *dir = -1;
    if (strlen(path) >= sizeof parent || !*name || strlen(name) > 64)
        return err_set(e, RC_USAGE, "%.200s: not a path for a socket", path);
    if (strlen(path) < sizeof out->sun_path) {
        snprintf(out->sun_path, sizeof out->sun_path, "%s", path);
        return ok();
    }
    snprintf(parent, sizeof parent, "%.*s", (int)(name - path), path);
    *dir = open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*dir < 0) return err_errno(e, errno, "%s", parent);
    snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/%s", *dir, name);
    return ok();
}

static void close_dir(int dir) {
    if (dir >= 0) close(dir);
}

static int make_socket(void) {
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* An errno. */
static int try_connect(int fd, const struct sockaddr_un *to) {
    return connect(fd, (const struct sockaddr *)to, sizeof *to) == 0 ? 0 : errno;
}

/* Makes way for a new one. */
static rc remove_stale(const char *path, const struct sockaddr_un *at, struct err *e) {
    struct stat s;
    if (lstat(path, &s) != 0) return ok();
    if (!S_ISSOCK(s.st_mode))
        return err_set(e, RC_CONFLICT, "%s: is there already, and is no socket", path);
    int fd = make_socket();
    int errnum = fd < 0 ? errno : try_connect(fd, at);
    if (fd >= 0) close(fd);
    if (errnum == 0 || errnum == EAGAIN)
        return err_set(e, RC_BUSY, "%s: another process answers there", path);
    if (errnum != ECONNREFUSED && errnum != ENOENT) return err_errno(e, errnum, "%s", path);
    if (unlink(path) != 0 && errno != ENOENT) return err_errno(e, errno, "%s", path);
    return ok();
}

static rc listen_at(const char *path, const struct sockaddr_un *at, int *out, struct err *e) {
    TRY(remove_stale(path, at, e));
    int fd = make_socket();
    /* The mode of the descriptor becomes that of the name, at no instant a wider one. */
    bool good = fd >= 0 && fchmod(fd, 0600) == 0 &&
                bind(fd, (const struct sockaddr *)at, sizeof *at) == 0 && listen(fd, BACKLOG) == 0;
    int errnum = errno;
    if (good) *out = fd;
    else if (fd >= 0) close(fd);
    if (!good && errnum == EADDRINUSE)
        return err_set(e, RC_BUSY, "%s: another process has just come", path);
    return good ? ok() : err_errno(e, errnum, "socket %s", path);
}

rc unix_listen(const char *path, int *fd, struct err *e) {
    struct sockaddr_un at;
    int dir;
    TRY(address(path, &at, &dir, e));
    rc r = listen_at(path, &at, fd, e);
    close_dir(dir);
    return r;
}

static int64_t mono_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

rc unix_connect(const char *path, int64_t deadline_ns, int *out, struct err *e) {
    struct sockaddr_un to;
    int dir, fd = make_socket(), errnum;
    if (fd < 0) return err_errno(e, errno, "socket");
    rc r = address(path, &to, &dir, e);
    if (is_ok(r)) {
        while ((errnum = try_connect(fd, &to)) == EAGAIN && mono_now() < deadline_ns)
            nanosleep(&(struct timespec){0, FULL_PAUSE_NS}, NULL);
        if (errnum == EAGAIN) r = err_set(e, RC_BUSY, "%s: nobody accepts", path);
        else if (errnum == ECONNREFUSED) r = err_set(e, RC_NOTFOUND, "%s: nobody listens", path);
        else if (errnum) r = err_errno(e, errnum, "%s", path);
    }
    close_dir(dir);
    if (is_ok(r)) *out = fd;
    else close(fd);
    return r;
}

bool unix_is_socket(const char *path) {
    struct stat s;
    return stat(path, &s) == 0 && S_ISSOCK(s.st_mode);
}

bool unix_is_heard(const char *path) {
    int fd;
    struct err ignored;
    rc r = unix_connect(path, 0, &fd, &ignored);
    if (is_ok(r)) close(fd);
    return is_ok(r) || r.code == RC_BUSY;
}

bool unix_peer_is_ours(int fd) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
           (peer.uid == geteuid() || peer.uid == 0);
}
