"""The paper's figures beside ours."""

import json

from vidoor.report import paper
from vidoor.report.layout import WRITERS

SPREAD = {"min": 41.2345, "max": 49.0, "mean": 47.1, "std": 1.5}


def test_table_6_has_the_papers_figures_beside_ours() -> None:
    found = {kind: {"psnr": SPREAD, "ssim": SPREAD} for kind in ("dft", "dct")}
    for measure, shown in (("psnr", 41.23), ("ssim", 41.2345)):
        dft, dct = json.loads(WRITERS["json"](paper.table_6(found, measure)))
        assert (dft["trigger"], dft[f"{measure}_min"]) == ("dft", shown)
        for name, value in paper.TABLE_6[measure]["dft"].items():
            assert dft[f"{measure}_{name}[paper]"] == value
            assert dct[f"{measure}_{name}[paper]"] is None
    text = WRITERS["md"](paper.table_6(found, "psnr"))
    assert "| dft | 41.23 | 41.55 | 49.0 | 46.51 | 47.1 | 42.87 | 1.5 | 1.65 |" in text
    assert text.startswith("PSNR (dB) in windows of 28×28 pixels\n")
