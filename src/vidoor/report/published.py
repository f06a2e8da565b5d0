"""What the paper prints of victims, detectors and mitigations: Tables 1, 2, 3 and 5, Figs. 2, 3, 6.

Nothing is computed or tested from it: it stands beside what we measure, in a table that asks for it
by ``paper = ["table5", "data.kind=ucf101"]`` and in a figure by ``paper = "fig3a"``.

Li et al., "Temporal-Distributed Backdoor Attack Against Video Based Action Recognition", AAAI 2024.
All of it is of clips of 32×224×224 (TimeSformer's have 8 frames), of victims of their full size, of
one training each as far as it tells, and of ASR over the whole test set (section 4.1): what records
call ``asr_paper``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from vidoor.errors import VidoorError, unknown
from vidoor.report.runs import Run

Key: TypeAlias = tuple[str, ...]
Figures: TypeAlias = Mapping[str, float]
"""Measurement as records call it -> fraction, or index."""

VICTIMS = ("slowfast", "r2plus1d", "s3d", "i3d")
ATTACKS = ("dft", "badnet", "blend", "sig", "wanet", "fttrojan")
"""In the order of the paper's rows and columns."""


@dataclass(frozen=True, slots=True)
class Published:
    """A table of the paper."""

    caption: str
    """Which table, and of what."""

    fields: Key
    """What tells its entries apart, as runs call it."""

    entries: Mapping[Key, Figures]
    """By the values of ``fields``."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A figure of the paper, of which its text tells but a few numbers."""

    claim: str
    """What the paper reads in it."""

    points: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    """By victim: x and a fraction, where the text or a table prints one."""


TABLE_1: Mapping[str, Mapping[str, tuple[float, float, float]]] = {
    "slowfast": {
        "ucf101": (84.5, 81.0, 97.9), "hmdb51": (60.6, 59.8, 97.6), "gsl": (95.3, 89.6, 99.9)
    },
    "r2plus1d": {
        "ucf101": (77.4, 69.9, 99.4), "hmdb51": (53.6, 53.0, 99.6), "gsl": (95.6, 91.1, 100.0)
    },
    "s3d": {
        "ucf101": (90.6, 90.3, 96.9), "hmdb51": (69.3, 67.5, 90.4), "gsl": (95.4, 93.8, 100.0)
    },
    "i3d": {
        "ucf101": (89.0, 87.5, 97.3), "hmdb51": (66.6, 59.0, 85.0), "gsl": (94.2, 92.2, 99.5)
    },
}  # fmt: skip
"""Table 1 (section 4.1): clean ACC, ACC and ASR in percent, by victim and data set; DFT."""

TABLE_5: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]] = {
    "ucf101": {
        "dft": ((81.0, 97.9), (69.9, 99.4), (90.3, 96.9), (87.5, 97.3)),
        "dct": ((85.7, 97.5), (67.8, 98.7), (90.0, 99.2), (89.2, 98.2)),
        "dwt": ((83.0, 99.7), (67.6, 99.0), (90.6, 99.9), (85.7, 99.9)),
    },
    "hmdb51": {
        "dft": ((59.8, 97.6), (53.0, 99.6), (67.5, 90.5), (59.0, 85.0)),
        "dct": ((59.6, 97.1), (43.3, 96.5), (69.3, 97.7), (65.7, 96.8)),
        "dwt": ((59.7, 97.3), (45.0, 99.3), (67.9, 98.8), (64.9, 99.4)),
    },
    "gsl": {"dft": ((89.6, 99.9), (91.1, 100.0), (93.8, 100.0), (92.2, 99.5))},
}  # fmt: skip
"""Table 5 (appendix F.1): ACC and ASR in percent, by data set and transform, of ``VICTIMS``. Its
clean ACCs are those of Table 1; its DFT rows are Table 1 again, but for S3D on HMDB-51 (ASR 90.4
there, 90.5 here)."""

TEXT_F = {
    ("slowfast", "ucf101", "rt"): (78.7, 90.5),
    ("timesformer", "ucf101", "dft"): (93.2, 97.8),
    ("timesformer", "ucf101", "dct"): (92.2, 99.9),
}
"""What Table 5 is said to hold and does not: ACC and ASR in percent, from the text of appendices
F.1 (RT) and F.2 (TimeSformer), which give no clean ACC of TimeSformer."""

TABLE_2: Mapping[str, Sequence[float]] = {
    "NC-D": (0.1, 134.1, 173.1, 269.2, 166.7, 3.4),
    "PT-RED": (1.6, 13.5, 9.6, 2.3, 23.5, 2.7),
    "TABOR": (0.2, 7.2, 18.7, 15.5, 120.6, 1.9),
}
"""Table 2 (section 4.2): anomaly index of the true target, of ``ATTACKS``, SlowFast on UCF-101."""

STRIP = (25.7, 93.5, 96.8, 98.8, 24.5, 24.9)
"""Table 2's last line: TPR in percent where 15 % of clean clips are flagged."""

TABLE_3: Mapping[str, Sequence[tuple[float, float]]] = {
    "none": ((81.0, 97.9), (83.5, 98.6), (83.3, 99.4), (83.8, 99.9), (82.0, 95.3), (76.6, 83.4)),
    "DBD": ((41.9, 97.3), (31.8, 99.7), (39.4, 99.6), (37.2, 99.9), (46.9, 50.1), (22.2, 68.7)),
    "NAD": ((75.4, 86.1), (82.2, 98.3), (64.5, 99.9), (80.1, 99.9), (80.5, 2.1), (83.1, 1.2)),
    "FP": ((80.8, 86.8), (83.0, 61.7), (83.1, 92.9), (83.4, 96.8), (80.8, 89.7), (79.7, 8.0)),
    "NC-M": ((81.0, 97.9), (77.4, 49.3), (77.8, 84.9), (80.8, 22.9), (80.8, 1.1), (75.8, 0.7)),
}
"""Table 3 (section 4.2): ACC and ASR in percent after each mitigation, of ``ATTACKS``, SlowFast on
UCF-101."""

AC = ((0.0, 9.0), (0.0, 9.8), (0.0, 7.8), (34.9, 11.6), (22.3, 8.8), (0.0, 8.7))
"""Table 3's last columns: TPR and FPR of AC in percent."""


def _rates(**percent: float) -> Figures:
    return {name: round(value / 100, 4) for name, value in percent.items()}  # 0.979, not 0.97900…01


def _table_1() -> Iterator[tuple[Key, Figures]]:
    for victim, sets in TABLE_1.items():
        for data, (clean, acc, asr) in sets.items():
            yield (victim, data, "dft"), _rates(clean_acc=clean, acc=acc, asr=asr)


def _table_5() -> Iterator[tuple[Key, Figures]]:
    for data, transforms in TABLE_5.items():
        for transform, line in transforms.items():
            for victim, (acc, asr) in zip(VICTIMS, line, strict=True):
                clean = TABLE_1[victim][data][0]
                yield (victim, data, transform), _rates(clean_acc=clean, acc=acc, asr=asr)
    for key, (acc, asr) in TEXT_F.items():
        known = TABLE_1.get(key[0])
        clean_acc = {"clean_acc": known[key[1]][0]} if known else {}
        yield key, _rates(**clean_acc, acc=acc, asr=asr)


def _table_2() -> Iterator[tuple[Key, Figures]]:
    for place, attack in enumerate(ATTACKS):
        for detector, line in TABLE_2.items():
            yield (detector, attack), {"highest_true": line[place]}
        yield ("STRIP", attack), _rates(tpr_at_15=STRIP[place])
        tpr, fpr = AC[place]
        # Recipes tell two ways to reduce activations apart; the paper's is ICA (appendix D).
        for name in ("AC", "AC, ICA"):
            yield (name, attack), _rates(tpr=tpr, fpr=fpr)


def _table_3() -> Iterator[tuple[Key, Figures]]:
    for mitigation, line in TABLE_3.items():
        for attack, (acc, asr) in zip(ATTACKS, line, strict=True):
            yield (mitigation, attack), _rates(acc=acc, asr=asr)


_ATTACKED = ("victim.kind", "data.kind", "trigger.kind")
_BY_NAME = "beside methods of that name: settings and attacks here need not be the paper's"

TABLES: Mapping[str, Published] = {
    "table1": Published("Table 1", _ATTACKED, dict(_table_1())),
    "table2": Published(
        f"Table 2 (AC: Table 3), SlowFast on UCF-101, {_BY_NAME}",
        ("detector", "trigger.kind"),
        dict(_table_2()),
    ),
    "table3": Published(
        f"Table 3, SlowFast on UCF-101, {_BY_NAME}",
        ("mitigation", "trigger.kind"),
        dict(_table_3()),
    ),
    "table5": Published("Table 5 (RT, TimeSformer: appendix F)", _ATTACKED, dict(_table_5())),
}
"""By the name that tables ask for them by."""

_USUAL = {victim: round(sets["ucf101"][2] / 100, 4) for victim, sets in TABLE_1.items()}
"""ASR on UCF-101 at the paper's usual setting, from Table 1."""


def _usual(x: float) -> dict[str, Sequence[tuple[float, float]]]:
    return {victim: [(x, asr)] for victim, asr in _USUAL.items()}


FIGURES: Mapping[str, Drawn] = {
    "fig2a": Drawn(
        "The backdoor is activated by lower frequencies too, in any model; the ASR declines as k0 "
        "rises, rapidly above 50 for SlowFast, while that of Res(2+1)D remains high (section 4.5).",
        _usual(35),
    ),
    "fig2b": Drawn(
        "On SlowFast, DFT's unintended effects lie in the lower frequencies, DCT's more in the "
        "middle ones (section 4.5)."
    ),
    "fig3a": Drawn(
        "The ASR rises with the ratio. At 5 % SlowFast and Res(2+1)D are above 90 %; at 1 % "
        "Res(2+1)D is around 80 %, and hardly any other model learns it (section 4.6.1).",
        _usual(0.2) | {"r2plus1d": [(0.01, 0.8), (0.2, _USUAL["r2plus1d"])]},
    ),
    "fig3b": Drawn(
        "The attack is less effective at higher frequencies, except on Res(2+1)D, which learns a "
        "broader range; 0 to 50 is one in which it works (section 4.6.2).",
        _usual(35),
    ),
    "fig3c": Drawn(
        "The ASR rises monotonically with the magnitude, with a significant boost from 5,000 to "
        "500,000 (section 4.6.4; 50,000 is an RMS of 1.16 grey levels).",
        _usual(1.1625),
    ),
    "fig3d": Drawn(
        "The ASR rises monotonically with the number of components, at a ratio of 5 %: around 80 % "
        "for Res(2+1)D and SlowFast with 25 by 25 per frequency; on S3D the backdoor is planted "
        "with 85 by 85 (section 4.6.3).",
        {victim: [(25 / 224, 0.8)] for victim in ("slowfast", "r2plus1d")},
    ),
    "fig6": Drawn("Res(2+1)D learns the backdoor before it learns its task (section 4.6.1)."),
}
"""By the name that figures ask for them by. Points are at the paper's usual setting (20 %, k0 = 35,
25×25 components, δ = 50,000) where the text has no other; "around" is taken at its word."""


def lookup(asked: Sequence[str]) -> Published:
    """The part of a table that ``asked`` names: the table, and ``field=value`` for what is settled.

    VidoorError for an unknown table, field or value.
    """
    name, *conditions = asked
    if name not in TABLES:
        raise VidoorError(unknown("table of the paper", name, TABLES))
    table = TABLES[name]
    for condition in conditions:
        key, equals, value = (part.strip() for part in condition.partition("="))
        if not equals:
            raise VidoorError(f"{condition!a:.60} is no condition; write it as field=value")
        if key not in table.fields:
            raise VidoorError(unknown(f"field of the paper's {name}", key, table.fields))
        place = table.fields.index(key)
        known = dict.fromkeys(entry[place] for entry in table.entries)
        if value not in known:
            raise VidoorError(unknown(f"{key} of the paper's {name}", value, known))
        kept = {
            entry[:place] + entry[place + 1 :]: figures
            for entry, figures in table.entries.items()
            if entry[place] == value
        }
        fields = table.fields[:place] + table.fields[place + 1 :]
        table = Published(f"{table.caption}, {key} = {value}", fields, kept)
    return table


def beside(table: Published, run: Run) -> Figures:
    """What the table has of such a run; nothing where it has none.

    Runs are told by the table's fields alone, methods by their name: the paper's FP stands beside
    ``FP, paper`` and beside any ``FP``, whatever its settings are, and its figures of an attack
    beside that kind of trigger at any strength. Captions say so.
    """
    told = (str(run.get(f"recipe.{name}", run.get(name))) for name in table.fields)
    return table.entries.get(tuple(value.removesuffix(", paper") for value in told), {})
