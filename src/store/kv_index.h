/* An index over the values under a prefix: what it is called, how it is spelled, and whether it is
 * used. Shared by kv_declared.c, kv_index.c (making) and kv_find.c (finding); the reasons stand in
 * kv_index.c.
 *
 * A struct index is large: it lives on the heap, AUTO(index_free). */
#ifndef STORE_KV_INDEX_H
#define STORE_KV_INDEX_H

#include "store/kv.h"

#define INDEX_NAME_PREFIX "hf_kv_"

struct index {
    enum kv_file file;
    char name[32]; /* a function of prefix and path */
    char prefix[LIMIT_KV_KEY + 1], path[LIMIT_JSON_PATH];
    bool unique;
};
MUST_USE rc index_init(struct index *, enum kv_file, const char *prefix, const char *path,
                       struct err *e);
void index_free(struct index **);

/* Texts of SQL, by sqlite3_mprintf: AUTO(sql_free). */
void sql_free(char **);
MUST_USE rc sql_text(char *text, char **out, struct err *e); /* NULL is RC_NOMEM */
/* The terms that the index and every query on it share, word for word. */
MUST_USE rc index_terms(const struct index *, char **out, struct err *e);
/* From the name on, as SQLite keeps it in its schema. */
MUST_USE rc index_definition(const struct index *, char **out, struct err *e);
/* Finds the keys whose value at the path is ?1, at most ?2 of them. */
MUST_USE rc index_query(const struct index *, char **out, struct err *e);

/* What the index of this name declares; RC_NOTFOUND: there is none. `*known`: it is as this library
 * writes it, and *out is filled. */
MUST_USE rc index_load(hf_tx *, enum kv_file, const char *name, struct index *out, bool *known,
                       struct err *e);
/* RC_UNFIT: no query would use the index. */
MUST_USE rc index_prove(hf_tx *, const struct index *, struct err *e);
/* Each that is there; NULL: it is not as this library writes it. */
typedef rc index_each(void *arg, hf_tx *, const char *name, const struct index *, struct err *);
MUST_USE rc index_for_each(hf_tx *, enum kv_file, index_each *, void *arg, struct err *e);

#endif
