"""The report of an experiment as Markdown, PNG and one HTML page that needs nothing beside it."""

import io

from ..atomic import replacing
from ..experiments import ABOUT
from ..reports.html_report import CAUTION, STYLE, svg, text
from ..reports.html_report import table as html_table
from .figures import caption, figure
from .results import tables


def write(experiment, scale, steps, out):
    """Writes <experiment>.md, .html and, where a run was evaluated, .png into `out`; their paths."""
    found = tables(experiment, steps)
    title = caption(ABOUT[experiment], steps)
    drawing = figure(experiment, steps, title)
    picture = f"{experiment}.png" if drawing else None
    pages = {".md": markdown_page(experiment, scale, found, picture), ".html": html(experiment, scale, found, drawing)}
    out.mkdir(parents=True, exist_ok=True)
    for suffix, page in pages.items():
        with replacing(out / f"{experiment}{suffix}", "w", encoding="utf-8") as file:
            file.write(page)
    if drawing:
        save_png(drawing, out / picture)
    return [out / f"{experiment}{suffix}" for suffix in (*pages, *[".png"] * bool(drawing))]


def save_png(drawing, path, dpi=110, **about):
    buffer = io.BytesIO()
    drawing.savefig(buffer, format="png", dpi=dpi, metadata=about)
    with replacing(path) as file:
        file.write(buffer.getvalue())


def markdown_page(experiment, scale, found, picture):
    parts = [f"# {ABOUT[experiment]}", CAUTION[scale], *(f"## {one.title}\n\n{markdown(one)}" for one in found)]
    if picture:
        parts.append(f"![kNN over epochs]({picture})")
    return "\n\n".join(parts) + "\n"


def markdown(table):
    """The table and its note, without its title."""
    lines = [table.heading, ["---"] * len(table.heading), *table.rows]
    note = f"\n\n{table.note}" if table.note else ""
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines) + note


def html(experiment, scale, found, drawing):
    alarmed = any("epoch" in cell for row in found[0].rows for cell in row[-2:-1])
    parts = [f"<h1>{text(ABOUT[experiment])}</h1>", f"<p>{CAUTION[scale]}</p>"]
    parts += ['<p class="alarm">Collapse alarms were raised; the column tells where.</p>'] * alarmed
    parts += [svg(drawing)] if drawing else ["<p>No run was evaluated yet: there is no curve.</p>"]
    for one in found:
        heading = tuple(cell.replace("`", "") for cell in one.heading)
        parts.append(
            f"<h2>{text(one.title)}</h2>{html_table(heading, one.rows)}<p>{text(one.note.replace('`', ''))}</p>"
        )
    head = f'<meta charset="utf-8"><title>{text(ABOUT[experiment])}</title><style>{STYLE}</style>'
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"
