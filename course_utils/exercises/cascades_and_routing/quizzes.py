"""The quiz of 08_cascades_and_routing: order, cost, thresholds, before or after, new domains, APGR, calibration."""

from __future__ import annotations

from course_utils.exercises.engine.quizzes import choice, register_quiz

register_quiz(
    "cascades_and_routing.quiz",
    [
        choice(
            "The tiers of a good cascade need not be more and more accurate. How are they ordered, and what makes a tier useful?",
            [
                (
                    "Mostly by price; a tier is useful if it is right, and known to be right, where the others fail or cost more",
                    "Yes: what counts is complementarity. Where cheap tiers are right and the dear one is wrong, a cascade can even"
                    " beat its best member.",
                ),
                (
                    "By accuracy, from the worst to the best; a tier is useful if it is better than all before it",
                    "A tier that is worse on average can still be the right one for the items that it is sure of. The mean hides this.",
                ),
                (
                    "By accuracy, from the best to the worst; later tiers check the answers of the earlier",
                    "Then the dearest model would be asked on every item. And nobody checks: a later tier answers anew what was rejected.",
                ),
                (
                    "In any order, because the thresholds are chosen on validation data afterwards",
                    "The thresholds cannot undo a dear first call: the first tier is paid for on every item, so its price counts most.",
                ),
            ],
        ),
        choice(
            "A cheap model costs 4, the strong one 10. The cascade passes 70% of the items on. What does an item cost on average?",
            [
                (
                    "11, more than the strong model alone: every item pays 4, and 70% pay 10 as well",
                    "Yes: 4 + 0.7 * 10. A cascade saves only if the cheap tier accepts a larger share than its price ratio, here 40%.",
                ),
                (
                    "8.2, since 30% of the items pay 4 and 70% pay 10",
                    "That is a router, which calls one model. A cascade has called the cheap model on the 70% too.",
                ),
                (
                    "14, since both models must be at hand for every item",
                    "The strong model is called only on the 70% that are passed on. The accepted 30% cost 4.",
                ),
                (
                    "7, since the cheap answer is thrown away where it is not accepted",
                    "It is thrown away, but it was computed: 0.7 * 10 leaves out the 4 that every item has paid.",
                ),
            ],
        ),
        choice(
            "Why are the thresholds chosen on validation data, and not on the test data that the accuracy is reported for?",
            [
                (
                    "The best of many settings on one set is partly luck there, so its accuracy on that set is too high",
                    "Yes: the maximum over a grid of thresholds fits the noise of the set. Other data tell what the setting is worth.",
                ),
                (
                    "The thresholds would otherwise depend on the training data of the models",
                    "They depend on the data they are chosen on. The models' own training data would be worse: models are too sure there.",
                ),
                (
                    "On test data the labels are not available when the cascade runs",
                    "They are known here, for they give the reported accuracy. It is the choice that must not see them.",
                ),
                (
                    "On validation data the scores are calibrated, and on test data they are not",
                    "Neither set is calibrated by being called so. The trouble is choosing and reporting on the same items.",
                ),
            ],
        ),
        choice(
            "A router and a cascade share the same two models. Which of them knows more when it decides, and what does it pay for that?",
            [
                (
                    "The cascade: it has seen the cheap answer, and pays for that answer on every item",
                    "Yes: an answer often shows that it is wrong. A router decides from the question alone, and calls one model.",
                ),
                (
                    "The router: it has seen the benchmark, and pays by calling both models on every item",
                    "The benchmark is seen once, in training. A router calls one model on each item: this is what it saves.",
                ),
                (
                    "The cascade: it has seen both answers, and pays for both models on every item",
                    "It sees the strong answer only where it has rejected the cheap one. On accepted items there is no second call.",
                ),
                (
                    "Neither: both decide by a score with a threshold, so the order of the steps does not matter",
                    "It matters what the score can see. With the cheap answer at hand it knows more than the question tells.",
                ),
            ],
        ),
        choice(
            "A router is clearly better than chance on held-out items, and hardly so on a whole domain that it was not trained on. Why?",
            [
                (
                    "It has largely learned in WHICH domains the strong model wins, and the items of a new one resemble none of them",
                    "Yes: its neighbours and words come from other domains. Test a router with a whole domain left out at a time.",
                ),
                (
                    "It has learned the training items by heart, and would fail on any held-out item",
                    "It does well on held-out items of the known domains, so this is not plain overfitting. It is the domain that is new.",
                ),
                (
                    "In the new domain both models are equally good, so there is no gap to recover",
                    "PGR is relative to the gap of the data it is measured on. The gap can be large, and the router does not find it.",
                ),
                (
                    "Its threshold does not fit the new domain, and APGR depends on the threshold",
                    "APGR averages over all thresholds. What fails is the order of the items, and no threshold mends that.",
                ),
            ],
        ),
        choice(
            "What is the APGR of a router that gives random scores, and what of the oracle, which knows both models' outcomes?",
            [
                (
                    "About .5 for random; the oracle may lie above 1, since it keeps the weak model where that is the better one",
                    "Yes: random routing gains in proportion to its calls. PGR = 1 is the strong model alone, and a good choice beats it.",
                ),
                (
                    "About 0 for random, as it recovers nothing; exactly 1 for the oracle",
                    "Any share of strong calls recovers that share of the gap, even at random. And 1 is the strong model alone.",
                ),
                (
                    "About .5 for random; at most 1 for the oracle, since no choice beats the strong model",
                    "No SINGLE model beats it. Where the weak model is right and the strong one wrong, the choice between them does.",
                ),
                (
                    "It depends on the share of strong calls for both, so there is no such number",
                    "PGR depends on the share. APGR is its average over all shares, which leaves one number.",
                ),
            ],
        ),
        choice(
            "Model A's confidences have an ECE of nearly 0, model B's of 0.2. Which makes the better first tier of a cascade?",
            [
                (
                    "That cannot be told: a cascade needs right answers to score above wrong ones, and ECE does not measure order",
                    "Yes: a model that always says its mean accuracy has ECE 0 and no order at all. Halved confidences keep their order.",
                ),
                (
                    "A: only with true confidences does a threshold part right answers from wrong ones",
                    "The threshold is chosen for the scores as they are, and any rising function of them gives the same cascades.",
                ),
                (
                    "B: a model that is often too sure accepts more, and so the cascade is cheaper",
                    "How much is accepted is set by the threshold, not by the ECE. And an ECE of 0.2 may as well be a lack of confidence.",
                ),
                (
                    "A: an ECE of nearly 0 says that hardly any of its confident answers is wrong",
                    "It says that of the answers with confidence .7 about 70% are right. Perhaps all its confidences are .7.",
                ),
            ],
        ),
    ],
)
