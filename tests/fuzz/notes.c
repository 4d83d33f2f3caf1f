/* The notes beside a replica. Input: the bytes of one. As pins each of them is kept or all are
 * refused: one that is overlooked is lost with what it kept. */
#include "fuzz.h"

#include "replica/notes.h"

static struct object_info info;
static const uint8_t *stored;

static rc stat_note(struct store *s, const char *key, struct object_info *out, struct err *e) {
    (void)s, (void)key, (void)e;
    *out = info;
    return ok();
}

static rc get_note(struct store *s, const char *key, uint64_t at, void *buf, size_t n,
                   struct err *e) {
    (void)s, (void)key, (void)e;
    MUST(at == 0 && n == info.size_bytes);
    memcpy(buf, stored, n);
    return ok();
}

static uint8_t written[LIMIT_SMALL_OBJECT];
static size_t written_size;

static rc put_note(struct store *s, const char *key, const void *bytes, size_t n, struct err *e) {
    (void)s, (void)key, (void)e;
    MUST(n <= sizeof written);
    memcpy(written, bytes, n);
    written_size = n;
    return ok();
}

static int64_t no_time(struct env *env) {
    (void)env;
    return 1;
}

static void read_pins(struct store *s, const uint8_t *bytes, size_t size, rc want, uint64_t **txids,
                      size_t *count) {
    struct err e = {0};
    stored = bytes;
    info.size_bytes = size;
    rc r = replica_read_pins(s, txids, count, &e);
    MUST(r.code == want.code);
}

/* One more pin: all that were there are there still, and it. */
static void check_added(struct store *s, const uint64_t *pins, size_t count) {
    struct err e;
    uint64_t *now, added = 1234567;
    size_t n, same = 0;
    written_size = 0;
    if (!is_ok(replica_pin(s, added, "fuzz", &e))) return; /* too long by now */
    if (!written_size) {                                   /* it was there already */
        for (size_t i = 0; i < count; i++) same += pins[i] == added;
        MUST(same);
        return;
    }
    read_pins(s, written, written_size, ok(), &now, &n);
    MUST(n == count + 1 && now[count] == added);
    MUST(!count || memcmp(now, pins, count * sizeof *pins) == 0);
    free(now);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const struct store_ops ops = {.stat = stat_note, .get = get_note, .put_note = put_note};
    struct env env = {.unix_ms = no_time};
    struct store s = {.ops = &ops, .env = &env, .url = "fuzz"};
    struct err e = {0};
    json_t *note = NULL;
    stored = bytes;
    info.size_bytes = size;
    rc r = note_read(&s, VERIFIED_KEY, &note, &e);
    MUST(is_ok(r) ? note != NULL : r.code == RC_CORRUPT && *e.text && !strchr(e.text, '\n'));
    bool pins = json_is_array(note);
    size_t members = json_array_size(note), i;
    json_t *pin;
    json_array_foreach(note, i, pin) pins =
        pins && json_integer_value(json_object_get(pin, "txid")) > 0;
    uint64_t *txids = NULL;
    size_t count = 0;
    read_pins(&s, bytes, size, pins ? ok() : (rc){RC_CORRUPT}, &txids, &count);
    if (pins) {
        MUST(count == members);
        json_array_foreach(note, i, pin)
            MUST(txids[i] == (uint64_t)json_integer_value(json_object_get(pin, "txid")));
        check_added(&s, txids, count);
        free(txids);
    }
    json_decref(note);
    return 0;
}
