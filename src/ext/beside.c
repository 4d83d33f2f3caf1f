/* Who replicates a file: see the header.
 *
 * Why the library is looked for at run time: the extension must load where there is none, and must
 * not bring one, whose SQLite would be a second one in the process.
 */
#include "ext/beside.h"

#include "daemon/client.h"
#include "holdfast.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#define LIBRARY "libholdfast.so.0"

_Static_assert(sizeof(struct position) == sizeof(hf_place), "a place is a position");

/* What the extension calls of the library. */
struct library {
    __typeof__(hf_source_find) *find;
    __typeof__(hf_source_release) *release;
    __typeof__(hf_source_wait) *wait;
    __typeof__(hf_source_status) *status;
    __typeof__(hf_errmsg) *errmsg;
    __typeof__(hf_free) *free;
};

/* True: it is in this process, and has all of them. */
static bool library_find(struct library *l) {
    void *in = RTLD_DEFAULT;
    if (!dlsym(in, "hf_source_find")) { /* not linked to the program, but to a part of it? */
        in = dlopen(LIBRARY, RTLD_LAZY | RTLD_NOLOAD);
        if (!in) return false;
    }
    const struct {
        void **to;
        const char *name;
    } functions[] = {
        {(void **)&l->find, "hf_source_find"}, {(void **)&l->release, "hf_source_release"},
        {(void **)&l->wait, "hf_source_wait"}, {(void **)&l->status, "hf_source_status"},
        {(void **)&l->errmsg, "hf_errmsg"},    {(void **)&l->free, "hf_free"},
    };
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (!(*functions[i].to = dlsym(in, functions[i].name))) return false;
    return true;
}

static bool is_replicated_here(struct library *l, const char *path, hf_source **out) {
    return library_find(l) && l->find(path, out) == HF_OK;
}

static rc said(const struct library *l, int code, struct err *e) {
    return code == HF_OK ? ok()
                         : err_set(e, (enum rc_code)code, "%s: %.900s", rc_name((enum rc_code)code),
                                   l->errmsg());
}

rc beside_wait(const char *path, const struct position *at, int64_t timeout_ms, bool flush,
               struct err *e) {
    struct library l;
    hf_source *source;
    char socket[LIMIT_PATH], position[POSITION_TEXT_SIZE], *answer = NULL;
    if (is_replicated_here(&l, path, &source)) {
        /* To the library 0 is the default: as little as there is. */
        hf_wait_options o = {
            .size = sizeof o, .timeout_ms = timeout_ms ? timeout_ms : 1, .flush = flush};
        hf_place place;
        memcpy(&place, at, sizeof place);
        rc r = said(&l, l.wait(source, &place, &o), e);
        l.release(source);
        return r;
    }
    position_text(at, position);
    struct client_wait w = {
        .path = path, .position = position, .timeout_ms = timeout_ms, .flush = flush};
    TRY(client_find(path, NULL, socket, e));
    TRY(client_wait(socket, &w, &answer, e));
    free(answer);
    return ok();
}

rc beside_status(const char *path, char **json, struct err *e) {
    struct library l;
    hf_source *source;
    char socket[LIMIT_PATH], *text = NULL;
    if (!is_replicated_here(&l, path, &source)) {
        TRY(client_find(path, NULL, socket, e));
        return client_status(socket, json, e);
    }
    rc r = said(&l, l.status(source, &text), e);
    if (is_ok(r) && !(*json = strdup(text))) r = err_set(e, RC_NOMEM, "no memory");
    l.free(text);
    l.release(source);
    return r;
}
