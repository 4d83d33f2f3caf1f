/* A replica's URL, whatever is in it: a path, a bucket, or refused with words that repeat nothing
 * which may be a secret. Input: the URL; and once more as a path that is written as a URL. */
#include "fuzz.h"

#include "object/object.h"

#include <strings.h>

static char opened[LIMIT_PATH];
static bool is_path, is_bucket;

static rc take_path(struct env *env, const char *root, struct store **out, struct err *e) {
    (void)env, (void)e;
    MUST(strlen(root) < sizeof opened);
    strcpy(opened, root);
    is_path = true;
    *out = calloc(1, sizeof **out);
    return ok();
}

static rc take_bucket(struct env *env, const char *url, struct store **out, struct err *e) {
    (void)env, (void)e;
    MUST(strncasecmp(url, "s3:", 3) == 0);
    is_bucket = true;
    *out = calloc(1, sizeof **out);
    return ok();
}

#define store_new_file take_path
#define store_new_s3 take_bucket
#include "object/object.c"

static rc open_url(const char *url) {
    struct store *s = NULL;
    struct err e = {0};
    is_path = is_bucket = false;
    rc r = store_open(NULL, url, &s, &e);
    MUST(is_ok(r) ? s && is_path != is_bucket && strcmp(s->given, url) == 0
                  : r.code == RC_USAGE && *e.text && !strchr(e.text, '\n') && !s);
    MUST(strlen(e.text) < 300);
    free(s);
    return r;
}

static void check_key(const char *key) {
    struct err e;
    bool good = is_ok(key_check(key, &e)), wrong = !*key || strlen(key) >= LIMIT_KEY;
    for (const char *p = key; *p; p++) wrong |= iscntrl((unsigned char)*p) != 0;
    for (const char *p = key; p; p = strchr(p, '/') ? strchr(p, '/') + 1 : NULL)
        wrong |= *p == 0 || *p == '/' || *p == '.';
    MUST(good != wrong);
}

/* Every byte written as %XX is the path again. */
static void check_escaped(const char *plain) {
    char *url = malloc(3 * strlen(plain) + 16), *at = url + sprintf(url, "FILE:///");
    for (const char *p = plain; *p; p++) at += sprintf(at, "%%%02x", (unsigned char)*p);
    *at = 0;
    if (strlen(url) >= 4096) {
        free(url);
        return;
    }
    MUST(is_ok(open_url(url)) && is_path && opened[0] == '/' && strcmp(opened + 1, plain) == 0);
    free(url);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char *url = calloc(1, size + 1);
    memcpy(url, bytes, size);
    rc r = open_url(url);
    if (is_ok(r) && is_path && !strchr(url, ':')) MUST(strcmp(opened, url) == 0);
    check_key(url);
    check_escaped(url);
    free(url);
    return 0;
}
