"""Fit the predictor of mix or merge on an atlas of studies, and measure it on what was left out.

    python -m src.predictor.refit ATLAS.csv
    python -m src.predictor.refit ATLAS.csv --output predictor.json --margin 2
    python -m src.predictor.refit ATLAS.csv --gap gap_scores

The atlas has a row per study: `base`, `pair`, `gap` (best merge minus mixture, points of the average) or `gap_scores`
(the same in the scores themselves, which stays finite where a specialist scores next to nothing), optionally `width`,
and either the features or `diagnosis`, the run directory of `diagnose.py predict=true`. `study.py study=pocket_atlas`
writes one. The table of the protocol is written beside the JSON file; without --output, both go where `diagnose.py
predict=true` finds them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd

from src.predictor.atlas import GAPS, read_atlas
from src.predictor.predictor import MARGIN, Predictor
from src.predictor.protocol import DRAWS, measure
from src.utils.errors import UserError
from src.utils.files import sha256_file, write_text

FITTED = Path(__file__).with_name("fitted.json")


def refit(atlas_file: Path, output: Path, margin: float = MARGIN, draws: int = DRAWS, gap: str = "gap") -> pd.DataFrame:
    """Write the predictor and the table of its protocol; returns the table.

    Raises:
        UserError: The atlas cannot be read.
    """
    atlas = read_atlas(atlas_file, gap)
    table = measure(atlas, margin, draws)
    predictor = Predictor.fitted(atlas, margin, unit=GAPS[gap])
    command = f"python -m src.predictor.refit {atlas_file.name} --margin {margin:g} --gap {gap}"
    about = {
        "command": command, "atlas": sha256_file(atlas_file), "studies": len(atlas.gap),
        "bases": len(set(atlas.groups["base"].tolist())), "used": predictor.used,
    }  # fmt: skip
    write_text(output.with_suffix(".csv"), table.to_csv(index=False))
    replace(predictor, record=record_of(table, len(atlas.gap))).save(output, about)
    return table


def record_of(table: pd.DataFrame, studies: int) -> str:
    """How well the predictor did on what was left out, beside always mixing.

    Args:
        table: Of `measure`.
        studies: In the atlas.
    """
    values = table.set_index(["split", "rule", "metric"])["value"].sort_index()
    said = []
    for split in table["split"].unique():
        found, always = values[split, "predictor"], values[split, "always mix"]
        said.append(
            f"{split}: r = {found['pearson']:.2f} with the gap, mix or not right in {found['accuracy']:.0%} "
            f"(always mix: {always['accuracy']:.0%})"
        )
    return f"{studies} studies; {'; '.join(said)}"


def main() -> None:
    """Refit from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("atlas", type=Path)
    parser.add_argument("--output", type=Path, default=FITTED)
    parser.add_argument("--margin", type=float, default=MARGIN)
    parser.add_argument("--gap", choices=GAPS, default="gap")
    options = parser.parse_args()
    try:
        table = refit(options.atlas, options.output, options.margin, gap=options.gap)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
    shown = table.assign(value=table["value"].round(3)).pivot_table(
        index=["split", "rule"], columns="metric", values="value", sort=False
    )
    print(shown.to_string())
    print(f"wrote {options.output}, using {', '.join(Predictor.load(options.output).used)}")


if __name__ == "__main__":
    main()
