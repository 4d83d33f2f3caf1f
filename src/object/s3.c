/* A store in a bucket: S3 and what speaks like it (docs/format.md 2.7).
 *
 * Invariants:
 * 1. A list ends only where the server says that it is complete.
 * 2. What cannot be read as a list says nothing about the replica: RC_RETRY, and never RC_CORRUPT.
 */
#include "base/limits.h"
#include "object/key.h"
#include "object/s3_call.h"
#include "object/s3_xml.h"
#include "os/system.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READS 8        /* that a broken read goes on */
#define ATTEMPTS_PUT 3 /* the source repeats it with pauses of its own, and says so */

/* ---- objects ---- */

rc s3_create(struct s3 *s, struct call *c, struct err *e) {
    struct http_reply reply;
    struct object_info info;
    if (s->store.unfenced && c->creates) { /* as near as such a server lets us come */
        rc r = s->store.ops->stat(&s->store, c->key, &info, e);
        if (is_ok(r)) return err_set(e, RC_CONFLICT, "%s exists", c->key);
        if (r.code != RC_NOTFOUND) return r;
        c->creates = false;
    }
    c->kind = REQUEST_PUT;
    c->method = "PUT";
    c->writes = c->has_customer_key = true;
    c->attempts = ATTEMPTS_PUT;
    rc r = s3_call(s, c, &reply, e);
    http_reply_deinit(&reply);
    return r;
}

static rc s3_put(struct store *store, const char *key, const void *bytes, size_t size,
                 int64_t time_ms, struct err *e) {
    TRY(key_check(key, e));
    return s3_create(
        s3_of(store),
        &(struct call){
            .key = key, .body = bytes, .body_size = size, .creates = true, .time_ms = time_ms},
        e);
}

static rc s3_put_note(struct store *store, const char *key, const void *bytes, size_t size,
                      struct err *e) {
    TRY(key_check(key, e));
    return s3_create(s3_of(store), &(struct call){.key = key, .body = bytes, .body_size = size}, e);
}

/* Whether a reply's bytes are those from `at` on. */
static bool begins_at(const struct http_reply *reply, uint64_t at) {
    unsigned long long first;
    if (reply->status != 206) return at == 0;
    return sscanf(reply->content_range, "bytes %llu-", &first) == 1 && first == at;
}

/* A read that broke goes on where it broke, if it is still the same object. */
static rc s3_get(struct store *store, const char *key, uint64_t at, void *buf, size_t n,
                 struct err *e) {
    char range[64], etag[128] = "";
    size_t done = 0;
    bool unquoted = false;
    TRY(key_check(key, e));
    for (int attempt = 0; done < n; attempt++) {
        struct http_reply reply;
        struct call c = {.kind = REQUEST_GET,
                         .method = "GET",
                         .key = key,
                         .range = range,
                         .into = (char *)buf + done,
                         .into_size = n - done,
                         .if_match = *etag ? etag : NULL,
                         .has_customer_key = true};
        snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)(at + done),
                 (unsigned long long)(at + n - 1));
        rc r = s3_call(s3_of(store), &c, &reply, e);
        bool misplaced = (is_ok(r) || reply.got) && !begins_at(&reply, at + done);
        done += reply.got;
        if (!*etag) snprintf(etag, sizeof etag, "%s", reply.etag);
        http_reply_deinit(&reply);
        if (misplaced)
            return err_set(e, RC_IO, "GET %s: the server sent another range than asked for", key);
        if (is_ok(r) && done < n) return err_set(e, RC_CORRUPT, "%s ends before its size", key);
        if (is_ok(r)) continue;
        if (r.code == RC_CONFLICT && strlen(etag) > 2 && *etag == '"' && !unquoted) {
            memmove(etag, etag + 1, strlen(etag)); /* some match it bare only */
            etag[strlen(etag) - 1] = 0;
            unquoted = true;
            continue;
        }
        if (r.code == RC_CONFLICT)
            return err_set(e, RC_CORRUPT, "%s was replaced while it was read", key);
        if (done == 0 || attempt >= READS) return r; /* s3_call has tried often enough */
        if (r.code != RC_RETRY && r.code != RC_TIMEOUT) return r;
    }
    return ok();
}

static int64_t http_time(const char *text) {
    time_t t = *text ? curl_getdate(text, NULL) : -1;
    return t > 0 ? (int64_t)t * 1000 : 0;
}

/* A refused HEAD has no body to say why. So a GET is asked, which s3_call can do something about:
 * credentials that have expired, a clock that is off. */
static rc head(struct s3 *s, const char *key, struct http_reply *reply, struct err *e) {
    struct call asks = {
        .kind = REQUEST_HEAD, .method = "HEAD", .key = key, .has_customer_key = true};
    struct call why = asks;
    rc r = s3_call(s, &asks, reply, e);
    if (is_ok(r) || (reply->status != 400 && reply->status != 403)) return r;
    http_reply_deinit(reply);
    why.kind = REQUEST_GET;
    why.method = "GET";
    why.range = "bytes=0-0";
    r = s3_call(s, &why, reply, e);
    if (!is_ok(r) && r.code != RC_CORRUPT) return r; /* RC_CORRUPT: it is empty */
    http_reply_deinit(reply);
    return s3_call(s, &asks, reply, e);
}

static rc s3_stat(struct store *store, const char *key, struct object_info *out, struct err *e) {
    struct http_reply reply;
    TRY(key_check(key, e));
    rc r = head(s3_of(store), key, &reply, e);
    if (is_ok(r) && reply.content_length < 0)
        r = err_set(e, RC_IO, "HEAD %s: no Content-Length", key);
    if (is_ok(r)) {
        *out = (struct object_info){key_name(key), (uint64_t)reply.content_length, 0};
        if (!s3_time(reply.time, &out->time_ms)) out->time_ms = http_time(reply.last_modified);
    }
    http_reply_deinit(&reply);
    return r;
}

static rc s3_remove(struct store *store, const char *key, struct err *e) {
    struct http_reply reply;
    TRY(key_check(key, e));
    rc r =
        s3_call(s3_of(store),
                &(struct call){.kind = REQUEST_DELETE, .method = "DELETE", .key = key}, &reply, e);
    http_reply_deinit(&reply);
    return r.code == RC_NOTFOUND ? ok() : r;
}

/* ---- lists ---- */

struct listing {
    const char *prefix; /* what keys begin with */
    size_t strip;       /* this much of a key is not part of the name */
    bool deep;          /* all below it, and not only what is directly there */
    rc (*each)(void *, const struct object_info *, struct err *);
    rc (*each_dir)(void *, const char *name, struct err *);
    void *arg;
    char key[XML_TEXT_MAX], token[XML_TEXT_MAX];
    uint64_t size;
    int64_t time_ms;
    bool truncated, told, ended; /* `told`: whether it is truncated */
};

/* Of l->key, unescaped; NULL: it is not below the prefix. A blank may come as a plus; a server that
 * escapes nothing is understood as well. */
static char *name_found(struct listing *l) {
    char form[XML_TEXT_MAX], plain[XML_TEXT_MAX];
    size_t n = strlen(l->prefix);
    snprintf(form, sizeof form, "%s", l->key);
    for (char *plus = form; (plus = strchr(plus, '+')) != NULL;) *plus = ' ';
    if (is_ok(url_decode(form, plain, NULL)) && strncmp(plain, l->prefix, n) == 0)
        memcpy(l->key, plain, sizeof plain);
    else if (strncmp(l->key, l->prefix, n) != 0) return NULL;
    return l->key[n] ? l->key + l->strip : NULL;
}

static rc list_dir_found(struct listing *l, struct err *e) {
    char *name = name_found(l);
    size_t n = name ? strlen(name) : 0;
    if (!l->each_dir || n < 2 || name[n - 1] != '/') return ok();
    name[n - 1] = 0;
    return l->each_dir(l->arg, name, e);
}

static rc list_object_found(struct listing *l, struct err *e) {
    char *name = name_found(l);
    if (!l->each || !name || (!l->deep && strchr(name, '/'))) return ok();
    return l->each(l->arg, &(struct object_info){name, l->size, l->time_ms}, e);
}

static rc list_part(void *arg, const char *path, const char *text, struct err *e) {
    struct listing *l = arg;
    char *end;
    if (!text) {
        if (strcmp(path, "ListBucketResult") == 0) l->ended = true;
        if (strcmp(path, "CommonPrefixes") == 0) return list_dir_found(l, e);
        if (strcmp(path, "Contents") == 0) return list_object_found(l, e);
    } else if (strcmp(path, "Contents/Key") == 0 || strcmp(path, "CommonPrefixes/Prefix") == 0) {
        snprintf(l->key, sizeof l->key, "%s", text);
        l->size = 0;
        l->time_ms = 0;
    } else if (strcmp(path, "Contents/Size") == 0) {
        l->size = strtoull(text, &end, 10);
        if (*end || *text == '-') return err_set(e, RC_RETRY, "the list has a size '%.20s'", text);
    } else if (strcmp(path, "Contents/LastModified") == 0) {
        if (!s3_time(text, &l->time_ms))
            return err_set(e, RC_RETRY, "the list has a time '%.40s'", text);
    } else if (strcmp(path, "IsTruncated") == 0) {
        l->truncated = strcmp(text, "true") == 0;
        l->told = l->truncated || strcmp(text, "false") == 0;
    } else if (strcmp(path, "NextContinuationToken") == 0)
        snprintf(l->token, sizeof l->token, "%s", text);
    return ok();
}

static rc list_page(struct s3 *s, struct listing *l, struct err *e) {
    char max[32] = "";
    struct http_reply reply;
    struct buf query AUTO(buf_deinit);
    buf_init(&query, 4 * XML_TEXT_MAX);
    if (*l->token) {
        buf_text(&query, "continuation-token=");
        sigv4_escape(&query, l->token, false);
        buf_text(&query, "&");
    }
    if (s->store.list_page) snprintf(max, sizeof max, "&max-keys=%d", s->store.list_page);
    if (!l->deep) buf_text(&query, "delimiter=%2F&");
    buf_text(&query, "encoding-type=url&list-type=2");
    buf_text(&query, max);
    buf_text(&query, "&prefix=");
    sigv4_escape(&query, l->prefix, false);
    buf_u8(&query, 0);
    TRY(buf_check(&query, "list", e));
    l->truncated = l->told = l->ended = false;
    l->token[0] = 0;
    struct buf text AUTO(buf_deinit);
    buf_init(&text, LIMIT_LIST_PAGE);
    rc r = s3_call(s,
                   &(struct call){.kind = REQUEST_LIST,
                                  .method = "GET",
                                  .text = &text,
                                  .query = (const char *)query.bytes},
                   &reply, e);
    http_reply_deinit(&reply);
    TRY(r);
    TRY(s3_xml_read(text.bytes, text.size, list_part, l, e));
    if (l->ended && l->told) return ok();
    return err_set(e, RC_RETRY, "the server's list is no list, or does not say if it is whole");
}

static rc list(struct store *store, const char *below, const char *end, struct listing *l,
               struct err *e) {
    struct s3 *s = s3_of(store);
    char prefix[2 * LIMIT_KEY], token[XML_TEXT_MAX] = "";
    TRY(key_check_dir(below, e));
    l->strip = (size_t)snprintf(prefix, sizeof prefix, "%s/%s%s", s->at.root, below, end);
    if (l->deep) l->strip = strlen(s->at.root) + 1;
    l->prefix = prefix;
    do {
        TRY(list_page(s, l, e));
        if (l->truncated && (!*l->token || strcmp(l->token, token) == 0))
            return err_set(e, RC_RETRY, "the server's list is cut and does not say how to go on");
        memcpy(token, l->token, sizeof token);
    } while (l->truncated);
    return ok();
}

static rc s3_list(struct store *store, const char *dir,
                  rc (*each)(void *, const struct object_info *, struct err *), void *arg,
                  struct err *e) {
    return list(store, dir, *dir ? "/" : "", &(struct listing){.each = each, .arg = arg}, e);
}

static rc s3_list_keys(struct store *store, const char *prefix,
                       rc (*each)(void *, const struct object_info *, struct err *), void *arg,
                       struct err *e) {
    return list(store, prefix, "", &(struct listing){.deep = true, .each = each, .arg = arg}, e);
}

static rc s3_list_dirs(struct store *store, const char *dir,
                       rc (*each)(void *, const char *name, struct err *), void *arg,
                       struct err *e) {
    return list(store, dir, *dir ? "/" : "", &(struct listing){.each_dir = each, .arg = arg}, e);
}

/* ---- the store ---- */

static void s3_free(struct store *store) {
    struct s3 *s = s3_of(store);
    credentials_free(s->credentials);
    http_free(s->http);
    OPENSSL_cleanse(s->customer_key, sizeof s->customer_key);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct store_ops s3_ops = {
    .put = s3_put,
    .put_note = s3_put_note,
    .get = s3_get,
    .stat = s3_stat,
    .list = s3_list,
    .list_keys = s3_list_keys,
    .list_dirs = s3_list_dirs,
    .remove = s3_remove,
    .upload_open = s3_upload_open,
    .upload_write = s3_upload_write,
    .upload_commit = s3_upload_commit,
    .upload_abort = s3_upload_abort,
    .free = s3_free,
};

/* The first that is set of the URL's, the environment's and the profile's; then `us-east-1`. */
static void choose_region(struct s3 *s) {
    const char *choices[] = {s->at.region, system_env("AWS_REGION"),
                             system_env("AWS_DEFAULT_REGION"), credentials_region(s->credentials),
                             "us-east-1"};
    for (size_t i = 0; i < 5 && !*s->region; i++)
        if (choices[i]) snprintf(s->region, sizeof s->region, "%s", choices[i]);
}

/* SSE-C: 32 bytes in base64, from the environment, because a URL is seen by every process. */
static rc read_customer_key(struct s3 *s, struct err *e) {
    const char *key = system_env("HOLDFAST_SSE_CUSTOMER_KEY");
    uint8_t bytes[64], md5[16];
    if (!key) return ok();
    bool plain = strlen(key) == 44 && key[43] == '=' && key[42] != '=';
    if (!plain || EVP_DecodeBlock(bytes, (const uint8_t *)key, 44) != 33)
        return err_set(e, RC_USAGE, "HOLDFAST_SSE_CUSTOMER_KEY is no 32 bytes in base64");
    if (s->at.sse_s3 || *s->at.kms_key)
        return err_set(e, RC_USAGE,
                       "HOLDFAST_SSE_CUSTOMER_KEY and the URL's sse exclude each other");
    if (strcmp(s->at.scheme, "http") == 0 && !s->at.is_loopback)
        return err_set(e, RC_USAGE, "HOLDFAST_SSE_CUSTOMER_KEY is not sent over plain http");
    if (EVP_Digest(bytes, 32, md5, NULL, EVP_md5(), NULL) != 1)
        return err_set(e, RC_NOMEM, "no memory for a digest");
    EVP_EncodeBlock((uint8_t *)s->customer_key_md5, md5, sizeof md5);
    snprintf(s->customer_key, sizeof s->customer_key, "%s", key);
    OPENSSL_cleanse(bytes, sizeof bytes);
    return ok();
}

static rc open_s3(struct s3 *s, const char *url, struct err *e) {
    const char *endpoint = system_env("AWS_ENDPOINT_URL_S3");
    if (!endpoint) endpoint = system_env("AWS_ENDPOINT_URL");
    TRY(s3_url_parse(url, &s->at, e));
    if (!*s->at.host && endpoint) TRY(s3_url_endpoint(endpoint, &s->at, e));
    s->store.no_root = !*s->at.root || strcmp(s->at.root, ".") == 0;
    TRY(read_customer_key(s, e));
    TRY(http_new(s->store.env, &s->http, e));
    TRY(credentials_new(s->store.env, s->http, s->at.profile, s->at.region, &s->credentials, e));
    choose_region(s);
    return s3_url_format(&s->at, s->store.url, sizeof s->store.url, e);
}

rc store_new_s3(struct env *env, const char *url, struct store **out, struct err *e) {
    struct s3 *s = calloc(1, sizeof *s);
    if (!s) return err_set(e, RC_NOMEM, "no memory");
    s->store = (struct store){.ops = &s3_ops, .env = env, .layout = LAYOUT_BUCKET, .probe = true};
    pthread_mutex_init(&s->lock, NULL);
    rc r = open_s3(s, url, e);
    if (is_ok(r)) *out = &s->store;
    else s3_free(&s->store);
    return r;
}
