/* What fails, and who is killed, in the middle: behind it the database is at the step before or at
 * the step behind, and the next run completes it. */
#include "engine.h"

#include "vfs.h"

#include <sys/mman.h>
#include <sys/wait.h>

/* Every kind of step, in both files. */
static const hf_migration every[] = {
    FIRST,
    SPLIT(""),
    {"noise/3_seen.sql", "CREATE TABLE seen(x); INSERT INTO seen VALUES (1), (2);"},
    {"4_more.sql", "CREATE TABLE more(id INTEGER PRIMARY KEY, user REFERENCES user(id));\n"
                   "INSERT INTO more SELECT id, id FROM user; CREATE INDEX by_first ON "
                   "user(first);\n-- holdfast:down\nDROP INDEX by_first; DROP TABLE more;"},
    END};
#define STATES 20
#define STATE 8000

/* ---- memory that ends ---- */

static sqlite3_mem_methods plain;
static atomic_int allocations; /* until one fails; 0: none does */
static atomic_int allocations_failed;

static bool allocation_fails(void) {
    int now = atomic_load(&allocations);
    if (!now || atomic_fetch_sub(&allocations, 1) != 1) return false;
    atomic_fetch_add(&allocations_failed, 1);
    return true;
}

static void *alloc(int n) {
    return allocation_fails() ? NULL : plain.xMalloc(n);
}

static void *resize(void *p, int n) {
    return allocation_fails() ? NULL : plain.xRealloc(p, n);
}

static void take_allocator(void) {
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_GETMALLOC, &plain), SQLITE_OK);
    sqlite3_mem_methods ours = plain;
    ours.xMalloc = alloc;
    ours.xRealloc = resize;
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0), SQLITE_OK);
    ck_assert_int_eq(sqlite3_config(SQLITE_CONFIG_MALLOC, &ours), SQLITE_OK);
}

/* ---- what may be there ---- */

/* In the middle of a backfill some rows have it and some not. */
static const char *users(sqlite3 *db, const char *phases) {
    return raw_rows(db,
                    strstr(phases, "synced") ? "SELECT id, name FROM user" : "SELECT * FROM user");
}

static void state_of(char phases[200], char out[STATE]) {
    static const char history[] = "SELECT group_concat(version || phase, ' ') FROM "
                                  "holdfast_migration";
    static const char is_there[] = "SELECT 1 FROM sqlite_master WHERE name = 'holdfast_migration'";
    static const char shape[] = "SELECT type, name, sql FROM sqlite_master WHERE name NOT GLOB "
                                "'holdfast*' AND name NOT GLOB 'sqlite*' ORDER BY 1, 2";
    sqlite3 *main_db = open_raw(app), *noise_db = open_raw(noise);
    snprintf(phases, 200, "%s / %s", raw_rows(main_db, history),
             *raw_rows(noise_db, is_there) ? raw_rows(noise_db, history) : "");
    ck_assert_str_eq(raw_rows(main_db, "PRAGMA integrity_check"), "ok");
    ck_assert_str_eq(raw_rows(main_db, "PRAGMA foreign_key_check"), "");
    snprintf(out, STATE, "%s / %s / %s / %s / %s", raw_rows(main_db, shape), users(main_db, phases),
             raw_rows(main_db, "SELECT * FROM post"),
             raw_rows(main_db, "SELECT breaking, triggers FROM holdfast_migration"),
             raw_rows(main_db, "SELECT min_version FROM holdfast_schema"));
    size_t n = strlen(out);
    snprintf(out + n, STATE - n, " / %s", raw_rows(noise_db, shape));
    sqlite3_close(main_db);
    sqlite3_close(noise_db);
}

static struct { char phases[200], state[STATE]; } states[STATES];
static int state_count;

static void stop_behind_a_step(void *arg, const char *name, const char *const *pairs, int count) {
    (void)pairs, (void)count;
    if (strcmp(name, "schema.step") == 0) atomic_store(&(*(hf_schema **)arg)->stop, true);
}

/* Returns whether there was a step to do. */
static bool do_one_step(void) {
    hf_schema *s = NULL;
    struct run_options o = {0};
    json_t *answer = NULL;
    struct err why;
    hf_schema_options options = options_of(every);
    options.event = stop_behind_a_step;
    options.event_arg = &s;
    OK(schema_open(app, noise, NULL, &options, &s, e));
    rc r = apply_run(s, &o, &answer, &why);
    bool did = r.code == RC_CANCELLED || json_array_size(json_object_get(answer, "applied"));
    ck_assert_msg(is_ok(r) || r.code == RC_CANCELLED, "%s", why.text);
    json_decref(answer);
    schema_close(s);
    return did;
}

static void keep_state(void) {
    ck_assert_int_lt(state_count, STATES);
    state_of(states[state_count].phases, states[state_count].state);
    state_count++;
}

/* ---- the same files for each attempt ---- */

static struct {
    char bytes[200000];
    size_t size;
} kept[2];

static void keep_file(const char *path, int i) {
    sql(path, "PRAGMA wal_checkpoint(TRUNCATE)");
    FILE *f = fopen(path, "r");
    kept[i].size = fread(kept[i].bytes, 1, sizeof kept[i].bytes, f);
    ck_assert_uint_gt(sizeof kept[i].bytes, kept[i].size);
    fclose(f);
}

static void put_file(const char *path, int i) {
    char name[TEMP_PATH * 2 + 8];
    const char *endings[] = {"-wal", "-shm", "-schema"};
    for (int k = 0; k < 3; k++) {
        snprintf(name, sizeof name, "%s%s", path, endings[k]);
        unlink(name);
    }
    FILE *f = fopen(path, "w");
    ck_assert_uint_eq(fwrite(kept[i].bytes, 1, kept[i].size, f), kept[i].size);
    ck_assert_int_eq(fclose(f), 0);
}

static void begin_anew(void) {
    put_file(app, 0);
    put_file(noise, 1);
    event_count = 0;
}

/* The states from the first migration, with rows, to the last. */
static void setup(void) {
    take_allocator();
    take_vfs();
    make_files();
    applies(first);
    sql(app, ROWS_OF_USER);
    keep_file(app, 0);
    keep_file(noise, 1);
    keep_state();
    while (do_one_step()) keep_state();
    ck_assert_int_eq(state_count, 8); /* none, five of 2, 3, 4 */
}

static void expect_a_state(const char *when, int n) {
    char phases[200], state[STATE];
    state_of(phases, state);
    for (int i = 0; i < state_count; i++)
        if (strcmp(states[i].phases, phases) == 0) {
            ck_assert_msg(strcmp(states[i].state, state) == 0, "%s %d: %s\n%s\nis not\n%s", when, n,
                          phases, state, states[i].state);
            return;
        }
    ck_abort_msg("%s %d: %s: it was never so", when, n, phases);
}

static void expect_the_end(const char *when, int n) {
    char phases[200], state[STATE];
    state_of(phases, state);
    ck_assert_msg(strcmp(states[state_count - 1].state, state) == 0, "%s %d: %s: %s", when, n,
                  phases, state);
}

/* ---- one effect fails ---- */

static const enum rc_code legal[] = {RC_OK, RC_IO, RC_FULL, RC_NOMEM, RC_BUSY, RC_CANCELLED};

static void expect_legal(enum rc_code code, const char *when, int n) {
    for (size_t i = 0; i < sizeof legal / sizeof legal[0]; i++)
        if (code == legal[i]) return;
    ck_abort_msg("%s %d: %s: %s", when, n, rc_name(code), last_err.text);
}

/* Every one with HOLDFAST_TEST_FULL (30 s of CPU), as `make soak` has it; else every fifth, from
 * another one on each time. */
static int stride(void) {
    return getenv("HOLDFAST_TEST_FULL") ? 1 : 5;
}

static int some_first(void) {
    return 1 + (int)getpid() % stride();
}

static int sweep(enum fault kind, const char *when) {
    int failed = 0;
    for (int n = some_first();; n += stride()) {
        begin_anew();
        fault_at(kind, n);
        enum rc_code code = run_with(apply_run, every, NULL, NULL);
        bool fired = fault_fired;
        fault_at(kind, 0);
        if (!fired) {
            ck_assert_int_eq(code, RC_OK);
            return failed;
        }
        expect_legal(code, when, n);
        failed += code != RC_OK;
        expect_a_state(when, n);
        applies(every);
        expect_the_end(when, n);
    }
}

START_TEST(an_error_of_the_disk_leaves_a_step_undone_or_done) {
    int failed = sweep(FAULT_IO, "error of the disk");
    ck_assert_int_gt(failed, 50 / stride());
}
END_TEST

START_TEST(a_full_disk_leaves_a_step_undone_or_done) {
    int failed = sweep(FAULT_FULL, "full disk");
    ck_assert_int_gt(failed, 50 / stride());
}
END_TEST

START_TEST(a_disk_that_is_full_for_good_is_said_to_be) {
    static const hf_migration large[] = {
        FIRST,
        {"2_large.sql", "CREATE TABLE large(x); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT "
                        "i + 1 FROM n WHERE i < 3000) INSERT INTO large SELECT zeroblob(1000) FROM "
                        "n;"},
        END};
    if (!mount_tmpfs(dir, "size=1m", "a_disk_that_is_full_for_good_is_said_to_be")) return;
    sql(app, "PRAGMA journal_mode = WAL");
    sql(noise, "PRAGMA journal_mode = WAL");
    applies(first);
    sql(app, ROWS_OF_USER);
    refuses(large, RC_FULL, "2_large.sql:1: database or disk is full");
    ROWS(app, PHASES, "1|done");
    ROWS(app, "SELECT name FROM sqlite_master WHERE name = 'large'", "");
    ROWS(app, "SELECT count(*) FROM post", "5");
    applies(first);
}
END_TEST

/* ---- no memory ---- */

/* More and more seldom; `_i` begins elsewhere each time. */
START_TEST(no_memory_leaves_a_step_undone_or_done) {
    int failed = 0;
    for (int n = 1 + _i;; n += (8 + n / 40) * stride()) {
        begin_anew();
        atomic_store(&allocations_failed, 0);
        atomic_store(&allocations, n);
        enum rc_code code = run_with(apply_run, every, NULL, NULL);
        atomic_store(&allocations, 0);
        if (!atomic_load(&allocations_failed)) {
            ck_assert_int_eq(code, RC_OK);
            break;
        }
        expect_legal(code, "allocation", n);
        failed += code != RC_OK;
        expect_a_state("allocation", n);
        applies(every);
        expect_the_end("allocation", n);
    }
    ck_assert_int_gt(failed, 50 / stride());
}
END_TEST

/* ---- killed ---- */

static int end_of(pid_t pid) {
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    return status;
}

static bool was_killed(int status) {
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

START_TEST(one_who_is_killed_at_any_effect_leaves_a_step_undone_or_done) {
    int killed = 0;
    for (int n = some_first();; n += stride()) {
        begin_anew();
        pid_t pid = fork();
        if (pid == 0) {
            fault_at(FAULT_KILL, n);
            _exit(run_with(apply_run, every, NULL, NULL) == RC_OK ? 0 : 1);
        }
        int status = end_of(pid);
        if (!was_killed(status)) {
            ck_assert_int_eq(status, 0);
            break;
        }
        killed++;
        expect_a_state("killed at", n);
        applies(every);
        expect_the_end("killed at", n);
    }
    ck_assert_int_gt(killed, 100 / stride());
}
END_TEST

/* ---- many at once ---- */

#define MANY 50

struct tally {
    atomic_int steps, errors, begun;
    char words[500];
};

static struct tally *tally_new(void) {
    struct tally *t =
        mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(t, MAP_FAILED);
    return t;
}

static bool apply_or_tally(struct tally *t) {
    json_t *answer = NULL;
    enum rc_code code = run_with(apply_run, every, NULL, &answer);
    atomic_fetch_add(&t->steps, (int)json_array_size(json_object_get(answer, "applied")));
    json_decref(answer);
    if (code != RC_OK && !atomic_fetch_add(&t->errors, 1))
        snprintf(t->words, sizeof t->words, "%.490s", last_err.text);
    return code == RC_OK;
}

static void apply_and_tally(struct tally *t) {
    _exit(apply_or_tally(t) ? 0 : 1);
}

/* All wait for a byte that is there for all. */
static void start_many(struct tally *t, pid_t pids[MANY]) {
    int go[2];
    char byte;
    ck_assert_int_eq(pipe(go), 0);
    for (int i = 0; i < MANY; i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            close(go[1]);
            atomic_fetch_add(&t->begun, 1);
            if (read(go[0], &byte, 1) != 0) _exit(2);
            apply_and_tally(t);
        }
    }
    close(go[0]);
    while (atomic_load(&t->begun) < MANY) sched_yield();
    close(go[1]);
}

static void many_at_once(int steps) {
    struct tally *t = tally_new();
    pid_t pids[MANY];
    start_many(t, pids);
    for (int i = 0; i < MANY; i++) end_of(pids[i]);
    ck_assert_msg(!atomic_load(&t->errors), "%d errors: %s", t->errors, t->words);
    ck_assert_int_eq(atomic_load(&t->steps), steps);
}

START_TEST(of_fifty_that_start_at_once_on_an_old_database_one_applies) {
    begin_anew();
    many_at_once(7);
    expect_the_end("fifty", 0);
    many_at_once(0);
}
END_TEST

START_TEST(of_fifty_that_start_at_once_on_a_new_database_one_applies) {
    for (int i = 0; i < 2; i++) {
        const char *file = i ? noise : app;
        begin_anew();
        ck_assert_int_eq(truncate(file, 0), 0); /* not WAL either */
    }
    ck_assert_int_eq(truncate(app, 0), 0);
    many_at_once(8);
    ROWS(app, PHASES, "1|done;2|done;4|done");
    ROWS(noise, PHASES, "3|done");
}
END_TEST

#define FILES 600

static void open_each(struct tally *t) {
    hf_schema *s = open_schema(every);
    struct sconn c;
    for (int i = 0; i < FILES / stride(); i++) {
        snprintf(s->path, sizeof s->path, "%s/%d.db", dir, i);
        if (is_ok(sconn_open(s, false, &c, &last_err))) sconn_close(&c);
        else if (!atomic_fetch_add(&t->errors, 1))
            snprintf(t->words, sizeof t->words, "%.490s", last_err.text);
    }
    _exit(0);
}

/* Of those who make a file WAL at the same time SQLite tells one in some thousands that it is busy,
 * at once. */
START_TEST(new_files_can_be_opened_by_many_at_once) {
    struct tally *t = tally_new();
    pid_t pids[16];
    for (int i = 0; i < FILES / stride(); i++) {
        char name[20];
        snprintf(name, sizeof name, "%d.db", i);
        fclose(fopen(below(dir, name), "w"));
    }
    for (int i = 0; i < 16; i++)
        if (!(pids[i] = fork())) open_each(t);
    for (int i = 0; i < 16; i++) end_of(pids[i]);
    ck_assert_msg(!atomic_load(&t->errors), "%d errors: %s", t->errors, t->words);
}
END_TEST

/* Others take over from whoever is killed with the turn in his hand. */
START_TEST(when_most_are_killed_the_rest_complete_it) {
    unsigned seed = (unsigned)getpid();
    printf("seed %u\n", seed);
    srandom(seed);
    for (int round = 0; round < 15 / stride(); round++) {
        struct tally *t = tally_new();
        pid_t pids[16];
        begin_anew();
        for (int i = 0; i < 16; i++) {
            int n = i == 15 ? 0 : 1 + (int)(random() % 250);
            pids[i] = fork();
            if (pids[i] == 0) {
                fault_at(FAULT_KILL, n);
                apply_and_tally(t);
            }
        }
        for (int i = 0; i < 16; i++) {
            int status = end_of(pids[i]);
            ck_assert_msg(status == 0 || was_killed(status), "round %d: %s", round, t->words);
        }
        ck_assert_int_le(atomic_load(&t->steps), 7);
        expect_the_end("round", round);
        munmap(t, sizeof *t);
    }
}
END_TEST

/* From outside, at any moment; every process dies, and somebody comes again. */
START_TEST(one_who_is_killed_at_any_moment_leaves_a_step_undone_or_done) {
    unsigned seed = (unsigned)getpid();
    int killed = 0;
    printf("seed %u\n", seed);
    srandom(seed);
    for (int round = 0; round < 60 / stride(); round++) {
        begin_anew();
        pid_t pid = fork();
        if (pid == 0) _exit(run_with(apply_run, every, NULL, NULL) == RC_OK ? 0 : 1);
        usleep((useconds_t)(random() % 12000)); /* the moment is what is tried */
        kill(pid, SIGKILL);
        killed += was_killed(end_of(pid));
        expect_a_state("moment", round);
        applies(every);
        expect_the_end("moment", round);
    }
    ck_assert_int_gt(killed, 10 / stride());
}
END_TEST

static TCase *add_case(Suite *suite, const char *name) {
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 300);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, NULL);
    suite_add_tcase(suite, t);
    return t;
}

int main(void) {
    Suite *suite = suite_create("schema/faults");
    TCase *t = add_case(suite, "one effect");
    tcase_add_test(t, an_error_of_the_disk_leaves_a_step_undone_or_done);
    tcase_add_test(t, a_full_disk_leaves_a_step_undone_or_done);
    tcase_add_test(t, a_disk_that_is_full_for_good_is_said_to_be);
    tcase_add_loop_test(t, no_memory_leaves_a_step_undone_or_done, 0, 3);
    t = add_case(suite, "killed");
    tcase_add_test(t, one_who_is_killed_at_any_effect_leaves_a_step_undone_or_done);
    tcase_add_test(t, one_who_is_killed_at_any_moment_leaves_a_step_undone_or_done);
    t = add_case(suite, "many");
    tcase_add_test(t, of_fifty_that_start_at_once_on_an_old_database_one_applies);
    tcase_add_test(t, of_fifty_that_start_at_once_on_a_new_database_one_applies);
    tcase_add_test(t, new_files_can_be_opened_by_many_at_once);
    tcase_add_test(t, when_most_are_killed_the_rest_complete_it);
    return run_suite(suite);
}
