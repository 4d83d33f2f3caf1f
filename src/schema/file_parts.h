/* What the files that read a migration share; nobody else's. */
#ifndef SCHEMA_FILE_PARTS_H
#define SCHEMA_FILE_PARTS_H

#include "schema/file.h"

/* ---- file_sql.c: the text of SQL ---- */

enum lexeme {
    LEX_END,
    LEX_BLANK,
    LEX_LINE_COMMENT, /* up to its line's end */
    LEX_BLOCK_COMMENT,
    LEX_TOKEN,
    LEX_OPEN /* a literal or a comment that does not end */
};
struct lexed {
    enum lexeme kind;
    struct token text;
};
struct lexed lex(const char *at);

/* Where in a statement a reader is. */
enum part { PART_START, PART_NORMAL, PART_CREATE, PART_TRIGGER, PART_SEMI, PART_END };
/* Behind one more token; *ends: that was its last. */
enum part part_next(enum part, struct token, bool *ends);

/* ---- file.c ---- */

struct parser {
    struct migration *m;
    const char *text, *at; /* all of it; what is read next */
    const char *line_at;   /* a place that was asked for, and its line */
    int line;
    const char *statement, *statement_end; /* the open one, and behind its last token; or NULL */
    int statement_line;
    enum part part;
    struct rebuild *rebuild; /* waits for its CREATE TABLE */
    int rebuild_line, effect_line;
    int block_line; /* of goose's StatementBegin; 0: none is open */
    bool up;        /* dbmate's and goose's was seen */
    struct err *e;
};

/* RC_CORRUPT, with file and line. */
MUST_USE rc fault(struct parser *, int line, const char *fmt, ...) PRINTF_LIKE(3, 4);
MUST_USE rc no_memory(struct parser *);
/* Begins a section; the one before must be whole. */
MUST_USE rc section_begin(struct parser *, enum section_kind, int line);
struct section *section_now(struct parser *);
/* Takes `sql` and `r`. */
MUST_USE rc statement_add(struct parser *, char *sql, struct rebuild *r, int line);
/* The open statement, whose semicolon may be missing where the text or a part of it ends. */
MUST_USE rc statement_finish(struct parser *);
void rebuild_free(struct rebuild *); /* NULL is fine */

/* ---- what a comment says: `rest` is behind the word, to the line's end ---- */

MUST_USE rc holdfast_directive(struct parser *, struct token rest, int line); /* file_directive.c */
MUST_USE rc dbmate_directive(struct parser *, struct token rest, int line);   /* file_forms.c */
MUST_USE rc goose_directive(struct parser *, struct token rest, int line);
/* Of dbmate's and goose's files: what the runner does by itself. */
bool passes_over(struct migration *, const char *sql);
/* The first word of `rest`, cut off of it, to compare with names and to be shown. */
#define WORD_SIZE 64
void word_take(struct token *rest, char out[WORD_SIZE]);
/* "unknown", and which of `known` may be meant. */
MUST_USE rc unknown_word(struct parser *, int line, const char *before, const char *word,
                         const char *const *known);

#endif
