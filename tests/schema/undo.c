/* Undo: going back to a restore point while the database lives. */
#include "replicated.h"

#include "schema/clients.h"

#include <signal.h>
#include <sys/wait.h>

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
    migrate("a");
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
    migrate("a");
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

START_TEST(noise_stays_and_that_is_said) {
    struct sconn noise;
    json_t *out = NULL, *stays;
    struct record old = {.version = 5, .name = (char *)(uintptr_t) "5_old.sql", .phase_ms = 1000};
    struct record new = {.version = 9, .name = (char *)(uintptr_t) "9_new.sql"};
    snprintf(box.noise, sizeof box.noise, "%s/noise.db", app_dir);
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(box.noise, &db), SQLITE_OK);
    sqlite3_exec(db, "PRAGMA journal_mode = WAL", NULL, NULL, NULL);
    fill(100);
    to_directory();
    migrate("a");
    old.phase = new.phase = PHASE_DONE;
    new.phase_ms = box.env->unix_ms(box.env);
    OK(sconn_open(&box, true, &noise, e));
    OK(sconn_begin(&noise, e));
    OK(history_prepare(&noise, e));
    OK(history_put(&noise, &old, e));
    OK(history_put(&noise, &new, e));
    OK(sconn_commit(&noise, NULL, e));
    OK(undo_run(&box, NULL, false, &out, e));
    ck_assert_int_eq(json_unpack(out, "{s:o}", "noise_stays", &stays), 0);
    ck_assert_uint_eq(json_array_size(stays), 1);
    ck_assert_int_eq(json_integer_value(json_array_get(stays, 0)), 9);
    json_decref(out);
    ck_assert_int_eq(number(db, "SELECT count(*) FROM holdfast_migration"), 2);
    check_equal(app_path, before_hash);
    sconn_close(&noise);
    sqlite3_close(db);
    end_replication();
}
END_TEST

START_TEST(a_run_is_undone_once) {
    fill(100);
    to_directory();
    migrate("a");
    undo_is_done(false);
    undo_is_refused(RC_CONFLICT, "nothing to undo");
    migrate("b"); /* and may come again */
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
    "PRAGMA user_version = 7",
    "PRAGMA application_id = 7",
    "INSERT INTO numbered DEFAULT VALUES; DELETE FROM numbered", /* a number that was given */
};
START_TEST(later_commits_are_not_lost_without_a_word) {
    fill(100);
    sql("CREATE TABLE numbered(id INTEGER PRIMARY KEY AUTOINCREMENT)");
    to_directory();
    migrate("a");
    sql(later[_i]);
    undo_is_refused(RC_CONFLICT, "changed after the run");
    undo_is_done(true);
    end_replication();
}
END_TEST

START_TEST(commits_of_others_beside_it_are_not_lost_without_a_word) {
    fill(100);
    to_directory();
    migrate_beside("a", (enum moment)_i, "INSERT INTO t(x) VALUES (1000)");
    undo_is_refused(RC_CONFLICT, "others have committed");
    undo_is_done(true);
    end_replication();
}
END_TEST

START_TEST(a_run_that_did_not_end_is_undone_with_all_that_came_later) {
    struct restore_point p;
    fill(100);
    to_directory();
    migrate("a");
    OK(restore_point_make(&conn, "before-20260901120000-b", &p, e));
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
    undo_is_refused(RC_NOTFOUND, "name its replica: -replica URL");
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
    migrate("a");
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
    migrate("a");
    ck_assert_int_eq(sqlite3_open(app_path, &other), SQLITE_OK);
    sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL);
    box.options.lock_ms = 20;
    undo_is_refused(RC_BUSY, "locked");
    sqlite3_close(other);
    end_replication();
}
END_TEST

START_TEST(it_takes_turns_with_who_changes_the_schema) {
    struct lock *its;
    fill(100);
    to_directory();
    migrate("a");
    OK(lock_open(store_env(), app_path, &its, e));
    OK(lock_take(its, LOCK_TURN, false, e));
    box.options.timeout_ms = 20;
    undo_is_refused(RC_TIMEOUT, "");
    lock_close(its);
    undo_is_done(false);
    OK(lock_open(store_env(), app_path, &its, e));
    OK(lock_take(its, LOCK_TURN, false, e)); /* it is given back */
    lock_close(its);
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
    migrate("a");
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
    migrate("a");
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
    migrate("a");
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
    Suite *s = suite_create("schema/undo");
    TCase *t = tcase_create("undo");
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, box_setup, box_teardown);
    tcase_add_test(t, a_run_is_undone_while_others_read_and_it_is_replicated);
    tcase_add_test(t, who_has_it_open_and_that_it_was_undone_is_kept);
    tcase_add_test(t, noise_stays_and_that_is_said);
    tcase_add_test(t, a_run_is_undone_once);
    ADD_ROWS(t, later_commits_are_not_lost_without_a_word, later);
    tcase_add_loop_test(t, commits_of_others_beside_it_are_not_lost_without_a_word, BEFORE_IT,
                        BEHIND_IT + 1);
    tcase_add_test(t, a_run_that_did_not_end_is_undone_with_all_that_came_later);
    tcase_add_test(t, without_a_restore_point_there_is_nothing_to_undo);
    tcase_add_test(t, a_commit_between_the_look_and_the_lock_is_seen);
    tcase_add_test(t, a_lock_that_is_never_free_is_not_waited_for_for_ever);
    tcase_add_test(t, it_takes_turns_with_who_changes_the_schema);
    ADD_ROWS(t, a_replica_that_is_damaged_harms_nothing, damages);
    tcase_add_test(t, without_room_nothing_is_begun);
    tcase_add_test(t, killed_anywhere_it_is_the_old_or_the_new);
    suite_add_tcase(s, t);
    return run_suite(s);
}
