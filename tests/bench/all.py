#!/usr/bin/python3 -B
"""All benchmarks, one after the other: `make bench`, about a quarter of an hour on a quiet machine.

    make bench                       everything, in turns: nobody, a process that sleeps, us, Litestream, the limits
    make bench ARGS=--quick          does it run? A minute or two; the figures mean nothing
    make bench ARGS=--long           more turns, and the large databases: 4 GB to restore, 2 GB to replicate
    make bench ARGS='--only lone'    parts, with commas; what was measured before stays in build/bench.json
    make bench ARGS=--write-docs     then tables and bars into docs/benchmarks.md; with --table without measuring

With `s3` as the first word: `make bench-s3`, the programs about a bucket, about 20 minutes. Each part is a program of its
own here, with -h. Exit 0: all within their gates; 1: one is not; 2: one could not be measured.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tables

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BENCHMARKS = {  # what each is given besides for --long
    "saturated": ["--pairs", "30"],
    "checkpoints": ["--turns", "6", "--seconds", "15"],
    "lone": ["--turns", "4", "--commits", "100"],
    "restore": ["--sizes", "100,1000,4000", "--turns", "5"],
    "memory": ["--mb", "2000", "--transaction", "1000"],
    "idle": ["--idle", "240", "--steady", "600"],
}
OF_A_BUCKET = ("s3_commits", "s3_restore", "s3_requests")
WORDS = {0: "within its gates", 1: "MISSED a gate", 2: "not measured"}


def run(name, *args):
    code = subprocess.run([sys.executable, "-B", HERE / f"{name}.py", *args]).returncode
    print()
    return code


def ended(codes):
    for name, code in codes.items():
        print(f"{name:12} {WORDS[code]}")
    return max(codes.values(), default=0)


def of_a_bucket(args):
    codes = {}
    for name in OF_A_BUCKET:
        codes[name] = run(name, *args)
        if codes[name] not in WORDS:
            return codes[name]
    return ended(codes)


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--quick", action="store_true", help="small and short: does it run?")
    p.add_argument("--long", action="store_true", help="more turns and larger databases: about an hour")
    p.add_argument("--only", default=",".join(BENCHMARKS), help="parts, with commas (%(default)s)")
    p.add_argument("--table", action="store_true", help="measure nothing: the table of what was measured")
    p.add_argument("--write-docs", action="store_true", help="into docs/benchmarks.md and docs/benchmarks.svg")
    p.add_argument("--build", default=str(ROOT / "build"), help="build directory (%(default)s)")
    p.add_argument("--seed", help="of the turns' order (random)")
    p.add_argument("--dir", default=os.environ.get("TMPDIR") or "/var/tmp", help="where (%(default)s)")
    args = p.parse_args()
    if unknown := set(args.only.split(",")) - set(BENCHMARKS):
        p.error(f"--only: no part {', '.join(sorted(unknown))}")
    return args


def machine():
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{os.cpu_count()} CPUs, {memory / 1e9:.0f} GB of memory, Linux {platform.release()}"


def measure(args, kept, path):
    """Each part's rows into `kept` as soon as it has ended, and its exit code."""
    codes = {}
    for name in args.only.split(","):
        words = ["--quick"] if args.quick else BENCHMARKS[name] if args.long else []
        with tempfile.NamedTemporaryFile(suffix=".json") as rows:
            began = time.monotonic()
            common = ["--build", args.build, "--dir", args.dir, *(["--seed", args.seed] if args.seed else [])]
            codes[name] = run(name, *words, "--json", rows.name, *common)
            if codes[name] not in WORDS:
                return codes
            part = json.loads(Path(rows.name).read_text())
        part |= {"command": " ".join([f"tests/bench/{name}.py", *words]), "machine": machine(), "code": codes[name],
                 "date": time.strftime("%Y-%m-%d"), "seconds": round(time.monotonic() - began)}
        kept[name] = part
        path.write_text(json.dumps(kept, indent=1) + "\n")
    return codes


def main():
    if sys.argv[1:2] == ["s3"]:
        return of_a_bucket(sys.argv[2:])
    args = arguments()
    path = Path(args.build, "bench-quick.json" if args.quick else "bench.json")
    kept = json.loads(path.read_text()) if path.exists() else {}
    codes = {} if args.table else measure(args, kept, path)
    if bad := [code for code in codes.values() if code not in WORDS]:
        return bad[0]
    parts = {name: kept[name] for name in BENCHMARKS if name in kept}
    print(tables.figures(parts))
    print(tables.budgets(parts))
    if args.write_docs:
        if quick := [name for name, part in parts.items() if part["quick"]]:
            print(f"docs/benchmarks.md stays as it is: of --quick: {', '.join(quick)}")
            return 2
        tables.write(parts)
    return ended(codes)


sys.exit(main())
