#!/usr/bin/python3 -B
"""Disks that fill up, one at a time: the database's, the destination's, the restore target's, the temp directory's, the
runtime directory's. Each is a tmpfs with a size and a ballast, in mounts of this process's own.

The application goes on, or SQLite itself tells it that there is no room; the command says so; nothing half-done stays
under a final name; and with room again it goes on by itself, until the restored database equals the application's.

    disk_full.py [--count 20] [--seconds 0] [--seed 1] [--only SEED] [--build DIR]

A round is a place and how much room is left there, from its seed. Last line: tier=diskfull ...
"""
import argparse
import ctypes
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLONE_NEWNS = 0x20000
PATIENCE = 60.0  # seconds, on a machine on which others work, too
DISK = 4 << 20


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--count", type=int, default=20)
    p.add_argument("--seconds", type=float, default=0, help="stop when that time is over (0: no limit)")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", type=int, metavar="SEED")
    p.add_argument("--build", type=Path, default=ROOT / "build")
    return p.parse_args()


def own_mounts():
    libc = ctypes.CDLL(None, use_errno=True)
    return libc.unshare(CLONE_NEWNS) == 0 and subprocess.run(["mount", "--make-rprivate", "/"]).returncode == 0


class Disk:
    """A small one, on which `room` bytes are left when it is filled."""

    def __init__(self, path):
        self.path, self.ballast = path, path / "ballast"
        path.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(path)], check=True)

    def free(self):
        s = os.statvfs(self.path)
        return s.f_bavail * s.f_frsize

    def fill(self, room):
        self.ballast.write_bytes(bytes(max(0, self.free() - room)))

    def empty(self):
        self.ballast.unlink()

    def gone(self):
        subprocess.run(["umount", "-l", str(self.path)], check=True)


def write(app, seed, commits):
    """Commits until SQLite says that there is no room; how many were kept."""
    kept = 0
    for _ in range(commits):
        try:
            app.execute("INSERT INTO t(v) VALUES (?)", (seed.randbytes(seed.randrange(500, 30000)).hex(),))
            kept += 1
        except sqlite3.OperationalError as e:
            assert "full" in str(e) or "disk I/O" in str(e), e
            break
    return kept


def goes_on(box, app, r, seed, **where):
    """With room again, without a new start, what is committed now is restored."""
    assert write(app, seed, 3) == 3
    box.wait_safe(**where)
    r.stop()
    same(app.serialize(), box.restore(**where))


def full_database(box, disk, seed):
    box.db = disk.path / "app.db"
    app = box.new_app(5)
    r = box.replicate()
    box.wait_safe()
    disk.fill(seed.randrange(0, 1 << 20))
    kept = write(app, seed, 1000)
    assert kept < 1000
    disk.empty()
    goes_on(box, app, r, seed)


def full_destination(box, disk, seed):
    app, to = box.new_app(5), disk.path / "replica"
    r = box.replicate(to=to)
    box.wait_safe(to=to)
    mark = r.mark()
    disk.fill(seed.randrange(0, 200_000))
    while not r.events("ship.retry", mark) and not r.events("compact.retry", mark):
        assert write(app, seed, 10) == 10  # the application does not notice
    said = (r.events("ship.retry", mark) + r.events("compact.retry", mark))[0]["err"]
    assert "space" in said and str(to) in said, said
    disk.empty()
    goes_on(box, app, r, seed, to=to)
    box.holdfast("verify", to)
    assert not list(to.rglob(".*.tmp"))


def full_target(box, disk, seed):
    app = box.new_app(5)
    r = box.replicate()
    write(app, seed, 60)
    box.wait_safe()
    r.stop()
    disk.fill(seed.randrange(0, 900_000))
    out = disk.path / "out.db"
    said = box.holdfast("restore", box.replica, out, code=1).err
    assert "space" in said and str(disk.path) in said, said
    assert [p.name for p in disk.path.iterdir()] == ["ballast"]
    disk.empty()
    box.holdfast("restore", box.replica, out)
    same(app.serialize(), out)


def full_temp(box, disk, seed):
    """Where the audit restores to; a run has no need of it."""
    app = box.new_app(5)
    disk.fill(seed.randrange(0, 900_000))
    os.environ["TMPDIR_OF_TEST"] = str(disk.path)
    r = box.replicate()
    write(app, seed, 60)
    box.wait_safe()
    audit = ["verify", "-source", box.db, box.replica]
    said = box.holdfast(*audit, code=1).err
    assert "space" in said and str(disk.path) in said, said
    assert [p.name for p in disk.path.iterdir()] == ["ballast"]
    disk.empty()
    box.holdfast(*audit)
    goes_on(box, app, r, seed)


def full_runtime(box, disk, seed):
    """What is there is a hint: it can do without."""
    box.runtime = disk.path
    disk.fill(seed.randrange(0, 3) * 4096)
    app = box.new_app(5)
    r = box.replicate()
    write(app, seed, 20)
    box.wait_safe()
    disk.empty()
    goes_on(box, app, r, seed)


PLACES = (full_database, full_destination, full_target, full_temp, full_runtime)


def play(number):
    """What is wrong; "": nothing."""
    from box import Box

    class SmallBox(Box):
        def env(self, runtime=None):
            temp = os.environ.get("TMPDIR_OF_TEST", str(self.path))
            return {**super().env(runtime), "TMPDIR": temp}

    os.environ.pop("TMPDIR_OF_TEST", None)
    place, seed = PLACES[number % len(PLACES)], random.Random(number)
    path = Path(tempfile.mkdtemp(prefix="holdfast-full-"))
    box, disk = SmallBox(path), Disk(path / "small")
    try:
        place(box, disk, seed)
        return place.__name__, ""
    except (AssertionError, subprocess.TimeoutExpired) as e:
        return place.__name__, f"{type(e).__name__}: {str(e)[:2000]}"
    finally:
        box.stack.close()
        disk.gone()
        shutil.rmtree(path, ignore_errors=True)


def main():
    args, began = arguments(), time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.environ["HOLDFAST"] = str(args.build.resolve() / "holdfast")
    if not own_mounts():
        print("disk_full.py: mounting is not allowed here", file=sys.stderr)
        return 2
    global same
    sys.path.insert(0, str(ROOT / "tests/e2e"))
    import box

    same = box.assert_same
    box.until.__defaults__ = (PATIENCE,)
    box.Replicator.wait.__defaults__ = (0, 1, PATIENCE)
    box.Replicator.end.__defaults__ = (PATIENCE,)
    box.Box.holdfast.__kwdefaults__["patience"] = PATIENCE
    ran = found = 0
    filled = dict.fromkeys((p.__name__ for p in PLACES), 0)
    numbers = [args.only] if args.only is not None else range(args.seed, args.seed + args.count)
    for number in numbers:
        if args.seconds and time.monotonic() - began > args.seconds:
            break
        name, wrong = play(number)
        ran, found, filled[name] = ran + 1, found + bool(wrong), filled[name] + 1
        if wrong:
            print(f"found: {name}: {wrong}\n  replay: {sys.argv[0]} --build {args.build} --only {number}", flush=True)
    counts = " ".join(f"{name}={n}" for name, n in filled.items())
    print(f"tier=diskfull ran={ran} of={len(numbers)} found={found} seconds={time.monotonic() - began:.1f} {counts}")
    return 1 if found else 0


sys.exit(main())
