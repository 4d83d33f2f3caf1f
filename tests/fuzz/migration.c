/* A migration, with what lint says of it; and the same bytes as a holdfast.sum. */
#include "fuzz.h"

#include "schema/lint.h"
#include "schema/set.c"

#define NAME "1_a.sql"

static int lines_of(const char *text, size_t size) {
    int n = 1;
    for (size_t i = 0; i < size; i++) n += text[i] == '\n';
    return n;
}

static void check_statement(const struct statement *s, const char *text, size_t size, int *line,
                            int last) {
    MUST(s->line >= *line && s->line <= last);
    *line = s->line;
    const char *sql = s->sql ? s->sql : s->rebuild->create;
    MUST(!s->sql != !s->rebuild);
    if (s->rebuild) MUST(*s->rebuild->table && (s->rebuild->create || s->rebuild->op_count));
    for (size_t i = 0; s->rebuild && i < s->rebuild->op_count; i++)
        MUST(s->rebuild->ops[i].kind >= REBUILD_STRICT || *s->rebuild->ops[i].column);
    if (!sql) return;
    const char *at = sql;
    struct token first = token_next(&at), t = first;
    if (!token_is(first, "EXPLAIN")) MUST(sqlite3_complete(sql) == 1); /* invariant 1 of file.c */
    size_t n = strlen(sql);
    MUST(first.length && first.at == sql);
    while (t.length) t = token_next(&at);
    MUST(at == sql + n && sql[n - 1] == ';');
    if (text) MUST(memmem(text, size, sql, n - 1));
}

static void check_migration(const struct migration *m, const char *text, size_t size) {
    int line = 1, last = lines_of(text, size);
    const bool plain = !memchr(text, '\r', size);
    MUST(m->count && (m->form == FORM_PHASED) != (m->sections[0].kind == SECTION_ORDINARY));
    MUST(strlen(m->sha256) == 64);
    for (size_t i = 0; i < m->count; i++) {
        const struct section *s = &m->sections[i];
        MUST(!i || s->kind >= s[-1].kind);
        if (s->kind == SECTION_BACKFILL) MUST(*s->table && *s->key && s->count == 1);
        if (s->kind == SECTION_VERIFY) MUST(s->expect && s->count);
        for (size_t k = 0; k < s->count; k++)
            check_statement(&s->statements[k], plain ? text : NULL, size, &line, last);
    }
}

struct seen {
    int last, errors, count;
};
static void check_finding(void *arg, const struct finding *f) {
    struct seen *s = arg;
    MUST(f->line >= 1 && f->line <= s->last && *f->words && !strchr(f->words, '\n'));
    s->count++;
    s->errors += f->error;
}

static void check_lint(struct migration *m, const char *text, size_t size) {
    struct seen seen = {.last = lines_of(text, size)};
    struct set set = {.at = &m, .count = 1};
    struct err e;
    bool errors;
    MUST(is_ok(lint(m, check_finding, &seen, &e)));
    json_t *j = lint_json(&set, &errors);
    MUST(json_array_size(j) == (size_t)seen.count && errors == (seen.errors > 0));
    MUST(is_ok(lint_check(m, &e)) == !errors);
    json_decref(j);
    migration_breaks(m);
}

/* The same text with CR LF is the same migration. */
static void check_line_ends(const struct migration *m, const char *text, size_t size) {
    struct migration *again = NULL;
    char *wide = malloc(2 * size + 1);
    size_t n = 0;
    struct err e;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\n' && (!i || text[i - 1] != '\r')) wide[n++] = '\r';
        wide[n++] = text[i];
    }
    MUST(is_ok(migration_parse(NAME, false, wide, n, &again, &e)));
    MUST(strcmp(m->sha256, again->sha256) == 0 && m->count == again->count);
    for (size_t i = 0; i < m->count; i++) {
        MUST(m->sections[i].count == again->sections[i].count);
        for (size_t k = 0; k < m->sections[i].count; k++) {
            const char *one = m->sections[i].statements[k].sql;
            const char *other = again->sections[i].statements[k].sql;
            MUST(one == other || strcmp(one, other) == 0);
        }
    }
    migration_free(again);
    free(wide);
}

/* As the sum of three migrations: only one text is right, but for what is no line. */
static void check_sum_text(const char *bytes, size_t size) {
    static const hf_migration array[] = {
        {"1_a", "SELECT 1;"}, {"noise/2_b", "SELECT 2;"}, {"3_c", "SELECT 3;"}, {NULL, NULL}};
    static struct set set;
    char *text = calloc(1, size + 1);
    struct err e = {0};
    if (!set.count) MUST(is_ok(set_of_array(array, &set, &e)));
    memcpy(text, bytes, size);
    if (is_ok(compare_sum(&set, text, &e)))
        for (size_t i = 0; i < 3; i++)
            MUST(memmem(bytes, size, set.at[i]->chain, 64) &&
                 memmem(bytes, size, set.at[i]->sha256, 64));
    else MUST(e.code == RC_CORRUPT && strstr(e.text, SUM_FILE));
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    const char *text = (const char *)bytes;
    struct migration *m = NULL;
    struct err e = {0};
    check_sum_text(text, size);
    if (!is_ok(migration_parse(NAME, false, text, size, &m, &e))) {
        MUST(!m && e.code == RC_CORRUPT && strncmp(e.text, NAME ":", sizeof NAME) == 0);
        return 0;
    }
    check_migration(m, text, size);
    check_lint(m, text, size);
    check_line_ends(m, text, size);
    migration_free(m);
    return 0;
}

/* Half of what it makes has a piece of a migration more. */
size_t LLVMFuzzerCustomMutator(uint8_t *bytes, size_t size, size_t max, unsigned seed) {
    static const char *const pieces[] = {
        "\n-- holdfast:expand\n",
        "\n-- holdfast:sync\n",
        "\n-- holdfast:verify expect=0\n",
        "\n-- holdfast:backfill table=a key=id batch=9 target=5ms where=\"b\"\n",
        "\n-- holdfast:contract soak=1h compatible\n",
        "\n-- holdfast:revert\n",
        "\n-- holdfast:down lossy\n",
        "\n-- holdfast:rebuild a drop=b fill=c:\"d\" add=\"e f\"\n",
        "\n-- holdfast:rebuild a\nCREATE TABLE a(b);\n",
        "\n-- holdfast:compatible\n",
        "\n-- migrate:up\n",
        "\n-- migrate:down transaction:false\n",
        "\n-- +goose Up\n",
        "\n-- +goose Down\n",
        "\n-- +goose StatementBegin\n",
        "\n-- +goose StatementEnd\n",
        "CREATE TRIGGER a AFTER INSERT ON b BEGIN SELECT 1; SELECT 2; END;",
        " CASE a WHEN 1 THEN 2 END",
        " END;",
        "CREATE ",
        "TEMP ",
        "TRIGGER ",
        " BEGIN ",
        ";END;",
        "DROP TABLE a;",
        "ALTER TABLE a RENAME TO b;",
        "UPDATE a SET b=:lo;",
        "INSERT OR REPLACE INTO holdfast_a.b ",
        "'",
        "\"",
        "/*",
        "*/",
        "--",
        ";",
        "(",
        ")",
        "noise.a",
        "<<<<<<<\n"};
    size_t count = sizeof pieces / sizeof *pieces;
    const char *piece = pieces[seed / 2 % count];
    size_t n = strlen(piece), at = size ? seed / 128 % (size + 1) : 0;
    if (seed % 2 || size + n > max) return LLVMFuzzerMutate(bytes, size, max);
    memmove(bytes + at + n, bytes + at, size - at);
    memcpy(bytes + at, piece, n);
    return size + n;
}
