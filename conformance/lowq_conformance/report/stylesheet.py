"""How the pages look: light and dark, narrow and wide, and on paper."""

STYLE = """
:root { --back: #ffffff; --fore: #1b1d21; --dim: #5a6068; --line: #d5d9de; --box: #f5f6f8; --link: #0b57b0;
  --kept: #17672f; --broken: #b3201a; --unseen: #7d5000; --bar: #dfe8f5; --edge: #40618f; --guilty: #fbdedc; }
@media (prefers-color-scheme: dark) { :root { --back: #15171b; --fore: #e7e9ec; --dim: #a4abb5; --line: #3a4049;
  --box: #1e2127; --link: #8ab8f5; --kept: #7fd896; --broken: #ff948b; --unseen: #efc15a; --bar: #26354a;
  --edge: #86a9d8; --guilty: #57211f; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; max-width: 76rem; padding: 1.5rem 1rem 4rem; background: var(--back); color: var(--fore);
  font: 1rem/1.5 system-ui, sans-serif; }
h1, h2, h3, h4 { line-height: 1.25; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; }
h3, h4 { font-size: 1.1rem; margin: 0 0 .5rem; }
a { color: var(--link); }
p { margin: .5rem 0; overflow-wrap: anywhere; }
.whole { font-size: 1.2rem; font-weight: 600; }
.kept { color: var(--kept); } .broken { color: var(--broken); } .unseen { color: var(--unseen); }
.broken, .unseen { font-weight: 600; } .dim { color: var(--dim); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1rem; margin: 1rem 0; }
dt { color: var(--dim); } dd { margin: 0; overflow-wrap: anywhere; }
code, pre, td.call { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .875rem; }
pre { margin: .75rem 0; padding: .75rem 1rem; background: var(--box); border: 1px solid var(--line);
  border-radius: 6px; overflow-x: auto; }
code { overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; width: 100%; }
caption { text-align: left; color: var(--dim); padding-bottom: .4rem; overflow-wrap: anywhere; }
th, td { text-align: left; vertical-align: top; padding: .35rem .75rem .35rem 0; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--dim); font-weight: 600; }
tbody th[scope=rowgroup] { padding-top: 1.2rem; border-top: 0; }
tbody th[scope=row] { font-weight: 600; white-space: nowrap; }
td.verdict, td.time { white-space: nowrap; } td.time { font-variant-numeric: tabular-nums; }
td { overflow-wrap: anywhere; }
.operations td, .operations th { white-space: nowrap; } .operations td.call { white-space: normal; min-width: 12rem; }
tr.guilty { background: var(--guilty); }
article { margin: 1.25rem 0; padding: 1rem; border: 1px solid var(--line); border-left: 5px solid var(--broken);
  border-radius: 6px; }
article.known { border-left-color: var(--unseen); }
article:target, tr:target { outline: 3px solid var(--link); }
figure { margin: 1rem 0; } figcaption { color: var(--dim); margin: .4rem 0; }
svg { display: block; font: 12px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
svg text { fill: var(--fore); } svg .stamp { fill: var(--dim); font-size: 11px; }
svg .row { stroke: var(--line); } svg .tick { stroke: var(--line); stroke-dasharray: 2 3; }
svg .bar { fill: var(--bar); stroke: var(--edge); stroke-width: 1.25; } svg .open { stroke-dasharray: 5 3; }
svg .guilty .bar { fill: var(--guilty); stroke: var(--broken); stroke-width: 3; }
svg .guilty text { font-weight: 700; }
svg .kill { stroke: var(--broken); stroke-width: 3; fill: none; }
svg .death { fill: var(--broken); font-weight: 700; }
.matrix table { width: auto; min-width: 100%; } .matrix td:last-child { min-width: 14rem; }
.matrix tbody th[scope=row] { position: sticky; left: 0; background: var(--back); }
.matrix thead th { max-width: 12rem; overflow-wrap: anywhere; vertical-align: bottom; }
@media (max-width: 40rem) { body { padding: 1rem .75rem 3rem; } article { padding: .75rem; }
  .clauses thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .clauses table, .clauses tbody, .clauses tr, .clauses td, .clauses th, .clauses caption { display: block; }
  .clauses tr { padding: .5rem 0; border-top: 1px solid var(--line); }
  .clauses th, .clauses td { border: 0; padding: .1rem 0; } .clauses td:empty { display: none; } }
@media print { :root { --back: #fff; --fore: #000; --dim: #444; --line: #bbb; --box: #fff; --link: #000;
    --kept: #17672f; --broken: #b3201a; --unseen: #7d5000; --bar: #eef2f8; --edge: #40618f; --guilty: #fbdedc; }
  body { max-width: none; padding: 0; font-size: 10pt; } pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  .wide { overflow: visible; } svg { max-width: 100%; height: auto; }
  figure, tr { break-inside: avoid; } h2, h3, h4 { break-after: avoid; } }
"""
