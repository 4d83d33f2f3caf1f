/* The notes beside a replica: small JSON objects (docs/format.md 3.4, 3.5).
 *
 * Invariant: what cannot be read is an error and never "none": a pin that is overlooked is lost
 * with what it kept, an owner that is overlooked is overwritten.
 */
#include "replica/notes.h"

#include <stdlib.h>
#include <string.h>

#define PINS_KEY "holdfast/pins.json"

static rc parse(const char *key, const char *bytes, size_t size, json_t **out, struct err *e) {
    json_error_t why;
    *out = json_loadb(bytes, size, 0, &why);
    if (*out) return ok();
    return err_set(e, RC_CORRUPT, "%s: line %d: %s", key, why.line, why.text);
}

rc note_read(struct store *store, const char *key, json_t **out, struct err *e) {
    struct object_info info;
    *out = NULL;
    rc r = store->ops->stat(store, key, &info, e);
    if (r.code == RC_NOTFOUND) return ok();
    TRY(r);
    if (info.size_bytes > LIMIT_SMALL_OBJECT)
        return err_set(e, RC_CORRUPT, "%s: longer than %u bytes", key, LIMIT_SMALL_OBJECT);
    size_t size = (size_t)info.size_bytes;
    char *bytes = malloc(size + 1);
    if (!bytes) return err_set(e, RC_NOMEM, "no memory");
    r = store->ops->get(store, key, 0, bytes, size, e);
    if (is_ok(r)) r = parse(key, bytes, size, out, e);
    free(bytes);
    return r;
}

rc note_write(struct store *store, const char *key, const json_t *note, struct err *e) {
    char *text = malloc(LIMIT_SMALL_OBJECT); /* json_dumps would leave out what it cannot get */
    size_t size = text ? json_dumpb(note, text, LIMIT_SMALL_OBJECT, JSON_INDENT(2)) : 0;
    rc r = !size ? err_set(e, RC_NOMEM, "no memory")
           : size > LIMIT_SMALL_OBJECT
               ? err_set(e, RC_FULL, "%s: %zu bytes are too many", key, size)
               : store->ops->put_note(store, key, text, size, e);
    free(text);
    return r;
}

static uint64_t pin_txid(const json_t *pin) {
    json_int_t txid = json_integer_value(json_object_get(pin, "txid"));
    return txid > 0 ? (uint64_t)txid : 0;
}

/* An array, always. */
static rc read_pins(struct store *store, json_t **out, struct err *e) {
    json_t *pins = NULL, *pin;
    size_t i;
    TRY(note_read(store, PINS_KEY, &pins, e));
    if (!pins) pins = json_array();
    rc r = !pins                 ? err_set(e, RC_NOMEM, "no memory")
           : json_is_array(pins) ? ok()
                                 : err_set(e, RC_CORRUPT, PINS_KEY ": not an array");
    json_array_foreach(pins, i, pin) if (is_ok(r) && !pin_txid(pin)) r =
        err_set(e, RC_CORRUPT, PINS_KEY ": pin %zu has no txid", i + 1);
    if (is_ok(r)) *out = pins;
    else json_decref(pins);
    return r;
}

rc replica_read_pins(struct store *store, uint64_t **out, size_t *count, struct err *e) {
    json_t *pins, *pin;
    size_t i;
    rc r = read_pins(store, &pins, e);
    if (!is_ok(r)) return err_prefix(e, r, "%s", store->url);
    uint64_t *txids = malloc((json_array_size(pins) + 1) * sizeof *txids);
    if (txids) json_array_foreach(pins, i, pin) txids[i] = pin_txid(pin);
    if (txids) *out = txids;
    *count = json_array_size(pins);
    json_decref(pins);
    return txids ? ok() : err_set(e, RC_NOMEM, "no memory");
}

static rc add_pin(struct store *store, json_t *pins, uint64_t txid, const char *why,
                  struct err *e) {
    json_t *pin;
    size_t i;
    json_array_foreach(pins, i, pin) if (pin_txid(pin) == txid) return ok();
    pin = json_pack("{s:I, s:s, s:I}", "txid", (json_int_t)txid, "why", why, "time_ms",
                    (json_int_t)store->env->unix_ms(store->env));
    if (json_array_append_new(pins, pin) != 0) return err_set(e, RC_NOMEM, "no memory");
    return note_write(store, PINS_KEY, pins, e);
}

rc replica_pin(struct store *store, uint64_t txid, const char *why, struct err *e) {
    json_t *pins;
    TRY(read_pins(store, &pins, e));
    rc r = add_pin(store, pins, txid, why, e);
    json_decref(pins);
    return r;
}
