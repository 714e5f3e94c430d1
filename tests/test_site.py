"""The docs site is built without a warning; a browser opens its pages and the trainer's reports without an error."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from dssl_trainer.cli import main
from dssl_trainer.reports.html_report import write_report
from dssl_trainer.train import train
from reproduce_setup import job_of, write_run
from trainer_setup import environment, tiny

DOCS = Path(__file__).resolve().parent.parent / "docs"
TOOLS = ("sphinx", "myst_parser", "furo")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on PATH: apt-get install chromium")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder with the built site: the one that DSSL_TEST_SITE names, or one that is built now."""
    if built := os.environ.get("DSSL_TEST_SITE"):
        return Path(built)
    if missing := [name for name in TOOLS if find_spec(name) is None]:
        pytest.skip(f"{', '.join(missing)} not installed: pip install 'dssl_ops[docs]'")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=600)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


def test_site_has_every_page_and_picture(site):
    pages = [path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*.md")]
    assert [str(page) for page in pages if not (site / page).exists()] == []
    assert len(list((site / "_images").glob("*.png"))) >= 9


@needs_chromium
def test_pages_open_without_an_error_and_with_all_pictures(site, browser):
    faults = {}
    for page in sorted(site.rglob("*.html")):
        seen = browser.open(page)
        if seen.errors or seen.broken:
            faults[page.name] = seen
    assert faults == {}
    assert browser.open(site / "idea.html").images >= 4


@needs_chromium
def test_report_opens_without_an_error_and_with_all_pictures(tmp_path, browser):
    train(tiny(tmp_path / "run", variant="dssl", epochs=1))
    seen = browser.open(write_report(tmp_path / "run"))
    assert (seen.errors, seen.broken) == ([], []) and seen.images == 1 and "DSSL" in seen.title


@needs_chromium
def test_report_of_a_table_opens_without_an_error(tmp_path, browser):
    write_run(tmp_path, job_of("table2", "simsiam-cifar10-dssl"), [30, 40, 50])
    assert main(["reproduce", "table2", "--out", str(tmp_path), "--report"]) == 0
    seen = browser.open(tmp_path / "table2.html")
    assert (seen.errors, seen.broken) == ([], []) and seen.title


@needs_chromium
def test_the_browser_notices_what_is_wrong(tmp_path, browser):
    page = tmp_path / "bad.html"
    page.write_text('<title>bad</title><img src="nowhere.png"><img src="data:image/png;base64,AAAA">'
                    '<script>console.error("said"); undefinedFunction()</script>')  # fmt: skip
    seen = browser.open(page)
    assert len(seen.broken) == 2 and seen.images == 2
    assert any("said" in error for error in seen.errors) and any("undefinedFunction" in error for error in seen.errors)
