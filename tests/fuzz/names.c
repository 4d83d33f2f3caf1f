/* An object's name: what parses is what is formatted. */
#include "fuzz.h"

#include "format/names.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    char again[NAME_SIZE];
    uint64_t min, max;
    char *name = malloc(size + 1);
    memcpy(name, bytes, size);
    name[size] = 0;
    if (name_parse(name, &min, &max)) {
        MUST(min >= 1 && max >= min);
        name_format(min, max, again);
        MUST(strcmp(name, again) == 0);
    }
    free(name);
    return 0;
}
