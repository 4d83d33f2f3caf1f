/* The socket over a barrier that has no source: who waits, who leaves, and the end. */
#include "../os/temp.h"

#include "daemon/client.h"
#include "daemon/place.h"
#include "daemon/socket.h"
#include "daemon/unix.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>

static struct env *env;
static struct barrier *barrier;
static struct socket *served;
static char dir[TEMP_PATH], db[TEMP_PATH * 2];
static sem_t arrived;
static pthread_t looker;
static atomic_bool over;

static void wake(void *arg) {
    (void)arg;
    sem_post(&arrived);
}

/* In place of a source's thread. */
static void *look(void *arg) {
    while (!over) {
        int64_t due = INT64_MAX;
        barrier_idle(barrier, env->mono_ns(env), &due);
        env->sleep_ns(env, 1000000);
    }
    return arg;
}

static void setup(void) {
    struct socket_options o = {.database = db};
    temp_dir(dir);
    snprintf(db, sizeof db, "%s/app.db", dir);
    ck_assert_int_eq(mkdir(below(dir, "run"), 0755), 0);
    setenv("RUNTIME_DIRECTORY", below(dir, "run"), 1);
    unsetenv("HOLDFAST_SOCKET");
    FILE *f = fopen(db, "w");
    ck_assert_ptr_nonnull(f);
    fclose(f);
    sem_init(&arrived, 0, 0);
    OK(env_new_system(1, &env, e));
    OK(barrier_new(env, wake, NULL, &barrier, e));
    o.env = env;
    o.barrier = barrier;
    OK(socket_new(&served, &o, e));
    ck_assert_int_eq(pthread_create(&looker, NULL, look, NULL), 0);
}

static void stop(enum rc_code code, const char *words) {
    struct err why;
    err_fill(&why, code, "%s", words);
    barrier_stop(barrier, &why);
}

static void teardown(void) {
    stop(RC_CANCELLED, "the test is over");
    socket_free(served);
    over = true;
    pthread_join(looker, NULL);
    barrier_free(barrier);
    env_free_system(env);
}

static void wait_for_arrivals(int count) {
    while (count--) ck_assert_int_eq(sem_wait(&arrived), 0);
}

/* ---- those who wait ---- */

struct waiter {
    pthread_t thread;
    int64_t timeout_ms;
    rc result;
    struct err err;
};

static void *wait_there(void *arg) {
    struct waiter *w = arg;
    char *answer = NULL;
    w->result = client_wait(socket_path(served), &(struct client_wait){.timeout_ms = w->timeout_ms},
                            &answer, &w->err);
    free(answer);
    return NULL;
}

static void start(struct waiter *w, int64_t timeout_ms) {
    *w = (struct waiter){.timeout_ms = timeout_ms};
    ck_assert_int_eq(pthread_create(&w->thread, NULL, wait_there, w), 0);
}

static void end(struct waiter *w, enum rc_code code, const char *words) {
    pthread_join(w->thread, NULL);
    ck_assert_msg(w->result.code == code, "%s, not %s", w->err.text, rc_name(code));
    ck_assert_msg(strstr(w->err.text, words) != NULL, "'%s' lacks '%s'", w->err.text, words);
}

START_TEST(wait_ends_when_its_time_is_over) {
    struct waiter w[3];
    for (int i = 0; i < 3; i++) start(&w[i], 20 * i);
    for (int i = 0; i < 3; i++) end(&w[i], RC_TIMEOUT, "timeout: there is no database");
}
END_TEST

static const enum rc_code ends[] = {RC_FENCED,    RC_BEHIND, RC_CONFLICT, RC_CORRUPT,
                                    RC_CANCELLED, RC_IO,     RC_NOTFOUND, RC_UNFIT};

START_TEST(all_who_wait_are_told_what_ended_it) {
    struct waiter w[20], late;
    for (int i = 0; i < 20; i++) start(&w[i], 60000);
    wait_for_arrivals(20);
    stop(ends[_i], "it was that");
    for (int i = 0; i < 20; i++) end(&w[i], ends[_i], "it was that");
    start(&late, 60000);
    end(&late, ends[_i], "it was that");
}
END_TEST

START_TEST(answers_are_given_before_the_socket_is_gone) {
    struct waiter w[20];
    for (int i = 0; i < 20; i++) start(&w[i], 60000);
    wait_for_arrivals(20);
    stop(RC_FENCED, "another writer");
    socket_free(served);
    served = NULL;
    for (int i = 0; i < 20; i++) end(&w[i], RC_FENCED, "fenced: another writer");
}
END_TEST

static int64_t now_ms(void) {
    return env->mono_ns(env) / 1000000;
}

static int connect_there(void) {
    int fd = -1;
    OK(unix_connect(socket_path(served), env->mono_ns(env) + 1000000000, &fd, e));
    return fd;
}

static void say(int fd, const char *text) {
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* An idle one, a half of a request, one whose client does not read. */
START_TEST(end_does_not_wait_for_those_who_are_not_waiting) {
    int fds[4];
    for (int i = 0; i < 4; i++) fds[i] = connect_there();
    say(fds[1], "POST /wait HT");
    say(fds[2], "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{");
    say(fds[3], "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}");
    wait_for_arrivals(1);
    int64_t began = now_ms();
    stop(RC_CANCELLED, "over");
    socket_free(served);
    served = NULL;
    ck_assert_int_lt(now_ms() - began, 5000);
    for (int i = 0; i < 4; i++) close(fds[i]);
}
END_TEST

/* Hang up at every moment, against waits that end by themselves at every moment. */
static void *come_and_go(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg;
    for (int i = 0; i < 200; i++) {
        char request[160], body[64], reply[256];
        int fd = connect_there();
        snprintf(body, sizeof body, "{\"timeout_ms\": %d}", rand_r(&seed) % 5);
        snprintf(request, sizeof request,
                 "POST /wait HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", strlen(body),
                 body);
        say(fd, request);
        if (rand_r(&seed) % 3 == 0)
            while (recv(fd, reply, sizeof reply, 0) < 0) env->sleep_ns(env, 100000);
        else env->sleep_ns(env, rand_r(&seed) % 6000000);
        close(fd);
    }
    return NULL;
}

START_TEST(who_leaves_is_forgotten_at_any_moment) {
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, (void *)(uintptr_t)(i + 1)),
                         0);
    for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
    struct waiter w;
    start(&w, 1);
    end(&w, RC_TIMEOUT, "timeout: ");
}
END_TEST

START_TEST(status_without_a_database_says_so) {
    char *json = NULL;
    OK(client_status(socket_path(served), &json, e));
    ck_assert_ptr_nonnull(strstr(json, "waiting for a database"));
    free(json);
    stop(RC_FENCED, "another writer");
    OK(client_status(socket_path(served), &json, e));
    ck_assert_ptr_nonnull(strstr(json, "another writer"));
    free(json);
}
END_TEST

/* ---- names ---- */

static rc another(const char *path, struct socket **out, struct err *e) {
    struct socket_options o = {.env = env, .barrier = barrier, .database = db, .path = path};
    return socket_new(out, &o, e);
}

/* Words are cut after 400 bytes, which may be within a character. */
START_TEST(refusal_is_text_wherever_it_is_cut) {
    char path[512] = "/", request[1024], reply[2048] = "";
    int fd;
    for (int i = 0; i <= _i; i++) strcat(path, "a");
    for (int i = 0; i < 200; i++) strcat(path, "\xc3\xa4");
    int n = snprintf(request, sizeof request,
                     "POST /wait HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                     "Content-Length: %zu\r\n\r\n{\"path\": \"%s\"}",
                     strlen(path) + 12, path);
    OK(unix_connect(socket_path(served), env->mono_ns(env) + 1000000000, &fd, e));
    ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
    ck_assert_int_eq(write(fd, request, (size_t)n), n);
    for (size_t at = 0; (n = (int)read(fd, reply + at, sizeof reply - 1 - at)) > 0;)
        at += (size_t)n;
    close(fd);
    ck_assert_msg(strstr(reply, " 404 ") && strstr(reply, "\"words\":\"/aa"), "'%s'", reply);
}
END_TEST

START_TEST(database_is_found_by_its_inode_and_by_nothing_else) {
    char at[LIMIT_PATH];
    CODE(place_find(db, at, e), RC_NOTFOUND);
    OK(socket_database(served, e));
    OK(place_find(db, at, e));
    ck_assert_int_eq(link(db, below(dir, "other-name.db")), 0);
    OK(place_find(below(dir, "other-name.db"), at, e));
    FILE *f = fopen(below(dir, "new.db"), "w");
    fclose(f);
    CODE(place_find(below(dir, "new.db"), at, e), RC_NOTFOUND);
    ck_assert_int_eq(rename(below(dir, "new.db"), db), 0);
    CODE(place_find(db, at, e), RC_NOTFOUND);
    OK(socket_database(served, e));
    OK(place_find(db, at, e));
    CODE(place_find(below(dir, "other-name.db"), at, e), RC_NOTFOUND);
    ck_assert_int_eq(entries_of(env, below(dir, "run/socket")), 2);
}
END_TEST

/* As of a replicator that was killed, while another one was started elsewhere. */
START_TEST(living_one_is_found_beside_a_dead_one) {
    struct socket *s = NULL;
    char at[LIMIT_PATH], name[PLACE_NAME], own[TEMP_PATH + PLACE_NAME + 8];
    int fd;
    OK(another(below(dir, "living"), &s, e));
    OK(place_name(db, name, e));
    snprintf(own, sizeof own, "%s/run/%s", dir, name);
    OK(unix_listen(own, &fd, e));
    close(fd);
    OK(place_find(db, at, e)); /* there is no other */
    ck_assert_str_eq(at, own);
    setenv("HOLDFAST_SOCKET", below(dir, "none"), 1);
    OK(place_find(db, at, e));
    ck_assert_str_eq(at, own);
    setenv("HOLDFAST_SOCKET", below(dir, "living"), 1);
    OK(place_find(db, at, e));
    ck_assert_str_eq(at, below(dir, "living"));
    ck_assert_int_eq(unlink(own), 0);
    OK(socket_database(served, e));
    OK(place_find(db, at, e));
    ck_assert_str_eq(at, own);
    stop(RC_CANCELLED, "over");
    socket_free(s);
}
END_TEST

START_TEST(place_that_is_taken_is_not_taken_away) {
    struct socket *s = NULL;
    struct waiter w;
    FILE *f = fopen(below(dir, "file"), "w");
    fclose(f);
    CODE(another(NULL, &s, e), RC_BUSY);
    CODE(another(socket_path(served), &s, e), RC_BUSY);
    CODE(another(below(dir, "file"), &s, e), RC_CONFLICT);
    CODE(another(dir, &s, e), RC_CONFLICT);
    CODE(another(below(dir, "none/s"), &s, e), RC_NOTFOUND);
    CODE(another("", &s, e), RC_USAGE);
    start(&w, 1);
    end(&w, RC_TIMEOUT, "timeout: ");
}
END_TEST

START_TEST(socket_of_the_dead_is_replaced) {
    struct socket *s = NULL;
    int fd;
    const char *path = below(dir, "s");
    OK(unix_listen(path, &fd, e));
    CODE(another(path, &s, e), RC_BUSY);
    close(fd);
    OK(another(path, &s, e));
    stop(RC_CANCELLED, "over");
    socket_free(s);
    ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

/* Somebody else's name is left where it is. */
START_TEST(name_that_was_replaced_is_not_removed) {
    struct socket *s = NULL;
    int fd;
    const char *path = below(dir, "s");
    OK(another(path, &s, e));
    unlink(path);
    OK(unix_listen(path, &fd, e));
    stop(RC_CANCELLED, "over");
    socket_free(s);
    ck_assert(unix_is_socket(path));
    close(fd);
}
END_TEST

START_TEST(directory_is_made_ours_alone_or_refused) {
    char at[LIMIT_PATH];
    struct stat st;
    const char *sockets = below(dir, "run/socket");
    ck_assert_int_eq(chmod(sockets, 0777), 0);
    OK(place_dir(at, e));
    ck_assert_int_eq(stat(sockets, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0700);
    ck_assert_int_eq(rename(sockets, below(dir, "away")), 0);
    ck_assert_int_eq(symlink(below(dir, "away"), sockets), 0);
    CODE(place_dir(at, e), RC_CONFLICT);
    ck_assert_int_eq(unlink(sockets), 0);
    if (geteuid() == 0) {
        ck_assert_int_eq(mkdir(sockets, 0777), 0);
        ck_assert_int_eq(chown(sockets, 65534, 65534), 0);
        CODE(place_dir(at, e), RC_CONFLICT);
    }
}
END_TEST

START_TEST(path_of_any_length_will_do) {
    char deep[TEMP_PATH * 2];
    struct socket *s = NULL;
    char *answer = NULL;
    snprintf(deep, sizeof deep, "%s/%0100d", dir, 0);
    ck_assert_int_eq(mkdir(deep, 0755), 0);
    strncat(deep, "/s", 3);
    OK(another(deep, &s, e));
    CODE(client_wait(deep, &(struct client_wait){.timeout_ms = 1}, &answer, e), RC_TIMEOUT);
    stop(RC_CANCELLED, "over");
    socket_free(s);
    char longest[LIMIT_PATH + 16];
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[sizeof longest - 1] = 0;
    CODE(another(longest, &s, e), RC_USAGE);
    longest[101] = 0;
    CODE(another(longest, &s, e), RC_USAGE); /* a name, and not a directory's */
}
END_TEST

int main(void) {
    Suite *s = suite_create("daemon/socket");
    TCase *t = tcase_create("socket");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, wait_ends_when_its_time_is_over);
    ADD_ROWS(t, all_who_wait_are_told_what_ended_it, ends);
    tcase_add_test(t, answers_are_given_before_the_socket_is_gone);
    tcase_add_test(t, end_does_not_wait_for_those_who_are_not_waiting);
    tcase_add_test(t, who_leaves_is_forgotten_at_any_moment);
    tcase_add_loop_test(t, refusal_is_text_wherever_it_is_cut, 1, 3);
    tcase_add_test(t, status_without_a_database_says_so);
    tcase_add_test(t, database_is_found_by_its_inode_and_by_nothing_else);
    tcase_add_test(t, living_one_is_found_beside_a_dead_one);
    tcase_add_test(t, place_that_is_taken_is_not_taken_away);
    tcase_add_test(t, socket_of_the_dead_is_replaced);
    tcase_add_test(t, name_that_was_replaced_is_not_removed);
    tcase_add_test(t, directory_is_made_ours_alone_or_refused);
    tcase_add_test(t, path_of_any_length_will_do);
    suite_add_tcase(s, t);
    return run_suite(s);
}
