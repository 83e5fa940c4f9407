"""Live charts: a slider is moved and the browser computes the chart anew by itself, from numbers that are in the page.

Each function returns a ``LiveChart``; its docstring gives the formula that the page evaluates. A chart is one file,
named after what it shows. They share `vega` (parts of Vega-Lite specifications), `chart` (whole panels and the chart
itself), `labels` (where names stand), `letters` (texts letter by letter), `tokens` (next-token distributions) and
`style`, the look of all figures.
"""

from course_utils.explore.cascade import cascade_explorer
from course_utils.explore.chart import LiveChart
from course_utils.explore.controls import choice_control, generate_control
from course_utils.explore.distillation import Example, distillation_explorer
from course_utils.explore.grid import grid_explorer
from course_utils.explore.guess import guess_first
from course_utils.explore.loss_path import path_explorer
from course_utils.explore.moe_routing import routing_explorer
from course_utils.explore.negative_evidence import negative_evidence_explorer
from course_utils.explore.next_byte import next_byte_explorer
from course_utils.explore.next_token import LAMBDAS, RULES, next_token_explorer
from course_utils.explore.noising import corruption_explorer
from course_utils.explore.or_and import or_and_explorer
from course_utils.explore.plane import plane_explorer
from course_utils.explore.refinement_rounds import refinement_explorer
from course_utils.explore.ties import thresholds, ties_explorer
from course_utils.explore.tokens import token_label
from course_utils.explore.translations import translation_viewer
from course_utils.explore.unmasking import decisions_viewer
from course_utils.explore.weights_over_text import weight_strip

__all__ = [
    "LAMBDAS",
    "RULES",
    "Example",
    "LiveChart",
    "cascade_explorer",
    "choice_control",
    "corruption_explorer",
    "decisions_viewer",
    "distillation_explorer",
    "generate_control",
    "grid_explorer",
    "guess_first",
    "negative_evidence_explorer",
    "next_byte_explorer",
    "next_token_explorer",
    "or_and_explorer",
    "path_explorer",
    "plane_explorer",
    "refinement_explorer",
    "routing_explorer",
    "thresholds",
    "ties_explorer",
    "token_label",
    "translation_viewer",
    "weight_strip",
]
