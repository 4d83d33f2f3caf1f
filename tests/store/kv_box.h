/* What the tests of keys and values share. */
#ifndef TESTS_STORE_KV_BOX_H
#define TESTS_STORE_KV_BOX_H

#include "box.h"

#include <inttypes.h>

static const char *const noise_prefixes[] = {"seen/", "node/load/", NULL};
#define KV_TABLES TABLES, .noise_prefixes = noise_prefixes

/* Events of the store, for those that look. */
static struct {
    int count;
    char name[64], text[512];
} event;

static inline void take_event(void *arg, const char *name, const char *const *pairs, int count) {
    (void)arg;
    event.count++;
    snprintf(event.name, sizeof event.name, "%s", name);
    event.text[0] = 0;
    for (int i = 0; i < count; i++) {
        size_t at = strlen(event.text);
        snprintf(event.text + at, sizeof event.text - at, "%s ", pairs[i]);
    }
}

static inline hf_store *kv_store_at(const char *path) {
    hf_store *s;
    hf_store_options o = {.size = sizeof o, KV_TABLES, .event = take_event};
    FINE(hf_store_open(path, &o, &s));
    return s;
}

static inline hf_store *kv_store(void) {
    hf_store *s;
    hf_store_options o = {.size = sizeof o, KV_TABLES};
    FINE(hf_store_open_temp(&o, &s));
    return s;
}

/* The value of the key is this text. */
static inline void has(hf_store *s, const char *key, const char *text) {
    char *value = NULL;
    size_t n = 77;
    int code = hf_get(s, key, &value, &n);
    if (!text) {
        ck_assert_msg(code == HF_NOTFOUND, "%s: %s", key, code ? hf_errmsg() : value);
        ck_assert_uint_eq(n, 77); /* untouched */
        return;
    }
    ck_assert_msg(code == HF_OK, "%s: %s", key, hf_errmsg());
    ck_assert_str_eq(value, text);
    ck_assert_uint_eq(n, strlen(text));
    hf_free(value);
}

struct seen {
    char text[4096];
    int stop_at, count;
};

/* "key=value " */
static inline int see(void *arg, const hf_pair *p) {
    struct seen *seen = arg;
    size_t at = strlen(seen->text);
    snprintf(seen->text + at, sizeof seen->text - at, "%s=%.*s ", p->key, (int)p->bytes, p->value);
    ck_assert_int_eq(p->value[p->bytes], 0);
    return ++seen->count == seen->stop_at ? 4711 : 0;
}

static inline int scan_in(hf_store *s, int scope, const hf_scan *o, struct seen *seen) {
    hf_tx *t;
    FINE(hf_begin(s, scope, "scan", &t));
    int code = hf_kv_scan(t, o, see, seen);
    hf_rollback(t);
    return code;
}

static inline void scans(hf_store *s, const char *prefix, const char *after, int64_t limit,
                         const char *expected) {
    struct seen seen = {0};
    hf_scan o = {.size = sizeof o, .prefix = prefix, .after = after, .limit = limit};
    int code = scan_in(s, HF_READ, &o, &seen);
    ck_assert_msg(code == HF_OK, "%s", hf_errmsg());
    ck_assert_str_eq(seen.text, expected);
}

#endif
