/* One object of JSON, as a stream: see the header.
 *
 * Why not a library's streaming parser: the only one in Debian 12 (yajl) has had no release since
 * 2014, takes text that is not UTF-8, and turns half a surrogate pair into "?". What is left to do
 * here is to count brackets outside of strings.
 *
 * Invariant: what is accepted here and by json_valid for each value, is JSON. Between members
 * nothing but white space, commas and colons is let through; a value is never shorter or longer
 * than json_valid would have it, as that then refuses it.
 */
#include "store/kv_json.h"

#include "store/limits.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define RAW_KEY_MAX (6u * LIMIT_KV_KEY + 2) /* each byte as \u00xx, and the quotes */

void json_in_init(struct json_in *in, const char *name, json_read *read, void *arg) {
    in->name = name;
    in->read = read;
    in->arg = arg;
    in->key = NULL;
    in->begun = false;
    in->chunk_at = in->key_at = in->value_at = 0;
    in->at = in->size = 0;
    buf_init(&in->raw_key, RAW_KEY_MAX);
    buf_init(&in->value, LIMIT_KV_VALUE);
}

void json_in_deinit(struct json_in *in) {
    free(in->key);
    buf_deinit(&in->raw_key);
    buf_deinit(&in->value);
}

uint64_t json_in_bytes(const struct json_in *in) {
    return in->chunk_at + in->at;
}

static rc bad(const struct json_in *in, const char *what, struct err *e) {
    return err_set(e, RC_CORRUPT, "%s: byte %" PRIu64 ": %s", in->name, json_in_bytes(in), what);
}

/* The byte that is next, not taken; -1: the end. */
static rc peek(struct json_in *in, int *out, struct err *e) {
    if (in->at == in->size) {
        size_t got;
        TRY(in->read(in->arg, in->chunk, sizeof in->chunk, &got, e));
        in->chunk_at += in->size;
        in->at = 0;
        in->size = got;
    }
    *out = in->at < in->size ? in->chunk[in->at] : -1;
    return ok();
}

static bool is_space(int c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static rc skip_space(struct json_in *in, int *next, struct err *e) {
    for (;;) {
        TRY(peek(in, next, e));
        if (!is_space(*next)) return ok();
        in->at++;
    }
}

static rc expect(struct json_in *in, int wanted, const char *what, struct err *e) {
    int c;
    TRY(skip_space(in, &c, e));
    if (c < 0) return bad(in, "it ends in the middle", e);
    if (c != wanted) return bad(in, what, e);
    in->at++;
    return ok();
}

/* Where a value ends, seen byte by byte. */
struct extent {
    bool in_string, escaped, over;
    uint64_t depth;
};

/* How many of the bytes are the value's. */
static size_t measure(struct extent *x, const unsigned char *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        int c = p[i];
        if (x->in_string) {
            bool quote = c == '"' && !x->escaped;
            x->escaped = c == '\\' && !x->escaped;
            x->in_string = !quote;
            x->over = quote && !x->depth;
        } else if (c == '"') {
            x->in_string = true;
        } else if (c == '{' || c == '[') {
            x->depth++;
        } else if (x->depth) {
            if (c == '}' || c == ']') x->over = --x->depth == 0;
        } else if (c == '}' || c == ']' || c == ',' || is_space(c)) { /* behind a number, a word */
            x->over = true;
            return i;
        }
        if (x->over) return i + 1;
    }
    return n;
}

/* The bytes from here to the end of the value. */
static rc take_value(struct json_in *in, struct buf *out, const char *what, struct err *e) {
    struct extent x = {0};
    int c;
    buf_clear(out);
    while (!x.over) {
        TRY(peek(in, &c, e));
        if (c < 0) return bad(in, "it ends in the middle", e);
        size_t n = measure(&x, in->chunk + in->at, in->size - in->at);
        buf_put(out, in->chunk + in->at, n);
        if (out->failed && out->full) return bad(in, what, e);
        TRY(buf_check(out, "a member of the file", e));
        in->at += n;
    }
    return out->size ? ok() : bad(in, "a value is missing", e);
}

static rc take_key(struct json_in *in, struct err *e) {
    size_t n;
    struct err why;
    in->key_at = json_in_bytes(in);
    free(in->key);
    in->key = NULL;
    TRY(take_value(in, &in->raw_key, "a key that is too long ends nowhere before this", e));
    rc r = json_decode_string(in->raw_key.bytes, in->raw_key.size, false, &in->key, &n, &why);
    if (is_ok(r)) return ok();
    return err_set(e, r.code, "%s: byte %" PRIu64 ": a key: %s", in->name, in->key_at, why.text);
}

static rc at_end(struct json_in *in, struct err *e) {
    int c;
    in->at++;
    TRY(skip_space(in, &c, e));
    if (c >= 0) return bad(in, "something follows the object", e);
    return (rc){RC_NOTFOUND};
}

rc json_in_next(struct json_in *in, struct err *e) {
    bool first = !in->begun;
    int c;
    if (first) {
        TRY(skip_space(in, &c, e));
        if (c < 0) return bad(in, "it is empty; an object of JSON begins with {", e);
        TRY(expect(in, '{', "not an object of JSON: it begins with something else than {", e));
        in->begun = true;
    }
    TRY(skip_space(in, &c, e));
    if (c == '}') return at_end(in, e);
    if (!first) TRY(expect(in, ',', "a comma or } is expected between members", e));
    TRY(skip_space(in, &c, e));
    if (c < 0) return bad(in, "it ends in the middle", e);
    if (c != '"') return bad(in, "a key in quotes is expected", e);
    TRY(take_key(in, e));
    TRY(expect(in, ':', "a colon is expected behind the key", e));
    TRY(skip_space(in, &c, e));
    in->value_at = json_in_bytes(in);
    return take_value(in, &in->value, "a value that is too long ends nowhere before this", e);
}

/* ---- strings, by jansson ---- */

rc json_decode_string(const void *raw, size_t n, bool nul, char **out, size_t *bytes,
                      struct err *e) {
    json_error_t why;
    json_t *it = json_loadb(raw, n, JSON_DECODE_ANY | (nul ? JSON_ALLOW_NUL : 0), &why);
    if (!it) return err_set(e, RC_CORRUPT, "%s", why.text);
    if (!json_is_string(it)) {
        json_decref(it);
        return err_set(e, RC_CORRUPT, "not a string");
    }
    size_t length = json_string_length(it);
    char *copy = malloc(length + 1);
    if (copy) memcpy(copy, json_string_value(it), length + 1);
    json_decref(it);
    if (!copy) return err_set(e, RC_NOMEM, "no memory for a string");
    *out = copy;
    *bytes = length;
    return ok();
}

rc json_encode_string(const char *text, size_t n, char **out, struct err *e) {
    json_t *it = json_stringn(text, n);
    if (!it) return err_set(e, RC_CORRUPT, "not UTF-8");
    *out = json_dumps(it, JSON_ENCODE_ANY);
    json_decref(it);
    return *out ? ok() : err_set(e, RC_NOMEM, "no memory for a string");
}
