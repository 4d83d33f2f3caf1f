/* An object store in memory, for tests and simulations: what the others promise, and nothing
 * else. */
#ifndef STORE_MEM_H
#define STORE_MEM_H

#include "object/object.h"

MUST_USE rc store_new_mem(struct env *, struct store **out, struct err *);

#endif
