"""What a table's column can show: one file a kind of measurement."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reinforced.studies.reproduce.measures.attack import Attack
from reinforced.studies.reproduce.measures.base import Bench, Column, Reading
from reinforced.studies.reproduce.measures.clean import Clean
from reinforced.studies.reproduce.measures.derived import Difference, Peak, Subset
from reinforced.studies.reproduce.measures.indicator import Indicator
from reinforced.studies.reproduce.measures.metric import Metric
from reinforced.studies.reproduce.measures.transfer import Transferred
from reinforced.studies.reproduce.measures.verdict import Judged

AnyColumn = Annotated[
    Clean | Attack | Indicator | Judged | Metric | Transferred | Difference | Peak | Subset,
    Field(discriminator="measure"),
]
"""Every kind. A new one is one file and one name here."""

__all__ = ["AnyColumn", "Bench", "Column", "Reading"]
