/* One migration as a text: what it says, before anything of it is run.
 *
 * Sources: docs/schema.md 2 for the directives; dbmate's and goose's documentation for their forms,
 * which are read as they are.
 *
 * Ownership: a migration owns all that it points to. Any thread; nothing here asks the system.
 * Errors name file and line: "20260901120000_split_name.sql:12: ...".
 */
#ifndef SCHEMA_FILE_H
#define SCHEMA_FILE_H

#include "base/rc.h"

#include <stddef.h>
#include <stdint.h>

#define LIMIT_MIGRATION (16u << 20) /* one file, in bytes */
#define LIMIT_MIGRATION_NAME 200u

enum form { FORM_ORDINARY, FORM_PHASED, FORM_DBMATE, FORM_GOOSE };

/* In the order in which they run; of an ordinary migration, dbmate's and goose's "up" is
 * SECTION_ORDINARY. */
enum section_kind {
    SECTION_ORDINARY,
    SECTION_EXPAND,
    SECTION_SYNC,
    SECTION_BACKFILL,
    SECTION_VERIFY,
    SECTION_CONTRACT,
    SECTION_REVERT,
    SECTION_DOWN
};
const char *section_name(enum section_kind); /* "expand" */

/* What a rebuild changes; all else of the table is kept. One of `ops` or `create`. */
struct rebuild_op {
    enum rebuild_op_kind {
        REBUILD_DROP,     /* drop=COLUMN */
        REBUILD_NOTNULL,  /* notnull=COLUMN */
        REBUILD_NULLABLE, /* nullable=COLUMN */
        REBUILD_TYPE,     /* type=COLUMN:TYPE */
        REBUILD_DEFAULT,  /* default=COLUMN:EXPRESSION */
        REBUILD_FILL,     /* fill=COLUMN:EXPRESSION, over the old row, for the new column's value */
        REBUILD_ADD,      /* add="COLUMN TYPE ...": the whole is the value */
        REBUILD_STRICT,   /* strict */
        REBUILD_WITHOUT_ROWID /* without-rowid */
    } kind;
    char *column, *value; /* NULL where the kind has none */
};
struct rebuild {
    char *table;
    struct rebuild_op *ops;
    size_t op_count;
    char *create; /* the CREATE TABLE that follows the directive, when it has no op but fill= */
};

struct statement {
    char *sql; /* one statement, with its semicolon; NULL: a rebuild */
    struct rebuild *rebuild;
    int line; /* of its first word, from 1 */
};

struct section {
    enum section_kind kind;
    int line;
    struct statement *statements;
    size_t count;
    /* backfill: table=, key=, batch=, target_ms=, where="..." ; 0 and NULL: the default */
    char *table, *key, *where;
    int64_t batch, target_ms;
    char *expect;    /* verify: what its one value must be; "0" */
    int64_t soak_ms; /* contract: soak=1h, since the verification */
    bool compatible; /* contract: older programs go on */
    bool lossy;      /* down */
};

enum effect { EFFECT_JUDGED, EFFECT_COMPATIBLE, EFFECT_BREAKING }; /* JUDGED: by its statements */

struct migration {
    char *name; /* of the file: "20260901120000_split_name.sql" */
    int64_t version;
    bool noise;
    enum form form;
    enum effect effect; /* -- holdfast:compatible, -- holdfast:breaking */
    struct section *sections;
    size_t count;
    bool legacy_alter;        /* theirs: PRAGMA legacy_alter_table=ON, a RENAME compiles no view */
    struct statement *passed; /* of dbmate's and goose's: BEGIN, COMMIT, and the pragmas that the */
    size_t passed_count;      /* runner has set already; they are not run */
    char sha256[65];          /* of the text, CR LF taken for LF */
    char chain[65];           /* set.h: of this and all before it */
};

/* `name` without directories; `noise` from where it lay. */
MUST_USE rc migration_parse(const char *name, bool noise, const char *text, size_t size,
                            struct migration **out, struct err *e);
void migration_free(struct migration *); /* NULL is fine */

/* The first section of that kind at or behind `from` (NULL: from the first); NULL: none. */
const struct section *migration_section(const struct migration *, enum section_kind,
                                        const struct section *from);
bool migration_has(const struct migration *, enum section_kind);

/* "20260901120000_split_name.sql" -> 20260901120000; false: no version, or no name behind it. */
bool migration_version(const char *name, int64_t *version);

/* ---- the text of SQL, in words ---- */

/* The next word or mark at *at, moved behind it: an identifier or keyword, a number, a literal in
 * its quotes, a parameter with its mark (":lo"), one operator. Blanks and comments are passed over.
 * length 0: the end. */
struct token {
    const char *at;
    size_t length;
};
struct token token_next(const char **at);
bool token_is(struct token, const char *word);             /* in any case */
bool token_is_one(struct token, const char *const *words); /* of those, ended by NULL */
/* An identifier without its quotes; NULL: no memory. */
char *token_identifier(struct token);
/* The same, cut where `size` ends; how long it is. */
size_t token_plain(struct token, char *out, size_t size);

#endif
