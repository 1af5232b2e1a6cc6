from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest

from reinforced.errors import ReinforcedError
from reinforced.report.page import script_json
from reinforced.report.palette import MARKERS
from reinforced.report.records import read_runs
from reinforced.report.sprites import Sprites, sheet
from reinforced.report.write import write_report
from tests.report.made_up_runs import MadeUp, make_run


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    run = make_run(folder / "=run", MadeUp(images=12, landscape=8))
    return write_report([run], folder / "out" / "page.html").html


def test_one_file_and_a_folder(written: Path) -> None:
    folder = written.with_suffix("")
    index = json.loads((folder / "report.json").read_text())
    assert len(index["figures"]) > 5
    for figure in index["figures"]:
        for suffix in ("svg", "png"):
            assert (folder / f"{figure['key']}.{suffix}").stat().st_size > 1000
        assert figure["caption"]
        assert figure["alt"]
    for name, rows in index["tables"].items():
        lines = list(csv.reader((folder / f"{name}.csv").read_text().splitlines()))
        assert len(lines) == len(rows) + 1
    (row,) = csv.DictReader((folder / "comparison.csv").read_text().splitlines())
    assert row["model"] == "'=run", "no formula"
    assert [path.name for path in written.parent.iterdir() if path.name.startswith(".")] == []


def test_the_page_asks_nobody(written: Path) -> None:
    page = written.read_text(encoding="utf-8")
    own = page.partition('<script type="application/json"')[0]
    assert "default-src 'none'" in own
    assert not re.findall(r"""(?:src|href)=["'](?!#)[^"']*["']""", own)
    assert "url(" not in own
    assert len(page) < 8e6


def test_a_legend_shows_the_markers_of_its_curves(page_file: Path) -> None:
    legends = re.findall(r'<ul class="legend">(.*?)</ul>', page_file.read_text(encoding="utf-8"))
    shown = re.findall(
        r'<path d="(.*?)" transform="translate\(11\)" fill="var\(--m(\d)\)"/>', "".join(legends)
    )
    assert len({slot for _, slot in shown}) > 1
    assert {path for path, slot in shown if slot == "1"} == {MARKERS[1].path}
    assert len({path for path, _ in shown}) == len({slot for _, slot in shown})


def test_written_again_it_replaces_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reinforced.report import write

    monkeypatch.setattr(write, "draw_all", lambda records: ([], []))
    run, html = make_run(tmp_path / "run", MadeUp(images=4, landscape=8)), tmp_path / "report.html"
    write_report([run], html)
    (tmp_path / "report" / "stale.svg").write_text("old")
    first = html.read_bytes()
    write_report([run], html)
    assert html.read_bytes() == first
    assert not (tmp_path / "report" / "stale.svg").exists()


def test_it_refuses_what_is_not_its_own(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", MadeUp(images=4, landscape=8))
    with pytest.raises(ReinforcedError, match=r"ends in \.html"):
        write_report([run], tmp_path / "report")
    with pytest.raises(ReinforcedError, match="holds something else"):
        write_report([run], tmp_path / "run.html")
    assert (run / "recipe.yaml").is_file()


def test_json_cannot_leave_its_script() -> None:
    text = script_json({"a": "</script><!--&\u2028", "b": [float("nan"), float("inf"), 1.5], 3: (True, None)})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!--&\u2028", "b": [None, None, 1.5], "3": [True, None]}


def test_sprites_hold_the_images(tmp_path: Path) -> None:
    (run,) = read_runs([make_run(tmp_path / "run", MadeUp(images=70, landscape=8))])
    found = run.evaluations[0]
    packed = Sprites([found]).of(run, found)
    assert packed is not None
    assert packed["count"] == 70
    rows = packed["attacks"]["square"]["rows"]
    assert rows == sorted(set(rows))
    assert all(0 < scale <= 0.1501 for scale in packed["attacks"]["square"]["scales"])


def test_sprites_keep_to_their_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reinforced.report import sprites

    monkeypatch.setattr(sprites, "VALUES", 5 * 64 * 10)
    (run,) = read_runs([make_run(tmp_path / "run", MadeUp(images=70, landscape=8))])
    packed = Sprites(run.evaluations).of(run, run.evaluations[0])
    assert packed is not None
    assert packed["count"] == 10
    assert max(packed["attacks"]["autoattack"]["rows"]) < 10


def test_a_sheet_is_its_images_side_by_side() -> None:
    import base64
    import io

    from PIL import Image

    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.full((1, 4, 4, 1), 10, np.uint8)
    made = sheet(images)
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(made.uri.partition(",")[2]))))
    assert pixels.shape == (8, 12)
    assert made.columns == 3
    assert (pixels[0, ::4].tolist(), pixels[4, ::4].tolist()) == ([0, 10, 20], [30, 40, 0])
