/* Many threads and processes on one store: who waits, for how long, and what he is told. */
#include "store/parts.h" /* before Check, which has a macro `fail` */

#include "box.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

static char dir[TEMP_PATH];
static hf_store *s;

static void setup(void) {
    temp_dir(dir);
    ck_assert_int_eq(chdir(dir), 0);
}

static hf_store *open_waiting(int64_t timeout_ms, int readers) {
    hf_store *t;
    hf_store_options o = {.size = sizeof o, TABLES, .timeout_ms = timeout_ms, .readers = readers};
    FINE(hf_store_open("app.db", &o, &t));
    return t;
}

/* ---- another process, that does as it is told ---- */

struct other {
    pid_t pid;
    int to[2], from[2];
};

static void tell(struct other *o) {
    ck_assert_int_eq(write(o->to[1], "x", 1), 1);
}

static void hear(struct other *o) {
    char byte;
    ck_assert_int_eq(read(o->from[0], &byte, 1), 1);
}

/* Of the other process. */
static void say(struct other *o) {
    ck_assert_int_eq(write(o->from[1], "x", 1), 1);
}

static void listen_to(struct other *o) {
    char byte;
    if (read(o->to[0], &byte, 1) != 1) _exit(0);
}

static void start(struct other *o, void (*fn)(struct other *, const char *), const char *arg) {
    ck_assert_int_eq(pipe(o->to) | pipe(o->from), 0);
    o->pid = fork();
    if (o->pid == 0) {
        close(o->to[1]);
        close(o->from[0]);
        fn(o, arg);
        _exit(0);
    }
    close(o->to[0]);
    close(o->from[1]);
}

static void end(struct other *o) {
    int status;
    close(o->to[1]);
    ck_assert_int_eq(waitpid(o->pid, &status, 0), o->pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the other process: see above");
    close(o->from[0]);
}

static sqlite3 *raw_begin(const char *file) {
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(file, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    int code = sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    ck_assert_msg(code == SQLITE_OK, "%s: %s", file, sqlite3_errmsg(db));
    return db;
}

/* Holds the write lock of a file from when it is told to until it is told again. */
static void hold(struct other *o, const char *file) {
    listen_to(o);
    sqlite3 *db = raw_begin(file);
    say(o);
    listen_to(o);
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(db);
    say(o);
    listen_to(o);
}

static void take(struct other *o) {
    tell(o);
    hear(o);
}

/* ---- the row ---- */

static int waiting_for(struct queue *q) {
    char why[64];
    int64_t held;
    return queue_holder(q, 0, why, sizeof why, &held);
}

#define WRITERS 12
static int order[WRITERS], served;

static int note_order(hf_tx *t, void *arg) {
    (void)t;
    order[served++] = *(int *)arg; /* under the lock that is being tested */
    return 0;
}

static void *come(void *arg) {
    FINE(hf_write(s, *(int *)arg % 3 ? HF_MAIN : HF_BOTH, "in the row", note_order, arg));
    return NULL;
}

START_TEST(writers_are_served_in_the_order_in_which_they_came) {
    pthread_t threads[WRITERS];
    int numbers[WRITERS];
    hf_tx *t;
    s = open_waiting(20000, 0);
    FINE(hf_begin(s, HF_MAIN, "first", &t));
    for (int i = 0; i < WRITERS; i++) {
        numbers[i] = i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, come, &numbers[i]), 0);
        while (waiting_for(&s->main_turn) <= i) sched_yield();
    }
    FINE(hf_commit(t));
    for (int i = 0; i < WRITERS; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < WRITERS; i++) ck_assert_int_eq(order[i], i);
    FINE(hf_store_close(s));
}
END_TEST

static void *come_in_vain(void *arg) {
    hf_tx *t;
    (void)arg;
    SAYS(hf_begin(s, HF_MAIN, "in vain", &t), HF_TIMEOUT, "in vain");
    return NULL;
}

START_TEST(who_gave_up_is_no_longer_in_the_row) {
    pthread_t threads[WRITERS];
    hf_tx *t;
    s = open_waiting(30, 0);
    FINE(hf_begin(s, HF_MAIN, "first", &t));
    for (int i = 0; i < WRITERS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, come_in_vain, NULL), 0);
    for (int i = 0; i < WRITERS; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_int_eq(waiting_for(&s->main_turn), 0);
    FINE(hf_commit(t));
    FINE(write_sql(s, HF_BOTH, "INSERT INTO m VALUES (1, 1)"));
    FINE(hf_store_close(s));
}
END_TEST

/* ---- words of a timeout ---- */

static const struct {
    int held, wanted;
    const char *file;
} own[] = {{HF_MAIN, HF_MAIN, "/app.db"},         {HF_MAIN, HF_BOTH, "/app.db"},
           {HF_BOTH, HF_MAIN, "/app.db"},         {HF_BOTH, HF_NOISE, "/app-noise.db"},
           {HF_NOISE, HF_NOISE, "/app-noise.db"}, {HF_NOISE, HF_BOTH, "/app-noise.db"}};
static int row;

static void *wait_in_vain(void *arg) {
    hf_tx *t = NULL;
    (void)arg;
    SAYS(hf_begin(s, own[row].wanted, "add node", &t), HF_TIMEOUT,
         "held by 'import' of this process for 0.");
    ck_assert_ptr_nonnull(strstr(hf_errmsg(), "'add node' waited 0."));
    ck_assert_ptr_nonnull(strstr(hf_errmsg(), own[row].file));
    ck_assert_ptr_null(t);
    return NULL;
}

START_TEST(a_timeout_names_the_transaction_of_this_process) {
    hf_tx *t;
    row = _i;
    s = open_waiting(40, 0);
    FINE(hf_begin(s, own[row].held, "import", &t));
    in_thread(wait_in_vain, NULL);
    FINE(hf_commit(t));
    FINE(write_sql(s, own[row].wanted, "SELECT 1"));
    FINE(hf_store_close(s));
}
END_TEST

static const struct {
    const char *file;
    int scope;
    int code;
} foreign[] = {
    {"app.db", HF_MAIN, HF_TIMEOUT},
    {"app.db", HF_BOTH, HF_TIMEOUT},
    {"app.db", HF_NOISE, HF_OK},
    {"app.db", HF_READ, HF_OK},
    {"app-noise.db", HF_MAIN, HF_OK},
    {"app-noise.db", HF_BOTH, HF_TIMEOUT},
    {"app-noise.db", HF_NOISE, HF_TIMEOUT},
    {"app-noise.db", HF_READ, HF_OK},
};

static const char *const sql_of[] = {
    "SELECT count(*) FROM m", "INSERT INTO m VALUES (NULL, NULL)",
    "INSERT INTO noise.n VALUES (NULL, NULL)",
    "INSERT INTO m VALUES (NULL, NULL); INSERT INTO noise.n VALUES (NULL, NULL)"};

/* What is not locked is not waited for; what is, is named. */
START_TEST(another_process_stops_only_who_wants_its_file_and_is_named) {
    struct other o;
    char words[100];
    int scope = foreign[_i].scope;
    start(&o, hold, foreign[_i].file);
    s = open_waiting(foreign[_i].code ? 60 : 20000, 0);
    take(&o);
    snprintf(words, sizeof words, "held by process %d (", o.pid);
    hf_tx *t;
    if (foreign[_i].code) {
        SAYS(hf_begin(s, scope, "x", &t), HF_TIMEOUT, words);
        ck_assert_ptr_nonnull(strstr(hf_errmsg(), foreign[_i].file));
    } else {
        FINE(hf_begin(s, scope, "x", &t));
        FINE(hf_exec(t, sql_of[scope]));
        FINE(hf_commit(t));
    }
    take(&o);
    FINE(hf_begin(s, scope, "x", &t));
    FINE(hf_exec(t, sql_of[scope]));
    FINE(hf_commit(t));
    end(&o);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(who_could_not_have_both_has_left_main) {
    struct other noise, main_one;
    hf_tx *t;
    start(&noise, hold, "app-noise.db");
    start(&main_one, hold, "app.db");
    s = open_waiting(60, 0);
    take(&noise);
    SAYS(hf_begin(s, HF_BOTH, "x", &t), HF_TIMEOUT, "app-noise.db");
    take(&main_one);
    end(&main_one);
    end(&noise);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(another_connection_of_this_process_is_named_as_such) {
    hf_tx *t;
    s = open_waiting(50, 0);
    sqlite3 *db = raw_begin("app.db");
    SAYS(hf_begin(s, HF_MAIN, "x", &t), HF_TIMEOUT, "held by another connection of this process");
    sqlite3_exec(db, "COMMIT", NULL, NULL, NULL);
    FINE(write_sql(s, HF_MAIN, "INSERT INTO m VALUES (1, 1)"));
    sqlite3_close(db);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(an_open_waits_for_a_lock_only_if_there_is_something_to_make) {
    struct other o;
    hf_store *t;
    hf_store_options quick = {.size = sizeof quick, .noise = "", .timeout_ms = 60},
                     slow = {.size = sizeof slow, TABLES, .timeout_ms = 60};
    char words[100];
    start(&o, hold, "app.db");
    FINE(hf_store_close(open_waiting(20000, 0)));
    take(&o);
    FINE(hf_store_open("app.db", &quick, &t));
    FINE(hf_store_close(t));
    snprintf(words, sizeof words, "app.db, held by process %d (", o.pid);
    SAYS(hf_store_open("app.db", &slow, &t), HF_TIMEOUT, words);
    take(&o);
    FINE(hf_store_close(open_waiting(20000, 0)));
    end(&o);
}
END_TEST

static void *wait_long(void *arg) {
    struct err e;
    hf_tx *t;
    int64_t deadline = s->env->mono_ns(s->env) + 20000000000;
    (void)arg;
    ck_assert_int_eq(tx_begin(s, HF_MAIN, "the long one", deadline, &t, &e).code, RC_OK);
    FINE(hf_commit(t));
    return NULL;
}

START_TEST(who_waits_behind_one_that_waits_is_told_for_whom) {
    struct other o;
    pthread_t thread;
    hf_tx *t;
    char words[100], holder[64];
    int64_t held;
    start(&o, hold, "app.db");
    s = open_waiting(60, 0);
    take(&o);
    ck_assert_int_eq(pthread_create(&thread, NULL, wait_long, NULL), 0);
    do queue_holder(&s->main_turn, 0, holder, sizeof holder, &held);
    while (strcmp(holder, "the long one") != 0);
    snprintf(words, sizeof words, "that one waits for process %d (", o.pid);
    SAYS(hf_begin(s, HF_MAIN, "x", &t), HF_TIMEOUT, words);
    ck_assert_ptr_nonnull(strstr(hf_errmsg(), "held by 'the long one' of this process"));
    take(&o);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    end(&o);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(the_lock_of_a_process_that_was_killed_is_free) {
    struct other o;
    int status;
    start(&o, hold, "app.db");
    s = open_waiting(20000, 0);
    take(&o);
    ck_assert_int_eq(kill(o.pid, SIGKILL), 0);
    FINE(write_sql(s, HF_MAIN, "INSERT INTO m VALUES (1, 1)"));
    ck_assert_int_eq(waitpid(o.pid, &status, 0), o.pid);
    FINE(hf_store_close(s));
}
END_TEST

static void *read_in_vain(void *arg) {
    hf_tx *t;
    (void)arg;
    SAYS(hf_begin(s, HF_READ, "a third", &t), HF_TIMEOUT, "one of 2 connections to read with");
    return NULL;
}

static void *read_once(void *arg) {
    hf_tx **t = arg;
    FINE(hf_begin(s, HF_READ, "a second", t));
    return NULL;
}

START_TEST(more_readers_than_connections_wait) {
    hf_tx *t, *of_thread;
    s = open_waiting(40, 2);
    FINE(hf_begin(s, HF_READ, "a first", &t));
    in_thread(read_once, &of_thread); /* and its thread ends without an end of it */
    in_thread(read_in_vain, NULL);
    FINE(hf_commit(t));
    FINE(hf_begin(s, HF_READ, "a fourth", &t));
    FINE(hf_commit(t));
    SAYS(hf_store_close(s), HF_BUSY, "'a second'");
}
END_TEST

static int read_nothing(hf_tx *t, void *arg) {
    return hf_exec(t, "SELECT 1") + (arg != NULL);
}

static void *read_often(void *arg) {
    for (int i = 0; i < 500; i++) FINE(hf_read(s, "one of many", read_nothing, NULL));
    return arg;
}

/* Whoever waits for a connection that nobody has any more would do so until the timeout. */
START_TEST(many_readers_on_few_connections_all_have_their_turn) {
    pthread_t threads[24];
    s = open_waiting(1000000, 2);
    for (int i = 0; i < 24; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_often, NULL), 0);
    for (int i = 0; i < 24; i++) pthread_join(threads[i], NULL);
    FINE(hf_store_close(s));
}
END_TEST

/* ---- fork ---- */

static void use_after_fork(hf_tx *t) {
    hf_tx *other;
    hf_store *again, *elsewhere;
    sqlite3_stmt *st;
    hf_store_options o = {.size = sizeof o, TABLES};
    SAYS(hf_begin(s, HF_MAIN, "x", &other), HF_USAGE, "fork");
    SAYS(hf_read(s, "x", run_text, NULL), HF_USAGE, "fork");
    SAYS(hf_exec(t, "SELECT 1"), HF_USAGE, "fork");
    SAYS(hf_query(t, &st, "SELECT 1", ""), HF_USAGE, "fork");
    SAYS(hf_commit(t), HF_USAGE, "fork");
    SAYS(hf_stats(s, NULL, NULL), HF_USAGE, "fork");
    hf_rollback(t);
    SAYS(hf_store_open("app.db", &o, &again), HF_USAGE, "was open when this process was forked");
    o.noise = "app-noise.db";
    SAYS(hf_store_open("third.db", &o, &again), HF_USAGE, "app-noise.db was open when");
    FINE(hf_store_close(s));
    SAYS(hf_store_open("app.db", NULL, &again), HF_USAGE, "was open when this process was forked");
    o.noise = "";
    FINE(hf_store_open("second.db", &o, &elsewhere));
    FINE(write_sql(elsewhere, HF_BOTH, "INSERT INTO m VALUES (1, 1)"));
    FINE(hf_store_close(elsewhere));
}

START_TEST(a_child_may_use_nothing_of_the_parents_which_goes_on) {
    struct other o;
    hf_tx *t;
    int status;
    start(&o, hold, "app.db");
    s = open_waiting(20000, 0);
    FINE(hf_begin(s, HF_MAIN, "over a fork", &t));
    FINE(hf_exec(t, "INSERT INTO m VALUES (1, 1)"));
    pid_t pid = fork();
    if (pid == 0) {
        use_after_fork(t);
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(status == 0, "the child: see above");
    tell(&o); /* it waits, since our lock is still ours */
    FINE(hf_exec(t, "INSERT INTO m VALUES (2, 2)"));
    FINE(hf_commit(t));
    hear(&o);
    take(&o);
    end(&o);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 2);
    FINE(hf_store_close(s));
}
END_TEST

/* ---- all at once ---- */

#define THREADS 16
#define SECONDS 2
static atomic_bool stopping;
static atomic_long counts[4];

static int add_both(hf_tx *t, void *arg) {
    (void)arg;
    FINE(hf_run(t, "UPDATE both SET main = main + 1", ""));
    FINE(hf_run(t, "UPDATE noise.both SET noise = noise + 1", ""));
    return 0;
}

static int see_both(hf_tx *t, void *arg) {
    (void)arg;
    ck_assert_int_eq(number_in(t, "SELECT count(*) < max(id) FROM m"), 0);
    return 0;
}

static int add_some(hf_tx *t, void *arg) {
    FINE(hf_exec(t, arg));
    return 0;
}

static void *work(void *arg) {
    unsigned dice = (unsigned)(uintptr_t)arg * 7919 + 1;
    static char main_sql[] = "INSERT INTO m VALUES (NULL, NULL)",
                noise_sql[] = "INSERT INTO noise.n VALUES (NULL, 1)";
    while (!stopping) {
        dice = dice * 1103515245 + 12345;
        int scope = (int)(dice >> 16) % 4;
        if (scope == HF_READ) FINE(hf_read(s, "read", see_both, NULL));
        if (scope == HF_MAIN) FINE(hf_write(s, scope, "main", add_some, main_sql));
        if (scope == HF_NOISE) FINE(hf_write(s, scope, "noise", add_some, noise_sql));
        if (scope == HF_BOTH) FINE(hf_write(s, scope, "both", add_both, NULL));
        counts[scope]++;
    }
    return NULL;
}

static void show(void *arg, const hf_stat *st) {
    if (st->failed) ck_abort_msg("%s: %lu failed", st->why, (unsigned long)st->failed);
    printf("%s %-6s %8lu  wait p50 %.2f p99 %.2f max %.2f ms, run p50 %.3f ms\n", (char *)arg,
           st->why, (unsigned long)st->count, (double)st->wait_p50_ns / 1e6,
           (double)st->wait_p99_ns / 1e6, (double)st->wait_max_ns / 1e6,
           (double)st->run_p50_ns / 1e6);
}

static int64_t seconds(void) {
    const char *given = getenv("HOLDFAST_STORE_SECONDS");
    return given ? atoi(given) : SECONDS;
}

static void work_together(const char *name) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, work, (void *)(uintptr_t)(i + getpid())),
                         0);
    s->env->sleep_ns(s->env, seconds() * 1000000000); /* the length of the test */
    stopping = true;
    for (int i = 0; i < THREADS; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    FINE(hf_stats(s, show, (void *)(uintptr_t)name));
    fflush(stdout);
}

static void work_elsewhere(struct other *o, const char *name) {
    listen_to(o);
    s = open_waiting(20000, 0);
    work_together(name);
    for (int i = 0; i < 4; i++) {
        long n = counts[i];
        ck_assert_int_eq(write(o->from[1], &n, sizeof n), sizeof n);
    }
    FINE(hf_store_close(s));
}

START_TEST(threads_of_two_processes_never_see_busy_and_lose_nothing) {
    struct other o;
    long theirs[4];
    start(&o, work_elsewhere, "theirs");
    s = open_waiting(20000, 0);
    FINE(write_sql(s, HF_MAIN, "CREATE TABLE both(main); INSERT INTO both VALUES (0)"));
    FINE(write_sql(s, HF_NOISE,
                   "CREATE TABLE noise.both(noise); INSERT INTO noise.both VALUES (0)"));
    tell(&o);
    work_together("ours  ");
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(read(o.from[0], &theirs[i], sizeof *theirs), sizeof *theirs);
    end(&o);
    for (int i = 0; i < 4; i++) ck_assert_int_gt(theirs[i], 0);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), counts[HF_MAIN] + theirs[HF_MAIN]);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM noise.n"),
                     counts[HF_NOISE] + theirs[HF_NOISE]);
    ck_assert_int_eq(number(s, "SELECT main FROM both"), counts[HF_BOTH] + theirs[HF_BOTH]);
    ck_assert_int_eq(number(s, "SELECT noise FROM noise.both"), counts[HF_BOTH] + theirs[HF_BOTH]);
    ck_assert_int_eq(number(s, "SELECT quick_check = 'ok' FROM pragma_quick_check"), 1);
    FINE(hf_store_close(s));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("others");
    TCase *c = tcase_create("all");
    tcase_add_unchecked_fixture(c, temp_setup, temp_teardown);
    tcase_add_checked_fixture(c, setup, NULL);
    tcase_add_test(c, writers_are_served_in_the_order_in_which_they_came);
    tcase_add_test(c, who_gave_up_is_no_longer_in_the_row);
    ADD_ROWS(c, a_timeout_names_the_transaction_of_this_process, own);
    ADD_ROWS(c, another_process_stops_only_who_wants_its_file_and_is_named, foreign);
    tcase_add_test(c, who_could_not_have_both_has_left_main);
    tcase_add_test(c, another_connection_of_this_process_is_named_as_such);
    tcase_add_test(c, an_open_waits_for_a_lock_only_if_there_is_something_to_make);
    tcase_add_test(c, who_waits_behind_one_that_waits_is_told_for_whom);
    tcase_add_test(c, the_lock_of_a_process_that_was_killed_is_free);
    tcase_add_test(c, more_readers_than_connections_wait);
    tcase_add_test(c, many_readers_on_few_connections_all_have_their_turn);
    tcase_add_test(c, a_child_may_use_nothing_of_the_parents_which_goes_on);
    tcase_add_test(c, threads_of_two_processes_never_see_busy_and_lose_nothing);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
