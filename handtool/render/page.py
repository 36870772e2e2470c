"""One self-contained HTML page, without network or script, light and dark, for screen and print. Text is escaped."""

import base64
from collections.abc import Sequence

from handtool.names import escape

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #fbfbf9; --ink: #25272b; --faint: #6c7078; --rule: #dedfdb; --card: #ffffff;
  --accent: #1f6fb4; --mark: #c8322f;
  --c0: #1f6fb4; --c1: #d9822b; --c2: #2f9e5b; --c3: #c8322f; --c4: #7b52ab; --c5: #6b6f76;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181b; --ink: #e6e7e9; --faint: #9aa0a8; --rule: #34383d; --card: #1e2125;
    --accent: #6aaee8; --mark: #ef7a74;
    --c0: #6aaee8; --c1: #f0b067; --c2: #7ad09c; --c3: #ef7a74; --c4: #bb9ae0; --c5: #a9aeb5;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 62rem; padding: 2rem 1.2rem 4rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1, h2, h3, figcaption { overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; }
h3, h4 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
h4 { color: var(--faint); font-weight: 500; }
p { margin: .4rem 0 .8rem; }
.lead, figcaption, .faint { color: var(--faint); }
.faint { font-size: .88rem; }
nav a { color: var(--accent); margin-right: .8rem; white-space: nowrap; }
figure { margin: 1rem 0; }
figure img, figure svg {
  height: auto; display: block; background: var(--card); border: 1px solid var(--rule); border-radius: 6px;
}
figure svg { width: 100%; }
figure.chart, .beside {
  display: inline-block; vertical-align: top; width: 100%; max-width: 28.8rem; margin: 1rem .8rem 1rem 0;
}
figure img { max-width: 100%; margin: 0 auto; }
figcaption { font-size: .88rem; margin-top: .35rem; }
.scroll { overflow-x: auto; margin-bottom: 1.2rem; }
.zoom { display: block; overflow-x: auto; }
.zoom input { position: absolute; opacity: 0; }
.zoom input:focus-visible + img { outline: 2px solid var(--accent); }
.hint { display: none; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .34rem .9rem .34rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { color: var(--faint); font-weight: 500; }
td.n, th.n { text-align: right; }
td.n { white-space: nowrap; }
pre {
  background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: .8rem 1rem; overflow-x: auto;
  font: .85rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
}
svg text { font: 14px system-ui, sans-serif; fill: var(--ink); }
svg .tick { fill: var(--faint); font-size: 13px; }
svg .count { font-weight: 600; }
svg .note { fill: var(--mark); }
svg .note, svg .over { paint-order: stroke; stroke: var(--card); stroke-width: 4px; }
svg .grid { stroke: var(--rule); }
svg .axis { stroke: var(--faint); }
svg .bar { fill: var(--accent); }
svg .bar.again { fill: var(--c1); }
svg .bar.lost { fill: var(--paper); stroke: var(--mark); stroke-dasharray: 3 2; }
svg .joint { fill: var(--accent); fill-opacity: .75; }
svg .bone { stroke: var(--faint); stroke-opacity: .5; stroke-width: 3; stroke-linecap: round; }
svg .mark { stroke: var(--mark); stroke-dasharray: 4 3; }
svg polyline, svg .line { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linecap: round; }
svg .pale { stroke-width: 1; opacity: .35; }
svg .c0 { stroke: var(--c0); }
svg .c1 { stroke: var(--c1); }
svg .c2 { stroke: var(--c2); }
svg .c3 { stroke: var(--c3); }
svg .c4 { stroke: var(--c4); }
svg .c5 { stroke: var(--c5); }
@media (max-width: 44rem) {
  body { padding: 1.2rem 1rem 3rem; }
  figure.chart, .beside { max-width: none; margin-right: 0; }
  .cards thead { display: none; }
  .cards, .cards tbody, .cards tr { display: block; }
  .cards tr { border-bottom: 1px solid var(--rule); padding: .5rem 0; }
  .cards td, .cards td.n {
    display: flex; justify-content: space-between; gap: 1.2rem; border: 0; padding: .1rem 0;
    text-align: right; white-space: normal;
  }
  .cards td { overflow-wrap: anywhere; }
  .cards td::before { content: attr(data-of); color: var(--faint); text-align: left; flex-shrink: 0; max-width: 50%; }
  .cards td:first-child { font-weight: 600; text-align: left; justify-content: start; }
  .cards td:first-child::before, .cards td:empty { display: none; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .hint { display: inline; }
  .zoom input:checked + img { max-width: none; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  nav { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 8pt; }
  th, td { padding: .2rem .5rem .2rem 0; }
  figure.chart svg { max-width: 34rem; margin: 0 auto; }
  figure img { max-height: 20cm; width: auto; }
  figure, tr { break-inside: avoid; }
  h2 { break-after: avoid; }
  pre { white-space: pre-wrap; }
}
"""


def anchor(title: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in title.lower())


def page(title: str, lead: str, sections: list[tuple[str, str]]) -> str:
    """sections: (title, HTML). Title and lead are plain text."""
    links = " ".join(f'<a href="#{escape(anchor(name), True)}">{escape(name)}</a>' for name, _ in sections)
    body = "".join(
        f'<section><h2 id="{escape(anchor(name), True)}">{escape(name)}</h2>{html}</section>' for name, html in sections
    )
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
    head += f"<title>{escape(title)}</title><style>{STYLE}</style>"
    top = f'<h1>{escape(title)}</h1><p class="lead">{escape(lead)}</p><nav>{links}</nav>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{top}{body}</body></html>\n'


def table(columns: list[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns of numbers are aligned right; None is a dash; everything is escaped. On a narrow screen each row of more
    than three columns is a card whose first cell is its title, and every other cell is named."""
    numeric = [bool(rows) and all(is_number(row[i]) or row[i] is None for row in rows) for i in range(len(columns))]

    def cell(name: str, value: object, right: bool) -> str:
        kind = " class=n" if right else ""
        return f'<td{kind} data-of="{escape(name, True)}">{escape(as_text(value))}</td>'

    head = "".join(f"<th{' class=n' * right}>{escape(name)}</th>" for name, right in zip(columns, numeric, strict=True))
    body = "".join("<tr>" + "".join(map(cell, columns, row, numeric)) + "</tr>" for row in rows)
    cards = " class=cards" * (len(columns) > 3)
    return f'<div class="scroll"><table{cards}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def as_text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def figure(content: str, caption: str) -> str:
    """content: SVG or an image element; caption: plain text. Two charts stand side by side where there is room."""
    kind = " class=chart" if content.startswith("<svg") else ""
    hint = "" if kind else '<span class="hint"> Tap it for its full size.</span>'
    return f"<figure{kind}>{content}<figcaption>{escape(caption)}{hint}</figcaption></figure>"


def picture(jpeg: bytes, width: int, height: int, description: str) -> str:
    """As wide as the screen; on a narrow one a tap shows it in its full size, without a script."""
    data, told = base64.b64encode(jpeg).decode(), escape(description, True)
    image = f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{told}">'
    return f'<label class="zoom"><input type="checkbox" aria-label="full size of {told}">{image}</label>'


def shell(lines: list[str]) -> str:
    return f"<pre>{chr(10).join(map(escape, lines))}</pre>"
