import vllm_sizing

project = "vllm-sizing"
author = "The vllm-sizing authors"
release = version = vllm_sizing.__version__
copyright = author  # noqa: A001  (Sphinx reads this name)

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_click",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"vllm-sizing {release}"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
maximum_signature_line_length = 90

copybutton_only_copy_prompt_lines = True
copybutton_prompt_text = "$ "

smartquotes = False  # a command line has two hyphens
nitpick_ignore = [
    ("py:class", "collections.abc.Mapping"),  # no network while building
    ("py:class", "vllm_sizing.specs.tensors.WeightTensor"),  # of interest to those who add an architecture
]


def setup(app):
    def escape(_app, _context, lines):
        lines[:] = [line.replace("*", r"\*") for line in lines]

    # Help texts are plain text: a star there is a power or a pattern, not emphasis.
    app.connect("sphinx-click-process-description", escape)
    app.connect("sphinx-click-process-options", escape)
