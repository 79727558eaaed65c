"""The calibration sample: texts on many subjects and of many kinds, for measuring the ranges of values."""

from __future__ import annotations

SAMPLE = "ingrain-subjects-1"
"""Name of the sample; must change whenever a text changes."""

_SUBJECTS = (
    "a river in flood", "the price of bread", "a broken bicycle chain", "quantum computers", "the city council",
    "a child's first day at school", "coral reefs", "an old violin", "the football final", "heart surgery",
    "tax returns", "a recipe for lentil soup", "volcanic ash", "railway timetables", "the history of printing",
    "a lost passport", "solar panels", "wedding speeches", "antibiotics", "chess openings", "a leaking roof",
    "the stock exchange", "polar bears", "contract law", "a jazz trio", "software licences", "the harvest of olives",
    "sleep and memory", "a mountain rescue", "electric cars", "the rules of grammar", "refugees at the border",
    "a hotel by the sea", "the election in March", "prime numbers", "dog training", "a murder trial", "bone marrow",
    "the siege of the castle", "cheap flights", "knitting patterns", "nuclear waste", "a novel about twins",
    "the queue at the post office", "goalkeepers", "interest rates", "stage fright", "black holes", "a fire brigade",
    "poetry in translation", "wheat prices", "the prime minister", "a dentist's bill", "wolves in the valley",
    "video games", "the museum of clocks", "air strikes", "a marathon in the heat", "password managers", "honey bees",
    "the life of a composer", "road works", "vaccination of infants", "an unpaid invoice",
)  # fmt: skip

_FRAMES = (
    "{0}",
    "What should I know about {0}, and how does it compare with {1}?",
    "The report on {0} was published on Tuesday; experts disagree about what follows from it.",
    "I was thinking about {0} when somebody rang about {1}.",
    "This is the worst book on {0} that I have ever bought. Do not waste your money.",
    "Between 1987 and 2023 the share of {0} rose from 12 % to 31 %, according to official figures.",
    "Dear Ms Okafor, thank you for your letter concerning {0}. We shall come back to you within ten days.",
    "In diesem Text geht es um {0}; il s'agit aussi de {1}.",
)


def calibration_texts() -> list[str]:
    """Return the sample: every subject in every frame, 512 texts of 1 to about 30 words."""
    texts = []
    for row, frame in enumerate(_FRAMES):
        for place, subject in enumerate(_SUBJECTS):
            other = _SUBJECTS[(place + 5 * row + 7) % len(_SUBJECTS)]
            texts.append(frame.format(subject, other))
    return texts
