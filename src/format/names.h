/* Object names and keys. Source: docs/format.md 2.1, 1.12. */
#ifndef FORMAT_NAMES_H
#define FORMAT_NAMES_H

#include "base/rc.h"

#include <stddef.h>
#include <stdint.h>

#define NAME_SIZE 38 /* "<16 hex>-<16 hex>.ltx" and the final NUL */
#define KEY_SIZE 96

/* False for anything that is not exactly <16 lowercase hex>-<16 lowercase hex>.ltx with 1 <= min <=
 * max. */
bool name_parse(const char *name, uint64_t *min_txid, uint64_t *max_txid);
void name_format(uint64_t min_txid, uint64_t max_txid, char out[NAME_SIZE]);
/* bucket_layout: level as 4 hex digits, no "ltx/" (S3, OSS); else "ltx/<decimal>". */
void key_of_level(bool bucket_layout, int level, char out[KEY_SIZE]);
void key_of_file(bool bucket_layout, int level, uint64_t min_txid, uint64_t max_txid,
                 char out[KEY_SIZE]);

#endif
