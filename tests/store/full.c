/* A disk without room: what was not kept is said not to be, and the store goes on when there is
 * room again. */
#include "box.h"

static char event[64], event_text[2000];

static void on_event(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg;
    snprintf(event, sizeof event, "%s", name);
    for (int i = 0; i < count; i++) strncat(event_text, pairs[i], 400);
}

static bool setup_small(void) {
    char dir[TEMP_PATH];
    temp_dir(dir);
    ck_assert_int_eq(chdir(dir), 0);
    ck_assert_int_eq(mkdir("small", 0700), 0);
    return mount_tmpfs("small", "size=1m", "a full disk");
}

static hf_store *open_at(const char *path, const char *noise) {
    hf_store *s;
    hf_store_options o = {.size = sizeof o, TABLES, .event = on_event};
    o.noise = noise;
    FINE(hf_store_open(path, &o, &s));
    return s;
}

#define LARGE "zeroblob(2000000)"

/* One statement that finds no room, or many small ones and a commit that does not. */
START_TEST(a_transaction_without_room_is_not_kept_and_the_next_one_is) {
    static const char *const large[] = {
        "INSERT INTO m VALUES (2, " LARGE ")",
        "WITH RECURSIVE c(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM c LIMIT 20000) "
        "INSERT INTO m SELECT i, randomblob(100) FROM c"};
    if (!setup_small()) return;
    hf_store *s = open_at("small/app.db", "noise.db");
    hf_tx *t;
    FINE(write_sql(s, HF_MAIN, "INSERT INTO m VALUES (1, 1)"));
    for (int i = 0; i < 3; i++) {
        FINE(hf_begin(s, i ? HF_BOTH : HF_MAIN, "large", &t));
        int said = hf_exec(t, large[_i]);
        if (said == HF_OK) SAYS(hf_commit(t), HF_FULL, "full");
        else {
            ck_assert_int_eq(said, HF_FULL);
            ck_assert_int_ne(hf_commit(t), HF_OK);
        }
        ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 1);
        ck_assert_int_eq(number(s, "SELECT count(*) FROM noise.n"), 0);
    }
    FINE(write_sql(s, HF_MAIN, "INSERT INTO m VALUES (2, 2)"));
    FINE(hf_store_close(s));
    s = open_at("small/app.db", "noise.db");
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 2);
    FINE(hf_store_close(s));
}
END_TEST

/* Two files are two commits, and main's is the first. */
START_TEST(noise_without_room_does_not_undo_what_main_has_committed) {
    if (!setup_small()) return;
    hf_store *s = open_at("app.db", "small/noise.db");
    hf_tx *t;
    hf_place p = {{0}};
    SAYS(write_sql(s, HF_NOISE, "INSERT INTO noise.n VALUES (1, " LARGE ")"), HF_FULL, "full");
    FINE(hf_begin(s, HF_BOTH, "register", &t));
    FINE(hf_position(t, &p));
    FINE(hf_exec(t, "INSERT INTO m VALUES (1, 1); INSERT INTO noise.n VALUES (1, " LARGE ")"));
    FINE(hf_commit(t));
    ck_assert_uint_eq(p.v[0], 1); /* a place to wait for */
    ck_assert_str_eq(event, "noise.lost");
    ck_assert_ptr_nonnull(strstr(event_text, "register"));
    ck_assert_ptr_nonnull(strstr(event_text, "full"));
    for (int i = 2; i < 5; i++) {
        ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), i - 1);
        ck_assert_int_eq(number(s, "SELECT count(*) FROM noise.n"), i - 2);
        char sql[100];
        snprintf(sql, sizeof sql,
                 "INSERT INTO m VALUES (%d, %d); INSERT INTO noise.n VALUES (%d, 1)", i, i, i);
        FINE(write_sql(s, HF_BOTH, sql));
    }
    FINE(write_sql(s, HF_MAIN, "DELETE FROM m WHERE id = 4"));
    ck_assert_int_eq(number(s, "SELECT quick_check = 'ok' FROM pragma_quick_check"), 1);
    FINE(hf_store_close(s));
    s = open_at("app.db", "small/noise.db");
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 3);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM noise.n"), 3);
    FINE(hf_store_close(s));
}
END_TEST

static int commit_too(unsigned what, void *other, void *statement, void *ns) {
    (void)what, (void)ns;
    if (strcmp(sqlite3_sql(statement), "COMMIT") == 0)
        sqlite3_exec(other, "INSERT INTO m VALUES (2, 'of another')", NULL, NULL, NULL);
    return 0;
}

/* The lock is free as soon as the commit has failed: what is in main's log then is not ours. */
START_TEST(a_commit_of_another_is_not_taken_for_the_one_that_failed) {
    if (!setup_small()) return;
    hf_store *s = open_at("small/app.db", "noise.db");
    sqlite3 *other;
    hf_tx *t;
    ck_assert_int_eq(sqlite3_open("small/app.db", &other), SQLITE_OK);
    FINE(hf_begin(s, HF_BOTH, "large", &t));
    FINE(hf_exec(t, "INSERT INTO m VALUES (1, zeroblob(800000))"));
    sqlite3_trace_v2(hf_sqlite(t), SQLITE_TRACE_PROFILE, commit_too, other);
    SAYS(hf_commit(t), HF_FULL, "full");
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m WHERE v = 'of another'"), 1);
    ck_assert_int_eq(number(s, "SELECT count(*) FROM m"), 1);
    sqlite3_close(other);
    FINE(hf_store_close(s));
}
END_TEST

START_TEST(a_store_is_not_made_where_there_is_no_room) {
    if (!setup_small()) return;
    hf_store *s;
    FILE *f = fopen("small/filler", "w");
    for (char block[4096] = {1}; fwrite(block, 1, sizeof block, f) == sizeof block;) continue;
    fclose(f);
    int said = hf_store_open("small/app.db", NULL, &s);
    ck_assert_msg(said == HF_FULL || said == HF_IO, "%s: %s", hf_strcode(said), hf_errmsg());
    ck_assert_ptr_nonnull(strstr(hf_errmsg(), "app.db"));
    ck_assert_int_eq(unlink("small/filler"), 0);
    FINE(hf_store_open("small/app.db", NULL, &s));
    FINE(hf_store_close(s));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("full");
    TCase *c = tcase_create("all");
    tcase_add_unchecked_fixture(c, temp_setup, temp_teardown);
    tcase_add_loop_test(c, a_transaction_without_room_is_not_kept_and_the_next_one_is, 0, 2);
    tcase_add_test(c, noise_without_room_does_not_undo_what_main_has_committed);
    tcase_add_test(c, a_commit_of_another_is_not_taken_for_the_one_that_failed);
    tcase_add_test(c, a_store_is_not_made_where_there_is_no_room);
    suite_add_tcase(suite, c);
    return run_suite(suite);
}
