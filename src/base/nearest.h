/* What somebody who mistyped a name may have meant. */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#define NAME_LONGEST 32 /* of `names` */

/* Of `names`, which NULL ends, the one that is at most two edits away; NULL: none is. */
const char *nearest_name(const char *typed, const char *const *names);

#endif
