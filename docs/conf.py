"""The site's settings. Names, version and links come from settings.ini; pages that are made from
code come from ext/."""
import sys
from configparser import ConfigParser
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "ext"))

_config = ConfigParser(delimiters=["="])
_config.read(HERE.parent / "settings.ini", encoding="utf-8")
_settings = _config["DEFAULT"]

project = _settings["lib_path"]
author = _settings["author"]
copyright = _settings["copyright"]
version = release = _settings["version"]
# Links to the repository: none while it has no address.
_blob = f"{_settings['git_url']}/blob/{_settings['branch']}"
site_source_url = _blob if _settings["git_url"] else ""

extensions = ["myst_nb", "sphinx.ext.intersphinx", "sphinx_copybutton",
              "notebooks", "reference", "architecture", "mathml", "navigation"]
exclude_patterns = ["_build", "ext", "locale", "inventories"]
highlight_language = "text"

# What the site shows is what the committed notebooks printed.
nb_execution_mode = "off"
nb_custom_formats = {".ipynb": "notebooks.read_notebook"}
nb_merge_streams = True
nb_render_markdown_format = "gfm"  # tables too, which cells write
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 3

# What a copy button takes of a command in a terminal: not its prompt, not what it printed.
copybutton_prompt_text = r"\$ |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_selector = "div.cell_input div.highlight pre, div.highlight:not(.cell_output *) pre"

# Links into other projects' documentation. The inventories are committed (scripts/inventories.py),
# so a build needs no network.
intersphinx_mapping = {name: (url, f"inventories/{name}.inv") for name, url in {
    "python": "https://docs.python.org/3",
    "numpy": "https://numpy.org/doc/stable",
    "pillow": "https://pillow.readthedocs.io/en/stable",
    "matplotlib": "https://matplotlib.org/stable",
    "torch": "https://docs.pytorch.org/docs/stable",
    "transformers": "https://huggingface.co/docs/transformers",
    "datasets": "https://huggingface.co/docs/datasets",
}.items()}
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False

# One catalogue for the whole site; a translation is locale/LANGUAGE/LC_MESSAGES/imgcap.po.
locale_dirs = ["locale"]
gettext_compact = "imgcap"
gettext_location = False

html_theme = "furo"
html_title = project
_address = f"{_settings['doc_host']}{_settings['doc_baseurl']}/"
html_baseurl = _address if _settings["doc_host"] else ""
html_static_path = ["static", "../imgcap/templates/shared.css"]
html_css_files = ["shared.css", "imgcap.css"]
html_js_files = ["scroll.js"]
html_favicon = "static/favicon.svg"
html_math_renderer = "mathml"
html_copy_source = False
# The colours and the type of all pages, bright and dark, stand in shared.css.
_colours = {
    "font-stack": "var(--type)",
    "color-brand-primary": "var(--link)",
    "color-brand-content": "var(--link)",
    "color-foreground-primary": "var(--ink)",
    "color-foreground-secondary": "var(--soft)",
    "color-background-primary": "var(--page)",
    "color-background-secondary": "var(--card)",
    "color-background-border": "var(--line)",
    "color-sidebar-caption-text": "var(--soft)",
}
html_theme_options = {
    "light_css_variables": _colours,
    "dark_css_variables": _colours,
    "top_of_page_buttons": [],
    "footer_icons": [{"name": "Source", "url": url, "html": "Source", "class": ""}
                     for url in [_settings["git_url"]] if url],
}
