"""Prompts that neither a draft nor the draft-length policy was tuned on, by kind of text."""

from __future__ import annotations

from exsa_lab.distill.held_out import HELD_OUT

_PASSAGES = (
    """The orchard behind the school belongs to the village. Anyone may pick up fallen apples, but only the gardener
climbs the trees. In September the oldest class presses juice and sells it at the market, and the money pays for
a day at the lake.""",
    """Our train stops for twelve minutes in the mountains so that the second engine can be coupled. Passengers may
step out, but should stay on the platform, for the train leaves without a signal. Hot drinks are sold from a
cart near the last carriage.""",
    """A beekeeper opens the hive slowly and from the side, because bees dislike a shadow over the entrance. He lifts
one frame after the other, looks for eggs, and puts each frame back in its old place. After ten minutes the lid
is closed again.""",
    """The parcel was left with the neighbour on the fourth floor, because nobody opened the door on Wednesday. It can
be fetched every evening after six. Please bring the card from your letter box and a document with your
photograph.""",
    """Before the concert the piano is moved to the left side of the stage, and the lid is opened half way. The tuner
comes at three and needs an hour of silence. Chairs for the choir stand behind the curtain, twenty in each row.""",
    """Rain water from the roof runs into two barrels beside the shed. When both are full, a pipe leads the rest into
the pond. In winter the barrels are emptied and turned over, since ice would break them within one cold night.""",
    """The exhibition of old radios opens on Friday at five. Each visitor receives a pair of headphones and a map with
eleven stations. At the last station one can speak into a microphone of 1936 and hear one's own voice a moment
later.""",
    """Goats are clever animals and learn within a day how a gate is opened. A simple hook is not enough: the bolt must
be heavy, and it must be on the outside. Fences should be at least as high as a table and a half.""",
    """On the first of June the ferry company changes its timetable. The early boat leaves at ten past six instead of
half past six, and the last one returns at nine. Bicycles travel free of charge until the end of the summer.""",
    """To repair the lamp, switch off the fuse and wait until the bulb is cold. Loosen the two screws under the shade
and pull the cable out gently. The broken switch can then be replaced by a new one of the same size.""",
)
_REQUESTS = (
    'Repeat this text:\n\n"{text}"',
    "Repeat the following text word for word.\n\n{text}",
    "Proofread the following text and return it unchanged if it has no errors.\n\n{text}",
)
REPEAT = tuple(
    _REQUESTS[number % len(_REQUESTS)].format(text=" ".join(passage.split()))
    for number, passage in enumerate(_PASSAGES)
)

UNSEEN: dict[str, tuple[str, ...]] = {"chat": HELD_OUT["chat"], "code": HELD_OUT["code"], "repeat": REPEAT}
"""Prompts by kind; the last of each is for warming up."""

_STYLES = ("Answer briefly. ", "Answer with an example. ", "Answer in detail. ")


def many_chats(count: int) -> tuple[str, ...]:
    """Return so many different chat prompts, up to 80: those of "chat", and the same with a wish in front."""
    prompts = UNSEEN["chat"] + tuple(style + prompt for style in _STYLES for prompt in UNSEEN["chat"])
    return prompts[:count]
