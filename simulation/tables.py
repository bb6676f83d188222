"""Tables as text and as HTML: columns aligned as a terminal shows them, cells escaped.

Knows nothing of steps or jobs: a heading and rows of texts go in.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rich.cells import cell_len

__all__ = ["html_table", "text_table", "visible"]

_STYLE = """\
<style>
.tm-table {overflow-x: auto}
.tm-table table {border-collapse: collapse; font: 12px/1.5 ui-monospace, Menlo, Consolas, monospace}
.tm-table th, .tm-table td {padding: 1px 14px 1px 0; text-align: left; vertical-align: top; border: 0; \
color: inherit; background: none; white-space: nowrap}
.tm-table td:last-child {white-space: normal; min-width: 14em}
.tm-table th {opacity: .6; font-weight: normal; border-bottom: 1px solid rgba(128, 128, 128, .5)}
.tm-table td.num, .tm-table th.num {text-align: right}
.tm-table caption, .tm-table td.more {text-align: left; opacity: .6; padding: 3px 0}
.tm-table i {font-style: normal; margin-right: .5em}
</style>
"""
"""Only opacity and mid greys: it reads the same on a light page and on a dark one."""


def visible(count: int, limit: int) -> tuple[range, range]:
    """Which of `count` rows to show at the head and at the tail, at most `limit` in all: the head alone if all fit."""
    if count <= limit:
        return range(count), range(count, count)
    tail = limit // 2
    return range(limit - tail), range(count - tail, count)


def text_table(
    heading: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: frozenset[str] = frozenset(),
    gap: tuple[int, str] | None = None,
) -> str:
    """Aligned columns two spaces apart, under their heading.

    `right` names columns of numbers; `gap` is (row, line): a line to insert before that row.
    """
    widths = [max(cell_len(row[i]) for row in (heading, *rows)) for i in range(len(heading))]
    lines = [_line(row, heading, widths, right) for row in (heading, *rows)]
    if gap is not None:
        lines.insert(gap[0] + 1, gap[1])
    return "\n".join(lines)


def _line(row: Sequence[str], heading: Sequence[str], widths: Sequence[int], right: frozenset[str]) -> str:
    cells = []
    for name, text, width in zip(heading, row, widths, strict=True):
        padding = " " * (width - cell_len(text))
        cells.append(padding + text if name in right else text + padding)
    return "  ".join(cells).rstrip()


def html_table(
    heading: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    caption: str,
    right: frozenset[str] = frozenset(),
    gap: tuple[int, str] | None = None,
    marks: Sequence[tuple[str, str] | None] | None = None,
    marked: str = "",
) -> str:
    """A small table with its own style. `marks` gives each row (symbol, colour), shown in column `marked`."""
    numeric = [' class="num"' if name in right else "" for name in heading]
    out = ['<div class="tm-table">', _STYLE.rstrip(), f"<table><caption>{escape(caption)}</caption>"]
    out.append("<tr>" + "".join(f"<th{c}>{escape(n)}</th>" for n, c in zip(heading, numeric, strict=True)) + "</tr>")
    for index, row in enumerate(rows):
        if gap is not None and index == gap[0]:
            out.append(f'<tr><td class="more" colspan="{len(heading)}">{escape(gap[1])}</td></tr>')
        mark = marks[index] if marks else None
        cells = []
        for name, text, css in zip(heading, row, numeric, strict=True):
            symbol = f'<i style="color:{mark[1]}">{mark[0]}</i>' if mark and name == marked else ""
            cells.append(f"<td{css}>{symbol}{escape(text)}</td>")
        out.append("<tr>" + "".join(cells) + "</tr>")
    out.append("</table></div>")
    return "\n".join(out)
