/* The forms of two other tools, read as they are.
 *
 *     -- migrate:up [transaction:false]      https://github.com/amacneil/dbmate
 *     -- migrate:down [transaction:false]
 *
 *     -- +goose Up | Down           https://pressly.github.io/goose/documentation/annotations
 *     -- +goose NO TRANSACTION
 *     -- +goose StatementBegin ... -- +goose StatementEnd
 *
 * A step is one transaction here, whatever they say about it, foreign keys are off in it, and what
 * they would have refused is looked at before its COMMIT: so BEGIN, COMMIT and the pragmas that go
 * with them are passed over. legacy_alter_table is set for the steps of its file. goose's markers
 * around a statement are not needed to see where it ends, but the last one of a block needs no
 * semicolon.
 */
#include "schema/file_parts.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

static rc take_form(struct parser *p, enum form form, int line) {
    struct migration *m = p->m;
    if (m->form == form) return ok();
    if (m->form != FORM_ORDINARY || m->count > 1)
        return fault(p, line, "a file has one form: this one is in another");
    m->form = form;
    return ok();
}

static rc begin_up(struct parser *p, int line) {
    struct section *s = section_now(p);
    if (p->up)
        return fault(p, line, "a second 'up'; the first is in line %d", p->m->sections[0].line);
    if (p->statement || s->count || p->rebuild)
        return fault(p, p->statement ? p->statement_line : line, "a statement before 'up'");
    p->up = true;
    s->line = line;
    return ok();
}

static rc begin_down(struct parser *p, int line) {
    if (!p->up) return fault(p, line, "'down' before 'up'");
    return section_begin(p, SECTION_DOWN, line);
}

rc dbmate_directive(struct parser *p, struct token rest, int line) {
    static const char *const known[] = {"up", "down", NULL};
    static const char *const options[] = {"transaction:false", "transaction:true", NULL};
    char word[WORD_SIZE], option[WORD_SIZE];
    if (!rest.length || isspace((unsigned char)*rest.at))
        return fault(p, line, "no word behind 'migrate:'");
    word_take(&rest, word);
    bool up = strcmp(word, "up") == 0;
    if (!up && strcmp(word, "down") != 0) return unknown_word(p, line, "migrate:", word, known);
    for (word_take(&rest, option); *option; word_take(&rest, option))
        if (strcmp(option, options[0]) != 0 && strcmp(option, options[1]) != 0)
            return unknown_word(p, line, "", option, options);
    TRY(take_form(p, FORM_DBMATE, line));
    return up ? begin_up(p, line) : begin_down(p, line);
}

static rc begin_block(struct parser *p, int line) {
    if (p->block_line) return fault(p, line, "StatementBegin in the one of line %d", p->block_line);
    if (p->statement)
        return fault(p, line, "StatementBegin in the statement that begins in line %d",
                     p->statement_line);
    if (!p->up) return fault(p, line, "StatementBegin before 'up'");
    p->block_line = line;
    return ok();
}

static rc end_block(struct parser *p, int line) {
    if (!p->block_line) return fault(p, line, "StatementEnd without StatementBegin");
    p->block_line = 0;
    return statement_finish(p);
}

rc goose_directive(struct parser *p, struct token rest, int line) {
    static const char *const known[] = {"Up",     "Down", "StatementBegin", "StatementEnd", "NO",
                                        "ENVSUB", NULL};
    char word[WORD_SIZE], more[WORD_SIZE];
    if (rest.length && !isspace((unsigned char)*rest.at)) return ok(); /* "+goosey" */
    word_take(&rest, word);
    word_take(&rest, more);
    TRY(take_form(p, FORM_GOOSE, line));
    bool begins = strcasecmp(word, "Up") == 0 || strcasecmp(word, "Down") == 0;
    if (begins && p->block_line)
        return fault(p, p->block_line, "StatementBegin without StatementEnd");
    if (strcasecmp(word, "NO") == 0 && strcasecmp(more, "TRANSACTION") == 0) return ok();
    if (strcasecmp(word, "ENVSUB") == 0)
        return strcasecmp(more, "OFF") == 0
                   ? ok()
                   : fault(p, line, "ENVSUB: a migration says the same in every environment");
    if (*more) return fault(p, line, "'%s' behind '%s'", more, word);
    if (strcasecmp(word, "Up") == 0) return begin_up(p, line);
    if (strcasecmp(word, "Down") == 0) return begin_down(p, line);
    if (strcasecmp(word, "StatementBegin") == 0) return begin_block(p, line);
    if (strcasecmp(word, "StatementEnd") == 0) return end_block(p, line);
    return unknown_word(p, line, "+goose ", word, known);
}

/* The value of "PRAGMA name = value;" */
static bool sets_on(const char *at) {
    static const char *const on[] = {"1", "ON", "TRUE", "YES"};
    token_next(&at); /* "=" or "(" */
    struct token value = token_next(&at);
    for (size_t i = 0; i < sizeof on / sizeof *on; i++)
        if (token_is(value, on[i])) return true;
    return false;
}

bool passes_over(struct migration *m, const char *sql) {
    static const char *const pragmas[] = {"foreign_keys", "defer_foreign_keys", "foreign_key_check",
                                          "legacy_alter_table"};
    struct token first = token_next(&sql), second = token_next(&sql);
    if (token_is(first, "BEGIN") || token_is(first, "COMMIT") || token_is(first, "END"))
        return true;
    if (!token_is(first, "PRAGMA")) return false;
    if (token_is(second, "legacy_alter_table")) m->legacy_alter |= sets_on(sql);
    for (size_t i = 0; i < sizeof pragmas / sizeof *pragmas; i++)
        if (token_is(second, pragmas[i])) return true;
    return false;
}
