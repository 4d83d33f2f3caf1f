/* What S3 says: what is told has its bounds, and its order. */
#include "fuzz.h"

#include "object/s3_xml.h"

#include <stdbool.h>

struct told {
    uint64_t texts;
    bool open; /* a text was told, and its element has not ended */
};

static rc each(void *arg, const char *path, const char *text, struct err *e) {
    struct told *t = arg;
    (void)e;
    MUST(*path && strlen(path) < 256);
    MUST(!text || strlen(text) < XML_TEXT_MAX);
    MUST(t->open == !text);
    t->open = text;
    t->texts += t->open;
    return ok();
}

static bool has(const uint8_t *bytes, size_t size, const char *what) {
    return memmem(bytes, size, what, strlen(what));
}

/* Of a document without quotes, comments and the like. */
static int depth_of(const uint8_t *bytes, size_t size) {
    int depth = 0, most = 0;
    for (size_t i = 0; i + 1 < size; i++) {
        if (bytes[i] == '<') depth += bytes[i + 1] == '/' ? -1 : 1;
        if (depth > most) most = depth;
        if (bytes[i] == '/' && bytes[i + 1] == '>') depth--;
    }
    return most;
}

/* No entity is ever declared, and nothing nests without end. */
static void check_shape(const uint8_t *bytes, size_t size) {
    if (has(bytes, size, "<!DOCTYPE"))
        MUST(has(bytes, size, "<!--") || has(bytes, size, "<![CDATA[") || has(bytes, size, "<?"));
    for (size_t i = 0; i < size; i++)
        if (strchr("!?\"'", bytes[i])) return;
    MUST(depth_of(bytes, size) <= 8);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct told told = {0};
    struct s3_error error;
    struct err e = {0};
    int64_t ms;
    rc r = s3_xml_read(bytes, size, each, &told, &e);
    MUST(is_ok(r) || (r.code == RC_RETRY && e.code == r.code && *e.text));
    MUST(!is_ok(r) || (told.texts > 0 && !told.open));
    if (is_ok(r)) check_shape(bytes, size);
    char *text = malloc(size + 1);
    memcpy(text, bytes, size);
    text[size] = 0;
    s3_xml_error(text, &error);
    MUST(is_ok(r) || size != strlen(text) || !*error.root);
    if (s3_time(text, &ms)) MUST(text[strlen(text) - 1] == 'Z');
    free(text);
    return 0;
}
