"""The live page as a person meets it, in a browser, while a run goes on."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from reinforced.report.serve import LiveServer

RECIPE = "name: {}\nseed: 0\nphases: [{{epochs: 9}}]\n"
HOSTILE = "<img src=x onerror='window.hurt = 1'>"


def add_rows(run: Path, epochs: range) -> None:
    with (run / "metrics.jsonl").open("a") as file:
        for epoch in epochs:
            row = {"epoch": epoch, "passes": 100 * epoch, "seconds": epoch, "loss": 2 / epoch}
            file.write(json.dumps({**row, "validation_accuracy": epoch / 10}) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One run in the midst of training, one that has only begun and has a hostile name."""
    runs = tmp_path / "runs"
    for name, recipe in (("one", "quickstart/sl"), ("begun", json.dumps(HOSTILE))):
        (runs / name).mkdir(parents=True)
        (runs / name / "recipe.yaml").write_text(RECIPE.format(recipe))
    add_rows(runs / "one", range(1, 4))
    return runs


@pytest.fixture
def open_live(folder: Path, browser: Browser) -> Iterator[Page]:
    """The page; at the end nothing may have gone wrong or been asked of anyone but the server."""
    with LiveServer(folder, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        faults: list[str] = []
        page = browser.new_page(viewport={"width": 390, "height": 900})
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: faults.append(asked.url) if server.url not in asked.url else None)
        page.goto(server.url)
        yield page
        page.close()
        server.shutdown()
        thread.join()
    assert [fault for fault in faults if not fault.startswith("data:")] == []


def test_new_epochs_appear_by_themselves(folder: Path, open_live: Page) -> None:
    row = open_live.locator("#runs tr", has_text="quickstart/sl")
    expect(row).to_contain_text("30.0%", timeout=60_000)
    expect(open_live.get_by_role("status")).to_have_text("Runs: 2, unfinished: 2")
    drawn = open_live.locator("#charts path.line").first.get_attribute("d")
    add_rows(folder / "one", range(4, 7))
    expect(row).to_contain_text("60.0%", timeout=60_000)
    assert open_live.locator("#charts path.line").first.get_attribute("d") != drawn
    open_live.get_by_role("combobox").select_option("passes")
    expect(open_live.locator("#charts [role=img]").first).to_have_attribute(
        "aria-label", re.compile("over passes")
    )


def test_it_fits_is_accessible_and_takes_names_as_text(open_live: Page) -> None:
    expect(open_live.locator("#runs")).to_contain_text(HOSTILE, timeout=60_000)
    assert open_live.evaluate("window.hurt") is None
    assert open_live.evaluate("document.documentElement.scrollWidth") <= 390
    for theme in ("light", "dark"):
        open_live.emulate_media(color_scheme=theme)
        found = Axe().run(open_live, options={"resultTypes": ["violations"]}).response["violations"]
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
