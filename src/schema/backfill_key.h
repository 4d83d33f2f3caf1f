/* By what a backfill goes through its table. */
#ifndef SCHEMA_BACKFILL_KEY_H
#define SCHEMA_BACKFILL_KEY_H

#include "schema/conn.h"

struct backfill_key {
    char *table, *name; /* as the database writes them; name "rowid": not a column */
    char *sql;          /* "table"."name", quoted; sqlite3_free */
    bool is_text;       /* it begins with '', which no row has; else with -infinity */
    bool moves;         /* a rowid that VACUUM may change */
};

/* RC_USAGE: there is no such table or column, it is not unique, a row has NULL or '' or -infinity;
 * the words say what to write. backfill_key_deinit. */
MUST_USE rc backfill_key_find(struct sconn *, const struct migration *, const struct section *,
                              struct backfill_key *out, struct err *e);
void backfill_key_deinit(struct backfill_key *);

/* RC_USAGE, with file and line: "...sql:12: backfill: ...". */
MUST_USE rc backfill_refuse(const struct migration *, const struct section *, struct err *e,
                            const char *fmt, ...) PRINTF_LIKE(4, 5);

#endif
