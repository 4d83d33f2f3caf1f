/* What each rung makes, and how it is taken back.
 *
 * How two sides that may both be written stay the same, without a flag that says who is writing:
 * each trigger compares, and writes only where the other side differs from what this side says it
 * must be. So a put changes its row, the row's trigger finds the key as it should be, and that is
 * the end; the bytes of the put stay as they are. A row that is written changes its key, and what
 * the key makes of the row (the rest in its one spelling) changes the row once more, or nothing.
 *
 *     put -> node_kv_insert, _update   the row differs? write it -> node_put_*   the key agrees
 *     row -> node_put_insert, _update  the key differs? put it   -> node_kv_*    the row agrees
 *
 * INSERT OR REPLACE fires no DELETE trigger where recursive_triggers is off, which it is on any
 * connection but the store's. So nothing relies on one: an insert looks at what is there. With it
 * on, a trigger may come to itself again, and finds that all agree.
 *
 * A row is never deleted and made again, but updated: others may have it as their parent. An upsert
 * in a trigger keeps its own ON CONFLICT whatever the statement outside says.
 *
 * Invariants
 *  1. A put never fails by a promotion, but for rung 5, which refuses it. What does not fit is in
 *     holdfast_reject, with the reason, and has no row.
 *  2. A value changes only when its row was changed and would not give it any more.
 *  3. Outside of rejects the rows are those that the keys say (node_differs is empty), after each
 *     statement.
 *
 * What is not seen: a row that somebody's own UNIQUE index deletes under INSERT OR REPLACE, with
 * recursive_triggers off; SQLite tells no trigger. node_differs names it.
 */
#include "promote/ladder.h"

#include "promote/projection.h"

#include <sqlite3.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const rung_names[RUNGS] = {"none",   "index", "view",
                                              "shadow", "table", "retired"};

const char *rung_name(enum rung r) {
    return rung_names[r];
}

bool rung_parse(const char *text, enum rung *out) {
    for (int i = 1; i < RUNGS; i++)
        if (strcmp(text, rung_names[i]) == 0 || (text[0] == '0' + i && !text[1])) {
            *out = (enum rung)i;
            return true;
        }
    return false;
}

void ladder_name(const struct spec *s, enum rung r, char out[LIMIT_SPEC_NAME + 16]) {
    snprintf(out, LIMIT_SPEC_NAME + 16, "%s_%d_%s", s->name, (int)r, rung_names[r]);
}

enum rung ladder_rung_of(const char *name, const char *file) {
    const char *base = strrchr(file, '/');
    base = base ? base + 1 : file;
    base += strspn(base, "0123456789");
    size_t n = strlen(name);
    if (base[0] != '_' || strncasecmp(base + 1, name, n) != 0) return RUNG_NONE;
    for (int i = 1; i < RUNGS; i++) {
        char rest[32];
        snprintf(rest, sizeof rest, "_%d_%s.sql", i, rung_names[i]);
        if (strcmp(base + 1 + n, rest) == 0) return (enum rung)i;
    }
    return RUNG_NONE;
}

/* ---- parts of SQL ---- */

static void put_view(struct buf *b, const struct spec *s, const char *suffix, bool with_spec) {
    buf_say(b, "CREATE VIEW %s_%s AS\n", s->name, suffix);
    if (with_spec) spec_print(s, "  ", b); /* what promote status reads */
}

static void put_drop(struct buf *b, const struct spec *s, const char *what, const char *suffix) {
    buf_say(b, "DROP %s %s_%s;\n", what, s->name, suffix);
}

static void put_drops(struct buf *b, const struct spec *s, const char *const *triggers, size_t n) {
    for (size_t i = 0; i < n; i++) put_drop(b, s, "TRIGGER IF EXISTS", triggers[i]);
}
#define PUT_DROPS(b, s, triggers) put_drops(b, s, triggers, sizeof(triggers) / sizeof *(triggers))
static void put_views(struct buf *b, const struct spec *s) {
    put_view(b, s, "kv", true);
    put_rows_of_keys(b, s);
    buf_text(b, ";\n\n");
    put_view(b, s, "value", false);
    put_values_of_rows(b, s);
    buf_text(b, ";\n\n");
}

static void put_differs(struct buf *b, const struct spec *s) {
    put_view(b, s, "differs", false);
    put_differences(b, s);
    buf_text(b, ";\n\n");
}

/* "INSERT INTO node(...) SELECT ... FROM node_kv WHERE <where> AND kv_why IS NULL ON CONFLICT
 * ..." */
static void put_upsert(struct buf *b, const struct spec *s, const char *indent, const char *where) {
    char wide[64];
    snprintf(wide, sizeof wide, "%s         ", indent);
    buf_say(b, "%sINSERT INTO ", indent);
    put_name(b, s->name);
    buf_text(b, "(");
    put_columns(b, s, KEY_COLUMNS | MEMBERS | REST, "", wide);
    buf_say(b, ")\n%sSELECT ", indent);
    put_columns(b, s, KEY_COLUMNS | MEMBERS | REST, "", wide);
    buf_say(b, "\n%s  FROM %s_kv WHERE %s\n%sON CONFLICT(", indent, s->name, where, indent);
    put_columns(b, s, KEY_COLUMNS, "", wide);
    buf_say(b, ") DO UPDATE SET (");
    put_columns(b, s, MEMBERS | REST, "", wide);
    buf_say(b, ") =\n%s  (", indent);
    put_columns(b, s, MEMBERS | REST, "excluded.", wide);
    buf_say(b, ")\n%s  WHERE ", indent);
    char of[LIMIT_SPEC_NAME + 8];
    bool keyword = sqlite3_keyword_check(s->name, (int)strlen(s->name)) != 0;
    snprintf(of, sizeof of, keyword ? "\"%s\"." : "%s.", s->name);
    put_same(b, s, MEMBERS | REST, of, "IS NOT", "excluded.", wide);
    buf_text(b, ";\n");
}

#define REJECTED(of) "EXISTS (SELECT 1 FROM holdfast_reject WHERE name = '%s' AND key = " of ")"
#define NOW_MS "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"

/* ---- 3: what follows the keys ---- */

/* The row of the key as the key says it must be: there, not there, or a reject. Whether a value
 * fits is asked once; everybody else looks at the rejects. */
static void put_follow(struct buf *b, const struct spec *s) {
    buf_say(b,
            "  DELETE FROM holdfast_reject WHERE name = '%s' AND key = new.Key;\n"
            "  INSERT INTO holdfast_reject(name, key, why, at_ms)\n"
            "  SELECT '%s', kv_key, kv_why, " NOW_MS "\n"
            "    FROM %s_kv WHERE kv_key = new.Key AND kv_why IS NOT NULL;\n  DELETE FROM ",
            s->name, s->name, s->name);
    put_name(b, s->name);
    buf_text(b, "\n   WHERE ");
    put_row_of(b, s, "new.Key");
    buf_say(b, "\n     AND (new.Value IS NULL OR " REJECTED("new.Key") ");\n", s->name);
    char where[200];
    snprintf(where, sizeof where, "kv_key = new.Key\n     AND NOT " REJECTED("new.Key"), s->name);
    put_upsert(b, s, "  ", where);
    buf_text(b, "END;\n\n");
}

static void put_forget(struct buf *b, const struct spec *s) {
    buf_say(b, "  DELETE FROM holdfast_reject WHERE name = '%s' AND key = old.Key;\n  DELETE FROM ",
            s->name);
    put_name(b, s->name);
    buf_text(b, "\n   WHERE ");
    put_row_of(b, s, "old.Key");
    buf_text(b, ";\nEND;\n\n");
}

static void put_trigger(struct buf *b, const struct spec *s, const char *name, const char *event,
                        const char *key, const char *more) {
    buf_say(b, "CREATE TRIGGER %s_%s %s ON DBX\nWHEN ", s->name, name, event);
    put_range(b, s, key);
    buf_say(b, "%s\nBEGIN\n", more);
}

static const char *const key_triggers[] = {"kv_insert", "kv_update", "kv_move", "kv_delete"};

static void put_key_triggers(struct buf *b, const struct spec *s) {
    put_trigger(b, s, "kv_insert", "AFTER INSERT", "new.Key", "");
    put_follow(b, s);
    put_trigger(b, s, "kv_update", "AFTER UPDATE OF Key, Value", "new.Key", "");
    put_follow(b, s);
    put_trigger(b, s, "kv_move", "AFTER UPDATE OF Key", "old.Key", " AND new.Key IS NOT old.Key");
    put_forget(b, s);
    put_trigger(b, s, "kv_delete", "AFTER DELETE", "old.Key", "");
    put_forget(b, s);
}

/* "EXISTS (... the key says just this row)" */
static void put_agrees(struct buf *b, const struct spec *s, int which, const char *indent) {
    char wide[64];
    snprintf(wide, sizeof wide, "%s        ", indent);
    buf_say(b, "EXISTS (SELECT 1 FROM %s_kv AS p WHERE p.kv_key = ", s->name);
    put_key(b, s, "new.");
    bool any = which & REST;
    for (size_t i = 0; i < s->count; i++) any |= s->column[i].path != NULL;
    if (any) {
        buf_say(b, "\n%s  AND ", indent);
        put_same(b, s, which, "p.", "IS", "new.", wide);
    }
    buf_say(b, "\n%s  AND NOT " REJECTED("p.kv_key") ")", indent, s->name);
}

/* "(new.id) IS NOT (old.id)" */
static void put_moved(struct buf *b, const struct spec *s) {
    buf_text(b, "(");
    put_columns(b, s, KEY_COLUMNS, "new.", "");
    buf_text(b, ") IS NOT (");
    put_columns(b, s, KEY_COLUMNS, "old.", "");
    buf_text(b, ")");
}

/* "... the key of old. has a value that fits" */
static void put_old_fits(struct buf *b, const struct spec *s, const char *indent) {
    buf_text(b, "EXISTS (SELECT 1 FROM DBX WHERE Key = ");
    put_key(b, s, "old.");
    buf_say(b, " AND Value IS NOT NULL\n%s  AND NOT " REJECTED("DBX.Key") ")", indent, s->name);
}

static void put_on_table(struct buf *b, const struct spec *s, const char *name, const char *event) {
    buf_say(b, "CREATE TRIGGER %s_%s %s ON ", s->name, name, event);
    put_name(b, s->name);
    buf_text(b, "\nWHEN ");
}

static const char *const guards[] = {"guard_insert", "guard_update", "guard_delete"};

static void put_refusal(struct buf *b, const struct spec *s) {
    buf_say(b,
            "\nBEGIN\n  SELECT RAISE(ABORT, '%q is kept from the keys under %q, and not written "
            "itself: put the key');\nEND;\n\n",
            s->name, s->prefix);
}

static void put_guards(struct buf *b, const struct spec *s) {
    put_on_table(b, s, guards[0], "AFTER INSERT");
    buf_text(b, "NOT ");
    put_agrees(b, s, MEMBERS | REST, "");
    put_refusal(b, s);
    put_on_table(b, s, guards[1], "AFTER UPDATE");
    put_moved(b, s);
    buf_text(b, "\n  OR NOT ");
    put_agrees(b, s, MEMBERS | REST, "");
    put_refusal(b, s);
    put_on_table(b, s, guards[2], "AFTER DELETE");
    put_old_fits(b, s, "");
    put_refusal(b, s);
}

/* ---- 4: what follows the rows ---- */

static const char *const row_triggers[] = {"put_insert", "put_update", "put_delete"};

static void put_put(struct buf *b, const struct spec *s) {
    buf_say(b,
            "  SELECT RAISE(ABORT, '%q: the key of this row has a value that does not fit (see "
            "holdfast_reject): delete the key first')\n"
            "    FROM holdfast_reject WHERE name = '%s' AND key = ",
            s->name, s->name);
    put_key(b, s, "new.");
    buf_say(b, ";\n  INSERT INTO DBX(Key, Value)\n  SELECT kv_key, kv_value FROM %s_value WHERE (",
            s->name);
    put_columns(b, s, KEY_COLUMNS, "", "");
    buf_text(b, ") = (");
    put_columns(b, s, KEY_COLUMNS, "new.", "");
    buf_say(b,
            ")\n  ON CONFLICT(Key) DO UPDATE SET Value = excluded.Value;\n"
            "  SELECT RAISE(ABORT, '%q: this row cannot be a key and its value')\n   WHERE NOT ",
            s->name);
    put_agrees(b, s, MEMBERS, "   ");
    buf_text(b, ";\nEND;\n\n");
}

static void put_row_triggers(struct buf *b, const struct spec *s) {
    put_on_table(b, s, row_triggers[0], "AFTER INSERT");
    buf_text(b, "NOT ");
    put_agrees(b, s, MEMBERS | REST, "");
    buf_text(b, "\nBEGIN\n");
    put_put(b, s);

    put_on_table(b, s, row_triggers[1], "AFTER UPDATE");
    put_moved(b, s);
    buf_text(b, "\n  OR NOT ");
    put_agrees(b, s, MEMBERS | REST, "");
    buf_text(b, "\nBEGIN\n  DELETE FROM DBX WHERE Key = ");
    put_key(b, s, "old.");
    buf_text(b, " AND ");
    put_moved(b, s);
    buf_text(b, ";\n");
    put_put(b, s);

    put_on_table(b, s, row_triggers[2], "AFTER DELETE");
    put_old_fits(b, s, "");
    buf_text(b, "\nBEGIN\n  DELETE FROM DBX WHERE Key = ");
    put_key(b, s, "old.");
    buf_text(b, ";\nEND;\n\n");
}

/* ---- 5: what is left ---- */

static const char *const last_triggers[] = {"retired_insert", "retired_update", "retired_move",
                                            "retired_delete"};

static void put_last_triggers(struct buf *b, const struct spec *s) {
    static const char *const events[] = {"BEFORE INSERT", "BEFORE UPDATE"};
    for (size_t i = 0; i < 2; i++) {
        put_trigger(b, s, last_triggers[i], events[i], "new.Key", "");
        buf_say(b,
                "  SELECT RAISE(ABORT, 'the keys under %q are retired: they are rows of the table "
                "%q now');\nEND;\n\n",
                s->prefix, s->name);
    }
    put_trigger(b, s, last_triggers[2], "AFTER UPDATE OF Key", "old.Key", "");
    buf_say(b, "  DELETE FROM holdfast_reject WHERE name = '%s' AND key = old.Key;\nEND;\n\n",
            s->name);
    put_trigger(b, s, last_triggers[3], "AFTER DELETE", "old.Key", "");
    buf_say(b, "  DELETE FROM holdfast_reject WHERE name = '%s' AND key = old.Key;\nEND;\n\n",
            s->name);
}

/* ---- the migrations ---- */

static void put_heading(struct buf *b, const struct spec *s, enum rung r, const char *words) {
    buf_say(b, "-- %s, from the keys under %s: rung %d of 5, %s.\n%s\n", s->name, s->prefix, (int)r,
            rung_name(r), words);
}

/* On a new database the store has not made it yet. */
#define THE_KEYS "CREATE TABLE IF NOT EXISTS DBX(Key TEXT PRIMARY KEY, Value TEXT);\n\n"

static rc put_indexes(const struct spec *s, struct buf *b, struct err *e) {
    struct buf down AUTO(buf_deinit) = {0};
    buf_init(&down, LIMIT_SPEC);
    put_heading(
        b, s, RUNG_INDEX,
        "-- Finds keys by members of their values, as hf_kv_find does; their text is that of "
        "hf_kv_index.\n");
    buf_text(b, THE_KEYS);
    for (size_t i = 0; i < s->count; i++) {
        char name[32];
        if (!s->column[i].index) continue;
        TRY(put_index(b, s, &s->column[i], name, e));
        buf_text(b, ";\n");
        buf_say(&down, "DROP INDEX IF EXISTS %s;\n", name);
    }
    if (!down.size) return err_set(e, RC_USAGE, "%s: no column is marked index", s->name);
    buf_text(b, "\n-- holdfast:down\n");
    buf_put(b, down.bytes, down.size);
    b->failed |= down.failed;
    return ok();
}

static rc put_typed_view(const struct spec *s, struct buf *b, struct err *e) {
    put_view(b, s, "v", true);
    TRY(put_indexed(b, s, e));
    buf_text(b, ";\n");
    return ok();
}

static rc put_view_rung(const struct spec *s, struct buf *b, struct err *e) {
    put_heading(b, s, RUNG_VIEW,
                "-- The keys as rows, to be read. Found by the indexes of rung 1.\n");
    buf_text(b, THE_KEYS);
    TRY(put_typed_view(s, b, e));
    buf_text(b, "\n-- holdfast:down\n");
    put_drop(b, s, "VIEW", "v");
    return ok();
}

/* The table and all that reads DBX for it. */
static void put_new_table(struct buf *b, const struct spec *s) {
    put_table(b, s);
    buf_text(b, ";\n");
    for (size_t i = 0; i < s->count; i++) {
        if (!s->column[i].index) continue;
        buf_say(b, "CREATE INDEX %s_%s_index ON ", s->name, s->column[i].name);
        put_name(b, s->name);
        buf_text(b, "(");
        put_name(b, s->column[i].name);
        buf_text(b, ");\n");
    }
    buf_text(b, "\n-- The keys that do not fit, of all promotions, and why.\n"
                "CREATE TABLE IF NOT EXISTS holdfast_reject(\n"
                "  name TEXT NOT NULL, key TEXT NOT NULL, why TEXT NOT NULL, at_ms INTEGER NOT "
                "NULL,\n  PRIMARY KEY (name, key)\n) STRICT, WITHOUT ROWID;\n\n");
    put_views(b, s);
    put_differs(b, s);
}

static void put_backfill(struct buf *b, const struct spec *s) {
    struct buf range AUTO(buf_deinit) = {0};
    buf_init(&range, LIMIT_SPEC);
    put_range(&range, s, "Key");
    buf_text(b, "-- holdfast:backfill table=DBX key=Key where=\"");
    for (size_t i = 0; i < range.size; i++) {
        if (range.bytes[i] == '"' || range.bytes[i] == '\\') buf_u8(b, '\\');
        buf_u8(b, range.bytes[i]);
    }
    buf_text(b, "\"\n");
    b->failed |= range.failed;
}

#define OF_BATCH "kv_key IN (SELECT Key FROM DBX WHERE Key > :lo AND Key <= :hi)"

static void put_drop_table(struct buf *b, const struct spec *s) {
    PUT_DROPS(b, s, key_triggers);
    PUT_DROPS(b, s, guards);
    put_drop(b, s, "VIEW", "differs");
    put_drop(b, s, "VIEW", "value");
    put_drop(b, s, "VIEW", "kv");
    buf_say(b, "DELETE FROM holdfast_reject WHERE name = '%s';\n", s->name);
    buf_text(b, "DROP TABLE ");
    put_name(b, s->name);
    buf_text(b, ";\n");
}

static void put_verify(struct buf *b, const struct spec *s, bool no_rejects) {
    buf_say(b, "-- holdfast:verify\nSELECT count(*) FROM %s_differs;\n", s->name);
    if (no_rejects)
        buf_say(b,
                "SELECT count(*) FROM holdfast_reject WHERE name = '%s'; -- correct or delete "
                "these keys first\n",
                s->name);
    buf_text(b, "\n");
}

static rc put_shadow(const struct spec *s, struct buf *b, struct err *e) {
    (void)e;
    put_heading(
        b, s, RUNG_SHADOW,
        "-- The table, kept from the keys by triggers. Keys are written as ever; a value "
        "that does not\n-- fit has no row, but is in the table of rejects. The table itself "
        "cannot be written.\n");
    buf_text(b, "-- holdfast:expand\n" THE_KEYS);
    put_new_table(b, s);
    buf_text(b, "-- holdfast:sync\n");
    put_key_triggers(b, s);
    put_guards(b, s);
    put_backfill(b, s);
    put_upsert(b, s, "", OF_BATCH " AND kv_why IS NULL");
    buf_text(b, "\n");
    put_backfill(b, s);
    buf_say(b,
            "INSERT INTO holdfast_reject(name, key, why, at_ms)\n"
            "SELECT '%s', kv_key, kv_why, " NOW_MS "\n"
            "  FROM %s_kv WHERE " OF_BATCH "\n   AND kv_why IS NOT NULL\n"
            "ON CONFLICT(name, key) DO UPDATE SET why = excluded.why, at_ms = excluded.at_ms;\n\n",
            s->name, s->name);
    put_verify(b, s, false);
    buf_text(b, "-- holdfast:revert\n");
    put_drop_table(b, s);
    buf_text(b, "\n-- holdfast:down\n");
    put_drop_table(b, s);
    return ok();
}

static rc put_table_rung(const struct spec *s, struct buf *b, struct err *e) {
    (void)e;
    put_heading(b, s, RUNG_TABLE,
                "-- Rows may be written, too, and each follows the other: programs that write keys "
                "go on. A value\n-- stays as it is, byte for byte, until its row is changed.\n");
    put_verify(b, s, true);
    buf_text(b, "-- holdfast:contract compatible\n");
    PUT_DROPS(b, s, guards);
    buf_text(b, "\n");
    put_row_triggers(b, s);
    buf_text(b, "-- holdfast:down\n");
    PUT_DROPS(b, s, row_triggers);
    buf_text(b, "\n");
    put_guards(b, s);
    return ok();
}

/* node_v of the table: who reads it goes on. */
static void put_view_of_table(struct buf *b, const struct spec *s) {
    put_drop(b, s, "VIEW", "v");
    put_view(b, s, "v", false);
    buf_text(b, "SELECT ");
    put_columns(b, s, KEY_COLUMNS | MEMBERS, "", "       ");
    buf_text(b, "\n  FROM ");
    put_name(b, s->name);
    buf_text(b, ";\n\n");
}

static rc put_retired(const struct spec *s, unsigned below, struct buf *b, struct err *e) {
    put_heading(b, s, RUNG_RETIRED,
                "-- The keys are deleted, and new ones refused; only the rejects stay, until they "
                "are deleted.\n-- The way back makes keys of the rows: equal as JSON, in other "
                "bytes.\n");
    put_verify(b, s, false);
    buf_text(b, "-- holdfast:contract\n");
    PUT_DROPS(b, s, row_triggers);
    PUT_DROPS(b, s, key_triggers);
    put_drop(b, s, "VIEW", "differs");
    if (below & 1u << RUNG_VIEW) put_view_of_table(b, s);
    buf_text(b, "DELETE FROM DBX WHERE ");
    put_range(b, s, "Key");
    buf_say(b, "\n   AND Key NOT IN (SELECT key FROM holdfast_reject WHERE name = '%s');\n\n",
            s->name);
    put_last_triggers(b, s);
    buf_text(b, "-- holdfast:down lossy\n");
    PUT_DROPS(b, s, last_triggers);
    put_differs(b, s);
    put_key_triggers(b, s);
    buf_say(b, "INSERT INTO DBX(Key, Value) SELECT kv_key, kv_value FROM %s_value;\n\n", s->name);
    put_row_triggers(b, s);
    if (!(below & 1u << RUNG_VIEW)) return ok();
    put_drop(b, s, "VIEW", "v");
    return put_typed_view(s, b, e);
}

static rc check_below(const struct spec *s, enum rung r, unsigned below, struct err *e) {
    enum rung needs = r == RUNG_TABLE || r == RUNG_RETIRED ? (enum rung)(r - 1) : RUNG_NONE;
    char name[LIMIT_SPEC_NAME + 16];
    ladder_name(s, r, name);
    if (below & 1u << r) return err_set(e, RC_CONFLICT, "%s: it is there already", name);
    for (int higher = (int)r + 1; higher < RUNGS; higher++)
        if (below & 1u << higher)
            return err_set(e, RC_CONFLICT, "%s: %s is there already, and above it", name,
                           rung_name((enum rung)higher));
    if (needs == RUNG_NONE || below & 1u << needs) return ok();
    return err_set(e, RC_USAGE, "%s: it stands on %s, which is not there: write that first", name,
                   rung_name(needs));
}

rc ladder_text(const struct spec *s, enum rung r, unsigned below, struct buf *out, struct err *e) {
    TRY(check_below(s, r, below, e));
    switch (r) {
    case RUNG_INDEX: TRY(put_indexes(s, out, e)); break;
    case RUNG_VIEW: TRY(put_view_rung(s, out, e)); break;
    case RUNG_SHADOW: TRY(put_shadow(s, out, e)); break;
    case RUNG_TABLE: TRY(put_table_rung(s, out, e)); break;
    case RUNG_RETIRED: TRY(put_retired(s, below, out, e)); break;
    default: return err_set(e, RC_USAGE, "no such rung");
    }
    return buf_check(out, "the migration", e);
}
