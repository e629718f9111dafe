"""More templates and parts of training prompts: questions of everyday life, further kinds of code, further stories."""

from __future__ import annotations


def _list(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split(";") if part.strip())


RELATIVES = _list("""
son; daughter; brother; sister; mother; father; partner; husband; wife; flatmate; boss; colleague; landlord; cousin;
grandfather; aunt; teacher; best friend; coach; client
""")

HABITS = _list("""
never answers my messages; always arrives late; forgets my birthday; talks during films; borrows money; is afraid of
flying; wants to quit school; eats only sweets; cannot sleep at night; works too much; snores; does not like my
cooking; wants a dog; spends hours on the phone; is moving abroad; has lost a job; wants to learn the guitar; is
learning to drive; feels lonely; got a bad grade; wants to run a marathon; complains about everything; keeps the
heating on all day; never washes the dishes; asks the same question again and again
""")

THINGS = _list("""
washing machine; laptop; bicycle; car; fridge; oven; printer; television; headphones; camera; wallet; passport; keys;
watch; window; door; tap; lamp; roof; garden hose; suitcase; coat; pair of shoes; sofa; mattress; router; kettle;
toaster; vacuum cleaner; tent
""")

TROUBLES = _list("""
makes a strange noise; does not start any more; is too expensive; leaks; smells bad; keeps breaking; is too slow; is
too small for us; got wet in the rain; was stolen; will not open; has a scratch; turns itself off; uses too much
power; shakes when I use it
""")

EVENTS = _list("""
a birthday party; a wedding; a picnic; a school trip; a job interview; a first date; a move to another city; a
funeral; a family dinner; a class reunion; a concert; a garage sale; a business meeting; a garden party; an exam; a
farewell party; a camping weekend; a surgery; a long flight; a move into a first flat
""")

GOALS = _list("""
save money; eat less sugar; wake up earlier; get more exercise; learn Spanish; learn to swim; write a novel; find new
friends; stop biting my nails; remember names; become a nurse; become a programmer; keep my desk tidy; lose weight;
drink more water; speak in front of people; grow tomatoes; play the piano; quit smoking; cook for myself; draw faces;
run five kilometres; read faster; sell old clothes; use less plastic; get over a breakup
""")

PHENOMENA = _list("""
the sky is blue; ice floats on water; cats purr; bread goes stale; we yawn; the sea is salty; stars twinkle; metal
feels colder than wood; onions make us cry; bees make honey; our ears pop on a plane; popcorn pops; leaves fall in
autumn; magnets attract iron; soap removes grease; the days get shorter in winter; a boomerang comes back; some
people are left-handed; dogs wag their tails; a mirror swaps left and right; milk turns sour; hair turns grey;
thunder comes after lightning; we dream; tyres lose air
""")

CONCEPTS = _list("""
a variable; a pointer; recursion; inheritance; a closure; an API; a database index; a primary key; a foreign key; a
lambda; a list comprehension; a hash table; a queue; an exception; a unit test; a compiler; an interpreter; a thread;
a deadlock; version control; a branch in git; a merge conflict; a REST service; JSON; a regular expression; a virtual
environment; dependency injection; polymorphism; big O notation; a callback; a promise in JavaScript; a container; a
load balancer; a cookie; a web socket; garbage collection; an iterator; a context manager; a type hint; a mutable
default argument
""")

TABLES = _list("""
customers; orders; employees; books; students; flights; products; movies; invoices; patients; rooms; cities
""")

QUERIES = _list("""
counts the rows for each month; finds the ten newest entries; lists everyone whose name begins with A; computes the
average price; finds duplicates; joins two tables; deletes entries older than a year; updates one field; groups by
country; sorts by date; finds entries without a match; returns the highest value of each group; creates the table
""")

PAGES = _list("""
a login form; a photo gallery; a navigation bar; a contact form; a to-do list; a digital clock; a quiz with three
questions; a price table; a footer with links; a search box; a calendar; a progress bar; a dark mode button; a
countdown; a list that can be sorted
""")

SHELL = _list("""
renames all photos by date; finds the largest files; backs up a folder; counts words in a file; watches a log; checks
whether a website answers; lists running processes; compresses old files; replaces a word in many files; prints the
free disk space; downloads a list of files; sorts lines and removes duplicates; creates a user; sends a reminder
""")

OBJECTS = _list("""
a clock; an umbrella; a key; a mirror; a lantern; a music box; a compass; a typewriter; a red balloon; a wooden boat;
an old radio; a photograph; a pair of glasses; a locked box; a ring; a kite; a snow globe; a paintbrush; a train
ticket; a candle; a bell; a bottle of ink; a chess piece; a coat with deep pockets; a telescope
""")

OCCURRENCES = _list("""
the lights go out; a stranger knocks at the door; it begins to snow in July; the river runs dry; a child goes missing;
all the clocks stop; the animals begin to speak; a ship without a crew arrives; someone finds a diary; the king
disappears; a secret is told; the last train leaves; a dream comes true; a bridge falls; a message arrives from the
future; everyone falls asleep; the snow does not melt; a wish is granted; two enemies are locked in a room; the map
turns out to be wrong
""")

MOODS = _list("""
funny; sad; scary; hopeful; mysterious; calm; exciting; romantic; strange; heart-warming; dark; magical
""")

PARTS: dict[str, tuple[str, ...]] = {
    "relative": RELATIVES,
    "habit": HABITS,
    "thing": THINGS,
    "trouble": TROUBLES,
    "event": EVENTS,
    "goal": GOALS,
    "phenomenon": PHENOMENA,
    "concept": CONCEPTS,
    "table": TABLES,
    "query": QUERIES,
    "page": PAGES,
    "shell": SHELL,
    "object": OBJECTS,
    "occurrence": OCCURRENCES,
    "mood": MOODS,
}

FAMILIES: dict[str, tuple[float, tuple[str, ...]]] = {
    "everyday": (
        0.45,
        (
            "My {relative} {habit}. What should I do?",
            "My {relative} {habit}. How do I talk about it without a fight?",
            "Should I say something when my {relative} {habit}?",
            "My {thing} {trouble}. What could be the reason?",
            "My {thing} {trouble}. Should I repair it or buy a new one?",
            "How do I clean a {thing}?",
            "What should I look at when I buy a {thing}?",
            "How often should I replace a {thing}?",
            "Help me prepare for {event}.",
            "What do I need for {event}? Make a checklist.",
            "What should I wear to {event}?",
            "Write an invitation to {event}.",
            "I am nervous about {event}. Any tips?",
            "I want to {goal}. Where do I begin?",
            "I want to {goal}, but I have only {n} minutes a day. Make a plan.",
            "Give me {a} small steps to {goal}.",
            "I tried to {goal} and failed. How do I try again?",
            "Why is it so hard to {goal}?",
            "Is it true that {phenomenon}? Why?",
            "Why is it that {phenomenon}?",
            "Explain in two sentences why {phenomenon}.",
            "A child wants to know why {phenomenon}. What can I say?",
            "What is the difference between {topic} and {topic}?",
            "Which is better for a beginner, {topic} or {topic}?",
            "How much {food} do I need for {a} people?",
            "How long can I keep {food} in the fridge?",
            "What can I use instead of {food}?",
            "Is {food} healthy?",
            "Plan {a} dinners with {food}.",
            "Write a short message to my {relative} about {event}.",
            "Write a polite email to my landlord: my {thing} {trouble}.",
            "Write a reminder for my {relative} about {event}.",
        ),
    ),
    "further code": (
        0.30,
        (
            "Explain {concept} with a short example.",
            "What is {concept}, and when would I use it?",
            "What is the difference between {concept} and {concept}?",
            "Show {concept} in {language}.",
            "Write an SQL query on a table {table} that {query}.",
            "Write two SQL queries on {table}: one that {query}, one that {query}.",
            "Write an HTML page with {page}.",
            "Write HTML and CSS for {page}.",
            "Write JavaScript for {page}.",
            "Write a bash script that {shell}.",
            "Which command {shell}?",
            "Write a {language} command line tool that {task}.",
            "Write a {language} function that {task}, without using any library.",
            "Write a test for a {language} function that {task}.",
            "Here is my plan: a program that {task}. Write it in {language}, with comments.",
            "My {language} program that {task} is slow. How can I make it faster?",
            "What does this code do?\n\nfor i in range({a}):\n    print(i, i * {a})",
            "Find the mistake:\n\ndef total(numbers):\n    result = {a}\n    for n in numbers:\n        result = n\n"
            "    return result",
        ),
    ),
    "further stories": (
        0.25,
        (
            "Write a {mood} story about {object}.",
            "Write a {mood} story about {person} and {object}.",
            "Write a {mood} story that begins when {occurrence}.",
            "In {place}, {occurrence}. Write what happens.",
            "Write the last page of a story in which {occurrence}.",
            "Tell me a {mood} tale in which {occurrence} and {person} {plot}.",
            "{person} finds {object} in {place}. Tell me the story.",
            "Write a {mood} poem about {object}.",
            "Describe {object} as if you saw it for the first time.",
            "Write a conversation between {person} and {person} on the day when {occurrence}.",
            "Write a letter that {person} leaves behind in {place}.",
            "Write a bedtime story about {person} and {object}.",
            "Write the opening of a {mood} novel set in {place}.",
            "Write a scene in {place}: {occurrence}.",
            "Tell the legend of {object} of {place}.",
        ),
    ),
}
"""Templates of whole turns by family, with the family's share among these."""
