/* Asking the process that replicates a database: see the header.
 *
 * Why not libcurl: this is compiled into the extension, and so into programs of any language.
 * libcurl would bring its TLS library with it, which several of them hold already in another
 * version (Node exports the symbols of its own), and a global initialisation that is not theirs to
 * time. What is left to do by hand is small: one request, one reply, then the end of the stream.
 *
 * Invariants
 *  1. A reply is believed only if all of it came: its length is the one that its header says.
 *  2. No wait is without a deadline: a process that is stopped holds nobody.
 */
#include "daemon/client.h"

#include "base/bytes.h"
#include "daemon/place.h"
#include "daemon/unix.h"
#include "os/system.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define GRACE_MS 2000 /* beyond the time that was asked for: it answers itself when that is over */
#define STATUS_MS 10000

static int64_t mono_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- one request, one reply ---- */

struct call {
    int fd;
    int64_t deadline_ns;
    struct buf reply;
};

static rc no_answer(struct err *e) {
    return err_set(e, RC_TIMEOUT, "timeout: no replicator answered in time; it may be stopped");
}

static rc ended(struct err *e) {
    return err_set(e, RC_CANCELLED,
                   "no replicator: it ended before the outcome was known; what was committed may"
                   " be safe or not");
}

static rc wait_for(struct call *c, short events, struct err *e) {
    for (;;) {
        int64_t left = c->deadline_ns - mono_ns();
        if (left <= 0) return no_answer(e);
        struct pollfd p = {.fd = c->fd, .events = events};
        struct timespec t = {left / 1000000000, left % 1000000000};
        int n = ppoll(&p, 1, &t, NULL);
        if (n > 0) return ok();
        if (n < 0 && errno != EINTR) return err_errno(e, errno, "io: poll");
    }
}

static rc send_all(struct call *c, const struct buf *request, struct err *e) {
    for (size_t at = 0; at < request->size;) {
        ssize_t n = send(c->fd, request->bytes + at, request->size - at, MSG_NOSIGNAL);
        if (n > 0) at += (size_t)n;
        else if (errno == EAGAIN) TRY(wait_for(c, POLLOUT, e));
        else if (errno != EINTR) return ended(e);
    }
    return ok();
}

static rc receive_all(struct call *c, struct err *e) {
    for (;;) {
        uint8_t part[4096];
        ssize_t n = recv(c->fd, part, sizeof part, 0);
        if (n == 0) break;
        if (n > 0) buf_put(&c->reply, part, (size_t)n);
        else if (errno == EAGAIN) TRY(wait_for(c, POLLIN, e));
        else if (errno != EINTR) return ended(e);
        if (c->reply.failed) return err_set(e, RC_CORRUPT, "corrupt: the reply is too long");
    }
    buf_u8(&c->reply, 0);
    return buf_check(&c->reply, "reply", e);
}

/* Where its body begins, once all of it is there; NULL: it is not. */
static char *body_of(struct buf *reply, int *status) {
    char *text = (char *)reply->bytes, *end = strstr(text, "\r\n\r\n");
    if (!end || sscanf(text, "HTTP/1.1 %3d", status) != 1) return NULL;
    *end = 0;
    const char *length = strcasestr(text, "\r\ncontent-length:");
    size_t size = reply->size - 1 - (size_t)(end + 4 - text);
    if (!length || strtoull(length + 17, NULL, 10) != size) return NULL;
    return end + 4;
}

static rc exchange(struct call *c, const struct buf *request, char **body, int *status,
                   struct err *e) {
    TRY(send_all(c, request, e));
    TRY(receive_all(c, e));
    *body = body_of(&c->reply, status);
    return *body ? ok() : ended(e);
}

/* ---- what it says ---- */

static enum rc_code code_of(const char *name) {
    for (enum rc_code code = RC_RETRY; code <= RC_UNFIT; code++)
        if (strcmp(name, rc_name(code)) == 0) return code;
    return RC_IO;
}

static rc take_error(const char *body, int status, struct err *e) {
    json_t *o = json_loads(body, 0, NULL);
    const char *reason = "io", *words = "an answer that is none of a replicator's";
    (void)json_unpack(o, "{s:s, s:s}", "error", &reason, "words", &words);
    rc r = err_set(e, code_of(reason), "%.20s: %.900s", reason, words);
    if (!o) r = err_set(e, RC_IO, "io: HTTP status %d, and no words", status);
    json_decref(o);
    return r;
}

static rc connect_to(const char *socket, struct call *c, struct err *e) {
    struct err why;
    rc r = unix_connect(socket, c->deadline_ns, &c->fd, &why);
    if (is_ok(r)) return r;
    if (r.code == RC_BUSY) return no_answer(e);
    return err_set(e, RC_NOTFOUND, "no replicator: %.900s", why.text);
}

static rc call(const char *socket, const struct buf *request, int64_t timeout_ms, char **answer,
               struct err *e) {
    char *body = NULL;
    int status = 0;
    struct call c = {.deadline_ns = mono_ns() + timeout_ms * 1000000};
    TRY(connect_to(socket, &c, e));
    buf_init(&c.reply, LIMIT_SMALL_OBJECT);
    rc r = exchange(&c, request, &body, &status, e);
    if (is_ok(r) && status != 200) r = take_error(body, status, e);
    char *copy = is_ok(r) ? strdup(body) : NULL;
    if (is_ok(r) && !copy) r = err_set(e, RC_NOMEM, "no memory");
    if (copy) copy[strcspn(copy, "\n")] = 0;
    if (copy) *answer = copy;
    buf_deinit(&c.reply);
    close(c.fd);
    return r;
}

/* ---- what is asked ---- */

static rc ask(const char *socket, const char *line, const char *body, int64_t timeout_ms,
              char **answer, struct err *e) {
    char head[160];
    struct buf request AUTO(buf_deinit);
    buf_init(&request, LIMIT_SMALL_OBJECT);
    snprintf(head, sizeof head,
             "%s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
             line, strlen(body));
    buf_text(&request, head);
    buf_text(&request, body);
    TRY(buf_check(&request, "request", e));
    return call(socket, &request, timeout_ms, answer, e);
}

static rc post(const char *socket, const char *line, const struct client_wait *w, json_t *o,
               char **answer, struct err *e) {
    char *body = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (!body) return err_set(e, RC_USAGE, "usage: a name that is not UTF-8, or no memory");
    rc r = ask(socket, line, body, w->timeout_ms + GRACE_MS, answer, e);
    free(body);
    return r;
}

/* The path may be another one where it is replicated, in another container say. */
static rc file_of(const struct client_wait *w, char name[PLACE_NAME], const char **out,
                  struct err *e) {
    struct err why;
    if (!w->path) return ok();
    rc r = place_name(w->path, name, &why);
    if (!is_ok(r)) return err_set(e, r.code, "no replicator: %.900s", why.text);
    *out = strchr(name, '/') + 1;
    return ok();
}

rc client_wait(const char *socket, const struct client_wait *w, char **answer, struct err *e) {
    char name[PLACE_NAME];
    const char *file = NULL;
    TRY(file_of(w, name, &file, e));
    json_t *o = json_pack("{s:s*, s:s*, s:s*, s:I, s:b}", "file", file, "position", w->position,
                          "destination", w->destination, "timeout_ms", (json_int_t)w->timeout_ms,
                          "flush", w->flush);
    return post(socket, "POST /wait", w, o, answer, e);
}

rc client_sync(const char *socket, const struct client_wait *w, char **answer, struct err *e) {
    char name[PLACE_NAME];
    const char *file = NULL;
    TRY(file_of(w, name, &file, e));
    json_t *o = json_pack("{s:s*, s:I}", "file", file, "timeout_ms", (json_int_t)w->timeout_ms);
    return post(socket, "POST /sync", w, o, answer, e);
}

rc client_status(const char *socket, char **answer, struct err *e) {
    return ask(socket, "GET /status", "", STATUS_MS, answer, e);
}

rc client_find(const char *database, const char *given, char socket[LIMIT_PATH], struct err *e) {
    struct err why;
    if (given) {
        snprintf(socket, LIMIT_PATH, "%s", given);
        return ok();
    }
    rc r = place_find(database, socket, &why);
    return is_ok(r) ? r : err_set(e, r.code, "no replicator: %.900s", why.text);
}
