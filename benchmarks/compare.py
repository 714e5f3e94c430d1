"""What moved between two files of rows, as ratio to a reference of the same run: a slower machine moves both.

    python -m benchmarks compare OLD.csv NEW.csv [--by 10]

For use before a release. It prints and never fails: on a noisy machine rows move by themselves. A row counts as moved
when it moved by more than --by percent and neither median lies between the other run's quantiles.
"""

import argparse
from pathlib import Path

from . import rows

REFERENCES = ("eager", "reference", "Pillow", "slicing", "copy", "torch", "Pillow views, eager loss")


def relative(path):
    """{key: (ratio of the median to the reference's, the same of p20 and p80)} of all rows but the references."""
    found = rows.read(path)
    named = {(rows.case_of(row), row["impl"]): row for row in found}
    result = {}
    for row in found:
        in_case = ((name, named.get((rows.case_of(row), name))) for name in REFERENCES)
        name, reference = next(((name, other) for name, other in in_case if other), (None, None))
        if reference is not None and row["impl"] != name:
            figures = [row[column] / reference["median_ms"] for column in ("median_ms", "p20_ms", "p80_ms")]
            result[rows.key(row)] = (name, *figures)
    return result


def moved(old, new, percent):
    """[(change in percent, key, reference)] of what both have, the largest slowing first."""
    found = []
    for key in old.keys() & new.keys():
        (name, before, *low_high), (other, after, *bounds) = old[key], new[key]
        change = (after / before - 1) * 100
        apart = not low_high[0] <= after <= low_high[1] and not bounds[0] <= before <= bounds[1]
        if name == other and abs(change) > percent and apart:
            found.append((change, key, name))
    return sorted(found, reverse=True)


def main(words):
    parser = argparse.ArgumentParser(prog="python -m benchmarks compare", description=__doc__.split("\n\n")[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--by", type=float, default=10, metavar="PERCENT")
    options = parser.parse_args(words)
    old, new = relative(options.old), relative(options.new)
    changes = moved(old, new, options.by)
    for change, key, name in changes:
        op, impl, mode, shape, dtype, device = key
        print(f"{change:+7.1f} %  {impl}: {op} {shape} {dtype} {mode} on {device}, beside {name}")
    common = len(old.keys() & new.keys())
    others = f"{len(old) - common} gone, {len(new) - common} new"
    print(f"{len(changes)} of {common} rows moved by more than {options.by:g} %; {others}")
