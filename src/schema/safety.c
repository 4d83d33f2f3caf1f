/* What is safe elsewhere: see the header.
 *
 * Why the TXID of a restore point is that of a fresh list of the destination, and not what the
 * replicator says: it holds when nothing was shipped in its run yet, and the same look proves that
 * the point can be restored.
 *
 * Invariants
 *  1. A pin is written only after all that was committed before is acknowledged; what a restore of
 *     it gives holds that, and nothing that was committed after the list.
 *  2. A point is given out only when the destination, looked at after the pin was written, can
 *     still restore it: retention that read the pins before has then not taken it.
 *  3. Pins that are not the schema's are left as they are.
 */
#include "schema/safety.h"

#include "daemon/client.h"
#include "replica/notes.h"
#include "replica/replica.h"
#include "store/fake.h"
#include "store/replicate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PINS_KEY "holdfast/pins.json"
#define BEFORE "before-"
#define AFTER "after-"
#define PAIRS_KEPT 10
#define PIN_TRIES 5

/* ---- who replicates ---- */

struct way {
    hf_source *source; /* in this process; NULL: */
    char socket[LIMIT_PATH];
};

static rc way_find(const hf_schema *s, struct way *out, struct err *e) {
    *out = (struct way){0};
    rc r = source_of_file(s->path, &out->source, e);
    if (r.code != RC_NOTFOUND) return r;
    return client_find(s->path, NULL, out->socket, e);
}

static void way_leave(struct way *w) {
    hf_source_release(w->source);
    w->source = NULL;
}

/* What a public function of the library said. */
static rc said(int code, struct err *e) {
    return code == HF_OK ? ok() : err_set(e, (enum rc_code)code, "%s", hf_errmsg());
}

static rc way_status(const struct way *w, json_t **out, struct err *e) {
    char *text = NULL;
    TRY(w->source ? said(hf_source_status(w->source, &text), e)
                  : client_status(w->socket, &text, e));
    *out = json_loads(text, 0, NULL);
    free(text);
    return *out ? ok() : err_set(e, RC_IO, "the replicator's status is no JSON");
}

rc safety_find(hf_schema *s, bool *there, struct err *e) {
    struct way w;
    json_t *status = NULL;
    *there = false;
    rc r = way_find(s, &w, e);
    if (is_ok(r) && !w.source) r = way_status(&w, &status, e); /* does anybody listen there? */
    json_decref(status);
    way_leave(&w);
    if (r.code == RC_NOTFOUND) return ok();
    *there = is_ok(r);
    return r;
}

static rc way_wait(const hf_schema *s, const struct way *w, bool flush, int64_t timeout_ms,
                   struct err *e) {
    char *answer = NULL;
    hf_wait_options o = {.size = sizeof o, .timeout_ms = timeout_ms, .flush = flush};
    struct client_wait of = {.path = s->path, .timeout_ms = timeout_ms, .flush = flush};
    if (w->source) return said(hf_source_wait(w->source, NULL, &o), e);
    rc r = client_wait(w->socket, &of, &answer, e);
    if (is_ok(r)) free(answer);
    return r;
}

rc safety_wait(hf_schema *s, bool flush, int64_t timeout_ms, struct err *e) {
    struct way w;
    rc r = way_find(s, &w, e);
    if (is_ok(r)) r = way_wait(s, &w, flush, timeout_ms > 0 ? timeout_ms : 1, e);
    way_leave(&w);
    return r;
}

/* ---- where to ---- */

typedef rc each_url(void *arg, const char *url, struct err *e);

/* A directory is shown with its name as it is, which need not be a URL. */
static const char *as_given(const char *shown) {
    return strncmp(shown, "file:///", 8) == 0 ? shown + 7 : shown;
}

static rc no_url(struct err *e) {
    return err_set(e, RC_IO, "the replicator shows a destination without a URL");
}

static rc each_of_status(const struct way *w, each_url *each, void *arg, struct err *e) {
    json_t *status, *d;
    size_t i;
    TRY(way_status(w, &status, e));
    rc r = ok();
    size_t count = json_array_size(json_object_get(status, "destinations"));
    if (!count) r = err_set(e, RC_NOTFOUND, "nothing is replicated at this moment");
    json_array_foreach(json_object_get(status, "destinations"), i, d) {
        const char *url = json_string_value(json_object_get(d, "url"));
        if (is_ok(r)) r = url ? each(arg, as_given(url), e) : no_url(e);
    }
    json_decref(status);
    return r;
}

static rc way_each(const struct way *w, each_url *each, void *arg, struct err *e) {
    if (!w->source) return each_of_status(w, each, arg, e);
    for (int i = 0; i < RUNNER_URLS && w->source->urls[i]; i++)
        TRY(each(arg, w->source->urls[i], e));
    return ok();
}

/* ---- pins ---- */

static const char *pin_name(const json_t *pin) {
    const char *name = json_string_value(json_object_get(pin, "name"));
    return name ? name : "";
}

/* "20260901120000-<run>" of either one of a pair; NULL: it is not the schema's. */
static const char *run_of(const char *name) {
    if (strncmp(name, BEFORE, strlen(BEFORE)) == 0) return name + strlen(BEFORE);
    if (strncmp(name, AFTER, strlen(AFTER)) == 0) return name + strlen(AFTER);
    return NULL;
}

static bool is_named(const json_t *pin, const char *name) {
    return strcmp(pin_name(pin), name) == 0;
}

static rc read_pins(struct store *store, json_t **out, struct err *e) {
    TRY(note_read(store, PINS_KEY, out, e));
    if (!*out) *out = json_array();
    if (json_is_array(*out)) return ok();
    rc r = *out ? err_set(e, RC_CORRUPT, "%s: not an array", PINS_KEY)
                : err_set(e, RC_NOMEM, "no memory");
    json_decref(*out);
    return r;
}

/* From the newest on: does this run's pair come within the first PAIRS_KEPT? Pins are appended, so
 * the order of the array is that of the runs. */
static bool is_kept(const json_t *pins, const char *run) {
    const char *seen[PAIRS_KEPT];
    size_t count = 0;
    for (size_t i = json_array_size(pins); i > 0; i--) {
        const char *other = run_of(pin_name(json_array_get(pins, i - 1)));
        bool known = !other;
        for (size_t k = 0; k < count && !known; k++) known = strcmp(seen[k], other) == 0;
        if (known) continue;
        if (count == PAIRS_KEPT) return false;
        if (strcmp(other, run) == 0) return true;
        seen[count++] = other;
    }
    return false;
}

static void drop_old_pairs(json_t *pins) {
    for (size_t i = json_array_size(pins); i > 0; i--) {
        const char *run = run_of(pin_name(json_array_get(pins, i - 1)));
        if (run && !is_kept(pins, run)) json_array_remove(pins, i - 1);
    }
}

static rc write_pin(struct store *store, const struct restore_point *p, struct err *e) {
    json_t *pins;
    TRY(read_pins(store, &pins, e));
    for (size_t i = json_array_size(pins); i > 0; i--) /* a try that came to nothing */
        if (is_named(json_array_get(pins, i - 1), p->name)) json_array_remove(pins, i - 1);
    json_t *pin =
        json_pack("{s:I, s:s, s:I, s:s, s:b}", "txid", (json_int_t)p->txid, "why", "schema",
                  "time_ms", (json_int_t)p->time_ms, "name", p->name, "others", p->others);
    rc r = json_array_append_new(pins, pin) == 0 ? ok() : err_set(e, RC_NOMEM, "no memory");
    if (is_ok(r)) drop_old_pairs(pins);
    if (is_ok(r)) r = note_write(store, PINS_KEY, pins, e);
    json_decref(pins);
    return r;
}

/* The newest state that can be restored, or that of p->txid. */
static rc find_state(struct store *store, struct restore_point *p, struct err *e) {
    struct listing files = {0};
    struct plan plan = {0};
    TRY(replica_list_backup(store, &files, NULL, e));
    rc r = files.count ? plan_make(&files, (struct target){.txid = p->txid}, &plan, e)
                       : err_set(e, RC_NOTFOUND, "no backup is there");
    if (is_ok(r) && !p->txid) p->txid = plan.txid;
    plan_deinit(&plan);
    listing_deinit(&files);
    return r;
}

struct pinning {
    struct sconn *runner;
    bool is_after;
    struct restore_point point;
    bool first_done;
};

/* Behind the list: so what is not seen here is not in the state that was listed. */
static rc see_others(const struct pinning *of, struct restore_point *p, struct err *e) {
    int64_t now;
    if (!of->is_after) return ok();
    TRY(sconn_int(of->runner, "PRAGMA data_version", &now, e));
    p->others = now != of->runner->seen;
    return ok();
}

static rc try_pin(const struct pinning *of, struct store *store, struct restore_point *p,
                  struct err *e) {
    p->txid = 0;
    TRY(find_state(store, p, e));
    TRY(see_others(of, p, e));
    p->time_ms = store->env->unix_ms(store->env);
    TRY(write_pin(store, p, e));
    return find_state(store, p, e);
}

/* Retention may take a state between the list and the pin; then there is a newer one. */
static rc pin_at(void *arg, const char *url, struct err *e) {
    struct pinning *of = arg;
    struct restore_point p = of->point;
    struct store *store;
    rc r = {RC_NOTFOUND};
    TRY(destination_open(of->runner->schema->env, url, &store, e));
    for (int i = 0; i < PIN_TRIES && r.code == RC_NOTFOUND; i++) r = try_pin(of, store, &p, e);
    if (!is_ok(r)) r = err_prefix(e, r, "restore point %s at %s", p.name, store->url);
    snprintf(p.url, sizeof p.url, "%s", url);
    store_free(store);
    TRY(r);
    if (!of->first_done) of->point = p;
    of->first_done = true;
    return ok();
}

rc restore_point_make(struct sconn *runner, const char *name, struct restore_point *out,
                      struct err *e) {
    hf_schema *s = runner->schema;
    struct way w;
    struct pinning p = {.runner = runner, .is_after = strncmp(name, AFTER, strlen(AFTER)) == 0};
    ENSURE(run_of(name) && strlen(name) < sizeof p.point.name);
    snprintf(p.point.name, sizeof p.point.name, "%s", name);
    if (!p.is_after) TRY(sconn_int(runner, "PRAGMA data_version", &runner->seen, e));
    rc r = way_find(s, &w, e);
    if (is_ok(r)) r = way_wait(s, &w, true, s->options.wait_ms > 0 ? s->options.wait_ms : 60000, e);
    if (is_ok(r)) r = way_each(&w, pin_at, &p, e);
    way_leave(&w);
    if (is_ok(r)) *out = p.point;
    return r;
}

/* ---- the list ---- */

static void take_point(const json_t *pin, const char *url, struct restore_point *out) {
    *out =
        (struct restore_point){.txid = (uint64_t)json_integer_value(json_object_get(pin, "txid")),
                               .time_ms = json_integer_value(json_object_get(pin, "time_ms")),
                               .others = json_is_true(json_object_get(pin, "others"))};
    snprintf(out->name, sizeof out->name, "%s", pin_name(pin));
    snprintf(out->url, sizeof out->url, "%s", url);
}

static rc take_points(const json_t *pins, const char *url, struct restore_point **out,
                      size_t *count, struct err *e) {
    size_t n = 0, all = json_array_size(pins);
    struct restore_point *points = malloc((all + 1) * sizeof *points);
    if (!points) return err_set(e, RC_NOMEM, "no memory");
    for (size_t i = all; i > 0; i--)
        if (run_of(pin_name(json_array_get(pins, i - 1))))
            take_point(json_array_get(pins, i - 1), url, &points[n++]);
    *out = points;
    *count = n;
    return ok();
}

static rc take_first(void *arg, const char *url, struct err *e) {
    char *first = arg;
    (void)e;
    if (!*first) snprintf(first, LIMIT_PATH, "%s", url);
    return ok();
}

rc safety_url(hf_schema *s, char url[LIMIT_PATH], struct err *e) {
    struct way w;
    *url = 0;
    rc r = way_find(s, &w, e);
    if (is_ok(r)) r = way_each(&w, take_first, url, e);
    way_leave(&w);
    return r;
}

static rc read_points(struct store *store, const char *url, struct restore_point **out,
                      size_t *count, struct err *e) {
    json_t *pins;
    rc r = read_pins(store, &pins, e);
    if (!is_ok(r)) return err_prefix(e, r, "%s", store->url);
    r = take_points(pins, url, out, count, e);
    json_decref(pins);
    return r;
}

rc restore_points(hf_schema *s, const char *url, struct restore_point **out, size_t *count,
                  struct err *e) {
    char first[LIMIT_PATH];
    struct store *store;
    if (!url) TRY(safety_url(s, first, e));
    if (!url) url = first;
    TRY(destination_open(s->env, url, &store, e));
    rc r = read_points(store, url, out, count, e);
    store_free(store);
    return r;
}
