"""The page as a person meets it, in a browser, opened from disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.report.made_up_runs import MadeUp, make_run

Build = Callable[[Sequence[Path], Path], Path]
Open = Callable[..., Page]
SCREENSHOTS = Path(__file__).parents[2] / ".screenshots"
DRAWN = "[...document.querySelectorAll('figure.plot')].every(one => one.dataset.drawn === 'yes')"
SCRIPT = "<script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'>"


@pytest.fixture
def show(browser: Browser) -> Iterator[Open]:
    """Open a page from disk; at the end nothing may have gone wrong or been asked of the network."""
    faults: list[str] = []
    pages: list[Page] = []

    def open_page(file: Path, *, width: int = 1280, theme: str = "light") -> Page:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=theme)  # type: ignore[arg-type]
        page.set_default_timeout(120_000)
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: faults.append(asked.url) if not local(asked.url, file) else None)
        page.goto(file.as_uri())
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert faults == []


def local(url: str, file: Path) -> bool:
    return url.startswith(("data:", "blob:")) or url.partition("#")[0] == file.as_uri()


def draw_everything(page: Page) -> None:
    """Scroll to each figure, as a reader does, and ask for each surface."""
    for figure in page.locator("figure.plot").all():
        figure.scroll_into_view_if_needed()
    page.wait_for_function(DRAWN)
    for _ in range(min(4, page.locator(".ask button").count())):
        page.locator(".ask button").first.click()
    page.evaluate("scrollTo(0, 0)")


def test_every_figure_is_drawn(page_file: Path, show: Open) -> None:
    page = show(page_file)
    draw_everything(page)
    drawings = page.locator(".drawing")
    assert drawings.count() > 10
    for drawing in drawings.all():
        assert drawing.locator("svg.main-svg").count(), drawing.get_attribute("aria-label")
        assert len(drawing.get_attribute("aria-label") or "") > 20
    assert page.locator(".drawing canvas").count() >= 2, "surfaces"
    page.locator("#matrix[data-drawn=yes]").wait_for(state="attached")
    assert page.locator("#gallery canvas").count() >= 3


def test_few_surfaces_are_live_at_once(runs: list[Path], build: Build, tmp_path: Path, show: Open) -> None:
    more = [make_run(tmp_path / f"more-{n}", MadeUp(f"more/{n}", images=4, landscape=8)) for n in range(7)]
    page = show(build([*runs, *more], tmp_path / "report.html"))
    for _ in range(10):
        page.locator(".ask button").first.click()
    page.wait_for_function("LIVE.length === MOST_LIVE")
    assert page.locator(".ask button").count() == 2


def test_columns_sort_by_keyboard(page_file: Path, show: Open) -> None:
    page = show(page_file)
    panel = page.locator("[role=tabpanel]").first
    head = panel.locator("th", has=page.get_by_role("button", name="Worst case"))
    column = [one.inner_text() for one in panel.locator("thead th").all()].index(head.inner_text())
    head.get_by_role("button").focus()

    def values() -> list[float]:
        cells = panel.locator(f"tbody tr > :nth-child({column + 1})").all()
        return [float(cell.get_attribute("data-key") or "nan") for cell in cells]

    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert values() == sorted(values(), reverse=True)
    assert len(set(values())) > 1
    page.keyboard.press("Space")
    assert head.get_attribute("aria-sort") == "ascending"
    assert values() == sorted(values())
    panel.get_by_role("button", name="Model").press("Enter")
    assert head.get_attribute("aria-sort") == "none"


def test_tabs_and_choices_by_keyboard(page_file: Path, show: Open) -> None:
    page = show(page_file)
    tabs, panels = page.get_by_role("tab"), page.locator("[role=tabpanel]")
    assert tabs.count() == 2
    tabs.first.focus()
    page.keyboard.press("ArrowRight")
    assert tabs.nth(1).get_attribute("aria-selected") == "true"
    assert page.evaluate("document.activeElement.id") == tabs.nth(1).get_attribute("id")
    assert (panels.first.is_visible(), panels.nth(1).is_visible()) == (False, True)
    page.keyboard.press("Home")
    assert panels.first.is_visible()

    choices = page.locator("figure.plot", has=page.get_by_role("radiogroup")).first
    choices.scroll_into_view_if_needed()
    page.wait_for_function(
        "id => document.getElementById(id).dataset.drawn === 'yes'", arg=choices.get_attribute("id")
    )
    before = choices.locator(".xtitle").first.text_content()
    choices.get_by_role("radio").first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function(
        "([id, before]) => document.querySelector(`#${id} .xtitle`).textContent !== before",
        arg=[choices.get_attribute("id"), before],
    )


def test_the_matrix_zooms_to_the_images(page_file: Path, show: Open) -> None:
    page = show(page_file)
    matrix, said = page.locator("#matrix[data-drawn=yes]"), page.locator("#image-said")
    matrix.focus()
    page.keyboard.press("Home")
    assert said.inner_text().startswith("Image 0, class ")
    page.keyboard.press("ArrowRight")
    assert said.inner_text().startswith("Image 1, class ")
    assert page.locator("#image-detail canvas").count() >= 1
    narrow = matrix.evaluate("one => one.scrollWidth")
    for _ in range(12):
        page.keyboard.press("+")
    assert matrix.evaluate("one => one.scrollWidth") > 3 * narrow
    page.locator("#order").select_option("hard")
    page.locator("#entry").select_option(index=1)
    page.wait_for_function("document.getElementById('image-said').textContent !== ''")


def test_the_theme_changes_what_is_drawn(page_file: Path, show: Open) -> None:
    page = show(page_file)
    draw_everything(page)
    ink = "getComputedStyle(document.querySelector('.drawing .xtitle')).fill"
    background = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(f"[{ink}, {background}]")
    page.get_by_role("button", name="Dark theme").press("Enter")
    page.wait_for_function(f"{ink} !== {json.dumps(before[0])}")
    assert page.evaluate(background) != before[1]
    page.get_by_role("button", name="Light theme").click()
    page.wait_for_function(f"{ink} === {json.dumps(before[0])}")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 1920])
def test_it_is_accessible_and_fits(page_file: Path, show: Open, width: int, theme: str) -> None:
    """Leaves a picture a width and theme in ``.screenshots``, to be looked at."""
    page = show(page_file, width=width, theme=theme)
    draw_everything(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    grave = [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
    assert grave == []
    SCREENSHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"report-{width}-{theme}.png", full_page=True)


def test_hostile_names_are_text(build: Build, tmp_path: Path, show: Open) -> None:
    folder = tmp_path / "runs"
    names = [
        SCRIPT,
        "%{x}<b>bold</b>",
        "x" * 10_000,
        "数字 ❤️ \u202eevil",
        "</script>",
        "{{ 7*7 }}",
        "",
        "a\nb",
        "$x$",
        "'\"",
    ]
    odd = MadeUp(SCRIPT, classes=names, images=20, landscape=8, attacks=(f"pgd({SCRIPT})", "autoattack"))
    runs = [
        make_run(folder / SCRIPT.replace("/", ""), odd),
        make_run(
            folder / "❤️ 数字", MadeUp("</script><b>" + "y" * 10_000, images=20, landscape=8, label=SCRIPT)
        ),
    ]
    page = show(build(runs, tmp_path / "report.html"))
    draw_everything(page)
    page.locator("#matrix[data-drawn=yes]").wait_for(state="attached")
    assert page.evaluate("window.hurt") is None
    assert page.locator("h3", has_text="<script>window.hurt").count() >= 1
    assert page.locator("main script, main img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert "49" not in page.locator("#image-said").inner_text()


def test_missing_and_damaged_records_break_nothing(build: Build, tmp_path: Path, show: Open) -> None:
    whole, bare, broken = (tmp_path / name for name in ("whole", "bare", "broken"))
    make_run(whole, MadeUp("made/whole", images=20, landscape=8))
    bare.mkdir()
    (bare / "recipe.yaml").write_text("name: bare\n")
    make_run(broken, MadeUp("made/broken", images=20, landscape=8))
    for file in broken.rglob("*.*"):
        if file.is_file() and file.name != "recipe.yaml":
            file.write_bytes(b"{NaN")
    page = show(build([whole, bare, broken], tmp_path / "report.html"))
    draw_everything(page)
    assert page.get_by_text("Missing or damaged records").is_visible()
    assert page.locator(".card").count() == 3


def test_figures_that_are_not_numbers(build: Build, tmp_path: Path, show: Open) -> None:
    run = make_run(tmp_path / "run", MadeUp("made/nan", images=20, landscape=8))
    for file in [*run.rglob("*.json"), run / "metrics.jsonl"]:
        text = file.read_text().replace("0.15", "NaN").replace("0.93", "Infinity").replace(": 0.6", ": null")
        file.write_text(text)
    page = show(build([run], tmp_path / "report.html"))
    draw_everything(page)
    assert page.locator(".card").count() == 1
