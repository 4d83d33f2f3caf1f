/* Objects' names, one by one and as a store lists them. Input: the layout, a byte; then names, each
 * ended by a zero. What parses is what is formatted; every object of a list has the key that it was
 * listed by, and none is there twice or left out. */
#include "fuzz.h"

#include "replica/internal.h"

#include <stdbool.h>

#define NAMES 64

struct fake {
    struct store store; /* first */
    const char *names[NAMES];
    int count;
};

static void check_name(const char *name) {
    char again[NAME_SIZE];
    uint64_t min, max;
    if (!name_parse(name, &min, &max)) return;
    MUST(min >= 1 && max >= min);
    name_format(min, max, again);
    MUST(strcmp(name, again) == 0);
}

static rc list_all(struct store *s, const char *dir,
                   rc (*each)(void *, const struct object_info *, struct err *), void *arg,
                   struct err *e) {
    const struct fake *f = (const struct fake *)s;
    size_t n = strlen(dir);
    for (int i = 0; i < f->count; i++) {
        const char *key = f->names[i];
        if (n && (strncmp(key, dir, n) != 0 || key[n] != '/')) continue;
        TRY(each(arg, &(struct object_info){.name = n ? key + n + 1 : key, .time_ms = 1}, e));
    }
    return ok();
}

static rc list_prefix(struct store *s, const char *prefix,
                      rc (*each)(void *, const struct object_info *, struct err *), void *arg,
                      struct err *e) {
    const struct fake *f = (const struct fake *)s;
    for (int i = 0; i < f->count; i++)
        if (strncmp(f->names[i], prefix, strlen(prefix)) == 0)
            TRY(each(arg, &(struct object_info){.name = f->names[i], .time_ms = 1}, e));
    return ok();
}

static bool is_listed(const struct fake *f, const char *key) {
    for (int i = 0; i < f->count; i++)
        if (strcmp(f->names[i], key) == 0) return true;
    return false;
}

/* Whether the key is one of an object's: made anew from what it says, it is the same. */
static bool is_object(const struct fake *f, const char *key) {
    const char *name = strrchr(key, '/');
    struct replica_file x = {0};
    char again[KEY_SIZE];
    if (!name || !name_parse(name + 1, &x.min_txid, &x.max_txid)) return false;
    for (; x.level < LIMIT_LEVELS; x.level++) {
        replica_key(&f->store, &x, again);
        if (strcmp(key, again) == 0) return true;
    }
    return false;
}

static void check_list(struct fake *f) {
    struct listing l;
    size_t strangers = 0, objects = 0;
    char key[KEY_SIZE];
    struct err e;
    MUST(is_ok(replica_list(&f->store, &l, &strangers, &e)));
    for (size_t i = 0; i < l.count; i++) {
        replica_key(&f->store, &l.files[i], key);
        MUST(is_listed(f, key) && listing_has(&l, &l.files[i]));
    }
    for (int i = 0; i < f->count; i++) {
        bool twin = false;
        for (int k = 0; k < i; k++) twin |= strcmp(f->names[i], f->names[k]) == 0;
        objects += !twin && is_object(f, f->names[i]);
    }
    MUST(objects == l.count && strangers <= (size_t)f->count - objects);
    listing_deinit(&l);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    static const struct store_ops directory = {.list = list_all},
                                  bucket = {.list = list_all, .list_keys = list_prefix};
    if (size < 1) return 0;
    struct fake f = {.store.url = "fuzz",
                     .store.layout = bytes[0] % 2 ? LAYOUT_BUCKET : LAYOUT_LTX,
                     .store.ops = bytes[0] % 4 == 3 ? &bucket : &directory};
    char *names = calloc(1, size);
    memcpy(names, bytes + 1, size - 1);
    for (char *at = names; at < names + size && f.count < NAMES; at += strlen(at) + 1) {
        check_name(at);
        f.names[f.count++] = at;
    }
    check_list(&f);
    free(names);
    return 0;
}
