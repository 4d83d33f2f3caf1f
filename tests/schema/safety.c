/* Restore points: what they hold, that retention leaves them, and going back to one while the
 * database lives. */
#include "box.h"

#include "object/object.h"
#include "replica/notes.h"
#include "replica/replica.h"
#include "schema/clients.h"
#include "schema/safety.h"
#include "schema/shape.h"
#include "store/fake.h"

#include <signal.h>
#include <sys/wait.h>

static hf_source *source;
static char replica[TEMP_PATH + 32];

#define REPLICATE(...)                                                                             \
    replicate(&(hf_replicate_options){                                                             \
        .size = sizeof(hf_replicate_options), .interval_ms = 1, __VA_ARGS__})
static void replicate(const hf_replicate_options *o) {
    HF(hf_attach(app, urls, o, &source));
    HF(hf_source_wait(source, NULL, NULL));
}

/* To a directory: the same as `holdfast replicate app.db DIR`. */
static void to_directory(void) {
    snprintf(replica, sizeof replica, "%s/replica", app_dir);
    urls[0] = replica;
    REPLICATE(.drain_ms = 10000);
}

static void end_replication(void) {
    HF(hf_detach(source));
    source = NULL;
}

static struct store *destination(void) {
    struct store *store;
    OK(destination_open(store_env(), urls[0], &store, e));
    return store;
}

static json_t *pins(void) {
    struct store *store = destination();
    json_t *all;
    OK(note_read(store, "holdfast/pins.json", &all, e));
    store_free(store);
    return all;
}

static int64_t of_restored(uint64_t txid, const char *query) {
    static int count;
    char path[TEMP_PATH + 64];
    struct store *store = destination();
    struct restore_options o = {.target.txid = txid};
    struct restore_result result;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/restored-%d.db", app_dir, count++);
    OK(replica_restore(store, path, &o, &result, e));
    store_free(store);
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    int64_t n = number(db, query);
    sqlite3_close(db);
    return n;
}

/* ---- who replicates ---- */

START_TEST(nobody_replicates) {
    struct restore_point p;
    struct restore_point *points;
    size_t count;
    bool there = true;
    OK(safety_find(&box, &there, e));
    ck_assert(!there);
    CODE(safety_wait(&box, false, 1000, e), RC_NOTFOUND);
    says("nobody replicates");
    CODE(restore_point_make(&box, "before-1-a", &p, e), RC_NOTFOUND);
    CODE(restore_points(&box, NULL, &points, &count, e), RC_NOTFOUND);
}
END_TEST

START_TEST(this_process_does) {
    bool there = false;
    REPLICATE();
    OK(safety_find(&box, &there, e));
    ck_assert(there);
    hf_fake_fail(fake, HF_FAULT_REFUSE, -1);
    sql("INSERT INTO t VALUES (1)");
    CODE(safety_wait(&box, true, 50, e), RC_TIMEOUT);
    hf_fake_fail(fake, HF_FAULT_NONE, 0);
    OK(safety_wait(&box, true, 10000, e));
    end_replication();
    OK(safety_find(&box, &there, e));
    ck_assert(!there);
}
END_TEST

/* By its socket, and then no more: it was killed. */
START_TEST(another_process_does) {
    int ready[2];
    char byte;
    bool there = false;
    struct restore_point p;
    snprintf(replica, sizeof replica, "%s/replica", app_dir);
    urls[0] = replica;
    sconn_close(&conn);
    sqlite3_close(app);
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        hf_replicate_options o = {.size = sizeof o, .interval_ms = 1, .socket = 1};
        app_open();
        int code = hf_attach(app, urls, &o, &source);
        if (code != HF_OK) fprintf(stderr, "%s\n", hf_errmsg());
        if (code != HF_OK || write(ready[1], "x", 1) != 1) _exit(1);
        for (;;) pause();
    }
    close(ready[1]);
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    app_open();
    sql("INSERT INTO t VALUES (42)");
    OK(safety_find(&box, &there, e));
    ck_assert(there);
    OK(safety_wait(&box, true, 10000, e));
    OK(restore_point_make(&box, "before-1-a", &p, e));
    ck_assert_int_eq(of_restored(p.txid, "SELECT count(*) FROM t WHERE x = 42"), 1);
    ck_assert_msg(strstr(p.url, "/replica") != NULL, "%s", p.url);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    OK(safety_find(&box, &there, e));
    ck_assert(!there);
    CODE(safety_wait(&box, true, 1000, e), RC_NOTFOUND);
}
END_TEST

/* ---- restore points ---- */

START_TEST(a_restore_point_holds_what_was_committed_before_it) {
    struct restore_point p;
    REPLICATE();
    for (int i = 1; i <= 5; i++) {
        char name[40], text[60];
        snprintf(text, sizeof text, "INSERT INTO t VALUES (%d)", i);
        sql(text);
        snprintf(name, sizeof name, "before-%d-run", i);
        OK(restore_point_make(&box, name, &p, e));
        sql("INSERT INTO t VALUES (-1)");
        ck_assert_str_eq(p.name, name);
        ck_assert_str_eq(p.url, urls[0]);
        ck_assert_int_eq(of_restored(p.txid, "SELECT max(x) FROM t"), i);
        ck_assert_int_eq(of_restored(p.txid, "SELECT count(*) FROM t"), 2 * i - 1);
    }
    end_replication();
}
END_TEST

START_TEST(a_restore_point_is_at_each_destination) {
    struct restore_point p;
    hf_fake *second;
    HF(hf_fake_new(&second));
    urls[1] = hf_fake_url(second);
    REPLICATE();
    OK(restore_point_make(&box, "before-1-run", &p, e));
    for (int i = 0; i < 2; i++) {
        struct restore_point *points;
        size_t count;
        OK(restore_points(&box, urls[i], &points, &count, e));
        ck_assert_uint_eq(count, 1);
        ck_assert_str_eq(points[0].name, "before-1-run");
        free(points);
    }
    hf_fake_fail(second, HF_FAULT_REFUSE, -1);
    sql("INSERT INTO t VALUES (1)");
    box.options.wait_ms = 50;
    CODE(restore_point_make(&box, "before-2-run", &p, e), RC_TIMEOUT);
    hf_fake_fail(second, HF_FAULT_NONE, 0);
    end_replication();
    hf_fake_free(second);
}
END_TEST

START_TEST(pins_of_others_are_left_and_old_pairs_go) {
    struct restore_point p;
    struct store *store;
    struct restore_point *points;
    size_t count, others = 0, i;
    json_t *pin;
    REPLICATE();
    store = destination();
    json_t *given = json_pack("[{s:i, s:s, s:[i]}, {s:i, s:s}]", "txid", 1, "why", "mine", "more",
                              7, "txid", 1, "name", "golden");
    OK(note_write(store, "holdfast/pins.json", given, e));
    json_decref(given);
    for (int run = 1; run <= 13; run++) {
        char name[40];
        snprintf(name, sizeof name, "before-%d-run", run);
        OK(restore_point_make(&box, name, &p, e));
        if (run == 5) continue; /* it was killed */
        snprintf(name, sizeof name, "after-%d-run", run);
        OK(restore_point_make(&box, name, &p, e));
    }
    OK(restore_points(&box, NULL, &points, &count, e));
    ck_assert_uint_eq(count, 19);
    ck_assert_str_eq(points[0].name, "after-13-run");
    ck_assert_str_eq(points[1].name, "before-13-run");
    ck_assert_str_eq(points[18].name, "before-4-run");
    free(points);
    json_t *all = pins();
    json_array_foreach(all, i, pin) {
        const char *why = json_string_value(json_object_get(pin, "why"));
        others += why && strcmp(why, "mine") == 0 &&
                  json_integer_value(json_array_get(json_object_get(pin, "more"), 0)) == 7;
        others += json_string_value(json_object_get(pin, "name")) &&
                  strcmp(json_string_value(json_object_get(pin, "name")), "golden") == 0;
    }
    ck_assert_uint_eq(others, 2);
    ck_assert_uint_eq(json_array_size(all), 21);
    json_decref(all);
    OK(restore_point_make(&box, "after-13-run", &p,
                          e)); /* again: it takes the place of the first */
    all = pins();
    ck_assert_uint_eq(json_array_size(all), 21);
    json_decref(all);
    store_free(store);
    end_replication();
}
END_TEST

static const char *const broken_pins[] = {"{}", "not json", "7"};
START_TEST(pins_that_cannot_be_read_are_not_written_over) {
    struct restore_point p;
    struct restore_point *points;
    size_t count;
    char found[16] = "";
    REPLICATE();
    struct store *store = destination();
    OK(store->ops->put_note(store, "holdfast/pins.json", broken_pins[_i], strlen(broken_pins[_i]),
                            e));
    CODE(restore_point_make(&box, "before-1-run", &p, e), RC_CORRUPT);
    CODE(restore_points(&box, NULL, &points, &count, e), RC_CORRUPT);
    OK(store->ops->get(store, "holdfast/pins.json", 0, found, strlen(broken_pins[_i]), e));
    ck_assert_str_eq(found, broken_pins[_i]);
    store_free(store);
    end_replication();
}
END_TEST

static int level0_count(struct store *store) {
    struct listing l = {0};
    int n = 0;
    OK(replica_list(store, &l, NULL, e));
    for (size_t i = 0; i < l.count; i++) n += l.files[i].level == 0;
    listing_deinit(&l);
    return n;
}

static uint64_t newest(struct store *store) {
    struct listing l = {0};
    struct plan plan = {0};
    OK(replica_list(store, &l, NULL, e));
    OK(plan_make(&l, (struct target){0}, &plan, e));
    uint64_t txid = plan.txid;
    plan_deinit(&plan);
    listing_deinit(&l);
    return txid;
}

START_TEST(retention_leaves_a_restore_point) {
    struct restore_point p;
    struct plan plan = {0};
    struct listing l = {0};
    REPLICATE(.keep_level0_ms = 1, .keep_snapshots_ms = 1, .level_ms = {0, 1000, 5000, 20000},
              .snapshot_ms = 60000);
    hf_fake_stop_clock(fake);
    struct store *store = destination();
    sql("INSERT INTO t VALUES (1)");
    OK(restore_point_make(&box, "before-1-run", &p, e));
    sql("INSERT INTO t VALUES (2)");
    OK(safety_wait(&box, true, 10000, e));
    uint64_t not_pinned = newest(store);
    ck_assert_uint_gt(not_pinned, p.txid);
    for (int i = 0; i < 30; i++) {
        sql("INSERT INTO t VALUES (3)");
        OK(safety_wait(&box, true, 10000, e));
        hf_fake_advance(fake, 120000);
    }
    for (int looks = 0; level0_count(store) > 10; looks++) {
        ck_assert_int_lt(looks, 100000);
        hf_fake_advance(fake, 20000);
    }
    OK(replica_list(store, &l, NULL, e));
    CODE(plan_make(&l, (struct target){.txid = not_pinned}, &plan, e), RC_NOTFOUND);
    listing_deinit(&l);
    ck_assert_int_eq(of_restored(p.txid, "SELECT max(x) FROM t"), 1);
    store_free(store);
    end_replication();
}
END_TEST

/* ---- undo ---- */

static char before_hash[65];
static int64_t before_rows;

static void read_hash(const char *path, char out[65], int64_t *rows) {
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    OK(contents_hash(db, out, rows, e));
    sqlite3_close(db);
}

static void check_equal(const char *path, const char *hash) {
    char now[65];
    int64_t rows;
    read_hash(path, now, &rows);
    ck_assert_str_eq(now, hash);
}

/* A run as apply does it, of two steps; `between`: what somebody else does in its middle. */
static void migrate(const char *run, const char *between) {
    struct restore_point p;
    char name[60];
    struct record record = {.version = 20260901120000,
                            .name = (char *)(uintptr_t) "20260901120000_split.sql",
                            .phase = PHASE_EXPANDED,
                            .phase_ms = 1};
    snprintf(name, sizeof name, "before-20260901120000-%s", run);
    OK(restore_point_make(&box, name, &p, e));
    read_hash(app_path, before_hash, &before_rows);
    for (int i = 0; i < 2; i++) {
        OK(sconn_begin(&conn, e));
        OK(history_prepare(&conn, e));
        record.phase = i ? PHASE_DONE : PHASE_EXPANDED;
        OK(sconn_exec(&conn,
                      i ? "UPDATE t SET y = x * 2; DELETE FROM t WHERE x % 3 = 0"
                        : "ALTER TABLE t ADD COLUMN y; CREATE INDEX ty ON t(y)",
                      e));
        OK(history_put(&conn, &record, e));
        OK(history_log(&conn,
                       &(struct step_row){.version = record.version,
                                          .step = i ? "contract" : "expand",
                                          .others = i && between},
                       e));
        OK(sconn_commit(&conn, NULL, e));
        if (!i && between) sql(between);
    }
    snprintf(name, sizeof name, "after-20260901120000-%s", run);
    OK(restore_point_make(&box, name, &p, e));
}

static void fill(int rows) {
    char text[200];
    snprintf(text, sizeof text,
             "WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < %d)"
             "INSERT INTO t SELECT i FROM s",
             rows);
    sql(text);
}

static bool is_there(const char *suffix) {
    char path[TEMP_PATH + 64];
    snprintf(path, sizeof path, "%s%s", app_path, suffix);
    return access(path, F_OK) == 0;
}

static void no_copies_are_left(void) {
    static const char *const suffixes[] = {".holdfast-before",     ".holdfast-before-wal",
                                           ".holdfast-before-shm", ".holdfast-after",
                                           ".holdfast-after-wal",  ".holdfast-after-shm"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++)
        ck_assert_msg(!is_there(suffixes[i]), "%s", suffixes[i]);
}

static void undo_is_done(bool discard) {
    json_t *out = NULL, *undone;
    const char *point;
    int discarded;
    OK(undo_run(&box, NULL, discard, &out, e));
    ck_assert_int_eq(json_unpack(out, "{s:s, s:b, s:o}", "restore_point", &point, "discarded",
                                 &discarded, "undone", &undone),
                     0);
    ck_assert_msg(strncmp(point, "before-20260901120000-", 22) == 0, "%s", point);
    ck_assert_int_eq(discarded, discard);
    ck_assert_uint_eq(json_array_size(undone), 1);
    json_decref(out);
    no_copies_are_left();
    check_equal(app_path, before_hash);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM pragma_table_info('t')"), 1);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM pragma_integrity_check WHERE"
                                 " integrity_check <> 'ok'"),
                     0);
}

static void undo_is_refused(enum rc_code code, const char *words) {
    char was[65];
    int64_t rows;
    json_t *out;
    read_hash(app_path, was, &rows);
    int64_t version = number(app, "PRAGMA data_version");
    CODE(undo_run(&box, NULL, false, &out, e), code);
    says(words);
    check_equal(app_path, was);
    ck_assert_int_eq(number(app, "PRAGMA data_version"), version); /* nobody has committed */
    no_copies_are_left();
}

START_TEST(a_run_is_undone_while_others_read_and_it_is_replicated) {
    sqlite3 *reader;
    fill(3000);
    to_directory();
    migrate("a", NULL);
    ck_assert_int_eq(sqlite3_open(app_path, &reader), SQLITE_OK);
    sqlite3_exec(reader, "BEGIN", NULL, NULL, NULL);
    ck_assert_int_eq(number(reader, "SELECT count(*) FROM t WHERE y = x * 2"), 2000);
    undo_is_done(false);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM t"), 3000);
    ck_assert_int_eq(number(reader, "SELECT count(*) FROM t WHERE y = x * 2"), 2000);
    sqlite3_exec(reader, "COMMIT", NULL, NULL, NULL);
    ck_assert_int_eq(number(reader, "SELECT count(*) FROM t"), 3000);
    sqlite3_close(reader);
    sql("INSERT INTO t VALUES (7)"); /* the replication goes on */
    OK(safety_wait(&box, true, 30000, e));
    ck_assert_int_eq(of_restored(0, "SELECT count(*) FROM t"), 3001);
    ck_assert_int_eq(of_restored(0, "SELECT count(*) FROM pragma_table_info('t')"), 1);
    end_replication();
    REPLICATE();
    end_replication();
    ck_assert_int_eq(of_restored(0, "SELECT sum(x) FROM t"), 3000 * 3001 / 2 + 7);
}
END_TEST

START_TEST(who_has_it_open_and_that_it_was_undone_is_kept) {
    fill(100);
    sql(CLIENT_TABLE("main"));
    sql("INSERT INTO holdfast_client(" CLIENT_COLUMNS ") VALUES"
        " (0, 'old', 1, 10, 'here', 'l', 1), (1, 'gone', 1, 11, 'here', 'l', 1)");
    to_directory();
    migrate("a", NULL);
    sql("DELETE FROM holdfast_client WHERE slot = 1");
    sql("INSERT INTO holdfast_client(" CLIENT_COLUMNS ") VALUES (2, 'new', 2, 12, 'here', 'l', 5)");
    undo_is_done(false);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM holdfast_client"), 2);
    ck_assert_int_eq(number(app, "SELECT pid FROM holdfast_client WHERE slot = 2 AND app = 'new'"
                                 " AND version = 2 AND opened_ms = 5 AND lock = 'l'"),
                     12);
    ck_assert_int_eq(number(app, "SELECT version FROM holdfast_step WHERE step = 'undo'"),
                     20260901120000);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM holdfast_step"), 1);
    end_replication();
}
END_TEST

START_TEST(a_run_is_undone_once) {
    fill(100);
    to_directory();
    migrate("a", NULL);
    undo_is_done(false);
    undo_is_refused(RC_CONFLICT, "nothing to undo");
    migrate("b", NULL); /* and may come again */
    undo_is_done(false);
    end_replication();
}
END_TEST

static const char *const later[] = {
    "INSERT INTO t(x) VALUES (-1)",
    "DELETE FROM t WHERE x = 1",
    "UPDATE t SET x = x + 1 WHERE x = 1",
    "UPDATE t SET x = CAST(x AS TEXT) WHERE x = 1",
    "CREATE TABLE u(a)",
    "CREATE INDEX tx ON t(x)",
    "DROP INDEX ty",
    "CREATE TRIGGER tt AFTER DELETE ON t BEGIN SELECT 1; END",
};
START_TEST(later_commits_are_not_lost_without_a_word) {
    fill(100);
    to_directory();
    migrate("a", NULL);
    sql(later[_i]);
    undo_is_refused(RC_CONFLICT, "changed after the run");
    undo_is_done(true);
    end_replication();
}
END_TEST

START_TEST(commits_of_others_in_its_middle_are_not_lost_without_a_word) {
    fill(100);
    to_directory();
    migrate("a", "INSERT INTO t(x) VALUES (1000)");
    undo_is_refused(RC_CONFLICT, "others have committed");
    undo_is_done(true);
    end_replication();
}
END_TEST

START_TEST(a_run_that_did_not_end_is_undone_with_all_that_came_later) {
    struct restore_point p;
    fill(100);
    to_directory();
    migrate("a", NULL);
    OK(restore_point_make(&box, "before-20260901120000-b", &p, e));
    read_hash(app_path, before_hash, &before_rows);
    json_t *out = NULL;
    undo_is_refused(RC_CONFLICT, "did not come to its end");
    sql("DELETE FROM t");
    OK(undo_run(&box, replica, true, &out, e));
    json_decref(out);
    check_equal(app_path, before_hash);
    ck_assert_int_eq(number(app, "SELECT count(*) FROM t"), 67);
    end_replication();
}
END_TEST

START_TEST(without_a_restore_point_there_is_nothing_to_undo) {
    fill(10);
    undo_is_refused(RC_NOTFOUND, "nobody replicates");
    to_directory();
    undo_is_refused(RC_NOTFOUND, "no restore point");
    end_replication();
}
END_TEST

/* Commits at the very moment at which undo waits for the lock, after it has compared. */
static struct env hasty;
static sqlite3 *other;
static void commit_now(struct env *env, int64_t ns) {
    (void)env;
    if (other && !sqlite3_get_autocommit(other)) sqlite3_exec(other, "COMMIT", NULL, NULL, NULL);
    store_env()->sleep_ns(store_env(), ns);
}

START_TEST(a_commit_between_the_look_and_the_lock_is_seen) {
    json_t *out;
    fill(100);
    to_directory();
    migrate("a", NULL);
    hasty = *store_env();
    hasty.sleep_ns = commit_now;
    ck_assert_int_eq(sqlite3_open(app_path, &other), SQLITE_OK);
    sqlite3_exec(other, "BEGIN IMMEDIATE; INSERT INTO t(x) VALUES (-7)", NULL, NULL, NULL);
    box.env = &hasty;
    CODE(undo_run(&box, NULL, false, &out, e), RC_CONFLICT);
    says("changed after the run");
    ck_assert(sqlite3_get_autocommit(other)); /* it was at that moment */
    ck_assert_int_eq(number(app, "SELECT count(*) FROM t WHERE x = -7"), 1);
    sqlite3_close(other);
    no_copies_are_left();
    end_replication();
}
END_TEST

START_TEST(a_lock_that_is_never_free_is_not_waited_for_for_ever) {
    fill(100);
    to_directory();
    migrate("a", NULL);
    ck_assert_int_eq(sqlite3_open(app_path, &other), SQLITE_OK);
    sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    box.options.lock_ms = 20;
    undo_is_refused(RC_BUSY, "locked");
    sqlite3_close(other);
    end_replication();
}
END_TEST

static void damage(const char *what) {
    char command[TEMP_PATH * 2];
    snprintf(command, sizeof command,
             "cd '%s' && find . -name '*.ltx' -size +%dc | sort | while read f; do %s; done",
             replica, 200, what);
    ck_assert_int_eq(system(command), 0);
}

static const char *const damages[] = {
    "printf X | dd of=\"$f\" bs=1 seek=150 conv=notrunc status=none",
    "truncate -s -40 \"$f\"",
    "rm \"$f\"",
};
START_TEST(a_replica_that_is_damaged_harms_nothing) {
    char was[65];
    int64_t rows;
    json_t *out;
    fill(1000);
    to_directory();
    migrate("a", NULL);
    end_replication();
    damage(damages[_i]);
    read_hash(app_path, was, &rows);
    struct err e;
    rc r = undo_run(&box, replica, true, &out, &e);
    ck_assert_msg(r.code == RC_CORRUPT || r.code == RC_NOTFOUND, "%s", e.text);
    check_equal(app_path, was);
    no_copies_are_left();
}
END_TEST

START_TEST(without_room_nothing_is_begun) {
    char disk[TEMP_PATH + 32];
    snprintf(disk, sizeof disk, "%s/disk", app_dir);
    ck_assert_int_eq(mkdir(disk, 0755), 0);
    if (!mount_tmpfs(disk, "size=12m", "without_room_nothing_is_begun")) return;
    sconn_close(&conn);
    sqlite3_close(app);
    snprintf(app_path, sizeof app_path, "%s/disk/app.db", app_dir);
    snprintf(box.path, sizeof box.path, "%s", app_path);
    app_open();
    sql("PRAGMA journal_mode = WAL; CREATE TABLE t(x); CREATE TABLE b(x)");
    OK(sconn_open(&box, false, &conn, e));
    fill(100);
    sql("INSERT INTO b VALUES (randomblob(3500000)); PRAGMA wal_checkpoint(TRUNCATE)");
    to_directory();
    migrate("a", NULL);
    undo_is_refused(RC_FULL, "bytes of room");
    sql("DELETE FROM b; VACUUM");
    sql("PRAGMA wal_checkpoint(TRUNCATE)");
    end_replication();
}
END_TEST

/* In a process of its own, killed after so many microseconds. True: it came to its end. */
static bool undo_and_kill_after(useconds_t us) {
    int status;
    sqlite3_close(app);
    pid_t child = fork();
    if (child == 0) {
        static hf_schema its;
        struct err e;
        json_t *out = NULL;
        box_open(&its, store_env());
        rc r = undo_run(&its, replica, false, &out, &e);
        if (!is_ok(r)) fprintf(stderr, "%s\n", e.text);
        _exit(is_ok(r) ? 0 : 1);
    }
    usleep(us); /* any moment is as good as another */
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    app_open();
    ck_assert_msg(WIFSIGNALED(status) || WEXITSTATUS(status) == 0, "status %d", status);
    return WIFEXITED(status);
}

START_TEST(killed_anywhere_it_is_the_old_or_the_new) {
    char after[65], now[65];
    int64_t rows;
    int kills = 0, with_copies = 0;
    fill(20000);
    sql("CREATE TABLE b AS SELECT x, randomblob(400) FROM t");
    to_directory();
    migrate("a", NULL);
    end_replication();
    sconn_close(&conn);
    read_hash(app_path, after, &rows);
    useconds_t us = 2000;
    for (bool ended = false; !ended; us += us / 4) {
        ended = undo_and_kill_after(us);
        kills += !ended;
        with_copies += is_there(".holdfast-before");
        read_hash(app_path, now, &rows);
        ck_assert_msg(strcmp(now, ended ? before_hash : after) == 0 ||
                          strcmp(now, before_hash) == 0,
                      "after %u microseconds", us);
        ck_assert_int_eq(number(app, "SELECT count(*) FROM pragma_integrity_check WHERE"
                                     " integrity_check <> 'ok'"),
                         0);
        if (strcmp(now, before_hash) == 0) break;
    }
    ck_assert_int_gt(kills, 3);
    ck_assert_int_gt(with_copies, 0);
    check_equal(app_path, before_hash);
}
END_TEST

int main(void) {
    Suite *s = suite_create("schema/safety");
    TCase *t = tcase_create("restore points");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, box_setup, box_teardown);
    tcase_add_test(t, nobody_replicates);
    tcase_add_test(t, this_process_does);
    tcase_add_test(t, another_process_does);
    tcase_add_test(t, a_restore_point_holds_what_was_committed_before_it);
    tcase_add_test(t, a_restore_point_is_at_each_destination);
    tcase_add_test(t, pins_of_others_are_left_and_old_pairs_go);
    ADD_ROWS(t, pins_that_cannot_be_read_are_not_written_over, broken_pins);
    tcase_add_test(t, retention_leaves_a_restore_point);
    suite_add_tcase(s, t);
    t = tcase_create("undo");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, box_setup, box_teardown);
    tcase_add_test(t, a_run_is_undone_while_others_read_and_it_is_replicated);
    tcase_add_test(t, who_has_it_open_and_that_it_was_undone_is_kept);
    tcase_add_test(t, a_run_is_undone_once);
    ADD_ROWS(t, later_commits_are_not_lost_without_a_word, later);
    tcase_add_test(t, commits_of_others_in_its_middle_are_not_lost_without_a_word);
    tcase_add_test(t, a_run_that_did_not_end_is_undone_with_all_that_came_later);
    tcase_add_test(t, without_a_restore_point_there_is_nothing_to_undo);
    tcase_add_test(t, a_commit_between_the_look_and_the_lock_is_seen);
    tcase_add_test(t, a_lock_that_is_never_free_is_not_waited_for_for_ever);
    ADD_ROWS(t, a_replica_that_is_damaged_harms_nothing, damages);
    tcase_add_test(t, without_room_nothing_is_begun);
    tcase_add_test(t, killed_anywhere_it_is_the_old_or_the_new);
    suite_add_tcase(s, t);
    return run_suite(s);
}
