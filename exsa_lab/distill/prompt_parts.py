"""What training prompts are made of: templates, openings, and the parts that fill them."""

from __future__ import annotations


def _list(text: str) -> tuple[str, ...]:
    return tuple(" ".join(part.split()) for part in text.split(";") if part.strip())


TOPICS = _list("""
photosynthesis; black holes; the French Revolution; machine learning; climate change; the water cycle; quantum
physics; the Roman Empire; healthy eating; renewable energy; the human heart; electric cars; ancient Egypt; the
stock market; jazz; volcanoes; space travel; coral reefs; the immune system; time management; public speaking;
vaccines; gravity; the internet; blockchain; democracy; Shakespeare; bees; yoga; the Great Wall of China; robots;
ocean currents; dinosaurs; inflation; meditation; chess; solar panels; DNA; the moon landing; coffee; gardening;
sleep; antibiotics; earthquakes; the printing press; artificial intelligence; recycling; the Amazon rainforest;
photography; project management; neural networks; statistics; supply and demand; the Renaissance; penguins;
fermentation; bridges; computer security; the cloud; the periodic table; poetry; the Olympic Games; bird migration;
wind power; the Industrial Revolution; mental health; budgeting; lighthouses; whales; 3D printing; the solar system;
bread; the violin; airplanes; databases; operating systems; tea; hiking; the Sahara; language learning; teamwork;
glaciers; magnetism; compilers; the nervous system; city planning; impressionism; ethics; tornadoes; batteries; the
Silk Road; pasta; dogs; cats; football; probability; geometry; algebra; light; the skeleton; trains; rainbows; the
telephone; paper; chocolate; honey; glass; the compass; maps; castles; knights; Vikings; pirates; samurai; the
Aztecs; the Cold War; the United Nations; the human rights movement; elections; taxes; insurance; loans; credit
cards; saving money; starting a business; marketing; customer service; leadership; negotiation; job applications;
remote work; stress; friendship; parenting; marriage; homework; exams; note taking; reading; handwriting; grammar;
translation; journalism; advertising; films; theatre; opera; ballet; painting; sculpture; architecture; fashion;
pottery; knitting; woodworking; origami; cycling; swimming; running; tennis; basketball; cricket; skiing; climbing;
sailing; fishing; camping; travel; museums; zoos; farms; forests; deserts; rivers; lakes; islands; mountains; caves;
rain; snow; thunderstorms; hurricanes; fog; the seasons; the atmosphere; oxygen; carbon; water; salt; gold; iron;
plastics; concrete; atoms; molecules; acids; enzymes; proteins; vitamins; sugar; blood; the brain; the lungs; the
eye; skin; teeth; muscles; allergies; the common cold; diabetes; first aid; exercise; diets; vegetables; fruit;
cheese; soup; salads; pizza; sushi; curry; spices; wine; elephants; lions; tigers; bears; wolves; horses; cows;
sheep; chickens; owls; eagles; parrots; frogs; snakes; turtles; sharks; dolphins; octopuses; jellyfish; ants;
butterflies; spiders; mushrooms; roses; oaks; cacti; algae; bacteria; viruses; evolution; fossils; genetics;
cloning; telescopes; satellites; Mars; Jupiter; comets; stars; galaxies; the Big Bang; time; energy; heat; sound;
electricity; radio; television; lasers; microscopes; engines; steam; rockets; drones; submarines; bicycles; cars;
ships; roads; tunnels; skyscrapers; the wheel; clocks; calendars; numbers; zero; prime numbers; fractions;
percentages; triangles; circles; calculus; logic; algorithms; recursion; sorting; search engines; email; social
media; video games; smartphones; passwords; encryption; open source; Python; JavaScript; SQL; spreadsheets; testing
software; version control; web design; data science; big data; chatbots; self-driving cars; virtual reality;
philosophy; Socrates; Aristotle; Buddhism; Christianity; Islam; Hinduism; myths; fairy tales; dragons; novels;
detective stories; humour; dreams; memory; emotions; habits; creativity; intelligence; learning; motivation;
happiness; fear; courage; honesty; trust
""")

PEOPLE = _list("""
a young girl named Lily; a brave knight; an old fisherman; a curious robot; two best friends; a lonely dragon; a
clever fox; a tired astronaut; a baker; a time traveller; a lost puppy; a retired detective; a shy musician; a
stubborn goat; a painter who lost her colours; a boy named Sam; a grandmother with a secret; a young wizard; an
honest thief; a ship's cook; a queen without a kingdom; a nurse on night duty; a scientist named Dr. Chen; a farmer
and his daughter; a talking cat; a small bear; an owl who cannot sleep; three brothers; a new student; a soldier
coming home; a gardener; a pilot; a journalist; a spy; a toy soldier; a mermaid; a giant who is kind; a mouse; a
unicorn; a girl who can fly; a man named Jack; a woman named Sarah; twins; a blind poet; a carpenter; a librarian; a
hunter; a doctor in a small town; a runaway prince; an inventor
""")

PLACES = _list("""
a quiet village; a space station; the deep forest; an underwater city; a snowy mountain; a busy market; an abandoned
castle; a desert island; a train crossing the country; a kingdom far away; a school for magic; a big city; a
hospital; an old house by the lake; a farm; a harbour; a hidden valley; the moon; a museum; a haunted hotel; a
garden; a jungle; a pirate ship; a small town in winter; a cave behind a waterfall; ancient Rome; the year 3000; a
theatre; a coffee shop; an airport; a park
""")

PLOTS = _list("""
finds a treasure; learns to trust others; loses something precious; makes an unlikely friend; solves a mystery;
overcomes a fear; gets lost; discovers a secret door; saves the day; keeps a promise; tells a lie and regrets it;
wins a contest; meets a stranger; has to say goodbye; finds an old map; makes a terrible mistake; finds the way
home; learns that kindness matters; builds a strange machine; hears a voice at night; breaks a curse; helps an
enemy; starts a new life; plants a magic seed
""")

TASKS = _list("""
reverses a string; computes the factorial of a number; checks whether a number is prime; sorts a list with bubble
sort; finds the maximum of a list; counts the words in a text; computes Fibonacci numbers; checks for a palindrome;
removes duplicates from a list; computes the average of numbers; converts Celsius to Fahrenheit; finds the greatest
common divisor; flattens a nested list; counts vowels in a string; generates a random password; prints a
multiplication table; parses a date; computes the sum of digits; transposes a matrix; sorts a dictionary by value;
finds the intersection of two lists; downloads a web page; writes a list to a file; reads a text file line by line;
counts the lines of a file; computes the area of a circle; checks whether a year is a leap year; finds the shortest
path in a graph; traverses a binary tree; inserts a node into a linked list; implements quicksort; implements merge
sort; computes compound interest; simulates rolling a die; shuffles a deck of cards; draws a triangle of stars;
converts a number to binary; finds anagrams; replaces words in a text; capitalizes each word; checks balanced
parentheses; finds all pairs with a given sum; computes the median; computes the standard deviation; plots a line
chart; filters even numbers; squares every number of a list; zips two lists into a dictionary; sends an HTTP
request; connects to a database; logs errors to a file; validates a phone number; splits a list into chunks;
computes powers; finds the missing number in a sequence; multiplies two matrices; calculates the distance between
two points; guesses a number; converts text to uppercase; finds duplicate files; lists the files of a folder; counts
characters; computes a running total; trains a linear regression; loads a dataset with pandas; normalizes a vector;
encrypts a message with a Caesar cipher; prints the current time; computes the body mass index; converts seconds to
hours and minutes; plays tic-tac-toe; validates a password
""")

CLASSES = _list("""
a stack; a queue; a linked list; a car; a student; a library; a shopping cart; a point in the plane; a rectangle; a
matrix; a dog; an employee; a deck of cards; a game board; a circle; a to-do list; a restaurant menu; a cache; a
binary tree; a graph
""")

LANGUAGES = ("Python",) * 6 + ("JavaScript", "Java", "C++", "Go", "Rust", "TypeScript", "Ruby", "C")

SENTENCES = _list("""
The meeting about {topic} lasted two hours and ended without a result.; Many people think that {topic} should be
taught in schools.; Scientists have studied {topic} for many years, but the evidence is still limited.; Our company
sells products related to {topic}, and sales grew by {n} percent last year.; My friend loves {topic} and talks about
it every weekend.; Recent work suggests a link between {topic} and {topic}.; He go to the market yesterday and buyed
{n} apples.; The committee decided to wait until spring.; In {year}, everything changed.; Tickets cost {n} dollars
and can be bought online.; She said that nobody had told her about the new rules.; It was raining, and the streets
were empty.; The results were better than expected, especially for {topic}.; Critics say that {topic} is too
expensive.; The new building will have {n} rooms and a garden.; Thank you for your help with the report on {topic}.;
they was very happy about there new house; Please send me the documents before Monday.; Visitors from all over the
world come to see it.; The team lost the first game but won the next {a}.
""")

FAMILIES: dict[str, tuple[float, tuple[str, ...]]] = {
    "explain": (
        0.30,
        (
            "Explain {topic} in simple terms.",
            "What is {topic}?",
            "Write a short paragraph about {topic}.",
            "List {a} interesting facts about {topic}.",
            "Why is {topic} important?",
            "Describe the history of {topic}.",
            "Give me three tips about {topic}.",
            "What are the advantages and disadvantages of {topic}?",
            "Write a poem about {topic}.",
            "How does {topic} work?",
            "Explain {topic} to a {a} year old.",
            "Write an essay on {topic}.",
            "Create a lesson plan about {topic}.",
            "What are common misconceptions about {topic}?",
            "Summarize the key ideas of {topic} in bullet points.",
            "Write a blog post about {topic}.",
            "Write five quiz questions about {topic} with answers.",
            "Compare {topic} and {topic}.",
            "How are {topic} and {topic} related?",
            "Write an email to a colleague about {topic}.",
            "What should a beginner know about {topic}?",
            "Write a dialogue between two people about {topic}.",
            "What does the future of {topic} look like?",
            "I want to learn about {topic}. Where should I start?",
            "Can you tell me more about {topic}?",
            "What do I need to know about {topic} and {topic}?",
            "Tell me something surprising about {topic}.",
            "Why do people care about {topic}?",
            "Write a speech about {topic} for {person}.",
            "Write a tweet about {topic}.",
        ),
    ),
    "advice": (
        0.12,
        (
            "How can I get better at {topic}?",
            "I am worried about {topic}. What should I do?",
            "What is the best way to teach {topic} to children?",
            "Give me a {a} day plan for learning {topic}.",
            "My friend does not understand {topic}. How can I help?",
            "What should I cook with {food}, {food} and {food}?",
            "Suggest a recipe with {food} and {food}.",
            "What are good gifts for someone who likes {topic}?",
            "Help me plan a trip to {place}.",
            "Recommend {a} books about {topic}.",
            "How do I write a letter about {topic} to my boss?",
            "Should I spend money on {topic}?",
            "Write a short thank-you note to {person}.",
            "Suggest {a} names for {person}.",
        ),
    ),
    "story": (
        0.18,
        (
            "Write a short story about {person} in {place}.",
            "Tell me a story about {person} who {plot}.",
            "Once upon a time in {place}, there lived {person}. Continue the story.",
            "Write a story in which {person} {plot} in {place}.",
            "Describe {place} from the point of view of {person}.",
            "Write the beginning of a novel about {person} and {topic}.",
            "Write a scene: {person} meets {person} in {place}.",
            "Write a dialogue between {person} and {person} about {topic}.",
            "Write a funny story about {person} and {topic}.",
            "Write a diary entry by {person} in {place}.",
            "Write a letter from {person} to {person}.",
            "Write a sad story: {person} {plot}.",
            "Write a poem about {person} in {place}.",
            "{person} {plot} in {place}. What happens next?",
        ),
    ),
    "code": (
        0.20,
        (
            "Write a {language} function that {task}.",
            "Write a {language} program that {task} and explain it.",
            "Can you show me code in {language} which {task}?",
            "Write a function in {language} which {task}, with comments and a test.",
            "Write a script that {task}. Use {language}.",
            "How do I write {language} code that {task}?",
            "Write a {language} class for {class}.",
            "Implement {class} in {language} and show how to use it.",
            "I need a {language} function. It {task}. Handle errors too.",
            "Explain step by step how a {language} program {task}.",
            "Write {language} code that {task} and then {task}.",
            "Create a {language} module with two functions: one {task}, the other {task}.",
        ),
    ),
    "rewrite": (
        0.12,
        (
            "Summarize this text: {sentence} {sentence} {sentence}",
            "Rewrite the following text in a more formal tone: {sentence} {sentence}",
            "Fix the grammar: {sentence} {sentence}",
            "Extract the key points from this text:\n\n{sentence} {sentence} {sentence} {sentence}",
            "Translate to Spanish: {sentence} {sentence}",
            "Rewrite this as a tweet: {sentence} {sentence}",
            "Repeat the following text exactly: {sentence} {sentence} {sentence}",
            "Make this text shorter:\n\n{sentence} {sentence} {sentence}",
            "Proofread this: {sentence} {sentence} {sentence}",
            "Write a title for this text: {sentence} {sentence} {sentence}",
        ),
    ),
    "data": (
        0.04,
        (
            "Write a JSON object that describes {topic}.",
            "Give me a JSON list of {a} records about {topic} with the keys name, year and description.",
            "Make a table of {a} facts about {topic}.",
            "List {a} words that have to do with {topic}, separated by commas.",
            "Put these in alphabetical order: {topic}, {topic}, {topic}, {topic}.",
        ),
    ),
    "maths": (
        0.04,
        (
            "What is {n} plus {n}?",
            "What is {n} times {a}?",
            "If a train travels {n} miles in {a} hours, what is its average speed?",
            "Sam has {n} apples and gives away {a}. How many are left?",
            "Solve for x: {a}x + {n} = {year}.",
            "A rectangle has width {a} and height {n}. What are its area and perimeter?",
            "Convert {n} kilometers to miles.",
            "What is {n} percent of {year}?",
            "Count from {a} to {n}.",
        ),
    ),
}
"""Templates of whole turns by family, with the family's share."""

OPENINGS = _list("""
Write; Write a; Write a short; Write a Python; Write a Python function; Write a Python function to; Write a
function; Write a program; Write code; Write a SQL; Write a JavaScript; Write an HTML; Write a class; Implement;
Create; Create a; Design; Make a; Generate; How; How do; How do I; How does; How can; How can I; How to; What; What
is; What is the best; What are; What are some; What does; What should; What would; Why; Why do; Why is; When; Where;
Which; Who; Can; Can you; Can you explain; Could you; Explain; Explain how; Explain why; Describe; Describe a;
Describe the; Tell; Tell me; Tell me about; Give; Give me; Help; Help me; I; I am; I have; I have a; I want; I need;
I need to; I'm; I'm trying; My; My friend; Suggest; Recommend; Compare; List; List the; Name; Is; Is it; Are; Do;
Does; Should; Should I; If; In; The; A; An; Imagine; You are; Please; Summarize; Rewrite; Translate; Edit; Provide;
Write a story; Write a scene; Write a poem; Write a letter; Write a dialogue; Write the; Write an; Write an email;
Once upon a time; Two; Three; One day; Continue; Finish; Show; Show me; Show how; Find; Solve; Calculate; Plan;
Develop; Analyze; Discuss; Identify; Choose; Let's; Hi; Hello; Write about; Write down; Tell the; Tell a; Describe
how; What happened; What happens; Fix; Fix this; def
""")

RAW = (
    "Once upon a time",
    "The",
    "In this paper we",
    "def main():\n",
    "# ",
    "Introduction\n\n",
    "Q: ",
    "The history of {topic}",
    "{topic}",
    "In {year},",
    "import numpy as np\n",
    "Dear ",
    "Chapter 1\n\n",
    "Abstract: ",
    "How to ",
    "There are many reasons why {topic}",
)

FOODS = _list("""
chicken; rice; beans; tomatoes; onions; garlic; pasta; beef; potatoes; carrots; cheese; fish; tofu; lentils;
mushrooms; peppers; broccoli; chickpeas; bread; milk; apples; bananas; oats; butter; pumpkin; corn; shrimp; peas;
cabbage; coconut milk
""")

PARTS: dict[str, tuple[str, ...]] = {
    "topic": TOPICS,
    "person": PEOPLE,
    "place": PLACES,
    "plot": PLOTS,
    "task": TASKS,
    "class": CLASSES,
    "language": LANGUAGES,
    "sentence": SENTENCES,
    "food": FOODS,
}
NUMBERS: dict[str, tuple[int, int]] = {"a": (3, 12), "n": (2, 99), "year": (1200, 2030)}
"""Parts that are numbers, with their range."""
