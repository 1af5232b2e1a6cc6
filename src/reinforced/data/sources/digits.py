"""``digits``: 1,797 handwritten digits of 8 x 8 pixels that scikit-learn carries; needs no network."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reinforced.data.splits import stratified_split
from reinforced.data.store import Options, Store, from_arrays, refuse_size

SIZES = (1197, 300, 300)


def read(name: str, options: Options) -> Store:
    """The digits, 0 to 16 scaled to 0 to 255 and rounded, in a fixed split of 1,197 / 300 / 300.

    Raises:
        ReinforcedError: a size other than 8 is asked for.
    """
    from sklearn.datasets import load_digits  # noqa: PLC0415

    refuse_size(name, options.size, 8, 8)
    bunch = load_digits()
    images = np.rint(bunch.images * 255 / 16).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    store = from_arrays(name, tuple("0123456789"), images, labels, len(labels))
    train, validation, test = stratified_split(store.labels, SIZES, seed=0)
    return replace(store, train=train, validation=validation, test=test)
