#!/usr/bin/python3 -B
"""Every claim of docs/testing.md, checked: `make proof`, at most 15 minutes on two cores; PROOF=long runs all of it.

Each tier is a program of its own, which counts what it does and ends with a line `tier=NAME ran=N of=M found=K
seconds=S ...`. Here they run beside each other, one more at once than there are cores, the longest first; each has so
many seconds, and who could not do all in them says how much. What a tier said is in build-proof/NAME.log. A tier that
dies, says no line or that none ran, or is not over long after its time could not run; nothing that it started outlives
it. Exit 0: all ran, and nothing was found; 1: something was found; 2: one could not run.

    tests/proof/proof.py [--build DIR] [--only NAME]... [--long] [--scale X] [--seed X] [--write-docs]

--write-docs puts the figures, and the museum's table, into docs/testing.md, if all ran and nothing was found.
"""
import argparse
import concurrent.futures
import contextlib
import ctypes
import dataclasses
import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 1800  # beyond a tier's own seconds: it may have to build, on a busy machine
LAST_WORDS = 30  # seconds, after a SIGTERM


@dataclasses.dataclass
class Tier:
    name: str
    title: str
    command: str
    seconds: int  # 0: it ends by itself
    parts: tuple = ()  # of the lines that it ends with, those that count; (): tier=name
    drawn: bool = False  # of endlessly many, by chance: then 0 found of N is less than 3/N at 95 %


SIM = "tests/sim/sim_interleave"

# The longest first, so that the cores end together. The seconds are such that all fits into 15 minutes on two.
TIERS = (
    Tier("sanitizers", "sanitizers", "tests/proof/sanitizers.py --build {build}", 200, parts=("sanitizers.address", "sanitizers.thread", "sanitizers.valgrind")),
    Tier("faults", "replication under faults", "{build}/tests/sim/sim_replication --jobs 1", 240, drawn=True),
    Tier("power", "power cuts", "tests/crash/power.py --build {build}", 240, drawn=True, parts=("power.explored", "power.started")),
    Tier("interleavings", "interleavings", "{build}/" + SIM, 200, drawn=True, parts=("interleavings.3.40.1",)),
    Tier("interleavings-fixed", "interleavings", "build-sqlite-sim/" + SIM, 200, drawn=True, parts=("interleavings.3.53.2",)),
    Tier("kill", "kill -9", "tests/kill/kill.py --build {build} --jobs 1", 180, drawn=True),
    Tier("museum", "bug museum", "tests/museum/run", 0),
    Tier("store", "faults of an object store", "tests/proof/store_faults.py --build {build}", 150),
    Tier("torture", "each allocation, each call fails", "{build}/tests/torture/torture --build {build} --jobs 1", 150,
         drawn=True, parts=("torture.allocations", "torture.calls")),
    Tier("diskfull", "disks that fill up", "tests/torture/disk_full.py --build {build} --count 200", 60, drawn=True),
    Tier("analysis", "analysis", "tests/proof/analysis.py --build {build}", 120, parts=("analysis.clang-tidy", "analysis.cppcheck", "analysis.fanalyzer")),
    Tier("fuzz", "fuzzing", "tests/fuzz/run", 5),
    Tier("interop", "Litestream's programs, both ways", "tests/interop/run.py --build {build} --workers 3", 0),
    Tier("without-hold", "interleavings without the hold", "{build}/" + SIM + " --without-hold", 40, parts=("interleavings.without_hold.3.40.1",)),
    Tier("without-hold-fixed", "interleavings without the hold", "build-sqlite-sim/" + SIM + " --without-hold", 40,
         parts=("interleavings.without_hold.3.53.2",)),
)


def words_of(line):
    return dict(re.findall(r"([\w.]+)=(\S+)", line))


def says_something(line):
    """How many ran, not none, and what was found."""
    return all(line.get(word, "").isdigit() for word in ("ran", "of", "found")) and int(line["ran"]) > 0


def shown(value):
    """12345.0 as 12,345."""
    return f"{int(float(value)):,}"


def tell(process, number):
    """It, and all that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def adopt_orphans():
    """Whoever outlives its parent, in whatever session, is ours."""
    pr_set_child_subreaper = 36
    ctypes.CDLL(None).prctl(pr_set_child_subreaper, 1, 0, 0, 0)


def end_orphans():
    """And theirs, once they are ours."""
    for _ in range(100):
        mine = [int(p.parent.name) for p in Path("/proc").glob("[0-9]*/stat") if parent_of(p) == os.getpid()]
        if not mine:
            return
        for pid in mine:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def parent_of(stat):
    with contextlib.suppress(OSError):
        return int(stat.read_text().rpartition(")")[2].split()[1])


class Proof:
    def __init__(self, args):
        self.args, self.build = args, Path(args.build).resolve()
        self.logs = ROOT / "build-proof"
        self.logs.mkdir(exist_ok=True)
        self.running, self.lock = set(), threading.Lock()
        self.results, self.owners, self.bad, self.stopped = {}, {}, [], False

    def run(self, tier):
        if self.stopped:
            return
        words = shlex.split(tier.command.format(build=self.build))
        if tier.seconds and not self.args.long:
            words += ["--seconds", str(max(1, round(tier.seconds * self.args.scale)))]
        if tier.drawn and self.args.seed is not None:
            words += ["--seed", str(self.args.seed)]
        began = time.monotonic()
        log = self.logs / f"{tier.name}.log"
        env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", HOLDFAST=str(self.build / "holdfast"), PROOF="long" if self.args.long else "")
        with open(log, "w") as out:
            print("$", shlex.join(words), file=out, flush=True)
            process = self.begin(words, env, out)
            code = self.ended(process, tier, out) if process else "none"
        if not self.stopped:
            self.report(tier, code, log, time.monotonic() - began)

    def begin(self, words, env, out):
        """None: it is not there, or all is to end."""
        with self.lock:
            if self.stopped:
                return None
            try:
                process = subprocess.Popen(words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                           start_new_session=True)
            except OSError as e:
                print(e, file=out, flush=True)
                return None
            self.running.add(process)
            return process

    def ended(self, process, tier, out):
        """Its exit status; then nothing that it started is left."""
        try:
            code = process.wait(None if self.args.long else tier.seconds * self.args.scale + PATIENCE)
        except subprocess.TimeoutExpired:
            print("proof: it does not end", file=out, flush=True)
            tell(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(LAST_WORDS)
            code = "none"
        tell(process, signal.SIGKILL)
        process.wait()
        with self.lock:
            self.running.discard(process)
        return code

    def report(self, tier, code, log, seconds):
        lines = [words_of(line) for line in log.read_text(errors="replace").splitlines() if line.startswith("tier=")]
        parts = tier.parts or (tier.name,)
        said = {line["tier"]: line for line in lines if line.get("tier") in parts and says_something(line)}
        lacking = [part for part in parts if part not in said]
        found = sum(int(line["found"]) for line in said.values())
        with self.lock:
            for name, line in said.items():
                self.results[name] = line
                self.owners[name] = tier
                print(row(tier, name, line), flush=True)
            if lacking or code not in (0, 1) or (code == 1) != (found > 0):
                self.bad.append(tier.name)
                print(f"{tier.name}: could not run, or not to its end: exit {code} after {seconds:.0f} s{', nothing of ' + ', '.join(lacking) if lacking else ''}")
            if code != 0:
                print("".join(f"    {line}\n" for line in log.read_text(errors="replace").splitlines()[-15:]), end="")
            sys.stdout.flush()

    def stop(self):
        """Each is asked to end, and then made to."""
        with self.lock:
            self.stopped, running = True, set(self.running)
        for process in running:
            tell(process, signal.SIGTERM)
        end = time.monotonic() + LAST_WORDS
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0, end - time.monotonic()))
            tell(process, signal.SIGKILL)


def called(tier, name):
    """Of a line: its tier's title, and which part of it this is."""
    part = name.partition(".")[2].replace("without_hold.", "")
    return f"{tier.title}, {part}" if part else tier.title


def counted(line, sep, equals):
    return sep.join(f"{key.replace('_', ' ')}{equals}{shown(value) if value.isdigit() else value}" for key, value in line.items()
                    if key not in ("tier", "ran", "of", "found", "seconds"))


def row(tier, name, line):
    count = shown(line["ran"]) + ("" if line["ran"] == line["of"] else f" of {shown(line['of'])}")
    return f"{called(tier, name):<42} {count:>16}  found {line['found']}  {float(line['seconds']):>4.0f} s  {counted(line, '  ', '=')}"


def table(proof, tiers):
    """As Markdown. Of N worlds drawn by chance, 0 found means less than 3/N, at 95 %."""
    rows = ["| what ran | how many | of | found | so it is less than | seconds | counted meanwhile |", "|---|---:|---:|---:|---:|---:|---|"]
    for tier in tiers:
        for name, line in proof.results.items():
            if proof.owners[name] is tier:
                bound = f"{300 / int(line['ran']):.2g} %" if tier.drawn and int(line["ran"]) else ""
                rows.append(f"| {called(tier, name)} | {shown(line['ran'])} | {shown(line['of'])} | {line['found']} | {bound} | "
                            f"{float(line['seconds']):.0f} | {counted(line, ', ', ' ')} |")
    return rows


def museum(log):
    rows = ["| bug | who had one like it | caught by | s |", "|---|---|---|---:|"]
    said = dict(re.findall(r"^  (\S+) +caught by \w+ in ([0-9.]+) s", log.read_text(), re.M))
    for path in sorted(ROOT.glob("tests/museum/*.patch")):
        fields = dict(re.findall(r"^([A-Z][A-Za-z ]+): *(.*(?:\n[ \t]+.*)*)", path.read_text().partition("\ndiff ")[0], re.M))
        rows.append(f"| {' '.join(fields['Bug'].split())} (`{path.stem}`) | {' '.join(fields['Seen'].split())} | {fields['Tier']} | {said[path.stem]} |")
    return rows


def write_docs(proof, tiers, seconds):
    page = ROOT / "docs/testing.md"
    text = page.read_text()
    head = (f"{date.today()}, {os.cpu_count()} CPUs, Linux {os.uname().release}, SQLite {sqlite3.sqlite_version}, "
            f"{'all of each' if proof.args.long else 'the default'}, from seed {proof.args.seed or 1}, {seconds:.0f} s:")
    for marker, rows in (("proof", [head, "", *table(proof, tiers)]), ("museum", museum(proof.logs / "museum.log"))):
        begin, end = f"<!-- {marker} -->\n", f"<!-- end of {marker} -->"
        before, _, rest = text.partition(begin)
        text = before + begin + "\n".join(["", *rows, "", ""]) + end + rest.partition(end)[2]
    page.write_text(text)


def run_all(proof, tiers):
    """False: somebody has stopped it. In no case is a child left."""
    with concurrent.futures.ThreadPoolExecutor(proof.args.jobs) as pool:
        try:
            list(pool.map(proof.run, tiers))
            return True
        except KeyboardInterrupt:
            return False
        finally:
            proof.stop()
            end_orphans()


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--build", default=str(ROOT / "build"), help="build directory (%(default)s)")
    p.add_argument("--only", choices=[tier.name for tier in TIERS], metavar="NAME", action="append",
                   help=f"this tier; may be said again: {', '.join(tier.name for tier in TIERS)}")
    p.add_argument("--long", action="store_true", default=os.environ.get("PROOF") == "long", help="all of each, however long; also PROOF=long")
    p.add_argument("--scale", type=float, default=1.0, help="of each tier's seconds (%(default)s)")
    p.add_argument("--seed", type=int, help="the first of what is drawn (default: the same ones each time)")
    p.add_argument("--jobs", type=int, default=os.cpu_count() + 1, help="tiers at once (%(default)s)")
    p.add_argument("--write-docs", action="store_true", help="put the figures into docs/testing.md")
    args = p.parse_args()
    tiers = [tier for tier in TIERS if not args.only or tier.name in args.only]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    adopt_orphans()
    proof, began = Proof(args), time.monotonic()
    print(f"proof: {len(tiers)} tiers, {args.jobs} at once{', all of each' if args.long else ''}; what each says: {proof.logs}", flush=True)
    if not run_all(proof, tiers):
        print("proof: stopped")
        return 130
    seconds, found = time.monotonic() - began, sum(int(line["found"]) for line in proof.results.values())
    (proof.logs / "proof.json").write_text(json.dumps(proof.results, indent=1))
    print(f"proof: {len(proof.results)} lines, {found} found, {len(proof.bad)} could not run{': ' + ', '.join(proof.bad) if proof.bad else ''}; "
          f"{seconds:.0f} s")
    if args.write_docs and not found and not proof.bad and not args.only:
        write_docs(proof, tiers, seconds)
    return 2 if proof.bad else 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
