/* The gates of a step: clients and time. What a verification says is asked by the step itself,
 * inside of its transaction.
 *
 * Invariant: the gate is held by this handle between gate_enter that said yes and gate_leave.
 */
#include "schema/gates.h"
#include "schema/clients.h"
#include "schema/lock.h"

#include <stdio.h>
#include <string.h>

bool gate_asked(const struct migration *m, enum step step) {
    return step >= STEP_REVERT || step == STEP_CONTRACT || step_breaks(m, step);
}

/* ---- time ---- */

static void say_left(char why[GATE_WHY], int64_t ms) {
    int64_t s = (ms + 999) / 1000;
    long long days = s / 86400, hours = s / 3600 % 24, minutes = s / 60 % 60;
    if (days) snprintf(why, GATE_WHY, "it soaks for another %lld d %lld h", days, hours);
    else if (hours) snprintf(why, GATE_WHY, "it soaks for another %lld h %lld min", hours, minutes);
    else
        snprintf(why, GATE_WHY, "it soaks for another %lld min %lld s", minutes,
                 (long long)(s % 60));
}

void gate_soak(hf_schema *s, const struct migration *m, const struct record *r,
               char why[GATE_WHY]) {
    const struct section *contract = migration_section(m, SECTION_CONTRACT, NULL);
    why[0] = 0;
    if (!contract || !r) return; /* there is nothing before it to look at */
    int64_t left = r->phase_ms + contract->soak_ms - s->env->unix_ms(s->env);
    if (left > contract->soak_ms) left = contract->soak_ms; /* the clock was set back */
    if (contract->soak_ms && left > 0) say_left(why, left);
}

/* ---- clients ---- */

struct newer {
    int64_t version;
    char *why;
};

static rc see_client(void *arg, const struct client *c, struct err *e) {
    struct newer *n = arg;
    (void)e;
    if (n->why[0] || (c->known && c->version < n->version)) return ok();
    if (c->known)
        snprintf(n->why, GATE_WHY, "'%s' (process %lld on %s) is running, and knows it", c->app,
                 (long long)c->pid, c->host);
    else snprintf(n->why, GATE_WHY, "a program is running of which nothing is known");
    return ok();
}

static rc ask_newer(hf_schema *s, const struct migration *m, char why[GATE_WHY], struct err *e) {
    struct newer n = {.version = m->version, .why = why};
    return clients_each(s, s->presence, see_client, &n, e);
}

static rc ask_older(hf_schema *s, const struct migration *m, char why[GATE_WHY], struct err *e) {
    rc r = clients_check(s, m->version, e);
    if (r.code != RC_CONFLICT) return r;
    if (e) snprintf(why, GATE_WHY, "%.*s", GATE_WHY - 1, e->text);
    else snprintf(why, GATE_WHY, "an older program is running");
    return ok();
}

static rc ask_clients(hf_schema *s, const struct migration *m, enum step step, char why[GATE_WHY],
                      struct err *e) {
    if (step >= STEP_REVERT) return ask_newer(s, m, why, e);
    return step_breaks(m, step) ? ask_older(s, m, why, e) : ok();
}

/* ---- both ---- */

rc gate_enter(hf_schema *s, const struct migration *m, enum step step, const struct record *r,
              const struct run_options *o, char why[GATE_WHY], struct err *e) {
    struct lock *lock;
    struct env *env = s->env;
    why[0] = 0;
    if (step == STEP_CONTRACT && !o->no_soak) gate_soak(s, m, r, why);
    if (why[0]) return ok();
    TRY(schema_lock(s, &lock, e));
    rc got = lock_wait(lock, LOCK_GATE, false, env->mono_ns(env) + s->options.lock_ms * 1000000, e);
    if (!is_ok(got)) return err_prefix(e, got, "a program that comes to be a client");
    if (!o->assume_gone) got = ask_clients(s, m, step, why, e);
    if (!is_ok(got) || why[0]) gate_leave(s);
    return got;
}

void gate_leave(hf_schema *s) {
    lock_release(s->lock, LOCK_GATE);
}
