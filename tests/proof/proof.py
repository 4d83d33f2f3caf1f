#!/usr/bin/python3 -B
"""Every claim of docs/testing.md, checked: `make proof`, at most 15 minutes on two cores; PROOF=long runs all of it.

Each tier is a program of its own, which counts what it does and ends with a line `tier=NAME ran=N of=M found=K
seconds=S ...`. Here they run beside each other, the longest first; each has so many seconds, and who could not do all
in them says how much. What a tier said is in build-proof/NAME.log. Exit 0: all ran, and nothing was found; 1: something
was found; 2: one could not run.

    tests/proof/proof.py [--build DIR] [--only NAME]... [--long] [--scale X]
"""
import argparse
import concurrent.futures
import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3 -B"


@dataclasses.dataclass
class Tier:
    name: str
    title: str
    command: str
    seconds: int  # of one core; 0: it ends by itself
    parts: tuple = ()  # the lines that it ends with; (): tier=name alone
    cores: int = 1


TIERS = (
    Tier("interleavings", "interleavings of SQLite 3.40.1", "{build}/tests/sim/sim_interleave", 170, ("interleavings.3.40.1",)),
)


def words_of(line):
    return dict(part.split("=", 1) for part in shlex.split(line) if "=" in part)


def shown(value):
    """12345.0 as 12,345."""
    return f"{int(float(value)):,}"


class Cores:
    """Tiers that need n cores wait until so many are free."""

    def __init__(self, count):
        self.free, self.news = count, threading.Condition()

    def take(self, count):
        with self.news:
            self.news.wait_for(lambda: self.free >= count)
            self.free -= count

    def give(self, count):
        with self.news:
            self.free += count
            self.news.notify_all()


class Proof:
    def __init__(self, args):
        self.args, self.build = args, Path(args.build).resolve()
        self.logs = ROOT / "build-proof"
        self.logs.mkdir(exist_ok=True)
        self.cores, self.running, self.lock = Cores(args.jobs), set(), threading.Lock()
        self.results, self.bad, self.stopped = {}, [], False

    def run(self, tier):
        cores = min(tier.cores, self.args.jobs)
        self.cores.take(cores)
        try:
            if not self.stopped:
                self._run(tier)
        finally:
            self.cores.give(cores)

    def _run(self, tier):
        words = shlex.split(tier.command.format(build=self.build, python=PYTHON))
        if tier.seconds and not self.args.long:
            words += ["--seconds", str(max(1, round(tier.seconds * self.args.scale)))]
        began = time.monotonic()
        log = self.logs / f"{tier.name}.log"
        env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", HOLDFAST=str(self.build / "holdfast"))
        with open(log, "w") as out:
            print("$", shlex.join(words), file=out, flush=True)
            process = subprocess.Popen(words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                       start_new_session=True)
            with self.lock:
                self.running.add(process)
            code = process.wait()
            with self.lock:
                self.running.discard(process)
        if not self.stopped:
            self.report(tier, code, log, time.monotonic() - began)

    def report(self, tier, code, log, seconds):
        lines = [words_of(line) for line in log.read_text(errors="replace").splitlines() if line.startswith("tier=")]
        said = {line["tier"]: line for line in lines if {"ran", "of", "found"} <= line.keys()}
        lacking = [part for part in tier.parts or (tier.name,) if part not in said]
        found = sum(int(line["found"]) for line in said.values())
        with self.lock:
            for name, line in said.items():
                self.results[name] = line
                self.line(tier, name, line)
            if lacking or code not in (0, 1) or (code == 1) != (found > 0):
                self.bad.append(tier.name)
                print(f"{tier.title}: could not run: exit {code} after {seconds:.0f} s{', nothing of ' + ', '.join(lacking) if lacking else ''}")
            if code != 0:
                print("".join(f"    {line}\n" for line in log.read_text(errors="replace").splitlines()[-15:]), end="")
            sys.stdout.flush()

    def line(self, tier, name, line):
        part = name.removeprefix(tier.name).lstrip(".")
        title = tier.title + (f", {part}" if part and part not in tier.title else "")
        ran, of = int(line["ran"]), int(line["of"])
        count = shown(ran) if ran == of else f"{shown(ran)} of {shown(of)}"
        rest = "  ".join(f"{key}={shown(value) if value.isdigit() else value}" for key, value in line.items()
                         if key not in ("tier", "ran", "of", "found", "seconds"))
        print(f"{title:<38} {count:>18}  found {line['found']}  {float(line['seconds']):>5.0f} s  {rest}", flush=True)

    def stop(self):
        self.stopped = True
        with self.lock:
            for process in self.running:
                os.killpg(process.pid, signal.SIGTERM)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--build", default=str(ROOT / "build"), help="build directory (%(default)s)")
    p.add_argument("--only", metavar="NAME", action="append", help="this tier; may be said again")
    p.add_argument("--long", action="store_true", default=os.environ.get("PROOF") == "long", help="all of each, however long; also PROOF=long")
    p.add_argument("--scale", type=float, default=1.0, help="of each tier's seconds (%(default)s)")
    p.add_argument("--jobs", type=int, default=os.cpu_count(), help="cores (%(default)s)")
    args = p.parse_args()
    tiers = [tier for tier in TIERS if not args.only or tier.name in args.only]
    if not tiers:
        sys.exit(f"proof: the tiers: {', '.join(tier.name for tier in TIERS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    proof, began = Proof(args), time.monotonic()
    print(f"proof: {len(tiers)} tiers on {args.jobs} cores{', all of each' if args.long else ''}; what each says: {proof.logs}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(len(tiers)) as pool:
        try:
            list(pool.map(proof.run, tiers))
        finally:
            proof.stop()
    found = sum(int(line["found"]) for line in proof.results.values())
    (proof.logs / "proof.json").write_text(json.dumps(proof.results, indent=1))
    print(f"proof: {len(proof.results)} lines, {found} found, {len(proof.bad)} could not run{': ' + ', '.join(proof.bad) if proof.bad else ''}; "
          f"{time.monotonic() - began:.0f} s")
    return 2 if proof.bad else 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
