#!/usr/bin/python3
"""tests/soak/promote.py --build DIR: 200,000 objects of JSON, 1 % of them odd, up the ladder of holdfast promote and down again, while
a writer of keys and a writer of rows go on. After each rung table and keys must say the same; what nobody touched must have its
bytes; what was written must be there. (--keys N: another number.)"""
import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--build", type=Path, default=ROOT / "build")
    options.add_argument("--keys", type=int, default=200_000)
    given = options.parse_args()
    os.environ["HOLDFAST"] = str((given.build / "holdfast").resolve())
    sys.path.insert(0, str(ROOT / "tests/e2e"))
    from box import Box
    from test_promote import climb, until_written

    began, place = time.monotonic(), Path(tempfile.mkdtemp(prefix="holdfast-promote-"))

    def tell(verified):
        values = verified["values"]
        print(f"{time.monotonic() - began:6.0f} s  {verified['rung']:<8} {verified['keys']:>7} keys, {verified['rows']:>7} rows, "
              f"{verified['rejects']:>5} rejects; of the values {values['bytes']} in the same bytes, {values['semantic']} equal, "
              f"{values['lossy']} otherwise; {verified['differences']} differences", flush=True)

    box = Box(place)
    try:
        with box.stack:
            climb(box, given.keys, lambda writers: until_written(writers, 1000, 300), tell)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(f"promote: up and down with {given.keys} keys in {time.monotonic() - began:.0f} s")


main()
