/* What a statement makes, and what it takes away from programs that are older: see lint.h.
 *
 * It goes by words, and knows no schema: what cannot be told breaks. DROP INDEX does not, though an
 * ON CONFLICT of an older program may have leaned on it; nor does what only adds, though a UNIQUE
 * index refuses what an older program writes (lint says so). A file can say otherwise.
 */
#include "schema/deeds.h"
#include "schema/lint.h"

#include <string.h>

struct deed deed_of(const char *sql) {
    static const char *const between[] = {"IF", "NOT", "EXISTS", NULL};
    static const char *const kinds[] = {"TABLE", "INDEX", "VIEW", "TRIGGER", NULL};
    struct deed d = {.verb = DOES_ELSE};
    struct token t = token_next(&sql);
    if (token_is(t, "CREATE")) d.verb = CREATES;
    if (token_is(t, "DROP")) d.verb = DROPS;
    if (token_is(t, "ALTER")) d.verb = ALTERS;
    if (d.verb == DOES_ELSE) return d;
    do d.kind = token_next(&sql);
    while (d.kind.length && !token_is_one(d.kind, kinds) && !token_is(d.kind, ";"));
    do {
        d.name = token_next(&sql);
        d.maybe |= token_is(d.name, "NOT");
    } while (token_is_one(d.name, between));
    d.then = token_next(&sql);
    if (token_is(d.then, ".")) {
        d.name = token_next(&sql);
        d.then = token_next(&sql);
    }
    return d;
}

bool deed_key(struct token kind, struct token name, char out[DEED_KEY_SIZE]) {
    if (kind.length > 7 || !name.length) return false;
    size_t n = kind.length + 1;
    memcpy(out, kind.at, kind.length);
    out[kind.length] = ' ';
    if (token_plain(name, out + n, DEED_KEY_SIZE - n) >= DEED_KEY_SIZE - n) return false;
    for (char *c = out; *c; c++)
        if (*c >= 'A' && *c <= 'Z') *c = (char)(*c - 'A' + 'a');
    return true;
}

bool deed_remember(json_t *created, const struct statement *s) {
    char key[DEED_KEY_SIZE];
    if (!s->sql) return true;
    struct deed d = deed_of(s->sql);
    struct token name = d.name;
    bool own = d.verb == CREATES && !d.maybe;
    if (d.verb == ALTERS && token_is(d.then, "RENAME") && deed_is_own(created, s)) {
        const char *at = d.then.at + d.then.length;
        own = token_is(token_next(&at), "TO");
        name = token_next(&at);
    }
    if (!own || !deed_key(d.kind, name, key)) return true;
    return json_object_set_new(created, key, json_true()) == 0;
}

bool deed_is_own(const json_t *created, const struct statement *s) {
    char key[DEED_KEY_SIZE];
    if (!s->sql) return false;
    struct deed d = deed_of(s->sql);
    return deed_key(d.kind, d.name, key) && json_object_get(created, key);
}

static bool adds_required(const struct rebuild_op *op) {
    bool required = false, given = false;
    for (const char *at = op->value;;) {
        struct token t = token_next(&at);
        if (!t.length) return required && !given;
        required |= token_is(t, "NULL");
        given |= token_is(t, "DEFAULT");
    }
}

static bool rebuild_breaks(const struct rebuild *r) {
    if (r->create) return true; /* nobody knows what it had */
    for (size_t i = 0; i < r->op_count; i++) switch (r->ops[i].kind) {
        case REBUILD_DROP:
        case REBUILD_NOTNULL:
        case REBUILD_TYPE:
        case REBUILD_STRICT:
        case REBUILD_WITHOUT_ROWID: return true;
        case REBUILD_ADD:
            if (adds_required(&r->ops[i])) return true;
            break;
        case REBUILD_NULLABLE:
        case REBUILD_DEFAULT:
        case REBUILD_FILL: break;
        }
    return false;
}

bool statement_breaks(const struct statement *s) {
    if (s->rebuild) return rebuild_breaks(s->rebuild);
    struct deed d = deed_of(s->sql);
    if (d.verb == DROPS) return !token_is(d.kind, "INDEX");
    if (d.verb != ALTERS) return false;
    const char *at = d.then.at + d.then.length;
    return !token_is(d.then, "ADD") || token_is(token_next(&at), "CONSTRAINT");
}

int first_break(const struct migration *m, bool *forgot) {
    json_t *created = json_object();
    int line = 0;
    for (size_t i = 0; i < m->count && m->sections[i].kind < SECTION_REVERT; i++)
        for (size_t k = 0; k < m->sections[i].count && !line; k++) {
            const struct statement *s = &m->sections[i].statements[k];
            if (statement_breaks(s) && !deed_is_own(created, s)) line = s->line;
            *forgot |= !deed_remember(created, s);
        }
    json_decref(created);
    return line;
}

bool migration_breaks(const struct migration *m) {
    if (m->effect != EFFECT_JUDGED) return m->effect == EFFECT_BREAKING;
    const struct section *contract = migration_section(m, SECTION_CONTRACT, NULL);
    bool forgot = false; /* then it breaks */
    return contract ? !contract->compatible : first_break(m, &forgot) > 0;
}
