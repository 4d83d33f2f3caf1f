/* One request to a bucket: signed by us (sigv4.c), sent by http.c, repeated while that may help,
 * with a growing, random pause, or the one that the server asks for. What is repeated is the same
 * request, so that a create-only PUT that had arrived the first time answers 412 the second, and
 * the caller, who reads what stands there, finds its own bytes.
 *
 * Invariants:
 * 1. A write is acknowledged only by a 2xx whose body is no error.
 * 2. 500 and 409 at a conditional PUT tell nothing: it is asked again (RC_RETRY in the end).
 * 3. Credentials go to the endpoint that the URL or the region gives, and nowhere that a reply
 *    names. A reply may change the region, by its name only.
 */
#include "object/s3_call.h"

#include "base/limits.h"
#include "object/s3_xml.h"

#include <curl/curl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ATTEMPTS 8
#define TIMEOUTS 3
#define PAUSE_MS 100 /* doubles */
#define PAUSE_MAX_MS 5000
#define RETRY_AFTER_MAX_MS 60000
#define ESCAPED_MAX (3 * LIMIT_KEY + 1024)
#define HEADERS_MAX 16
#define LINES_MAX 65536 /* a session token may be long */
#define EMPTY_HASH "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

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
    buf_text(path, "/");
    if (in_path) sigv4_escape(path, s->at.bucket, false);
    if (!c->key) return;
    if (in_path) buf_text(path, "/");
    sigv4_escape(path, s->at.root, true);
    buf_text(path, "/");
    sigv4_escape(path, c->key, true);
}

static bool content_md5(const struct call *c, char out[32]) {
    uint8_t md5[16];
    return EVP_Digest(c->body, (size_t)c->body_size, md5, NULL, EVP_md5(), NULL) == 1 &&
           EVP_EncodeBlock((uint8_t *)out, md5, sizeof md5) > 0;
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

/* A request, put into words. */
struct message {
    struct sigv4_request sign;
    bool no_memory; /* for a digest of the body */
    struct headers headers;
    char host[512], time[48], md5[32], hash[SHA256_HEX_SIZE];
    struct buf path, url;
    struct buf lines; /* the headers, each ended by a NUL */
};

static void message_init(struct message *m) {
    *m = (struct message){.sign = {.service = "s3"}};
    buf_init(&m->path, ESCAPED_MAX);
    buf_init(&m->url, 2 * ESCAPED_MAX);
    buf_init(&m->lines, LINES_MAX);
}

static void message_deinit(struct message *m) {
    if (m->lines.bytes) OPENSSL_cleanse(m->lines.bytes, m->lines.size);
    buf_deinit(&m->path);
    buf_deinit(&m->url);
    buf_deinit(&m->lines);
}

static rc say_url(const struct s3 *s, const struct call *c, struct message *m, struct err *e) {
    address(s, c, m->sign.region, m->host, &m->path);
    buf_text(&m->url, s->at.scheme);
    buf_text(&m->url, "://");
    buf_text(&m->url, m->host);
    buf_put(&m->url, m->path.bytes, m->path.size);
    if (*m->sign.query) buf_text(&m->url, "?");
    buf_put(&m->url, m->sign.query, strlen(m->sign.query) + 1);
    buf_u8(&m->path, 0);
    TRY(buf_check(&m->path, "URL", e));
    TRY(buf_check(&m->url, "URL", e));
    m->sign.path = (const char *)m->path.bytes;
    return ok();
}

static const char *payload_hash(const struct s3 *s, const struct call *c, struct message *m) {
    if (c->body_size && !s->at.sign_payload) return "UNSIGNED-PAYLOAD";
    if (c->body_hash) return c->body_hash;
    if (!c->body) return EMPTY_HASH;
    m->no_memory |= !sha256_hex(c->body, (size_t)c->body_size, m->hash);
    return m->hash;
}

static void add_headers(const struct s3 *s, const struct call *c, const struct credentials *keys,
                        struct message *m) {
    struct headers *h = &m->headers;
    m->sign.payload_hash = payload_hash(s, c, m);
    add(h, "host", m->host);
    add(h, "x-amz-date", m->sign.time);
    add(h, "x-amz-content-sha256", m->sign.payload_hash);
    if (*keys->session_token) add(h, "x-amz-security-token", keys->session_token);
    if (c->creates) add(h, "if-none-match", "*");
    if (c->range) add(h, "range", c->range);
    if (c->if_match) add(h, "if-match", c->if_match);
    if (c->writes) add_storing(s, c, h, m->time);
    if (c->has_customer_key) add_customer_key(s, h);
    if (s->at.consistent) add(h, "x-tigris-consistent", "true");
    if (s->at.content_md5 && c->body_size && c->body) {
        m->no_memory |= !content_md5(c, m->md5);
        add(h, "content-md5", m->md5);
    }
    m->sign.headers = h->list;
    m->sign.header_count = h->count;
}

static rc say_headers(struct message *m, const struct credentials *keys, struct http_request *r,
                      struct err *e) {
    size_t starts[HTTP_HEADERS_MAX] = {0};
    const struct headers *h = &m->headers;
    if (m->no_memory) return err_set(e, RC_NOMEM, "no memory for a digest");
    buf_text(&m->lines, "Authorization: ");
    TRY(sigv4_sign(&m->sign, keys, &m->lines, e));
    for (int i = 0; i < h->count; i++) {
        starts[i + 1] = m->lines.size;
        buf_text(&m->lines, h->list[i].name);
        buf_text(&m->lines, ": ");
        buf_put(&m->lines, h->list[i].value, strlen(h->list[i].value) + 1);
    }
    TRY(buf_check(&m->lines, "headers", e));
    for (int i = 0; i <= h->count; i++) r->headers[i] = (const char *)m->lines.bytes + starts[i];
    return ok();
}

static rc sign_and_send(struct s3 *s, const struct call *c, const struct credentials *keys,
                        const char *region, int64_t skew_ms, struct http_reply *reply,
                        struct err *e) {
    struct message m AUTO(message_deinit);
    struct http_request r = {.method = c->method,
                             .body = c->body,
                             .body_file = c->body_file,
                             .body_size = c->body_size,
                             .into = c->into,
                             .into_size = c->into_size,
                             .sink = c->text ? take_text : NULL,
                             .sink_arg = c->text,
                             .silence_s = (int)s->at.timeout_s,
                             .abandoned = &s->store.abandoned};
    message_init(&m);
    m.sign.method = c->method;
    m.sign.query = c->query ? c->query : "";
    m.sign.region = region;
    sigv4_time(s->store.env->unix_ms(s->store.env) + skew_ms, m.sign.time);
    TRY(say_url(s, c, &m, e));
    add_headers(s, c, keys, &m);
    TRY(say_headers(&m, keys, &r, e));
    r.url = (const char *)m.url.bytes;
    if (c->text) buf_clear(c->text);
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
    if (!moved || n == 0 || region[n] || n >= sizeof s->region - 1) return false; /* cut */
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
        hint = " (the bucket is elsewhere: give its region or endpoint)";
    else if (strcmp(x->code, "SignatureDoesNotMatch") == 0)
        hint = " (the secret key is not that of the access key)";
    else if (strcmp(x->code, "InvalidAccessKeyId") == 0)
        hint = " (the server does not know the access key)";
    else if (strstr(x->message, "ustomer") || strstr(x->message, "ncryption"))
        hint = " (HOLDFAST_SSE_CUSTOMER_KEY holds the key of objects that were stored with one)";
    else if (reply->status == 403) hint = " (holdfast doctor tells what is allowed)";
    int words = (int)strcspn(x->message, ".\n"); /* one sentence is enough */
    return err_set(e, code, "%s %s/%s%s%s: %d%s%s%s%.*s%s", c->method, s->at.bucket, s->at.root,
                   c->key ? "/" : "", c->key ? c->key : "", reply->status, *x->code ? " " : "",
                   x->code, *x->message ? ", " : "", words, x->message, hint);
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
        int64_t asked = strtoll(retry_after, &end, 10);
        asked = asked > RETRY_AFTER_MAX_MS / 1000 ? RETRY_AFTER_MAX_MS
                : asked > 0                       ? asked * 1000
                                                  : 0;
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
    rc r = credentials_get(s->credentials, *stale ? keys : NULL, keys, e);
    if (r.code == RC_NOTFOUND) r.code = RC_IO; /* it is credentials that are absent, no object */
    if (e && !is_ok(r)) e->code = r.code;
    TRY(r);
    pthread_mutex_lock(&s->lock);
    snprintf(region, sizeof region, "%s", s->region);
    int64_t skew_ms = s->skew_ms;
    pthread_mutex_unlock(&s->lock);
    r = sign_and_send(s, c, keys, region, skew_ms, reply, e);
    if (!is_ok(r)) {
        *again = (r.code == RC_RETRY || r.code == RC_TIMEOUT) && !s->store.abandoned;
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

rc s3_call(struct s3 *s, const struct call *c, struct http_reply *reply, struct err *e) {
    struct credentials keys = {0};
    bool again, stale = false;
    int timeouts = 0, attempts = c->attempts ? c->attempts : ATTEMPTS;
    rc r;
    *reply = (struct http_reply){0};
    for (int i = 0;; i++) {
        http_reply_deinit(reply);
        r = once(s, c, reply, &again, &keys, &stale, e);
        timeouts += r.code == RC_TIMEOUT;
        if (is_ok(r) || !again || i + 1 >= attempts || timeouts == TIMEOUTS) break;
        if (r.code == RC_RETRY || r.code == RC_TIMEOUT) pause_before(s, reply->retry_after, i);
        if (c->into && reply->got) break; /* the caller goes on behind it */
    }
    OPENSSL_cleanse(&keys, sizeof keys);
    return r;
}
