/* Stands in for what kv.c will have. */
#include "store/internal.h"

rc kv_open(hf_store *s, struct kv **out, struct err *e) {
    (void)s, (void)out, (void)e;
    return ok();
}
void kv_close(struct kv *kv) {
    (void)kv;
}
bool kv_is_dispatcher(const struct kv *kv) {
    (void)kv;
    return false;
}
rc kv_begin(struct kv *kv, int scope, sqlite3 *db, struct err *e) {
    (void)kv, (void)scope, (void)db, (void)e;
    return ok();
}
rc kv_before_commit(struct kv *kv, hf_tx *t, struct err *e) {
    (void)kv, (void)t, (void)e;
    return ok();
}
void kv_ended(struct kv *kv, int scope, bool committed) {
    (void)kv, (void)scope, (void)committed;
}
void kv_wait_room(struct kv *kv) {
    (void)kv;
}
