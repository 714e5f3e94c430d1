"""report.html of a run: one file that needs nothing beside it, no network and no script.

Results by every protocol beside the paper's number of the same cell, curves as inline SVG, the gallery as a data URL,
every setting with its origin."""

import base64
import dataclasses
import html
import io
import json

from ..atomic import replacing
from ..config import as_dict, show
from ..data.views import uses_policy
from ..experiments import EXPERIMENTS
from ..presets import PRESETS
from ..record import read_record, subtitle
from ..variants import LABELS
from .curves import curves

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #20252b; max-width: 1150px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.5em; margin-bottom: 0 } h2 { font-size: 1.1em; margin-top: 2em }
.face { color: #5f6670 } .alarm { color: #c0392b; font-weight: bold }
table { border-collapse: collapse } td, th { padding: .2em .9em .2em 0; text-align: left; vertical-align: top }
tr + tr { border-top: 1px solid #e3e6ea } td.number { text-align: right; font-variant-numeric: tabular-nums }
svg, img { max-width: 100%; height: auto } footer { color: #5f6670; margin: 3em 0 }
"""
CAUTION = {
    "small": "Small scale: it cannot be compared with the paper's numbers.",
    "toy": "Toy scale: it shows that everything runs and proves nothing.",
    "full": "The recipe's full scale, where no setting below says otherwise.",
}


def write_report(place):
    """Writes RUN/report.html from what the folder holds now; its path."""
    record = read_record(place)
    path = record.folder / "report.html"
    with replacing(path, "w", encoding="utf-8") as file:
        file.write(page(record))
    return path


def page(record):
    config = record.config
    title = f"{config.method}-{config.dataset}, {LABELS[config.variant]}"
    parts = [
        f"<h1>{text(title)}</h1>", f'<p class="face">{text(subtitle(config, record.about))}</p>',
        f"<p>{CAUTION[config.scale]}</p>", alarm(record.rows), "<h2>Results</h2>", results(record),
        "<h2>Curves</h2>", svg(curves({config.variant: record.rows}, subtitle(config, record.about))),
        gallery(record.folder / "gallery.png"), "<h2>Settings</h2>", settings(record),
    ]  # fmt: skip
    head = f'<meta charset="utf-8"><title>{text(title)}</title><style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def text(value):
    return html.escape(str(value))


def table(heading, rows):
    lines = ["".join(f"<th>{text(cell)}</th>" for cell in heading)] if heading else []
    for row in rows:
        number = [isinstance(cell, float) for cell in row]
        shown = [f"{cell:.2f}" if is_number else text(cell) for cell, is_number in zip(row, number)]
        cells = zip(shown, number)
        lines.append("".join(f"<td{' class=number' * is_number}>{cell}</td>" for cell, is_number in cells))
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def alarm(rows):
    alarmed = [row["epoch"] for row in rows if row.get("alarm")]
    return f'<p class="alarm">Collapse alarm at epoch {alarmed[0]:g}.</p>' if alarmed else ""


def results(record):
    """The log's last kNN, what `dssl evaluate` wrote, and the paper's numbers of the same cell."""
    rows = []
    measured = [row for row in record.rows if "knn" in row]
    for what, row in (("random initialisation", measured[:1]), ("last measured epoch", measured[-1:])):
        rows += [("kNN", one["knn"], f"{what}: epoch {one['epoch']:g}, all test images") for one in row]
    for path in sorted(record.folder.glob("evaluation-*.json")):
        rows += evaluation(json.loads(path.read_text()))
    rows += [
        ("the paper", number, f"linear evaluation at full scale, {where}") for where, number in paper(record.config)
    ]
    return table(("protocol", "top-1 %", "of what"), rows)


def evaluation(found):
    told = f"{found['about']}; {found['about_top1']}; {found['checkpoint']} after {found['epochs']:g} epochs"
    told += f", seed {found['seed']}, commit {found['commit'] or 'unknown'}"
    yield found["protocol"], float(found["top1"]), told
    if theirs := found.get("authors_best_on_test"):
        yield (
            f"{found['protocol']}, best on test",
            float(theirs["top1"]),
            f"epoch {theirs['epoch']:g}: {theirs['about']}",
        )


def paper(config):
    """[(experiment and label, number or 'collapse')] of the cells that a run with these settings belongs to."""
    return [
        (f"{name}: {cell.label}", float(cell.paper) if isinstance(cell.paper, int | float) else cell.paper)
        for name, cells in EXPERIMENTS.items() for cell in cells
        if cell.paper is not None and belongs(config, cell)
    ]  # fmt: skip


def belongs(config, cell):
    """Same method, data set and variant; for other variants than the baseline the same heavy policy and graph."""
    if cell.recipe != f"{config.method}-{config.dataset}" or config.scale not in PRESETS[cell.recipe]:
        return False
    names = ["variant"]
    if uses_policy(config):
        names += ["heavy", "op_set", "heavy_from", "alpha", "beta", "gamma", "delta"]
    if config.variant == "heavy":
        names.append("heavy_views")
    theirs = cell.config(config.scale)
    return all(getattr(config, name) == getattr(theirs, name) for name in names)


def svg(figure):
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    return buffer.getvalue()[buffer.getvalue().index("<svg") :]  # without the DOCTYPE, which names a DTD elsewhere


def gallery(path):
    if not path.exists():
        return ""
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<h2>Views</h2><img alt="views of some training images" src="data:image/png;base64,{data}">'


def settings(record):
    about = {spec.name: spec.metadata["about"] for spec in dataclasses.fields(record.config)}
    rows = [(name, show(value) or "(none)", record.origin.get(name, ""), about[name])
            for name, value in as_dict(record.config).items()]  # fmt: skip
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return table(("setting", "value", "origin", "what it is"), rows) + f"<footer>{text(versions)}</footer>"
