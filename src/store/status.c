/* What a source is at, as JSON: see the header.
 *
 * Invariant: nothing here waits, or asks a store: it is what the last answers left behind.
 */
#include "store/status.h"

#include "store/kv.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *json_text(const json_t *json, size_t flags) {
    flags |= JSON_REAL_PRECISION(12); /* milliseconds: 1.854, and not 1.8540000000000001 */
    size_t n = json ? json_dumpb(json, NULL, 0, flags) : 0;
    char *text = n ? malloc(n + 1) : NULL;
    if (!text) return NULL;
    text[json_dumpb(json, text, n, flags)] = 0;
    if (*text) return text;
    free(text);
    return NULL;
}

json_t *json_words(const char *text) {
    size_t n = strlen(text);
    while (!utf8_valid(text, n)) n--; /* not by what Jansson refuses: that may be for memory */
    return json_stringn(text, n);
}

static rc text_of(json_t *object, char **out, struct err *e) {
    char *text = json_text(object, JSON_COMPACT);
    json_decref(object);
    if (!text) return err_set(e, RC_NOMEM, "no memory");
    *out = text;
    return ok();
}

/* Without memory for a part there is no answer, and not one that lacks it. */
static json_t *whole_or_null(json_t *all, bool whole) {
    if (whole) return all;
    json_decref(all);
    return NULL;
}

static json_t *requests_of(const struct store *store) {
    json_t *all = json_object();
    bool whole = true;
    for (int i = 0; i < REQUEST_KINDS; i++)
        whole &= !json_object_set_new(all, request_kind_name((enum request_kind)i),
                                      json_integer((json_int_t)atomic_load(&store->requests[i])));
    return whole_or_null(all, whole);
}

static json_t *destination(const struct source_dest *d) {
    char txid[24];
    snprintf(txid, sizeof txid, "%016" PRIx64, d->txid);
    return json_pack(
        "{s:o, s:s, s:o, s:b, s:o, s:o, s:o}", "url", json_words(d->store->url), "state", d->state,
        "txid", d->txid ? json_string(txid) : json_null(), "safe", (int)d->complete, "lacks_pages",
        d->lacks_all ? json_null() : json_integer((json_int_t)d->lacks_pages), "error",
        d->error[0] ? json_words(d->error) : json_null(), "requests", requests_of(d->store));
}

rc status_json(const struct source *s, const char *path, char **out, struct err *e) {
    struct source_stats stats;
    struct source_dest d;
    struct position at;
    char position[POSITION_TEXT_SIZE];
    json_t *all = json_array();
    bool whole = true;
    for (int i = 0; source_dest(s, i, &d); i++)
        whole &= !json_array_append_new(all, destination(&d));
    source_stats(s, &stats);
    source_position(s, &at);
    position_text(&at, position);
    return text_of(json_pack("{s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:o}", "database",
                             json_words(path), "state", "replicating", "position", position,
                             "commits", (json_int_t)stats.commits, "log_frames",
                             (json_int_t)at.frame, "shipments", (json_int_t)stats.shipments,
                             "bytes", (json_int_t)stats.bytes_shipped, "destinations",
                             whole_or_null(all, whole)),
                   out, e);
}

rc status_json_without(const char *path, const struct err *why, char **out, struct err *e) {
    return text_of(json_pack("{s:o, s:s, s:s?, s:o, s:[]}", "database", json_words(path), "state",
                             why ? "ended" : "waiting for a database", "code",
                             why ? rc_name(why->code) : NULL, "error",
                             why ? json_words(why->text) : json_null(), "destinations"),
                   out, e);
}
