/* A case without memory: its process gets `more` bytes over what it has mapped. False, with a line
 * said, under a sanitizer, which needs terabytes of addresses. */
#ifndef TESTS_BASE_MEMORY_H
#define TESTS_BASE_MEMORY_H

#include "../os/temp.h"

#include <sys/resource.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static inline bool limit_memory(size_t more, const char *test) {
#ifdef SANITIZED
    (void)more;
    printf("skipped: %s: a sanitizer's memory cannot be limited\n", test);
    return false;
#else
    size_t pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    (void)test;
    ck_assert_int_eq(fscanf(f, "%zu", &pages), 1);
    fclose(f);
    rlim_t bytes = pages * (size_t)sysconf(_SC_PAGESIZE) + more;
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &(struct rlimit){bytes, bytes}), 0);
    return true;
#endif
}

#endif
