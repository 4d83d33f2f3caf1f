/* s3:// URLs: buckets and hosts as Litestream writes them, and the parameters of both spellings. */
#include "object/s3_url.h"

#include "object/key.h"
#include "object/sigv4.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Those of one group may differ by case and hyphens only: "forcePathStyle", "force-path-style". */
const char *const s3_url_parameters[] = {"endpoint",
                                         "region",
                                         "profile",
                                         "force-path-style",
                                         "skip-verify",
                                         "sign-payload",
                                         "require-content-md5",
                                         "concurrency",
                                         "timeout",
                                         "part-size",
                                         "storage-class",
                                         "sse-kms-key-id",
                                         "sse",
                                         "sse-customer-key",
                                         "sse-customer-algorithm",
                                         "sse-customer-key-md5",
                                         NULL};

static bool has_end(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcasecmp(text + n - m, end) == 0;
}

/* Not "127.example.com", nor "localhost.example.com". */
static bool is_loopback(const char *host) {
    size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    return (n == 9 && strncasecmp(host, "localhost", n) == 0) ||
           (strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == n) ||
           (n == 5 && strncmp(host, "[::1]", n) == 0);
}

/* Names of hosts and regions go into URLs and signatures as they are. */
static bool is_host(const char *text) {
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]");
    return n > 0 && text[n] == 0;
}

static rc parse_bool(const char *name, const char *value, bool *out, struct err *e) {
    static const char *const yes[] = {"true", "1", "t", "yes"}, *const no[] = {"false", "0", "f",
                                                                               "no"};
    for (size_t i = 0; i < 4; i++) {
        if (strcasecmp(value, yes[i]) == 0) return *out = true, ok();
        if (strcasecmp(value, no[i]) == 0) return *out = false, ok();
    }
    return err_set(e, RC_USAGE, "s3 URL: %s is true or false", name);
}

/* "PartSize" and "part-size" are one. */
static bool same_name(const char *typed, const char *name) {
    for (;; typed++, name++) {
        while (*typed == '-') typed++;
        while (*name == '-') name++;
        if (tolower((unsigned char)*typed) != *name) return false;
        if (*name == 0) return true;
    }
}

static rc take_text(const char *name, const char *value, char *out, size_t size, struct err *e) {
    if ((size_t)snprintf(out, size, "%s", value) < size) return ok();
    return err_set(e, RC_USAGE, "s3 URL: %s is too long", name);
}

rc s3_url_endpoint(const char *endpoint, struct s3_url *u, struct err *e) {
    const char *rest = strstr(endpoint, "://");
    size_t n = rest ? (size_t)(rest - endpoint) : 0;
    if (rest && (n < 4 || n > 5 || strncasecmp(endpoint, "https", n) != 0))
        return err_set(e, RC_USAGE, "s3 URL: an endpoint begins with https:// or http://");
    rest = rest ? rest + 3 : endpoint;
    size_t length = strcspn(rest, "/");
    if (rest[length] && rest[length + 1])
        return err_set(e, RC_USAGE, "s3 URL: an endpoint is a host and a port, without a path");
    snprintf(u->host, sizeof u->host, "%.*s", (int)length, rest);
    if (length >= sizeof u->host || !is_host(u->host))
        return err_set(e, RC_USAGE, "s3 URL: the endpoint is no host");
    u->is_loopback = is_loopback(u->host);
    if (!u->path_style_said) u->path_style = true; /* a name before a host may lead nowhere */
    bool plain = n ? n == 4 : u->is_loopback;
    snprintf(u->scheme, sizeof u->scheme, plain ? "http" : "https");
    return ok();
}

static rc take_number(const char *name, const char *value, uint64_t least, uint64_t most,
                      uint64_t *out, struct err *e) {
    char *end;
    uint64_t n = strtoull(value, &end, 10);
    if (*end || !*value || n < least || n > most)
        return err_set(e, RC_USAGE, "s3 URL: %s is a number from %llu to %llu", name,
                       (unsigned long long)least, (unsigned long long)most);
    *out = n;
    return ok();
}

static rc take_parameter(struct s3_url *u, const char *typed, const char *value, struct err *e) {
    const char *name = NULL;
    for (int i = 0; s3_url_parameters[i] && !name; i++)
        if (same_name(typed, s3_url_parameters[i])) name = s3_url_parameters[i];
    if (!name) {
        const char *near = nearest_name(typed, s3_url_parameters);
        return err_set(e, RC_USAGE, "s3 URL: unknown parameter '%.32s'%s%s%s", typed,
                       near ? ": did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    if (strcmp(name, "endpoint") == 0) return *u->host ? ok() : s3_url_endpoint(value, u, e);
    if (strcmp(name, "region") == 0) {
        if (!is_host(value)) return err_set(e, RC_USAGE, "s3 URL: the region is no region");
        return take_text(name, value, u->region, sizeof u->region, e);
    }
    if (strcmp(name, "profile") == 0)
        return take_text(name, value, u->profile, sizeof u->profile, e);
    if (strcmp(name, "storage-class") == 0)
        return take_text(name, value, u->storage_class, sizeof u->storage_class, e);
    if (strcmp(name, "sse-kms-key-id") == 0)
        return take_text(name, value, u->kms_key, sizeof u->kms_key, e);
    if (strcmp(name, "force-path-style") == 0) {
        u->path_style_said = true;
        return parse_bool(name, value, &u->path_style, e);
    }
    if (strcmp(name, "sign-payload") == 0) return parse_bool(name, value, &u->sign_payload, e);
    if (strcmp(name, "require-content-md5") == 0)
        return parse_bool(name, value, &u->content_md5, e);
    if (strcmp(name, "part-size") == 0)
        return take_number("part-size (bytes)", value, 5u << 20, 1u << 30, &u->part_size, e);
    if (strcmp(name, "timeout") == 0)
        return take_number("timeout (seconds)", value, 1, 300, &u->timeout_s, e);
    if (strcmp(name, "concurrency") == 0) return ok(); /* parts go up one after the other */
    if (strcmp(name, "sse") == 0) {
        u->sse_s3 = strcmp(value, "AES256") == 0;
        return u->sse_s3 ? ok()
                         : err_set(e, RC_USAGE,
                                   "s3 URL: sse is AES256; for a KMS key "
                                   "give sse-kms-key-id");
    }
    if (strcmp(name, "skip-verify") == 0)
        return err_set(e, RC_USAGE,
                       "s3 URL: skip-verify is not to be had: certificates are always "
                       "verified; name your own authority's in AWS_CA_BUNDLE");
    return err_set(e, RC_USAGE,
                   "s3 URL: %s: a key in a URL is seen by every process; it is taken "
                   "from HOLDFAST_SSE_CUSTOMER_KEY in the environment",
                   name);
}

static rc take_query(struct s3_url *u, const char *query, struct err *e) {
    char part[2048], text[2048];
    while (*query) {
        size_t n = strcspn(query, "&");
        if (n >= sizeof part) return err_set(e, RC_USAGE, "s3 URL: a parameter is too long");
        snprintf(part, sizeof part, "%.*s", (int)n, query);
        TRY(url_decode(part, text, e));
        char *value = strchr(text, '=');
        if (value) *value++ = 0;
        if (*text) TRY(take_parameter(u, text, value ? value : "", e));
        query += n + (query[n] == '&');
    }
    return ok();
}

/* Known services, by the end of the host. */
static const struct provider {
    const char *end, *service;
    bool has_region, path_style;
} providers[] = {
    {".amazonaws.com", "s3.", true, false},  {".digitaloceanspaces.com", "", true, false},
    {".backblazeb2.com", "s3.", true, true}, {".filebase.com", "s3.", false, true},
    {".scw.cloud", "s3.", true, false},
};

/* "[bucket.][s3.][region.]end" */
static bool split_host(struct s3_url *u, const char *host) {
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++) {
        const struct provider *p = &providers[i];
        if (!has_end(host, p->end)) continue;
        char head[256];
        snprintf(head, sizeof head, ".%.*s", (int)(strlen(host) - strlen(p->end)), host);
        char *region = p->has_region ? strrchr(head, '.') : NULL;
        if (region && strcmp(region + 1, "s3") != 0) {
            snprintf(u->region, sizeof u->region, "%s", region + 1);
            *region = 0;
        }
        if (*p->service && has_end(head, ".s3")) head[strlen(head) - 3] = 0;
        snprintf(u->bucket, sizeof u->bucket, "%s", *head ? head + 1 : "");
        u->path_style = p->path_style;
        if (i == 0) return true; /* the host is made from bucket and region */
        snprintf(u->scheme, sizeof u->scheme, "https");
        snprintf(u->host, sizeof u->host, "%s%s%s", p->service, u->region,
                 *u->region ? p->end : p->end + 1);
        return true;
    }
    return false;
}

static void apply_defaults(struct s3_url *u) {
    if (!*u->host && !u->path_style_said) /* a certificate's * stands for no dot */
        u->path_style = strchr(u->bucket, '.') != NULL;
    u->consistent =
        has_end(u->host, "fly.storage.tigris.dev") || has_end(u->host, "t3.storage.dev");
}

static rc take_authority(struct s3_url *u, const char *host, struct err *e) {
    const char *dot = strchr(host, '.'), *port = strrchr(host, ':');
    if (strchr(host, '@'))
        return err_set(e, RC_USAGE,
                       "s3 URL: credentials do not belong into a URL, where every "
                       "process sees them: see the manual for where they are looked for");
    if (!is_host(host)) return err_set(e, RC_USAGE, "s3 URL: what follows s3:// is no bucket");
    if (split_host(u, host)) return ok();
    if (dot && port && dot < port) { /* bucket.host:port, MinIO's */
        snprintf(u->bucket, sizeof u->bucket, "%.*s", (int)(dot - host), host);
        u->path_style = true;
        return s3_url_endpoint(dot + 1, u, e);
    }
    return take_text("bucket", host, u->bucket, sizeof u->bucket, e);
}

/* As Go's path.Clean, which Litestream uses, without the slash in front: "a//b/../c/" is "a/c". */
static rc clean_root(struct s3_url *u, const char *path, struct err *e) {
    char *out = u->root;
    *out = 0;
    if (!*path) return take_text("path", ".", u->root, sizeof u->root, e);
    while (*path) {
        size_t n = strcspn(path, "/");
        if (n == 2 && strncmp(path, "..", 2) == 0) {
            char *slash = strrchr(u->root, '/');
            *(slash ? slash : u->root) = 0;
        } else if (n && !(n == 1 && *path == '.')) {
            size_t used = strlen(out);
            if (used + n + 2 > sizeof u->root) return err_set(e, RC_USAGE, "s3 URL: path too long");
            snprintf(out + used, sizeof u->root - used, "%s%.*s", used ? "/" : "", (int)n, path);
        }
        path += n + (path[n] == '/');
    }
    return ok();
}

/* "arn:aws:s3:REGION:ACCOUNT:accesspoint", and the path begins with the access point's name. */
static rc take_access_point(struct s3_url *u, const char *arn, struct err *e) {
    char region[32], account[32], root[sizeof u->root];
    int n = (int)strcspn(u->root, "/");
    if (sscanf(arn, "arn:aws:s3:%31[a-z0-9-]:%31[0-9]:", region, account) != 2 ||
        !has_end(arn, ":accesspoint") || n == 0 || u->root[0] == '.')
        return err_set(e, RC_USAGE,
                       "s3 URL: an access point is arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME");
    snprintf(u->bucket, sizeof u->bucket, "%.*s-%s", n < 128 ? n : 128, u->root, account);
    snprintf(u->host, sizeof u->host, "s3-accesspoint.%s.amazonaws.com", region);
    snprintf(u->region, sizeof u->region, "%s", region);
    snprintf(root, sizeof root, "%s", u->root[n] ? u->root + n + 1 : ".");
    memcpy(u->root, root, sizeof root);
    u->path_style_said = true; /* the name is always before the host */
    return ok();
}

rc s3_url_parse(const char *url, struct s3_url *out, struct err *e) {
    struct s3_url u = {.sign_payload = true, .scheme = "https"};
    char host[512], path[2048], decoded[2048];
    const char *rest = url + strlen("s3:");
    if (strncmp(rest, "//", 2) != 0)
        return err_set(e, RC_USAGE, "s3 URL: it begins with s3://bucket");
    rest += 2;
    size_t n = strcspn(rest, "/?"), m = strcspn(rest + n, "?");
    if (strchr(rest, '#')) return err_set(e, RC_USAGE, "s3 URL: '#' is written %%23");
    if (n == 0 || n >= sizeof host || m >= sizeof path)
        return err_set(e, RC_USAGE,
                       n ? "s3 URL: too long" : "s3 URL: no bucket (s3://bucket/path)");
    snprintf(host, sizeof host, "%.*s", (int)n, rest);
    snprintf(path, sizeof path, "%.*s", (int)m, rest + n);
    TRY(url_decode(path, decoded, e));
    TRY(clean_root(&u, decoded, e));
    bool is_arn = strncmp(host, "arn:", 4) == 0;
    TRY(is_arn ? take_access_point(&u, host, e) : take_authority(&u, host, e));
    if (strpbrk(u.bucket, ":[]") || (strspn(host, "0123456789.:") == n && strchr(host, ':')))
        return err_set(e, RC_USAGE, "s3 URL: a host is in the place of the bucket: give endpoint=");
    if (rest[n + m] == '?') TRY(take_query(&u, rest + n + m + 1, e));
    if (!*u.bucket) return err_set(e, RC_USAGE, "s3 URL: no bucket (s3://bucket/path)");
    if (*u.kms_key && u.sse_s3)
        return err_set(e, RC_USAGE, "s3 URL: sse and sse-kms-key-id exclude each other");
    apply_defaults(&u);
    *out = u;
    return ok();
}

rc s3_url_format(const struct s3_url *u, char *out, size_t size, struct err *e) {
    const char *style = u->path_style == (*u->host != 0) ? ""
                        : u->path_style                  ? "force-path-style=true&"
                                                         : "force-path-style=false&";
    char endpoint[300] = "";
    struct buf root AUTO(buf_deinit), profile AUTO(buf_deinit);
    buf_init(&root, 4 * sizeof u->root);
    buf_init(&profile, 4 * sizeof u->profile);
    sigv4_escape(&profile, u->profile, false);
    buf_u8(&profile, 0);
    TRY(buf_check(&profile, "URL", e));
    if (strcmp(u->root, ".") != 0) {
        buf_u8(&root, '/');
        sigv4_escape(&root, u->root, true);
    }
    buf_u8(&root, 0);
    TRY(buf_check(&root, "URL", e));
    if (*u->host) snprintf(endpoint, sizeof endpoint, "endpoint=%s://%s&", u->scheme, u->host);
    int n = snprintf(out, size, "s3://%s%s?%s%s%s%s%s%s%s", u->bucket, (const char *)root.bytes,
                     endpoint, style, *u->region ? "region=" : "", u->region, *u->region ? "&" : "",
                     *u->profile ? "profile=" : "", (const char *)profile.bytes);
    if (n < 0 || (size_t)n >= size) return err_set(e, RC_USAGE, "s3 URL: too long");
    while (n > 0 && (out[n - 1] == '&' || out[n - 1] == '?')) out[--n] = 0;
    return ok();
}
