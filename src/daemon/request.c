/* One request on the socket: see the header.
 *
 * A request that must wait is suspended: its connection is out of the server's sight, and costs no
 * thread. Then its client's hanging up would not be seen, so the connection is watched beside.
 *
 * Invariants
 *  1. A request is the barrier's from barrier_add (barrier_ask) until it was handed back, or until
 *     barrier_remove said that it will not be. In between only the barrier's callback writes to it.
 *  2. Each suspended connection is resumed once, on the socket's thread.
 *  3. What is read is bounded before it is kept: LIMIT_SOCKET_BODY.
 *  4. No answer before the whole request was read.
 */
#include "daemon/request.h"

#include "daemon/place.h"
#include "daemon/unix.h"
#include "store/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define TIMEOUT_MS 30000
#define TIMEOUT_MAX_MS 86400000
#define MS 1000000
#define FORGOTTEN_MAX (64u * LIMIT_SOCKET_BODY)

enum kind { WAIT, SYNC, STATUS, NOT_FOUND, WRONG_METHOD, FORBIDDEN };

struct request {
    struct desk *desk;
    struct MHD_Connection *connection;
    enum kind kind;
    int fd;
    struct buf body;
    size_t read;
    json_t *input; /* keeps what `wait` points to */
    struct wait wait;
    struct ask ask;
    int64_t began_ns;
    bool with_barrier, came_back, gone; /* gone: nobody will read an answer */
    rc result;                          /* once it came back */
    struct err err;
    char *status;
    struct request *next;
};

/* ---- answers ---- */

static const struct {
    enum rc_code code;
    unsigned status;
} statuses[] = {
    {RC_OK, 200},       {RC_USAGE, 400},  {RC_NOTFOUND, 404},  {RC_FENCED, 409},
    {RC_CONFLICT, 409}, {RC_BEHIND, 409}, {RC_CANCELLED, 503}, {RC_TIMEOUT, 504},
};

static unsigned status_of(enum rc_code code) {
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].code == code) return statuses[i].status;
    return 500;
}

/* Takes the text; NULL: no memory. */
static enum MHD_Result reply(struct MHD_Connection *c, unsigned status, char *text) {
    if (!text) return MHD_NO;
    struct MHD_Response *r =
        MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE);
    if (!r) {
        free(text);
        return MHD_NO;
    }
    (void)MHD_add_response_header(r, "Content-Type", "application/json");
    if (status == 405) (void)MHD_add_response_header(r, "Allow", "POST, GET");
    enum MHD_Result done = MHD_queue_response(c, status, r);
    MHD_destroy_response(r);
    return done;
}

/* Takes the object; a line of its own, for people who use curl. */
static char *text_of(json_t *o) {
    char *json = json_text(o, JSON_COMPACT), *line = NULL;
    json_decref(o);
    if (json && asprintf(&line, "%s\n", json) < 0) line = NULL;
    free(json);
    return line;
}

static char *refusal(enum rc_code code, const char *words) {
    return text_of(json_pack("{s:s, s:o}", "error", rc_name(code), "words", json_words(words)));
}

static enum MHD_Result refuse(struct MHD_Connection *c, unsigned status, enum rc_code code,
                              const char *words) {
    return reply(c, status, refusal(code, words));
}

static enum MHD_Result answer(struct request *r) {
    char position[POSITION_TEXT_SIZE];
    if (!is_ok(r->result))
        return refuse(r->connection, status_of(r->result.code), r->result.code, r->err.text);
    if (r->kind == STATUS) {
        char *line = NULL;
        if (asprintf(&line, "%s\n", r->status) < 0) line = NULL;
        return reply(r->connection, 200, line);
    }
    int64_t waited = r->desk->env->mono_ns(r->desk->env) - r->began_ns;
    position_text(&r->wait.found, position);
    return reply(r->connection, 200,
                 text_of(json_pack("{s:s, s:I}", "position", position, "waited_ms",
                                   (json_int_t)(waited / MS))));
}

/* ---- with the barrier ---- */

/* On the source's thread, or on ours. */
static void hand_back(struct request *r) {
    struct desk *d = r->desk;
    pthread_mutex_lock(&d->lock);
    r->next = d->back;
    d->back = r;
    /* Under the lock: the desk may be gone as soon as this request is known to be back. */
    (void)eventfd_write(d->bell, 1);
    pthread_mutex_unlock(&d->lock);
}

static void wait_ended(struct wait *w, rc result, const struct err *why) {
    struct request *r = w->arg;
    r->result = result;
    if (!is_ok(result)) r->err = *why;
    hand_back(r);
}

static void asked(struct ask *a, struct source *s) {
    struct request *r = a->arg;
    const char *path = r->desk->database;
    struct err why;
    bool ended = !s && barrier_has_stopped(r->desk->barrier, &why);
    r->result = s ? status_json(s, path, &r->status, &r->err)
                  : status_json_without(path, ended ? &why : NULL, &r->status, &r->err);
    hand_back(r);
}

/* Only EPOLLHUP and EPOLLERR, which need not be asked for: a client that only ends its own side
 * still wants its answer. */
static void leave_with_barrier(struct request *r) {
    struct epoll_event event = {.events = 0, .data.ptr = r};
    r->with_barrier = true;
    r->desk->waiting++;
    (void)epoll_ctl(r->desk->hang_ups, EPOLL_CTL_ADD, r->fd, &event);
    MHD_suspend_connection(r->connection);
    if (r->kind == STATUS) {
        r->ask = (struct ask){.answer = asked, .arg = r};
        barrier_ask(r->desk->barrier, &r->ask);
    } else {
        barrier_add(r->desk->barrier, &r->wait);
    }
}

static void unwatch(struct request *r) {
    (void)epoll_ctl(r->desk->hang_ups, EPOLL_CTL_DEL, r->fd, NULL);
}

static void go_on(struct request *r) {
    unwatch(r);
    r->came_back = true;
    r->with_barrier = false;
    r->desk->waiting--;
    MHD_resume_connection(r->connection);
}

void desk_take_back(struct desk *d) {
    pthread_mutex_lock(&d->lock);
    struct request *r = d->back;
    d->back = NULL;
    pthread_mutex_unlock(&d->lock);
    for (struct request *next; r; r = next) {
        next = r->next;
        go_on(r);
    }
}

void request_hung_up(struct request *r) {
    r->gone = true;
    if (r->kind != STATUS && barrier_remove(r->desk->barrier, &r->wait)) go_on(r);
    else unwatch(r); /* it is about to come back */
}

/* ---- reading ---- */

/* The members of a body, as they were sent. */
struct members {
    const char *path, *file; /* file: as in the name of its place */
    const char *position;
    json_int_t timeout_ms;
    int flush;
    json_t *destination;
};

/* False: the words are in r->err. */
static bool unpack(struct request *r, struct members *m) {
    const char *text = r->body.size ? (char *)r->body.bytes : "{}";
    const char *format = r->kind == SYNC ? "{s?s, s?s, s?I}" : "{s?s, s?s, s?I, s?s, s?b, s?o}";
    json_error_t at;
    *m = (struct members){.position = "now", .timeout_ms = TIMEOUT_MS, .flush = r->kind == SYNC};
    r->input = json_loadb(text, r->body.size ? r->body.size : 2, JSON_REJECT_DUPLICATES, &at);
    if (r->input && json_unpack_ex(r->input, &at, JSON_STRICT, format, "path", &m->path, "file",
                                   &m->file, "timeout_ms", &m->timeout_ms, "position", &m->position,
                                   "flush", &m->flush, "destination", &m->destination) == 0)
        return true;
    err_fill(&r->err, RC_USAGE, "the body: %.500s", at.text);
    return false;
}

/* The words of what is wrong; NULL: nothing. */
static const char *read_input(struct request *r, struct members *m) {
    struct wait *w = &r->wait;
    if (!unpack(r, m)) return r->err.text;
    if (m->timeout_ms < 0 || m->timeout_ms > TIMEOUT_MAX_MS)
        return "timeout_ms: not from 0 to 86400000, which is a day";
    if (!position_parse(m->position, &w->at)) return "position: neither \"now\" nor one";
    if (m->destination && !json_is_string(m->destination) && !json_is_null(m->destination))
        return "destination: neither null, \"any\" nor a URL";
    if (m->path && m->path[0] != '/') return "path: not an absolute one";
    w->destination = json_string_value(m->destination);
    w->flush = m->flush != 0;
    w->deadline_ns = r->began_ns + m->timeout_ms * MS;
    w->ended = wait_ended;
    w->arg = r;
    return NULL;
}

static bool is_this_database(const char *ours, const struct members *m) {
    char our_name[PLACE_NAME], their_name[PLACE_NAME];
    struct err ignored;
    if (!is_ok(place_name(ours, our_name, &ignored))) return false;
    if (m->file && strcmp(strchr(our_name, '/') + 1, m->file) != 0) return false;
    return !m->path ||
           (is_ok(place_name(m->path, their_name, &ignored)) && strcmp(our_name, their_name) == 0);
}

static void not_this_database(const char *ours, const struct members *m, char words[ERR_TEXT_MAX]) {
    snprintf(words, ERR_TEXT_MAX, "%.400s is not the database that is replicated here: %.400s",
             m->path ? m->path : m->file, ours);
}

/* What is answered at once, whatever the body says. False: nothing. */
static bool refused(struct request *r, enum MHD_Result *done) {
    static const struct {
        unsigned status;
        const char *words;
    } refusals[] = {
        [NOT_FOUND] = {404, "there are POST /wait, POST /sync and GET /status"},
        [WRONG_METHOD] = {405, "it is POST /wait, POST /sync and GET /status"},
        [FORBIDDEN] = {403, "only the replicator's own user and root are answered"},
    };
    if (r->kind >= NOT_FOUND)
        *done = refuse(r->connection, refusals[r->kind].status, RC_USAGE, refusals[r->kind].words);
    else if (r->body.full)
        *done = refuse(r->connection, 413, RC_USAGE, "the body is larger than 64 KiB");
    else if (r->desk->waiting >= r->desk->room)
        *done = refuse(r->connection, 503, RC_BUSY, "as many wait as can: ask again later");
    else if (r->body.failed) *done = refuse(r->connection, 500, RC_NOMEM, "no memory");
    else return false;
    return true;
}

static enum MHD_Result begin(struct request *r) {
    struct members m = {0};
    const char *wrong = NULL;
    enum MHD_Result done;
    if (refused(r, &done)) return done;
    if (r->kind != STATUS) wrong = read_input(r, &m);
    if (wrong) return refuse(r->connection, 400, RC_USAGE, wrong);
    if ((m.path || m.file) && !is_this_database(r->desk->database, &m)) {
        char words[ERR_TEXT_MAX];
        not_this_database(r->desk->database, &m, words);
        return refuse(r->connection, 404, RC_NOTFOUND, words);
    }
    leave_with_barrier(r);
    return MHD_YES;
}

/* ---- the callbacks ---- */

static enum kind kind_of(int fd, const char *url, const char *method) {
    static const char *const urls[] = {"/wait", "/sync", "/status"};
    size_t i = 0;
    if (!unix_peer_is_ours(fd)) return FORBIDDEN;
    while (i < 3 && strcmp(url, urls[i]) != 0) i++;
    if (i == 3) return NOT_FOUND;
    return strcmp(method, i == STATUS ? "GET" : "POST") == 0 ? (enum kind)i : WRONG_METHOD;
}

static struct request *request_new(struct desk *d, struct MHD_Connection *c, const char *url,
                                   const char *method) {
    struct request *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    int fd = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    *r = (struct request){.desk = d, .connection = c, .fd = fd, .kind = kind_of(fd, url, method)};
    r->began_ns = d->env->mono_ns(d->env);
    buf_init(&r->body, LIMIT_SOCKET_BODY);
    d->open++;
    return r;
}

enum MHD_Result request_handle(void *desk, struct MHD_Connection *c, const char *url,
                               const char *method, const char *version, const char *upload,
                               size_t *upload_size, void **closure) {
    struct request *r = *closure;
    (void)version;
    if (!r) return (*closure = request_new(desk, c, url, method)) ? MHD_YES : MHD_NO;
    if (r->gone) return MHD_NO;
    if (r->came_back) return answer(r);
    if (!*upload_size) return begin(r);
    /* What is beyond the limit is read and forgotten, up to a point: a client that is still writing
     * when it is answered sees a broken pipe, and no answer. */
    buf_put(&r->body, upload, *upload_size);
    r->read += *upload_size;
    *upload_size = 0;
    return r->read <= FORGOTTEN_MAX ? MHD_YES : MHD_NO;
}

void request_completed(void *desk, struct MHD_Connection *c, void **closure,
                       enum MHD_RequestTerminationCode why) {
    struct request *r = *closure;
    (void)c;
    (void)why;
    if (!r) return;
    ENSURE(!r->with_barrier);
    ((struct desk *)desk)->open--;
    buf_deinit(&r->body);
    json_decref(r->input);
    free(r->status);
    free(r);
    *closure = NULL;
}
