/* Paths into JSON: checked, and brought into one spelling.
 *
 * Why: SQLite uses an index on an expression only for the same expression, and '$.name' and
 * '$."name"' are two. So each path is spelled anew: a name without quotes if it is made of letters,
 * digits and underscores, else with them; an index without leading zeros.
 *
 * Names with a quote or a backslash in them are refused: which member they mean differs between
 * versions of SQLite.
 */
#include "store/kv.h"

#include "base/bytes.h"

#include <stdio.h>
#include <string.h>

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_plain(const char *name, size_t n) {
    for (size_t i = 0; i < n; i++) {
        bool letter = (name[i] | 32) >= 'a' && (name[i] | 32) <= 'z';
        if (!letter && name[i] != '_' && (i == 0 || !is_digit(name[i]))) return false;
    }
    return n > 0;
}

/* The length of a name that ends at one of `ends`; 0: there is none. */
static size_t name_length(const char *name, const char *ends) {
    size_t n = strcspn(name, ends);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 32 || name[i] == '"' || name[i] == '\\') return 0;
    return n;
}

/* Behind the dot. The step's length; 0: it is none. */
static size_t name_step(const char *at, struct buf *out) {
    bool quoted = *at == '"';
    const char *name = at + quoted;
    size_t n = name_length(name, quoted ? "\"" : ".[] ");
    if (!n || (quoted && name[n] != '"')) return 0;
    buf_u8(out, '.');
    if (!is_plain(name, n)) buf_u8(out, '"');
    buf_put(out, name, n);
    if (!is_plain(name, n)) buf_u8(out, '"');
    return n + 2u * quoted;
}

/* Behind the bracket: a number, or "#-" and a number, which counts from the end. */
static size_t index_step(const char *at, struct buf *out) {
    size_t from_end = strncmp(at, "#-", 2) == 0 ? 2 : 0, n = from_end;
    while (is_digit(at[n])) n++;
    size_t digits = n - from_end;
    if (!digits || digits > 9 || at[n] != ']') return 0;
    buf_u8(out, '[');
    buf_put(out, at, from_end);
    for (size_t i = from_end; i + 1 < n && at[i] == '0'; i++) digits--;
    buf_put(out, at + n - digits, digits);
    buf_u8(out, ']');
    return n + 1;
}

static bool spell(const char *path, struct buf *out) {
    if (path[0] != '$') return false;
    buf_u8(out, '$');
    for (const char *at = path + 1; *at;) {
        size_t n = *at == '.' ? name_step(at + 1, out) : *at == '[' ? index_step(at + 1, out) : 0;
        if (!n) return false;
        at += n + 1;
    }
    return true;
}

static rc too_long(const char *path, struct err *e) {
    return err_set(e, RC_USAGE, "path '%.40s...': longer than %u bytes", path, LIMIT_JSON_PATH - 1);
}

/* What is bounded is the one spelling, so that it is a path itself. */
rc kv_path(const char *path, char out[LIMIT_JSON_PATH], struct err *e) {
    if (!path) return err_set(e, RC_USAGE, "path: it is NULL");
    size_t n = strnlen(path, LIMIT_JSON_PATH);
    if (n == LIMIT_JSON_PATH) return too_long(path, e);
    struct buf spelled AUTO(buf_deinit);
    buf_init(&spelled, LIMIT_JSON_PATH);
    if (!utf8_valid(path, n) || !spell(path, &spelled))
        return err_set(e, RC_USAGE,
                       "'%.200s': not a path into JSON; one looks like $.user.id, $.\"a name\" or "
                       "$.list[0]",
                       path);
    buf_u8(&spelled, 0);
    if (spelled.full) return too_long(path, e);
    TRY(buf_check(&spelled, "path", e));
    memcpy(out, spelled.bytes, spelled.size);
    return ok();
}
