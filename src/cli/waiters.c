/* Those who wait beside 'holdfast replicate': see the header.
 *
 * Why the default socket may fail and the chosen one not: replication is worth more than waiting,
 * but who names a place counts on it.
 */
#include "cli/waiters.h"

#include "cli/exec.h"

#include <string.h>

#define OTHERS 512

static void wake(void *watch) {
    watch_wake(watch);
}

rc waiters_init(struct waiters *w, struct env *env, struct watch *watch, struct err *e) {
    w->env = env;
    return barrier_new(env, wake, watch, &w->barrier, e);
}

static void failed(struct log *log, const struct err *e) {
    log_pairs(log, "socket.failed", (const char *const[]){"err", e->text}, 2);
}

rc waiters_serve(struct waiters *w, struct log *log, struct err *e) {
    struct socket_options o = {
        .env = w->env, .barrier = w->barrier, .database = w->db, .path = w->path};
    if (w->path && strcmp(w->path, "none") == 0) return ok();
    descriptors_raise(LIMIT_SOCKET_WAITING + OTHERS); /* one for each who waits */
    rc r = socket_new(&w->socket, &o, e);
    if (is_ok(r)) return r;
    if (w->path) return err_prefix(e, r, "-socket");
    failed(log, e);
    return ok();
}

void waiters_found(struct waiters *w, struct log *log) {
    struct err e;
    if (!w->socket) return;
    if (!is_ok(socket_database(w->socket, &e))) failed(log, &e);
}

void waiters_end(struct waiters *w, rc result, const struct err *why) {
    struct err e;
    if (!w->barrier || w->ended) return;
    w->ended = true;
    if (is_ok(result) || result.code == RC_CANCELLED)
        err_fill(&e, RC_CANCELLED, "the replicator was told to stop before this was known safe");
    else err_fill(&e, result.code, "%s", why->text);
    barrier_stop(w->barrier, &e);
}

void waiters_deinit(struct waiters *w) {
    socket_free(w->socket);
    barrier_free(w->barrier);
    w->socket = NULL;
    w->barrier = NULL;
}
