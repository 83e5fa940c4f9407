"""Exercises of notebook 03: averaging, permuting units, the barrier, the greedy soup, costs, related models.

The references of the first four are the library's own functions (course_utils/merging/averaging.py, course_utils/merging/alignment.py).
"""

from __future__ import annotations

from course_utils.exercises import parameter_averaging_average as averaging
from course_utils.exercises import parameter_averaging_barrier as barrier
from course_utils.exercises import parameter_averaging_cost as cost
from course_utils.exercises import parameter_averaging_pairs as pairs
from course_utils.exercises import parameter_averaging_permute as permute
from course_utils.exercises import parameter_averaging_quizzes  # noqa: F401 (registers the quiz)
from course_utils.exercises import parameter_averaging_soup as soup
from course_utils.exercises.engine import Exercise, register
from course_utils.exercises.parameter_averaging_cost import inference_cost
from course_utils.exercises.parameter_averaging_pairs import CAN_AVERAGE
from course_utils.merging import average, greedy_soup
from course_utils.merging.alignment import loss_barrier, permute_units

__all__ = ["CAN_AVERAGE", "inference_cost"]

register(
    Exercise(
        "parameter_averaging.average",
        average,
        [
            averaging.average_four,
            averaging.average_two_or_five,
            averaging.average_counter,
            averaging.average_half,
            averaging.average_one,
        ],
        seconds=15.0,
        hints=[
            (
                "One sum for each name of the state dict, over the models. What share of it has model i, if the weights"
                " are 2, 1 and 5? And which tensors are no parameters at all?"
            ),
            (
                "total = sum(weights). For each name: start from zeros in float32, add weight / total *"
                " model[name].float() for each model, convert the finished sum to the first model's dtype. Whole"
                " numbers (not is_floating_point()) are copied, with .clone()."
            ),
            (
                "for name, first in models[0].items(): if not first.is_floating_point(): result[name] = first.clone();"
                " else: result[name] = sum(w / total * m[name].float() for w, m in zip(weights, models))"
                ".to(first.dtype)."
            ),
        ],
    )
)
register(
    Exercise(
        "parameter_averaging.permute",
        permute_units,
        [permute.permute_two, permute.permute_square, permute.permute_middle, permute.permute_first],
        hints=[
            (
                "A hidden unit is a row of its layer's weight and an entry of its bias. Who reads what it computes, and"
                " where do they expect it?"
            ),
            (
                "Three tensors change: rows of the layer's weight, entries of its bias, COLUMNS of the next layer's"
                " weight. The next layer's bias and all else stay. Put them into a copy of the state dict."
            ),
            (
                'result = {name: t.clone() for name, t in state_dict.items()}; result[f"{layer}.weight"] ='
                ' state_dict[f"{layer}.weight"][perm]; the bias likewise; result[f"{next_layer}.weight"] ='
                ' state_dict[f"{next_layer}.weight"][:, perm].'
            ),
        ],
    )
)
register(
    Exercise(
        "parameter_averaging.barrier",
        loss_barrier,
        [barrier.barrier_unequal, barrier.barrier_other_way, barrier.barrier_valley, barrier.barrier_three],
        hints=[
            (
                "If the two models have the losses 0.4 and 1.3, which loss would you expect half-way without any"
                " barrier? And at t = 0.6?"
            ),
            (
                "n losses lie at t = 0, 1/(n-1), ..., 1. At each t take the loss minus (1 - t) L(0) + t L(1); of these"
                " differences the largest. No absolute values."
            ),
            "t = torch.linspace(0, 1, len(losses)); (losses - ((1 - t) * losses[0] + t * losses[-1])).max().item()",
        ],
    )
)
register(
    Exercise(
        "parameter_averaging.greedy_soup",
        greedy_soup,
        [soup.soup_seven, soup.soup_tie, soup.soup_best_alone, soup.soup_two],
        seconds=10.0,
        hints=[
            (
                "First each model alone: which order follows from that? Then: with which score do you compare when a"
                " newcomer is tried, and what is evaluated?"
            ),
            (
                "chosen = [the best], best = its score. For each other i, from good to bad: score = evaluate(mean of"
                " chosen + [i]). If score >= best: i joins, and best = score. If not: leave it out and go on."
            ),
            (
                "scores = [evaluate(m) for m in models]; order = sorted(range(len(models)), key=lambda i: -scores[i]);"
                " in the loop over order[1:]: soup = average([models[j] for j in [*chosen, i]], [1] * (len(chosen) +"
                " 1)). At the end return the average of the chosen, and chosen."
            ),
        ],
    )
)
register(
    Exercise(
        "parameter_averaging.kv_cache",
        inference_cost,
        [cost.cost_primes, cost.cost_real, cost.cost_averaged],
        hints=[
            (
                "Begin with one model. What does it keep in memory whatever it reads, what does it keep for each token"
                " it has read, and what does it compute for the next one?"
            ),
            (
                "The cache of one model: keys AND values, for each layer, each KV head, each token of the context, a"
                " vector of head_dim numbers. Each parameter is one multiply-add a token. Then times the members, all"
                " three."
            ),
            (
                "members * parameters * bytes_per_value, members * 2 * layers * kv_heads * head_dim * context *"
                " bytes_per_value, members * parameters"
            ),
        ],
    )
)
register(
    Exercise(
        "parameter_averaging.can_average",
        CAN_AVERAGE,
        [pairs.pairs],
        hints=[
            (
                "The average takes weight number k of both models. For which pairs does weight number k have the same"
                " task in both?"
            ),
            (
                "A common start keeps the units in one order. What did the experiments of this notebook show for two"
                " seeds, and for a network and its permuted copy?"
            ),
            "Two entries are True: those whose models share a start. The other two are False.",
        ],
    )
)
