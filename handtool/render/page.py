"""One self-contained HTML page, without network or script, light and dark, for screen and print. Text is escaped."""

import base64
from collections.abc import Sequence
from html import escape

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
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .4rem 0 .8rem; }
.lead, figcaption, .faint { color: var(--faint); }
nav a { color: var(--accent); margin-right: .8rem; white-space: nowrap; }
figure { margin: 1rem 0; }
figure img, figure svg {
  height: auto; display: block; background: var(--card); border: 1px solid var(--rule); border-radius: 6px;
}
figure svg { width: 100%; }
figure img { max-width: 100%; margin: 0 auto; }
figcaption { font-size: .88rem; margin-top: .35rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .34rem .9rem .34rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { color: var(--faint); font-weight: 500; }
td.n, th.n { text-align: right; white-space: nowrap; }
pre {
  background: var(--card); border: 1px solid var(--rule); border-radius: 6px; padding: .8rem 1rem; overflow-x: auto;
  font: .85rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace;
}
svg text { font: 12px system-ui, sans-serif; fill: var(--ink); }
svg .tick { fill: var(--faint); font-size: 11px; }
svg .count { font-weight: 600; }
svg .note { fill: var(--mark); paint-order: stroke; stroke: var(--card); stroke-width: 4px; }
svg .grid { stroke: var(--rule); }
svg .axis { stroke: var(--faint); }
svg .bar { fill: var(--accent); }
svg .joint { fill: var(--accent); fill-opacity: .75; }
svg .bone { stroke: var(--faint); stroke-opacity: .5; stroke-width: 3; stroke-linecap: round; }
svg .mark { stroke: var(--mark); stroke-dasharray: 4 3; }
svg polyline, svg .line { fill: none; stroke: var(--accent); stroke-width: 2; }
svg .pale { stroke-width: 1; opacity: .35; }
svg .c0 { stroke: var(--c0); }
svg .c1 { stroke: var(--c1); }
svg .c2 { stroke: var(--c2); }
svg .c3 { stroke: var(--c3); }
svg .c4 { stroke: var(--c4); }
svg .c5 { stroke: var(--c5); }
@media (max-width: 44rem) { figure.chart { overflow-x: auto; } figure.chart svg { min-width: 36rem; } }
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
    """Columns of numbers are aligned right; None is a dash; everything is escaped."""
    numeric = [bool(rows) and all(is_number(row[i]) or row[i] is None for row in rows) for i in range(len(columns))]

    def cell(value: object, tag: str, right: bool) -> str:
        return f"<{tag}{' class=n' if right else ''}>{escape(as_text(value))}</{tag}>"

    head = "".join(cell(name, "th", right) for name, right in zip(columns, numeric, strict=True))
    body = "".join(
        "<tr>" + "".join(cell(value, "td", right) for value, right in zip(row, numeric, strict=True)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


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
    """content: SVG or an image element; caption: plain text. On a phone a chart keeps its size and scrolls sideways."""
    kind = " class=chart" if content.startswith("<svg") else ""
    return f"<figure{kind}>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def picture(jpeg: bytes, width: int, height: int, description: str) -> str:
    data = base64.b64encode(jpeg).decode()
    return (
        f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{escape(description, True)}">'
    )


def shell(lines: list[str]) -> str:
    return f"<pre>{escape(chr(10).join(lines))}</pre>"
