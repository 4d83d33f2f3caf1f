/* Two stores for tests: one in memory, and one that wraps another and lets its calls go wrong.
 * Both keep what object/object.h promises, on any thread. */
#ifndef STORES_STORES_H
#define STORES_STORES_H

#include "store/mem.h"

/* Wraps `inner` (taken). Before each call `decide` says what goes wrong; for tests. */
enum fault { FAULT_NONE, FAULT_FAIL, FAULT_LOSE_REPLY, FAULT_SHORT }; /* fault.c: what they do */
MUST_USE rc store_new_fault(struct store *inner,
                            enum fault (*decide)(void *, const char *op, const char *key),
                            void *arg, struct store **out, struct err *);

#endif
