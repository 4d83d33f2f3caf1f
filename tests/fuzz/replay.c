/* Runs a fuzz target over the files below the given paths, each of them also cut in half and with a
 * few seeded changes: a fuzzer's short memory for compilers that have none. */
#include "fuzz.h"

#include <ftw.h>

#define INPUT_LIMIT ((size_t)1 << 20)
#define CHANGES 50

static int inputs;

static void one(const uint8_t *bytes, size_t size) {
    uint8_t *exact = malloc(size ? size : 1); /* so that a sanitizer sees a read beyond the end */
    memcpy(exact, bytes, size);
    MUST(LLVMFuzzerTestOneInput(exact, size) == 0);
    free(exact);
}

static int file(const char *path, const struct stat *s, int type, struct FTW *ftw) {
    (void)s, (void)ftw;
    if (type != FTW_F) return 0;
    static uint8_t bytes[INPUT_LIMIT];
    uint64_t x = 42;
    FILE *f = fopen(path, "rb");
    MUST(f);
    size_t size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    one(bytes, size);
    one(bytes, size / 2);
    for (int i = 0; i < CHANGES && size; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        bytes[(x >> 33) % size] ^= (uint8_t)(1u << (x >> 20) % 8);
        one(bytes, size);
    }
    inputs++;
    return 0;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) MUST(nftw(argv[i], file, 16, FTW_PHYS) == 0);
    printf("%d inputs\n", inputs);
    return inputs ? 0 : 1;
}
