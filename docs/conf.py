"""The documentation site: `make docs` builds it in docs/_build/html, and fails on any warning."""

from __future__ import annotations

import re
from typing import Any

from docutils.nodes import SkipNode
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from pygments.lexers.special import TextLexer
from sphinx.highlighting import lexers
from sphinx.util import logging

import revgnn

project = "revgnn"
version = release = revgnn.__version__
copyright = "the authors of revgnn"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ["myst.header"]
default_role = "code"
lexers["csv"] = TextLexer()  # Pygments has none

html_theme = "furo"
html_math_renderer = "mathml"
html_title = f"revgnn {version}"
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["site.css"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_default_options = {"members": True, "exclude-members": "__init__,__new__"}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def as_restructured_text(app: object, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Turn what docstrings write as Markdown, math and blocks of code, into reStructuredText, in place."""
    text = re.sub(r"\$([^$]+)\$", lambda found: f":math:`{' '.join(found[1].split())}`", "\n".join(lines))
    converted, in_code = [], False
    for line in text.split("\n"):
        indent = line[: len(line) - len(line.lstrip())]
        if line.strip() == "```" and in_code:
            converted.append("")
            in_code = False
        elif line.strip().startswith("```"):
            language = line.strip().strip("`") or "text"
            converted += ["", f"{indent}.. code-block:: {language}", ""]
            in_code = True
        else:
            converted.append(f"    {line}" if in_code and line.strip() else line)
    lines[:] = converted


def as_pages_of_the_site(app: object, name: str, source: list[str]) -> None:
    """Give links to other pages their titles as texts, and turn links that leave the folder into the path they lead to."""
    up = re.escape("../" * (name.count("/") + 1))
    source[0] = re.sub(rf"\[[^\]]+\]\({up}([^)]+)\)", r"`\1`", source[0])
    source[0] = re.sub(r"\[[\w/-]+\.md\]\(", "[](", source[0])


def as_mathml(translator: Any, node: Any) -> None:
    """Write a formula as MathML, which browsers render themselves: no script is fetched, and pages can be read offline."""
    try:
        mathml = tex2mathml(node.astext())
    except MathError as error:  # a warning, which fails the build
        logging.getLogger(__name__).warning("a formula cannot be written as MathML: %s In %s", error, node.astext(), location=node)
        raise SkipNode from None
    if not node.tagname.endswith("block"):
        translator.body.append(mathml)
    else:
        block = mathml.replace("<math ", '<math display="block" ', 1)
        translator.body.append(f'<div class="formula">{block}</div>')
    raise SkipNode


def setup(app: Any) -> None:
    app.add_html_math_renderer("mathml", (as_mathml, None), (as_mathml, None))
    app.connect("source-read", as_pages_of_the_site)
    app.connect("autodoc-process-docstring", as_restructured_text, priority=400)  # before napoleon
