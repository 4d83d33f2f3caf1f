#!/usr/bin/python3 -B
"""Two machines, one prefix of a bucket, fifty changes of the writer. `make soak-s3`.

    holders.py [--rounds 50] [--quick: 6] [--seed N] [--build build] [--dir DIR]

Each machine is a directory of its own with its copy of the database, its runtime directory and its log of
`holdfast replicate`; the bucket is Ceph's. In each round the writer of the replica commits, is hit at a random
moment (kill -9, SIGSTOP, or not at all: the operator is mistaken), and the other machine takes over as an operator
would do it: `restore` and `replicate -take-over`, or `replicate -adopt-replica`. Then the first one comes back: it
is started again with no flag, or gets SIGCONT, and writes. Or both begin at once with -take-over on equal copies.

  loser    One that ran says FENCED (or, if it had not begun to ship, why not) and exits with 5. One that was killed
           and is started again with no flag exits with 5 or 6 and ships nothing.
  winner   It goes on.
  history  Level 0 is contiguous; no name ever had two contents; no TXID was acknowledged to two processes.
  promises What `holdfast status` called safe is in the database that the last replica gives, which equals the
           last winner's page for page; `verify` and `verify -source`.
"""
import collections
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bench")]

import bench  # noqa: E402
import own  # noqa: E402
import soak  # noqa: E402

OPTIONS = ["-interval", "50ms", "-levels", "2s,8s,1h", "-keep-level0", "24h", "-drain", "10s"]
FENCED, BEHIND = 5, 6
PATIENCE = 60


class Holder(bench.Replicate):
    """`holdfast replicate` on one machine."""

    def __init__(self, machine, *options):
        self.events, self.news, self.machine = [], threading.Condition(), machine
        command = [machine.b.holdfast, "replicate", "-log", "logfmt", *OPTIONS, *options, machine.db, machine.url]
        self.process = subprocess.Popen(command, env=machine.env, text=True, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        machine.holders.append(self)

    def signal(self, number):
        self.process.send_signal(number)

    def runs(self):
        return self.process.poll() is None

    def code(self):
        """Its exit status; everything that it said is read."""
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise bench.Failure(f"{self.machine.name}: it runs on, {PATIENCE} s after it should have ended: {self.events[-3:]}")
        self.reader.join()
        return code

    def words(self):
        return " ".join(e.get("text", "") for e in self.events) + " ".join(e.get("err", "") for e in self.events)

    def slots(self):
        """TXIDs that were acknowledged to it: fences and shipments."""
        return [int(e["txid"]) for e in self.events if e["event"] in ("ship", "destination.ready")]


class Machine:
    def __init__(self, b, name, box):
        self.b, self.name, self.url, self.place = b, name, str(box), b.place / name
        self.db, self.holders, self.app, self.count = self.place / "app.db", [], None, 0
        for folder in ("run", "tmp"):
            (self.place / folder).mkdir(parents=True)
        self.env = dict(b.env, RUNTIME_DIRECTORY=str(self.place / "run"), TMPDIR=str(self.place / "tmp"))

    def run(self, *words, allowed=(0,)):
        p = subprocess.run([self.b.holdfast, *map(str, words)], env=self.env, text=True, capture_output=True, timeout=PATIENCE)
        if p.returncode not in allowed:
            raise bench.Failure(f"{self.name}: holdfast {words[0]}: exit {p.returncode}: {p.stderr.strip()}")
        return p.returncode

    def write(self, count):
        """One transaction each, of a row with a name of its own and a change elsewhere."""
        if not self.app:
            self.app = sqlite3.connect(self.db, isolation_level=None, timeout=30)
            self.app.execute("PRAGMA journal_mode=WAL")
            self.app.execute("CREATE TABLE IF NOT EXISTS w(id TEXT PRIMARY KEY, v)")
        rows = []
        for _ in range(count):
            self.count += 1
            rows.append(f"{self.name}{self.count}")
            self.app.execute("INSERT INTO w VALUES (?, hex(randomblob(?)))", (rows[-1], self.b.rng.randrange(400)))
        return rows

    def ids(self):
        return [row[0] for row in self.app.execute("SELECT id FROM w")]

    def close(self):
        if self.app:
            self.app.close()
        self.app = None

    def put_away(self):
        """The database that the operator no longer wants."""
        self.close()
        for end in ("", "-wal", "-shm"):
            Path(f"{self.db}{end}").unlink(missing_ok=True)

    def promised(self):
        """Everything that is committed here, once `status` calls it safe."""
        rows, until = self.ids(), time.monotonic() + PATIENCE
        while self.run("status", self.db, self.url, allowed=(0, 1, 2)) != 0:
            if not self.holders[-1].runs():
                raise bench.Failure(f"{self.name}: the winner ended: {self.holders[-1].events[-3:]}")
            if time.monotonic() > until:
                raise bench.Failure(f"{self.name}: not safe {PATIENCE} s after the last commit")
        return rows


class Rounds:
    def __init__(self, b, box):
        self.b, self.rng, self.box = b, b.rng, box
        self.machines = [Machine(b, name, box) for name in ("a", "b")]
        self.contents, self.promises, self.counts = {}, set(), collections.Counter()

    # ---- how one takes over ----

    def take_over(self, m):
        """Restored, or the old copy replaced. Whoever writes still may be faster: then again."""
        for _ in range(20):
            if m.db.exists() and self.rng.random() < 0.5:
                m.close()
                h = Holder(m, "-adopt-replica")
                self.counts["by -adopt-replica"] += 1
            else:
                m.put_away()
                m.run("restore", m.url, m.db)
                h = Holder(m, "-take-over")
                self.counts["by restore and -take-over"] += 1
            try:
                h.wait("destination.ready", PATIENCE)
                return h
            except bench.Failure:
                if h.code() not in (FENCED, BEHIND):
                    raise
                self.counts["taken over too late, again"] += 1
        raise bench.Failure(f"{m.name}: it never got the replica")

    def loser(self, h, ran):
        code = h.code()
        self.counts[f"losers that {'ran' if ran else 'were started again'}: exit {code}"] += 1
        if code != FENCED and (ran or code != BEHIND):
            raise bench.Failure(f"{h.machine.name}: the loser's exit is {code}: {h.words()[-300:]}")
        if ran and "FENCED" not in h.words():
            raise bench.Failure(f"{h.machine.name}: the loser does not say that it is fenced: {h.words()[-300:]}")

    # ---- rounds ----

    def succession(self, old, new):
        """Returns the winner."""
        h = old.holders[-1]
        how = self.rng.choice(["kill -9", "kill -9", "SIGSTOP", "SIGSTOP", "still there"])
        self.counts[how] += 1
        old.write(self.rng.randrange(1, 20))
        if self.rng.random() < 0.6:
            self.promises.update(old.promised())
        old.write(self.rng.randrange(1, 5))
        time.sleep(self.rng.random() * 0.06)  # somewhere in a request, or before it, or after
        if how == "kill -9":
            h.signal(signal.SIGKILL)
            h.code()
        elif how == "SIGSTOP":
            h.signal(signal.SIGSTOP)
        winner = self.take_over(new)
        new.write(self.rng.randrange(1, 20))
        old.write(self.rng.randrange(1, 5))
        if how == "SIGSTOP":
            h.signal(signal.SIGCONT)
        if how == "kill -9":
            again = Holder(old)
            self.loser(again, ran=False)
            if again.slots():
                raise bench.Failure(f"{old.name}: started again with no flag, it took {again.slots()}")
        else:
            self.loser(h, ran=True)
        return winner

    def race(self, old, new):
        """Both at once on equal copies. Returns the winner."""
        self.counts["both at once"] += 1
        self.promises.update(old.promised())
        old.holders[-1].signal(signal.SIGTERM)
        if old.holders[-1].code() != 0:
            raise bench.Failure(f"{old.name}: {old.holders[-1].events[-3:]}")
        new.put_away()
        new.run("restore", new.url, new.db)
        pair = []
        for m in self.rng.sample([old, new], 2):
            pair.append(Holder(m, "-take-over"))
            time.sleep(self.rng.choice([0, 0, self.rng.random() * 0.3]))
        until = time.monotonic() + PATIENCE
        while all(h.runs() for h in pair):
            for h in pair:
                h.machine.write(1)
            time.sleep(0.02)
            if time.monotonic() > until:
                raise bench.Failure(f"both go on: {pair[0].slots()[-5:]}, {pair[1].slots()[-5:]}")
        lost = next(h for h in pair if not h.runs())
        code = lost.code()
        self.counts[f"losers of a race: exit {code}"] += 1
        if code not in (FENCED, BEHIND):
            raise bench.Failure(f"{lost.machine.name}: the loser's exit is {code}: {lost.words()[-300:]}")
        return next(h for h in pair if h is not lost)

    def look(self):
        """New objects are read; those that were there must be as they were."""
        slots = []
        for key, size, when in self.box.client.list(self.box.bucket, f"{self.box.key}/000")[0]:
            level, name = key.rsplit("/", 2)[1:]
            if level == "0000":
                first, last = int(name[:16], 16), int(name[17:33], 16)
                if first != last:
                    raise bench.Failure(f"{key} spans several TXIDs")
                slots.append(first)
            if key not in self.contents:
                self.contents[key] = (size, when, self.content(key))
            elif self.contents[key][:2] != (size, when):
                raise bench.Failure(f"{key} was written twice: {self.contents[key][:2]}, now {size}, {when}")
        if slots != list(range(1, len(slots) + 1)):
            gaps = [n for n in range(1, slots[-1]) if n not in slots]
            raise bench.Failure(f"level 0 is not contiguous: {len(slots)} objects up to {slots[-1]}, without {gaps[:5]}")
        return len(slots)

    def content(self, key):
        path = type(self.box)(self.box.client, self.box.bucket, key)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def acknowledged_once(self):
        owner = {}
        for m in self.machines:
            for h in m.holders:
                for txid in h.slots():
                    if owner.setdefault(txid, h) is not h:
                        raise bench.Failure(f"TXID {txid} was acknowledged to {owner[txid].machine.name} and {m.name}")
        return len(owner)

    def end(self, winner):
        m = winner.machine
        self.promises.update(m.promised())
        winner.signal(signal.SIGTERM)
        if winner.code() != 0:
            raise bench.Failure(f"{m.name}: the winner's exit is {winner.code()}: {winner.events[-3:]}")
        objects = self.look()
        for key, (_, _, content) in self.contents.items():
            if key.rsplit("/", 2)[1] == "0000" and self.content(key) != content:
                raise bench.Failure(f"{key} has another content than it had")
        source, out = soak.Set.source_image(m), m.place / "restored.db"
        m.run("restore", m.url, out)
        soak.compare(source, out.read_bytes(), int.from_bytes(source[16:18], "big"), "restored")
        m.run("verify", m.url)
        m.run("verify", "-source", m.db, m.url)
        restored = {row[0] for row in sqlite3.connect(out).execute("SELECT id FROM w")}
        if lost := self.promises - restored:
            raise bench.Failure(f"{len(lost)} rows that were called safe are lost: {sorted(lost)[:5]}")
        print(f"  {objects} objects of level 0, contiguous; {self.acknowledged_once()} TXIDs acknowledged, each to one process")
        print(f"  {len(self.promises)} rows called safe, all of them among the {len(restored)} restored; the last winner's "
              f"database equals it")

    def stop(self):
        for h in (h for m in self.machines for h in m.holders if h.runs()):
            h.signal(signal.SIGKILL)  # works on one that is stopped, too
            h.process.wait()


def measure(b):
    rounds = 6 if b.args.quick else b.args.rounds
    with own.Ceph(b.place / "ceph") as ceph:
        b.env.update(ceph.env())
        r = Rounds(b, ceph.box(uuid.uuid4().hex[:8]))
        old, new = r.machines
        done = 0
        try:
            old.write(3)
            winner = Holder(old)
            winner.wait("ship")
            for done in range(1, rounds + 1):
                winner = (r.race if b.rng.random() < 0.2 else r.succession)(old, new)
                if not winner.runs():
                    raise bench.Failure(f"the winner ended, too: {winner.events[-3:]}")
                if winner.machine is new:
                    old, new = new, old
                r.look()
            r.end(winner)
        except (bench.Failure, soak.Failure, subprocess.TimeoutExpired) as why:
            kept = Path(b.args.dir) / f"holdfast-holders-{b.args.seed}"
            r.stop()
            for m in r.machines:
                for i, h in enumerate(m.holders):
                    (m.place / f"log{i}").write_text("".join(f"{e}\n" for e in h.events))
                shutil.copytree(m.place, kept / m.name, dirs_exist_ok=True)
            b.verdict(f"round {done} (kept: {kept}): {why}", 1, 0)
        finally:
            r.stop()
        for name, count in sorted(r.counts.items()):
            print(f"  {count:5} {name}")
        b.verdict("rounds", done, rounds, least=True)


if __name__ == "__main__":
    bench.main(__doc__, measure, rounds=(50, "changes of the writer"))
