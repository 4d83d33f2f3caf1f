/* The public header as C++ sees it. */
#include "holdfast.h"

static int add(hf_tx *tx, void *) {
    return hf_run(tx, "INSERT INTO m VALUES (?, ?)", "is", int64_t{1}, "one");
}

int main() {
    hf_store_options o{};
    o.size = sizeof o;
    o.main_schema = "CREATE TABLE IF NOT EXISTS m(id, v)";
    hf_store *s = nullptr;
    if (hf_store_open_temp(&o, &s) != HF_OK) return 1;
    hf_wait_options w{};
    w.size = sizeof w;
    bool right = hf_write(s, HF_MAIN, "add", add, nullptr) == HF_OK &&
                 hf_wait(s, nullptr, &w) == HF_USAGE; /* nothing is replicated */
    return right && hf_store_close(s) == HF_OK ? 0 : 2;
}
