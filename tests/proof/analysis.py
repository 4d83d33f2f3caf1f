#!/usr/bin/python3 -B
"""The sources read by clang-tidy (with the checks of .clang-tidy), cppcheck and gcc -fanalyzer.

    --only TOOL     clang-tidy, cppcheck or fanalyzer; again for another
    --seconds S     for all of them; files that had no time left are in `of` (0, the default: no limit)
    --count N       files for each tool at most
    --file NAME     only this one
    --build DIR     whose compile_commands.json clang-tidy takes (default build)

tests/analysis/model.h tells those that see one file at a time what an error is; tests/analysis/known has what they say
wrongly, each with its reason. By default clang-tidy leaves out its analyser, which takes minutes: PROOF=long has it, or
--long. Exit status: 0 nothing new was said, 1 something was, 2 a tool is missing.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "tests/analysis/model.h"
SAID = re.compile(r"^(?:\S*/)?(src/[\w/]+\.[ch]):(\d+):(?:\d+:)? (?:warning|error|portability|performance|style): (.*) \[([\w.,:-]+)\]$", re.M)
# clang 14's analyser dies of a compound literal with a function in it; the other tools read these two.
NO_ANALYSER = ("src/object/s3.c", "src/object/file.c")
DEFINES = ["-D_GNU_SOURCE", '-DHOLDFAST_VERSION="analysis"', "-Isrc", "-Iinclude"]


def modelled(file):
    extension = ["-include", str(ROOT / "src/ext/api.h")] if file.startswith("src/ext/") else []
    return extension + ([] if file == "src/base/rc.c" else ["-include", str(MODEL)])


def clang_tidy(file, args):
    checks = "" if args.long and file not in NO_ANALYSER else "-clang-analyzer-*"
    command = ["clang-tidy", "-p", args.build, "--quiet", f"--checks={checks}", file]
    return command + [f"--extra-arg={word}" for word in modelled(file)]


def cppcheck(file, args):
    return ["cppcheck", "-q", "--std=c11", "--enable=warning,performance,portability", *DEFINES,
            "--template={file}:{line}: warning: {message} [cppcheck:{id}]", file]


def fanalyzer(file, args):
    return ["gcc", "-c", "-o", "/dev/null", "-O0", "-std=gnu17", *DEFINES, *modelled(file), "-fanalyzer",
            "-Wno-analyzer-too-complex", "-fdiagnostics-plain-output", file]


TOOLS = {"clang-tidy": clang_tidy, "cppcheck": cppcheck, "fanalyzer": fanalyzer}


def read_known():
    lines = (ROOT / "tests/analysis/known").read_text().splitlines()
    return [tuple((line.split(" ", 2) + [""])[:3]) for line in lines if line and not line.startswith("#")]


def code_at(file, line):
    lines = (ROOT / file).read_text().splitlines()
    return lines[int(line) - 1].strip() if 0 < int(line) <= len(lines) else ""


def said_of(text, file):
    """(check, file, line number, message, line of code), each once. What is said of a header is said of the file that
    includes it, and has the message in place of the line."""
    seen = {}
    for where, line, message, check in SAID.findall(text):
        check = check.removeprefix("-Wanalyzer-").split(",")[0]
        code = code_at(where, line) if where == file else message
        seen.setdefault((check, where, line), (check, file, int(line), message, code))
    return list(seen.values())


def run_tool(name, files, args, until, known, used):
    began, ran, found = time.monotonic(), 0, 0

    def one(file):
        if until and time.monotonic() > until:
            return None
        done = subprocess.run(TOOLS[name](file, args), cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return done.returncode, done.stdout

    with ThreadPoolExecutor(args.jobs) as pool:
        for file, done in zip(files, pool.map(one, files)):
            if done is None:
                continue
            ran += 1
            said = said_of(done[1], file)
            for check, where, line, message, code in said:
                match = [k for k in known if k[0] == check and k[1] == where and code.startswith(k[2])]
                used.update(match)
                if not match:
                    found += 1
                    print(f"{where}:{line}: {message} [{check}]\n    {code}", flush=True)
            if done[0] and not said:
                found += 1
                print(f"{name} {file}: exit {done[0]}: {done[1][-1500:]}", flush=True)
    seconds = time.monotonic() - began
    print(f"tier=analysis.{name} ran={ran} of={len(files)} found={found} seconds={seconds:.0f}", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description="static analysis of src/")
    parser.add_argument("--only", action="append", choices=sorted(TOOLS))
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1, help="means nothing here")
    parser.add_argument("--file")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--build", default="build")
    parser.add_argument("--long", action="store_true", default=os.environ.get("PROOF") == "long")
    args = parser.parse_args()
    tools = args.only or list(TOOLS)
    missing = [tool for tool in tools if not shutil.which(tool.replace("fanalyzer", "gcc"))]
    if missing or not (ROOT / args.build / "compile_commands.json").exists():
        print(f"analysis: no {', '.join(missing) or args.build + '/compile_commands.json'}: scripts/setup lint; make", file=sys.stderr)
        return 2
    files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("src/*/*.c"))
    files = [args.file] if args.file else files[: args.count or None]
    known, used, began = read_known(), set(), time.monotonic()
    found = 0
    for i, tool in enumerate(tools, 1):
        until = began + args.seconds * i / len(tools) if args.seconds else 0
        found += run_tool(tool, files, args, until, known, used)
    if args.long and not args.only and not args.file and not args.count:
        for entry in sorted(set(known) - used):
            print(f"tests/analysis/known: not said any more: {' '.join(entry)}")
    return int(found > 0)


sys.exit(main())
