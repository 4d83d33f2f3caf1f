/* replay [--random N] PATH...: runs a fuzz target over the files below the paths, each of them also
 * cut in half and with a few seeded changes, and over N inputs of random bytes: a fuzzer's short
 * memory for compilers that have none.
 *
 * Each input ends where memory does, so that one byte read beyond it is a crash in any build. The
 * input that failed stays in the file that is named then. */
#include "fuzz.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

#define INPUT_LIMIT ((size_t)1 << 20)
#define RANDOM_LIMIT 200u
#define CHANGES 50

static int inputs, runs;
static uint64_t random_state;
static const uint8_t *running;
static size_t running_size;

static uint32_t random_below(uint32_t n) {
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33) % n;
}

static uint8_t *last_page_end(void) {
    static uint8_t *end;
    if (end) return end;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *all =
        mmap(NULL, INPUT_LIMIT + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    MUST(all != MAP_FAILED && mprotect(all + INPUT_LIMIT, page, PROT_NONE) == 0);
    return end = all + INPUT_LIMIT;
}

static void one(const uint8_t *bytes, size_t size) {
    uint8_t *exact = last_page_end() - size;
    memcpy(exact, bytes, size);
    running = exact;
    running_size = size;
    MUST(LLVMFuzzerTestOneInput(exact, size) == 0);
    runs++;
}

/* Keep what failed; the exit status is that of a finding. */
static void keep(int number) {
    char name[64];
    snprintf(name, sizeof name, "/tmp/fuzz-%d.input", (int)getpid());
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
    bool kept = fd >= 0 && write(fd, running, running_size) == (ssize_t)running_size;
    fprintf(stderr, "fuzz: signal %d after %d runs; the input: %s\n", number, runs,
            kept ? name : "lost");
    _exit(1);
}

size_t LLVMFuzzerMutate(uint8_t *bytes, size_t size, size_t max) {
    if (!size || (size < max && random_below(16) == 0)) bytes[size++] = (uint8_t)random_below(256);
    else bytes[random_below((uint32_t)size)] ^= (uint8_t)(1u << random_below(8));
    return size;
}

static size_t change(uint8_t *bytes, size_t size) {
    if (LLVMFuzzerCustomMutator)
        return LLVMFuzzerCustomMutator(bytes, size, INPUT_LIMIT, random_below(UINT32_MAX));
    return LLVMFuzzerMutate(bytes, size, INPUT_LIMIT);
}

static int file(const char *path, const struct stat *s, int type, struct FTW *ftw) {
    (void)s, (void)ftw;
    if (type != FTW_F) return 0;
    static uint8_t bytes[INPUT_LIMIT];
    random_state = 42;
    FILE *f = fopen(path, "rb");
    MUST(f);
    size_t size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    one(bytes, size);
    one(bytes, size / 2);
    for (int i = 0; i < CHANGES; i++) one(bytes, size = change(bytes, size));
    inputs++;
    return 0;
}

static void random_inputs(int count) {
    static uint8_t bytes[RANDOM_LIMIT];
    random_state = 1;
    for (int i = 0; i < count; i++, inputs++) {
        size_t size = random_below(RANDOM_LIMIT);
        for (size_t k = 0; k < size; k++) bytes[k] = (uint8_t)random_below(256);
        one(bytes, size);
    }
}

int main(int argc, char **argv) {
    signal(SIGSEGV, keep);
    signal(SIGABRT, keep);
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--random") == 0 && argv[i + 1]) random_inputs(atoi(argv[++i]));
        else MUST(nftw(argv[i], file, 16, FTW_PHYS) == 0);
    printf("%d inputs, %d runs\n", inputs, runs);
    return inputs ? 0 : 1;
}
