/* Opening: every path and file that cannot be has its code and words, what is there is not touched,
 * and noise that was lost is made anew. */
#include "box.h"

#include "os/system.h"
#include "source/position.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <time.h>

static char dir[TEMP_PATH];
static struct {
    int count;
    char name[32], text[2000];
} event;

static void setup(void) {
    temp_dir(dir);
    ck_assert_int_eq(chdir(dir), 0);
    memset(&event, 0, sizeof event);
}

static void on_event(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg;
    event.count++;
    snprintf(event.name, sizeof event.name, "%s", name);
    event.text[0] = 0;
    for (int i = 0; i < count; i++) {
        strncat(event.text, pairs[i], 500);
        strncat(event.text, i % 2 ? "; " : "=", 3);
    }
}

static const hf_store_options with_noise = {.size = sizeof with_noise, TABLES, .event = on_event};

static hf_store *open_db(const char *path) {
    hf_store *s;
    FINE(hf_store_open(path, &with_noise, &s));
    return s;
}

static void put_file(const char *name, const char *bytes, size_t n) {
    FILE *f = fopen(name, "w");
    ck_assert_ptr_nonnull(f);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

/* Bytes written over what is there. */
static void damage(const char *name, long at, const char *bytes, size_t n) {
    FILE *f = fopen(name, "r+");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fseek(f, at, SEEK_SET), 0);
    ck_assert_uint_eq(fwrite(bytes, 1, n, f), n);
    fclose(f);
}

static bool exists(const char *name) {
    return access(name, F_OK) == 0;
}

static void raw(const char *path, const char *sql) {
    sqlite3 *db;
    char *words = NULL;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_exec(db, sql, NULL, NULL, &words);
    ck_assert_msg(!words, "%s: %s", sql, words);
    sqlite3_close(db);
}

/* ---- what cannot be opened ---- */

#define LONG50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define LONG250 LONG50 LONG50 LONG50 LONG50 LONG50
#define DIRS10 "/././././././././."
#define DIRS100 DIRS10 DIRS10 DIRS10 DIRS10 DIRS10 DIRS10 DIRS10 DIRS10 DIRS10 DIRS10

static const char garbage[] = "This is no database, whatever its name says. It is longer than a "
                              "header would be, so that nobody takes it for an empty one......";

static const struct {
    const char *path, *noise;
    int code;
    const char *words;
} bad[] = {
    {NULL, NULL, HF_USAGE, "NULL"},
    {"", NULL, HF_USAGE, "empty"},
    {":memory:", NULL, HF_USAGE, "hf_store_open_temp"},
    {"a-directory", NULL, HF_USAGE, "a-directory: a directory"},
    {"a-directory/", NULL, HF_USAGE, "a directory"},
    {".", NULL, HF_USAGE, "a directory"},
    {"/", NULL, HF_USAGE, "a directory"},
    {"missing/app.db", NULL, HF_NOTFOUND, "missing/app.db: its directory"},
    {"garbage/app.db", NULL, HF_NOTFOUND, "garbage/app.db: its directory"},
    {"a-pipe", NULL, HF_USAGE, "not a regular file"},
    {"/dev/null", NULL, HF_USAGE, "not a regular file"},
    {LONG250 ".db", NULL, HF_USAGE, "longer than 240"},
    {"." DIRS100 DIRS100 DIRS100 "/app.db", NULL, HF_USAGE, "longer than 500"},
    {"garbage", NULL, HF_CORRUPT, "garbage"},
    {"cut.db", NULL, HF_CORRUPT, "cut.db"},
    {"torn.db", NULL, HF_CORRUPT, "torn.db"},
    {"newer.db", NULL, HF_UNFIT, "newer library: format 2"},
    {"good-noise.db", NULL, HF_USAGE, "cannot be a main"},
    {"good.db", "good.db", HF_USAGE, "the same file"},
    {"good.db", "./good.db", HF_USAGE, "the same file"},
    {"good.db", "link.db", HF_USAGE, "the same file"},
    {"good.db", "hard.db", HF_USAGE, "the same file"},
    {"good.db", "a-directory", HF_USAGE, "a directory"},
    {"good.db", "missing/n.db", HF_NOTFOUND, "missing/n.db: its directory"},
    {"good.db", ":memory:", HF_USAGE, "a store is in files"},
    {"good.db", "garbage", HF_CORRUPT, "left alone"},
    {"good.db", "foreign.db", HF_USAGE, "not the noise of a store"},
    {"good.db", "other.db", HF_USAGE, "cannot be a noise"},
    {"good.db", "newer-noise.db", HF_UNFIT, "newer library"},
};

static void make_files(void) {
    ck_assert_int_eq(mkdir("a-directory", 0700), 0);
    ck_assert_int_eq(mkfifo("a-pipe", 0600), 0);
    put_file("garbage", garbage, sizeof garbage);
    raw("cut.db", "CREATE TABLE t(x); INSERT INTO t VALUES (zeroblob(100000))");
    ck_assert_int_eq(truncate("cut.db", 2000), 0);
    raw("torn.db", "PRAGMA journal_mode = WAL; CREATE TABLE holdfast(name PRIMARY KEY, value)");
    damage("torn.db", 4096, garbage, sizeof garbage);
    damage("torn.db", 8192, garbage, sizeof garbage);
    FINE(hf_store_close(open_db("good.db")));
    FINE(hf_store_close(open_db("other.db")));
    FINE(hf_store_close(open_db("newer.db")));
    raw("newer.db", "UPDATE holdfast SET value = 2 WHERE name = 'format'");
    raw("newer-noise.db", "UPDATE holdfast SET value = 2 WHERE name = 'format'");
    raw("foreign.db", "CREATE TABLE t(x)");
    ck_assert_int_eq(symlink("good.db", "link.db"), 0);
    ck_assert_int_eq(link("good.db", "hard.db"), 0);
}

static void sums(char out[2000]) {
    FILE *f = popen("find . -type f ! -name '*-shm' -exec md5sum {} + | sort", "r");
    ck_assert_ptr_nonnull(f);
    size_t n = fread(out, 1, 1999, f);
    out[n] = 0;
    pclose(f);
}

START_TEST(what_cannot_be_opened_is_named_and_left_as_it_was) {
    char before[2000], after[2000];
    hf_store_options o = with_noise;
    hf_store *s = NULL;
    make_files();
    sums(before);
    o.noise = bad[_i].noise;
    if (!o.noise) o.noise_schema = NULL;
    SAYS(hf_store_open(bad[_i].path, &o, &s), bad[_i].code, bad[_i].words);
    ck_assert_ptr_null(s);
    sums(after);
    ck_assert_str_eq(before, after);
    ck_assert_int_eq(event.count, 0);
}
END_TEST

static const struct {
    hf_store_options o;
    int code;
    const char *words;
} bad_options[] = {
    {{.size = 0}, HF_USAGE, "`size` is not set"},
    {{.size = 3}, HF_USAGE, "`size` is not set"},
    {{.size = 1u << 30}, HF_USAGE, "`size` is not set"},
    {{.size = sizeof(hf_store_options), .main_sync = 4}, HF_USAGE, "main_sync: 4"},
    {{.size = sizeof(hf_store_options), .main_sync = -1}, HF_USAGE, "main_sync: -1"},
    {{.size = sizeof(hf_store_options), .noise_sync = 99}, HF_USAGE, "noise_sync"},
    {{.size = sizeof(hf_store_options), .readers = -1}, HF_USAGE, "readers"},
    {{.size = sizeof(hf_store_options), .readers = 1 << 30}, HF_USAGE, "readers"},
    {{.size = sizeof(hf_store_options), .timeout_ms = -5}, HF_USAGE, "timeout_ms"},
    {{.size = sizeof(hf_store_options), .timeout_ms = INT64_MAX}, HF_USAGE, "timeout_ms"},
    {{.size = sizeof(hf_store_options), .cache_kib = -5}, HF_USAGE, "cache_kib"},
    {{.size = sizeof(hf_store_options), .noise_schema = "SELECT 1"}, HF_USAGE, "noise_schema"},
    {{.size = sizeof(hf_store_options), .noise_prefixes = (const char *const[]){"a", NULL}},
     HF_USAGE,
     "noise_prefixes"},
    {{.size = sizeof(hf_store_options), .main_schema = "CREATE TABEL x(y)"},
     HF_USAGE,
     "the schema of main: CREATE TABEL"},
    {{.size = sizeof(hf_store_options), .main_schema = "CREATE TABLE x(y); COMMIT"},
     HF_USAGE,
     "the transaction is the store's"},
    {{.size = sizeof(hf_store_options), .noise = "", .noise_schema = "CREATE TABLE x(y)"},
     HF_USAGE,
     "noise.x"},
};

START_TEST(an_option_that_cannot_be_is_named) {
    hf_store *s = NULL;
    SAYS(hf_store_open("app.db", &bad_options[_i].o, &s), bad_options[_i].code,
         bad_options[_i].words);
    SAYS(hf_store_open_temp(&bad_options[_i].o, &s), bad_options[_i].code, bad_options[_i].words);
    ck_assert_ptr_null(s);
    FINE(hf_store_close(open_db("app.db")));
}
END_TEST

START_TEST(options_of_a_newer_header_are_refused_only_if_they_are_set) {
    struct {
        hf_store_options o;
        int newer;
    } o = {.o = {.size = sizeof o}};
    hf_store *s;
    FINE(hf_store_open("app.db", &o.o, &s));
    FINE(hf_store_close(s));
    o.newer = 1;
    SAYS(hf_store_open("app.db", &o.o, &s), HF_UNFIT, "does not know");
    SAYS(hf_store_open("app.db", NULL, NULL), HF_USAGE, "NULL");
    SAYS(hf_store_open_temp(NULL, NULL), HF_USAGE, "NULL");
}
END_TEST

/* In a child, since a privilege does not come back. */
static void as_nobody(void (*fn)(void)) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        if (setgid(65534) == 0 && setuid(65534) == 0) fn();
        _exit(0);
    }
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "see above");
}

static void open_without_permission(void) {
    hf_store *s;
    SAYS(hf_store_open("closed/new.db", NULL, &s), HF_IO,
         "closed/new.db: SQLite cannot open it: no permission to make files");
    SAYS(hf_store_open("closed/app.db", NULL, &s), HF_IO, "closed/app.db");
    SAYS(hf_store_open("open/app.db", NULL, &s), HF_IO, "no permission");
}

START_TEST(a_directory_or_file_that_may_not_be_written_is_named) {
    if (getuid() != 0) return;
    ck_assert_int_eq(mkdir("closed", 0755), 0);
    ck_assert_int_eq(mkdir("open", 0777), 0);
    ck_assert_int_eq(chmod("open", 0777), 0);
    FINE(hf_store_close(open_db("closed/app.db")));
    FINE(hf_store_close(open_db("open/app.db")));
    ck_assert_int_eq(chmod("closed/app.db", 0666), 0);
    ck_assert_int_eq(chmod("open/app.db", 0444), 0);
    as_nobody(open_without_permission);
}
END_TEST

/* ---- what can ---- */

static const char *const odd[] = {"it's.db",    "a b.db",    "file:x.db", "x?mode=ro",
                                  "%41.db",     "ü.db",      "\"q\".db",  ".hidden",
                                  "./././x.db", "no-ending", "-rf"};

START_TEST(an_odd_name_is_a_name) {
    hf_store *s = open_db(odd[_i]);
    FINE(write_sql(s, HF_BOTH, "INSERT INTO m VALUES (1, 1); INSERT INTO noise.n VALUES (1, 1)"));
    ck_assert_int_eq(hf_store_path(s)[0], '/');
    FINE(hf_store_close(s));
    ck_assert(exists(odd[_i]));
    s = open_db(odd[_i]);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m JOIN noise.n USING(id)"), 1);
    FINE(hf_store_close(s));
    ck_assert_int_eq(event.count, 0);
}
END_TEST

static const struct {
    const char *path, *noise;
} beside[] = {{"app.db", "app-noise.db"},
              {"app", "app-noise"},
              {".app", ".app-noise"},
              {"a.b.c", "a.b-noise.c"},
              {"a-directory/x.db", "a-directory/x-noise.db"},
              {"link.db", "real-noise.db"}};

START_TEST(noise_lies_beside_main) {
    ck_assert_int_eq(mkdir("a-directory", 0700), 0);
    ck_assert_int_eq(symlink("real.db", "link.db"), 0);
    put_file("real.db", "", 0);
    FINE(hf_store_close(open_db(beside[_i].path)));
    ck_assert(exists(beside[_i].noise));
}
END_TEST

START_TEST(a_database_of_the_application_becomes_a_store) {
    raw("app.db", "CREATE TABLE t(x); INSERT INTO t VALUES (1), (2)");
    hf_store *s = open_db("app.db");
    ck_assert_int_eq(number(s, "SELECT count(*) FROM t"), 2);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM DBX"), 0);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM noise.DBX"), 0);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(an_open_that_finds_all_made_writes_nothing) {
    sqlite3 *db;
    struct position before, after;
    FINE(hf_store_close(open_db("app.db")));
    ck_assert_int_eq(sqlite3_open("app.db", &db), SQLITE_OK);
    ck_assert_int_eq(sqlite3_exec(db, "INSERT INTO m VALUES (1, 1)", NULL, NULL, NULL), SQLITE_OK);
    OK(position_read(db, "main", &before, e));
    hf_store *s = open_db("app.db");
    OK(position_read(db, "main", &after, e));
    ck_assert_mem_eq(&before, &after, sizeof after);
    FINE(hf_store_close(s));
    OK(position_read(db, "main", &after, e));
    ck_assert_mem_eq(&before, &after, sizeof after);
    sqlite3_close(db);
}
END_TEST

START_TEST(every_connection_is_set_up) {
    static const struct {
        const char *sql;
        int64_t value;
    } settings[] = {
        {"SELECT count(*) FROM pragma_journal_mode WHERE journal_mode = 'wal'", 1},
        {"SELECT foreign_keys FROM pragma_foreign_keys", 1},
        {"SELECT recursive_triggers FROM pragma_recursive_triggers", 1},
        {"PRAGMA main.synchronous", 1},
        {"PRAGMA noise.synchronous", 0},
        {"PRAGMA main.cache_size", -8192},
        {"PRAGMA query_only", 0},
    };
    hf_store *s = open_db("app.db");
    hf_tx *t;
    FINE(hf_begin(s, HF_BOTH, "settings", &t));
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        ck_assert_msg(number_in(t, settings[i].sql) == settings[i].value, "%s", settings[i].sql);
    FINE(hf_commit(t));
    FINE(hf_begin(s, HF_READ, "settings", &t));
    ck_assert_int_eq(number_in(t, "PRAGMA query_only"), 1);
    FINE(hf_commit(t));
    FINE(hf_store_close(s));
}
END_TEST

/* ---- noise that was lost or damaged ---- */

static void fill(const char *big) {
    hf_store *s = open_db("app.db");
    FINE(write_sql(s, HF_BOTH, "INSERT INTO m VALUES (1, 1); INSERT INTO noise.n VALUES (1, 1)"));
    if (big) FINE(write_sql(s, HF_NOISE, big));
    FINE(hf_store_close(s));
    ck_assert_int_eq(event.count, 0);
}

static void check_made_anew(const char *reason, bool kept) {
    hf_store *s = open_db("app.db");
    ck_assert_int_eq(event.count, 1);
    ck_assert_str_eq(event.name, "noise.recreated");
    ck_assert_msg(strstr(event.text, reason) && strstr(event.text, "noise=/"), "%s", event.text);
    ck_assert_int_eq(strstr(event.text, "kept=") != NULL, kept);
    ck_assert_int_eq(exists("app-noise.db.damaged-1"), kept);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 1);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM noise.n"), 0);
    FINE(write_sql(s, HF_NOISE, "INSERT INTO noise.n VALUES (1, 1)"));
    FINE(hf_store_close(s));
    FINE(hf_store_close(open_db("app.db")));
    ck_assert_int_eq(event.count, 1);
}

START_TEST(noise_that_was_deleted_is_made_anew_and_said_so) {
    fill(NULL);
    ck_assert_int_eq(unlink("app-noise.db"), 0);
    check_made_anew("it was not there", false);
}
END_TEST

START_TEST(noise_that_is_garbage_is_set_aside) {
    fill(NULL);
    put_file("app-noise.db", garbage, sizeof garbage);
    put_file("app-noise.db-wal", garbage, sizeof garbage);
    check_made_anew("not a database", true);
    char text[sizeof garbage];
    FILE *f = fopen("app-noise.db.damaged-1", "r");
    ck_assert_uint_eq(fread(text, 1, sizeof text, f), sizeof text);
    fclose(f);
    ck_assert_mem_eq(text, garbage, sizeof garbage);
    put_file("app-noise.db", garbage, sizeof garbage);
    FINE(hf_store_close(open_db("app.db")));
    ck_assert(exists("app-noise.db.damaged-2"));
}
END_TEST

START_TEST(noise_that_is_cut_or_damaged_inside_is_set_aside) {
    fill("CREATE TABLE noise.t(x); CREATE INDEX noise.i ON t(x); WITH RECURSIVE c(i) AS (SELECT 1 "
         "UNION ALL SELECT i + 1 FROM c LIMIT 3000) INSERT INTO t SELECT i || ' of many' FROM c");
    if (_i == 0) ck_assert_int_eq(truncate("app-noise.db", 5 * 4096), 0);
    else damage("app-noise.db", 10 * 4096, garbage, sizeof garbage);
    check_made_anew("", true);
}
END_TEST

#define BIG                                                                                        \
    "CREATE TABLE noise.t(x); WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c "     \
    "LIMIT 6000) INSERT INTO t SELECT hex(randomblob(500)) FROM c"

START_TEST(large_noise_is_checked_after_a_boot_that_ended_while_it_was_open) {
    fill(BIG);
    damage("app-noise.db", 400 * 4096, garbage, sizeof garbage);
    hf_store *s = open_db("app.db"); /* closed by its last user: it was whole then */
    ck_assert_int_eq(event.count, 0);
    FINE(hf_store_close(s));
    raw("app-noise.db", "INSERT INTO holdfast VALUES ('dirty', 'another boot')");
    check_made_anew("", true);
}
END_TEST

START_TEST(noise_is_marked_as_open_only_while_it_is) {
    char boot[BOOT_ID_SIZE];
    sqlite3 *db;
    sqlite3_stmt *st;
    system_boot_id(boot);
    ck_assert_int_ne(boot[0], 0);
    hf_store *s = open_db("app.db"), *second = open_db("app.db");
    ck_assert_int_eq(sqlite3_open("app-noise.db", &db), SQLITE_OK);
    ck_assert_int_eq(
        sqlite3_prepare_v2(db, "SELECT value FROM holdfast WHERE name = 'dirty'", -1, &st, NULL),
        SQLITE_OK);
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    ck_assert_str_eq((const char *)sqlite3_column_text(st, 0), boot);
    sqlite3_reset(st);
    FINE(hf_store_close(s)); /* not the last */
    ck_assert_int_eq(sqlite3_step(st), SQLITE_ROW);
    sqlite3_reset(st);
    FINE(hf_store_close(second));
    ck_assert_int_eq(sqlite3_step(st), SQLITE_DONE);
    sqlite3_finalize(st);
    sqlite3_close(db);
}
END_TEST

START_TEST(damaged_noise_that_somebody_has_open_is_not_set_aside) {
    int ready[2], go[2], status;
    char byte = 0;
    hf_store *s;
    fill(NULL);
    ck_assert_int_eq(pipe(ready) | pipe(go), 0);
    pid_t pid = fork();
    if (pid == 0) {
        sqlite3 *db;
        sqlite3_open("app-noise.db", &db);
        sqlite3_exec(db, "SELECT * FROM n", NULL, NULL, NULL);
        (void)!write(ready[1], "x", 1);
        (void)!read(go[0], &byte, 1);
        _exit(0);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    put_file("app-noise.db", garbage, sizeof garbage);
    char words[64];
    snprintf(words, sizeof words, "process %d", pid);
    SAYS(hf_store_open("app.db", &with_noise, &s), HF_BUSY, words);
    ck_assert(!exists("app-noise.db.damaged-1"));
    ck_assert_int_eq(write(go[1], "x", 1), 1);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    check_made_anew("not a database", true);
}
END_TEST

START_TEST(main_that_was_damaged_is_refused_and_not_touched) {
    char before[2000], after[2000];
    hf_store *s;
    fill(NULL);
    damage("app.db", 0, garbage, sizeof garbage);
    sums(before);
    SAYS(hf_store_open("app.db", &with_noise, &s), HF_CORRUPT, "app.db");
    sums(after);
    ck_assert_str_eq(before, after);
}
END_TEST

/* ---- by many at once ---- */

#define PROCESSES 6

START_TEST(processes_that_make_the_same_store_at_once_all_open_it) {
    pid_t pids[PROCESSES];
    for (int i = 0; i < PROCESSES; i++)
        if ((pids[i] = fork()) == 0) {
            hf_store *s = open_db("app.db");
            FINE(write_sql(s, HF_BOTH,
                           "INSERT INTO m VALUES (NULL, NULL); "
                           "INSERT INTO noise.n VALUES (NULL, 1)"));
            FINE(hf_store_close(s));
            _exit(0);
        }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
        ck_assert_int_eq(status, 0);
    }
    hf_store *s = open_db("app.db");
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), PROCESSES);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM noise.n"), PROCESSES);
    FINE(hf_store_close(s));
}
END_TEST

static int by_size(const void *a, const void *b) {
    double d = *(const double *)a - *(const double *)b;
    return d < 0 ? -1 : d > 0;
}

#define TEMPS 200

START_TEST(a_temporary_store_costs_milliseconds_and_leaves_nothing) {
    double ms[TEMPS];
    for (int i = 0; i < TEMPS; i++) {
        struct timespec a, b;
        char path[512];
        clock_gettime(CLOCK_MONOTONIC, &a);
        hf_store *s = temp_store();
        clock_gettime(CLOCK_MONOTONIC, &b);
        ms[i] = (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6;
        snprintf(path, sizeof path, "%s", hf_store_path(s));
        ck_assert(exists(path));
        FINE(write_sql(s, HF_BOTH,
                       "INSERT INTO m VALUES (1, 1); INSERT INTO noise.n VALUES (1, 1)"));
        FINE(hf_store_close(s));
        *strrchr(path, '/') = 0;
        ck_assert(!exists(path));
    }
    qsort(ms, TEMPS, sizeof *ms, by_size);
    printf("hf_store_open_temp: median %.2f ms, p99 %.2f ms\n", ms[TEMPS / 2],
           ms[TEMPS * 99 / 100]);
    ck_assert_msg(ms[TEMPS / 2] < 25, "%.2f ms at the median", ms[TEMPS / 2]); /* alone: under 5 */
}
END_TEST

/* Connections are opened as they are needed: what the first has open and what another would find
 * are two databases then. */
START_TEST(a_file_that_was_replaced_is_not_opened_beside_the_old_one) {
    static const char *const files[] = {"app.db", "app-noise.db"};
    hf_store *s = open_db("app.db");
    hf_tx *t;
    FINE(write_sql(s, HF_MAIN, "CREATE TABLE x(a)"));
    ck_assert_int_eq(rename(files[_i], "old.db"), 0);
    for (int there = 0; there < 2; there++) {
        SAYS(hf_begin(s, HF_BOTH, "both", &t), HF_CANCELLED, files[_i]);
        SAYS(hf_begin(s, HF_BOTH, "both", &t), HF_CANCELLED, "replaced or deleted under the open");
        ck_assert_int_eq(exists(files[_i]), there);
        put_file(files[_i], "", 0);
    }
    ck_assert_int_eq(rename("old.db", files[_i]), 0);
    FINE(write_sql(s, HF_BOTH, "INSERT INTO x VALUES (1)"));
    FINE(hf_store_close(s));
}
END_TEST

static void *use_temp(void *arg) {
    hf_store *s = temp_store();
    for (int i = 0; i < 5; i++) FINE(write_sql(s, HF_MAIN, "INSERT INTO m VALUES (NULL, NULL)"));
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 5);
    FINE(hf_store_close(s));
    return arg;
}

START_TEST(hundreds_of_temporary_stores_live_side_by_side) {
    static pthread_t threads[TEMPS];
    for (int i = 0; i < TEMPS; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, use_temp, NULL), 0);
    for (int i = 0; i < TEMPS; i++) ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("open");
    TCase *c = tcase_create("all");
    tcase_add_unchecked_fixture(c, temp_setup, temp_teardown);
    tcase_add_checked_fixture(c, setup, NULL);
    ADD_ROWS(c, what_cannot_be_opened_is_named_and_left_as_it_was, bad);
    ADD_ROWS(c, an_option_that_cannot_be_is_named, bad_options);
    tcase_add_test(c, options_of_a_newer_header_are_refused_only_if_they_are_set);
    tcase_add_test(c, a_directory_or_file_that_may_not_be_written_is_named);
    ADD_ROWS(c, an_odd_name_is_a_name, odd);
    ADD_ROWS(c, noise_lies_beside_main, beside);
    tcase_add_test(c, a_database_of_the_application_becomes_a_store);
    tcase_add_test(c, an_open_that_finds_all_made_writes_nothing);
    tcase_add_test(c, every_connection_is_set_up);
    tcase_add_test(c, noise_that_was_deleted_is_made_anew_and_said_so);
    tcase_add_test(c, noise_that_is_garbage_is_set_aside);
    tcase_add_loop_test(c, noise_that_is_cut_or_damaged_inside_is_set_aside, 0, 2);
    tcase_add_test(c, large_noise_is_checked_after_a_boot_that_ended_while_it_was_open);
    tcase_add_test(c, noise_is_marked_as_open_only_while_it_is);
    tcase_add_test(c, damaged_noise_that_somebody_has_open_is_not_set_aside);
    tcase_add_test(c, main_that_was_damaged_is_refused_and_not_touched);
    tcase_add_test(c, processes_that_make_the_same_store_at_once_all_open_it);
    tcase_add_test(c, a_temporary_store_costs_milliseconds_and_leaves_nothing);
    tcase_add_loop_test(c, a_file_that_was_replaced_is_not_opened_beside_the_old_one, 0, 2);
    tcase_add_test(c, hundreds_of_temporary_stores_live_side_by_side);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
