/* A store in a bucket: S3 and what speaks like it (docs/format.md 2.7).
 *
 * Every request is signed by us (sigv4.c), sent by http.c, and repeated here while that may help:
 * with a growing, random pause, or the one that the server asks for. What is repeated is the same
 * request, so that a create-only PUT that had arrived the first time answers 412 the second, and
 * the caller, who reads what stands there, finds its own bytes.
 *
 * A level-0 object is one conditional PUT, whatever its size: at a conditional
 * CompleteMultipartUpload a server was seen to replace what was there. One that comes in pieces is
 * collected in an unnamed file first, because a PUT must say its length. Others go up in parts.
 *
 * Invariants:
 * 1. A write is acknowledged only by a 2xx whose body is no error.
 * 2. 500 and 409 at a conditional PUT tell nothing: it is asked again (RC_RETRY in the end).
 * 3. Credentials go to the endpoint that the URL or the region gives, and nowhere that a reply
 *    names. A reply may change the region, by its name only.
 * 4. A list ends only where the server says that it is complete.
 */
#include "base/limits.h"
#include "object/key.h"
#include "object/s3_url.h"
#include "object/s3_xml.h"
#include "object/sigv4.h"
#include "os/system.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ATTEMPTS 8
#define ATTEMPTS_PUT 3 /* the source repeats it with pauses of its own, and says so */
#define PAUSE_MS 100   /* doubles */
#define PAUSE_MAX_MS 5000
#define RETRY_AFTER_MAX_MS 60000
#define PART_SIZE (8u << 20)
#define PARTS_MAX 9000u /* S3 has 10,000 */
#define ESCAPED_MAX (3 * LIMIT_KEY + 1024)
#define HEADERS_MAX 16
#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct s3 {
    struct store store; /* first */
    struct s3_url at;
    struct http *http;
    struct credential_source *credentials;
    char customer_key[64], customer_key_md5[32]; /* SSE-C, base64; "" if none */
    pthread_mutex_t lock;
    /* guarded by lock */
    char region[64];
    int64_t skew_ms; /* the server's clock less ours */
};

/* One request, to be repeated as it is. */
struct call {
    enum request_kind kind;
    const char *method;
    const char *key;   /* below the root; NULL: the bucket itself */
    const char *query; /* escaped, sorted */
    const void *body;
    struct file *body_file;
    uint64_t body_size;
    const char *body_hash; /* NULL: of `body` */
    bool creates;          /* If-None-Match: * */
    bool writes;           /* an object begins: its metadata and how it is stored go along */
    bool has_customer_key; /* SSE-C is said */
    int64_t time_ms;       /* of the object, if it writes */
    const char *range, *if_match;
    void *into;
    size_t into_size;
    struct buf *text; /* the reply's whole body goes here, that of the last attempt */
    int attempts;     /* 0: ATTEMPTS */
};

static struct s3 *s3_of(struct store *s) {
    return (struct s3 *)s;
}

static void put_text(struct buf *b, const char *text) {
    buf_put(b, text, strlen(text));
}

/* ---- a request ---- */

/* Headers that are signed, in the order of their names. */
struct headers {
    struct sigv4_header list[HEADERS_MAX];
    int count;
};

static void add(struct headers *h, const char *name, const char *value) {
    int at = h->count++;
    ENSURE(at < HEADERS_MAX);
    for (; at > 0 && strcmp(h->list[at - 1].name, name) > 0; at--) h->list[at] = h->list[at - 1];
    h->list[at] = (struct sigv4_header){name, value};
}

/* "2026-11-22T21:34:48.9Z": Litestream trims the zeros. */
static void format_time(int64_t ms, char out[48]) {
    char date[SIGV4_TIME_SIZE];
    sigv4_time(ms, date);
    int n = snprintf(out, 48, "%.4s-%.2s-%.2sT%.2s:%.2s:%.2s.%03d", date, date + 4, date + 6,
                     date + 9, date + 11, date + 13, (int)(ms % 1000));
    while (out[n - 1] == '0') n--;
    if (out[n - 1] == '.') n--;
    memcpy(out + n, "Z", 2);
}

/* Host and path, for path style or with the bucket in the host's name. */
static void address(const struct s3 *s, const struct call *c, const char *region, char host[512],
                    struct buf *path) {
    char amazon[192];
    snprintf(amazon, sizeof amazon, "s3.%s.amazonaws.com", region);
    const char *base = *s->at.host ? s->at.host : amazon;
    bool in_path = s->at.path_style;
    snprintf(host, 512, "%s%s%s", in_path ? "" : s->at.bucket, in_path ? "" : ".", base);
    put_text(path, "/");
    if (in_path) sigv4_escape(path, s->at.bucket, false);
    if (!c->key) return;
    if (in_path) put_text(path, "/");
    sigv4_escape(path, s->at.root, true);
    put_text(path, "/");
    sigv4_escape(path, c->key, true);
}

static void content_md5(const struct call *c, char out[32]) {
    uint8_t md5[16];
    ENSURE(EVP_Digest(c->body ? c->body : "", (size_t)c->body_size, md5, NULL, EVP_md5(), NULL));
    EVP_EncodeBlock((uint8_t *)out, md5, sizeof md5);
}

static void add_storing(const struct s3 *s, const struct call *c, struct headers *h,
                        char time[48]) {
    format_time(c->time_ms, time);
    add(h, "content-type", "application/octet-stream");
    if (c->time_ms) add(h, "x-amz-meta-litestream-timestamp", time);
    if (*s->at.storage_class) add(h, "x-amz-storage-class", s->at.storage_class);
    if (s->at.sse_s3) add(h, "x-amz-server-side-encryption", "AES256");
    if (!*s->at.kms_key) return;
    add(h, "x-amz-server-side-encryption", "aws:kms");
    add(h, "x-amz-server-side-encryption-aws-kms-key-id", s->at.kms_key);
}

static void add_customer_key(const struct s3 *s, struct headers *h) {
    if (!*s->customer_key) return;
    add(h, "x-amz-server-side-encryption-customer-algorithm", "AES256");
    add(h, "x-amz-server-side-encryption-customer-key", s->customer_key);
    add(h, "x-amz-server-side-encryption-customer-key-md5", s->customer_key_md5);
}

static rc take_text(void *arg, const void *bytes, size_t n, struct err *e) {
    buf_put(arg, bytes, n);
    return buf_check(arg, "reply", e);
}

static rc sign_and_send(struct s3 *s, const struct call *c, const struct credentials *keys,
                        const char *region, int64_t skew_ms, struct http_reply *reply,
                        struct err *e) {
    struct sigv4_request q = {
        .method = c->method, .query = c->query ? c->query : "", .region = region, .service = "s3"};
    struct headers h = {0};
    char host[512], time[48], md5[32], hash[SHA256_HEX_SIZE];
    struct buf path AUTO(buf_deinit), url AUTO(buf_deinit), lines AUTO(buf_deinit);
    buf_init(&path, ESCAPED_MAX);
    buf_init(&url, 2 * ESCAPED_MAX);
    buf_init(&lines, 65536);
    struct http_request r = {.method = c->method,
                             .body = c->body,
                             .body_file = c->body_file,
                             .body_size = c->body_size,
                             .into = c->into,
                             .into_size = c->into_size,
                             .sink = c->text ? take_text : NULL,
                             .sink_arg = c->text};
    if (c->text) buf_clear(c->text);
    sigv4_time(s->store.env->unix_ms(s->store.env) + skew_ms, q.time);
    address(s, c, region, host, &path);
    q.payload_hash = c->body_hash ? c->body_hash : EMPTY_HASH;
    if (c->body && !c->body_hash) {
        sha256_hex(c->body, (size_t)c->body_size, hash);
        q.payload_hash = hash;
    }
    if (c->body_size && !s->at.sign_payload) q.payload_hash = "UNSIGNED-PAYLOAD";
    add(&h, "host", host);
    add(&h, "x-amz-date", q.time);
    add(&h, "x-amz-content-sha256", q.payload_hash);
    if (*keys->session_token) add(&h, "x-amz-security-token", keys->session_token);
    if (c->creates) add(&h, "if-none-match", "*");
    if (c->range) add(&h, "range", c->range);
    if (c->if_match) add(&h, "if-match", c->if_match);
    if (c->writes) add_storing(s, c, &h, time);
    if (c->has_customer_key) add_customer_key(s, &h);
    if (s->at.consistent) add(&h, "x-tigris-consistent", "true");
    if (s->at.content_md5 && c->body_size && c->body) {
        content_md5(c, md5);
        add(&h, "content-md5", md5);
    }
    put_text(&url, s->at.scheme);
    put_text(&url, "://");
    put_text(&url, host);
    buf_put(&url, path.bytes, path.size);
    if (*q.query) put_text(&url, "?");
    buf_put(&url, q.query, strlen(q.query) + 1);
    buf_u8(&path, 0);
    TRY(buf_check(&path, "URL", e));
    TRY(buf_check(&url, "URL", e));
    q.path = (const char *)path.bytes;
    q.headers = h.list;
    q.header_count = h.count;
    size_t starts[HTTP_HEADERS_MAX];
    int n = 0;
    starts[n++] = 0;
    put_text(&lines, "Authorization: ");
    TRY(sigv4_sign(&q, keys, &lines, e));
    for (int i = 0; i < h.count; i++) {
        starts[n++] = lines.size;
        put_text(&lines, h.list[i].name);
        put_text(&lines, ": ");
        buf_put(&lines, h.list[i].value, strlen(h.list[i].value) + 1);
    }
    TRY(buf_check(&lines, "headers", e));
    for (int i = 0; i < n; i++) r.headers[i] = (const char *)lines.bytes + starts[i];
    r.url = (const char *)url.bytes;
    atomic_fetch_add(&s->store.requests[c->kind], 1);
    return http_do(s->http, &r, reply, e);
}

/* ---- what a reply means ---- */

static bool is_one_of(const char *code, const char *const *codes) {
    for (; *codes; codes++)
        if (strcmp(code, *codes) == 0) return true;
    return false;
}

static bool is_passing(int status, const char *code) {
    static const char *const codes[] = {"RequestTimeout",
                                        "RequestCanceled",
                                        "SlowDown",
                                        "InternalError",
                                        "ConditionalRequestConflict",
                                        NULL};
    return status == 408 || status == 409 || status == 429 || (status >= 500 && status != 501) ||
           is_one_of(code, codes);
}

static bool is_stale_key(const char *code) {
    static const char *const codes[] = {"ExpiredToken",         "InvalidToken",
                                        "TokenRefreshRequired", "InvalidAccessKeyId",
                                        "RequestExpired",       NULL};
    return is_one_of(code, codes);
}

/* The other region of the same bucket, if that is what the server says. */
static bool take_region(struct s3 *s, const struct http_reply *reply, const struct s3_error *x) {
    const char *region = *reply->bucket_region ? reply->bucket_region : x->region;
    bool moved = reply->status == 301 || reply->status == 307 ||
                 strcmp(x->code, "AuthorizationHeaderMalformed") == 0;
    size_t n = strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-");
    if (!moved || n == 0 || region[n] || n >= sizeof s->region) return false;
    pthread_mutex_lock(&s->lock);
    bool other = strcmp(region, s->region) != 0;
    snprintf(s->region, sizeof s->region, "%s", region);
    pthread_mutex_unlock(&s->lock);
    return other;
}

static bool take_clock(struct s3 *s, const struct http_reply *reply, const struct s3_error *x) {
    time_t theirs = curl_getdate(reply->date, NULL);
    if (strcmp(x->code, "RequestTimeTooSkewed") != 0 || theirs <= 0) return false;
    pthread_mutex_lock(&s->lock);
    s->skew_ms = (int64_t)theirs * 1000 - s->store.env->unix_ms(s->store.env);
    pthread_mutex_unlock(&s->lock);
    return true;
}

static rc refuse(struct s3 *s, const struct call *c, const struct http_reply *reply,
                 const struct s3_error *x, struct err *e) {
    enum rc_code code = RC_IO;
    const char *hint = "";
    if (is_passing(reply->status, x->code)) code = RC_RETRY;
    else if (reply->status == 404 && strcmp(x->code, "NoSuchBucket") != 0 && c->key)
        code = RC_NOTFOUND;
    else if (reply->status == 412 || reply->status == 304) code = RC_CONFLICT;
    else if (reply->status == 501) code = RC_UNFIT;
    else if (reply->status == 416) code = RC_CORRUPT;
    else if (reply->status == 301 || reply->status == 307)
        hint = ": the bucket is elsewhere; give its region or endpoint";
    else if (reply->status == 403) hint = ": holdfast doctor tells what is allowed";
    return err_set(e, code, "%s %s%s%s: %d%s%s%s%s%s", c->method, s->at.bucket, c->key ? "/" : "",
                   c->key ? c->key : "", reply->status, *x->code ? " " : "", x->code,
                   *x->message ? ", " : "", x->message, hint);
}

static void pause_before(struct s3 *s, const char *retry_after, int attempt) {
    struct env *env = s->store.env;
    uint64_t random;
    int64_t most = PAUSE_MAX_MS, ms;
    char *end;
    if (attempt < 6) most = (int64_t)PAUSE_MS << attempt;
    env->random(env, &random, sizeof random);
    ms = 1 + (int64_t)(random % (uint64_t)most);
    if (*retry_after) {
        int64_t asked = strtoll(retry_after, &end, 10) * 1000;
        time_t date = *end ? curl_getdate(retry_after, NULL) : -1;
        if (date > 0) asked = (int64_t)date * 1000 - env->unix_ms(env);
        if (asked > RETRY_AFTER_MAX_MS) asked = RETRY_AFTER_MAX_MS;
        if (asked > 0) ms += asked;
    }
    env->sleep_ns(env, ms * 1000000);
}

/* A reply whose status is 2xx, or an error. http_reply_deinit in either case. */
static rc once(struct s3 *s, const struct call *c, struct http_reply *reply, bool *again,
               struct credentials *keys, bool *stale, struct err *e) {
    struct s3_error x;
    char region[64];
    *again = false;
    TRY(credentials_get(s->credentials, *stale ? keys : NULL, keys, e));
    pthread_mutex_lock(&s->lock);
    snprintf(region, sizeof region, "%s", s->region);
    int64_t skew_ms = s->skew_ms;
    pthread_mutex_unlock(&s->lock);
    rc r = sign_and_send(s, c, keys, region, skew_ms, reply, e);
    if (!is_ok(r)) {
        *again = r.code == RC_RETRY || r.code == RC_TIMEOUT;
        return r;
    }
    s3_xml_error(reply->text, &x);
    if (reply->status >= 200 && reply->status < 300) {
        if (strcmp(x.root, "Error") != 0) return ok();
        *again = true; /* invariant 1 */
        return err_set(e, RC_RETRY, "%s %s: %d, and then %s", c->method, s->at.bucket,
                       reply->status, x.code);
    }
    bool knew_stale = *stale;
    *stale = is_stale_key(x.code);
    *again = is_passing(reply->status, x.code) || take_region(s, reply, &x) ||
             take_clock(s, reply, &x) || (*stale && !knew_stale);
    return refuse(s, c, reply, &x, e);
}

static rc call(struct s3 *s, const struct call *c, struct http_reply *reply, struct err *e) {
    struct credentials keys = {0};
    bool again, stale = false;
    int attempts = c->attempts ? c->attempts : ATTEMPTS;
    rc r;
    *reply = (struct http_reply){0};
    for (int i = 0;; i++) {
        http_reply_deinit(reply);
        r = once(s, c, reply, &again, &keys, &stale, e);
        if (is_ok(r) || !again || i + 1 >= attempts) break;
        if (r.code == RC_RETRY || r.code == RC_TIMEOUT) pause_before(s, reply->retry_after, i);
        if (c->into && reply->got) break; /* the caller goes on behind it */
    }
    OPENSSL_cleanse(&keys, sizeof keys);
    return r;
}

/* ---- objects ---- */

static rc s3_put_call(struct s3 *s, struct call *c, struct err *e) {
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
    rc r = call(s, c, &reply, e);
    http_reply_deinit(&reply);
    return r;
}

static rc s3_put(struct store *store, const char *key, const void *bytes, size_t size,
                 int64_t time_ms, struct err *e) {
    TRY(key_check(key, e));
    return s3_put_call(
        s3_of(store),
        &(struct call){
            .key = key, .body = bytes, .body_size = size, .creates = true, .time_ms = time_ms},
        e);
}

static rc s3_put_note(struct store *store, const char *key, const void *bytes, size_t size,
                      struct err *e) {
    TRY(key_check(key, e));
    return s3_put_call(s3_of(store), &(struct call){.key = key, .body = bytes, .body_size = size},
                       e);
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
        rc r = call(s3_of(store), &c, &reply, e);
        int status = reply.status;
        done += reply.got;
        if (!*etag) snprintf(etag, sizeof etag, "%s", reply.etag);
        http_reply_deinit(&reply);
        if (is_ok(r) && status != 206 && (at || status != 200))
            return err_set(e, RC_IO, "GET %s: the server does not know ranges", key);
        if (is_ok(r) && done < n) return err_set(e, RC_CORRUPT, "%s ends before its size", key);
        if (is_ok(r)) continue;
        if (r.code == RC_CONFLICT && *etag == '"' && !unquoted) { /* some match it bare only */
            size_t length = strlen(etag);
            memmove(etag, etag + 1, length - 2);
            etag[length - 2] = 0;
            unquoted = true;
            continue;
        }
        if (r.code == RC_CONFLICT)
            return err_set(e, RC_CORRUPT, "%s was replaced while it was read", key);
        if ((r.code != RC_RETRY && r.code != RC_TIMEOUT) || attempt >= ATTEMPTS) return r;
        if (done == 0) return r; /* `call` has tried often enough */
    }
    return ok();
}

static int64_t http_time(const char *text) {
    time_t t = *text ? curl_getdate(text, NULL) : -1;
    return t > 0 ? (int64_t)t * 1000 : 0;
}

static rc s3_stat(struct store *store, const char *key, struct object_info *out, struct err *e) {
    struct http_reply reply;
    TRY(key_check(key, e));
    rc r = call(s3_of(store),
                &(struct call){
                    .kind = REQUEST_HEAD, .method = "HEAD", .key = key, .has_customer_key = true},
                &reply, e);
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
    rc r = call(s3_of(store),
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
    bool truncated, ended;
};

/* Of l->key, unescaped; NULL: it is not below the prefix. */
static char *name_found(struct listing *l) {
    char name[XML_TEXT_MAX];
    size_t n = strlen(l->prefix);
    struct err ignored;
    if (!is_ok(url_decode(l->key, name, &ignored)) || strncmp(name, l->prefix, n) != 0) return NULL;
    memcpy(l->key, name, sizeof name);
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
    const char *name = name_found(l);
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
        if (*end || *text == '-')
            return err_set(e, RC_CORRUPT, "the list has a size '%.20s'", text);
    } else if (strcmp(path, "Contents/LastModified") == 0) {
        if (!s3_time(text, &l->time_ms))
            return err_set(e, RC_CORRUPT, "the list has a time '%.40s'", text);
    } else if (strcmp(path, "IsTruncated") == 0) l->truncated = strcmp(text, "true") == 0;
    else if (strcmp(path, "NextContinuationToken") == 0)
        snprintf(l->token, sizeof l->token, "%s", text);
    return ok();
}

static rc list_page(struct s3 *s, struct listing *l, struct err *e) {
    char max[32] = "";
    struct http_reply reply;
    struct buf query AUTO(buf_deinit);
    buf_init(&query, 4 * XML_TEXT_MAX);
    if (*l->token) {
        put_text(&query, "continuation-token=");
        sigv4_escape(&query, l->token, false);
        put_text(&query, "&");
    }
    if (s->store.list_page) snprintf(max, sizeof max, "&max-keys=%d", s->store.list_page);
    if (!l->deep) put_text(&query, "delimiter=%2F&");
    put_text(&query, "encoding-type=url&list-type=2");
    put_text(&query, max);
    put_text(&query, "&prefix=");
    sigv4_escape(&query, l->prefix, false);
    buf_u8(&query, 0);
    TRY(buf_check(&query, "list", e));
    l->truncated = l->ended = false;
    l->token[0] = 0;
    struct buf text AUTO(buf_deinit);
    buf_init(&text, LIMIT_LIST_PAGE);
    rc r = call(s,
                &(struct call){.kind = REQUEST_LIST,
                               .method = "GET",
                               .text = &text,
                               .query = (const char *)query.bytes},
                &reply, e);
    http_reply_deinit(&reply);
    TRY(r);
    TRY(s3_xml_read(text.bytes, text.size, list_part, l, e));
    return l->ended ? ok() : err_set(e, RC_CORRUPT, "the server's list is no list");
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
            return err_set(e, RC_CORRUPT, "the server's list is cut and does not say how to go on");
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

/* ---- large objects ---- */

struct s3_upload {
    struct s3 *s;
    char key[LIMIT_KEY];
    struct file *file; /* a level-0 object is collected here */
    EVP_MD_CTX *hash;  /* of what the file holds */
    uint64_t file_size;
    struct buf part; /* else: what is not sent yet */
    size_t part_size;
    char id[1024];    /* "" before the first part */
    struct buf parts; /* <Part>s, for the completion */
    int count;
};

static void upload_free(struct s3_upload *u) {
    struct env *env = u->s->store.env;
    if (u->file) env->files->close(env, u->file);
    EVP_MD_CTX_free(u->hash);
    buf_deinit(&u->part);
    buf_deinit(&u->parts);
    free(u);
}

static rc open_spool(struct s3_upload *u, struct err *e) {
    struct env *env = u->s->store.env;
    u->hash = EVP_MD_CTX_new();
    if (!u->hash || EVP_DigestInit_ex(u->hash, EVP_sha256(), NULL) != 1)
        return err_set(e, RC_NOMEM, "no memory");
    return env->files->open(env, system_temp_dir(), FILE_TEMP, &u->file, e);
}

static rc s3_upload_open(struct store *store, const char *key, uint64_t size_most,
                         struct object_upload **out, struct err *e) {
    struct s3 *s = s3_of(store);
    TRY(key_check(key, e));
    struct s3_upload *u = calloc(1, sizeof *u);
    if (!u) return err_set(e, RC_NOMEM, "no memory");
    u->s = s;
    snprintf(u->key, sizeof u->key, "%s", key);
    uint64_t least = size_most / PARTS_MAX + 1;
    u->part_size = (size_t)(s->at.part_size ? s->at.part_size : PART_SIZE);
    if (u->part_size < least) u->part_size = (size_t)least;
    buf_init(&u->part, u->part_size + 1);
    buf_init(&u->parts, PARTS_MAX * 256);
    rc r = strncmp(key, "0000/", 5) == 0 ? open_spool(u, e) : ok();
    if (is_ok(r)) *out = (struct object_upload *)u;
    else upload_free(u);
    return r;
}

static rc take_id(void *arg, const char *path, const char *text, struct err *e) {
    struct s3_upload *u = arg;
    (void)e;
    if (text && strcmp(path, "UploadId") == 0) snprintf(u->id, sizeof u->id, "%s", text);
    return ok();
}

/* "name=<id>" escaped */
static rc upload_query(const struct s3_upload *u, const char *before, struct buf *out,
                       struct err *e) {
    buf_init(out, 4096);
    put_text(out, before);
    sigv4_escape(out, u->id, false);
    buf_u8(out, 0);
    return buf_check(out, "upload id", e);
}

static rc begin_parts(struct s3_upload *u, struct err *e) {
    struct http_reply reply;
    rc r = call(u->s,
                &(struct call){.kind = REQUEST_MULTIPART,
                               .method = "POST",
                               .key = u->key,
                               .query = "uploads=",
                               .writes = true,
                               .has_customer_key = true,
                               .time_ms = u->s->store.env->unix_ms(u->s->store.env)},
                &reply, e);
    if (is_ok(r)) r = s3_xml_read(reply.text, strlen(reply.text), take_id, u, e);
    http_reply_deinit(&reply);
    if (is_ok(r) && !*u->id) r = err_set(e, RC_RETRY, "the server gave no upload id");
    return r;
}

static rc send_part(struct s3_upload *u, struct err *e) {
    char before[64], line[256];
    struct http_reply reply;
    struct buf query AUTO(buf_deinit) = {0};
    if (!*u->id) TRY(begin_parts(u, e));
    snprintf(before, sizeof before, "partNumber=%d&uploadId=", ++u->count);
    TRY(upload_query(u, before, &query, e));
    rc r = call(u->s,
                &(struct call){.kind = REQUEST_MULTIPART,
                               .method = "PUT",
                               .key = u->key,
                               .query = (const char *)query.bytes,
                               .body = u->part.bytes,
                               .body_size = u->part.size,
                               .has_customer_key = true},
                &reply, e);
    snprintf(line, sizeof line, "<Part><PartNumber>%d</PartNumber><ETag>%s</ETag></Part>", u->count,
             reply.etag);
    bool has_etag = reply.etag[0] && !strpbrk(reply.etag, "<>&");
    http_reply_deinit(&reply);
    TRY(r);
    if (!has_etag) return err_set(e, RC_RETRY, "the server gave a part no ETag");
    put_text(&u->parts, line);
    buf_clear(&u->part);
    return buf_check(&u->parts, "list of parts", e);
}

static rc s3_upload_write(struct object_upload *upload, const void *bytes, size_t n,
                          struct err *e) {
    struct s3_upload *u = (struct s3_upload *)upload;
    struct env *env = u->s->store.env;
    if (u->file) {
        TRY(env->files->write(env, u->file, u->file_size, bytes, n, e));
        u->file_size += n;
        ENSURE(EVP_DigestUpdate(u->hash, bytes, n) == 1);
        return ok();
    }
    for (size_t done = 0, some; done < n; done += some) {
        some = u->part_size - u->part.size < n - done ? u->part_size - u->part.size : n - done;
        buf_put(&u->part, (const char *)bytes + done, some);
        TRY(buf_check(&u->part, "part", e));
        if (u->part.size == u->part_size) TRY(send_part(u, e));
    }
    return ok();
}

static rc put_spooled(struct s3_upload *u, int64_t time_ms, struct err *e) {
    uint8_t hash[32];
    char hex[SHA256_HEX_SIZE];
    ENSURE(EVP_DigestFinal_ex(u->hash, hash, NULL) == 1);
    hex_of(hash, sizeof hash, hex);
    return s3_put_call(u->s,
                       &(struct call){.key = u->key,
                                      .body_file = u->file,
                                      .body_size = u->file_size,
                                      .body_hash = hex,
                                      .creates = true,
                                      .time_ms = time_ms},
                       e);
}

/* A condition at the completion does not hold everywhere, so it is asked before as well. */
static rc complete_parts(struct s3_upload *u, struct err *e) {
    struct http_reply reply;
    struct object_info info;
    struct buf query AUTO(buf_deinit) = {0}, body AUTO(buf_deinit);
    buf_init(&body, PARTS_MAX * 256 + 128);
    if (u->part.size) TRY(send_part(u, e));
    rc r = u->s->store.ops->stat(&u->s->store, u->key, &info, e);
    if (is_ok(r)) return err_set(e, RC_CONFLICT, "%s exists", u->key);
    if (r.code != RC_NOTFOUND) return r;
    TRY(upload_query(u, "uploadId=", &query, e));
    put_text(&body, "<CompleteMultipartUpload>");
    buf_put(&body, u->parts.bytes, u->parts.size);
    put_text(&body, "</CompleteMultipartUpload>");
    TRY(buf_check(&body, "list of parts", e));
    r = call(u->s,
             &(struct call){.kind = REQUEST_MULTIPART,
                            .method = "POST",
                            .key = u->key,
                            .query = (const char *)query.bytes,
                            .body = body.bytes,
                            .body_size = body.size,
                            .has_customer_key = true},
             &reply, e);
    http_reply_deinit(&reply);
    if (is_ok(r)) u->id[0] = 0;
    /* It may have been completed by an attempt whose reply was lost. */
    if (r.code == RC_NOTFOUND && is_ok(u->s->store.ops->stat(&u->s->store, u->key, &info, e))) {
        u->id[0] = 0;
        return ok();
    }
    return r;
}

static void s3_upload_abort(struct object_upload *upload) {
    struct s3_upload *u = (struct s3_upload *)upload;
    struct http_reply reply;
    struct err ignored;
    struct buf query AUTO(buf_deinit) = {0};
    if (!u) return;
    if (*u->id && is_ok(upload_query(u, "uploadId=", &query, &ignored))) {
        struct call c = {.kind = REQUEST_MULTIPART,
                         .method = "DELETE",
                         .key = u->key,
                         .query = (const char *)query.bytes,
                         .attempts = 2};
        if (!is_ok(call(u->s, &c, &reply, &ignored))) { /* the bucket's rules clean up */
        }
        http_reply_deinit(&reply);
    }
    upload_free(u);
}

static rc s3_upload_commit(struct object_upload *upload, int64_t time_ms, struct err *e) {
    struct s3_upload *u = (struct s3_upload *)upload;
    rc r;
    if (u->file) r = put_spooled(u, time_ms, e);
    else if (*u->id) r = complete_parts(u, e);
    else r = s3_put(&u->s->store, u->key, u->part.bytes, u->part.size, time_ms, e);
    struct err first = {0};
    if (e) first = *e;
    s3_upload_abort(upload);
    if (e) *e = first;
    return r;
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
    ENSURE(EVP_Digest(bytes, 32, md5, NULL, EVP_md5(), NULL));
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
