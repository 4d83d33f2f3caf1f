/* A rehearsal: see the header.
 *
 * The copy of main is replicated for as long as it lasts, to a directory beside it, since what a
 * step uploads can only be told by uploading it. Before a migration with a revert the state is
 * copied once more, and there it goes as far as its contract and back; behind one with a down it is
 * copied, and taken down there. The first copy only goes forward, as the original will.
 *
 * Invariants
 *  1. The original is read once for what is pending and once for the copy, and never written.
 *  2. What ends the rehearsal, it ends with all of its files removed (copy.c), and no source
 *     running.
 */
#include "schema/rehearse.h"

#include "replica/replica.h"
#include "schema/copy.h"
#include "schema/lint.h"
#include "schema/safety.h"
#include "schema/shape.h"
#include "schema/warnings.h"
#include "store/status.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOW_US 1000000 /* a lock that others wait for: worth a warning */
#define SHIP_MS 600000

static const struct run_options options = {.rehearsing = true,
                                           .no_soak = true,
                                           .assume_gone = true,
                                           .accept_lossy = true,
                                           .no_restore_point = true};

/* One of the two files. */
struct side {
    char path[LIMIT_PATH];
    struct sconn c;
    json_t *empty;
    int64_t orphans;
    char shape[65];
    bool open;
};

struct rehearsal {
    hf_schema *schema;
    const struct rehearse_options *how;
    struct work work;
    struct side main, noise;
    hf_source *source; /* of the copy of main */
    struct store *replica;
    uint64_t shipped; /* the TXID up to which its objects were counted */
    char url[LIMIT_PATH];
    uint64_t txid; /* that the copy was restored to; 0: it is of the live database */
    json_t *steps, *revert, *down, *checks, *warnings;
    struct err failed; /* code RC_OK: it did not */
};

static rc no_memory(struct err *e) {
    return err_set(e, RC_NOMEM, "no memory");
}

/* Of others' texts, which may hold anything. */
static json_t *words_or_null(const char *text) {
    return text ? json_words(text) : json_null();
}

static rc append(json_t *list, json_t *item, struct err *e) {
    return json_array_append_new(list, item) == 0 ? ok() : no_memory(e);
}

static struct side *side_of(struct rehearsal *r, const struct migration *m) {
    return m->noise ? &r->noise : &r->main;
}

static const char *database_of(const struct sconn *c) {
    return c->noise ? "noise" : "main";
}

/* ---- the copies ---- */

/* `m`: NULL: of none. */
static rc warn(struct rehearsal *r, const struct migration *m, int line, const char *words,
               struct err *e) {
    return append(r->warnings,
                  json_pack("{s:s?, s:o, s:o}", "name", m ? m->name : NULL, "line",
                            m ? json_integer(line) : json_null(), "words", json_words(words)),
                  e);
}

/* The replica, if there is one; *found false: the live database. */
static rc look_for_replica(struct rehearsal *r, bool *found, struct err *e) {
    char words[ERR_TEXT_MAX + 100];
    struct err why;
    rc is = safety_url(r->schema, r->url, &why);
    *found = is_ok(is);
    if (is.code == RC_NOTFOUND) return ok();
    if (is_ok(is)) is = safety_wait(r->schema, true, r->schema->options.wait_ms, &why);
    if (is_ok(is)) return ok();
    if (*found)
        snprintf(words, sizeof words, "the copy may be older than the database: %s", why.text);
    else snprintf(words, sizeof words, "the copy is not of the replica: %s", why.text);
    return warn(r, NULL, 0, words, e);
}

/* r->url: "": the live database. */
static rc choose_source(struct rehearsal *r, struct err *e) {
    const char *from = r->how->from;
    bool found = false;
    if (from && strcmp(from, "live") == 0) return ok();
    if (from && strcmp(from, "replica") != 0) {
        int n = snprintf(r->url, sizeof r->url, "%s", from);
        return n < (int)sizeof r->url ? ok() : err_set(e, RC_USAGE, "%.80s...: too long", from);
    }
    TRY(look_for_replica(r, &found, e));
    if (!found) *r->url = 0;
    if (found || !from) return ok();
    return err_set(e, RC_NOTFOUND,
                   "%s is replicated by nobody who could be asked: -from URL, or "
                   "-from live",
                   r->schema->path);
}

static rc copy_main(struct rehearsal *r, struct err *e) {
    if (!*r->url) return copy_original(r->schema, false, r->main.path, e);
    return copy_restored(r->schema, r->url, r->main.path, &r->txid, e);
}

static rc count_orphans(struct sconn *c, int64_t *out, struct err *e) {
    return sconn_int(c, "SELECT count(*) FROM pragma_foreign_key_check", out, e);
}

static rc hash_shape(struct sconn *c, char out[65], struct err *e) {
    struct shape *shape;
    TRY(shape_read(c->db, &shape, e));
    rc r = shape_hash(shape, out, e);
    shape_free(shape);
    return r;
}

static rc open_side(struct rehearsal *r, struct side *s, bool noise, struct err *e) {
    TRY(sconn_open_at(r->schema, s->path, noise, &s->c, e));
    s->open = true;
    TRY(count_orphans(&s->c, &s->orphans, e));
    TRY(hash_shape(&s->c, s->shape, e));
    return empty_tables(&s->c, &s->empty, e);
}

/* What of the copies, their states of before and their replica may be there at once. */
static uint64_t room_for(hf_schema *s) {
    return 4 * copy_size(s, false) + 3 * copy_size(s, true) + (16u << 20);
}

static rc make_copies(struct rehearsal *r, struct err *e) {
    TRY(work_open(r->schema, r->how->keep, room_for(r->schema), &r->work, e));
    work_path(&r->work, "main.db", r->main.path);
    work_path(&r->work, "noise.db", r->noise.path);
    TRY(copy_main(r, e));
    TRY(open_side(r, &r->main, false, e));
    if (!*r->schema->noise) return ok();
    TRY(copy_original(r->schema, true, r->noise.path, e));
    return open_side(r, &r->noise, true, e);
}

/* ---- what it uploads ---- */

static rc count_upload(struct rehearsal *r, int64_t *bytes, struct err *e) {
    struct listing all = {0};
    uint64_t newest = r->shipped;
    hf_wait_options wait = {.size = sizeof wait, .timeout_ms = SHIP_MS, .flush = 1};
    int code = hf_source_wait(r->source, NULL, &wait);
    if (code != HF_OK)
        return err_set(e, (enum rc_code)code, "the replica of the copy: %s", hf_errmsg());
    rc result = replica_list(r->replica, &all, NULL, e);
    *bytes = 0;
    for (size_t i = 0; is_ok(result) && i < all.count; i++) {
        const struct replica_file *f = &all.files[i];
        if (f->level != 0 || f->min_txid <= r->shipped) continue;
        *bytes += (int64_t)f->size_bytes;
        if (f->max_txid > newest) newest = f->max_txid;
    }
    r->shipped = newest;
    listing_deinit(&all);
    return result;
}

static rc replicate_copy(struct rehearsal *r, struct err *e) {
    char to[LIMIT_PATH];
    int64_t whole;
    work_path(&r->work, "replica", to);
    hf_replicate_options o = {.size = sizeof o, .verify_ms = -1, .drain_ms = 1};
    TRY(store_open(r->schema->env, to, &r->replica, e));
    int code = hf_attach(r->main.c.db, (const char *[]){to, NULL}, &o, &r->source);
    if (code != HF_OK)
        return err_set(e, (enum rc_code)code, "the replica of the copy: %s", hf_errmsg());
    return count_upload(r, &whole, e);
}

/* ---- one step ---- */

static rc phase_of(struct sconn *c, const struct migration *m, enum phase *out, struct err *e) {
    struct records records AUTO(records_deinit) = {0};
    TRY(history_read(c->db, &records, e));
    const struct record *found = records_find(&records, m->version);
    *out = found ? found->phase : PHASE_NONE;
    return ok();
}

static json_t *step_json(const struct sconn *c, const struct migration *m,
                         const struct step_report *s, const int64_t *upload) {
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:f, s:I, s:I, s:o}", "database", database_of(c),
                     "version", (json_int_t)m->version, "name", m->name, "step", step_name(s->step),
                     "phase", phase_name(step_phase(m, s->step)), "lock_ms",
                     (double)s->lock_us / 1000, "rows", (json_int_t)s->rows, "wal_bytes",
                     (json_int_t)s->wal_bytes, "upload_bytes",
                     upload ? json_integer((json_int_t)*upload) : json_null());
}

static rc tell_step(struct rehearsal *r, const struct sconn *c, const struct migration *m,
                    const struct step_report *s, struct err *e) {
    char words[120];
    int64_t upload = 0;
    if (!c->noise) TRY(count_upload(r, &upload, e));
    TRY(append(r->steps, step_json(c, m, s, c->noise ? NULL : &upload), e));
    schema_event(r->schema, "schema.rehearsed",
                 (const char *[]){"name", m->name, "step", step_name(s->step)}, 4);
    if (s->lock_us < SLOW_US) return ok();
    snprintf(words, sizeof words, "%s holds the write lock for %.1f s: others wait as long",
             step_name(s->step), (double)s->lock_us / 1e6);
    return warn(r, m, step_line(m, s->step), words, e);
}

/* From where it stands, through `last`. The steps of the first copy are told. */
static rc run_through(struct rehearsal *r, struct sconn *c, const struct migration *m,
                      enum step last, bool told, struct err *e) {
    for (;;) {
        enum phase phase;
        enum step step;
        struct step_report report = {0};
        if (atomic_load(&r->schema->stop))
            return err_set(e, RC_CANCELLED, "stopped, as it was asked to");
        TRY(phase_of(c, m, &phase, e));
        if (!step_next(m, phase, &step) || step > last) return ok();
        TRY(step_run(c, m, step, &options, &report, e));
        if (told) TRY(warn_of_empty(m, step, side_of(r, m)->empty, r->warnings, e));
        if (told) TRY(tell_step(r, c, m, &report, e));
    }
}

/* ---- back again ---- */

struct state {
    struct shape *shape;
    json_t *tables; /* contents_tables */
};

static void state_deinit(struct state *s) {
    shape_free(s->shape);
    json_decref(s->tables);
}

static rc state_read(struct sconn *c, struct state *out, struct err *e) {
    TRY(shape_read(c->db, &out->shape, e));
    return contents_tables(c->db, &out->tables, e);
}

static rc list_object(void *list, const char *type, const char *name, const char *what,
                      const char *should, const char *is, struct err *e) {
    return append(list,
                  json_pack("{s:s, s:o, s:s, s:o, s:o}", "type", type, "name", json_words(name),
                            "what", what, "should", words_or_null(should), "is", words_or_null(is)),
                  e);
}

static rc list_tables(json_t *before, json_t *now, json_t *list, struct err *e) {
    const char *name;
    json_t *table;
    json_object_foreach(before, name, table) {
        if (!json_equal(table, json_object_get(now, name))) TRY(append(list, json_string(name), e));
    }
    json_object_foreach(now, name, table) {
        if (!json_object_get(before, name)) TRY(append(list, json_string(name), e));
    }
    return ok();
}

/* `before`: NULL: it had been begun before. */
static rc compare(const struct state *before, struct sconn *c, json_t *objects, json_t *tables,
                  struct err *e) {
    struct state now AUTO(state_deinit) = {0};
    if (!before) return ok();
    TRY(state_read(c, &now, e));
    TRY(shape_compare(before->shape, now.shape, list_object, objects, e));
    return list_tables(before->tables, now.tables, tables, e);
}

/* The first reason counts. */
static void fail(struct rehearsal *r, const struct migration *m, enum step step, json_t *objects,
                 json_t *tables) {
    const char *object = json_string_value(json_object_get(json_array_get(objects, 0), "name"));
    const char *what = json_string_value(json_object_get(json_array_get(objects, 0), "what"));
    const char *table = json_string_value(json_array_get(tables, 0));
    if (r->failed.code != RC_OK) return;
    if (object)
        err_fill(&r->failed, RC_CONFLICT, "%s: %s does not bring back what was: %s is %s", m->name,
                 step_name(step), object, what);
    else
        err_fill(&r->failed, RC_CONFLICT,
                 "%s: %s does not bring back what was: the rows of table %s are others", m->name,
                 step_name(step), table);
}

static bool is_lossy(const struct migration *m) {
    const struct section *down = migration_section(m, SECTION_DOWN, NULL);
    return down && down->lossy;
}

static rc tell_back(struct rehearsal *r, struct sconn *c, const struct migration *m,
                    const struct state *before, const struct step_report *s, struct err *e) {
    json_t *objects = json_array(), *tables = json_array();
    bool down = s->step == STEP_DOWN;
    rc result = objects && tables ? compare(before, c, objects, tables, e) : no_memory(e);
    size_t shapes = json_array_size(objects), contents = json_array_size(tables);
    if (is_ok(result) && (shapes || (contents && !(down && is_lossy(m)))))
        fail(r, m, s->step, objects, tables);
    json_t *back = json_pack(
        "{s:s, s:I, s:s, s:f, s:o, s:o, s:o, s:o}", "database", database_of(c), "version",
        (json_int_t)m->version, "name", m->name, "lock_ms", (double)s->lock_us / 1000,
        "shape_equal", before ? json_boolean(!shapes) : json_null(), "contents_equal",
        before ? json_boolean(!contents) : json_null(), "objects", objects, "tables", tables);
    if (back && down && json_object_set_new(back, "lossy", json_boolean(is_lossy(m))) != 0)
        result = no_memory(e);
    rc put = append(down ? r->down : r->revert, back, e);
    return is_ok(result) ? put : result;
}

/* On a copy of the copy as it is now: as far as `through`, and back by `step`. */
static rc try_back(struct rehearsal *r, const struct migration *m, enum step through,
                   enum step step, const struct state *before, struct err *e) {
    char path[LIMIT_PATH];
    struct sconn c;
    struct step_report report = {0};
    work_path(&r->work, "back.db", path);
    TRY(copy_database(r->schema, side_of(r, m)->c.db, path, e));
    rc result = sconn_open_at(r->schema, path, m->noise, &c, e);
    if (is_ok(result)) {
        if (through != STEP_DOWN) result = run_through(r, &c, m, through, false, e);
        if (is_ok(result)) result = step_run(&c, m, step, &options, &report, e);
        if (is_ok(result)) result = tell_back(r, &c, m, before, &report, e);
        sconn_close(&c);
    }
    work_remove(&r->work, path);
    return result;
}

/* ---- all of one migration ---- */

static rc rehearse_one(struct rehearsal *r, const struct migration *m, struct err *e) {
    struct sconn *c = &side_of(r, m)->c;
    struct state before AUTO(state_deinit) = {0};
    bool revert = migration_has(m, SECTION_REVERT), down = migration_has(m, SECTION_DOWN);
    enum phase phase;
    TRY(phase_of(c, m, &phase, e));
    if (phase == PHASE_DONE) return ok();
    TRY(lint_check(m, e));
    bool compared = phase == PHASE_NONE && (revert || down);
    if (compared) TRY(state_read(c, &before, e));
    if (revert) TRY(try_back(r, m, STEP_VERIFY, STEP_REVERT, compared ? &before : NULL, e));
    TRY(run_through(r, c, m, STEP_CONTRACT, true, e));
    return down ? try_back(r, m, STEP_DOWN, STEP_DOWN, compared ? &before : NULL, e) : ok();
}

/* What the migration did, and not the machine. */
static bool is_its_own(rc r) {
    return r.code == RC_CONFLICT || r.code == RC_USAGE || r.code == RC_CORRUPT ||
           r.code == RC_NOTFOUND || r.code == RC_RETRY;
}

static rc rehearse_all(struct rehearsal *r, struct err *e) {
    const struct set *set = &r->schema->set;
    for (size_t i = 0; i < set->count; i++) {
        rc result = rehearse_one(r, set->at[i], e);
        if (is_ok(result)) continue;
        if (!is_its_own(result)) return result;
        if (r->failed.code == RC_OK) r->failed = *e;
        r->failed.code = RC_CONFLICT;
        return ok(); /* those behind it stand on it */
    }
    return ok();
}

/* ---- at the end ---- */

static rc check_integrity(struct sconn *c, char *words, size_t size, struct err *e) {
    sqlite3_stmt *st = NULL;
    int code = sqlite3_prepare_v2(c->db, "PRAGMA integrity_check(1)", -1, &st, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(st);
    const char *text = code == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
    rc r = code != SQLITE_ROW ? sconn_error(c, code, NULL, 0, e) : text ? ok() : no_memory(e);
    snprintf(words, size, "%s", text ? text : "");
    sqlite3_finalize(st);
    return r;
}

static rc check_side(struct rehearsal *r, struct side *s, struct err *e) {
    char integrity[500], shape[65];
    int64_t orphans = 0;
    if (!s->open) return ok();
    TRY(check_integrity(&s->c, integrity, sizeof integrity, e));
    TRY(count_orphans(&s->c, &orphans, e));
    TRY(hash_shape(&s->c, shape, e));
    if (strcmp(integrity, "ok") != 0 && r->failed.code == RC_OK)
        err_fill(&r->failed, RC_CONFLICT, "%s: integrity_check: %s", database_of(&s->c), integrity);
    if (orphans > s->orphans && r->failed.code == RC_OK)
        err_fill(&r->failed, RC_CONFLICT, "%s: %" PRId64 " rows have lost their parents",
                 database_of(&s->c), orphans - s->orphans);
    return append(r->checks,
                  json_pack("{s:s, s:o, s:I, s:I, s:s, s:s}", "database", database_of(&s->c),
                            "integrity", json_words(integrity), "orphans_before",
                            (json_int_t)s->orphans, "orphans", (json_int_t)orphans, "shape_before",
                            s->shape, "shape_after", shape),
                  e);
}

static rc report(struct rehearsal *r, json_t **out, struct err *e) {
    char txid[24];
    snprintf(txid, sizeof txid, "%016" PRIx64, r->txid);
    bool failed = r->failed.code != RC_OK;
    json_t *all =
        json_pack("{s:s, s:o, s:s?, s:O, s:O, s:O, s:O, s:O, s:b, s:o}", "source",
                  *r->url ? "replica" : "live", "url", words_or_null(*r->url ? r->url : NULL),
                  "txid", *r->url ? txid : NULL, "steps", r->steps, "revert", r->revert, "down",
                  r->down, "checks", r->checks, "warnings", r->warnings, "ok", !failed, "error",
                  words_or_null(failed ? r->failed.text : NULL));
    if (!all) return no_memory(e);
    *out = all;
    if (failed && e) *e = r->failed;
    return (rc){r->failed.code};
}

static void side_deinit(struct side *s) {
    if (s->open) sconn_close(&s->c);
    json_decref(s->empty);
}

static void rehearsal_deinit(struct rehearsal *r) {
    (void)hf_detach(r->source); /* what is left to ship is of no use */
    store_free(r->replica);
    side_deinit(&r->main);
    side_deinit(&r->noise);
    work_close(&r->work);
    json_decref(r->steps);
    json_decref(r->revert);
    json_decref(r->down);
    json_decref(r->checks);
    json_decref(r->warnings);
}

/* ---- is there anything to do? ---- */

static rc look_at(hf_schema *s, bool noise, bool *pending, struct err *e) {
    struct records records AUTO(records_deinit) = {0};
    struct sconn c;
    size_t ahead;
    const char *path = noise ? s->noise : s->path;
    TRY(original_open(s, noise, &c, e));
    rc r = history_read(c.db, &records, e);
    sconn_close(&c);
    TRY(r);
    TRY(history_check(&s->set, &records, noise, path, &ahead, e));
    for (size_t i = 0; i < s->set.count; i++) {
        const struct record *found = records_find(&records, s->set.at[i]->version);
        if (s->set.at[i]->noise == noise && (!found || found->phase != PHASE_DONE)) *pending = true;
    }
    return ok();
}

static rc rehearse(struct rehearsal *r, struct err *e) {
    bool pending = false;
    TRY(look_at(r->schema, false, &pending, e));
    if (*r->schema->noise) TRY(look_at(r->schema, true, &pending, e));
    TRY(choose_source(r, e));
    if (!pending) return ok();
    TRY(make_copies(r, e));
    TRY(replicate_copy(r, e));
    TRY(rehearse_all(r, e));
    TRY(check_side(r, &r->main, e));
    return check_side(r, &r->noise, e);
}

rc rehearse_run(hf_schema *s, const struct rehearse_options *how, json_t **out, struct err *e) {
    struct rehearsal *r = calloc(1, sizeof *r);
    if (!r) return no_memory(e);
    *r = (struct rehearsal){.schema = s,
                            .how = how,
                            .steps = json_array(),
                            .revert = json_array(),
                            .down = json_array(),
                            .checks = json_array(),
                            .warnings = json_array()};
    bool whole = r->steps && r->revert && r->down && r->checks && r->warnings;
    rc result = whole ? rehearse(r, e) : no_memory(e);
    if (is_ok(result)) result = report(r, out, e);
    rehearsal_deinit(r);
    free(r);
    return result;
}
