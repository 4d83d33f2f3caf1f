#!/usr/bin/python3 -B
"""s3_requests: how many requests a database costs, idle and under one write a second.

`holdfast replicate`, on Ceph through a proxy that counts (tests/servers/delay, without a delay).
The requests are those of the event `requests`, and the proxy's own count must be the same. Idle: none, for as long as
--idle says, once what the last commits are owed is done (their compaction to the highest level; with -levels
1s,2s,4s, so that it is not waited for an hour). One write a second, with the defaults: for as long as --steady
says, which is counted, and beside it what the schedule gives for an hour: a shipment for each second, which is
deleted 5 min after it was compacted; a compaction each 30 s, 5 min and 1 h, of a PUT and of reading it back.
"""
import collections
import uuid

import bench
import own

KINDS = ("put", "get", "head", "list", "delete", "multipart")


def of_proxy(log, since_ns):
    """By kind, as the event has them."""
    counts = collections.Counter(dict.fromkeys(KINDS, 0))
    for line in log.read_text().splitlines():
        method, target, _, began, _ = line.split()
        if int(began) < since_ns:
            continue
        kind = "list" if "list-type" in target else "multipart" if "upload" in target else method.lower()
        counts[kind] += 1
    return counts


def difference(b, r, log, what, seconds):
    """Requests of the next seconds; the writer of that time runs beside it."""
    before, since = r.requests(), bench.time.monotonic_ns()
    if what == "idle":
        bench.time.sleep(seconds)
    else:
        b.lines("stamps", b.place / "app.db", seconds, 1, b.args.seed)
    after = r.requests()
    made = {kind: after[kind] - before[kind] for kind in KINDS}
    seen = of_proxy(log, since)
    print(f"  {what + f', {seconds} s':34}" + "".join(f"{made[k]:>10}" for k in KINDS), flush=True)
    if any(made[k] != seen[k] for k in KINDS):
        print(f"  {'as the proxy counts':34}" + "".join(f"{seen[k]:>10}" for k in KINDS))
        b.verdict(f"{what}: requests that the log leaves out", sum(seen.values()) - sum(made.values()), 0)
    return made


def measure(b):
    idle, steady = (10, 20) if b.args.quick else (b.args.idle, b.args.steady)
    log, db = b.place / "requests", b.place / "app.db"
    b.write("create-paced", db)
    with own.Ceph(b.place / "ceph") as ceph, own.delayed(ceph, 0, log) as near:
        b.env.update(ceph.env())
        print(f"  {'requests':34}" + "".join(f"{k:>10}" for k in KINDS))
        with bench.Replicate(b, db, near.box(uuid.uuid4().hex[:8]), "-levels", "1s,2s,4s", "-keep-level0", "1s") as r:
            r.wait("ship")
            before = len(r.events)
            b.lines("stamps", db, 3, 10, b.args.seed)
            r.wait("compact", 60, since=before, level=lambda level: level == "3")
            r.wait_quiet(10)
            print(f"  {'start, 30 commits, their compaction':34}" + "".join(f"{r.requests()[k]:>10}" for k in KINDS))
            quiet = difference(b, r, log, "idle", idle)
            r.end()
        with bench.Replicate(b, db, near.box(uuid.uuid4().hex[:8])) as r:
            r.wait("ship")
            made = difference(b, r, log, "1 write a second", steady)
            r.end()
    b.verdict("requests while idle", sum(quiet.values()), 0)
    hour = {"put": 3600 + 120 + 12 + 1, "get": 2 * (120 + 12 + 1), "delete": 3600 + 120 + 12}
    print(f"  {'an hour by the schedule, at most':34}" + "".join(f"{hour.get(k, 0):>10}" for k in KINDS))
    print(f"  {'of which a bucket bills':34}" + "".join(f"{0 if k == 'delete' else hour.get(k, 0):>10}" for k in KINDS))
    share = steady / 3600
    b.verdict("PUT, against the schedule", made["put"] / (hour["put"] * share), 1.05)
    b.verdict("LIST under writes", made["list"], 0)


bench.main(__doc__, measure, idle=(300, "seconds"), steady=(600, "seconds"))
