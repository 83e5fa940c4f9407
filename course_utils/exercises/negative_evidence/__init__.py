"""The exercises of notebook 02: DExperts, the plausibility mask, the family's coefficients, guidance, dist-n."""

from torch import Tensor

from course_utils.exercises.engine import draw

ORDER = ("dexperts", "plausible_mask", "coefficients", "guidance", "distinct")


def experts(*shape: int, seed: int) -> list[Tensor]:
    """The log-probabilities of a core and of two experts that differ from it."""
    return [(1.2 * draw(*shape, seed=seed + i)).log_softmax(-1) for i in range(3)]


def sizes(log_probs: Tensor, *_: object) -> dict[int, str]:
    """Names for the dimensions of (B, V); none for one context, of which squeeze() takes the dimension away."""
    contexts, tokens = log_probs.shape
    return {contexts: "B contexts", tokens: "V tokens"} if 1 != contexts != tokens else {}


ERRORS = {
    "shapes": "The shapes do not fit: every input is (B, V). A maximum or a sum over the vocabulary takes dim=-1, and"
    " keepdim=True if it meets (B, V) again.",
    r"TypeError.*(tuple|return_types)": "x.max(dim) and x.sort(dim) return a pair, (values, indices): take .values, or"
    " use amax(dim=-1, keepdim=True).",
    "must be Tensor, not float": "Plain numbers need Python's own functions: math.log, not torch.log.",
}
