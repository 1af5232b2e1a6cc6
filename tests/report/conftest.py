from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from reinforced.report.figures import draw_all
from reinforced.report.page import render
from reinforced.report.records import read_runs
from tests.report.made_up_runs import THREAT, MadeUp, make_run

Build = Callable[[Sequence[Path], Path], Path]
SOFTWARE_GL = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@pytest.fixture(scope="session")
def build() -> Build:
    """The page alone: figures for print take most of a report's time."""

    def page(runs: Sequence[Path], html: Path) -> Path:
        records = read_runs(runs)
        figures, missing = draw_all(records)
        html.write_text(render(records, figures, missing, html), encoding="utf-8")
        return html

    return page


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three runs of two methods, one of them under two threats."""
    folder = tmp_path_factory.mktemp("runs")
    small = {"images": 70, "landscape": 24}
    return [
        make_run(folder / "rl-0", MadeUp("made/rl", 0, published=True, **small)),  # type: ignore[arg-type]
        make_run(folder / "rl-1", MadeUp("made/rl", 1, **small)),  # type: ignore[arg-type]
        make_run(
            folder / "sl-adv",
            MadeUp("made/sl-adv", 0, strength=0.7, label="genuine", threats=(THREAT, "l2:1"), **small),  # type: ignore[arg-type]
        ),
    ]


@pytest.fixture(scope="session")
def page_file(runs: list[Path], build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(runs, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.fail("the page's tests need a browser: apt-get install chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=found, args=list(SOFTWARE_GL), timeout=180_000)
