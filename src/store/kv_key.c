/* Keys: what may be one, which file it lives in, and where the keys under a prefix end.
 *
 * Why UTF-8 is asked for: SQLite takes any bytes for text, but what it makes of others in ranges,
 * JSON and exports is not defined, and differs between its versions. For valid text the order of
 * the bytes is that of the code points, so that a prefix is one range.
 */
#include "store/kv.h"

#include <string.h>

/* The length of the sequence at s; 0: it is none. (Unicode 15, table 3-7.) */
static size_t sequence(const unsigned char *s, size_t n) {
    size_t more = s[0] < 0x80                   ? 0
                  : s[0] >= 0xc2 && s[0] < 0xe0 ? 1
                  : (s[0] & 0xf0) == 0xe0       ? 2
                  : s[0] >= 0xf0 && s[0] < 0xf5 ? 3
                                                : n;
    if (more >= n) return 0;
    for (size_t i = 1; i <= more; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f)) return 0;
    if ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f)) return 0;
    return more + 1;
}

bool utf8_valid(const void *text, size_t n) {
    const unsigned char *s = text;
    for (size_t at = 0, step; at < n; at += step) {
        step = sequence(s + at, n - at);
        if (!step) return false;
    }
    return true;
}

rc kv_check_key(const char *key, const char *what, struct err *e) {
    if (!key) return err_set(e, RC_USAGE, "%s: it is NULL", what);
    size_t n = strnlen(key, LIMIT_KV_KEY + 1);
    if (n > LIMIT_KV_KEY)
        return err_set(e, RC_USAGE, "%s '%.40s...': longer than %u bytes", what, key, LIMIT_KV_KEY);
    if (!n && strcmp(what, "key") == 0) return err_set(e, RC_USAGE, "key: it is empty");
    if (!utf8_valid(key, n)) return err_set(e, RC_USAGE, "%s '%.80s': not UTF-8", what, key);
    return ok();
}

static size_t encode(uint32_t c, char *out) {
    unsigned char *s = (unsigned char *)out;
    size_t more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    for (size_t i = more; i > 0; i--, c >>= 6) s[i] = (unsigned char)(0x80 | (c & 0x3f));
    s[0] = (unsigned char)(lead[more] | c);
    return more + 1;
}

static uint32_t decode(const char *text, size_t n) {
    static const unsigned char mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    const unsigned char *s = (const unsigned char *)text;
    uint32_t c = s[0] & mask[n];
    for (size_t i = 1; i < n; i++) c = c << 6 | (s[i] & 0x3f);
    return c;
}

bool kv_upper(const char *prefix, char out[LIMIT_KV_KEY + 8]) {
    for (size_t n = strlen(prefix); n > 0;) {
        size_t last = n - 1;
        while (last > 0 && ((unsigned char)prefix[last] & 0xc0) == 0x80) last--;
        uint32_t c = decode(prefix + last, n - last);
        if (c < 0x10ffff) {
            memcpy(out, prefix, last);
            out[last + encode(c == 0xd7ff ? 0xe000 : c + 1, out + last)] = 0;
            return true;
        }
        n = last;
    }
    return false;
}

const char *kv_file_name(enum kv_file file) {
    return file == KV_NOISE ? "noise" : "main";
}

int kv_scope(enum kv_file file) {
    return file == KV_NOISE ? HF_NOISE : HF_MAIN;
}

static bool begins(const char *key, const char *prefix) {
    return strncmp(key, prefix, strlen(prefix)) == 0;
}

enum kv_file kv_file_of(const struct kv *kv, const char *key) {
    for (const char *const *p = kv->noise_prefixes; p && *p; p++)
        if (begins(key, *p)) return KV_NOISE;
    return KV_MAIN;
}

rc kv_file_of_prefix(const struct kv *kv, const char *prefix, enum kv_file *out, struct err *e) {
    if (!prefix) {
        *out = KV_MAIN;
        return ok();
    }
    TRY(kv_check_key(prefix, "prefix", e));
    enum kv_file file = kv_file_of(kv, prefix);
    for (const char *const *p = kv->noise_prefixes; file == KV_MAIN && p && *p; p++)
        if (begins(*p, prefix))
            return err_set(e, RC_USAGE,
                           "prefix '%.200s': its keys are in both files: under '%.200s' in noise, "
                           "the others in main; ask for a longer prefix",
                           prefix, *p);
    *out = file;
    return ok();
}

static rc wrong_scope(const hf_tx *tx, enum kv_file file, bool write, const char *key,
                      struct err *e) {
    if (tx_scope(tx) == HF_READ && write)
        return err_set(e, RC_USAGE, "'%.200s': a write in a read transaction: begin it with %s",
                       key, file == KV_NOISE ? "HF_NOISE" : "HF_MAIN");
    return err_set(e, RC_USAGE, "'%.200s': it lives in %s: begin with %s or HF_BOTH", key,
                   kv_file_name(file), file == KV_NOISE ? "HF_NOISE" : "HF_MAIN");
}

rc kv_reach(const struct kv *kv, const hf_tx *tx, enum kv_file file, bool write, const char *key,
            struct err *e) {
    int scope = tx_scope(tx);
    if (scope == HF_READ ? write : !(scope & kv_scope(file)))
        return wrong_scope(tx, file, write, key, e);
    if (kv->refused[file][0]) return err_set(e, RC_UNFIT, "%s", kv->refused[file]);
    return ok();
}
