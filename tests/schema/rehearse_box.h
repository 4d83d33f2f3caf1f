/* A database to be rehearsed on: its directory, noted before and after; the handle; the answer. */
#ifndef TESTS_SCHEMA_REHEARSE_BOX_H
#define TESTS_SCHEMA_REHEARSE_BOX_H

#include "../os/temp.h"

#include "schema/copy.h"
#include "schema/rehearse.h"

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>

static char home[TEMP_PATH], runtime[TEMP_PATH], path[TEMP_PATH * 2], noise_path[TEMP_PATH * 2];
static hf_schema *schema;

/* ---- the original ---- */

static inline void on(const char *file, const char *text) {
    sqlite3 *db;
    char *words = NULL;
    ck_assert_int_eq(sqlite3_open(file, &db), SQLITE_OK);
    ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &words) == SQLITE_OK, "%s: %s", text, words);
    ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

#define ROWS                                                                                       \
    "PRAGMA journal_mode=WAL; CREATE TABLE user(id INTEGER PRIMARY KEY, name TEXT NOT NULL);"      \
    "CREATE INDEX user_name ON user(name);"                                                        \
    "INSERT INTO user(name) VALUES ('Ada Lovelace'), ('Alan Turing'), ('Plato');"                  \
    "CREATE TABLE pet(id INTEGER PRIMARY KEY, owner INTEGER REFERENCES user(id));"                 \
    "INSERT INTO pet VALUES (1, 1), (2, 2); CREATE TABLE none(id INTEGER PRIMARY KEY, a TEXT);"

static inline void setup(void) {
    temp_dir(home);
    temp_dir(runtime);
    setenv("RUNTIME_DIRECTORY", runtime, 1);
    snprintf(path, sizeof path, "%s/app.db", home);
    snprintf(noise_path, sizeof noise_path, "%s/app-noise.db", home);
    on(path, ROWS);
}

static inline void teardown(void) {
    schema_close(schema);
    schema = NULL;
}

/* Every file below a directory with its bytes, in the order of the names. What SQLite keeps in
 * shared memory is not the database's: of that only the name. */
static inline void note_dir(const char *dir, FILE *out) {
    struct dirent **names;
    int n = scandir(dir, &names, NULL, alphasort);
    ck_assert_int_ge(n, 0);
    for (int i = 0; i < n; i++) {
        const char *name = names[i]->d_name, *file = below(dir, name);
        struct stat st;
        char bytes[4096];
        if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
            ck_assert_int_eq(lstat(file, &st), 0);
            fprintf(out, "%s %o %lld\n", name, st.st_mode, (long long)st.st_size);
            bool shared = strstr(name, "-shm") != NULL;
            FILE *in = S_ISREG(st.st_mode) && !shared ? fopen(file, "rb") : NULL;
            for (size_t got; in && (got = fread(bytes, 1, sizeof bytes, in)) > 0;)
                fwrite(bytes, 1, got, out);
            if (in) fclose(in);
        }
        free(names[i]);
    }
    free(names);
}

struct noted {
    char *bytes;
    size_t size;
};

static inline struct noted note(void) {
    struct noted n = {NULL, 0};
    FILE *out = open_memstream(&n.bytes, &n.size);
    note_dir(home, out);
    fclose(out);
    return n;
}

static inline bool is_as(const struct noted *before) {
    struct noted now = note();
    bool same = now.size == before->size && memcmp(now.bytes, before->bytes, now.size) == 0;
    free(now.bytes);
    return same;
}

static inline int files_in(const char *dir) {
    DIR *d = opendir(dir);
    int n = 0;
    ck_assert_ptr_nonnull(d);
    while (readdir(d)) n++;
    closedir(d);
    return n - 2;
}

/* Files of a copy that this process has open. */
static inline int open_copies(void) {
    DIR *d = opendir("/proc/self/fd");
    char to[4096];
    int n = 0;
    ck_assert_ptr_nonnull(d);
    for (struct dirent *entry; (entry = readdir(d));) {
        ssize_t size = readlinkat(dirfd(d), entry->d_name, to, sizeof to - 1);
        to[size > 0 ? size : 0] = 0;
        n += strstr(to, "-rehearsal-") != NULL;
    }
    closedir(d);
    return n;
}

#define UNTOUCHED(before)                                                                          \
    do {                                                                                           \
        ck_assert_msg(is_as(&(before)), "the directory is not as it was");                         \
        ck_assert_int_eq(open_copies(), 0);                                                        \
        ck_assert_int_eq(files_in(runtime), 0);                                                    \
        free((before).bytes);                                                                      \
    } while (0)

static inline int leftovers_in(const char *dir) {
    DIR *d = opendir(dir);
    int n = 0;
    ck_assert_ptr_nonnull(d);
    for (struct dirent *entry; (entry = readdir(d));)
        n += strstr(entry->d_name, "-rehearsal-") != NULL;
    closedir(d);
    return n;
}

/* ---- the handle ---- */

static void (*on_event)(void);

static inline void see_event(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg, (void)pairs, (void)count;
    if (on_event && strcmp(name, "schema.rehearsed") == 0) on_event();
}

static inline hf_schema *opened(const hf_migration *migrations, bool noise) {
    hf_schema *s;
    hf_schema_options o = {
        .size = sizeof o, .migrations = migrations, .event = see_event, .app = "a test"};
    OK(schema_open(path, noise ? noise_path : NULL, NULL, &o, &s, e));
    return s;
}

/* One migration, or more: name, text, ..., NULL. */
#define OPEN(...) (schema = opened((const hf_migration[]){__VA_ARGS__, {NULL, NULL}}, false))

static inline json_t *rehearsed(const char *from) {
    json_t *all = NULL;
    OK(rehearse_run(schema, &(struct rehearse_options){.from = from}, &all, e));
    ck_assert_ptr_nonnull(all);
    return all;
}

static inline json_t *part(json_t *all, const char *list, size_t i, const char *key) {
    json_t *of = json_array_get(json_object_get(all, list), i);
    ck_assert_msg(of != NULL, "%s has no %zu: %s", list, i, json_dumps(all, 0));
    json_t *value = json_object_get(of, key);
    ck_assert_msg(value != NULL, "%s lacks %s", list, key);
    return value;
}

static inline const char *words_at(json_t *all, const char *list, size_t i, const char *key) {
    const char *words = json_string_value(part(all, list, i, key));
    ck_assert_msg(words != NULL, "%s.%s is no text", list, key);
    return words;
}

static inline size_t count_of(json_t *all, const char *list) {
    return json_array_size(json_object_get(all, list));
}

#define SPLIT                                                                                      \
    "-- holdfast:expand\n"                                                                         \
    "ALTER TABLE user ADD COLUMN first TEXT;\n"                                                    \
    "-- holdfast:sync\n"                                                                           \
    "CREATE TRIGGER user_split AFTER INSERT ON user WHEN new.first IS NULL BEGIN\n"                \
    "  UPDATE user SET first = substr(name, 1, instr(name || ' ', ' ') - 1) WHERE id = new.id;\n"  \
    "END;\n"                                                                                       \
    "-- holdfast:backfill table=user key=id where=\"first IS NULL\"\n"                             \
    "UPDATE user SET first = substr(name, 1, instr(name || ' ', ' ') - 1)\n"                       \
    " WHERE id > :lo AND id <= :hi AND first IS NULL;\n"                                           \
    "-- holdfast:verify\n"                                                                         \
    "SELECT count(*) FROM user WHERE first IS NULL;\n"
#define CONTRACT                                                                                   \
    "-- holdfast:contract soak=1h\n"                                                               \
    "DROP INDEX user_name;\n"
#define REVERT                                                                                     \
    "-- holdfast:revert\n"                                                                         \
    "ALTER TABLE user DROP COLUMN first;\n"
#define DOWN                                                                                       \
    "-- holdfast:down\n"                                                                           \
    "CREATE INDEX user_name ON user(name);\n"                                                      \
    "ALTER TABLE user DROP COLUMN first;\n"

#endif
