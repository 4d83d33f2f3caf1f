/* A profile's file, whatever is in it: an error or values, each of them a piece of the text, and no
 * error repeats any of it. The first byte says which of the two files it is. */
#include "fuzz.h"

#include "object/profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct profile p = {.name = "x"};
    struct err err = {0};
    if (size < 1) return 0;
    char *text = calloc(1, size), *whole = calloc(1, size); /* exact, for the sanitizer */
    memcpy(text, bytes + 1, size - 1);
    memcpy(whole, bytes + 1, size - 1);
    rc r = profile_parse(&p, bytes[0] & 1, text, "FILE", &err);
    MUST(!p.values.no_memory);
    for (int i = 0; i < VALUES; i++) {
        const char *value = p.values.of[i];
        if (!value) continue;
        MUST(p.found);
        MUST(i == UNSUPPORTED || strstr(whole, value));
        MUST(!strchr(value, '\n') && (!*value || !strchr(" \t\r", *value)));
    }
    if (!is_ok(r)) {
        int line = 0;
        MUST(sscanf(err.text, "FILE:%d: neither '[profile]' nor 'name = value'", &line) == 1);
        MUST(line >= 1 && (size_t)line <= size);
    }
    values_wipe(&p.values);
    for (int i = 0; i < VALUES; i++) MUST(!p.values.of[i]);
    free(text);
    free(whole);
    return 0;
}
