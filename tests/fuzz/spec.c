/* The spec of a promotion. Input: its text. One that is taken is written and read as the same, and
 * the migration that its table is made by can be read, and run by SQLite on an empty database. */
#include "fuzz.h"

#include "promote/ladder.h"
#include "schema/file.h"

#include <sqlite3.h>

static char *print(const struct spec *s) {
    struct buf b;
    buf_init(&b, LIMIT_SPEC * 2);
    spec_print(s, "", &b);
    buf_u8(&b, 0);
    MUST(!b.failed);
    return (char *)b.bytes;
}

static void run(sqlite3 *db, const struct migration *m) {
    for (size_t i = 0; i < m->count; i++)
        for (size_t k = 0; k < m->sections[i].count && m->sections[i].kind != SECTION_REVERT; k++) {
            sqlite3_stmt *st;
            const char *sql = m->sections[i].statements[k].sql;
            if (sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK) {
                fprintf(stderr, "%s\n%s\n", sql, sqlite3_errmsg(db));
                abort();
            }
            while (sqlite3_step(st) == SQLITE_ROW) {
            }
            MUST(sqlite3_finalize(st) == SQLITE_OK);
        }
}

static void check_ladder(const struct spec *s) {
    struct buf b;
    struct migration *m;
    struct err e;
    sqlite3 *db;
    buf_init(&b, LIMIT_MIGRATION);
    MUST(is_ok(ladder_text(s, RUNG_SHADOW, 0, &b, &e)));
    buf_u8(&b, 0);
    rc r = migration_parse("1_a.sql", s->noise, (const char *)b.bytes, b.size - 1, &m, &e);
    if (!is_ok(r)) fprintf(stderr, "%s\n", e.text);
    MUST(is_ok(r));
    MUST(sqlite3_open(":memory:", &db) == SQLITE_OK);
    run(db, m);
    sqlite3_close(db);
    migration_free(m);
    buf_deinit(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct spec *s, *again;
    struct err e = {0};
    if (!is_ok(spec_parse("a", (const char *)bytes, size, &s, &e))) {
        MUST(strncmp(e.text, "a:", 2) == 0);
        return 0;
    }
    char *text = print(s);
    MUST(is_ok(spec_parse("a", text, strlen(text), &again, &e)));
    char *twice = print(again);
    MUST(strcmp(text, twice) == 0);
    check_ladder(s);
    free(text);
    free(twice);
    spec_free(s);
    spec_free(again);
    return 0;
}
