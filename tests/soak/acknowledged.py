#!/usr/bin/python3 -B
"""Acknowledged means durable: kill -9, every local file deleted, restored elsewhere. `make soak`.

    acknowledged.py [--rounds 500] [--places file,fake,ceph,two] [--jobs 4] [--seed N] [--build build]
                    [--dir DIR] [--early]

A round is the life of one machine, a directory of its own. tests/soak/acknowledged.c commits rows there
and says of each that it is committed, and, when hf_wait has returned, that it is acknowledged. Then

  kill      it is killed with -9 at a random moment (also while it starts), its directory is deleted, and
            `holdfast restore` makes the next machine; or
  takeover  it is stopped (SIGSTOP) instead; on a restored copy another takes over, by its own option or
            by `holdfast replicate -take-over`; then the first goes on (SIGCONT), and must say of each of its
            waits that it is fenced, and end; the second is killed.

After each round, in the restored database: the rows are 1, 2, 3, ... without a gap, each with the number that
was said of it at its commit; every row that was ever acknowledged, by either, is there; integrity_check.

A series is up to 20 rounds on one replica: with flush, or without; in a directory; in the S3 of
tests/e2e/fake_s3.py, which refuses (503), loses replies, says 412 or 500 of what it has stored, or stores it
long after; in Ceph's; or in a directory and that S3, waiting for both or for any. The service uses a store;
connections of its own with hf_attach; these and SELECT holdfast_wait(); or that, answered by `holdfast
replicate` beside it, which shares its fate. Series run side by side. At a failure its directory stays and is
named.

--early runs a liar, which acknowledges before it waits: this must report rows that are lost.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import itertools
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/e2e"), str(ROOT / "tests/servers")]

import fake_s3  # noqa: E402
import own  # noqa: E402
import s3  # noqa: E402
import web  # noqa: E402

ROUNDS_PER_SERIES = 20
PATIENCE = 30
FENCED, BEHIND = 7, 8  # enum hf_code


class Failure(Exception):
    pass


# ---- places ----


class Directory:
    """A replica on this disk."""

    def __init__(self, path, rng):
        self.urls, self.env = [str(path / "replica")], {}

    may_be_late = False  # an object may appear after its writer was killed

    def torment(self):
        """What goes wrong from now on."""

    def mend(self):
        """Nothing goes wrong any more."""

    def close(self):
        pass


class Fake(Directory):
    """The S3 in this process, with faults in a round."""

    may_be_late = True

    def __init__(self, path, rng):
        self.rng, self.s3, self.late, self.hits = rng, fake_s3.S3(), [], collections.Counter()
        self.urls = [f"s3://bucket/app?endpoint={self.s3.url}&region=us-east-1&force-path-style=true"]
        self.env = {"AWS_ACCESS_KEY_ID": fake_s3.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": fake_s3.SECRET_KEY,
                    "AWS_EC2_METADATA_DISABLED": "true"}  # fmt: skip
        self.acts = {
            "503": fake_s3.refuse(503, "SlowDown"),
            "lost reply": web.lost_reply,
            "412 of what is stored": fake_s3.done_but_said(412, "PreconditionFailed"),
            "500 of what is stored": fake_s3.done_but_said(500, "InternalError"),
            "stored late": web.late(self.late),
        }

    def torment(self):
        """Each third PUT fails in some way."""

        def act(request, apply):
            if self.rng.random() > 0.33:
                return apply()
            name = self.rng.choice([*self.acts])
            self.hits[name] += 1
            return self.acts[name](request, apply)

        self.s3.fault(act, kind="put")

    def mend(self):
        """What was kept back arrives now, later or never."""
        self.s3.mend()
        for apply in self.late:
            delay = self.rng.choice([0, 0.1 * self.rng.random(), None])
            if delay is not None:
                threading.Timer(delay, apply).start()
        self.late.clear()

    def close(self):
        self.s3.down()


class Ceph(Directory):
    """The gateway of scripts/test, or one of this run's own."""

    may_be_late = True

    def __init__(self, path, rng):
        e = os.environ
        client = s3.Client(e["HOLDFAST_TEST_S3"], e["AWS_ACCESS_KEY_ID"], e["AWS_SECRET_ACCESS_KEY"], e["AWS_REGION"])
        self.urls, self.env = [str(s3.Path(client, e["HOLDFAST_TEST_S3_BUCKET"], uuid.uuid4().hex[:12]))], {}


class Two(Fake):
    """A directory, and the S3 in this process, each at its own pace."""

    def __init__(self, path, rng):
        super().__init__(path, rng)
        self.urls.insert(rng.randrange(2), str(path / "replica"))


PLACES = {"file": Directory, "fake": Fake, "ceph": Ceph, "two": Two}


# ---- processes ----


class Beside:
    """`holdfast replicate` on a machine, for a service that replicates nothing itself."""

    def __init__(self, series, machine, *options):
        if not (machine / "app.db").exists():
            with contextlib.closing(sqlite3.connect(machine / "app.db")) as db:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("CREATE TABLE row(id INTEGER PRIMARY KEY, number INTEGER, more)")
        command = [series.holdfast, "replicate", "-log", "logfmt", "-checkpoint-pages", "50"]
        command += ["-interval", f"{series.interval}ms"]
        self.process = subprocess.Popen(
            list(map(str, [*command, *options, machine / "app.db", *series.place.urls])), env=series.env(machine),
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.said, line = [], ""
        slow = threading.Timer(PATIENCE, self.process.kill)
        slow.start()
        for line in self.process.stderr:
            self.said.append(line)
            if "event=destination.ready" in line:
                break
        slow.cancel()
        self.is_ready = "event=destination.ready" in line
        self.reader = threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True)
        self.reader.start()

    def code(self):
        code = self.process.wait(PATIENCE)
        self.reader.join()
        return {5: FENCED, 6: BEHIND}.get(code, code)


class Service:
    """soak_acknowledged on a machine, and what it said."""

    def __init__(self, series, machine, *options):
        self.lines, self.news, self.beside, self.process = [], threading.Condition(), None, None
        series.running.append(self)
        if series.way == "beside":
            self.beside = Beside(series, machine, *options)
            options = ()
            if not self.beside.is_ready:
                self.lines = ["".join(self.beside.said), "end"]
                return
        command = [series.program, machine / "app.db", series.place.urls[0], *series.options, *options]
        self.process = subprocess.Popen(
            list(map(str, command)), env=series.env(machine), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.news:
                self.lines.append(line.rstrip("\n"))
                self.news.notify_all()
        with self.news:
            self.lines.append("end")
            self.news.notify_all()

    def wait(self, *words):
        """Until it says one of these first words, or has ended; the line."""
        with self.news:
            until = time.monotonic() + PATIENCE
            while True:
                for line in self.lines:
                    if line.split(" ", 1)[0] in (*words, "end"):
                        return line
                if not self.news.wait(until - time.monotonic()):
                    raise Failure(f"it does not say any of {words}: {self.lines[-5:]}")

    def signal(self, number):
        """To it, and to the replicator beside it: neither must see that the other is gone or stopped."""
        for p in (self.beside and self.beside.process, self.process):
            if p and p.poll() is None:
                p.send_signal(number)

    def kill(self):
        """Whether it had not ended by itself before."""
        self.signal(signal.SIGSTOP)
        self.signal(signal.SIGKILL)
        if self.beside:
            self.beside.code()
        return self.process is None or self.code() == -signal.SIGKILL

    def code(self):
        if self.process is None:
            return self.beside.code()
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failure(f"it does not end: {self.lines[-5:]}") from None
        self.reader.join()
        return code

    def said(self, word):
        return [tuple(map(int, line.split()[1:])) for line in self.lines if line.startswith(f"{word} ")]

    def failed_waits(self):
        return [line[2:].partition(":")[0] for line in self.lines if line.startswith("w ")]


class Series:
    def __init__(self, args, number):
        self.rng = random.Random(f"{args.seed} {number}")
        self.args, self.number, self.counts = args, number, collections.Counter()
        self.dir = Path(args.dir) / f"series{number}"
        self.dir.mkdir()
        place, flush, self.way = args.kinds[number % len(args.kinds)]
        self.place = PLACES[place](self.dir, self.rng)
        self.program = Path(args.build) / "tests/soak/soak_acknowledged"
        self.holdfast = Path(args.build) / "holdfast"
        self.threads, self.interval = self.rng.choice([1, 4, 16]), self.rng.choice([1, 20, 100])
        self.options = ["-threads", self.threads, "-interval", self.interval]
        self.options += ["-flush"] * flush + ["-early"] * args.early + ["-own"] * (self.way != "store")
        self.options += ["-sql", Path(args.build) / "src/ext/holdfast.so"] * (self.way in ("sql", "beside"))
        self.options += ["-beside"] * (self.way == "beside") + [o for u in self.place.urls[1:] for o in ("-also", u)]
        self.any = len(self.place.urls) > 1 and self.way in ("store", "own") and self.rng.random() < 0.5
        self.options += ["-any"] * self.any
        self.title = f"{place}{' (any)' * self.any}, flush {'on' if flush else 'off'}"
        self.committed, self.acknowledged, self.running, self.machines = set(), set(), [], 0
        self.kept, self.last, self.home = set(), None, self.dir / "home"

    # ---- machines ----

    def env(self, machine):
        return {**os.environ, **self.place.env, "RUNTIME_DIRECTORY": str(machine / "run"), "TMPDIR": str(machine)}

    def new_machine(self, machine=None):
        self.machines += 1
        machine = machine or self.dir / f"machine{self.machines}"
        (machine / "run").mkdir(parents=True)
        return machine

    def restored(self, machine=None, url=None):
        """A machine with what the replica holds; nothing, if that is nothing."""
        machine = self.new_machine(machine)
        command = [self.holdfast, "restore", url or self.place.urls[0], machine / "app.db"]
        p = subprocess.run(command, env=self.env(machine), text=True, capture_output=True, timeout=PATIENCE)
        if p.returncode not in (0, 3):
            raise Failure(f"restore: exit {p.returncode}: {p.stderr.strip()}")
        return machine

    def next_machine(self, *options):
        """Where a service can go on, and with which options: at the same place; elsewhere, when the operator
        says so; or by hf_restore_if_missing."""
        ways = ["elsewhere, with -take-over", "at the same place", "elsewhere, restored by itself"]
        if len(self.place.urls) > 1:  # which is newer is for the library to find out
            ways = ways[2:]
        how = self.rng.choice(ways[: 2 if self.way == "beside" else 3])
        self.counts[f"starts {how}"] += 1
        if how == "elsewhere, restored by itself":
            return self.new_machine(), [*options, "-restore"]
        if how == "at the same place" and not options and self.last in (None, self.home):
            return self.restored(self.home), [*options]
        return self.restored(), [*options, "-take-over"]

    def started(self, *options):
        """A service that has the replica. What arrives late is newer than what was restored: then it is
        refused, and another restore has it."""
        for _ in range(20):
            machine, with_these = self.next_machine(*options)
            service = Service(self, machine, *with_these)
            line = service.wait("ready")
            self.last = machine
            if line == "ready":
                return machine, service
            self.refused(service)
            self.end_machine(machine, service)
        raise Failure(f"it never starts: {service.lines[-5:]}")

    def refused(self, service):
        """It has ended by itself, which is right in two cases: the replica went on after the restore (one of two
        may then hold what the other never had, so that nothing can be proven of it); or the
        note of whose it is was never stored, and so only a person can say -take-over."""
        code = service.code()
        unproven = len(self.place.urls) > 1 and any("UNPROVEN" in line for line in service.lines)
        if self.place.may_be_late and (code == BEHIND or unproven):
            self.counts["starts refused, for an object came late"] += 1
        elif self.place.may_be_late and any("no owner note" in line for line in service.lines):
            self.counts["starts refused, for there was no owner note"] += 1
            self.last = self.dir  # no machine's
        else:
            raise Failure(f"it ended by itself: exit {code}: {service.lines[-5:]}")

    # ---- judgement ----

    def hear(self, service):
        """Take over what it said: after its end, or the reading of it."""
        self.committed.update(service.said("c"))
        now = set(service.said("a"))
        self.counts["acknowledged"] += len(now - self.acknowledged)
        self.acknowledged |= now

    def rows_at(self, url):
        """What is restored from there: 1, 2, 3, ... each with its number."""
        rows, machine = {}, self.restored(url=url)
        path = machine / "app.db"
        if path.exists():
            with contextlib.closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
                if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'row'").fetchone():
                    rows = dict(db.execute("SELECT id, number FROM row ORDER BY id"))
                verdict = db.execute("PRAGMA integrity_check").fetchone()[0]
            if verdict != "ok":
                raise Failure(f"integrity_check: {verdict}")
        if list(rows) != list(range(1, len(rows) + 1)):
            raise Failure(f"rows are missing in between: {len(rows)} rows up to {max(rows)}")
        shutil.rmtree(machine)
        return rows

    def look_for(self, promised, rows):
        lost = [row for row in sorted(promised) if rows.get(row[0]) != row[1]]
        self.counts["lost"] += len(lost)
        if lost and not self.args.early:
            raise Failure(f"{len(lost)} acknowledged rows are lost, the first: {lost[:5]}; {len(rows)} are restored")

    def judge(self, services):
        """What is restored holds every promise, and is a prefix of the commits: from each place, or from the
        one that has most if the promise was of any."""
        found = sorted((self.rows_at(url) for url in self.place.urls), key=len)
        rows = found[-1]
        for other in found if not self.any else found[-1:]:
            self.look_for(self.acknowledged, other)
        if any(rows[n] != number for other in found for n, number in other.items()):
            raise Failure("two places hold different rows")
        self.look_for(self.kept - self.acknowledged, rows)
        silent = [row for row in rows.items() if row not in self.committed]
        if len(silent) > self.threads * services:
            raise Failure(f"{len(silent)} rows are restored that nobody has committed, the first: {silent[:5]}")
        self.counts["restored"] += len(rows) - len(self.kept)
        self.committed.update(silent)  # killed between the commit and its word
        self.kept = set(rows.items())  # what was restored once must stay, too
        self.acknowledged &= self.kept  # a liar's are counted as lost once

    # ---- rounds ----

    def a_while(self):
        time.sleep(self.rng.choice([0.02, 0.1, 0.3]) * self.rng.random())

    def kill_round(self):
        self.place.torment()
        if self.rng.random() < 0.2:  # killed while it starts
            self.last, options = self.next_machine()
            machine, service = self.last, Service(self, self.last, *options)
        else:
            machine, service = self.started()
            if self.rng.random() < 0.8:
                service.wait("a")
        self.a_while()
        if not service.kill():
            self.refused(service)
        self.place.mend()
        self.end_machine(machine, service)

    def takeover_round(self):
        machine, first = self.started()
        self.place.torment()
        first.wait("a")
        self.a_while()
        first.signal(signal.SIGSTOP)
        self.last = None
        there, second = self.second()
        line = second.wait("a", "w")
        if not line.startswith("a "):
            raise Failure(f"the winner's wait failed: {line}")
        first.signal(signal.SIGCONT)
        self.a_while()
        self.fenced(first)
        self.a_while()
        if not second.kill():
            raise Failure(f"the winner ended: {second.lines[-5:]}")
        self.place.mend()
        self.end_machine(machine, first)
        self.end_machine(there, second)

    def fenced(self, first):
        """It ends, and so does each of its waits, with that reason. A replicator beside ends before some
        threads have begun to wait: they find none."""
        code = first.code()
        waits = collections.Counter(first.failed_waits())
        self.counts["waits that said fenced"] += waits.pop("fenced", 0)
        waits.pop("timeout", 0)
        if first.beside:
            gone = waits.pop("no replicator", 0) + waits.pop("cancelled", 0)
            self.counts["waits that found no replicator"] += gone
            code = FENCED if first.beside.code() == FENCED and code else code
        if code != FENCED or waits:
            raise Failure(f"the loser was not fenced: exit {code}: {first.lines[-5:]}")

    def second(self):
        """The one that takes over: by an option of its own, or after the command."""
        if len(self.place.urls) > 1 or self.rng.random() < 0.5:
            return self.started("-take-over")
        for _ in range(20):
            machine = self.last = self.restored()
            command = [self.holdfast, "replicate", "-take-over", "-exec", "true", machine / "app.db", *self.place.urls]
            p = subprocess.run(command, env=self.env(machine), text=True, capture_output=True, timeout=PATIENCE)
            if p.returncode == 0:
                self.counts["takeovers by the command"] += 1
                service = Service(self, machine)
                if service.wait("ready") == "ready":
                    return machine, service
                raise Failure(f"after replicate -take-over: exit {service.code()}: {service.lines[-5:]}")
            if p.returncode not in (5, 6):
                raise Failure(f"replicate -take-over: exit {p.returncode}: {p.stderr[-500:]}")
            shutil.rmtree(machine)
        raise Failure(f"it never takes over: {p.stderr[-500:]}")

    def end_machine(self, machine, service):
        self.hear(service)
        self.running.remove(service)
        shutil.rmtree(machine)

    def round(self):
        takeover = self.rng.random() < self.args.takeovers
        (self.takeover_round if takeover else self.kill_round)()
        self.judge(2 if takeover else 1)
        self.counts["rounds"] += 1
        self.counts["of them takeovers"] += takeover

    def run(self, rounds):
        """(counts by title, words of a failure)"""
        words = None
        try:
            for _ in range(rounds):
                self.round()
        except (Failure, subprocess.TimeoutExpired, sqlite3.Error) as e:
            words = f"series {self.number} ({self.title}), round {self.counts['rounds'] + 1}: {e}"
        except Exception:
            words = f"series {self.number} ({self.title}): {traceback.format_exc()}"
        for s in self.running:
            s.kill()
            if words:
                (self.dir / f"said{self.running.index(s)}").write_text("\n".join(s.lines))
        self.counts.update({f"faults: {k}": n for k, n in getattr(self.place, "hits", {}).items()})
        self.place.close()
        if words:
            words += f"\n  kept: {self.dir}"
        else:
            shutil.rmtree(self.dir)
        self.counts[f"rounds: {self.way}"] = self.counts["rounds"]
        return self.title, self.counts, words


def run_series(args, number, rounds):
    return Series(args, number).run(rounds)


def report(results, seconds):
    """The counts of each kind of series, and of all; whether all is well."""
    kinds, total, failures = {}, collections.Counter(), [words for _, _, words in results if words]
    for title, counts, _ in results:
        kinds.setdefault(title, collections.Counter()).update(counts)
        total.update(counts)
    columns = ("rounds", "acknowledged", "lost", "restored")
    print(f"  {'':<18}" + "".join(f"{c:>14}" for c in columns))
    for title, counts in [*sorted(kinds.items()), ("all", total)]:
        print(f"  {title:<18}" + "".join(f"{counts[c]:>14}" for c in columns))
    for name, count in sorted(total.items()):
        if name not in columns:
            print(f"  {count:>8} {name}")
    for words in failures:
        print(f"FAILED: {words}")
    print(f"{total['rounds']} rounds, {total['acknowledged']} acknowledged, {total['lost']} lost, "
          f"{total['restored']} restored, {len(failures)} failures, {seconds:.0f} s", flush=True)
    return not failures and not total["lost"]


def parse():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--rounds", type=int, default=500)
    p.add_argument("--places", default="file,fake,ceph,two", help="of the replicas (%(default)s)")
    p.add_argument("--ways", default="store,own,sql,beside", help="of the service (%(default)s)")
    p.add_argument("--takeovers", type=float, default=0.2, help="share of the rounds (%(default)s)")
    p.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="series side by side (%(default)s)")
    p.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    p.add_argument("--build", default=str(ROOT / "build"))
    p.add_argument("--dir", help="where to work (a new one below /var/tmp)")
    p.add_argument("--early", action="store_true", help="acknowledge before it is true: rows must be lost")
    args = p.parse_args()
    args.places, args.ways = args.places.split(","), args.ways.split(",")
    args.dir = args.dir or tempfile.mkdtemp(prefix="holdfast-acknowledged-", dir="/var/tmp")
    os.makedirs(args.dir, exist_ok=True)
    return args


def give_ceph(args):
    """Scripts/test has one; else one of this run's own, which ends with it. Without any, said and left out."""
    if "ceph" not in args.places or "HOLDFAST_TEST_S3" in os.environ:
        return
    try:
        args.ceph = own.Ceph(Path(args.dir) / "ceph")
        os.environ.update(args.ceph.values)
    except (own.Absent, OSError) as e:
        print(f"skipped: ceph: {e}")
        args.places.remove("ceph")


def main():
    args = parse()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(f"{args.rounds} rounds, {args.jobs} at a time, seed {args.seed}, in {args.dir}", flush=True)
    args.ceph = None
    give_ceph(args)
    args.kinds = list(itertools.product(args.places, (False, True), args.ways))
    args.kinds = [k for k in args.kinds if (k[0], k[2]) != ("two", "beside")]  # the command restores from one
    random.Random(args.seed).shuffle(args.kinds)
    count = max(-(-args.rounds // ROUNDS_PER_SERIES), min(len(args.kinds), -(-args.rounds // 2)))
    shares = [args.rounds // count + (i < args.rounds % count) for i in range(count)]
    began, ceph = time.monotonic(), args.ceph
    args.ceph = None  # it is not for the other processes
    with concurrent.futures.ProcessPoolExecutor(args.jobs) as pool:
        runs = [pool.submit(run_series, args, i, share) for i, share in enumerate(shares)]
        results = [run.result() for run in runs]
    good = report(results, time.monotonic() - began)
    if ceph:
        ceph.__exit__()
    if good or args.early:
        shutil.rmtree(args.dir)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
