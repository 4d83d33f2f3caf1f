/* Object names and keys: see the header. */
#include "format/names.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool parse_hex16(const char *text, uint64_t *out) {
    uint64_t v = 0;
    for (int i = 0; i < 16; i++) {
        char c = text[i];
        if (c >= '0' && c <= '9') v = v << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f') v = v << 4 | (uint64_t)(c - 'a' + 10);
        else return false;
    }
    *out = v;
    return true;
}

bool name_parse(const char *name, uint64_t *min_txid, uint64_t *max_txid) {
    uint64_t min, max;
    if (strlen(name) != NAME_SIZE - 1 || name[16] != '-' || strcmp(name + 33, ".ltx") != 0)
        return false;
    if (!parse_hex16(name, &min) || !parse_hex16(name + 17, &max) || min == 0 || max < min)
        return false;
    *min_txid = min;
    *max_txid = max;
    return true;
}

void name_format(uint64_t min_txid, uint64_t max_txid, char out[NAME_SIZE]) {
    snprintf(out, NAME_SIZE, "%016" PRIx64 "-%016" PRIx64 ".ltx", min_txid, max_txid);
}

void key_of_level(bool bucket_layout, int level, char out[KEY_SIZE]) {
    snprintf(out, KEY_SIZE, bucket_layout ? "%04x" : "ltx/%d", (unsigned)level);
}

void key_of_file(bool bucket_layout, int level, uint64_t min_txid, uint64_t max_txid,
                 char out[KEY_SIZE]) {
    char dir[KEY_SIZE], name[NAME_SIZE];
    key_of_level(bucket_layout, level, dir);
    name_format(min_txid, max_txid, name);
    snprintf(out, KEY_SIZE, "%.40s/%s", dir, name);
}
