/* The client of the socket before servers that are none, or that end in the middle. */
#include "../os/temp.h"

#include "daemon/client.h"
#include "daemon/unix.h"

#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#define HEAD(status, length)                                                                       \
    "HTTP/1.1 " status "\r\nContent-Type: application/json\r\nContent-Length: " length "\r\n\r\n"
#define SAYS(status, length, code) HEAD(status, length) "{\"error\":\"" code "\",\"words\":\"w\"}\n"

static const struct {
    const char *reply;
    enum rc_code code;
    const char *words;
} replies[] = {
    {HEAD("200 OK", "3") "{}\n", RC_OK, ""},
    {"HTTP/1.1 200 OK\r\ncOnTeNt-LeNgTh:3\r\n\r\n{}\n", RC_OK, ""},
    {"", RC_CANCELLED, "no replicator: "},
    {"HTTP/1.1 200 OK\r\n", RC_CANCELLED, "no replicator: "},
    {"HTTP/1.1 200 OK\r\n\r\n{}\n", RC_CANCELLED, "no replicator: "},
    {HEAD("200 OK", "3"), RC_CANCELLED, "no replicator: "},
    {HEAD("200 OK", "3") "{}", RC_CANCELLED, "no replicator: "},
    {HEAD("200 OK", "3") "{}\n\n", RC_CANCELLED, "no replicator: "},
    {HEAD("200 OK", "-1") "{}\n", RC_CANCELLED, "no replicator: "},
    {HEAD("200 OK", "99999999999999999999999") "{}\n", RC_CANCELLED, "no replicator: "},
    {"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n{}\n", RC_CANCELLED, "no replicator: "},
    {"HTTP/1.1 OK\r\nContent-Length: 3\r\n\r\n{}\n", RC_CANCELLED, "no replicator: "},
    {"SSH-2.0-OpenSSH_9.2\r\n\r\n", RC_CANCELLED, "no replicator: "},
    {SAYS("504 Gateway Timeout", "32", "timeout"), RC_TIMEOUT, "timeout: w"},
    {SAYS("409 Conflict", "31", "fenced"), RC_FENCED, "fenced: w"},
    {SAYS("409 Conflict", "31", "behind"), RC_BEHIND, "behind: w"},
    {SAYS("409 Conflict", "33", "conflict"), RC_CONFLICT, "conflict: w"},
    {SAYS("404 Not Found", "34", "not found"), RC_NOTFOUND, "not found: w"},
    {SAYS("503 Unavailable", "34", "cancelled"), RC_CANCELLED, "cancelled: w"},
    {SAYS("503 Unavailable", "29", "busy"), RC_BUSY, "busy: w"},
    {SAYS("400 Bad Request", "30", "usage"), RC_USAGE, "usage: w"},
    {SAYS("500 Error", "28", "odd"), RC_IO, "odd: w"},
    {SAYS("500 Error", "27", "ok"), RC_IO, "ok: w"},
    {HEAD("500 Error", "0"), RC_IO, "status 500"},
    {HEAD("500 Error", "2") "[]", RC_IO, "io: "},
    {HEAD("500 Error", "12") "{\"error\": 7}", RC_IO, "io: "},
    {HEAD("204 No Content", "0"), RC_IO, "status 204"},
};

struct server {
    int listening;
    const char *reply;
    size_t size, piece;
    bool silent; /* never answers, and never ends the connection */
    int kept;
};

static int accept_one(int listening) {
    struct pollfd p = {.fd = listening, .events = POLLIN};
    ck_assert_int_eq(poll(&p, 1, 10000), 1);
    int fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

/* One request, one reply in pieces. */
static void *serve(void *arg) {
    struct server *s = arg;
    char request[4096];
    int fd = accept_one(s->listening);
    ck_assert_int_gt(recv(fd, request, sizeof request, 0), 0);
    s->kept = fd;
    if (s->silent) return NULL;
    for (size_t at = 0; at < s->size; at += s->piece) {
        size_t n = s->size - at < s->piece ? s->size - at : s->piece;
        if (send(fd, s->reply + at, n, MSG_NOSIGNAL) < 0) break; /* it has had enough */
    }
    close(fd);
    return NULL;
}

static const char *start(struct server *s, pthread_t *thread) {
    char dir[TEMP_PATH];
    temp_dir(dir);
    const char *path = below(dir, "s");
    OK(unix_listen(path, &s->listening, e));
    ck_assert_int_eq(pthread_create(thread, NULL, serve, s), 0);
    return path;
}

static void end(struct server *s, pthread_t thread) {
    pthread_join(thread, NULL);
    close(s->listening);
}

static const struct client_wait wait_a_little = {.timeout_ms = 100};

START_TEST(reply_is_taken_for_what_it_is) {
    for (size_t piece = 1; piece < 4096; piece *= 64) {
        struct server s = {.reply = replies[_i].reply, .piece = piece};
        pthread_t thread;
        char *answer = NULL;
        s.size = strlen(s.reply);
        const char *path = start(&s, &thread);
        CODE(client_wait(path, &wait_a_little, &answer, e), replies[_i].code);
        if (replies[_i].code != RC_OK) says(replies[_i].words);
        ck_assert_int_eq(answer != NULL, replies[_i].code == RC_OK);
        if (answer) ck_assert_str_eq(answer, "{}");
        free(answer);
        end(&s, thread);
    }
}
END_TEST

START_TEST(reply_that_never_ends_is_bounded) {
    static char reply[2 << 20];
    char *answer = NULL;
    pthread_t thread;
    struct server s = {.reply = reply, .size = sizeof reply, .piece = 65536};
    memset(reply, 'x', sizeof reply);
    const char *path = start(&s, &thread);
    CODE(client_status(path, &answer, e), RC_CORRUPT);
    end(&s, thread);
}
END_TEST

START_TEST(zero_byte_in_a_reply_is_no_end) {
    static const char reply[] = HEAD("200 OK", "4") "{\0}\n";
    char *answer = NULL;
    pthread_t thread;
    struct server s = {.reply = reply, .size = sizeof reply - 1, .piece = 4096};
    const char *path = start(&s, &thread);
    OK(client_status(path, &answer, e));
    ck_assert_str_eq(answer, "{");
    free(answer);
    end(&s, thread);
}
END_TEST

START_TEST(server_that_is_silent_is_left) {
    pthread_t thread;
    char *answer = NULL;
    struct server s = {.silent = true};
    struct timespec from, to;
    const char *path = start(&s, &thread);
    clock_gettime(CLOCK_MONOTONIC, &from);
    CODE(client_wait(path, &wait_a_little, &answer, e), RC_TIMEOUT);
    says("timeout: ");
    clock_gettime(CLOCK_MONOTONIC, &to);
    ck_assert_int_lt(to.tv_sec - from.tv_sec, 10);
    end(&s, thread);
    close(s.kept);
}
END_TEST

START_TEST(nobody_there_is_no_replicator) {
    char dir[TEMP_PATH], *answer = NULL;
    int listening;
    temp_dir(dir);
    FILE *f = fopen(below(dir, "file"), "w");
    ck_assert_ptr_nonnull(f);
    fclose(f);
    CODE(client_wait(below(dir, "none"), &wait_a_little, &answer, e), RC_NOTFOUND);
    says("no replicator: ");
    CODE(client_wait(below(dir, "file"), &wait_a_little, &answer, e), RC_NOTFOUND);
    says("no replicator: ");
    CODE(client_wait(below(dir, "none/s"), &wait_a_little, &answer, e), RC_NOTFOUND);
    says("no replicator: ");
    CODE(client_wait(dir, &wait_a_little, &answer, e), RC_NOTFOUND);
    says("no replicator: ");
    CODE(client_wait("", &wait_a_little, &answer, e), RC_NOTFOUND);
    OK(unix_listen(below(dir, "dead"), &listening, e));
    close(listening); /* its name is still there */
    CODE(client_wait(below(dir, "dead"), &wait_a_little, &answer, e), RC_NOTFOUND);
    says("nobody listens");
}
END_TEST

START_TEST(words_that_are_not_utf8_are_refused_here) {
    struct client_wait w = {.destination = "\xff", .timeout_ms = 1};
    char *answer = NULL;
    CODE(client_wait("/none", &w, &answer, e), RC_USAGE);
}
END_TEST

int main(void) {
    Suite *s = suite_create("daemon/client");
    TCase *t = tcase_create("client");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    ADD_ROWS(t, reply_is_taken_for_what_it_is, replies);
    tcase_add_test(t, reply_that_never_ends_is_bounded);
    tcase_add_test(t, zero_byte_in_a_reply_is_no_end);
    tcase_add_test(t, server_that_is_silent_is_left);
    tcase_add_test(t, nobody_there_is_no_replicator);
    tcase_add_test(t, words_that_are_not_utf8_are_refused_here);
    suite_add_tcase(s, t);
    return run_suite(s);
}
