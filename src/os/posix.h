/* The files of the real system. Private to os/. */
#ifndef OS_POSIX_H
#define OS_POSIX_H

#include "os/env.h"

extern const struct env_files posix_files; /* uses only env->random */

#endif
