"""The report of runs: one page that needs no other file, and its pictures (`revgnn report`).

| file or folder | what it has |
|---|---|
| `report.py` | `write_report`: from folders to files |
| `page.py`, `page.css`, `page.js` | the page: elements, style, the script that sorts tables |
| `summary.py` | what is no picture: figures at the top, the table of runs, how to repeat them, machines |
| `compared.py` | what runs differ in; groups that differ in seed and split only |
| `details.py`, `depth_profile.py`, `measured.py` | what is computed from the weights of a run; these import torch |
| `depth_page.py` | the page of a depth study, from its depth.json |
| `pictures/` | from runs to pictures |
| `charts/` | pictures as values, drawn as SVG and PNG |
| `markup.py` | elements of HTML and SVG, whose text is always escaped |
"""
