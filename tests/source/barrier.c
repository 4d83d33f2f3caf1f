/* The barrier, with a source that is stepped by hand before two destinations, and a clock that
 * stands still between two steps: when a wait ends, how, and what it costs. */
#include "stepped.h"

#include "os/system.h"
#include "source/barrier.h"

#include <pthread.h>

#define DESTS 2

static struct barrier *barrier;
static atomic_int wakes; /* by those who wait */

/* The destinations, each with what goes wrong there and how often it was asked to take a commit. */
static struct place {
    struct store *store, *inner;
    enum fault fault;
    sem_t *gate; /* a put waits here first */
    atomic_int puts;
} place[DESTS];
static int dests;

static enum fault decide(void *arg, const char *op, const char *key) {
    struct place *p = arg;
    if (strcmp(op, "put") != 0 || !strstr(key, "ltx/0/")) return FAULT_NONE;
    atomic_fetch_add(&p->puts, 1);
    if (p->gate) sem_wait(p->gate);
    return p->fault;
}

static void on_waiter(void *arg) {
    (void)arg;
    atomic_fetch_add(&wakes, 1);
}

static void commit(void) {
    sql("INSERT INTO t(b) VALUES (randomblob(300))");
}

static void setup(void) {
    stepped_setup(4);
    sql("PRAGMA wal_autocheckpoint = 0");
    commit();
    must(barrier_new(&env, on_waiter, NULL, &barrier, &err));
}

static void start(int count) {
    struct source_options options = {.verify_ms = -1, .wake = on_wake, .barrier = barrier};
    must(source_open(&source, &env, db_path, &options, &err));
    for (dests = 0; dests < count; dests++) {
        struct place *p = &place[dests];
        must(store_new_mem(&env, &p->inner, &err));
        must(store_new_fault(p->inner, decide, p, &p->store, &err));
        snprintf(p->store->url, sizeof p->store->url, "mem:%d", dests);
        must(source_add(source, p->store, &err));
    }
    for (int i = 0; i < 10000 && source_left(source, NULL, 0); i++) must(step());
    mono_now += 2 * SECOND; /* quiet: the next commit goes at once */
    for (int i = 0; i < 100; i++) must(step());
}

static void ship(void) {
    must(step()); /* which sees that there is something */
    for (int i = 0; i < 100 && source_left(source, NULL, 0); i++) must(step());
    ck_assert_int_eq(source_left(source, NULL, 0), 0);
}

/* A wait and how it ended. */
struct seen {
    struct wait wait;
    int ended;
    rc result;
    char words[ERR_TEXT_MAX];
};

static void ended(struct wait *w, rc r, const struct err *why) {
    struct seen *s = w->arg;
    s->ended++;
    s->result = r;
    snprintf(s->words, sizeof s->words, "%s", why ? why->text : "");
}

static void begin(struct seen *s, const char *destination, bool flush, int64_t ms) {
    s->ended = 0;
    s->wait.flush = flush;
    s->wait.destination = destination;
    s->wait.deadline_ns = mono_now + ms * 1000000;
    s->wait.ended = ended;
    s->wait.arg = s;
    barrier_add(barrier, &s->wait);
}

static void run_until_ended(struct seen *s) {
    for (int i = 0; i < 100000 && !s->ended; i++) must(step());
    ck_assert_int_eq(s->ended, 1);
}

static struct position here(void) {
    struct position p;
    must(position_read(app, "main", &p, &err));
    return p;
}

/* ---- when it ends well ---- */

START_TEST(a_wait_ends_when_its_commit_is_acknowledged_and_not_before) {
    sem_t gate;
    struct seen s = {0};
    start(1);
    sem_init(&gate, 0, 0);
    place[0].gate = &gate;
    commit();
    begin(&s, NULL, false, 60000);
    int64_t due;
    for (int i = 0; i < 50; i++, mono_now += 10000000) must(step_once(&due));
    ck_assert_int_eq(s.ended, 0);
    sem_post(&gate);
    run_until_ended(&s);
    ck_assert_msg(is_ok(s.result), "%s", s.words);
    ck_assert_int_eq(place[0].puts, 3); /* a fence, the base, and this one */
    stop();
}
END_TEST

START_TEST(a_shipment_on_its_way_does_not_cover_what_came_after_it) {
    sem_t gate;
    struct seen first = {0}, second = {0};
    int64_t due;
    start(1);
    sem_init(&gate, 0, 0);
    place[0].gate = &gate;
    commit();
    begin(&first, NULL, false, 60000);
    must(step_once(&due)); /* it is on its way */
    commit();
    begin(&second, NULL, false, 60000);
    must(step_once(&due));
    sem_post(&gate);
    run_until_ended(&first);
    ck_assert_msg(is_ok(first.result), "%s", first.words);
    ck_assert_int_eq(second.ended, 0);
    sem_post(&gate);
    run_until_ended(&second);
    ck_assert_msg(is_ok(second.result), "%s", second.words);
    stop();
}
END_TEST

START_TEST(what_is_safe_already_ends_at_the_next_step) {
    struct seen now = {0}, nothing = {0}, old = {0};
    int64_t due;
    start(1);
    old.wait.at = here();
    nothing.wait.at.kind = POSITION_NOTHING;
    int puts = place[0].puts;
    begin(&now, NULL, false, 1000);
    begin(&nothing, NULL, false, 1000);
    begin(&old, NULL, true, 1000);
    must(step_once(&due));
    ck_assert_int_eq(now.ended + nothing.ended + old.ended, 3);
    ck_assert(is_ok(now.result) && is_ok(nothing.result) && is_ok(old.result));
    ck_assert_int_eq(place[0].puts, puts);
    stop();
}
END_TEST

START_TEST(nothing_to_wait_for_waits_for_nothing) {
    struct seen s = {.wait.at.kind = POSITION_NOTHING};
    int64_t due;
    start(1);
    place[0].fault = FAULT_FAIL;
    commit();
    must(step_once(&due));
    begin(&s, NULL, false, 1000);
    must(step_once(&due));
    ck_assert_int_eq(s.ended, 1);
    ck_assert(is_ok(s.result));
    stop();
}
END_TEST

START_TEST(a_position_does_not_wait_for_later_commits) {
    struct seen s = {0};
    int64_t due;
    start(1);
    commit();
    s.wait.at = here();
    ship();
    place[0].fault = FAULT_FAIL;
    commit();
    begin(&s, NULL, false, 60000);
    must(step_once(&due));
    ck_assert_int_eq(s.ended, 1);
    ck_assert_msg(is_ok(s.result), "%s", s.words);
    stop();
}
END_TEST

START_TEST(a_position_of_a_log_that_has_ended_is_known) {
    struct seen s = {0};
    start(1);
    commit();
    s.wait.at = here();
    for (int round = 0; round < 20000 && source->stats.resets == 0; round++) {
        if (round % 5 == 0) commit();
        must(step());
    }
    ck_assert_uint_gt(source->stats.resets, 0);
    ck_assert(memcmp(s.wait.at.salt, here().salt, 8) != 0);
    begin(&s, NULL, false, 60000);
    run_until_ended(&s);
    ck_assert_msg(is_ok(s.result), "%s", s.words);
    stop();
}
END_TEST

/* ---- what it costs ---- */

START_TEST(a_wait_alone_uploads_nothing_before_its_time) {
    struct seen s = {0};
    start(1);
    commit();
    ship();
    commit(); /* within the second */
    int puts = place[0].puts;
    int64_t began = mono_now;
    begin(&s, NULL, false, 60000);
    run_until_ended(&s);
    ck_assert_int_eq(place[0].puts, puts + 1);
    ck_assert_int_ge(mono_now - began, SECOND / 2);
    stop();
}
END_TEST

START_TEST(a_flush_does_not_wait_for_the_interval) {
    struct seen s = {0};
    start(1);
    commit();
    ship();
    commit();
    int puts = place[0].puts;
    int64_t began = mono_now;
    begin(&s, NULL, true, 60000);
    run_until_ended(&s);
    ck_assert_int_eq(place[0].puts, puts + 1);
    ck_assert_int_lt(mono_now - began, SECOND / 10);
    commit(); /* a flush is for once */
    began = mono_now;
    begin(&s, NULL, false, 60000);
    run_until_ended(&s);
    ck_assert_int_ge(mono_now - began, SECOND / 2);
    stop();
}
END_TEST

#define MANY 1000

START_TEST(a_thousand_waiters_cost_one_put) {
    static struct seen s[MANY];
    bool flush = _i;
    start(1);
    for (int i = 0; i < MANY; i++) {
        commit();
        s[i].wait.at = here();
        begin(&s[i], NULL, flush, 60000);
    }
    int puts = place[0].puts;
    for (int i = 0; i < MANY; i++) run_until_ended(&s[i]);
    for (int i = 0; i < MANY; i++) ck_assert(is_ok(s[i].result));
    ck_assert_int_eq(place[0].puts, puts + 1);
    stop();
}
END_TEST

/* ---- which destinations ---- */

static const struct {
    const char *destination;
    enum rc_code code; /* when the second one takes nothing */
} choices[] = {
    {NULL, RC_TIMEOUT},     {"any", RC_OK},          {"mem:0", RC_OK},  {"mem:1", RC_TIMEOUT},
    {"mem:2", RC_NOTFOUND}, {"mem:", RC_NOTFOUND},   {"", RC_NOTFOUND}, {"ANY", RC_NOTFOUND},
    {"all", RC_NOTFOUND},   {"mem:00", RC_NOTFOUND},
};

START_TEST(the_destinations_asked_for_count) {
    struct seen s = {0};
    start(2);
    place[1].fault = FAULT_FAIL;
    commit();
    begin(&s, choices[_i].destination, false, 20000);
    run_until_ended(&s);
    ck_assert_msg(s.result.code == choices[_i].code, "%s: %s", choices[_i].destination, s.words);
    if (choices[_i].code == RC_TIMEOUT) ck_assert_ptr_nonnull(strstr(s.words, "mem:1"));
    if (choices[_i].code == RC_TIMEOUT) ck_assert_ptr_null(strstr(s.words, "mem:0"));
    stop();
}
END_TEST

START_TEST(without_destinations_nothing_is_safe) {
    struct seen s = {0};
    int64_t due;
    start(0);
    begin(&s, "any", false, 1000);
    must(step_once(&due));
    ck_assert_int_eq(s.ended, 1);
    ck_assert_int_eq(s.result.code, RC_NOTFOUND);
    stop();
}
END_TEST

/* ---- when it does not end well ---- */

START_TEST(a_deadline_is_kept_and_stepped_for) {
    struct seen s = {0};
    start(1);
    place[0].fault = FAULT_FAIL;
    commit();
    int64_t began = mono_now;
    begin(&s, NULL, false, 1234);
    run_until_ended(&s);
    ck_assert_int_eq(s.result.code, RC_TIMEOUT);
    ck_assert_int_ge(mono_now - began, 1234000000);
    ck_assert_int_lt(mono_now - began, 1500000000); /* a step may have slept for the hold */
    stop();
}
END_TEST

START_TEST(an_unknown_position_is_refused) {
    static const struct { uint32_t ahead, salt; } rows[] = {{1, 0}, {1000000, 0}, {0, 1}, {5, 77}};
    struct seen s = {0};
    int64_t due;
    start(1);
    commit();
    s.wait.at = here();
    s.wait.at.frame += rows[_i].ahead;
    s.wait.at.salt[0] += rows[_i].salt;
    begin(&s, NULL, true, 60000);
    must(step_once(&due));
    ck_assert_int_eq(s.ended, 1);
    ck_assert_int_eq(s.result.code, RC_NOTFOUND);
    ck_assert_ptr_nonnull(strstr(s.words, "no position"));
    stop();
}
END_TEST

/* Its database has all that was in it; but which database? */
START_TEST(the_position_of_an_empty_log_is_this_ones_or_unknown) {
    struct seen s[2] = {0};
    int64_t due;
    sql("PRAGMA wal_checkpoint(TRUNCATE)");
    start(1);
    for (int i = 0; i < 2; i++) {
        s[i].wait.at = here();
        ck_assert_uint_eq(s[i].wait.at.frame, 0);
        s[i].wait.at.salt[1] += (uint32_t)i;
        begin(&s[i], NULL, false, 60000);
    }
    must(step_once(&due));
    ck_assert_int_eq(s[0].ended, 1);
    ck_assert_msg(is_ok(s[0].result), "%s", s[0].words);
    ck_assert_int_eq(s[1].ended, 1);
    ck_assert_int_eq(s[1].result.code, RC_NOTFOUND);
    stop();
}
END_TEST

/* A put that arrived, an answer that did not, then other bytes for the slot: not what was meant. */
START_TEST(a_lost_reply_is_no_acknowledgement) {
    struct seen s = {0};
    int64_t due;
    start(1);
    place[0].fault = FAULT_LOSE_REPLY;
    commit();
    begin(&s, NULL, false, 60000);
    must(step_once(&due));
    sem_wait(&woken);
    must(step_once(&due));
    ck_assert_int_eq(s.ended, 0);
    place[0].fault = FAULT_NONE;
    run_until_ended(&s);
    ck_assert_msg(is_ok(s.result), "%s", s.words);
    stop();
}
END_TEST

START_TEST(the_end_of_a_source_ends_its_waits) {
    struct seen known = {0}, arrived = {0}, later = {0};
    struct err why;
    int64_t due;
    start(1);
    place[0].fault = FAULT_FAIL;
    commit();
    begin(&known, NULL, false, 60000);
    must(step_once(&due));
    begin(&arrived, NULL, false, 60000);
    stop();
    ck_assert_int_eq(known.result.code, RC_CANCELLED);
    ck_assert_int_eq(arrived.ended, 0); /* the next source may see it */
    err_fill(&why, RC_FENCED, "FENCED: by another");
    barrier_stop(barrier, &why);
    begin(&later, NULL, false, 60000);
    ck_assert_int_eq(arrived.result.code, RC_FENCED);
    ck_assert_int_eq(later.result.code, RC_FENCED);
    ck_assert_str_eq(later.words, why.text);
    ck_assert_int_eq(known.ended + arrived.ended + later.ended, 3);
    barrier_free(barrier);
}
END_TEST

START_TEST(who_leaves_is_not_told) {
    struct seen known = {0}, arrived = {0};
    int64_t due;
    start(1);
    place[0].fault = FAULT_FAIL;
    commit();
    begin(&known, NULL, false, 1000);
    must(step_once(&due));
    begin(&arrived, NULL, false, 1000);
    ck_assert(barrier_remove(barrier, &known.wait));
    ck_assert(barrier_remove(barrier, &arrived.wait));
    ck_assert(!barrier_remove(barrier, &arrived.wait));
    mono_now += 5 * SECOND;
    for (int i = 0; i < 10; i++) must(step_once(&due));
    ck_assert_int_eq(known.ended + arrived.ended, 0);
    stop();
}
END_TEST

START_TEST(without_a_source_deadlines_pass) {
    struct seen s = {0}, patient = {0};
    int64_t due = INT64_MAX;
    begin(&s, NULL, false, 1000);
    begin(&patient, NULL, false, 5000);
    barrier_idle(barrier, mono_now, &due);
    ck_assert_int_eq(due, mono_now + SECOND);
    mono_now = due;
    due = INT64_MAX;
    barrier_idle(barrier, mono_now, &due);
    ck_assert_int_eq(s.result.code, RC_TIMEOUT);
    ck_assert_int_eq(patient.ended, 0);
    start(1); /* a database has come */
    run_until_ended(&patient);
    ck_assert_msg(is_ok(patient.result), "%s", patient.words);
    stop();
}
END_TEST

static void answer(struct ask *a, struct source *s) {
    *(struct source **)a->arg = s;
}

START_TEST(questions_are_answered_by_the_source_or_by_nobody) {
    struct source *by = (struct source *)&err;
    struct ask a = {.answer = answer, .arg = &by};
    struct err why;
    int64_t due;
    barrier_ask(barrier, &a);
    barrier_idle(barrier, mono_now, &due);
    ck_assert_ptr_null(by);
    start(1);
    barrier_ask(barrier, &a);
    must(step_once(&due));
    ck_assert_ptr_eq(by, source);
    stop();
    err_fill(&why, RC_CANCELLED, "over");
    barrier_stop(barrier, &why);
    barrier_ask(barrier, &a);
    ck_assert_ptr_null(by);
}
END_TEST

/* ---- from other threads ---- */

#define THREADS 8
#define EACH 200

static atomic_int finished;

static void count_end(struct wait *w, rc r, const struct err *why) {
    (void)why;
    if (is_ok(r)) atomic_fetch_add(&finished, 1);
    sem_post(w->arg);
}

static void *waiter(void *arg) {
    (void)arg;
    sem_t told;
    sem_init(&told, 0, 0);
    for (int i = 0; i < EACH; i++) {
        struct wait w = {
            .deadline_ns = INT64_MAX, .flush = i % 2, .ended = count_end, .arg = &told};
        barrier_add(barrier, &w);
        if (i % 10 == 0 && barrier_remove(barrier, &w)) {
            atomic_fetch_add(&finished, 1);
            continue;
        }
        sem_wait(&told);
    }
    return NULL;
}

START_TEST(any_thread_may_come_and_leave) {
    pthread_t threads[THREADS];
    start(1);
    for (int i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, waiter, NULL);
    while (finished < THREADS * EACH) {
        if (finished % 7 == 0) commit();
        must(step());
    }
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    ck_assert_int_ge(wakes, THREADS * EACH);
    stop();
}
END_TEST

/* ---- positions as text ---- */

static const char *const positions[] = {"now", "nothing", "5f1e22a09b3c4d10-1234",
                                        "00000000ffffffff-0", "0000000000000001-4294967295"};
static const char *const no_positions[] = {"",
                                           "Now",
                                           "now ",
                                           " now",
                                           "5f1e22a09b3c4d10",
                                           "5f1e22a09b3c4d10-",
                                           "5f1e22a09b3c4d10--1",
                                           "5f1e22a09b3c4d10-1234x",
                                           "5f1e22a09b3c4d10-01",
                                           "5F1E22A09B3C4D10-1",
                                           "5f1e22a09b3c4d1-1234",
                                           "5f1e22a09b3c4d10-4294967296",
                                           "5f1e22a09b3c4d10-99999999999",
                                           "0x1e22a09b3c4d10-1",
                                           "5f1e22a0 9b3c4d10-1"};

START_TEST(a_position_reads_as_it_was_written) {
    struct position p;
    char text[POSITION_TEXT_SIZE];
    ck_assert(position_parse(positions[_i], &p));
    position_text(&p, text);
    ck_assert_str_eq(text, positions[_i]);
}
END_TEST

/* The log may have lost its end in between, and have gone on with the same salts. */
START_TEST(a_position_is_of_this_boot) {
    char id[BOOT_ID_SIZE];
    uint32_t boot = 0;
    system_boot_id(id);
    start(1);
    ck_assert_int_eq(sscanf(id, "%8x", &boot), 1);
    ck_assert_uint_eq(here().salt[0] ^ source->pos.salt[0], boot);
    stop();
}
END_TEST

START_TEST(what_is_no_position_is_refused) {
    struct position p = {.frame = 7};
    ck_assert_msg(!position_parse(no_positions[_i], &p), "%s", no_positions[_i]);
    ck_assert_uint_eq(p.frame, 7);
}
END_TEST

START_TEST(a_database_without_a_log_has_no_position) {
    struct position p;
    sqlite3 *memory, *rollback;
    char path[TEMP_PATH * 2 + 8];
    snprintf(path, sizeof path, "%s.old", db_path);
    ck_assert_int_eq(sqlite3_open(":memory:", &memory), SQLITE_OK);
    ck_assert_int_eq(position_read(memory, "main", &p, &err).code, RC_USAGE);
    ck_assert_int_eq(sqlite3_open(path, &rollback), SQLITE_OK);
    ck_assert_int_eq(position_read(rollback, "main", &p, &err).code, RC_USAGE);
    sqlite3_exec(rollback, "CREATE TABLE t(x)", NULL, NULL, NULL);
    ck_assert_int_eq(position_read(rollback, "main", &p, &err).code, RC_USAGE);
    ck_assert_int_eq(position_read(app, "noise", &p, &err).code, RC_USAGE);
    sqlite3_close(memory);
    sqlite3_close(rollback);
}
END_TEST

int main(void) {
    Suite *s = suite_create("source/barrier");
    TCase *t = tcase_create("barrier");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_set_timeout(t, 60);
    tcase_add_test(t, a_wait_ends_when_its_commit_is_acknowledged_and_not_before);
    tcase_add_test(t, a_shipment_on_its_way_does_not_cover_what_came_after_it);
    tcase_add_test(t, what_is_safe_already_ends_at_the_next_step);
    tcase_add_test(t, nothing_to_wait_for_waits_for_nothing);
    tcase_add_test(t, a_position_does_not_wait_for_later_commits);
    tcase_add_test(t, a_position_of_a_log_that_has_ended_is_known);
    tcase_add_test(t, a_wait_alone_uploads_nothing_before_its_time);
    tcase_add_test(t, a_flush_does_not_wait_for_the_interval);
    tcase_add_loop_test(t, a_thousand_waiters_cost_one_put, 0, 2);
    tcase_add_loop_test(t, the_destinations_asked_for_count, 0, sizeof choices / sizeof *choices);
    tcase_add_test(t, without_destinations_nothing_is_safe);
    tcase_add_test(t, a_deadline_is_kept_and_stepped_for);
    tcase_add_loop_test(t, an_unknown_position_is_refused, 0, 4);
    tcase_add_test(t, the_position_of_an_empty_log_is_this_ones_or_unknown);
    tcase_add_test(t, a_lost_reply_is_no_acknowledgement);
    tcase_add_test(t, the_end_of_a_source_ends_its_waits);
    tcase_add_test(t, who_leaves_is_not_told);
    tcase_add_test(t, without_a_source_deadlines_pass);
    tcase_add_test(t, questions_are_answered_by_the_source_or_by_nobody);
    tcase_add_test(t, any_thread_may_come_and_leave);
    tcase_add_loop_test(t, a_position_reads_as_it_was_written, 0,
                        sizeof positions / sizeof *positions);
    tcase_add_loop_test(t, what_is_no_position_is_refused, 0,
                        sizeof no_positions / sizeof *no_positions);
    tcase_add_test(t, a_position_is_of_this_boot);
    tcase_add_test(t, a_database_without_a_log_has_no_position);
    suite_add_tcase(s, t);
    return run_suite(s);
}
