"""The docs site: `python -m sphinx -W docs site`. Pages are Markdown; pictures are drawn at every build."""

import sys
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "python")]  # this checkout, not what is installed

import pictures  # noqa: E402

import dssl_ops._build  # noqa: E402

project, author = "dssl_ops", "the dssl_ops authors"
version = release = dssl_ops._build.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["pictures.py"]
html_theme = "furo"
html_title = f"dssl_ops {version}"
html_math_renderer = "mathml"  # every browser has it: no script, no network
default_role = "code"  # docstrings write `name` as Markdown does
smartquotes_action = "D"  # dashes alone: v' is a name
html_show_copyright = False
napoleon_use_param = False  # "z_a, z_b: ..." is one entry
napoleon_use_rtype = False  # "A scalar or (B,): ..." is one sentence
autodoc_typehints = "none"  # the docstrings say more: shapes and dtypes
autodoc_default_options = {"members": True, "inherited-members": False}


def inline_formula(translator, node):
    translator.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_formula(translator, node):
    translator.body.append(f'<div class="math">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def name_other_pages(app, docname, source):
    """index.md ends with the pages that it does not name: nobody who adds one has to."""
    if docname == "index":
        named = source[0].split()
        source[0] = source[0].replace("OTHER-PAGES", "\n".join(sorted(app.env.found_docs - {"index", *named})))


def setup(app):
    app.add_html_math_renderer("mathml", (inline_formula, None), (block_formula, None))
    app.connect("source-read", name_other_pages)
    app.connect("builder-inited", lambda app: pictures.draw_all(HERE / "pictures"))
    return {"parallel_read_safe": True}
