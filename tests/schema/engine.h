/* What the tests of runs share: two files in a directory of the case's own, migrations as arrays,
 * and what the files say. */
#ifndef TESTS_SCHEMA_ENGINE_H
#define TESTS_SCHEMA_ENGINE_H

#include "schema/clients.h"
#include "schema/run.h"
#include "store/internal.h" /* before Check, which has a macro `fail` */

#include "../os/temp.h"

#include <inttypes.h>

static char dir[TEMP_PATH], app[TEMP_PATH * 2], noise[TEMP_PATH * 2];
static char events[200][400]; /* "name key=value ..." */
static int event_count;

static inline void note_event(void *arg, const char *name, const char *const *pairs, int count) {
    char *line = events[event_count++ % 200];
    int at = snprintf(line, 400, "%s", name);
    (void)arg;
    for (int i = 0; i + 1 < count && at < 400; i += 2)
        at += snprintf(line + at, (size_t)(400 - at), " %s=%s", pairs[i], pairs[i + 1]);
}

static inline int events_with(const char *words) {
    int n = 0;
    for (int i = 0; i < event_count; i++) n += strstr(events[i], words) != NULL;
    return n;
}

/* ---- files, past the library ---- */

static inline sqlite3 *open_raw(const char *path) {
    sqlite3 *db;
    ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 20000);
    return db;
}

static inline void raw_exec(sqlite3 *db, const char *sql) {
    int code = sqlite3_exec(db, sql, NULL, NULL, NULL);
    ck_assert_msg(code == SQLITE_OK, "%s: %s", sql, sqlite3_errmsg(db));
}

static inline void sql(const char *path, const char *text) {
    sqlite3 *db = open_raw(path);
    raw_exec(db, text);
    sqlite3_close(db);
}

/* All rows as text: columns by '|', rows by ';'. Kept until the eighth call from now. */
static inline const char *raw_rows(sqlite3 *db, const char *query) {
    static char *kept[8];
    static int next;
    char **out = &kept[next++ % 8];
    sqlite3_str *text = sqlite3_str_new(NULL);
    sqlite3_stmt *st;
    ck_assert_msg(sqlite3_prepare_v2(db, query, -1, &st, NULL) == SQLITE_OK, "%s: %s", query,
                  sqlite3_errmsg(db));
    while (sqlite3_step(st) == SQLITE_ROW) {
        if (sqlite3_str_length(text)) sqlite3_str_appendall(text, ";");
        for (int i = 0; i < sqlite3_column_count(st); i++) {
            const char *value = (const char *)sqlite3_column_text(st, i);
            sqlite3_str_appendf(text, "%s%s", i ? "|" : "", value ? value : "NULL");
        }
    }
    ck_assert_int_eq(sqlite3_finalize(st), SQLITE_OK);
    sqlite3_free(*out);
    *out = sqlite3_str_finish(text);
    return *out ? *out : "";
}

static inline const char *rows(const char *path, const char *query) {
    sqlite3 *db = open_raw(path);
    const char *text = raw_rows(db, query);
    sqlite3_close(db);
    return text;
}

#define ROWS(path, query, expected) ck_assert_str_eq(rows(path, query), expected)
#define PHASES "SELECT version, phase FROM holdfast_migration ORDER BY version"
#define STEPS "SELECT version, step FROM holdfast_step ORDER BY id"

static inline void make_files(void) {
    temp_dir(dir);
    snprintf(app, sizeof app, "%s/app.db", dir);
    snprintf(noise, sizeof noise, "%s/app-noise.db", dir);
    sql(app, "PRAGMA journal_mode = WAL");
    sql(noise, "PRAGMA journal_mode = WAL");
}

static inline uint64_t file_bytes(const char *path, const char *ending) {
    char name[TEMP_PATH * 2 + 8];
    struct stat st;
    snprintf(name, sizeof name, "%s%s", path, ending);
    return stat(name, &st) == 0 ? (uint64_t)st.st_size : 0;
}

/* ---- runs ---- */

static inline hf_schema_options options_of(const hf_migration *list) {
    return (hf_schema_options){.size = sizeof(hf_schema_options),
                               .migrations = list,
                               .app = "a test",
                               .timeout_ms = 60000,
                               .lock_ms = 20000,
                               .event = note_event};
}

static inline hf_schema *open_schema(const hf_migration *list) {
    hf_schema_options o = options_of(list);
    hf_schema *s;
    OK(schema_open(app, noise, NULL, &o, &s, e));
    return s;
}

typedef rc runs(hf_schema *, const struct run_options *, json_t **, struct err *);

/* One call on a handle of its own; what it says is in last_err. */
static inline enum rc_code run_with(runs *fn, const hf_migration *list, const struct run_options *o,
                                    json_t **out) {
    static const struct run_options plain;
    hf_schema_options options = options_of(list);
    hf_schema *s = NULL;
    json_t *json = NULL;
    memset(&last_err, 0, sizeof last_err);
    rc r = schema_open(app, noise, NULL, &options, &s, &last_err);
    if (is_ok(r)) r = fn(s, o ? o : &plain, &json, &last_err);
    schema_close(s);
    if (out) *out = json;
    else json_decref(json);
    return r.code;
}

#define RUNS(call, expected)                                                                       \
    do {                                                                                           \
        enum rc_code runs_ = (call);                                                               \
        ck_assert_msg(runs_ == (expected), "%s: %s (%s), not %s", #call, rc_name(runs_),           \
                      last_err.text, rc_name(expected));                                           \
    } while (0)

static inline void applies(const hf_migration *list) {
    RUNS(run_with(apply_run, list, NULL, NULL), RC_OK);
}

/* Fails with the code and the words. */
static inline void refuses(const hf_migration *list, enum rc_code code, const char *words) {
    RUNS(run_with(apply_run, list, NULL, NULL), code);
    says(words);
}

static inline const char *why_waits(json_t *answer) {
    json_t *first = json_array_get(json_object_get(answer, "waits"), 0);
    const char *why = json_string_value(json_object_get(first, "why"));
    return why ? why : "";
}

/* The steps that were run: "1 ordinary, 2 expand". */
static inline const char *applied(json_t *answer) {
    static char text[2000];
    size_t i;
    int at = 0;
    json_t *step;
    text[0] = 0;
    json_array_foreach(json_object_get(answer, "applied"), i, step) {
        at += snprintf(text + at, sizeof text - (size_t)at, "%s%" JSON_INTEGER_FORMAT " %s",
                       i ? ", " : "", json_integer_value(json_object_get(step, "version")),
                       json_string_value(json_object_get(step, "step")));
        ck_assert_int_lt(at, (int)sizeof text);
    }
    return text;
}

/* ---- what they run ---- */

#define FIRST                                                                                      \
    {                                                                                              \
        "1_user.sql", "CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT NOT NULL);"             \
                      "CREATE TABLE post(id INTEGER PRIMARY KEY, user REFERENCES user(id) "        \
                      "ON DELETE CASCADE, text);"                                                  \
    }
#define EXPAND                                                                                     \
    "-- holdfast:expand\n"                                                                         \
    "ALTER TABLE user ADD COLUMN first TEXT;\n"                                                    \
    "-- holdfast:sync\n"                                                                           \
    "CREATE TRIGGER user_i AFTER INSERT ON user WHEN new.first IS NULL BEGIN\n"                    \
    "  UPDATE user SET first = new.name WHERE id = new.id; END;\n"                                 \
    "-- holdfast:backfill table=user key=id batch=2 where=\"first IS NULL\"\n"                     \
    "UPDATE user SET first = name WHERE id > :lo AND id <= :hi AND first IS NULL;\n"               \
    "-- holdfast:verify\n"                                                                         \
    "SELECT count(*) FROM user WHERE first IS NOT name;\n"
#define BACK                                                                                       \
    "-- holdfast:revert\n"                                                                         \
    "ALTER TABLE user DROP COLUMN first;\n"                                                        \
    "-- holdfast:down lossy\n"                                                                     \
    "ALTER TABLE user ADD COLUMN name TEXT;\n"                                                     \
    "UPDATE user SET name = first; ALTER TABLE user DROP COLUMN first;\n"
#define SPLIT(contract)                                                                            \
    {                                                                                              \
        "2_split.sql", EXPAND "-- holdfast:contract " contract "\n"                                \
                              "ALTER TABLE user DROP COLUMN name;\n" BACK                          \
    }
#define ROWS_OF_USER                                                                               \
    "INSERT INTO user(name) VALUES ('a'), ('b'), ('c'), ('d'), ('e');"                             \
    "INSERT INTO post(user, text) SELECT id, 'hello' FROM user"
#define END                                                                                        \
    { NULL, NULL }

static const hf_migration first[] = {FIRST, END};
static const hf_migration split[] = {FIRST, SPLIT(""), END};
static const hf_migration soaking[] = {FIRST, SPLIT("soak=1h"), END};

/* user and post with five rows each, the first migration done. */
static inline void with_rows(void) {
    applies(first);
    sql(app, ROWS_OF_USER);
}

static inline void to_phase(const hf_migration *list, enum phase phase) {
    struct run_options o = {.to_phase = phase};
    RUNS(run_with(apply_run, list, &o, NULL), RC_OK);
}

#endif
