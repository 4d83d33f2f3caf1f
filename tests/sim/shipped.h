/* A store in memory that takes its time, and checks each object that is put into it: a shipment
 * must end at a boundary of the history (sim.h), not before the last one, and with all before it
 * make the database there; a compacted object must hold what its span and its end say.
 *
 * Each request is a place where others go on. Of a run that has been given up (source_abandon) some
 * get lost, and some replies.
 */
#ifndef SIM_SHIPPED_H
#define SIM_SHIPPED_H

#include "object/object.h"

struct store *shipped_open(struct env *, uint32_t page_size); /* store_free leaves it as it is */
void shipped_hurry(void);                                     /* from now on it takes no time */
void shipped_close(void);
int shipped_boundary(
    uint64_t txid); /* at which a TXID ends; -1: at none, or there are fences only */

#endif
