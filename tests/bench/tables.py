"""What was measured, for people: tables in Markdown, and bars as SVG."""
import html
import math
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT, PICTURE = ROOT / "docs/benchmarks.md", ROOT / "docs/benchmarks.svg"
BEGIN, END = "<!-- made by tests/bench/all.py -->\n", "<!-- end -->\n"
SYSTEMS = ("nothing", "no-op", "holdfast", "Litestream 0.5.17", "Litestream 0.3.13")
PEERS = ("Litestream 0.5.17", "Litestream 0.3.13")


def shown(quartiles, digits, turns):
    """Median and quartiles."""
    if not quartiles:
        return "-"
    low, median, high = (f"{value:,.{digits}f}" for value in quartiles)
    return median if turns < 2 or low == high else f"{median} ({low} to {high})"


def times(quartiles, turns):
    return shown(quartiles, 2, turns)


def row_of_figures(row):
    turns, digits = row["turns"], row["digits"]
    cells = [f"{row['name']}{', ' if row['unit'] else ''}{row['unit']}"]
    cells += [shown(row["values"].get(system), digits, turns) for system in SYSTEMS]
    limits = {name: value for name, value in row["values"].items() if name not in SYSTEMS and value}
    cells.append(", ".join(f"{name} {shown(value, digits, turns)}" for name, value in limits.items()))
    cells += [times(row["ratios"].get(system), turns) for system in ("no-op", PEERS[0])]
    return f"| {' | '.join(cells)} |"


def figures(parts):
    out = []
    for name, part in parts.items():
        quick = "; quick: the figures mean nothing" if part["quick"] else ""
        out += [f"`{part['command']}`: {part['seconds']} s, load {part['load']:.1f} at its end, {part['machine']}, "
                f"{part['date']}{quick}", ""]
        if part["failure"]:
            out += [f"Not measured: {part['failure']}", ""]
        out += [f"Not measured: {why}" for why in part["absent"]] + [""] * bool(part["absent"])
        if part["rows"]:
            out.append(f"| | {' | '.join(SYSTEMS)} | limits | better than no-op | than {PEERS[0]} |")
            out.append("|---|" + "---:|" * (len(SYSTEMS) + 1) + "---:|---:|")
            out += [row_of_figures(row) for row in part["rows"]] + [""]
    return "\n".join(out)


def budgets(parts):
    out = ["| budget | measured | goal | gate | |", "|---|---:|---:|---:|---|"]
    for part in parts.values():
        for v in part["verdicts"]:
            sign = "&ge;" if v["least"] else "&le;"
            state = f"**{v['state']}**" if v["state"] == "MISSED" else v["state"]
            bounds = f"{sign} {v['goal']:g} | {sign} {v['gate']:g}"
            out.append(f"| {v['what']} | {v['value']:.4g}{v['unit']} | {bounds} | {state} |")
    return "\n".join([*out, ""])


# ---- bars ----

STYLE = """
text { font: 12px system-ui, sans-serif; fill: #768390 } .small { font-size: 10px } .axis { stroke: #76839055 }
.one { stroke: #768390 } .a { fill: #1a9c72 } .b { fill: #6cb89a } .worse { fill: #d2694a }
"""  # colours that can be read on white and on black
LEFT, WIDTH, BAR, GAP, TOP = 360, 900, 11, 8, 56


def element(tag, text="", **attributes):
    named = "".join(f' {key.replace("_", "-")}="{html.escape(str(value))}"' for key, value in attributes.items())
    return f"<{tag}{named}>{html.escape(text)}</{tag}>" if text else f"<{tag}{named}/>"


def bars(parts):
    """How many times better than each Litestream, on a scale of logarithms; left of 1: worse."""
    rows = [row for part in parts.values() for row in part["rows"] if row["chart"] and set(PEERS) & set(row["ratios"])]
    ratios = [row["ratios"][p][1] for row in rows for p in PEERS if p in row["ratios"]]
    if not ratios:
        return None
    low, high = (math.log10(edge) for edge in (min([0.5, *ratios]), max([10, *ratios])))

    def x(ratio):
        return LEFT + (math.log10(ratio) - low) / (high - low) * (WIDTH - LEFT - 70)

    height = TOP + len(rows) * (2 * BAR + GAP) + 12
    out = [element("text", "Holdfast, times better than Litestream", x=10, y=20, font_weight="bold"),
           element("rect", x=10, y=30, width=10, height=BAR, **{"class": "a"}), element("text", "0.5.17", x=25, y=39),
           element("rect", x=75, y=30, width=10, height=BAR, **{"class": "b"}), element("text", "0.3.13", x=90, y=39),
           element("text", "logarithmic; left of 1: worse; medians", x=140, y=39)]
    for power in range(math.ceil(low), math.floor(high) + 1):
        at, kind = round(x(10**power), 1), "axis" if power else "one"
        out.append(element("line", x1=at, x2=at, y1=TOP - 4, y2=height - 8, **{"class": kind}))
        out.append(element("text", f"{10**power:g}x", x=at, y=TOP - 8, text_anchor="middle"))
    for n, row in enumerate(rows):
        y = TOP + n * (2 * BAR + GAP) + GAP / 2
        out.append(element("text", row["name"], x=LEFT - 10, y=y + BAR + 4, text_anchor="end"))
        for i, peer in enumerate(PEERS):
            if peer not in row["ratios"]:
                continue
            ratio = row["ratios"][peer][1]
            begin, end = sorted((x(1), x(ratio)))
            out.append(element("rect", x=round(begin, 1), y=y + i * BAR, width=round(max(end - begin, 1), 1),
                               height=BAR - 1, **{"class": "worse" if ratio < 1 else "ab"[i]}))
            out.append(element("text", f"{ratio:.3g}", x=round(end + 4, 1), y=y + i * BAR + BAR - 2,
                               **{"class": "small"}))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">'
    title = element("title", "Holdfast, times better than Litestream")
    return "\n".join([head, title, f"<style>{STYLE}</style>", *out, "</svg>", ""])


def write(parts):
    before, _, rest = DOCUMENT.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    picture = bars(parts)
    text = ""
    if picture:
        PICTURE.write_text(picture)
        text = "![How many times better than Litestream, row by row](benchmarks.svg)\n\n"
    DOCUMENT.write_text(f"{before}{BEGIN}\n{text}{budgets(parts)}\n{figures(parts)}\n{END}{after}")
    print(f"written: {DOCUMENT.relative_to(ROOT)}{', ' + str(PICTURE.relative_to(ROOT)) if picture else ''}")
