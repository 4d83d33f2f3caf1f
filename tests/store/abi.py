"""The library shows what its header promises: the same names, versions on them, and no more."""
import pathlib
import re
import subprocess
import sys

library, header = sys.argv[1], pathlib.Path(sys.argv[2])


def names_of(option):
    text = subprocess.run(["nm", "-D", option, library], check=True, capture_output=True, text=True).stdout
    return [line.split()[-1] for line in text.splitlines()]


def check(name, wrong):
    print(f"{'ok' if not wrong else 'not ok'} {name}", *sorted(wrong))
    return bool(wrong)


code = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
promised = set(re.findall(r"HF_API[^;(]*?\b(hf_\w+)\s*\(", code))
shown = names_of("--defined-only")
assert promised and shown
dynamic = subprocess.run(["readelf", "-dW", library], check=True, capture_output=True, text=True).stdout
failed = [
    check("only hf_ names are shown", {n for n in shown if not re.match(r"hf_\w+@@HOLDFAST_|HOLDFAST_", n)}),
    check("each name of the header is shown", promised - {n.split("@")[0] for n in shown}),
    check("each name that is shown is in the header",
          {n.split("@")[0] for n in shown if n.startswith("hf_")} - promised),
    check("it is never unloaded", set() if "NODELETE" in dynamic else {"no NODELETE"}),
    check("its name has a version", set() if "[libholdfast.so.0]" in dynamic else {"no libholdfast.so.0"}),
    check("SQLite is the shared one", set() if "[libsqlite3.so.0]" in dynamic else {"no libsqlite3.so.0"}),
]
sys.exit(any(failed))
