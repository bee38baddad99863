"Formulas as MathML, which browsers draw themselves: MathJax would come from another server."
import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging


def mathml(node, as_block):
    "MathML of one formula; a browser sizes brackets by itself."
    try:
        formula = re.sub(r"\\[bB]igg?[lrm]?(?![a-zA-Z])", "", node.astext())
        return tex2mathml(formula, as_block=as_block)
    except MathError as error:
        logging.getLogger(__name__).warning("formula %r: %s", node.astext(), error, location=node)
        return ""


def inline(translator, node):
    translator.body.append(mathml(node, False))
    raise nodes.SkipNode


def block(translator, node):
    translator.body.append(f'<div class="math">{mathml(node, True)}</div>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer(
        "mathml", inline_renderers=(inline, None), block_renderers=(block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
