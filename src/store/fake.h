/* Where a URL leads: to a fake of this process, or to a store of objects. */
#ifndef STORE_FAKE_H
#define STORE_FAKE_H

#include "object/object.h"
#include "store/clock.h"

/* As store_open; and "fake:N" of hf_fake_url, while that fake lives. */
MUST_USE rc destination_open(struct env *, const char *url, struct store **out, struct err *);
/* Of the first of the URLs that is a fake; NULL: none is, time is the system's. */
struct clock *destination_clock(const char *const *urls);

#endif
