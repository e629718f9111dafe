"""Six kinds of text to generate, from open chat to plain copying. Written for this benchmark."""

from __future__ import annotations

from exsa_lab.bench.setting import Options
from exsa_lab.config import did_you_mean
from exsa_lab.errors import ConfigError

CHAT = (
    "What makes bread rise, and why does it need to rest? Explain it to someone who has never baked.",
    "I have a job interview on Thursday and I am nervous. How should I prepare?",
    "Tell me a story about a lighthouse keeper who finds a message in a bottle.",
    "Why do leaves change their colour in autumn?",
    "Compare travelling by train with travelling by plane for a family with two small children.",
    "What are good habits for someone who wants to sleep better?",
    "Describe a small harbour town early in the morning, before the shops open.",
    "How does a bicycle stay upright while it is moving?",
)

CODE = (
    "Write a Python function that reads a CSV file and returns the average of each numeric column.",
    "Write a Python class for a bank account with deposit, withdraw and a history of all transactions.",
    "Write a Python function that merges two sorted lists into one sorted list, with comments.",
    "Write a JavaScript function that counts how often each word occurs in a text.",
    "Write a Python program that plays rock, paper, scissors against the user.",
    "Write a Python function that checks whether a string is a valid email address, and some tests for it.",
    "Write a Python function for binary search and explain each line.",
    "Write a Python script that renames all files in a folder to lower case.",
)

_ARTICLES = (
    """The town library will close for four weeks from the first of March. During this time the heating will be
replaced and the reading room will get new windows. Books that are due in March can be returned until the
tenth of April without a fee. "We know that many people come here to work in the warm," said the director,
Anna Brandt, "and we are sorry for the trouble." Children's afternoons will take place in the town hall.""",
    """Farmers in the valley have started to plant hazelnuts instead of maize. The trees need little water once they
are five years old, and a kilo of nuts brings three times as much as it did ten years ago. "My father laughed
at me," said Piero Conti, who planted his first trees in 2014, "but now he helps with the harvest." The
regional bank offers loans that need no payment until the first full crop.""",
    """A team of students has built a solar powered boat that crossed the lake in two hours and ten minutes. The boat
is six metres long and weighs less than two hundred kilos. "The hardest part was the rudder, which broke
twice," said Mira Holm, who led the team. Next year they want to sail along the coast, and they are looking
for someone who can repair electric motors.""",
    """The night bus from the station to the university will run every thirty minutes from September. Until now the
last bus left at eleven. The city council voted for the change by eighteen votes to twelve. "Students and
nurses will get home safely," said council member David Okoro. The extra cost of ninety thousand a year is
paid from parking fees.""",
    """After six years of work the old mill on the river is open again. Visitors can watch how grain was ground two
hundred years ago, and on Saturdays they can take home a bag of flour. "Every wheel in here is made of oak,"
said the miller, Tom Arden, "and you can hear when one of them is dry." Entry is free for children under
twelve.""",
    """Researchers counted more bees in gardens than in fields this summer. In forty gardens they found twenty-three
species, among them two that were thought to be lost. "A garden that is a little untidy is the best garden,"
said the biologist Ines Vidal. She asks people to leave dead stems standing until April, because many bees
spend the winter in them.""",
    """The swimming pool at North Park will open two weeks earlier this year. The water is now heated by the ice rink
next door, which has to get rid of its warmth anyway. "It is strange that nobody did this before," said
engineer Paul Reyes. A day ticket costs four euros, and a season ticket costs sixty. Swimming lessons start on
the fifth of May.""",
    """A baker in the old town sells yesterday's bread for half the price, and the queue is longer than for the fresh
bread. "I used to throw away a fifth of what I baked," said Lena Fuchs, "and now it is almost nothing." Two
other shops have copied the idea. The town has given her a prize of one thousand euros, which she wants to
spend on a new oven.""",
)

SUMMARISE = tuple(
    f"Summarize the following text in three sentences. Quote the most important sentences word for word.\n\n{article}"
    for article in _ARTICLES
)

_PROGRAMS = (
    (
        "Rename the variable total to amount",
        """def invoice(items, rate):
    total = 0
    for item in items:
        total += item.price * item.count
    if total > 1000:
        total = total * 0.95
    tax = total * rate
    print("Before tax:", total)
    return total + tax""",
    ),
    (
        "Add a docstring to the function and change nothing else",
        """def read_settings(path):
    settings = {}
    with open(path) as file:
        for line in file:
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            key, value = line.split("=", 1)
            settings[key.strip()] = value.strip()
    return settings""",
    ),
    (
        "Change the timeout from 10 to 30 seconds",
        """import socket

def is_port_open(host, port):
    connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connection.settimeout(10)
    try:
        connection.connect((host, port))
        return True
    except OSError:
        return False
    finally:
        connection.close()""",
    ),
    (
        "Add type hints",
        """def count_words(text):
    counts = {}
    for word in text.lower().split():
        word = word.strip(".,;:!?")
        if word:
            counts[word] = counts.get(word, 0) + 1
    return counts

def most_common(counts, number):
    ranked = sorted(counts.items(), key=lambda pair: pair[1], reverse=True)
    return ranked[:number]""",
    ),
    (
        "Rename the class Box to Container",
        """class Box:
    def __init__(self, width, height, depth):
        self.width = width
        self.height = height
        self.depth = depth

    def volume(self):
        return self.width * self.height * self.depth

    def fits_into(self, other):
        return self.width <= other.width and self.height <= other.height and self.depth <= other.depth""",
    ),
    (
        "Replace print with logging.info",
        """import logging

def process(orders):
    print("Processing orders")
    for order in orders:
        if order.is_paid:
            print("Shipping order", order.number)
            order.ship()
        else:
            print("Waiting for payment of order", order.number)
    print("All orders processed")""",
    ),
    (
        "Let the function return 0 when the list is empty",
        """def average(numbers):
    total = 0
    count = 0
    for number in numbers:
        total += number
        count += 1
    return total / count

def spread(numbers):
    middle = average(numbers)
    return average([abs(number - middle) for number in numbers])""",
    ),
    (
        "Add a method called clear that removes all items",
        """class Queue:
    def __init__(self):
        self.items = []

    def put(self, item):
        self.items.append(item)

    def get(self):
        if not self.items:
            return None
        return self.items.pop(0)

    def size(self):
        return len(self.items)""",
    ),
)

EDIT = tuple(
    f"{task} in this Python code and show the whole code again:\n\n```python\n{code}\n```" for task, code in _PROGRAMS
)

PASSAGES = (
    """The ferry leaves the northern pier at half past seven and reaches the island around nine. Tickets are sold on
board, and children under six travel free of charge. In winter there is only one crossing a day, and it may be
cancelled when the wind is too strong. Please bring a warm coat, for the upper deck is cold even in June.""",
    """Wash the lentils and put them into a large pot with two litres of water. Add one onion, two carrots and a bay
leaf, and let everything simmer for forty minutes. Do not add salt before the lentils are soft. Serve the soup
with a spoon of vinegar and some fresh bread, and keep the rest in the fridge for up to three days.""",
    """Every tenant has a key to the cellar and one to the bicycle room. The washing machine may be used between
eight in the morning and nine in the evening, but not on Sundays. Paper and glass are collected on the first
Tuesday of the month. If the lamp in the stairway is broken, please tell the caretaker, who lives on the
ground floor.""",
    """The museum shows clocks and watches from five centuries. The oldest one was built for a church tower in 1540
and still runs, although it loses ten minutes a day. On the second floor visitors can open a watch themselves
and look at the wheels. Guided tours start at eleven and at three, and they take about one hour.""",
    """Plant the bulbs in October, about ten centimetres deep and with the tip upwards. They do not like wet soil, so
put a layer of sand under them. The first flowers appear in March, and they last for three or four weeks.
Leave the leaves until they are yellow, because the bulb takes its food for the next year from them.""",
    """The meeting begins at nine in the large room on the third floor. First we will look at the numbers of the last
quarter, then at the plan for the new building. Lunch is served at half past twelve. In the afternoon there
are two workshops, one about safety and one about the new software, and everybody should take part in both of
them.""",
    """Old maps show a village here, with a church, a mill and some thirty houses. It was given up after the flood of
1783, and the people moved to the hill on the other side of the river. Today only the walls of the mill are
left. In a dry summer one can still see the line of the old street in the grass, and the children look for
coins.""",
    """Press the green button for three seconds until the light begins to flash. Then open the lid, put in the paper
and close the lid again. The machine needs about one minute to warm up. If the red light is on, there is no
more paper or the lid is not closed. Never open the lid while the machine is working, because some of its
parts are very hot.""",
)

_WORD_FOR_WORD = "Repeat the following text word for word.\n\n{text}"
_QUOTED = 'Repeat this text:\n\n"{text}"'
_PROOFREAD = "Proofread the following text and return it unchanged if it has no errors.\n\n{text}"
# A model this small often retells instead of repeating: each passage is asked for in words it follows.
_REQUESTS = (_QUOTED, _PROOFREAD, _WORD_FOR_WORD, _WORD_FOR_WORD, _PROOFREAD, _QUOTED, _QUOTED, _QUOTED)

REPEAT = tuple(
    request.format(text=" ".join(passage.split())) for request, passage in zip(_REQUESTS, PASSAGES, strict=True)
)

_RECORDS = (
    ("user", ("name", "email", "city", "age", "is_active"), "Nina Berger, Tom Hale and Ravi Shah"),
    ("book", ("title", "author", "year", "pages", "language"), "three well known novels"),
    ("product", ("id", "name", "price", "in_stock", "category"), "a lamp, a chair and a desk"),
    ("city", ("name", "country", "population", "river", "is_capital"), "Paris, Rome and London"),
    ("sensor", ("id", "room", "temperature", "humidity", "battery"), "the kitchen, the cellar and the office"),
    ("task", ("id", "title", "owner", "priority", "done"), "a small software project"),
    ("flight", ("number", "from", "to", "departure", "arrival"), "three flights from Madrid"),
    ("plant", ("name", "light", "water", "height_cm", "is_edible"), "basil, mint and thyme"),
)


def _template(kind: str, keys: tuple[str, ...]) -> str:
    body = ",\n".join(f'    "{key}": "<{key} of the {kind}>"' for key in keys)
    return f"[\n  {{\n{body}\n  }}\n]"


JSON = tuple(
    f"Fill in this JSON template with one entry for each {kind} ({examples}). Keep the keys and the layout.\n\n"
    f"```json\n{_template(kind, keys)}\n```"
    for kind, keys, examples in _RECORDS
)

N_TEXTS = 8
WORKLOADS: dict[str, tuple[str, ...]] = {
    "chat": CHAT,
    "code": CODE,
    "summarise": SUMMARISE,
    "edit": EDIT,
    "repeat": REPEAT,
    "json": JSON,
}
"""`N_TEXTS` prompts of each kind."""


def chosen_workloads(options: Options) -> list[str]:
    """Return the kinds of text asked for by ``--workloads``, or all; raises ConfigError for an unknown one."""
    given: str | None = options.given.workloads
    names = given.split(",") if given else ["chat", "repeat"] if options.quick else list(WORKLOADS)
    for name in names:
        if name not in WORKLOADS:
            raise ConfigError(f"unknown workload {name!r}.", hint=did_you_mean(name, WORKLOADS) or ", ".join(WORKLOADS))
    return names


_TOPICS = """
photosynthesis; the water cycle; the French Revolution; solar panels; the human heart; volcanoes; coral reefs;
time management; public speaking; vaccines; gravity; democracy; honey bees; the Great Wall of China; ocean
currents; dinosaurs; inflation; chess; the moon landing; coffee; gardening; antibiotics; earthquakes; the
printing press; recycling; the Amazon rainforest; photography; penguins; fermentation; bridges; the periodic
table; the Olympic Games; wind turbines; the Industrial Revolution; lighthouses; the solar system; bread; the
violin; airplanes; databases; tea; hiking; the Sahara; glaciers; magnetism; whales; tornadoes; batteries; the
Silk Road; pasta; football; probability; light and colour; trains
"""
TOPICS = tuple(" ".join(topic.split()) for topic in _TOPICS.split(";"))

_TASKS = (
    "Write a long essay about {topic}. Begin with its history, then explain how it works.",
    "Explain {topic} in detail to a student, with several examples and a summary at the end.",
    "Write a detailed article about {topic} for a magazine. Give it a title and five sections.",
    "Write a long dialogue between a teacher and a curious student about {topic}.",
)


def short_prompts(count: int, start: int = 0) -> list[str]:
    """Return prompts of 20 to 40 words' tokens that get long answers; each ``start`` up to 216 gives other ones."""
    pairs = [(task, topic) for task in _TASKS for topic in TOPICS]
    return [task.format(topic=topic) for task, topic in (pairs[(start + i) % len(pairs)] for i in range(count))]
