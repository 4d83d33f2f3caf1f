/* From a URL to a store; and what all stores share: the rules for keys.
 *
 * Why a scheme or parameter that is not known is refused and never skipped: a typing mistake would
 * send the backup elsewhere, and nobody would notice before the day it is needed.
 *
 * Invariant: no message repeats more of a URL than its scheme, its host or a parameter's name; the
 * rest may hold a secret.
 */
#include "object/object.h"

#include "base/limits.h"
#include "object/key.h"
#include "object/s3_url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NAME_MAX_TYPED 32 /* longer ones are nobody's typing mistake */

static const char *const schemes[] = {"file", "s3", NULL};

/* Letters, digits, "+-." up to a colon, as RFC 3986 3.1 has it; 0: a plain path. */
static size_t scheme_length(const char *url) {
    if (!isalpha((unsigned char)url[0])) return 0;
    size_t n = 1;
    while (isalnum((unsigned char)url[n]) || (url[n] && strchr("+-.", url[n]))) n++;
    return url[n] == ':' ? n : 0;
}

static rc refuse_scheme(const char *url, size_t n, struct err *e) {
    char typed[NAME_MAX_TYPED + 1];
    snprintf(typed, sizeof typed, "%.*s", (int)n, url);
    const char *near = nearest_name(typed, schemes);
    if (near)
        return err_set(e, RC_USAGE, "unknown URL scheme '%s': did you mean '%s'?", typed, near);
    return err_set(e, RC_USAGE,
                   "unknown URL scheme '%s': a path with a colon is written './%s:...'", typed,
                   typed);
}

static rc refuse_parameter(const char *query, struct err *e) {
    char typed[NAME_MAX_TYPED + 1];
    snprintf(typed, sizeof typed, "%.*s", (int)strcspn(query, "=&#"), query);
    const char *near = nearest_name(typed, s3_url_parameters);
    if (!near) return err_set(e, RC_USAGE, "a file URL takes no parameters, not '%s'", typed);
    return err_set(e, RC_USAGE,
                   "a file URL takes no parameters, not '%s': '%s' is one of other stores", typed,
                   near);
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

rc url_decode(const char *in, char *out, struct err *e) {
    for (; *in; in++) {
        if (*in != '%') {
            *out++ = *in;
            continue;
        }
        int high = hex_value(in[1]), low = high < 0 ? -1 : hex_value(in[2]);
        if (low < 0 || high + low == 0)
            return err_set(e, RC_USAGE, "URL: '%.3s' does not stand for a character (%% is %%25)",
                           in);
        *out++ = (char)(high * 16 + low);
        in += 2;
    }
    *out = 0;
    return ok();
}

/* What follows "file:". */
static rc file_url_path(const char *rest, char path[LIMIT_PATH], struct err *e) {
    const char *mark = strpbrk(rest, "?#");
    if (mark && *mark == '?') return refuse_parameter(mark + 1, e);
    if (mark) return err_set(e, RC_USAGE, "file URL: '#' is written %%23");
    if (strncmp(rest, "//", 2) == 0) {
        rest += 2;
        size_t host = strcspn(rest, "/");
        if (host && (host != 9 || strncasecmp(rest, "localhost", 9) != 0))
            return err_set(e, RC_USAGE,
                           "file URL: '%.*s' is in the place of a host: an absolute path has three "
                           "slashes (file:///dir), a relative one none (file:dir)",
                           (int)(host < 64 ? host : 64), rest);
        rest += host;
    }
    return url_decode(rest, path, e);
}

static rc open_by_scheme(struct env *env, const char *url, struct store **out, struct err *e) {
    char path[LIMIT_PATH];
    size_t n = scheme_length(url);
    if (n == 0) return store_new_file(env, url, out, e);
    if (n == 2 && strncasecmp(url, "s3", 2) == 0) return store_new_s3(env, url, out, e);
    if (n != 4 || strncasecmp(url, "file", 4) != 0) return refuse_scheme(url, n, e);
    TRY(file_url_path(url + 5, path, e));
    return store_new_file(env, path, out, e);
}

rc store_open(struct env *env, const char *url, struct store **out, struct err *e) {
    struct store *s = NULL;
    if (strlen(url) >= sizeof s->given) return err_set(e, RC_USAGE, "replica URL: too long");
    TRY(open_by_scheme(env, url, &s, e));
    snprintf(s->given, sizeof s->given, "%s", url);
    *out = s;
    return ok();
}

const char *request_kind_name(enum request_kind kind) {
    static const char *const names[REQUEST_KINDS] = {"put",  "get",    "head",
                                                     "list", "delete", "multipart"};
    return names[kind];
}

void store_free(struct store *s) {
    if (s) s->ops->free(s);
}

rc key_check_dir(const char *dir, struct err *e) {
    return *dir ? key_check(dir, e) : ok();
}

rc key_check(const char *key, struct err *e) {
    size_t n = strnlen(key, LIMIT_KEY);
    if (n == LIMIT_KEY) return err_set(e, RC_USAGE, "key '%.40s...': too long", key);
    for (const char *p = key;; p++) { /* one part a round */
        if (*p == 0 || *p == '/' || *p == '.') break;
        for (; *p && *p != '/'; p++)
            if (iscntrl((unsigned char)*p)) return err_set(e, RC_USAGE, "key: a control character");
        if (*p == 0) return ok();
    }
    return err_set(e, RC_USAGE, "key '%s': a part is empty or begins with a dot", key);
}

const char *key_name(const char *key) {
    const char *slash = strrchr(key, '/');
    return slash ? slash + 1 : key;
}
