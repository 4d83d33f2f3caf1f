/* Machines: an application on each, a source in a process of its own, people who see to both. */
#ifndef SIM_REPLICATION_HOSTS_H
#define SIM_REPLICATION_HOSTS_H

#include "replication.h"

#define MACHINES 3

struct seen { /* a boundary of a log, and the state there */
    uint32_t salt[2], frame, checksum[2];
    int state;
};

struct saved {         /* what a disk was */
    uint8_t *bytes[2]; /* the database, its log */
    size_t size[2];
    int state;
};

struct host {
    struct machine m; /* first */
    sqlite3 *app, *witness, *reader;
    int state;
    struct seen *seen;
    size_t seen_count, seen_capacity;
    struct saved saved;
    struct run *run; /* its source */
    bool there;      /* it has a database */
    bool foreign;    /* which another wrote before */
    bool out;        /* another took over */
    bool wanted;     /* a source ought to run */
    bool busy;       /* somebody is at it */
    bool adopt, take_over, turns, has_turned;
    bool rolled_back; /* its disk is an older one */
    int refused;
};

struct run { /* a source in its process */
    struct life *life;
    struct host *host;
    struct source *source;
    struct barrier *barrier;
    struct co *co;
    uint64_t opened_at[BUCKETS]; /* acknowledged there by then */
    uint64_t acked[BUCKETS], noted[BUCKETS];
    bool stop, changed, turns, ending;
    int began_with; /* the state at its start: by that it is classed */
    int64_t give_up;
    rc verdict;
    struct err err;
};

struct waiter {
    struct wait wait; /* first */
    struct host *host;
    int state;
    bool any, excused;
    struct waiter *next;
};

struct swarm { /* what a seed has, and how much of it */
    uint32_t page_size, rows, blob, autocheckpoint;
    int64_t gap;
    uint32_t acts, crashes, gap_commits;
    bool stale, damage, takeovers, rollbacks, jumps, outages, waits, app_closes, vacuum;
    struct source_options options;
    struct faults faults;
};

extern struct host hosts[MACHINES];
extern int host_count;
extern struct swarm swarm;
extern bool settling; /* the faults have stopped */

/* replication_app.c */
void app_open(struct host *);
void app_close(struct host *, bool clean); /* as a program that ends; else as one that is killed */
bool app_sql(sqlite3 *, const char *text);
void app_commit(struct host *);
void app_commit_surely(struct host *);
void app_checkpoint(struct host *);
void app_reader(struct host *);  /* begins, or ends */
void note_commit(struct host *); /* after whatever may have been one */
void note_opened(struct host *); /* its state has not changed */
void note_cuts(struct run *);    /* what is on its way; before anything else is committed */
void disk_save(struct host *, struct saved *);
void disk_put_back(struct host *, const struct saved *, bool new_files);
void disk_remove(struct host *);
void disk_boots(struct host *); /* what does not outlive the power is gone */

/* replication_people.c */
void source_kill(struct host *);
void source_stop(struct host *);
void operate_soon(struct host *, int64_t in);
bool any_damaged(void); /* a store has lost an object */
void take_over_from(struct host *);
void wait_begin(struct host *);
void waits_excused(const struct host *); /* it was paused: nobody there could tell in time */
void waits_forget(void);

#endif
