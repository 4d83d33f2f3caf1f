/* Keys, paths into JSON, and the declarations of indexes that a schema holds. Input: a text up to a
 * zero, as a key, a prefix and a path; then a text as what SQLite's schema says of an index. */
#include "fuzz.h"

#include "store/kv_declared.c"

static void check_prefix(const char *prefix) {
    char upper[LIMIT_KV_KEY + 8], within[LIMIT_KV_KEY + 16];
    struct err e = {0};
    bool valid = is_ok(kv_check_key(prefix, "prefix", &e));
    MUST(valid == (strlen(prefix) <= LIMIT_KV_KEY && utf8_valid(prefix, strlen(prefix))));
    if (!valid) return;
    MUST(is_ok(kv_check_key(prefix, "key", &e)) == (*prefix != 0));
    if (!kv_upper(prefix, upper)) { /* U+10FFFF and no other */
        for (const char *p = prefix; *p; p += 4) MUST(strncmp(p, "\xf4\x8f\xbf\xbf", 4) == 0);
        return;
    }
    MUST(utf8_valid(upper, strlen(upper)) && strlen(upper) <= strlen(prefix) + 1);
    MUST(strncmp(upper, prefix, strlen(prefix)) != 0 && strcmp(upper, prefix) > 0);
    snprintf(within, sizeof within, "%s\xf4\x8f\xbf\xbf", prefix);
    MUST(strcmp(within, upper) < 0);
}

/* SQLite takes the one spelling, and that is its own spelling. */
static void check_path(const char *path) {
    static sqlite3_stmt *probe;
    char spelled[LIMIT_JSON_PATH], again[LIMIT_JSON_PATH];
    struct err e = {0};
    if (!is_ok(kv_path(path, spelled, &e))) {
        MUST(*e.text && !strchr(e.text, '\n'));
        return;
    }
    MUST(is_ok(kv_path(spelled, again, &e)) && strcmp(spelled, again) == 0);
    if (!probe) {
        sqlite3 *db;
        MUST(sqlite3_open(":memory:", &db) == SQLITE_OK);
        MUST(sqlite3_prepare_v2(db, "SELECT json_extract('{\"a\":[1]}',?1), json_extract('{}',?2)",
                                -1, &probe, NULL) == SQLITE_OK);
    }
    sqlite3_reset(probe);
    sqlite3_bind_text(probe, 1, spelled, -1, SQLITE_STATIC);
    sqlite3_bind_text(probe, 2, path, -1, SQLITE_STATIC);
    MUST(sqlite3_step(probe) == SQLITE_ROW);
}

/* What is declared is read back as it was; and of any text, what is read back is declared so. */
static void check_declared(const char *prefix, const char *path) {
    struct index *x = malloc(sizeof *x), *again = malloc(sizeof *again);
    char *definition = NULL, sql[3 * (LIMIT_KV_KEY + LIMIT_JSON_PATH) + 512];
    struct err e;
    if (is_ok(index_init(x, KV_MAIN, prefix, path, &e))) {
        MUST(is_ok(index_definition(x, &definition, &e)));
        for (int unique = 0; unique < 2; unique++) {
            snprintf(sql, sizeof sql, "CREATE %sINDEX %s", unique ? "UNIQUE " : "", definition);
            MUST(parse(x->name, sql, KV_MAIN, again));
            MUST(strcmp(x->prefix, again->prefix) == 0 && strcmp(x->path, again->path) == 0);
            MUST(again->unique == unique);
        }
        sqlite3_free(definition);
    }
    free(x);
    free(again);
}

static void check_schema(const char *name, const char *sql) {
    struct index *x = malloc(sizeof *x);
    char *definition = NULL;
    struct err e;
    if (parse(name, sql, KV_NOISE, x)) {
        MUST(strcmp(x->name, name) == 0 && is_ok(index_definition(x, &definition, &e)));
        MUST(strstr(sql, definition) == sql + (x->unique ? 20 : 13));
        sqlite3_free(definition);
    }
    free(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char *text = calloc(1, size + 2); /* ends twice */
    memcpy(text, bytes, size);
    const char *second = text + strlen(text) + 1;
    if (second > text + size) second = text + size;
    check_prefix(text);
    check_prefix(second);
    check_path(text);
    check_path(second);
    check_declared(text, second);
    check_schema(text, second);
    free(text);
    return 0;
}
