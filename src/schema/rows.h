/* What a database says of itself, as lists of texts: for questions to the schema, of few rows. */
#ifndef SCHEMA_ROWS_H
#define SCHEMA_ROWS_H

#include "schema/conn.h"

/* A list for each row, of texts and nulls. `sql` is by sqlite3_mprintf and is freed; NULL: no
 * memory. What *out had is let go: AUTO(rows_free), and NULL at first. */
MUST_USE rc rows_ask(struct sconn *, char *sql, json_t **out, struct err *e);
void rows_free(json_t **);
/* NULL: a null, or no such cell. */
const char *rows_cell(const json_t *rows, size_t row, size_t column);
/* sconn_exec; `sql` as above. */
MUST_USE rc rows_run(struct sconn *, char *sql, struct err *e);
/* RC_NOTFOUND: "no table 'usr'; did you mean 'user'?", out of the first cells. */
MUST_USE rc rows_lack(const json_t *rows, const char *what, const char *name, struct err *e);

/* name, hidden, notnull, pk, dflt_value, in order; of a view, too. */
MUST_USE rc rows_columns(struct sconn *, const char *table, json_t **out, struct err *e);
bool rows_is_generated(const json_t *columns, size_t i);
bool rows_has(const json_t *rows, const char *name); /* as a first cell, in any case */

#endif
