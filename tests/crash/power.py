#!/usr/bin/python3 -B
"""Power cuts. The real programs run, and all that they do to their files is recorded (record.c); then the power is cut
at random points of that, in all the ways in which un-synced writes and names can be lost, torn and reordered (disk.h).

    power.py [--build build] [--count 100000] [--starts 2000] [--seconds S] [--seed X] [--scenes NAME,...] [--dir DIR]
    power.py --again DIR --only SEED      one start, from a trace that was kept

Two things are done with a state. `crash_explore` judges it as it is: the database is some commit's, whole, and has what
was promised to be on this disk; the replica gives back each acknowledged commit. And the real `holdfast` is started on
it: as a service that restores, catches up and runs the application (exec); on its own (plain); or after the
application had been there first (late). It may go on, or refuse, but then nothing is shipped; nothing older than what
the replica holds is ever published over it, and each acknowledged commit can be restored in the end.

The replica lies on the disk that is cut, or in `outside`, which is the world outside, of which nothing is ever
undone: there the local database is often behind what was acknowledged. The run file is on a tmpfs: it is gone.

A trace is recorded anew in each run, as it is the real programs'; where something is found it is kept.
"""
import argparse
import collections
import concurrent.futures
import contextlib
import fcntl
import os
import pathlib
import random
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 60
FAST = "-interval 10ms -levels 100ms,300ms,1s -keep-level0 100ms -snapshot 700ms -keep-snapshots 300ms -verify 0".split()
CREATE, MKDIR, WRITE, SYNC, SYNCED, SYNC_DIR, DIR_SYNCED, MARK = 1, 3, 7, 11, 12, 13, 14, 15  # trace.h
BEHIND, CONFLICT, NOT_FOUND = 6, 5, 3


class Unable(Exception):
    """It could not be run."""


class Found(Exception):
    pass


def done(argv, env, expect=(0,), **more):
    p = subprocess.run(list(map(str, argv)), env=env, text=True, capture_output=True, timeout=PATIENCE, **more)
    if p.returncode not in expect:
        raise Unable(f"{shlex.join(map(str, argv))}: exit {p.returncode}: {p.stderr[-600:]}")
    return p


class Scene:
    """A directory with a tree that is recorded, and what is run on it."""

    def __init__(self, args, name, number):
        self.args, self.name, self.number = args, name, number
        self.dir = pathlib.Path(args.dir) / name
        self.tree, self.run, self.trace = self.dir / "tree", self.dir / "run", self.dir / "trace"
        self.db = self.tree / "app.db"
        self.urls = [self.tree / url for url in (("replica", "outside") if name in TWO else ("outside",) if name in OUTSIDE else ("replica",))]
        self.url = self.urls[-1]
        build = pathlib.Path(args.build).resolve()
        self.holdfast, self.explorer = build / "holdfast", build / "tests/crash/crash_explore"
        self.record, self.extension = build / "tests/crash/crash_record.so", build / "src/ext/holdfast.so"
        self.program = build / "tests/crash/crash_writer"
        self.counts = collections.Counter()

    # ---- recording ----

    def env(self, recorded=True):
        env = {**os.environ, "RUNTIME_DIRECTORY": str(self.run), "TMPDIR": str(self.dir)}
        if recorded:
            env |= {"LD_PRELOAD": str(self.record), "HOLDFAST_RECORD": str(self.trace), "HOLDFAST_RECORD_ROOT": str(self.tree)}
            env |= {"HOLDFAST_RECORD_SLOW": "/outside/" if self.name in TWO else ""}
        return env

    def prepare(self):
        shutil.rmtree(self.dir, ignore_errors=True)
        self.run.mkdir(parents=True)
        (self.tree / "outside").mkdir(parents=True)
        self.trace.touch()

    def put(self, op, path="", inode=0, at=0, data=b""):
        """A record of our own, as record.c makes them."""
        path = os.fsencode(path)
        with open(self.trace, "ab", buffering=0) as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            f.write(struct.pack("=IIIIQq", op, len(path), 0, len(data), inode, at) + path + data)

    def mark(self, *words):
        self.put(MARK, data="".join(f"{word}\n" for word in words).encode())

    def begin(self, *words):
        """What is there now is on the disk, whole; from here on the power may be cut."""
        self.trace.write_bytes(b"")
        shutil.rmtree(self.run)
        self.run.mkdir()
        number = 0
        for dir, dirs, files in os.walk(self.tree):
            at = pathlib.Path(dir).relative_to(self.tree)
            name = "" if at == pathlib.Path(".") else str(at)
            for file in sorted(files):
                path = self.tree / at / file
                if file.endswith("-shm"):
                    path.unlink()
                    continue
                inode, number = path.stat().st_ino, number + 1
                self.put(CREATE, str(at / file), inode)
                self.put(WRITE, "", inode, 0, path.read_bytes())
                self.put(SYNC, "", inode, number)
                self.put(SYNCED, "", inode, number)
            for sub in sorted(dirs):
                self.put(MKDIR, str(at / sub))
            number += 1
            self.put(SYNC_DIR, name, 0, number)
            self.put(DIR_SYNCED, name, 0, number)
        self.mark(*words)
        self.mark("b")

    def writer(self, *options, db=None):
        page_size = ("4096", "1024", "8192")[self.args.seed % 3]
        line = [self.program, "-page-size", page_size, *options, db or self.db]
        if "-ack" in options:
            line[-1:-1] = ["-extension", self.extension]
        return list(map(str, line))

    def app(self, *options):
        said = done(self.writer(*options), self.env()).stdout
        return int(said.split()[-1])  # the last commit

    def start(self, *options, recorded=True):
        """`holdfast replicate`, and its log until the destination is ready, or it has ended."""
        line = [self.holdfast, "replicate", *FAST, "-log", "logfmt", *options, self.db, *self.urls]
        p = subprocess.Popen(list(map(str, line)), env=self.env(recorded), text=True, stderr=subprocess.PIPE,
                             stdin=subprocess.DEVNULL)
        p.timer = threading.Timer(PATIENCE, p.kill)
        p.timer.start()
        p.said = []
        for text in p.stderr:
            p.said.append(text)
            if "event=destination.ready" in text:
                break
        return p

    def stop(self, p):
        """SIGTERM: it ships what is left. Its exit status."""
        if p.poll() is None:
            p.send_signal(signal.SIGTERM)
        p.said += p.stderr.readlines()
        p.stderr.close()
        code = p.wait()
        p.timer.cancel()
        return code

    def replicated(self, *writers, options=()):
        """Writers, one after the other, beside a replicator; what the last one said last."""
        self.app("-count", "1", *(w for w in writers[0] if w == "-full"))
        p, n = self.start(*options), 0
        if p.poll() is not None:
            raise Unable(f"{self.name}: replicate ended: {''.join(p.said[-5:])}")
        for w in writers:
            n = self.app(*w)
        if self.stop(p):
            raise Unable(f"{self.name}: replicate: {''.join(p.said[-5:])}")
        return n

    def record_it(self):
        self.prepare()
        SCENES[self.name](self)
        checked = subprocess.run([self.explorer, "--recorded", self.dir], text=True, capture_output=True)
        if checked.returncode:
            raise Unable(f"{self.name}: {checked.stderr}")
        return self

    # ---- exploring ----

    def explore(self, count, seconds):
        seed = self.args.seed + (self.number << 32)
        line = [self.explorer, "--count", count, "--seconds", seconds, "--seed", seed, self.dir]
        p = subprocess.run(list(map(str, line)), text=True, capture_output=True)
        if p.returncode not in (0, 1):
            return 2, f"{self.name}: the explorer died, {p.returncode}: {p.stderr[-600:]}", {}
        *words, last = p.stdout.splitlines()
        return p.returncode, "\n".join(f"{self.name}: {w}" for w in words), numbers(last)

    # ---- starting the real thing ----

    def shipped(self):
        return sorted((str(p), p.stat().st_size) for url in self.urls for p in url.glob("ltx/*/*.ltx"))

    def held(self, at):
        """The last commit that is in each replica."""
        return [at[url.name] for url in self.urls]

    def fresh(self):
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir()

    def ask(self, explorer, word):
        with contextlib.suppress(BrokenPipeError):
            explorer.stdin.write(word + "\n")
            explorer.stdin.flush()
        said = explorer.stdout.readline()
        self.must(said, "the explorer died of it")
        return numbers(said)

    def must(self, condition, words):
        if not condition:
            raise Found(words)

    def refused(self, code, said, before):
        """It has said so, and shipped nothing."""
        self.must(code in (BEHIND, CONFLICT), f"exit {code}: {said[-400:]}")
        self.must(self.shipped() == before, f"exit {code}, and objects were shipped or deleted")
        word = re.search(r"(BEHIND|OLDER|FORK|UNPROVEN|FOREIGN|GONE)|$", said)[0]
        self.counts[f"{self.kind} refused {word or code}"] += 1
        return word

    def all_is_there(self, after):
        self.must(set(self.held(after)) == {after["db"]}, f"not all is restored: {self.held(after)} of {after['db']}")

    def forward(self, at, now, told):
        """What `restore -fast-forward` makes of a database that is behind; `told` to do so, it must work."""
        newest = max(self.urls, key=lambda url: at[url.name])
        p = done([self.holdfast, "restore", "-fast-forward", newest, self.db], self.env(False), (0,) if told else (0, CONFLICT))
        self.counts["fast-forwarded" if p.returncode == 0 else "fast-forward refused"] += 1
        after = now()
        if p.returncode == 0:
            self.must(after["db"] == at[newest.name], f"fast-forward gave commit {after['db']}")

    def start_exec(self, at, now, _):
        """As a service: it restores, catches up, and runs the application, which waits for its commits."""
        before, held = self.shipped(), max(at["db"], *self.held(at))
        app = shlex.join(self.writer("-count", "3", "-ack", "1"))
        line = [self.holdfast, "replicate", *FAST, "-log", "logfmt", "-exec", app, self.db, *self.urls]
        p = done(line, self.env(False), (0, BEHIND, CONFLICT))
        after = now()
        if p.returncode:
            self.refused(p.returncode, p.stderr, before)
            self.must(not p.stdout, f"refused, after the application had begun: {p.stdout}")
            return
        self.counts[f"{self.kind} went on"] += 1
        self.must(after["db"] == held + 3, f"it went on from another commit than {held}: {after['db'] - 3}")
        self.all_is_there(after)

    def start_library(self, at, now, behind):
        """An application with the library in it."""
        before = self.shipped()
        p = done(self.writer("-count", "3", "-ack", "1", "-store", self.url), self.env(False), (0, 2))
        after = now()
        if p.returncode:
            self.must("crash_writer: replicate: " in p.stderr and not p.stdout, f"{p.stderr[-400:]} {p.stdout}")
            self.refused(BEHIND if behind else CONFLICT, p.stderr, before)
            return
        self.counts["library went on"] += 1
        self.must(not behind, "it went on with a database that is behind")
        self.must(after["db"] == at["db"] + 3, f"it went on from another commit than {at['db']}: {after['db'] - 3}")
        self.all_is_there(after)

    def start_plain(self, at, now, behind):
        before, p = self.shipped(), self.start(recorded=False)
        code = self.stop(p)
        said = "".join(p.said)
        if code == NOT_FOUND and not at["there"]:
            self.counts["plain found no database"] += 1
            return
        if code:
            word = self.refused(code, said, before)
            if behind:
                self.forward(at, now, word in ("BEHIND", "OLDER"))
            return
        after = now()
        self.counts[f"{self.kind} went on"] += 1
        self.must(not behind, "it went on with a database that is behind")
        self.all_is_there(after)

    def start_late(self, at, now, behind):
        """The application was there first, and committed on top of what it found."""
        done(self.writer("-count", "2", "-fork", *["-die"] * (at["state"] % 4 < 3)), self.env(False))
        before, p = self.shipped(), self.start(recorded=False)
        code = self.stop(p)
        after = now()
        if code:
            self.refused(code, "".join(p.said), before)
            return
        self.counts[f"{self.kind} went on"] += 1
        self.must(not behind, "what was committed on top of an older state was published")
        self.all_is_there(after)

    def judge_start(self, at):
        """One state: the start, and what is there after it."""
        self.fresh()
        rng, behind = random.Random(at["state"]), at["there"] and at["db"] < max(self.held(at))
        self.counts["behind"] += behind
        kinds = {"exec": self.start_exec, "plain": self.start_plain, "late": self.start_late, "library": self.start_library}
        self.kind = rng.choice(("exec", "library", "plain", "late") if "store" in self.name.split("-") else ("exec", "plain", "plain", "late"))

        def now():
            return at["ask"]("judge")

        kinds[self.kind](at, now, behind)
        after = now()
        self.must("wrong" not in after, after.get("wrong"))
        for before, held in zip(self.held(at), self.held(after)):
            self.must(held >= max(before, at["acknowledged"]), f"a replica went back to {held}")
        self.counts["started"] += 1

    @contextlib.contextmanager
    def states(self, count, seed):
        """The states, each laid out in the tree for as long as it is looked at."""
        line = [self.explorer, "--serve", "--count", str(count), "--seed", str(seed), str(self.dir)]
        with subprocess.Popen(list(map(str, line)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as explorer:

            def each():
                for text in iter(explorer.stdout.readline, ""):
                    yield {**numbers(text), "ask": lambda word: self.ask(explorer, word)}
                    with contextlib.suppress(BrokenPipeError):
                        explorer.stdin.write("next\n")
                        explorer.stdin.flush()

            yield each()
            with contextlib.suppress(BrokenPipeError):
                explorer.stdin.close()
        if explorer.returncode:
            raise Unable(f"{self.name}: the explorer died, {explorer.returncode}")

    def starts(self, count, until, seed=None):
        """What was found, in words."""
        words, seed = [], seed or self.args.seed + (self.number << 32) + (1 << 31)
        try:
            with self.states(count, seed) as states:
                for at in states:
                    words += self.start_on(at)
                    if time.monotonic() > until or len(words) > 4:
                        break
        except Unable as e:
            words.append(f"{e}\n  again: {self.explorer} --count {count} --seed {seed} {self.dir}")
        return words

    def start_on(self, at):
        try:
            self.judge_start(at)
        except (Found, Unable, subprocess.TimeoutExpired) as e:
            return [f"{self.name}: start on {shown(at)}: {e}\n"
                    f"  again: {__file__} --build {self.args.build} --again {self.dir} --only {at['state']}"]
        return []


# ---- what is recorded ----

def normal(s):
    s.replicated(["-count", "60", "-ack", "4", "-pace", "1", "-checkpoint", "100"], options=["-checkpoint-pages", "20"])


def full(s):
    """The application checkpoints for itself, often."""
    s.replicated(["-count", "40", "-full", "-ack", "5", "-pace", "2", "-checkpoint", "8"],
                 ["-count", "20", "-full", "-ack", "3", "-checkpoint", "8"])


def again(s):
    """The replicator stops and starts, the application goes on; its log is left and found again."""
    s.replicated(["-count", "20", "-ack", "3", "-pace", "2"], options=["-checkpoint-pages", "20"])
    s.app("-count", "10")
    p = s.start("-checkpoint-pages", "20")
    s.app("-count", "20", "-ack", "1")
    s.stop(p)


def two(s):
    """One replica on the disk that is cut, one outside, which is slower; what is acknowledged is in both."""
    s.replicated(["-count", "50", "-ack", "4", "-pace", "1"], options=["-checkpoint-pages", "20"])


def truncate(s):
    """The application empties the log itself, between and beside the shipments."""
    s.replicated(["-count", "40", "-ack", "3", "-pace", "1", "-truncate", "5"], ["-count", "20", "-ack", "1", "-truncate", "2"])


def store(s):
    """The library, with keys and values."""
    s.app("-count", "60", "-ack", "4", "-pace", "1", "-store", s.url, "-checkpoint", "20")


def store_full(s):
    s.app("-count", "30", "-full", "-ack", "3", "-pace", "1", "-store", s.url)
    s.app("-count", "20", "-full", "-ack", "2", "-store", s.url)


def seed_replica(s):
    """Not a part of what is cut: a replica in the world outside, and the number of its commit."""
    return s.replicated(["-count", "30", "-ack", "3", "-pace", "2"])


def drop_database(s):
    for path in s.tree.glob("app.db*"):
        path.unlink()


def restore(s):
    n = seed_replica(s)
    drop_database(s)
    s.begin(f"c {n}", f"a {n}", f"f {n}")
    done([s.holdfast, "restore", s.url, s.db], s.env())
    s.mark(f"l {n}")


def missing(s):
    """-exec restores what is missing, and then the application runs."""
    n = seed_replica(s)
    drop_database(s)
    s.begin(f"c {n}", f"a {n}", f"f {n}")
    done([s.holdfast, "replicate", *FAST, "-exec", shlex.join(s.writer("-count", "10", "-ack", "2")), s.db, s.url], s.env(),
         stdin=subprocess.DEVNULL)


def library(s):
    """The same by the library."""
    n = s.app("-count", "30", "-ack", "3", "-pace", "2", "-store", s.url)
    drop_database(s)
    s.begin(f"c {n}", f"a {n}", f"f {n}")
    done(s.writer("-count", "10", "-ack", "2", "-store", s.url, "-restore"), s.env())


def older(s, forward, promise="l"):
    """The database is an older one, its log beside it, as after a power cut; the replica holds more."""
    old = s.dir / "old"
    old.mkdir()
    s.app("-count", "25")
    keeper = subprocess.Popen(s.writer("-count", "12", "-pace", "1"), env=s.env(), stdout=subprocess.PIPE, text=True)
    p = s.start("-checkpoint-pages", "1000")
    keeper.communicate()
    first = s.app("-count", "3", "-ack", "1")
    for path in s.tree.glob("app.db*"):
        shutil.copy2(path, old)
    n = s.app("-count", "20", "-ack", "2", "-pace", "2")
    if s.stop(p):
        raise Unable(f"{s.name}: {''.join(p.said[-5:])}")
    drop_database(s)
    boot = boot_time() - 60
    for path in old.iterdir():
        shutil.copy2(path, s.tree)
        os.utime(s.tree / path.name, (boot, boot))
    s.begin(f"c {n}", f"a {n}", f"{promise} {first}")
    forward(s)
    s.mark(f"l {n}")


def forward(s):
    older(s, lambda s: done([s.holdfast, "restore", "-fast-forward", s.url, s.db], s.env()))


def adopt(s):
    """The older one is kept under another name; between the two renames there is none."""
    older(s, lambda s: done([s.holdfast, "replicate", *FAST, "-adopt-replica", "-exec", "true", s.db, s.url], s.env(),
                            stdin=subprocess.DEVNULL), promise="f")


def behind(s):
    older(s, lambda s: done([s.holdfast, "replicate", *FAST, "-exec", shlex.join(s.writer("-count", "5", "-ack", "1")),
                             s.db, s.url], s.env(), stdin=subprocess.DEVNULL))


def twice(s):
    """The power is cut once, and again while the service comes back from that."""
    normal(s)
    with s.states(200, s.args.seed) as states:
        for at in states:
            if at["there"] and (at["db"] < at["outside"] or at["state"] % 20 == 0):
                break
    n = max(at["committed"], at["db"], at["outside"])
    s.begin(f"c {n}", f"a {at['acknowledged']}", f"l {at['db']}")
    done([s.holdfast, "replicate", *FAST, "-exec", shlex.join(s.writer("-count", "10", "-ack", "2")), s.db, s.url], s.env(),
         (0, CONFLICT), stdin=subprocess.DEVNULL)


SCENES = {"normal": normal, "outside": normal, "full": full, "outside-full": full, "truncate": truncate, "outside-truncate": truncate, "again": again, "outside-again": again,
          "store": store, "outside-store": store, "store-full": store_full, "restore": restore, "missing": missing, "library": library, "adopt": adopt,
          "forward": forward, "behind": behind, "twice": twice, "two": two}
TWO = {"two"}
OUTSIDE = {name for name in SCENES if name.startswith("outside")}
OUTSIDE |= {"restore", "missing", "library", "adopt", "forward", "behind", "twice"}


# ---- the whole ----

def boot_time():
    return int(re.search(r"^btime (\d+)", pathlib.Path("/proc/stat").read_text(), re.M)[1])


def numbers(line):
    """A line of logfmt as a dict; what is a number is one."""
    words = dict(part.split("=", 1) for part in shlex.split(line) if "=" in part)
    return {k: float(v) if "." in v and v.replace(".", "").isdigit() else int(v) if v.isdigit() else v for k, v in words.items()}


def shown(at):
    return " ".join(f"{k}={v}" for k, v in at.items() if k != "ask")


def side_by_side(args, work, items):
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        return list(pool.map(work, items))


def share(count, of, i):
    return count // of + (i < count % of)


def explore_all(args, scenes, until):
    began, total, worst = time.monotonic(), collections.Counter(), 0

    def explore(item):
        i, scene = item
        left = max(1, (until - time.monotonic()) * args.jobs / (len(scenes) - i + args.jobs - 1)) if args.seconds else 0
        return scene.explore(share(args.count, len(scenes), i), left)

    for code, words, counts in side_by_side(args, explore, list(enumerate(scenes))):
        if words:
            print(words)
        worst = max(worst, code)
        total.update({k: v for k, v in counts.items() if isinstance(v, int)})
    more = " ".join(f"{k}={total[k]}" for k in ("records", "acked", "databases", "replicas", "restored", "holes", "behind", "unsynced_lost"))
    line = f"tier=power.explored ran={total['ran']} of={args.count} found={total['found']}"
    return worst, f"{line} seconds={time.monotonic() - began:.1f} {more}"


def start_all(args, scenes, until):
    began, total = time.monotonic(), collections.Counter()

    def start(item):
        i, scene = item
        end = float("inf")
        if args.seconds:
            end = time.monotonic() + max(1, (until - time.monotonic()) * args.jobs / (len(scenes) - i + args.jobs - 1))
        return scene.starts(share(args.starts, len(scenes), i), end) if share(args.starts, len(scenes), i) else []

    found = sum(side_by_side(args, start, list(enumerate(scenes))), [])
    for words in found:
        print("FOUND:", words)
    for scene in scenes:
        total.update(scene.counts)
    ran = total.pop("started", 0) + len(found)
    more = " ".join(f"{k.replace(' ', '_').lower()}={n}" for k, n in sorted(total.items()))
    line = f"tier=power.started ran={ran} of={args.starts} found={len(found)}"
    return int(bool(found)), f"{line} seconds={time.monotonic() - began:.1f} {more}"


def start_again(args):
    """One start, on a trace that was kept, loudly."""
    dir = pathlib.Path(args.again).resolve()
    args.dir, args.seed = dir.parent, 1
    scene = Scene(args, dir.name, list(SCENES).index(dir.name))
    words = scene.starts(1, float("inf"), args.only)
    print("\n".join(words) or f"nothing is found: {dict(scene.counts)}")
    return int(bool(words))


def parse():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--build", default=str(ROOT / "build"))
    p.add_argument("--count", type=int, default=100000, help="states that are judged (%(default)s)")
    p.add_argument("--starts", type=int, default=2000, help="states on which the real program is started (%(default)s)")
    p.add_argument("--seconds", type=float, default=0, help="stop when they are over (0: never)")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--scenes", default=",".join(SCENES), help="what is recorded (%(default)s)")
    p.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    p.add_argument("--dir", help="where to work (a new one on a tmpfs)")
    p.add_argument("--forget", action="store_true", help="keep no trace, whatever is found")
    p.add_argument("--again", help="a trace that was kept")
    p.add_argument("--only", type=int, help="the state to start on")
    return p.parse_args()


def main():
    args = parse()
    if args.again:
        return start_again(args)
    began = time.monotonic()
    shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    keep = bool(args.dir)
    args.dir = args.dir or tempfile.mkdtemp(prefix="holdfast-power-", dir=shm)

    def stop(number, frame):
        """Told to end, as each child is: at once, and nothing is left."""
        if not keep:
            gone = pathlib.Path(args.dir).rename(f"{args.dir}-gone")  # the threads go on meanwhile, and find nothing
            for directory in gone, args.dir:  # or begin anew
                shutil.rmtree(directory, ignore_errors=True)
        os._exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    names = args.scenes.split(",")
    try:
        scenes = side_by_side(args, Scene.record_it, [Scene(args, name, list(SCENES).index(name)) for name in names])
    except (Unable, OSError, subprocess.TimeoutExpired) as e:
        print(f"power: {e}", file=sys.stderr)
        if not keep:
            shutil.rmtree(args.dir)
        return 2
    end = began + args.seconds
    explored, first = explore_all(args, scenes, time.monotonic() + (end - time.monotonic()) * 0.5)
    started, second = start_all(args, scenes, end)
    print(first, second, sep="\n", flush=True)
    if args.forget or not (keep or explored or started):
        shutil.rmtree(args.dir)
    return max(explored, started)


if __name__ == "__main__":
    sys.exit(main())
