/* Who replicates what in this process. */
#ifndef STORE_REPLICATE_H
#define STORE_REPLICATE_H

#include "store/internal.h"
#include "store/runner.h"

/* The run that replicates this file, a share of it taken (runner_release). RC_NOTFOUND. */
MUST_USE rc source_of_file(const char *path, hf_source **out, struct err *);

#endif
