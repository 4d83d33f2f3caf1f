/* The way of a migration: order, phases, what is refused, and what is said about it. */
#include "engine.h"

static void setup(void) {
    make_files();
    event_count = 0;
}

/* ---- order ---- */

START_TEST(an_ordinary_migration_is_done_once) {
    json_t *answer;
    applies(first);
    ROWS(app, PHASES, "1|done");
    ROWS(app, STEPS, "1|ordinary");
    ROWS(app, "SELECT breaking, triggers FROM holdfast_migration", "0|NULL");
    ROWS(app, "SELECT min_version FROM holdfast_schema", "0");
    RUNS(run_with(apply_run, first, NULL, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "");
    ck_assert(json_is_null(json_object_get(answer, "restore_point")));
    json_decref(answer);
    ROWS(app, STEPS, "1|ordinary");
}
END_TEST

START_TEST(all_phases_are_gone_through_each_with_its_row) {
    json_t *answer;
    with_rows();
    RUNS(run_with(apply_run, split, NULL, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "2 expand, 2 sync, 2 backfill, 2 verify, 2 contract");
    json_decref(answer);
    ROWS(app, PHASES, "1|done;2|done");
    ROWS(app, STEPS, "1|ordinary;2|expand;2|sync;2|backfill 0;2|verify;2|contract");
    ROWS(app, "SELECT rows FROM holdfast_step WHERE step = 'backfill 0'", "5");
    ROWS(app, "SELECT * FROM user", "1|a;2|b;3|c;4|d;5|e");
    ROWS(app, "SELECT name FROM pragma_table_info('user')", "id;first");
    ROWS(app, "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'", "0");
    ROWS(app, "SELECT breaking, triggers FROM holdfast_migration WHERE version = 2", "1|NULL");
    ROWS(app, "SELECT min_version FROM holdfast_schema", "2");
    ck_assert_int_eq(events_with("schema.step"), 6);
}
END_TEST

static const struct stop {
    enum phase to;
    const char *phases, *applied;
    int triggers, filled;
} stops[] = {
    {PHASE_EXPANDED, "1|done;2|expanded", "2 expand", 0, 0},
    {PHASE_SYNCED, "1|done;2|synced", "2 expand, 2 sync", 1, 0},
    {PHASE_BACKFILLED, "1|done;2|backfilled", "2 expand, 2 sync, 2 backfill", 1, 5},
    {PHASE_VERIFIED, "1|done;2|verified", "2 expand, 2 sync, 2 backfill, 2 verify", 1, 5},
};

START_TEST(a_run_goes_as_far_as_it_is_told_and_reverts_from_there) {
    const struct stop *s = &stops[_i];
    struct run_options o = {.to_phase = s->to};
    json_t *answer;
    char triggers[20], filled[20];
    with_rows();
    RUNS(run_with(apply_run, split, &o, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), s->applied);
    json_decref(answer);
    ROWS(app, PHASES, s->phases);
    snprintf(triggers, sizeof triggers, "%d", s->triggers);
    snprintf(filled, sizeof filled, "%d", s->filled);
    ROWS(app, "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'", triggers);
    ROWS(app, "SELECT count(first) FROM user", filled);
    RUNS(run_with(revert_run, split, NULL, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "2 revert");
    json_decref(answer);
    ROWS(app, PHASES, "1|done");
    ROWS(app, "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'", "0");
    ROWS(app, "SELECT * FROM user", "1|a;2|b;3|c;4|d;5|e");
    ROWS(app, "SELECT name FROM pragma_table_info('user')", "id;name");
    ROWS(app, "SELECT count(*) FROM holdfast_backfill", "0");
    applies(split); /* and it can be done again */
    ROWS(app, PHASES, "1|done;2|done");
    ROWS(app, "SELECT * FROM user", "1|a;2|b;3|c;4|d;5|e");
}
END_TEST

START_TEST(an_ordinary_migration_counts_as_an_expand_or_as_a_contract) {
    static const hf_migration list[] = {FIRST,
                                        {"2_a.sql", "CREATE TABLE a(x);"},
                                        {"3_b.sql", "DROP TABLE post;"},
                                        {"4_c.sql", "CREATE TABLE c(x);"},
                                        END};
    json_t *answer;
    struct run_options o = {.to_phase = PHASE_VERIFIED};
    with_rows();
    RUNS(run_with(apply_run, list, &o, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "2 ordinary");
    ck_assert_str_eq(why_waits(answer), "it is behind 3_b.sql, which is not begun");
    json_decref(answer);
    RUNS(run_with(apply_run, list, NULL, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "3 ordinary, 4 ordinary");
    json_decref(answer);
}
END_TEST

START_TEST(a_version_ends_the_run) {
    static const hf_migration list[] = {
        FIRST, {"2_a.sql", "CREATE TABLE a(x);"}, {"3_b.sql", "CREATE TABLE b(x);"}, END};
    struct run_options o = {.to_version = 2};
    RUNS(run_with(apply_run, list, &o, NULL), RC_OK);
    ROWS(app, PHASES, "1|done;2|done");
    applies(list);
    ROWS(app, PHASES, "1|done;2|done;3|done");
}
END_TEST

START_TEST(each_file_has_its_own_history_and_noise_goes_on_when_main_waits) {
    static const hf_migration list[] = {FIRST,
                                        SPLIT("soak=1h"),
                                        {"noise/3_seen.sql", "CREATE TABLE seen(x);"},
                                        {"4_more.sql", "CREATE TABLE more(x);"},
                                        {"noise/5_seen.sql", "ALTER TABLE seen ADD COLUMN y;"},
                                        END};
    json_t *answer;
    RUNS(run_with(apply_run, list, NULL, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "1 ordinary, 2 expand, 2 sync, 2 backfill, 2 verify, "
                                      "3 ordinary, 5 ordinary");
    ck_assert_uint_eq(json_array_size(json_object_get(answer, "waits")), 2);
    ck_assert_ptr_nonnull(strstr(why_waits(answer), "it soaks for another"));
    json_decref(answer);
    ROWS(app, PHASES, "1|done;2|verified");
    ROWS(noise, PHASES, "3|done;5|done");
    ROWS(noise, "SELECT name FROM pragma_table_info('seen')", "x;y");
    ROWS(app, "SELECT count(*) FROM sqlite_master WHERE name IN ('seen', 'more')", "0");
    ck_assert_int_eq(events_with("version=4 why=it is behind 2_split.sql, which is verified"), 1);
}
END_TEST

START_TEST(a_noise_that_was_lost_is_filled_again) {
    static const hf_migration list[] = {FIRST,
                                        {"noise/2_seen.sql", "CREATE TABLE seen(x);"},
                                        {"3_a.sql", "CREATE TABLE a(x);"},
                                        {"noise/4_seen.sql", "ALTER TABLE seen ADD COLUMN y;"},
                                        END};
    json_t *answer;
    applies(list);
    ck_assert_int_eq(unlink(noise), 0);
    RUNS(run_with(apply_run, list, NULL, NULL), RC_NOTFOUND);
    says("app-noise.db: no such database");
    sql(noise, "PRAGMA journal_mode = WAL; CREATE TABLE DBX(Key PRIMARY KEY, Value)");
    RUNS(run_with(apply_run, list, NULL, &answer), RC_OK);
    ck_assert_str_eq(applied(answer), "2 ordinary, 4 ordinary");
    json_decref(answer);
    ROWS(noise, PHASES, "2|done;4|done");
}
END_TEST

START_TEST(what_finds_nothing_to_do_writes_nothing) {
    uint64_t wal, lock;
    sqlite3 *main_db, *noise_db; /* who has it open keeps the logs */
    with_rows();
    applies(soaking);
    main_db = open_raw(app);
    noise_db = open_raw(noise);
    raw_rows(main_db, "SELECT 1 FROM sqlite_master");
    raw_rows(noise_db, "SELECT 1 FROM sqlite_master");
    raw_exec(main_db, "CREATE TABLE other(x)");
    const char *before = raw_rows(main_db, "PRAGMA data_version"),
               *noise_before = raw_rows(noise_db, "PRAGMA data_version");
    wal = file_bytes(app, "-wal");
    lock = file_bytes(app, "-schema");
    ck_assert_uint_gt(wal, 0);
    for (int i = 0; i < 3; i++) {
        json_t *answer;
        RUNS(run_with(apply_run, soaking, NULL, &answer), RC_OK);
        ck_assert_str_eq(applied(answer), "");
        ck_assert_uint_eq(json_array_size(json_object_get(answer, "waits")), 1);
        json_decref(answer);
        applies(first); /* what is done already, and is ahead */
    }
    ck_assert_uint_eq(file_bytes(app, "-wal"), wal);
    ck_assert_uint_eq(file_bytes(noise, "-wal"), 0);
    ck_assert_uint_eq(file_bytes(app, "-schema"), lock);
    ck_assert_str_eq(raw_rows(main_db, "PRAGMA data_version"), before);
    ck_assert_str_eq(raw_rows(noise_db, "PRAGMA data_version"), noise_before);
    sqlite3_close(main_db);
    sqlite3_close(noise_db);
}
END_TEST

static const struct passing {
    const char *title;
    hf_migration file;
    const char *phase, *steps;
} passings[] = {
    {"expand alone", {"1_a.sql", "-- holdfast:expand\nCREATE TABLE a(x);"}, "done", "expand"},
    {"expand and verify",
     {"1_a.sql", "-- holdfast:expand\nCREATE TABLE a(x);\n-- holdfast:verify\nSELECT count(*) "
                 "FROM a;"},
     "done",
     "expand;verify"},
    {"verify alone", {"1_a.sql", "-- holdfast:verify\nSELECT 0;"}, "done", "verify"},
    {"contract alone",
     {"1_a.sql", "-- holdfast:contract\nDROP TABLE IF EXISTS a;"},
     "done",
     "contract"},
    {"a backfill comes first",
     {"1_a.sql", "-- holdfast:backfill table=t key=id\nUPDATE t SET v = 1 WHERE id > :lo AND id "
                 "<= :hi;"},
     "done",
     "backfill 0"},
    {"two backfills",
     {"1_a.sql", "-- holdfast:backfill table=t key=id\nUPDATE t SET v = 1 WHERE id > :lo AND id "
                 "<= :hi;\n-- holdfast:backfill table=t key=id\nUPDATE t SET v = v + 1 WHERE id > "
                 ":lo AND id <= :hi AND v = 1;"},
     "done",
     "backfill 0;backfill 1"},
    {"expect", {"1_a.sql", "-- holdfast:verify expect=abc\nSELECT 'abc';"}, "done", "verify"},
    {"dbmate",
     {"1_a.sql", "-- migrate:up\nCREATE TABLE a(x);\n-- migrate:down\nDROP TABLE a;"},
     "done",
     "ordinary"},
    {"goose",
     {"1_a.sql", "-- +goose Up\nCREATE TABLE a(x);\n-- +goose Down\nDROP TABLE a;"},
     "done",
     "ordinary"},
};

START_TEST(what_a_file_has_no_section_for_is_passed_over) {
    const struct passing *f = &passings[_i];
    const hf_migration list[] = {f->file, END};
    sql(app, "CREATE TABLE t(id INTEGER PRIMARY KEY, v); INSERT INTO t(id) VALUES (1), (2), (9)");
    applies(list);
    ROWS(app, "SELECT phase FROM holdfast_migration", f->phase);
    ROWS(app, "SELECT step FROM holdfast_step ORDER BY id", f->steps);
}
END_TEST

/* ---- what is refused, with the database as it was ---- */

static const struct refusal {
    const char *title;
    hf_migration files[3]; /* behind FIRST, which is done */
    enum rc_code code;
    const char *words;
} refusals[] = {
    {"syntax",
     {{"2_a.sql", "CREATE TABLE a(x);\n\nCREATE TABEL b(x);"}},
     RC_CORRUPT,
     "2_a.sql:3: near \"TABEL\": syntax error"},
    {"syntax inside",
     {{"2_a.sql", "CREATE TABLE a(x,\n  y,\n  PRIMARY KYE(x));"}},
     RC_CORRUPT,
     "2_a.sql:3: near \"KYE\""},
    {"no such column inside",
     {{"2_a.sql", "CREATE TABLE a(x);\nINSERT INTO a\n  SELECT nope\n  FROM user;"}},
     RC_USAGE,
     "2_a.sql:3: no such column: nope"},
    {"no such table",
     {{"2_a.sql", "CREATE TABLE a(x);\nINSERT INTO b VALUES (1);"}},
     RC_USAGE,
     "2_a.sql:2: no such table: b"},
    {"a constraint",
     {{"2_a.sql",
       "CREATE TABLE a(x UNIQUE);\nINSERT INTO a VALUES (1);\nINSERT INTO a VALUES (1);"}},
     RC_CONFLICT,
     "2_a.sql:3: UNIQUE constraint failed: a.x"},
    {"rolled back",
     {{"2_a.sql", "CREATE TABLE a(x UNIQUE);\nINSERT INTO a VALUES (1);\n"
                  "INSERT OR ROLLBACK INTO a VALUES (1);\nCREATE TABLE b(x);"}},
     RC_CONFLICT,
     "2_a.sql:3: UNIQUE"},
    {"raised",
     {{"2_a.sql", "CREATE TABLE a(x);\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n SELECT "
                  "RAISE(ROLLBACK, 'no'); END;\nINSERT INTO a VALUES (1);\nCREATE TABLE b(x);"}},
     RC_CONFLICT,
     "2_a.sql:4: no"},
    {"orphans",
     {{"2_a.sql", "DELETE FROM user WHERE id = 3;"}},
     RC_CONFLICT,
     "2_a.sql: ordinary: 1 rows would lose their parents: table post, row 3"},
    {"orphans by a drop",
     {{"2_a.sql", "-- holdfast:compatible\nDROP TABLE user;"}},
     RC_CONFLICT,
     "5 rows would lose their parents: table post"},
    {"orphans by a column",
     {{"2_a.sql", "ALTER TABLE post ADD COLUMN by INTEGER DEFAULT 77 REFERENCES user(id);"}},
     RC_CONFLICT,
     "5 rows would lose their parents: table post"},
    {"a verification",
     {{"2_a.sql", "-- holdfast:verify\nSELECT count(*) FROM user;"}},
     RC_CONFLICT,
     "2_a.sql:2: the verification gives 5 and not 0"},
    {"a verification of NULL",
     {{"2_a.sql", "-- holdfast:verify\nSELECT NULL;"}},
     RC_CONFLICT,
     "gives NULL"},
    {"a verification of nothing",
     {{"2_a.sql", "-- holdfast:verify\nSELECT id FROM user WHERE id > 99;"}},
     RC_CONFLICT,
     "2_a.sql:2: the verification gives no row"},
    {"a verification of many",
     {{"2_a.sql", "-- holdfast:verify\nSELECT 0 FROM user;"}},
     RC_USAGE,
     "more than one row"},
    {"a verification of two",
     {{"2_a.sql", "-- holdfast:verify\nSELECT 0, 0;"}},
     RC_USAGE,
     "a SELECT of one value"},
    {"a verification that writes",
     {{"2_a.sql", "-- holdfast:verify\nDELETE FROM post RETURNING 0;"}},
     RC_CORRUPT,
     ""},
    {"our tables",
     {{"2_a.sql", "CREATE TABLE a(x);\nDELETE FROM holdfast_migration;"}},
     RC_CORRUPT,
     "2_a.sql:2:"},
    {"a transaction", {{"2_a.sql", "CREATE TABLE a(x);\nCOMMIT;"}}, RC_CORRUPT, "2_a.sql:2:"},
    {"another error later, nothing is run",
     {{"2_a.sql", "CREATE TABLE a(x);"}, {"3_b.sql", "PRAGMA foreign_keys = on;"}},
     RC_CORRUPT,
     "3_b.sql:1:"},
};

static const char *state(void) {
    static char text[8000];
    snprintf(text, sizeof text, "%s / %s / %s / %s / %s",
             rows(app, "SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"),
             rows(app, "SELECT * FROM user"), rows(app, "SELECT * FROM post"), rows(app, PHASES),
             rows(app, STEPS));
    return text;
}

START_TEST(a_step_that_fails_leaves_the_database_as_it_was) {
    const struct refusal *f = &refusals[_i];
    hf_migration list[5] = {FIRST};
    char before[8000];
    int n = 1;
    for (int i = 0; i < 3 && f->files[i].name; i++) list[n++] = f->files[i];
    with_rows();
    snprintf(before, sizeof before, "%s", state());
    enum rc_code code = run_with(apply_run, list, NULL, NULL);
    ck_assert_msg(code == f->code, "%s: %s: %s", f->title, rc_name(code), last_err.text);
    says(f->words);
    ck_assert_str_eq(state(), before);
    applies(first); /* and it goes on without the file */
}
END_TEST

START_TEST(of_two_backfills_each_does_its_rows) {
    static const hf_migration list[] = {
        FIRST,
        {"2_a.sql", "-- holdfast:expand\nALTER TABLE user ADD COLUMN a; ALTER TABLE post ADD b;\n"
                    "-- holdfast:backfill table=user key=id\n"
                    "UPDATE user SET a = id WHERE id > :lo AND id <= :hi;\n"
                    "-- holdfast:backfill table=post key=id\n"
                    "UPDATE post SET b = id WHERE id > :lo AND id <= :hi;\n"},
        END};
    with_rows();
    applies(list);
    ROWS(app, "SELECT (SELECT count(a) FROM user), (SELECT count(b) FROM post)", "5|5");
    ROWS(app, "SELECT step, rows FROM holdfast_step WHERE step GLOB 'backfill*'",
         "backfill 0|5;backfill 1|5");
}
END_TEST

START_TEST(what_lint_cannot_see_is_refused_by_sqlite) {
    static const hf_migration list[] = {
        FIRST, {"2_a.sql", "CREATE TABLE a(x);\nDELETE FROM post;"}, END};
    with_rows();
    sql(app, "CREATE TRIGGER sneaks AFTER DELETE ON post BEGIN DELETE FROM holdfast_step; END");
    refuses(list, RC_USAGE, "2_a.sql:2: the tables of Holdfast are its own");
    ROWS(app, STEPS, "1|ordinary");
    ROWS(app, "SELECT count(*) FROM post", "5");
    ROWS(app, "SELECT name FROM sqlite_master WHERE name = 'a'", "");
}
END_TEST

START_TEST(children_of_a_table_that_is_dropped_and_made_again_survive) {
    static const hf_migration list[] = {
        FIRST,
        {"2_hand.sql", "-- holdfast:compatible\n"
                       "CREATE TABLE user_new(id INTEGER PRIMARY KEY, name TEXT NOT NULL, age);\n"
                       "INSERT INTO user_new(id, name) SELECT id, name FROM user;\n"
                       "DROP TABLE user;\nALTER TABLE user_new RENAME TO user;\n"},
        END};
    with_rows();
    applies(list);
    ROWS(app, "SELECT count(*) FROM post", "5");
    ROWS(app, "SELECT count(*) FROM post JOIN user ON user.id = post.user", "5");
    ROWS(app, "PRAGMA foreign_key_check", "");
}
END_TEST

START_TEST(orphans_of_before_are_nobodys_fault) {
    static const hf_migration list[] = {FIRST, {"2_a.sql", "UPDATE post SET text = 'x';"}, END};
    with_rows();
    sql(app, "DELETE FROM user WHERE id = 2"); /* foreign keys are off */
    applies(list);
    ROWS(app, PHASES, "1|done;2|done");
}
END_TEST

/* ---- history and files ---- */

START_TEST(edited_missing_disordered_and_newer_sets_are_refused) {
    static const hf_migration both[] = {
        FIRST, {"5_a.sql", "CREATE TABLE a(x);"}, {"9_c.sql", "DROP TABLE a;"}, END};
    static const hf_migration edited[] = {
        FIRST, {"5_a.sql", "CREATE TABLE a(x, y);"}, {"9_c.sql", "DROP TABLE a;"}, END};
    static const hf_migration missing[] = {FIRST, {"9_c.sql", "DROP TABLE a;"}, END};
    static const hf_migration disordered[] = {FIRST,
                                              {"5_a.sql", "CREATE TABLE a(x);"},
                                              {"7_b.sql", "CREATE TABLE b(x);"},
                                              {"9_c.sql", "DROP TABLE a;"},
                                              END};
    static const hf_migration older[] = {FIRST, {"5_a.sql", "CREATE TABLE a(x);"}, END};
    applies(older);
    json_t *answer;
    static const hf_migration newer[] = {
        FIRST, {"5_a.sql", "CREATE TABLE a(x);"}, {"6_b.sql", "CREATE TABLE b(x);"}, END};
    RUNS(run_with(apply_run, newer, NULL, NULL), RC_OK);
    RUNS(run_with(apply_run, older, NULL, &answer), RC_OK); /* nothing was taken away */
    ck_assert_int_eq(json_integer_value(json_object_get(answer, "ahead")), 1);
    json_decref(answer);
    sql(app, "DROP TABLE b; DELETE FROM holdfast_migration WHERE version = 6");
    applies(both);
    refuses(edited, RC_CONFLICT, "5_a.sql: edited since it was applied");
    refuses(missing, RC_CONFLICT, "5 (5_a.sql) was applied, and its file is missing");
    refuses(disordered, RC_CONFLICT, "7_b.sql: out of order");
    refuses(older, RC_UNFIT, "its schema is newer: 9");
    ROWS(app, STEPS, "1|ordinary;5|ordinary;6|ordinary;9|ordinary");
}
END_TEST

START_TEST(of_an_edited_one_that_was_begun_it_is_said_how_to_get_out) {
    static const hf_migration begun[] = {
        FIRST,
        {"5_a.sql", "-- holdfast:expand\nCREATE TABLE a(x);\n-- holdfast:verify\nSELECT 1;\n"},
        END};
    static const hf_migration edited[] = {
        FIRST,
        {"5_a.sql", "-- holdfast:expand\nCREATE TABLE a(x);\n-- holdfast:verify\nSELECT 0;\n"},
        END};
    refuses(begun, RC_CONFLICT, "the verification gives 1 and not 0");
    refuses(edited, RC_CONFLICT, "put the file back as it was, and revert what was begun");
}
END_TEST

START_TEST(a_handle_without_migrations_applies_nothing) {
    RUNS(run_with(apply_run, NULL, NULL, NULL), RC_USAGE);
    says("no migrations");
}
END_TEST

START_TEST(a_baseline_calls_done_what_is_there) {
    static const hf_migration list[] = {FIRST,
                                        {"2_drop.sql", "DROP TABLE old;"},
                                        {"noise/3_seen.sql", "CREATE TABLE seen(x);"},
                                        {"4_a.sql", "CREATE TABLE a(x);"},
                                        END};
    hf_schema *s = open_schema(list);
    json_t *answer;
    sql(app, "CREATE TABLE user(id); CREATE TABLE post(id)");
    CODE(baseline_run(s, 0, &answer, e), RC_USAGE);
    CODE(baseline_run(s, 5, &answer, e), RC_NOTFOUND);
    OK(baseline_run(s, 3, &answer, e));
    ck_assert_uint_eq(json_array_size(json_object_get(answer, "recorded")), 3);
    json_decref(answer);
    ROWS(app, PHASES, "1|done;2|done");
    ROWS(noise, PHASES, "3|done");
    ROWS(app, "SELECT min_version FROM holdfast_schema", "2");
    uint64_t wal = file_bytes(app, "-wal");
    OK(baseline_run(s, 3, &answer, e)); /* again: nothing */
    ck_assert_uint_eq(json_array_size(json_object_get(answer, "recorded")), 0);
    json_decref(answer);
    ck_assert_uint_eq(file_bytes(app, "-wal"), wal);
    CODE(baseline_run(s, 4, &answer, e), RC_CONFLICT);
    says("it has a history already");
    schema_close(s);
    applies(list);
    ROWS(app, PHASES, "1|done;2|done;4|done");
    ROWS(noise, "SELECT count(*) FROM sqlite_master WHERE name = 'seen'", "0");
}
END_TEST

/* ---- what it says ---- */

START_TEST(status_plan_and_history_say_where_it_is_and_write_nothing) {
    static const hf_migration list[] = {FIRST,
                                        SPLIT("soak=1h"),
                                        {"noise/3_seen.sql", "CREATE TABLE seen(x);"},
                                        {"4_a.sql", "CREATE INDEX by_name ON user(name);"},
                                        END};
    json_t *answer;
    with_rows();
    to_phase(list, PHASE_VERIFIED);
    hf_schema *s = open_schema(list);
    uint64_t wal = file_bytes(app, "-wal");
    OK(status_run(s, &answer, e));
    char *text = json_dumps(answer, JSON_COMPACT);
    const char *parts[] = {
        "\"name\":\"2_split.sql\",\"phase\":\"verified\"",
        "\"next\":\"contract\"",
        "\"pending\":2",
        "\"version\":4,\"name\":\"4_a.sql\",\"why\":\"it is behind 2_split.sql\"",
        "\"part\":0,\"rows\":5,\"done\":true",
        "\"problem\":null"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        ck_assert_msg(strstr(text, parts[i]) != NULL, "%s: %s", parts[i], text);
    free(text);
    json_decref(answer);
    OK(history_run(s, &answer, e));
    ck_assert_uint_eq(json_array_size(json_object_get(answer, "steps")), 6);
    json_decref(answer);
    OK(plan_run(s, &answer, e));
    json_t *steps = json_object_get(answer, "steps");
    ck_assert_uint_eq(json_array_size(steps), 2);
    text = json_dumps(steps, JSON_COMPACT);
    ck_assert_ptr_nonnull(
        strstr(text, "\"gated\":true,\"soak_ms\":3600000,\"reversible\":\"lossy\""));
    ck_assert_ptr_nonnull(strstr(text, "\"cost\":\"rewrites\""));
    ck_assert_ptr_nonnull(strstr(text, "\"cost\":\"reads\""));
    free(text);
    json_decref(answer);
    ck_assert_uint_eq(file_bytes(app, "-wal"), wal);
    schema_close(s);
}
END_TEST

START_TEST(whoever_only_looks_leaves_the_mode_of_the_file) {
    json_t *answer;
    sql(app, "PRAGMA journal_mode = DELETE; CREATE TABLE mine(x)");
    hf_schema *s = open_schema(first);
    OK(status_run(s, &answer, e));
    json_decref(answer);
    OK(plan_run(s, &answer, e));
    json_decref(answer);
    schema_close(s);
    ROWS(app, "PRAGMA journal_mode", "delete");
    applies(first);
    ROWS(app, "PRAGMA journal_mode", "wal");
}
END_TEST

START_TEST(status_tells_of_a_problem_as_an_answer) {
    static const hf_migration edited[] = {{"1_user.sql", "CREATE TABLE other(x);"}, END};
    json_t *answer;
    applies(first);
    hf_schema *s = open_schema(edited);
    OK(status_run(s, &answer, e));
    const char *problem = json_string_value(json_object_get(answer, "problem"));
    ck_assert_ptr_nonnull(problem);
    ck_assert_ptr_nonnull(strstr(problem, "edited"));
    json_decref(answer);
    schema_close(s);
}
END_TEST

START_TEST(somebody_who_commits_between_two_steps_is_noted) {
    with_rows();
    hf_schema *s = open_schema(split);
    struct run_options o = {0};
    struct run r = {.schema = s, .options = &o};
    const struct migration *m = set_find(&s->set, 2);
    bool waits;
    OK(run_begin(&r, e));
    OK(run_step(&r, m, STEP_EXPAND, &waits, e));
    OK(run_step(&r, m, STEP_SYNC, &waits, e));
    sql(app, "UPDATE post SET text = 'between'");
    OK(run_step(&r, m, STEP_BACKFILL, &waits, e));
    OK(run_step(&r, m, STEP_VERIFY, &waits, e));
    run_end(&r);
    run_deinit(&r);
    schema_close(s);
    ROWS(app, "SELECT step, others FROM holdfast_step WHERE version = 2 ORDER BY id",
         "expand|0;sync|0;backfill 0|1;verify|0");
}
END_TEST

START_TEST(a_step_that_somebody_else_took_is_not_taken_again) {
    with_rows();
    hf_schema *s = open_schema(split);
    struct run_options o = {0};
    struct run r = {.schema = s, .options = &o};
    const struct migration *m = set_find(&s->set, 2);
    bool waits;
    char text[300];
    OK(run_begin(&r, e));
    snprintf(text, sizeof text,
             "ALTER TABLE user ADD COLUMN first TEXT; INSERT INTO holdfast_migration VALUES "
             "(2, '2_split.sql', '%s', '', 'expanded', 0, 0, NULL)",
             m->sha256);
    sql(app, text);
    OK(run_step(&r, m, STEP_EXPAND, &waits, e));
    ck_assert(!waits);
    ck_assert_int_eq(run_phase(&r, m), PHASE_EXPANDED);
    ck_assert_uint_eq(json_array_size(r.applied), 0);
    sql(app, "UPDATE holdfast_migration SET sha256 = 'of another text' WHERE version = 2");
    CODE(run_step(&r, m, STEP_SYNC, &waits, e), RC_CONFLICT);
    says("edited");
    run_end(&r);
    run_deinit(&r);
    schema_close(s);
    ROWS(app, STEPS, "1|ordinary");
    ROWS(app, "SELECT count(*) FROM sqlite_master WHERE type = 'trigger'", "0");
}
END_TEST

START_TEST(one_who_is_told_to_stop_stops_between_two_steps) {
    hf_schema *s = open_schema(split);
    struct run_options o = {0};
    json_t *answer;
    atomic_store(&s->stop, true);
    CODE(apply_run(s, &o, &answer, e), RC_CANCELLED);
    atomic_store(&s->stop, false);
    OK(apply_run(s, &o, &answer, e));
    json_decref(answer);
    schema_close(s);
}
END_TEST

START_TEST(a_handle_is_of_one_call_at_a_time) {
    hf_schema *s = open_schema(first);
    OK(schema_enter(s, e));
    CODE(schema_enter(s, e), RC_BUSY);
    schema_leave(s);
    OK(schema_enter(s, e));
    schema_leave(s);
    schema_close(s);
}
END_TEST

static TCase *add_case(Suite *suite, const char *name) {
    TCase *t = tcase_create(name);
    tcase_set_timeout(t, 60);
    tcase_add_unchecked_fixture(t, temp_setup, temp_teardown);
    tcase_add_checked_fixture(t, setup, NULL);
    suite_add_tcase(suite, t);
    return t;
}

int main(void) {
    Suite *suite = suite_create("schema/apply");
    TCase *t = add_case(suite, "steps");
    tcase_add_test(t, an_ordinary_migration_is_done_once);
    tcase_add_test(t, all_phases_are_gone_through_each_with_its_row);
    ADD_ROWS(t, a_run_goes_as_far_as_it_is_told_and_reverts_from_there, stops);
    tcase_add_test(t, an_ordinary_migration_counts_as_an_expand_or_as_a_contract);
    tcase_add_test(t, a_version_ends_the_run);
    tcase_add_test(t, of_two_backfills_each_does_its_rows);
    tcase_add_test(t, what_lint_cannot_see_is_refused_by_sqlite);
    tcase_add_test(t, whoever_only_looks_leaves_the_mode_of_the_file);
    tcase_add_test(t, each_file_has_its_own_history_and_noise_goes_on_when_main_waits);
    tcase_add_test(t, a_noise_that_was_lost_is_filled_again);
    tcase_add_test(t, what_finds_nothing_to_do_writes_nothing);
    ADD_ROWS(t, what_a_file_has_no_section_for_is_passed_over, passings);
    ADD_ROWS(t, a_step_that_fails_leaves_the_database_as_it_was, refusals);
    t = add_case(suite, "records");
    tcase_add_test(t, children_of_a_table_that_is_dropped_and_made_again_survive);
    tcase_add_test(t, orphans_of_before_are_nobodys_fault);
    tcase_add_test(t, edited_missing_disordered_and_newer_sets_are_refused);
    tcase_add_test(t, a_handle_without_migrations_applies_nothing);
    tcase_add_test(t, of_an_edited_one_that_was_begun_it_is_said_how_to_get_out);
    tcase_add_test(t, a_baseline_calls_done_what_is_there);
    tcase_add_test(t, status_plan_and_history_say_where_it_is_and_write_nothing);
    tcase_add_test(t, status_tells_of_a_problem_as_an_answer);
    tcase_add_test(t, somebody_who_commits_between_two_steps_is_noted);
    tcase_add_test(t, a_step_that_somebody_else_took_is_not_taken_again);
    tcase_add_test(t, one_who_is_told_to_stop_stops_between_two_steps);
    tcase_add_test(t, a_handle_is_of_one_call_at_a_time);
    return run_suite(suite);
}
