/* What a replicator answers, as a client reads it: believed only if all of it came, and a refusal
 * gives one line of words. */
#include "daemon/client.c"

#include "fuzz.h"

static void check_words(const char *body, int status) {
    struct err e = {0};
    rc r = take_error(body, status, &e);
    MUST(!is_ok(r) && e.code == r.code && *e.text && !strchr(e.text, '\n'));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct buf reply;
    int status = -1;
    buf_init(&reply, LIMIT_SMALL_OBJECT);
    buf_put(&reply, bytes, size);
    buf_u8(&reply, 0);
    char *body = reply.failed ? NULL : body_of(&reply, &status);
    if (body) {
        MUST(body >= (char *)reply.bytes + 16 && body <= (char *)reply.bytes + size);
        MUST(status >= -99 && status <= 999);
        check_words(body, status);
    }
    buf_deinit(&reply);
    char *text = calloc(1, size + 1); /* and as a body alone */
    memcpy(text, bytes, size);
    check_words(text, 500);
    free(text);
    return 0;
}
