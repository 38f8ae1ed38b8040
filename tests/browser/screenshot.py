"""``python -m tests.browser.screenshot``: the picture of a report in docs/."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.browser import chrome
from tests.reports import page_of, run_of_44_jobs

PICTURE = Path(__file__).parents[2] / "docs" / "report.png"


def main() -> None:
    """Open a report in a browser and take its picture."""
    program = chrome.program()
    if program is None:
        sys.exit("no Chromium here: install one (Debian: chromium), or name one in CHROME")
    with tempfile.TemporaryDirectory() as folder, chrome.browser(program) as browser:
        path = Path(folder, "report.html")
        path.write_text(page_of(run_of_44_jobs()), "utf-8")
        page = browser.page()
        page.emulate(width=1200, height=1650)
        page.open(path)
        PICTURE.write_bytes(page.picture())


if __name__ == "__main__":
    main()
