/* A backfill made by hand, and how it is run. */
#ifndef TESTS_SCHEMA_FILL_H
#define TESTS_SCHEMA_FILL_H

#include "box.h"

#include "schema/backfill.h"

static struct statement statement;
static struct section section;
static struct migration migration;
static struct backfill_report report;

/* One more than it was: a row that is done twice shows. */
static inline void write_backfill(const char *table, const char *key, const char *where,
                                  int64_t batch) {
    static char update[300];
    snprintf(update, sizeof update, "UPDATE %s SET n = n + 1 WHERE %s > :lo AND %s <= :hi AND (%s)",
             table, key, key, where ? where : "1");
    statement = (struct statement){.sql = update, .line = 9};
    section = (struct section){.kind = SECTION_BACKFILL,
                               .line = 8,
                               .statements = &statement,
                               .count = 1,
                               .table = (char *)(uintptr_t)table,
                               .key = (char *)(uintptr_t)key,
                               .where = (char *)(uintptr_t)where,
                               .batch = batch};
    static char name[] = "7_fill.sql";
    migration = (struct migration){
        .name = name, .version = 7, .form = FORM_PHASED, .sections = &section, .count = 1};
}

static inline rc run(struct err *e) {
    return backfill_run(&conn, &migration, &section, 0, &report, e);
}

/* How often it is still called before it does something. */
static int stop_after;
static inline void stop_in_time(sqlite3_context *context, int n, sqlite3_value **values) {
    (void)n;
    if (--stop_after == 0) atomic_store(&box.stop, true);
    sqlite3_result_value(context, values[0]);
}

#endif
