"""The unit in which models with different tokens can be compared."""

import math

import torch

from course_utils.ensembling.across_vocabularies import bits_per_byte
from course_utils.exercises.engine import Exercise, case


def _bytes(texts):
    return sum(len(text.encode()) for text in texts)


EXERCISE = Exercise(
    "across_vocabularies.bits_per_byte",
    reference=bits_per_byte,
    what="your number",
    errors={"has no attribute 'encode'": "texts is a list: take the bytes of each text and add them."},
    cases=[
        case(
            "two texts of different length", torch.tensor([12.0, 31.5]), ["In the beginning", "God created the heavens"]
        ),
        case("letters of two and three bytes", torch.tensor([9.0, 14.0]), ["Jesús", "“sí” – dijo él"]),
        case("one text", torch.tensor([7.0]), ["Amen."]),
    ],
    mistakes={
        "You divide by characters.\nAn accent or a dash takes two or three bytes: text.encode().": lambda nats, texts: (
            float(nats.sum()) / math.log(2) / sum(map(len, texts))
        ),
        "These are nats a byte.\nOne bit is ln 2 nats.": lambda nats, texts: float(nats.sum()) / _bytes(texts),
        "You multiply by ln 2.\nA nat is more than a bit: divide.": lambda nats, texts: (
            float(nats.sum()) * math.log(2) / _bytes(texts)
        ),
        "This is the mean over the texts.\nAdd up first, so that each byte counts the same.": lambda nats, texts: (
            sum(float(n) / math.log(2) / len(t.encode()) for n, t in zip(nats, texts)) / len(texts)
        ),
        "You divide by words.\nBytes are the same for every model; what counts as a word is not.": (
            lambda nats, texts: float(nats.sum()) / math.log(2) / sum(len(text.split()) for text in texts)
        ),
        "This is the total number of bits.\nDivide by the number of bytes.": lambda nats, texts: (
            float(nats.sum()) / math.log(2)
        ),
    },
    hints=[
        "What has to be added up before you divide?",
        "All nats, divided by ln 2 and by the bytes of all texts in UTF-8.",
        "nats.sum() / math.log(2) / sum(len(text.encode()) for text in texts)",
    ],
)
