"""Recipes and data files that nobody would write: made by hypothesis, the same every time."""

from __future__ import annotations

import copy
import functools
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from injections.commands import Said, call
from injections.tally import Tally
from reinforced.errors import ReinforcedError
from reinforced.training.loop import Training
from reinforced.training.recipes import load_recipe

SHIPPED = ("quickstart/sl", "quickstart/rl", "quickstart/rl-adv", "quickstart/sl-adv")
STARTED = "fuzz: would train"
ODD_TEXT = st.sampled_from(
    ["", "~", "nan", "inf", "1e-4", "0x10", "${seed}", "${oc.env:HOME}", "../..", "\x00", "é", "null", "a:b"]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 9)
    | st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**30])
    | st.floats()
    | ODD_TEXT
    | st.text(max_size=12)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=5,
)


def fuzz(strategy: st.SearchStrategy[Any], count: int, inject: Callable[[Any], None]) -> None:
    """Call ``inject`` with so many examples, the same ones every time."""

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def each(example: Any) -> None:
        inject(example)

    each()


def _places(values: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything within plain values."""
    pairs = (
        values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else ()
    )
    for key, value in pairs:
        yield (*above, key)
        yield from _places(value, (*above, key))


@functools.cache
def _shipped(name: str) -> dict[str, Any]:
    values: dict[str, Any] = load_recipe(name).model_dump(mode="json", by_alias=True)
    return values


@st.composite
def recipes(draw: st.DrawFn) -> bytes:
    """A shipped recipe with a few fields replaced, removed, added or moved; sometimes bytes at random."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=200))
    values: dict[Any, Any] = copy.deepcopy(_shipped(draw(st.sampled_from(SHIPPED))))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(list(_places(values))))
        holder = values
        for key in place[:-1]:
            holder = holder[key]
        what = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add", "copy"]))
        if what == "replace":
            holder[place[-1]] = draw(VALUES)
        elif what == "remove":
            del holder[place[-1]]
        elif what == "copy":
            holder[place[-1]] = copy.deepcopy(values)
        elif isinstance(holder, dict):
            holder[draw(SCALARS.filter(lambda key: key is not None))] = draw(VALUES)
        if not list(_places(values)):
            break
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=draw(st.booleans())).encode()
    if draw(st.integers(0, 9)) == 0 and text:
        text = text[: draw(st.integers(0, len(text)))]
    return text


@contextmanager
def _built_not_trained() -> Iterator[None]:
    """Training ends where its first batch would be taken: data, network, optimiser and plan are made."""

    def stop(*_: object) -> dict[str, Any]:
        raise ReinforcedError(STARTED)

    earlier, Training.run = Training.run, stop  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Training.run = earlier  # type: ignore[method-assign]


def fuzz_recipes(folder: Path, count: int, tally: Tally) -> int:
    """Each is read, and the valid ones are built, on digits; returns how many those were."""
    folder.mkdir()
    file = folder / "fuzzed.yaml"
    valid = 0

    def inject(content: bytes) -> None:
        nonlocal valid
        file.write_bytes(content)
        said = call("recipe", file)
        tally.note("fuzzed recipe", repr(content[:2000]), said)
        if said.code == 0:
            valid += 1
            run = folder / f"run{valid}"
            built = call(
                "train", file, "data.source=digits", "model.pretrained=false", "--run", run, "--device", "cpu"
            )
            ok = STARTED in built.err or built.code in (0, 2)
            tally.note(
                "built recipe", repr(content[:2000]), built, lost="" if ok else "no word on what is wrong"
            )

    with _built_not_trained():
        fuzz(recipes(), count, inject)
    return valid


def _mostly(usual: Any, *odd: Any) -> st.SearchStrategy[Any]:
    """The usual value, and now and then another."""
    return st.sampled_from([*[usual] * 4 * len(odd), *odd])


@st.composite
def archives(draw: st.DrawFn) -> tuple[str, bytes, bool]:
    """(suffix, content, cut): an .npz, its arrays odd, or its bytes damaged."""
    classes, side, channels = (
        draw(st.integers(1, 4)),
        draw(st.sampled_from([1, 4, 8])),
        draw(_mostly(1, 3, 0, 4)),
    )
    arrays: dict[str, Any] = {}
    for part in ("train", "test"):
        count = draw(_mostly(40, 24, 1, 0))
        shape = draw(_mostly((count, side, side, channels), (count, side, side), (count, channels), ()))
        pixels = np.arange(int(np.prod(shape))).reshape(shape) % draw(_mostly(256, 2, 17))
        arrays[f"X_{part}"] = pixels.astype(draw(_mostly("u1", "f4", "f8", "i8", "?", "U3", "c8")))
        labels = np.arange(count + draw(_mostly(0, 1))) % classes + draw(_mostly(0, -1, 1))
        arrays[f"y_{part}"] = labels.astype(draw(_mostly("i8", "u1", "f4", "U3", "?")))
    if draw(_mostly(False, True)):
        del arrays[draw(st.sampled_from(sorted(arrays)))]
    if draw(_mostly(False, True)):
        arrays["classes"] = np.array(draw(st.lists(st.text(max_size=5), max_size=5) | st.just([1.5])))
    file = io.BytesIO()
    np.savez(file, **arrays)
    return (".npz", *_damaged(draw, file.getvalue()))


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, bytes, bool]:
    """A parquet file in the Hub's layout, its columns odd, or its bytes damaged."""
    count, side, mode = (
        draw(_mostly(40, 3, 0)),
        draw(st.sampled_from([1, 4, 8])),
        draw(st.sampled_from(["L", "RGB"])),
    )
    encoded: list[bytes | None] = []
    for number in range(count):
        file = io.BytesIO()
        Image.new(mode, (side, side), number).save(file, "PNG")
        encoded.append(file.getvalue())
    if count and draw(_mostly(False, True)):
        file = io.BytesIO()
        Image.new(draw(st.sampled_from(["P", "RGBA", "I;16", "1"])), (draw(st.integers(1, 9)), side)).save(
            file, "PNG"
        )
        encoded[-1] = draw(st.sampled_from([file.getvalue(), b"", None, b"no image"]))
    labels = [number % 2 for number in range(count)]
    odd = ([str(one) for one in labels], [None] * count, [1.5] * count, [-1] * count)
    labels = draw(_mostly(labels, *odd))
    column = draw(_mostly("img", "image", "picture"))
    cells = [None if one is None else {"bytes": one} for one in encoded]
    given = draw(_mostly(cells, list(range(count))))
    table = pa.table({column: given, draw(_mostly("label", "fine_label", "y")): labels})
    out = io.BytesIO()
    pq.write_table(table, out)
    return (".parquet", *_damaged(draw, out.getvalue()))


def _damaged(draw: st.DrawFn, content: bytes) -> tuple[bytes, bool]:
    what = draw(st.sampled_from(["whole", "whole", "cut", "flipped", "random"]))
    if what == "cut":
        return content[: draw(st.integers(0, len(content) - 1))], True
    if what == "flipped":
        flipped = bytearray(content)
        for _ in range(draw(st.integers(1, 4))):
            flipped[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
        return bytes(flipped), False
    return (draw(st.binary(max_size=400)), False) if what == "random" else (content, False)


def fuzz_data(folder: Path, count: int, tally: Tally) -> int:
    """Each is shown by ``reinforced data``; returns how many could be used."""
    folder.mkdir()
    used = number = 0

    def inject(example: tuple[str, bytes, bool]) -> None:
        nonlocal used, number
        number += 1
        suffix, content, cut = example
        home = folder / str(number)
        home.mkdir()
        if suffix == ".npz":
            (home / "data.npz").write_bytes(content)
            source = f"npz:{home / 'data.npz'}"
        else:
            for split in ("train", "test"):
                (home / f"{split}-00000-of-00001.parquet").write_bytes(content)
            source = f"parquet:{home}"
        said: Said = call("data", source, "--sheet", home / "sheet.png", "--save", home / "again.npz")
        used += said.code == 0
        made = [name for name in ("sheet.png", "again.npz") if (home / name).exists()]
        partial = (
            "read though cut"
            if cut and said.code == 0
            else "wrote though refused"
            if said.code and made
            else ""
        )
        tally.note("fuzzed data file", f"number {number}, {suffix}", said, accepted=partial)

    fuzz(st.one_of(archives(), tables()), count, inject)
    return used
