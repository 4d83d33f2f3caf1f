/* What a metadata service or STS answers: values, each of them said there, or nothing at all. */
#include "object/credentials.c"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    struct values said = {0};
    char *text = calloc(1, size + 1);
    memcpy(text, bytes, size);
    bool whole = parse(text, &said), any = false;
    for (int i = 0; i < VALUES; i++) any |= said.of[i] != NULL;
    MUST(!said.no_memory);
    MUST(whole || *text == '<' || !any);
    if (whole && *text != '<') MUST(strchr(text, '{'));
    (void)is_plain(text);
    (void)is_header(text);
    if (strncmp(text, "http://", 7) == 0 && is_container_host(text))
        MUST(strncmp(text + 7, "169.254.170.2", 13) == 0 || strncmp(text + 7, "127.", 4) == 0 ||
             strncasecmp(text + 7, "localhost", 9) == 0 || text[7] == '[');
    struct err e = {0};
    if (is_ok(check_url("X", text, &e))) MUST(strncmp(text, "http", 4) == 0 && !strchr(text, '@'));
    else MUST(strncmp(e.text, "X: ", 3) == 0 && strlen(e.text) < 80);
    values_wipe(&said);
    free(text);
    return 0;
}
