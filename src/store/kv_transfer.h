/* Import and export over streams, for the command; hf_kv_import and hf_kv_export are the same over
 * files. */
#ifndef STORE_KV_TRANSFER_H
#define STORE_KV_TRANSFER_H

#include "holdfast.h"
#include "store/kv_json.h"

struct kv_input {
    const char *name; /* for words */
    json_read *read;
    void *arg;
    uint64_t size_bytes; /* 0: not known; for the progress */
};
MUST_USE rc kv_import(hf_store *, const struct kv_input *, const hf_transfer *, struct err *e);

struct kv_output {
    rc (*write)(void *arg, const void *, size_t, struct err *);
    void *arg;
};
MUST_USE rc kv_export(hf_store *, const struct kv_output *, const hf_transfer *, struct err *e);

#endif
