#!/usr/bin/python3 -B
"""idle: what a database costs while nothing is written, and under one write a second.

All replicate at once, each a database of its own into a bucket (Ceph) through a proxy that counts, by their defaults.
First some commits, and as long as it takes until their first compaction is over (--settle), so that none of the next
level, at each full five minutes, falls into what follows. Then nothing is written, for --idle seconds: CPU and wake-ups
(context switches that the process asked for) as /proc has them, and requests as the proxy does. Then each database gets one write a second, for --steady seconds. What stands for an hour is
what was counted, times 3600 over these seconds; larger compactions, which come less often, are not in it.
"""
import collections
import contextlib
import subprocess
import uuid
from pathlib import Path

import bench
import own
import peers

FIVE_MINUTES = 300


def used(pid):
    """CPU seconds and wake-ups of its threads so far."""
    cpu_ns = wakeups = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        cpu_ns += int((task / "schedstat").read_text().split()[0])
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                wakeups += int(line.split()[1])
    return cpu_ns / 1e9, wakeups


def asked(log, name, since_ns):
    """Requests that begin after it, by method; DELETE is free."""
    counts = collections.Counter()
    for line in log.read_text().splitlines():
        method, target, _, began, _ = line.split()
        if int(began) >= since_ns and (f"/{name}/" in target or f"={name}%2F" in target):
            counts["LIST" if "list-type" in target or "prefix=" in target else method] += 1
    return counts


class Measured:
    """One system, with its database and its part of the bucket."""

    def __init__(self, b, system, ceph, near, log):
        self.b, self.system, self.log = b, system, log
        self.name = uuid.uuid4().hex[:8]
        self.place, self.box, self.behind = b.place / self.name, near.box(self.name), ceph.box(self.name)
        self.place.mkdir()
        self.db = self.place / "app.db"
        b.write("create-paced", self.db)

    def begin(self, stack):
        self.beside = stack.enter_context(self.system.beside(self.b, self.db, self.box))
        self.beside.ready()
        self.pid = self.beside.pid()

    def writes(self, seconds, rate):
        return subprocess.Popen([self.b.writer, "stamps", self.db, str(seconds), str(rate), str(self.b.args.seed)],
                                env=self.b.env, stdout=subprocess.PIPE, text=True)

    def stored(self):
        """Bytes in the bucket; the proxy is not asked."""
        return sum(size for _, size, _ in self.behind.client.list(self.behind.bucket, f"{self.name}/")[0])

    def mark(self):
        self.at_ns, self.before = bench.time.monotonic_ns(), used(self.pid)

    def run(self, seconds):
        cpu, wakeups = (after - before for after, before in zip(used(self.pid), self.before))
        counts = asked(self.log, self.name, self.at_ns)
        hour = 3600 / seconds
        billed = counts.total() - counts["DELETE"]
        return {"cpu": cpu * hour, "wakeups": wakeups / seconds, "billed": billed * hour, "put": counts["PUT"] * hour,
                "counts": dict(counts), "resident_mb": self.beside.memory_kb("VmRSS") / 1e3}


def settle_for(seconds, idle):
    """So that the full five minutes are not in the idle time after it."""
    begin = bench.time.time() + seconds
    if begin // FIVE_MINUTES != (begin + idle) // FIVE_MINUTES:
        begin = (begin + idle) // FIVE_MINUTES * FIVE_MINUTES + 10
    return begin - bench.time.time()


def all_write(measured, seconds, rate):
    writers = [m.writes(seconds, rate) for m in measured]
    if any([len(w.communicate()[0]) == 0 or w.returncode for w in writers]):
        raise bench.Failure("a writer wrote nothing")


def measure(b):
    settle, idle, steady = (2, 3, 4) if b.args.quick else (b.args.settle, b.args.idle, b.args.steady)
    log = b.place / "requests"
    with contextlib.ExitStack() as stack:
        try:
            ceph = stack.enter_context(own.Ceph(b.place / "ceph"))
        except own.Absent as why:
            return b.missing(f"the bucket: {why}")
        near = stack.enter_context(own.delayed(ceph, 0, log))
        b.env.update(ceph.env())
        measured = [Measured(b, system, ceph, near, log) for system in peers.here(b, replicating=True)]
        for m in measured:
            m.begin(stack)
        all_write(measured, 1, 10)
        bench.time.sleep(settle_for(settle, idle))
        for m in measured:
            m.mark()
        bench.time.sleep(idle)
        quiet = {m.system.name: [m.run(idle)] for m in measured}
        for m in measured:
            m.mark()
        stored = [m.stored() for m in measured]
        all_write(measured, steady, 1)
        bench.time.sleep(2)  # an interval and a reply more
        writing = {m.system.name: [m.run(steady)] for m in measured}
        for m, before in zip(measured, stored):
            writing[m.system.name][0]["bytes"] = (m.stored() - before) * 3600 / steady
            m.beside.end()
    report(b, quiet, writing, idle, steady)


def report(b, quiet, writing, idle, steady):
    b.head(f"idle {idle} s, one write a second for {steady} s", quiet)
    b.row("idle: CPU", "s per hour", quiet, "cpu", digits=2, chart=True)
    b.row("idle: wake-ups", "per s", quiet, "wakeups", digits=2, chart=True)
    b.row("idle: resident memory, database of 5 MB, bucket", "MB", quiet, "resident_mb", chart=True)
    b.row("idle: requests", "per hour", quiet, "billed", digits=0)
    b.row("one write a second: CPU", "s per hour", writing, "cpu", chart=True)
    b.row("one write a second: PUTs", "per hour", writing, "put", digits=0, chart=True)
    b.row("one write a second: all requests but DELETE", "per hour", writing, "billed", digits=0)
    b.row("one write a second: bytes of the replica", "MB per hour", writing, lambda run: run["bytes"] / bench.MB,
          chart=True)
    for name, runs in writing.items():
        print(f"  {name}: requests while idle {quiet[name][0]['counts']}, under writes {runs[0]['counts']}")
    b.verdict("idle: resident memory, one database, bucket", quiet["holdfast"][0]["resident_mb"], 12, unit=" MB")
    b.verdict("idle: requests", quiet["holdfast"][0]["billed"], 0, unit=" per hour")


bench.main(__doc__, measure, settle=(40, "seconds before"), idle=(45, "seconds"), steady=(60, "seconds"))
