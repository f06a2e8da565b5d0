"""The paper's figures beside ours."""

import json
from typing import Any

from vidoor.report import paper
from vidoor.report.layout import WRITERS

OURS = {"min": 41.2345, "max": 49.0, "mean": 47.1, "std": 1.5}


def row(trigger: str, wrapped: bool = False) -> dict[str, Any]:
    measures = ("psnr", "ssim", *(["wrapped_psnr"] if wrapped else []))
    ours = {f"{measure}_{name}": value for measure in measures for name, value in OURS.items()}
    return {"trigger": trigger, "clips": 7, **ours, **paper.column(trigger)}


def test_table_6_has_the_papers_figures_beside_ours() -> None:
    rows = [row("dft"), row("dct")]
    for measure in ("psnr", "ssim"):
        dft, dct = json.loads(WRITERS["json"](paper.table_6(rows, measure)))
        assert (dft["trigger"], dft[f"{measure}_min"]) == ("dft", 41.2345)
        for name, value in paper.TABLE_6[measure]["dft"].items():
            assert dft[f"{measure}_{name}_paper"] == value
            assert dct[f"{measure}_{name}_paper"] is None
    text = WRITERS["md"](paper.table_6(rows, "psnr"))
    assert "| dft | 41.23 | 41.55 | 49.00 | 46.51 | 47.10 | 42.87 | 1.50 | 1.65 |" in text
    assert "| dct | 41.23 | – | 49.00 | – | 47.10 | – | 1.50 | – |" in text
    assert text.startswith("Table 6: PSNR (dB) in windows of 28×28 pixels\n")


def test_what_wrapping_bytes_give_stands_between() -> None:
    text = WRITERS["md"](paper.table_6([row("sig", wrapped=True)], "psnr"))
    assert "| sig | 41.23 | 41.23 | 28.72 | 49.00 | 49.00 | 30.58 |" in text
    text = WRITERS["md"](paper.table_6([row("sig", wrapped=True)], "ssim"))
    assert "| sig | 41.2345 | 0.5145 |" in text


def test_table_4_has_its_own_digits() -> None:
    text = WRITERS["md"](paper.table_4([row("fttrojan, original"), row("rt")]))
    assert "| fttrojan, original | 41.2 | 47.4 | 41.234 | 0.982 |" in text
    assert "| rt | 41.2 | – | 41.234 | – |" in text
