"""Sixty prompts no draft is trained on: twenty each of chat, code and story. Written for measuring acceptance."""

from __future__ import annotations

CHAT = (
    "My neighbour plays the drums every evening and I have an exam next week. How do I bring it up politely?",
    "Is it better to rent or to buy a flat if I may move again in three years?",
    "What happens to the ink when a ballpoint pen stops writing although it is still half full?",
    "I have eggs, rice, spinach and half a lemon. What can I make for two people?",
    "Explain the difference between weather and climate with an everyday comparison.",
    "How long should I warm up before running, and which movements should I do?",
    "My phone gets hot when it charges. Should I be worried?",
    "What are good questions to ask at the end of an interview for a teaching position?",
    "Why does the moon sometimes look orange when it rises?",
    "Help me choose a houseplant for a dark corner that I will forget to water.",
    "What should I pack for a five day walk in the mountains in September?",
    "Can you tell me what a mortgage is and who decides how much interest I pay?",
    "My seven year old asks where the wind comes from. What do I answer?",
    "Which is healthier for breakfast, porridge or toast with jam, and why?",
    "Give me a plan for learning to type with ten fingers in a month.",
    "How do noise cancelling headphones know which sounds to remove?",
    "Two of my friends are no longer speaking to each other. What can I do without taking sides?",
    "What is the difference between a crocodile and an alligator?",
    "I want to read more but always fall asleep after two pages. Any advice?",
    "Write a short message that reminds my team to hand in their holiday dates by Friday.",
)

CODE = (
    "Write a Python function that groups a list of words by their first letter and returns a dictionary.",
    "How can I time how long a block of Python code takes to run? Show an example.",
    "Write a Python class Timer that can be started, paused and reset.",
    "Write a shell script that deletes log files older than thirty days.",
    "Show me how to read a JSON file in Python and print every key with its type.",
    "Write a SQL query that returns the three customers who spent the most last year.",
    "Write a Python function that rotates a list to the right by n places.",
    "Make an HTML page with a heading, a table of three rows and a button that hides the table.",
    "Write a Python decorator that prints the name of a function each time it is called.",
    "Write a Java method that returns the second largest number of an array.",
    "Write a Python generator that yields the lines of a file in pairs.",
    "What does this code print, and why?\n\nx = [1, 2, 3]\ny = x\ny.append(4)\nprint(x)",
    "Write a C function that swaps two integers by pointer, and call it from main.",
    "Write a Python function that turns a Roman numeral into an integer.",
    "Write unit tests for a function add(a, b) with the unittest module.",
    "Write a JavaScript function that removes all falsy values of an array.",
    "Write a Python script that asks for a temperature and says what to wear.",
    "Explain what a race condition is and show one in Python.",
    "Write a Python function that finds the longest word of a sentence.",
    "Write a small command line calculator in Python with add, subtract, multiply and divide.",
)

STORY = (
    "Write a short story about a clockmaker who repairs a clock that runs backwards.",
    "Tell me a bedtime story about a snail who wants to see the sea.",
    "A letter arrives forty years late. Write the scene in which it is opened.",
    "Write the first page of a mystery that begins in a swimming pool at midnight.",
    "Tell the story of a violin from the point of view of the violin.",
    "Write a story in which nobody in town can remember yesterday.",
    "Two sisters inherit a bakery and disagree about everything. Write what happens on the first morning.",
    "Write a fairy tale about a princess who would rather be a beekeeper.",
    "A taxi driver recognises his passenger as his old teacher. Write their conversation.",
    "Write a funny story about a parrot that answers the telephone.",
    "Describe the last evening of a circus before it closes for ever.",
    "Write a science fiction story about the first post office on Mars.",
    "A boy finds a door in the back of the school library. Tell me what is behind it.",
    "Write a story about an old tree that two villages both claim as theirs.",
    "Write a diary entry of a sailor on the ninetieth day of a voyage.",
    "Tell me about a ghost who is afraid of people.",
    "Write a story about a chess game played by post between strangers.",
    "A storm cuts off an island hotel. Write about the guests at dinner.",
    "Write a story about a dog that waits at the same bus stop every day.",
    "Write a short tale in which the moon comes down to ask for help.",
)

HELD_OUT: dict[str, tuple[str, ...]] = {"chat": CHAT, "code": CODE, "story": STORY}
"""Prompts by kind, twenty of each."""
