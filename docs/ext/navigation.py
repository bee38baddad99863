"""The sidebar, made once for all pages: Sphinx and Furo make it anew for each of two hundred, which
took two fifths of a build. A page's own has its entry marked, and links as they are seen from it.
"""
import re
from functools import cache, partial

from sphinx.environment.adapters.toctree import global_toctree_for_doc
from sphinx.util.osutil import relative_uri

TAG = re.compile(r'(<(?:li|ul|a|input)\b[^>]*>|</(?:li|ul)>)')
LINK = re.compile(r'href="([^"#:][^":]*)"')


@cache
def tree_of_root(builder, **options):
    "The site's table of contents as its first page has it, which stands in none of it."
    root = builder.config.root_doc
    tree = global_toctree_for_doc(builder.env, root, builder, tags=builder.tags, **options)
    return builder.render_partial(tree)["fragment"]


def once(app, pagename, templatename, context, doctree):
    "Furo asks each page for the tree, and makes a sidebar of it: now always of the same."
    if "toctree" in context: context["toctree"] = partial(tree_of_root, app.builder)


def marked(app, pagename, templatename, context, doctree):
    "After Furo made the sidebar of it: the tree of this page."
    tree = context.get("furo_navigation_tree")
    if not tree: return
    here = app.builder.get_target_uri(pagename)
    parts, ways = pieces(tree)
    parts = list(parts)
    for place in ways.get(here, ()):
        parts[place] = current(parts[place])
    if here in ways:
        last = next(place for place in reversed(ways[here]) if parts[place].startswith("<li"))
        parts[last] = parts[last].replace('">', ' current-page">')
    context["furo_navigation_tree"] = LINK.sub(
        lambda link: f'href="{relative_uri(here, link[1]) or "#"}"', "".join(parts))


@cache
def pieces(tree):
    "A tree cut at its tags, and for each page the places of the tags around its link, and of that."
    parts, open_tags, ways = TAG.split(tree), [], {}
    for place, part in enumerate(parts):
        if part in ("</li>", "</ul>"):
            while not parts[open_tags.pop()].startswith(f"<{part[2:4]}"): continue
        elif part.startswith(("<li", "<ul", "<input")): open_tags.append(place)
        elif part.startswith("<a") and (link := LINK.search(part)):
            box = [place + 2] if parts[place + 2].startswith("<input") else []
            ways[link[1]] = [*open_tags, place, *box]
    return parts, ways


def current(tag):
    "A tag that leads to the page that is shown."
    if tag.startswith("<ul"): return '<ul class="current">'
    if tag.startswith("<li"): return re.sub(r"(toctree-l\d+)", r"\1 current", tag)
    if tag.startswith("<a"): return tag.replace('class="', 'class="current ')
    return tag.replace(' class="', ' checked="" class="')


def setup(app):
    app.connect("html-page-context", once, priority=400)
    app.connect("html-page-context", marked, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
