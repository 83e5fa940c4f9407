"""Word errors against a recursion; n-best weights and the marginal by hand; the committed clips and their words."""

import functools
import importlib.util
import itertools
import math

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from course_utils.pipelines import recognition
from course_utils.pipelines.recognition import (
    Lattice,
    align_words,
    load_clip,
    marginal_pipeline,
    nbest_paths,
    nbest_posterior,
    normalise,
    read_lattice,
    recognise,
    word_error_rate,
)
from course_utils.shelf.models import ModelError, data_dir

HAS_POCKETSPHINX = importlib.util.find_spec("pocketsphinx") is not None
WORDS = st.lists(st.sampled_from(["a", "b", "c", "o'd"]), max_size=7)


@pytest.fixture(scope="module")
def speech():
    return pd.read_parquet(data_dir() / "speech.parquet")


def edit_distance(r: tuple, h: tuple) -> int:
    """Levenshtein by its recursive definition from the front; the library fills a table and traces back."""

    @functools.lru_cache(None)
    def distance(i: int, j: int) -> int:
        if i == len(r) or j == len(h):
            return len(r) - i + len(h) - j
        return min(distance(i + 1, j + 1) + (r[i] != h[j]), distance(i + 1, j) + 1, distance(i, j + 1) + 1)

    return distance(0, 0)


@given(WORDS.filter(bool), WORDS)
def test_word_errors_are_the_edit_distance(reference, hypothesis):
    errors = word_error_rate(" ".join(reference), " ".join(hypothesis))
    expected = edit_distance(tuple(reference), tuple(hypothesis))
    assert errors.substitutions + errors.insertions + errors.deletions == expected
    assert errors.words == len(reference)
    assert errors.insertions - errors.deletions == len(hypothesis) - len(reference)
    assert errors.rate == sum(errors[:3]) / len(reference)


@given(WORDS, WORDS)
def test_alignment_has_all_words_in_their_order(reference, hypothesis):
    pairs = align_words(" ".join(reference), " ".join(hypothesis))
    assert [r for r, _ in pairs if r is not None] == reference
    assert [h for _, h in pairs if h is not None] == hypothesis
    assert (None, None) not in pairs


def test_word_errors_by_hand():
    errors = word_error_rate("He was not an ill-disposed young man.", "he was not until this blows young man")
    assert tuple(errors) == (3, 0, 0, 8) and errors.rate == 3 / 8
    assert tuple(word_error_rate("a b c", "")) == (0, 0, 3, 3)
    assert word_error_rate("a", "b c d").rate == 3.0  # more errors than words
    pairs = [("the", "the"), ("cat", None), ("sat", "sat"), ("here", "here"), (None, "on")]
    assert align_words("the cat sat here", "the sat here on") == pairs
    assert align_words("a b", "c d") == [("a", "c"), ("b", "d")]
    pooled = word_error_rate(["a", "a b c"], ["b", "a b c"])  # 1 of 4 words, not the mean of 1 and 0
    assert tuple(pooled) == (1, 0, 0, 4) and pooled.rate == 0.25
    for wrong, complaint in [(("...", "a"), "no words"), ((["a"], ["a", "b"]), "1 references for 2")]:
        with pytest.raises(ValueError, match=complaint):
            word_error_rate(*wrong)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<s> he read(2) it <sil> [NOISE] ++COUGH++ </s>", "he read it"),
        ("“Isn’t this Naomi?” Cold-hearted, he said: 'Go!'", "isn't this naomi cold hearted he said go"),
        ("for 'em", "for em"),
        ("_ -- '' ", ""),
    ],
)
def test_normalise(text, words):
    assert normalise(text) == words
    assert normalise(words) == words
    assert normalise(text, lower=False).lower() == words


def test_nbest_posterior_by_hand():
    scores = [-10.0, -12.0, -19.5]
    weights = nbest_posterior(scores, scale=0.5)
    want = [math.exp(-5.0), math.exp(-6.0), math.exp(-9.75)]
    assert weights.tolist() == pytest.approx([w / sum(want) for w in want])
    assert nbest_posterior(scores, 0).tolist() == pytest.approx([1 / 3] * 3)
    assert nbest_posterior([s - 1e4 for s in scores], 0.5).tolist() == pytest.approx(weights.tolist())
    padded = torch.tensor([[-1.0, -2.0], [-3.0, -math.inf]])
    for scale in (0, 0.3):
        assert nbest_posterior(padded, scale)[1].tolist() == [1.0, 0.0]
    for scores, scale in [([], 1), ([-math.inf], 1), ([1.0], -1), ([1.0], math.nan)]:
        with pytest.raises(ValueError, match="scale|finite score"):
            nbest_posterior(scores, scale)


@pytest.mark.parametrize("own", [False, True], ids=["shared", "own"])
def test_marginal_is_the_sum_over_the_middle(own):
    generator = torch.Generator().manual_seed(0)
    batch, k, v = 3, 4, 5
    p1 = torch.rand(batch, k, generator=generator).softmax(-1)
    p2 = torch.rand(*([batch] if own else []), k, v, generator=generator).softmax(-1)
    want = torch.zeros(batch, v)
    for b, i, y in itertools.product(range(batch), range(k), range(v)):
        want[b, y] += p1[b, i] * (p2[b, i, y] if own else p2[i, y])
    got = marginal_pipeline(p1, p2)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(got.sum(-1), torch.ones(batch))


def test_marginal_differs_from_the_one_best():
    """The 1-best intermediate leads to the answer 0; the two others, heavier together, to the answer 1."""
    p1 = torch.tensor([[0.4, 0.3, 0.3]])
    p2 = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    torch.testing.assert_close(marginal_pipeline(p1, p2), torch.tensor([[0.4, 0.6]]))
    one_hot = torch.nn.functional.one_hot(p1.argmax(-1), 3).float()
    torch.testing.assert_close(marginal_pipeline(one_hot, p2), torch.tensor([[1.0, 0.0]]))


@pytest.mark.parametrize(
    ("first", "second", "complaint"),
    [
        (torch.ones(2, 3), torch.ones(4, 5), "do not fit"),
        (torch.ones(2, 3), torch.ones(1, 3, 5), "do not fit"),
        (torch.ones(3), torch.ones(3, 5), "do not fit"),
        (torch.full((2, 3), -1.0), torch.ones(3, 5), "take exp"),
    ],
)
def test_marginal_says_what_is_wrong(first, second, complaint):
    with pytest.raises(ValueError, match=complaint) as caught:
        marginal_pipeline(first, second)
    assert "\n" not in str(caught.value)


def test_clips_and_table_belong_together(speech):
    folder = data_dir() / "speech"
    assert sorted(speech["clip"]) == sorted(path.name for path in folder.iterdir())
    assert speech.groupby("kind").size().to_dict() == {"librivox": 5, "synthetic": 36}
    for row in speech.itertuples():
        samples, rate = load_clip(row.clip)
        assert samples.dtype == np.float32 and samples.ndim == 1 and rate == 16_000
        assert len(samples) / rate == pytest.approx(row.seconds, abs=0.006)
        assert samples.std() > 0.01 and abs(samples).max() <= 1, f"{row.clip} is silent"
    files = [*folder.iterdir(), data_dir() / "speech.parquet"]
    assert sum(path.stat().st_size for path in files) < 450_000


def test_verses_are_those_that_the_translators_are_judged_on(speech):
    verses = pd.read_parquet(data_dir() / "verses.parquet").set_index("ref")
    spoken = speech[speech.kind == "synthetic"].set_index("ref")
    assert spoken.index.is_unique and (spoken.reference == verses.loc[spoken.index].web).all()
    assert set(verses.loc[spoken.index].book) == {"Judges", "Esther", "Jonah"}
    assert spoken.reference.str.split().str.len().between(6, 16).all()
    assert verses.loc[spoken.index].es.str.split().str.len().le(32).all()


def test_hypotheses_are_distinct_clean_and_sorted(speech):
    for row in speech.itertuples():
        assert 1 <= len(row.hypotheses) == len(row.scores) <= 10
        assert len(set(row.hypotheses)) == len(row.hypotheses)
        assert list(row.hypotheses) == [normalise(text) for text in row.hypotheses]
        assert (np.diff(row.scores) <= 0).all() and np.isfinite(row.scores).all()


def test_recognition_is_imperfect_but_not_hopeless(speech):
    for kind, part in speech.groupby("kind"):
        assert 0.1 < word_error_rate(list(part.reference), list(part.hypotheses.str[0])).rate < 0.6, kind


@st.composite
def lattices(draw):
    """Nodes 0 .. N-1 in time order, all reachable from 0 and reaching N-1; some of them silences."""
    size = draw(st.integers(2, 7))
    middle = st.lists(st.sampled_from(["a", "b", "!NULL"]), min_size=size - 2, max_size=size - 2)
    words = ["!NULL", *draw(middle), "</s>"]
    pairs = {(i, i + 1) for i in range(size - 1)}
    pairs |= draw(st.sets(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1)).filter(lambda p: p[0] < p[1])))
    return Lattice(words, [(i, j, draw(st.integers(-9, 0)) / 4) for i, j in sorted(pairs)], 0, size - 1)


def toy_score(word: str, before: tuple[str, ...]) -> float:
    return -(sum(map(ord, word + "|".join(before))) % 7) / 8


def every_path(lattice: Lattice) -> dict[str, float]:
    """The best score of each word string, by walking along every path there is."""
    best: dict[str, float] = {}

    def walk(node: int, words: list[str], score: float) -> None:
        if node == lattice.end:
            key = " ".join(words)
            best[key] = max(best.get(key, -math.inf), score + toy_score("</s>", ("<s>", *words)[-2:]))
        for start, end, acoustic in lattice.links:
            if start == node:
                is_word = end != lattice.end and lattice.words[end] != "!NULL"
                gained = toy_score(lattice.words[end], ("<s>", *words)[-2:]) if is_word else 0.0
                walk(end, words + [lattice.words[end]] * is_word, score + acoustic + gained)

    walk(lattice.start, [], 0.0)
    return best


@given(lattices(), st.integers(1, 4))
def test_nbest_of_a_lattice_is_the_best_of_all_paths(lattice, n):
    want, got = every_path(lattice), nbest_paths(lattice, toy_score, n)
    assert list(got.values()) == pytest.approx(sorted(want.values(), reverse=True)[:n])
    assert all(score == pytest.approx(want[words]) for words, score in got.items())


def test_htk_lattice_by_hand():
    """The end comes first in the file, and a pause between two words does not separate them for the language model."""
    text = (
        "start=3\nend=0\nN=4\tL=3\nI=0\tt=0.90\tW=!SENT_END\tv=1\nI=1\tt=0.50\tW=go\tv=2\nI=2\tt=0.30\tW=!NULL\tv=1\n"
        "I=3\tt=0.00\tW=!SENT_START\tv=1\nJ=0\tS=1\tE=0\ta=-2.5\tp=1\nJ=1\tS=2\tE=1\ta=-1e1\tp=1\nJ=2\tS=3\tE=2\ta=-0.5\tp=1"
    )
    lattice = read_lattice(text)
    assert lattice == (["</s>", "go", "!NULL", "!SENT_START"], [(1, 0, -2.5), (2, 1, -10.0), (3, 2, -0.5)], 3, 0)
    asked = []
    assert nbest_paths(lattice, lambda word, before: asked.append((word, before)) or -1.0, 5) == {"go": -15.0}
    assert asked == [("go", ("<s>",)), ("</s>", ("<s>", "go"))]


needs_pocketsphinx = pytest.mark.skipif(not HAS_POCKETSPHINX, reason="PocketSphinx is not installed")


@needs_pocketsphinx
def test_recogniser_hears_the_same_again(speech):
    """Samples or a file name, whatever was heard before, any n: the committed list, PocketSphinx's own answer first.

    Decoders on other processors may differ in the last bit: far down the list, neighbours may change places.
    """
    for row in speech[speech["clip"].isin(["judges-10-5.ogg", "librivox-0880.ogg"])].itertuples():
        best = recognise(load_clip(row.clip)[0], n=10)
        assert best.hypotheses[0] == row.hypotheses[0] == normalise(recognition._decoder().hyp().hypstr)
        committed, heard = dict(zip(row.hypotheses, row.scores)), dict(zip(*best))
        both = committed.keys() & heard.keys()
        assert len(heard) == 10 and len(both) >= 8, both
        assert [heard[words] for words in both] == pytest.approx([committed[words] for words in both], abs=0.5)
    assert recognise(row.clip, n=3) == (best.hypotheses[:3], best.scores[:3])


@needs_pocketsphinx
def test_too_short_for_a_word():
    for length in (0, 160, 800):
        best = recognise(np.zeros(length))
        assert best == ([""], [0.0]), length


def test_bad_clips_are_one_clear_line(tmp_path):
    stereo, broken = tmp_path / "stereo.wav", tmp_path / "broken.ogg"
    soundfile.write(stereo, np.zeros((800, 2)), 16_000)
    soundfile.write(slow := tmp_path / "slow.wav", np.zeros(800), 8_000)
    broken.write_bytes(b"OggS and then nothing")
    for path, complaint in [("nobody.ogg", "no clip"), (stereo, "2 channels"), (broken, "cannot be read")]:
        with pytest.raises(ModelError, match=complaint) as caught:
            load_clip(path)
        assert "\n" not in str(caught.value)
    for wrong, n, complaint in [
        (slow, 1, "8000 Hz"),
        (np.zeros((2, 9)), 1, "one channel"),
        (np.zeros(9), 0, "at least one"),
        (np.full(9, 200, np.int16), 1, "divide 16-bit"),
        (np.full(9, np.nan), 1, "numbers in"),
    ]:
        with pytest.raises(ValueError, match=complaint):
            recognise(wrong, n)


def test_missing_recogniser_is_one_clear_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pocketsphinx", None)
    with pytest.raises(ModelError, match="pip install pocketsphinx") as caught:
        recognition._decoder.__wrapped__()
    assert "\n" not in str(caught.value)
