/* The barrier for other processes: see the header.
 *
 * Why a loop of our own around the server's: a connection that waits is suspended, and then nobody
 * but us would see that its client hung up. So one thread waits for three things: the server's
 * descriptors, clients that hang up, and requests that come back from the barrier.
 *
 * On the disk: the socket, and a link to it (daemon/place.h). Both go at the end. What a process
 * that was killed left is replaced by the next; a client finds that nobody listens there.
 *
 * Invariants
 *  1. No request is with the barrier when the server ends.
 */
#include "daemon/socket.h"

#include "base/hash.h"
#include "daemon/place.h"
#include "daemon/request.h"
#include "daemon/unix.h"
#include "os/system.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define TO_BE_REFUSED 64u /* beyond those that may wait, so that more can be told */
#define IDLE_S 30u        /* a connection that neither speaks nor waits */
#define CONNECTION_MEMORY (8u << 10)
#define LAST_ANSWERS_NS 1000000000

struct socket {
    struct desk desk;
    struct MHD_Daemon *http;
    char path[LIMIT_PATH], database[LIMIT_PATH];
    char link[LIMIT_PATH]; /* "": none */
    struct stat made;      /* what we bound */
    pthread_t thread;
    bool started;
    atomic_bool stopping;
};

const char *socket_path(const struct socket *s) {
    return s->path;
}

/* ---- the thread ---- */

static int patience_ms(const struct socket *s) {
    MHD_UNSIGNED_LONG_LONG ms;
    if (MHD_get_timeout(s->http, &ms) != MHD_YES) ms = 60000;
    if (atomic_load(&s->stopping) && ms > 10) ms = 10;
    return ms > 60000 ? 60000 : (int)ms;
}

static void turn(struct socket *s) {
    struct epoll_event events[64];
    eventfd_t rung;
    int n = epoll_wait(s->desk.hang_ups, events, 64, patience_ms(s));
    for (int i = 0; i < n; i++)
        if (events[i].data.ptr) request_hung_up(events[i].data.ptr);
    (void)eventfd_read(s->desk.bell, &rung);
    desk_take_back(&s->desk);
    (void)MHD_run(s->http);
}

/* The barrier has been stopped, so that whoever waits is on the way back. */
static void give_last_answers(struct socket *s) {
    struct env *env = s->desk.env;
    int64_t until = env->mono_ns(env) + LAST_ANSWERS_NS;
    while (s->desk.open && env->mono_ns(env) < until) turn(s);
    while (s->desk.waiting) desk_take_back(&s->desk);
}

static void *serve(void *arg) {
    struct socket *s = arg;
    while (!atomic_load(&s->stopping)) turn(s);
    int listening = MHD_quiesce_daemon(s->http);
    if (listening >= 0) close(listening);
    give_last_answers(s);
    return NULL;
}

/* ---- names ---- */

/* Of the database's path, so that a start after a crash replaces what was left. */
static rc own_path(struct socket *s, struct err *e) {
    char dir[LIMIT_PATH];
    TRY(place_dir(dir, e));
    snprintf(s->path, sizeof s->path, "%.*s/%016" PRIx64, LIMIT_PATH - 32, dir,
             crc64(0, s->database, strlen(s->database)));
    return ok();
}

/* Absolute, without asking for the file itself: it may not be there. */
static rc absolute(const char *path, char out[LIMIT_PATH], struct err *e) {
    char dir[LIMIT_PATH];
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    char parent[LIMIT_PATH];
    snprintf(parent, sizeof parent, "%.*s", slash ? (int)(name - path) : 1, slash ? path : ".");
    TRY(system_real_path(parent, dir, e));
    int n = snprintf(out, LIMIT_PATH, "%s/%s", strcmp(dir, "/") ? dir : "", name);
    return n >= 0 && n < (int)LIMIT_PATH ? ok() : err_set(e, RC_USAGE, "%s: path too long", path);
}

rc socket_database(struct socket *s, struct err *e) {
    char dir[LIMIT_PATH], name[PLACE_NAME], link[LIMIT_PATH], temp[LIMIT_PATH + 8];
    TRY(place_dir(dir, e));
    TRY(place_name(s->database, name, e));
    snprintf(link, sizeof link, "%.*s%s", LIMIT_PATH - 128, dir, strchr(name, '/'));
    snprintf(temp, sizeof temp, "%s.new", link);
    if (s->link[0] && strcmp(s->link, link) != 0) (void)unlink(s->link);
    (void)unlink(temp);
    if (symlink(s->path, temp) != 0 || rename(temp, link) != 0)
        return err_errno(e, errno, "%s", link);
    snprintf(s->link, sizeof s->link, "%s", link);
    return ok();
}

/* Only what is still ours. */
static void remove_names(struct socket *s) {
    struct stat st;
    char to[LIMIT_PATH];
    ssize_t n = s->link[0] ? readlink(s->link, to, sizeof to - 1) : -1;
    bool here = s->made.st_ino && lstat(s->path, &st) == 0 && st.st_ino == s->made.st_ino &&
                st.st_dev == s->made.st_dev;
    if (!here) return;
    to[n > 0 ? n : 0] = 0;
    if (strcmp(to, s->path) == 0) (void)unlink(s->link);
    (void)unlink(s->path);
}

/* ---- life ---- */

/* Each who waits costs a descriptor, and whoever else needs one in this process must find it. */
static int room_for_waiting(void) {
    struct rlimit files = {.rlim_cur = 1024};
    (void)getrlimit(RLIMIT_NOFILE, &files);
    rlim_t room = files.rlim_cur - (files.rlim_cur < 1024 ? files.rlim_cur / 2 : 256);
    return room < LIMIT_SOCKET_WAITING ? (int)room : LIMIT_SOCKET_WAITING;
}

static rc watch_fd(struct socket *s, int fd, struct err *e) {
    struct epoll_event event = {.events = EPOLLIN};
    return epoll_ctl(s->desk.hang_ups, EPOLL_CTL_ADD, fd, &event) == 0
               ? ok()
               : err_errno(e, errno, "epoll");
}

static rc start_server(struct socket *s, int listening, struct err *e) {
    s->http = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
                               request_handle, &s->desk, MHD_OPTION_LISTEN_SOCKET, listening,
                               MHD_OPTION_NOTIFY_COMPLETED, request_completed, &s->desk,
                               MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->desk.room + TO_BE_REFUSED,
                               MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_MEMORY,
                               MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_END);
    if (!s->http) {
        close(listening);
        return err_set(e, RC_IO, "the socket's server cannot start");
    }
    s->desk.hang_ups = epoll_create1(EPOLL_CLOEXEC);
    s->desk.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->desk.hang_ups < 0 || s->desk.bell < 0) return err_errno(e, errno, "epoll");
    TRY(watch_fd(s, s->desk.bell, e));
    return watch_fd(s, MHD_get_daemon_info(s->http, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, e);
}

/* Signals are for others: a thread of ours that took one would leave them waiting. */
static rc start_thread(struct socket *s, struct err *e) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int errnum = pthread_create(&s->thread, NULL, serve, s);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (errnum) return err_errno(e, errnum, "thread");
    s->started = true;
    return ok();
}

static rc begin(struct socket *s, const struct socket_options *o, struct err *e) {
    int listening = -1;
    TRY(absolute(o->database, s->database, e));
    if (o->path) TRY(absolute(o->path, s->path, e));
    else TRY(own_path(s, e));
    TRY(unix_listen(s->path, &listening, e));
    if (lstat(s->path, &s->made) != 0) s->made = (struct stat){0};
    TRY(start_server(s, listening, e));
    return start_thread(s, e);
}

rc socket_new(struct socket **out, const struct socket_options *o, struct err *e) {
    struct socket *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, RC_NOMEM, "no memory");
    s->desk = (struct desk){.env = o->env, .barrier = o->barrier, .hang_ups = -1, .bell = -1};
    s->desk.database = s->database;
    s->desk.room = room_for_waiting();
    pthread_mutex_init(&s->desk.lock, NULL);
    rc r = begin(s, o, e);
    if (is_ok(r)) *out = s;
    else socket_free(s);
    return r;
}

void socket_free(struct socket *s) {
    if (!s) return;
    remove_names(s);
    atomic_store(&s->stopping, true);
    if (s->started) {
        (void)eventfd_write(s->desk.bell, 1);
        pthread_join(s->thread, NULL);
    }
    if (s->http) MHD_stop_daemon(s->http);
    ENSURE(!s->desk.open && !s->desk.waiting); /* invariant 1 */
    if (s->desk.hang_ups >= 0) close(s->desk.hang_ups);
    if (s->desk.bell >= 0) close(s->desk.bell);
    pthread_mutex_destroy(&s->desk.lock);
    free(s);
}
