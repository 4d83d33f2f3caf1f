/* An s3:// URL, whatever is in it: refused, or its canonical form means the same bucket, root and
 * host. */
#include "fuzz.h"

#include "object/s3_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct s3_url u, again;
    struct err err = {0};
    char form[1024], twice[1024], *url = calloc(1, size + 4);
    memcpy(url, "s3:", 3);
    memcpy(url + 3, bytes, size);
    rc r = s3_url_parse(url, &u, &err);
    free(url);
    MUST(is_ok(r) || (r.code == RC_USAGE && *err.text && !strchr(err.text, '\n')));
    if (!is_ok(r)) return 0;
    MUST(*u.bucket && *u.scheme && !strpbrk(u.bucket, "/?#@% \r\n") &&
         !strpbrk(u.host, "/?#@% \r\n"));
    MUST(u.root[0] != '/' && !strstr(u.root, "//") && !strstr(u.root, "/../"));
    if (!is_ok(s3_url_format(&u, form, sizeof form, &err))) return 0;
    for (const char *p = form; *p; p++) MUST(*p > ' ' && *p < 127 && !strchr("'\"\\", *p));
    if (strchr(u.bucket, '.')) return 0; /* "x.filebase.com" is read as a service's host again */
    MUST(is_ok(s3_url_parse(form, &again, &err)));
    MUST(strcmp(u.bucket, again.bucket) == 0 && strcmp(u.root, again.root) == 0);
    MUST(strcmp(u.host, again.host) == 0 && strcmp(u.scheme, again.scheme) == 0);
    MUST(strcmp(u.region, again.region) == 0 && strcmp(u.profile, again.profile) == 0);
    MUST(u.path_style == again.path_style && u.consistent == again.consistent);
    MUST(is_ok(s3_url_format(&again, twice, sizeof twice, &err)) && strcmp(form, twice) == 0);
    return 0;
}
