"""Sphinx: all pages of the repository and the reference of the API. `nox -s docs` builds them into `build/docs`.

Sphinx with MyST, not pdoc: it takes Markdown pages as they are and shows them beside the reference. It checks each link
from page to page, with its anchor, and each warning is an error (`-W`). pdoc renders docstrings only.
"""

import pygments.lexers

project = "wsclient"
copyright = "the wsclient authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# The folder of the sources is that of the repository.
include_patterns = ["*.md", "examples/*.md", "examples/reference/*.rst", "tests/README.md", "wsclient/ARCHITECTURE.md"]
exclude_patterns = [".*", "build"]
root_doc = "examples/reference/index"
html_extra_path = ["index.html"]

smartquotes = False  # a reader searches for the text of an error with the quotes that it has
html_theme = "furo"
html_title = "wsclient"
html_copy_source = False

myst_heading_anchors = 3
autoclass_content = "both"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
add_module_names = False
maximum_signature_line_length = 100


def setup(app):
    app.add_lexer("mermaid", pygments.lexers.TextLexer)  # diagrams are shown as text
