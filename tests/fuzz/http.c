/* A reply's head, as libcurl hands it over line by line, and what is done with it: a new region,
 * the server's clock, how long to wait before the next attempt. Input: the status, two bytes; then
 * the lines. */
#define take_text take_body_text
#include "object/http.c"
#undef take_text

#include "object/s3_call.c"

#include "fuzz.h"

static int64_t slept_ns;

static int64_t a_time(struct env *env) {
    (void)env;
    return 1790000000000;
}
static void a_number(struct env *env, void *buf, size_t n) {
    (void)env;
    memset(buf, 0xa5, n);
}
static void sleep_so_long(struct env *env, int64_t ns) {
    (void)env;
    slept_ns = ns;
}

static void check_ended(const char *value, size_t size) {
    MUST(memchr(value, 0, size));
}

static void check_reply(struct s3 *s, const struct http_reply *r) {
    struct s3_error x = {0};
    struct call c = {.method = "GET", .key = "0000/x.ltx"};
    struct err e = {0};
    check_ended(r->etag, sizeof r->etag);
    check_ended(r->date, sizeof r->date);
    check_ended(r->retry_after, sizeof r->retry_after);
    check_ended(r->content_range, sizeof r->content_range);
    slept_ns = -1;
    pause_before(s, r->retry_after, 1);
    MUST(slept_ns > 0 && slept_ns <= ((int64_t)PAUSE_MAX_MS + RETRY_AFTER_MAX_MS) * 1000000);
    strcpy(x.code, "RequestTimeTooSkewed");
    (void)take_clock(s, r, &x);
    strcpy(x.code, "AuthorizationHeaderMalformed");
    char before[sizeof s->region];
    strcpy(before, s->region);
    bool moved = take_region(s, r, &x);
    MUST(moved == (strcmp(before, s->region) != 0));
    MUST(s->region[strspn(s->region, "abcdefghijklmnopqrstuvwxyz0123456789-")] == 0);
    snprintf(x.message, sizeof x.message, "%s", r->etag);
    rc told = refuse(s, &c, r, &x, &e);
    MUST(!is_ok(told) && e.code == told.code && *e.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct env env = {.unix_ms = a_time, .random = a_number, .sleep_ns = sleep_so_long};
    struct s3 s = {.store.env = &env, .at.bucket = "bucket", .region = "eu"};
    struct http_reply reply = {0};
    struct transfer t = {.reply = &reply, .handle.socket = -1};
    if (size < 2) return 0;
    reply.status = 200 + bytes[0] + bytes[1];
    pthread_mutex_init(&s.lock, NULL);
    for (size_t at = 2, end; at < size; at = end) {
        const uint8_t *line = memchr(bytes + at, '\n', size - at);
        end = line ? (size_t)(line - bytes) + 1 : size;
        char *exact = malloc(end - at);
        memcpy(exact, bytes + at, end - at);
        MUST(take_header(exact, 1, end - at, &t) == end - at);
        free(exact);
    }
    check_reply(&s, &reply);
    pthread_mutex_destroy(&s.lock);
    return 0;
}
