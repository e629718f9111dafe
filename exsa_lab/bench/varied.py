"""Fifty prompts that have little in common, to compare outputs token for token."""

from __future__ import annotations

VARIED: tuple[str, ...] = (
    # questions
    "What is the difference between weather and climate?",
    "Why is the sea salty, and why are lakes not?",
    "How many legs does a spider have? Name three other animals with as many.",
    "What happened in Berlin in November 1989?",
    "Is a tomato a fruit or a vegetable? Give both sides of the argument.",
    "Who wrote Romeo and Juliet, and what is it about?",
    "What does a heart surgeon do on a normal day?",
    "Which is heavier, a kilo of feathers or a kilo of iron?",
    # stories and descriptions
    "Write a short story about a clock that runs backwards.",
    "Once upon a time a fox and a heron had dinner together. Tell what happened.",
    "Describe an old train station in the rain, in the style of a travel diary.",
    "Write a ghost story for children that ends well.",
    "Write a poem of eight lines about the first snow.",
    "Write a limerick about a cook from Peru.",
    "Tell a joke about a mathematician in a bakery.",
    "Write the opening paragraph of a crime novel set in Lisbon.",
    # letters and everyday writing
    "Write an email to my landlord about a broken heater.",
    "Write a thank-you note to a neighbour who watered my plants.",
    "Write a product description for a water bottle that keeps drinks cold.",
    "Write an invitation to a birthday party on a boat.",
    "Write a short speech for the opening of a village library.",
    "Write a complaint about a parcel that arrived two weeks late. Stay polite.",
    # lists and plans
    "List ten things to pack for a week in the mountains.",
    "Make a cleaning plan for a flat that three people share.",
    "Give me five ideas for a cheap dinner with rice.",
    "Name seven rivers of Europe and one city on each of them.",
    "Plan a day in Rome for someone who has never been there.",
    "Give me a list of warm-up exercises for runners, with the time for each.",
    # code
    "Write a Python function that returns the n-th Fibonacci number.",
    "Write a Python class for a stack with push, pop and peek.",
    "Write an SQL query that finds the three customers with the highest total sales.",
    "Write a regular expression that matches a date such as 2024-03-17, and explain it.",
    "What does this code print?\n\nfor i in range(3):\n    print(i * i)",
    "Write an HTML page with a heading, a list of three links and a footer.",
    "Write a shell script that counts the lines of all .txt files in a folder.",
    "Explain the difference between a list and a tuple in Python, with an example of each.",
    # numbers
    "What is 17 times 23? Show every step.",
    "A train leaves at 9:40 and arrives at 13:05. How long does the journey take?",
    "Solve for x: 3x + 7 = 25.",
    "Count from 20 down to 1.",
    "Convert 100 degrees Fahrenheit to Celsius and explain the formula.",
    # text work
    "Translate into French: The library is closed on Mondays.",
    "Correct the grammar: She don't knows where is the keys.",
    "Rewrite in a friendlier tone: You must hand in the form by Friday or you will not be paid.",
    "Summarize in one sentence: The bridge was built in 1932, closed after a storm in 1987, and opened again in 1991.",
    "Find the opposite of each word: early, narrow, generous, silent, ancient.",
    # other languages, odd forms
    "Écris trois phrases sur le printemps.",
    "¿Cuál es la capital de Argentina y por qué es famosa?",
    "Erkläre in zwei Sätzen, warum der Mond seine Form ändert.",
    "hello!!! who r u and what can u do??",
)
"""Fifty prompts for chat."""
