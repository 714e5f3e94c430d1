"""The committed record: small files of finished runs under reproduction/<scale>/, and what the documents show of them.

In README.md and docs/reproduction.md, what stands between `<!-- runs: WHAT -->` and `<!-- end -->` is made from the
record by `dssl reproduce collect`: WHAT is an experiment with globs for its cells, or a function of blocks.py.
"""

import re
from pathlib import Path

from ..atomic import replacing
from ..errors import TrainerError
from . import blocks
from .cells import run_name

DOCUMENTS = ("README.md", "docs/reproduction.md")
MARK = re.compile(r"(<!-- runs: ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)
LIMIT = 5 * 2**20


def collect(kept, scale, root=Path()):
    """Copies finished runs of the scale that are not there yet into root/reproduction/<scale>, drawn images apart, and
    renews documents and figures; yields what it did. Raises TrainerError where another training of a run is there."""
    if not (root / DOCUMENTS[1]).exists():
        raise TrainerError(f"collect: expected to run in the source tree, where {DOCUMENTS[1]} is")
    record = root / "reproduction" / scale
    done = [run for run in kept.values() if run.finished and run.config.scale == scale and not run.is_drawn]
    new = [run for run in done if not is_there(run, record / name_of(run))]
    for run in new:
        copy(run, record / name_of(run))
    size = sum(path.stat().st_size for path in record.rglob("*") if path.is_file())
    if size > LIMIT:
        raise TrainerError(f"collect: {record} has {size / 2**20:.1f} MiB; {LIMIT >> 20} MiB are allowed")
    yield f"{len(new)} new of {len(done)} finished runs copied into {record}: {size / 1024:.0f} KiB"
    for path in blocks.draw(root):
        yield f"drawn: {path}"
    for name in DOCUMENTS:
        renewed = renew(name, root)
        with replacing(root / name, "w", encoding="utf-8") as file:
            file.write(renewed)
        yield f"tables renewed: {root / name}"


def name_of(run):
    """By our scheme, whatever the folder is called."""
    return run_name(f"{run.config.method}-{run.config.dataset}", run.config)


def is_there(run, target):
    """What is on record stays, also where another machine has trained the same run to other numbers."""
    path = target / "log.csv"
    if not path.exists():
        return False
    if path.read_text() != (run.folder / "log.csv").read_text():
        raise TrainerError(f"collect: {run.folder} is another training of the run in {target}: remove one of the two")
    return True


def copy(run, target):
    """config.json, log.csv and evaluations, without the paths of the machine."""
    target.mkdir(parents=True, exist_ok=True)
    for path in (run.folder / "config.json", run.folder / "log.csv", *run.folder.glob("evaluation-*.json")):
        with replacing(target / path.name, "w", encoding="utf-8") as file:
            file.write(anonymous(path.read_text(encoding="utf-8"), run))


def anonymous(words, run):
    """Without the folders that lead to the data and to the run; a path of the data becomes `data`, on every machine."""
    data, above = Path(run.config.data), (Path(run.config.data).parent, Path(run.config.out).parent, run.folder.parent)
    new = {f"{folder}/": "" for place in above for folder in (place, place.resolve()) if str(folder) not in ("/", ".")}
    new |= {str(place): "data" for place in (data, data.resolve()) if place.is_absolute()}
    for path in sorted(new, key=len, reverse=True):  # one may lie in the other
        end = "" if path.endswith("/") else r"(?![\w-]|\.\w)"
        words = re.sub(rf"(?<![\w./-]){re.escape(path)}{end}", new[path], words)
    return words


def renew(name, root=Path()):
    """The document's text with every marked block made anew."""
    page = (root / name).read_text(encoding="utf-8")
    where = "" if "/" not in name else "../" * name.count("/")
    return MARK.sub(lambda mark: f"{mark[1]}{blocks.block(mark[2].split(), root, where)}\n{mark[3]}", page)
