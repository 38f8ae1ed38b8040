"""``python -m tests.browser.screenshot [PAGE PICTURE]``: the pictures of reports in docs/, or the picture of one page.

It also prints the size of each page and how long the browser took to draw it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from rich.console import Console

from tests.browser import chrome
from tests.reports import many_files, page_of, run_of_44_jobs

DOCS = Path(__file__).parents[2] / "docs"
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def main(arguments: list[str]) -> None:
    """Take the pictures that are in docs/, or that of a page."""
    program = chrome.program()
    if program is None:
        sys.exit("no Chromium here: install one (Debian: chromium), or name one in CHROME")
    with tempfile.TemporaryDirectory() as folder, chrome.browser(program) as browser:
        if arguments:
            page, picture = map(Path, arguments)
            take(browser, page.resolve(), picture)
            return
        small, large = Path(folder, "report.html"), Path(folder, "report-100000.html")
        small.write_text(page_of(run_of_44_jobs()), "utf-8")
        large.write_text(page_of(list(many_files(100_000, a_job=100))), "utf-8")
        take(browser, small, DOCS / "report.png")
        take(browser, large, DOCS / "report-100000.png")


def take(browser: chrome.Browser, path: Path, picture: Path) -> None:
    """Open a page, take its picture, and say how large it is and when its first text was drawn."""
    page = browser.page()
    page.emulate(width=1200, height=1650)
    page.open(path)
    picture.write_bytes(page.picture())
    painted = page.value(FIRST_PAINT)
    Console().print(f"{picture.name}: a page of {path.stat().st_size / 1e6:.2f} MB, first text after {painted:.0f} ms")


if __name__ == "__main__":
    main(sys.argv[1:])
