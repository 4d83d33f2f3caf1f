/* A file to be imported: taken member by member, it is JSON exactly if jansson says so of all of
 * it, and each value has its own bytes, however the file comes in pieces. */
#include "fuzz.h"

#include "store/kv_json.h"

#include <jansson.h>

#define FLAGS (JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL)

struct pieces {
    const uint8_t *bytes;
    size_t size, at, most;
};

static rc some(void *arg, void *buf, size_t n, size_t *got, struct err *e) {
    struct pieces *p = arg;
    (void)e;
    if (n > p->most) n = p->most;
    if (n > p->size - p->at) n = p->size - p->at;
    memcpy(buf, p->bytes + p->at, n);
    p->at += n;
    *got = n;
    return ok();
}

struct outcome {
    enum rc_code code;
    uint64_t members, sum;
    bool values; /* each of them is JSON */
};

static bool is_json(const struct buf *v) {
    json_t *it = json_loadb((const char *)v->bytes, v->size, FLAGS, NULL);
    json_decref(it);
    return it != NULL;
}

static void take_member(const struct pieces *p, const struct json_in *in, struct outcome *o) {
    MUST(in->key && in->value_at + in->value.size <= p->size && in->key_at < in->value_at);
    MUST(memcmp(p->bytes + in->value_at, in->value.bytes, in->value.size) == 0);
    o->values = o->values && is_json(&in->value);
    o->members++;
    o->sum = o->sum * 31 + in->value_at * 7 + in->value.size + strlen(in->key);
}

static struct outcome read_all(const uint8_t *bytes, size_t size, size_t most) {
    struct pieces p = {bytes, size, 0, most};
    struct outcome o = {.values = true};
    struct err e = {0};
    struct json_in *in = malloc(sizeof *in);
    json_in_init(in, "fuzz", some, &p);
    rc r;
    while (is_ok(r = json_in_next(in, &e))) take_member(&p, in, &o);
    MUST(r.code == RC_NOTFOUND || (r.code == RC_CORRUPT && strstr(e.text, "fuzz: byte ")));
    MUST(json_in_bytes(in) <= size);
    o.code = r.code;
    json_in_deinit(in);
    free(in);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct outcome all = read_all(bytes, size, SIZE_MAX), one = read_all(bytes, size, 1),
                   odd = read_all(bytes, size, 7);
    MUST(all.code == one.code && all.members == one.members && all.sum == one.sum);
    MUST(all.code == odd.code && all.members == odd.members && all.sum == odd.sum);
    json_error_t why;
    json_t *whole = json_loadb((const char *)bytes, size, FLAGS, &why);
    bool good = all.code == RC_NOTFOUND && all.values;
    /* A key of jansson's may have a NUL or be too long; the whole is one level deeper. */
    if (good)
        MUST(json_is_object(whole) || json_error_code(&why) == json_error_stack_overflow ||
             json_error_code(&why) == json_error_duplicate_key);
    else if (json_is_object(whole)) MUST(size > 4096 || memmem(bytes, size, "\\u0000", 6));
    json_decref(whole);
    return 0;
}
