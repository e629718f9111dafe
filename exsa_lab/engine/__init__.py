"""The engine: a loop of schedule, draft, verify, accept, commit, emit, and what it moves.

In which order to read it:

1. `exsa_lab.events`: what happens, as values.
2. `loop`: one step, from the schedule to the committed tokens. Everything else here is called from it.
3. `scheduler`: which sequences take part in a step; `kv_slots`: which cells they use; `sequence`: what they are.
4. `drafting`: which sequences draft and how far; `proposers`: the draft model and prompt lookup.
5. `exsa_lab.speculation.rejection_sampling`: which draft tokens are accepted.
6. `commit`: the accepted tokens become text; `text`: from bytes to text; `reporting`, `stats`: events and numbers.
7. `exsa_lab.speculation.draft_length` and `exsa_lab.costs`: how long a draft pays.
8. `generation`: the handle users hold; `engine`: what they submit to; `assembly`: from models to a loop; `worker`: the
   thread that runs the loop, and what becomes of it when something fails.

From ``%%exsa`` to an accepted token, in nine files: `exsa_lab.magics.magics` -> `engine.engine` (`submit`) ->
`engine.sequence` (the prompt's tokens) -> `engine.loop` (`step`) -> `engine.scheduler` -> `engine.drafting` ->
`engine.proposers` -> `exsa_lab.speculation.rejection_sampling` -> `engine.commit`.

Nothing here imports llama_cpp, asyncio or IPython, and nothing imports upwards: magics, widgets -> engine ->
speculation, costs, trace -> runtime.
"""
