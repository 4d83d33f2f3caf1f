/* HTTP requests over libcurl: see the header.
 *
 * A handle of libcurl keeps the connections that it made. Handles that are free are kept in a
 * stack, so that the one used last, whose connection is the likeliest to be open still, is used
 * next. (Rejected: one handle a thread, because the pool's threads and a restore's come and go; and
 * sharing connections between handles, which libcurl calls experimental.)
 *
 * Invariants:
 * 1. A handle is in the stack or with one call.
 * 2. Every call ends: connecting has a deadline, the whole has one, and so has silence.
 */
#include "object/http.h"

#include "base/limits.h"
#include "os/system.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HANDLES_KEPT 64
#define CONNECT_MS 10000
#define SILENCE_S 15L /* this long under SILENT_BYTES a second */
#define SILENT_BYTES 256L
#define TIMEOUT_MS 30000
#define SLOWEST_BYTES_MS 64 /* of the overall deadline */

struct handle {
    CURL *curl;
    curl_socket_t socket; /* of its newest connection, which is most likely the one in use */
};

struct http {
    struct env *env;
    pthread_mutex_t lock;
    /* guarded by lock */
    struct handle handles[HANDLES_KEPT];
    int count;
};

/* One request under way. */
struct transfer {
    struct http *http;
    const struct http_request *request;
    struct http_reply *reply;
    struct handle handle;
    uint64_t sent;
    size_t text_size;
    rc failed; /* of our side */
    struct err *e;
};

static void init_curl(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

rc http_new(struct env *env, struct http **out, struct err *e) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    struct http *h = calloc(1, sizeof *h);
    if (!h) return err_set(e, RC_NOMEM, "no memory");
    h->env = env;
    pthread_mutex_init(&h->lock, NULL);
    *out = h;
    return ok();
}

void http_free(struct http *h) {
    if (!h) return;
    while (h->count) curl_easy_cleanup(h->handles[--h->count].curl);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static struct handle take_handle(struct http *h) {
    struct handle x = {NULL, CURL_SOCKET_BAD};
    pthread_mutex_lock(&h->lock);
    if (h->count) x = h->handles[--h->count];
    pthread_mutex_unlock(&h->lock);
    if (x.curl) curl_easy_reset(x.curl); /* its connections stay */
    else x.curl = curl_easy_init();
    return x;
}

static void give_handle(struct http *h, struct handle x) {
    bool kept;
    pthread_mutex_lock(&h->lock);
    kept = h->count < HANDLES_KEPT;
    if (kept) h->handles[h->count++] = x;
    pthread_mutex_unlock(&h->lock);
    if (!kept) curl_easy_cleanup(x.curl);
}

/* ---- what libcurl calls ---- */

static size_t send_body(char *to, size_t size, size_t n, void *arg) {
    struct transfer *t = arg;
    uint64_t left = t->request->body_size - t->sent;
    size_t count = size * n < left ? size * n : (size_t)left;
    struct env *env = t->http->env;
    if (t->request->body) memcpy(to, (const char *)t->request->body + t->sent, count);
    else if (count) {
        t->failed = env->files->read(env, t->request->body_file, t->sent, to, count, t->e);
        if (!is_ok(t->failed)) return CURL_READFUNC_ABORT;
    }
    t->sent += count;
    return count;
}

/* A connection that the server had closed is found out late: the body is sent anew. */
static int seek_body(void *arg, curl_off_t at, int whence) {
    struct transfer *t = arg;
    if (whence != SEEK_SET || at < 0 || (uint64_t)at > t->request->body_size)
        return CURL_SEEKFUNC_CANTSEEK;
    t->sent = (uint64_t)at;
    return CURL_SEEKFUNC_OK;
}

static bool is_success(struct transfer *t) {
    long status = 0;
    curl_easy_getinfo(t->handle.curl, CURLINFO_RESPONSE_CODE, &status);
    return status >= 200 && status < 300;
}

static size_t take_text(struct transfer *t, const char *bytes, size_t n) {
    size_t room = HTTP_TEXT_MAX - t->text_size, keep = n < room ? n : room;
    memcpy(t->reply->text + t->text_size, bytes, keep);
    t->text_size += keep;
    t->reply->text[t->text_size] = 0;
    return n;
}

static size_t take_body(char *bytes, size_t size, size_t n, void *arg) {
    struct transfer *t = arg;
    const struct http_request *q = t->request;
    n *= size;
    if (!is_success(t) || (!q->into && !q->sink)) return take_text(t, bytes, n);
    if (q->sink) {
        t->failed = q->sink(q->sink_arg, bytes, n, t->e);
        return is_ok(t->failed) ? n : 0;
    }
    if (n > q->into_size - t->reply->got) {
        t->failed = err_set(t->e, RC_IO, "the server sent more than it was asked for");
        return 0;
    }
    memcpy((char *)q->into + t->reply->got, bytes, n);
    t->reply->got += n;
    return n;
}

static size_t take_header(char *line, size_t size, size_t n, void *arg) {
    struct http_reply *r = ((struct transfer *)arg)->reply;
    const struct {
        const char *name;
        char *value;
        size_t size;
    } known[] = {
        {"etag", r->etag, sizeof r->etag},
        {"date", r->date, sizeof r->date},
        {"last-modified", r->last_modified, sizeof r->last_modified},
        {"retry-after", r->retry_after, sizeof r->retry_after},
        {"x-amz-bucket-region", r->bucket_region, sizeof r->bucket_region},
        {"x-amz-meta-litestream-timestamp", r->time, sizeof r->time},
        {"content-range", r->content_range, sizeof r->content_range},
    };
    n *= size;
    size_t name = 0, at, end = n;
    if (n == 2) system_ack_now(((struct transfer *)arg)->handle.socket); /* a body may wait */
    while (name < n && line[name] != ':') name++;
    for (at = name + 1; at < n && (line[at] == ' ' || line[at] == '\t'); at++) {
    }
    while (end > at && (unsigned char)line[end - 1] <= ' ') end--;
    for (size_t i = 0; name < n && i < sizeof known / sizeof *known; i++)
        if (strlen(known[i].name) == name && strncasecmp(line, known[i].name, name) == 0)
            snprintf(known[i].value, known[i].size, "%.*s", (int)(end - at), line + at);
    return n;
}

static int take_socket(void *arg, curl_socket_t socket, curlsocktype purpose) {
    (void)purpose;
    ((struct transfer *)arg)->handle.socket = socket;
    return CURL_SOCKOPT_OK;
}

/* ---- a request ---- */

static int64_t deadline_ms(const struct http_request *q) {
    if (q->timeout_ms) return q->timeout_ms;
    return TIMEOUT_MS + (int64_t)((q->body_size + q->into_size) / SLOWEST_BYTES_MS);
}

static void set_method(CURL *c, struct transfer *t) {
    const struct http_request *q = t->request;
    bool puts = strcmp(q->method, "PUT") == 0;
    curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, q->method);
    if (strcmp(q->method, "HEAD") == 0) curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    if (!puts && strcmp(q->method, "POST") != 0) return;
    curl_easy_setopt(c, puts ? CURLOPT_UPLOAD : CURLOPT_POST, 1L);
    curl_easy_setopt(c, puts ? CURLOPT_INFILESIZE_LARGE : CURLOPT_POSTFIELDSIZE_LARGE,
                     (curl_off_t)q->body_size);
    curl_easy_setopt(c, CURLOPT_READFUNCTION, send_body);
    curl_easy_setopt(c, CURLOPT_READDATA, t);
    curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, seek_body);
    curl_easy_setopt(c, CURLOPT_SEEKDATA, t);
}

/* libcurl asks once a second, also while nothing moves. */
static int may_stop(void *request, curl_off_t a, curl_off_t b, curl_off_t d, curl_off_t e) {
    const struct http_request *q = request;
    (void)a, (void)b, (void)d, (void)e;
    return q->abandoned && *q->abandoned;
}

static void set_options(CURL *c, struct transfer *t, char *why) {
    const struct http_request *q = t->request;
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, may_stop);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, q);
    const char *authorities = system_env("AWS_CA_BUNDLE");
    curl_easy_setopt(c, CURLOPT_URL, q->url);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L); /* as it was signed */
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, why);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "holdfast/" HOLDFAST_VERSION);
    if (authorities) {
        curl_easy_setopt(c, CURLOPT_CAINFO, authorities);
        curl_easy_setopt(c, CURLOPT_CAPATH, NULL); /* those and no others */
    }
    if (q->no_proxy) curl_easy_setopt(c, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS,
                     (long)(q->timeout_ms ? q->timeout_ms : CONNECT_MS));
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)deadline_ms(q));
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, q->silence_s ? (long)q->silence_s : SILENCE_S);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, SILENT_BYTES);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, take_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_SOCKOPTFUNCTION, take_socket);
    curl_easy_setopt(c, CURLOPT_SOCKOPTDATA, t);
    set_method(c, t);
}

/* "Name;" is libcurl's word for a header without a value, "Name:" for none. */
static struct curl_slist *header_list(const struct http_request *q) {
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    if (list && !curl_slist_append(list, "Accept:")) return curl_slist_free_all(list), NULL;
    bool typed = false;
    for (int i = 0; list && i < HTTP_HEADERS_MAX && q->headers[i]; i++) {
        typed |= strncasecmp(q->headers[i], "content-type:", 13) == 0;
        if (!curl_slist_append(list, q->headers[i])) return curl_slist_free_all(list), NULL;
    }
    if (list && !typed && !curl_slist_append(list, "Content-Type:"))
        return curl_slist_free_all(list), NULL;
    return list;
}

static rc failure(const struct transfer *t, CURLcode code, const char *why, struct err *e) {
    const char *host = strstr(t->request->url, "://");
    int length = host ? (int)(3 + strcspn(host + 3, "/?")) : 0;
    enum rc_code kind = RC_RETRY;
    if (!is_ok(t->failed)) return t->failed;
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT: kind = RC_TIMEOUT; break;
    case CURLE_OUT_OF_MEMORY: kind = RC_NOMEM; break;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT: kind = RC_IO; break;
    default: break;
    }
    if (strchr(why, '@')) /* curl's words repeat the proxy's URL, a password included */
        return err_set(e, RC_IO, "the proxy of http_proxy or https_proxy is not understood");
    if (code == CURLE_SSL_CACERT_BADFILE)
        return err_set(e, kind, "the certificates of AWS_CA_BUNDLE cannot be read: %s", why);
    return err_set(e, kind, "%.*s%.*s: %s%s", host ? (int)(host - t->request->url) : 0,
                   t->request->url, length, host ? host : "", *why ? why : curl_easy_strerror(code),
                   code == CURLE_PEER_FAILED_VERIFICATION
                       ? " (AWS_CA_BUNDLE names a file with your own authority's)"
                       : "");
}

rc http_do(struct http *h, const struct http_request *q, struct http_reply *reply, struct err *e) {
    char why[CURL_ERROR_SIZE] = "";
    long status = 0;
    curl_off_t length = -1;
    *reply = (struct http_reply){.content_length = -1};
    struct transfer t = {.http = h, .request = q, .reply = reply, .e = e};
    t.handle = take_handle(h);
    CURL *c = t.handle.curl;
    struct curl_slist *headers = header_list(q);
    reply->text = calloc(1, HTTP_TEXT_MAX + 1);
    if (!c || !headers || !reply->text) {
        curl_slist_free_all(headers);
        if (c) give_handle(h, t.handle);
        return err_set(e, RC_NOMEM, "no memory for a request");
    }
    set_options(c, &t, why);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    CURLcode code = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    reply->status = (int)status;
    reply->content_length = length;
    give_handle(h, t.handle);
    curl_slist_free_all(headers);
    return code == CURLE_OK ? ok() : failure(&t, code, why, e);
}

void http_reply_deinit(struct http_reply *r) {
    free(r->text);
    r->text = NULL;
}
