#!/usr/bin/python3 -B
"""An outage: the S3 gateway is killed for ten minutes under 100 commits a second. `make soak-s3`.

    outage.py [--seconds 600] [--rate 100] [--quick: 20 s] [--build build] [--dir DIR]

Ceph (tests/servers/ceph), `holdfast replicate` with its defaults (but that level 0 is kept, to be looked at), and a
writer. After 15 s radosgw is killed with -9; after --seconds it is started again on the objects that it had. Then:

  files   In the database's directory and TMPDIR no file appeared and none grew, but for the database and its log;
          nor has the process an open file without a name. The run file, on tmpfs, lists the pages that are not
          shipped: two bytes for each page of the database at most. The log stays below four times the length at
          which it is checkpointed, and afterwards it is used from its beginning again.
  memory  VmRSS, before the outage and once a second through it.
  backlog Which objects hold the commits of the outage: at most two, the one that was on its way and one for
          all the rest (bench/stamps.py tells from the places in the log).
  lag     From the moment at which the gateway answers again to the acknowledgement of the last of these.
  large   Again, with one transaction of 40 MB made while the gateway is away, so that it is the object that is
          tried: that many MB must not be collected on the disk at each try. Looked at 50 times a second.
  commits Each is in an object; the restored database equals the source page for page; `verify -source`.
"""
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bench")]

import bench  # noqa: E402
import own  # noqa: E402
import soak  # noqa: E402
import stamps  # noqa: E402

BEFORE_S, AFTER_S = 15, 15
FRAME, CHECKPOINT = 4120, 1000
LARGE_MB, LARGE_TRIES = 40, 4
LAG_MOST_S = 30  # the longest pause between two tries is 5 s; the rest is for a loaded machine
RSS_MOST_KB = 1000


class Watch:
    """What lies on the disk for this database, and the process's memory."""

    def __init__(self, b, folder, pid):
        self.b, self.folder, self.pid, self.samples = b, folder, pid, []
        self.run_file, self.rss_before = 0, self.rss()
        self.before = self.files()

    def files(self):
        """{path: size} of all but the database and its log; files without a name by their number."""
        found = {}
        for root in (self.folder, self.b.place / "tmp"):
            found |= {p: p.stat().st_size for p in root.rglob("*") if p.is_file()}
        for fd in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                if os.readlink(fd).endswith(" (deleted)"):
                    found[fd] = fd.stat().st_size
            except OSError:
                pass  # closed meanwhile
        return {p: n for p, n in found.items() if not p.name.startswith("app.db") and p.name != "stamps"}

    def rss(self):
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def sample(self):
        self.samples.append((self.rss(), (self.folder / "app.db-wal").stat().st_size))
        self.run_file = max(self.run_file, bench.size_of(self.b.shm))
        pages = (self.folder / "app.db").stat().st_size // 4096
        if self.run_file > 2 * pages + 4096:
            raise bench.Failure(f"the runtime directory grew to {self.run_file} bytes, for {pages} pages")
        grown = [f"{p}: {self.before.get(p, 0)} -> {n}" for p, n in self.files().items() if n > self.before.get(p, 0)]
        if grown:
            raise bench.Failure(f"a local file grew: {'; '.join(grown)}")


def outage(b, ceph, r, folder, seconds):
    """(killed, returned) in ns; samples on the way."""
    time.sleep(BEFORE_S)
    watch = Watch(b, folder, int(bench.words_of(r.note.read_text())["pid"]))
    ceph.gateway("kill")
    killed = time.monotonic_ns()
    r.wait("ship.retry", 60)
    while time.monotonic_ns() - killed < seconds * 1e9:
        time.sleep(1)
        watch.sample()
    ceph.gateway("start")
    return killed, time.monotonic_ns(), watch


def commits_of(b, r, box, folder, killed, returned):
    lines = (folder / "stamps").read_text()
    commits, logs = stamps.commits(lines)
    pairs = stamps.covers(commits, stamps.objects(box, logs, after=1))
    seen = {int(e["txid"]): e["at_ns"] for e in r.events if e["event"] == "ship"}
    lost = sum(o is None or o.txid not in seen for _, o in pairs)
    b.verdict(f"commits in no object, of {len(pairs)}", lost, 0)
    during = [(c, o) for c, o in pairs if o and killed < c.ns < returned]
    rate = len(during) / (returned - killed) * 1e9
    print(f"  {len(during)} commits during the outage, {rate:.1f} a second")
    if rate < b.args.rate / 2:
        raise bench.Failure("the writer did not keep up; the machine is too busy")
    txids = sorted({o.txid for _, o in during})
    sizes = {o.txid: o.size for _, o in during}
    for txid in txids:
        print(f"  object {txid}: {sum(o.txid == txid for _, o in during)} commits, {sizes[txid]} bytes, "
              f"acknowledged {(seen[txid] - returned) / 1e9:.2f} s after the return")
    b.verdict("objects for the commits of the outage", len(txids), 2)
    b.verdict("lag after the return", (max(seen[t] for t in txids) - returned) / 1e9, LAG_MOST_S, unit=" s")
    after = [c.frames for c, _ in pairs[-200:]]
    b.verdict("frames in the log at the end", min(after), CHECKPOINT)


def equal(b, box, db, folder):
    source = soak.Set.source_image(type("", (), {"db": db})())
    out = folder / "restored.db"
    try:
        b.measure(b.holdfast, "restore", box, out)
        soak.compare(source, out.read_bytes(), 4096, "restored")
        b.measure(b.holdfast, "verify", "-source", db, box)
        print(f"  restored {out.stat().st_size} bytes, as the source has them; verify -source: well")
        b.verdict("breaches of the restored database", 0, 0)
    except (bench.Failure, soak.Failure) as why:
        print(f"  {why}")
        b.verdict("breaches of the restored database", 1, 0)


def large(b, ceph):
    """A transaction that is larger than what is kept in memory, while the gateway is away."""
    folder = b.place / "large"
    folder.mkdir()
    db, box = folder / "app.db", ceph.box(uuid.uuid4().hex[:8])
    b.write("create-paced", db)
    with bench.Replicate(b, db, box) as r:
        r.wait("ship")
        watch = Watch(b, folder, int(bench.words_of(r.note.read_text())["pid"]))
        ceph.gateway("kill")
        b.write("large", db, LARGE_MB, b.args.seed)
        tries, most = 0, 0
        while tries < LARGE_TRIES:
            time.sleep(0.02)
            most = max(most, sum(watch.files().values()) - sum(watch.before.values()))
            tries = sum(e["event"] == "ship.retry" for e in r.events)
        ceph.gateway("start")
        r.wait("ship", LAG_MOST_S, since=len(r.events))
        r.end()
        b.verdict(f"a transaction of {LARGE_MB} MB, {tries} tries: most bytes on the disk", most, 0)
        equal(b, box, db, folder)


def measure(b):
    seconds = 20 if b.args.quick else b.args.seconds
    folder, box_name = b.place / "db", uuid.uuid4().hex[:8]
    (b.place / "tmp").mkdir()
    folder.mkdir()
    b.env["TMPDIR"] = str(b.place / "tmp")
    db = folder / "app.db"
    b.write("create-paced", db)
    with own.Ceph(b.place / "ceph") as ceph:
        b.env.update(ceph.env())
        box = ceph.box(box_name)
        with bench.Replicate(b, db, box, "-keep-level0", "24h") as r:
            r.wait("ship")
            with open(folder / "stamps", "w") as out:
                writer = subprocess.Popen([b.writer, "stamps", db, "86400", str(b.args.rate), str(b.args.seed)], stdout=out)
            try:
                killed, returned, watch = outage(b, ceph, r, folder, seconds)
                r.wait("ship", LAG_MOST_S + 60, since=len(r.events))
                time.sleep(AFTER_S)
            finally:
                writer.send_signal(signal.SIGTERM)
            if writer.wait(60) != 0:
                raise bench.Failure("the writer failed")
            use = r.end()
            rss = [kb for kb, _ in watch.samples]
            print(f"  outage {(returned - killed) / 1e9:.0f} s, {len(r.events)} events, "
                  f"{sum(e['event'] == 'ship.retry' for e in r.events)} retries, peak {use['peak_kb']:.0f} kB in all")
            print(f"  VmRSS before {watch.rss_before} kB, in the outage {min(rss)} to {max(rss)} kB; no file grew in {len(watch.samples)} looks; "
                  f"run file {watch.run_file} bytes at most")
            b.verdict("VmRSS, the most in the outage less that before", max(rss) - watch.rss_before, RSS_MOST_KB, unit=" kB")
            b.verdict("largest log", max(n for _, n in watch.samples) / FRAME, 4 * CHECKPOINT, unit=" frames")
            commits_of(b, r, box, folder, killed, returned)
            equal(b, box, db, folder)
        large(b, ceph)


if __name__ == "__main__":
    bench.main(__doc__, measure, seconds=(600, "of outage"), rate=(100, "commits a second"))
