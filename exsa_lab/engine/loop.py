"""The engine's one loop: schedule, draft, verify, accept, commit, emit.

A single request is a batch of one, and plain decoding is a draft of length 0: there is no second path. This file
knows no threads and no llama.cpp; `exsa_lab.engine.engine` runs it on one thread.
"""

from __future__ import annotations

import time

from exsa_lab.config import EngineConfig
from exsa_lab.costs.prefill_budget import PrefillBudget
from exsa_lab.engine.caches.checkpoints import checkpoint_places
from exsa_lab.engine.caches.perform import perform
from exsa_lab.engine.commit import commit, emit_prompt
from exsa_lab.engine.drafting import Drafting
from exsa_lab.engine.generation import Generation
from exsa_lab.engine.kv_slots import SlotTable
from exsa_lab.engine.proposers import Draft
from exsa_lab.engine.reporting import CommittedRound, Reporter, StepCount, publish, publish_state
from exsa_lab.engine.scheduler import Schedule, Scheduler, Work
from exsa_lab.engine.sequence import Sequence
from exsa_lab.engine.stats import EngineStatus, pack_uses
from exsa_lab.errors import EngineFailed, ExsaError, OutOfMemory, as_own
from exsa_lab.events import DraftReason, PrefillEvent, State
from exsa_lab.runtime.protocol import MIN_OUTPUTS, UNLIMITED, Context, DecodeAborted, Logits, Model
from exsa_lab.speculation.alternatives import look_at_round
from exsa_lab.speculation.rejection_sampling import accept

SPLIT_CELLS = 256
"""Cells in use beyond which llama.cpp's CPU attention splits a lone token's sum over the threads."""


class Loop:
    """Runs sequences through target and draft. Owns slots and scheduler; not thread-safe but for `is_in_step`."""

    def __init__(
        self, target: Model, context: Context, drafting: Drafting, slots: SlotTable, config: EngineConfig
    ) -> None:
        self.target = target
        self.context = context
        self.drafting = drafting
        self.slots = slots
        self._config = config
        step_tokens = min(config.step_tokens, context.n_batch)
        self._scheduler = Scheduler(
            slots, step_tokens=step_tokens, small_step=config.small_step, keep_order=config.reproducible
        )
        self._prefill = PrefillBudget(drafting.costs, most=step_tokens, fixed=config.prefill_beside_decode)
        self.reporter = Reporter(target, drafting, self._prefill, waits=context.is_asynchronous)
        self._batch = context.new_batch()
        self._spare_slot = context.n_seq_max - 1
        self._step = StepCount(time.perf_counter())
        self._in_decode: tuple[Generation, ...] = ()

    # Requests

    @property
    def has_work(self) -> bool:
        return self._scheduler.has_work

    @property
    def sequences(self) -> list[Sequence]:
        """Every sequence that is not over, running ones first."""
        return [*self._scheduler.running, *self._scheduler.waiting]

    def add(self, sequence: Sequence) -> None:
        self.drafting.begin(sequence)
        if self.slots.max_rollback != UNLIMITED and self.slots.checkpoints.are_kept:
            with_tail = self.slots.checkpoints.have_room
            sequence.checkpoints = checkpoint_places(sequence.tokens, self.target.is_end, with_tail=with_tail)
        self._scheduler.add(sequence)
        self.reporter.events(sequence)
        if sequence.finish_reason is not None:
            self._end(sequence, State.FINISHED, sequence.finish_reason)

    def cancel(self, sequence: Sequence, reason: str) -> None:
        """End a sequence wherever it is; its partial text stays."""
        self._end(sequence, State.CANCELLED, "cancelled", reason)
        self._perform_slot_operations()

    def fail(self, sequence: Sequence, error: ExsaError) -> None:
        """End a sequence with an error, which the others do not notice."""
        sequence.generation.error = error
        self._end(sequence, State.FAILED, "error", str(error))

    def status(self, state: str) -> EngineStatus:
        return EngineStatus(
            state=state,
            running=len(self._scheduler.running),
            waiting=len(self._scheduler.waiting),
            slots=self._config.n_seq_max,
            slots_used=self.slots.num_held,
            slots_cached=self.slots.num_cached,
            cells=self.slots.n_cells,
            cells_used=self.slots.num_cells_used,
            cells_cached=self.slots.num_cells_cached,
            steps=self.reporter.num_steps,
            generated_tokens=self.reporter.num_generated,
            max_draft_length=self.drafting.max_length,
        )

    def is_in_step(self, generation: Generation, *, min_tokens: int) -> bool:
        """Whether the decode running now computes a prompt's tokens for this generation; asked by other threads."""
        # Where memory is recurrent, a decode that is broken off costs all sequences their states.
        is_limited = self.slots.max_rollback != UNLIMITED
        return not is_limited and self._batch.num_tokens >= min_tokens and generation in self._in_decode

    def forget_texts(self) -> None:
        """Drop what is kept of texts that are over: looked-up drafts, cached cells and saved states."""
        self._drop_texts()
        self.slots.clear_cached()
        self._perform_slot_operations()

    def _drop_texts(self) -> None:
        """Drop what is kept in main memory."""
        if self.drafting.texts is not None:
            self.drafting.texts.forget()
        self.slots.checkpoints.forget()

    def close(self) -> None:
        """Free the KV caches, and what was kept beside them: a closed engine may be held for long, by generations."""
        self._drop_texts()
        self.context.close()
        if self.drafting.model_drafter is not None:
            self.drafting.model_drafter.context.close()

    # The step

    def step(self) -> None:
        """Advance every sequence the scheduler picks by one decode of the target.

        Where the device computes by itself, this step is reported when the next one is submitted.
        """
        self._step = step = StepCount(time.perf_counter())
        if self.context.window is not None and self._scheduler.waiting:
            self.slots.look(self.context.first_whole)
        schedule = self._scheduler.schedule(self._prefill.tokens, self.drafting.share_forced)
        self._announce(schedule, step.begin)
        is_intact = self._perform_slot_operations()
        if schedule.work and is_intact:  # else its sizes are those of tokens that are no longer cached
            self._advance(schedule.work)
            step.committed = time.perf_counter()
        self._perform_slot_operations()
        step.waiting, step.slots_used = len(self._scheduler.waiting), len(self._scheduler.running)
        step.slots = self._slot_uses()
        step.cells_used, step.end = self.slots.num_cells_used, time.perf_counter()
        self.reporter.step(step)
        if not schedule.work or not self.has_work:
            self.flush()  # no decode follows soon
        self._end_unreported()

    def _slot_uses(self) -> bytes:
        running = self._scheduler.running
        return pack_uses(self.slots.uses({s.slot: s.generation.id for s in running if s.slot is not None}))

    def flush(self) -> None:
        """Report what still waits: events, statistics, learning."""
        self.reporter.flush()

    def _end_unreported(self) -> None:
        """A sequence whose events or statistics failed cannot go on: its user would see another text."""
        for sequence in [sequence for sequence in self.sequences if sequence.id in self.reporter.failures]:
            self.fail(sequence, self.reporter.failures[sequence.id])
        self.reporter.failures.clear()

    def _announce(self, schedule: Schedule, now: float) -> None:
        if schedule.preempted or schedule.admitted:
            self.flush()
        for sequence in schedule.preempted:
            sequence.generation.stats.preemptions += 1
            publish_state(sequence, State.WAITING, "preempted: the KV cache is full")
        for sequence in schedule.admitted:
            assert sequence.slot is not None
            generation = sequence.generation
            cached = self.slots.length(sequence.slot)
            if generation.stats.rounds == 0:
                generation.stats.waiting_s = now - generation.submitted
                generation.stats.cached_prompt_tokens = min(cached, sequence.num_given)
            publish_state(sequence, State.RUNNING)
            if cached:
                sequence.emitter.add(PrefillEvent(0, cached, True, sequence.num_given, sequence.age()))
                publish(sequence)

    def _draft(self, work: list[Work]) -> dict[int, Draft]:
        begin = time.perf_counter()
        num_tokens = sum(item.num_tokens for item in work)
        room = min(self.slots.num_cells_available, self.context.n_batch) - num_tokens
        drafts = self.drafting.draft(work, room=room, report=self.flush)
        num_drafted = sum(len(draft.fed) for draft in drafts.values())
        self.slots.make_room(num_tokens + num_drafted)
        self._perform_slot_operations()
        self._step.drafting = self.drafting.step
        self._step.draft_s = time.perf_counter() - begin
        return drafts

    def _advance(self, work: list[Work], *, with_drafts: bool = True) -> None:
        """Draft, verify and commit. What fails is tried again one by one, so that only the culprit fails.

        A batch that does not decode is tried again without drafts: cells may have been short.
        """
        drafts: dict[int, Draft] | None = None
        try:
            drafts = self._draft(work) if with_drafts else {}
            logits, rows = self._verify(work, drafts)
        except DecodeAborted:
            self._roll_back(work, is_changed=True)
            return
        except EngineFailed:
            raise
        except BaseException as error:
            ends = [self._length(item.sequence) + item.num_tokens for item in work]
            self._roll_back(work, is_changed=drafts is not None and not isinstance(error, OutOfMemory))
            if len(work) == 1:
                self.fail(work[0].sequence, as_own(error, "the step failed"))
                return
            for item, end in zip(work, ends, strict=True):
                self._advance_alone(item, end, with_drafts=with_drafts and drafts is None)
            return
        begin = time.perf_counter()
        for item, (first, last) in zip(work, rows, strict=True):
            self._finish_work(item, drafts.get(item.sequence.id), logits[first:last], begin)
        self._step.sample_s += time.perf_counter() - begin

    def _advance_alone(self, item: Work, end: int, *, with_drafts: bool) -> None:
        """Compute a work by itself, and before it what its slot has lost, up to ``end`` tokens."""
        sequence, reached = item.sequence, -1
        while sequence.slot is not None and reached < self._length(sequence) < end:
            reached = self._length(sequence)
            size = min(end - reached, MIN_OUTPUTS if sequence.wants_prompt_rows else end, self.context.n_batch)
            is_last = reached + size == end
            part = Work(sequence, size, item.is_decode and is_last, item.has_output and is_last)
            self._advance([part], with_drafts=with_drafts)

    def _length(self, sequence: Sequence) -> int:
        assert sequence.slot is not None
        return self.slots.length(sequence.slot)

    def _verify(self, work: list[Work], drafts: dict[int, Draft]) -> tuple[Logits, list[tuple[int, int]]]:
        """One target decode for everything; returns its logits and the rows of each work in them."""
        rows = self._fill_batch(work, drafts)
        padded = self._pad(work)
        begin = time.perf_counter()
        self.context.clear_abort()
        self._in_decode = tuple(item.sequence.generation for item in work)
        try:
            self.context.submit(self._batch)
            if self.context.is_asynchronous:
                self.flush()
                self._find_masks(work, drafts)
            logits = self.context.collect()
        finally:
            self._in_decode = ()
            if padded:
                self.context.remove(self._spare_slot, 0)
        seconds = time.perf_counter() - begin
        self._step.verify_s += seconds
        self.reporter.decode(self._step, work, drafts, self._batch.num_tokens, seconds)
        return logits, rows

    @staticmethod
    def _find_masks(work: list[Work], drafts: dict[int, Draft]) -> None:
        """Find what may come at each place of the drafts, while the device computes what will."""
        for sequence in (item.sequence for item in work if item.has_output):
            if sequence.mask is not None:
                tokens = sequence.mask.fitting(drafts[sequence.id].tokens if sequence.id in drafts else [])
                is_sampled = sequence.params.temperature > 0  # else one token is asked about
                (sequence.mask.allowed if is_sampled else sequence.mask.forced)(tokens)

    def _fill_batch(self, work: list[Work], drafts: dict[int, Draft]) -> list[tuple[int, int]]:
        """Put each sequence's tokens and draft into the batch; returns the first and last row of logits of each."""
        self._batch.clear()
        rows = []
        for item in work:
            sequence = item.sequence
            assert sequence.slot is not None
            start = self.slots.length(sequence.slot)
            tokens = sequence.tokens[start : start + item.num_tokens]
            draft = drafts.get(sequence.id)
            num_drafted = len(draft.fed) if draft else 0
            if draft and num_drafted:
                tokens = tokens + draft.fed
            # Where the batch keeps its shape, the number of its rows is part of that.
            is_wide = sequence.wants_prompt_rows or (item.is_decode and self.drafting.keeps_shapes)
            num_outputs = (item.num_tokens if is_wide else item.has_output) + num_drafted
            first = self._batch.add(tokens, start, sequence.slot, num_outputs)
            rows.append((first, first + num_outputs))
        return rows

    def _pad(self, work: list[Work]) -> bool:
        """Add a token in the spare slot to a lone one that llama.cpp would compute otherwise than in a batch."""
        if not self._config.reproducible:
            return False
        # Where memory is recurrent, the single tokens of a step get a decode of their own.
        are_apart = self.slots.max_rollback != UNLIMITED and len(work) > 1
        num_alone = sum(item.num_tokens == 1 for item in work) if are_apart else self._batch.num_tokens
        num_cells = self.slots.num_cells_used + self._batch.num_tokens
        is_lone = num_alone % self._config.n_ubatch == 1 and num_cells > SPLIT_CELLS
        if is_lone and num_cells < self.slots.n_cells and self.context.n_batch > self._batch.num_tokens:
            self._batch.add([0], 0, self._spare_slot, 0)
            return True
        return False

    def _roll_back(self, work: list[Work], *, is_changed: bool) -> None:
        """Nothing was committed: drop what target and draft may have computed of this step."""
        if is_changed and self.slots.max_rollback != UNLIMITED:
            self.slots.lose()
            self._perform_slot_operations()
            return
        for item in work:
            assert item.sequence.slot is not None
            self.slots.roll_back(item.sequence.slot)
        self._perform_slot_operations()

    # Accept and commit

    def _finish_work(self, item: Work, draft: Draft | None, rows: Logits, now: float) -> None:
        sequence = item.sequence
        try:
            self._commit_work(item, draft, rows, now)
        except BaseException as error:  # NaN logits, say: this sequence is lost, the others are not
            self.fail(sequence, as_own(error, "the round failed"))
            return
        if sequence.slot is not None:
            self.reporter.events(sequence)

    def _commit_work(self, item: Work, draft: Draft | None, rows: Logits, now: float) -> None:
        sequence = item.sequence
        assert sequence.slot is not None
        start = self.slots.length(sequence.slot)
        drafted = draft.fed if draft else []
        self.slots.extend(sequence.slot, sequence.tokens[start : start + item.num_tokens] + drafted)
        if self.slots.length(sequence.slot) in sequence.checkpoints:
            self.slots.save(sequence.slot)
        if not item.is_decode and start < sequence.num_given:
            sequence.emitter.add(PrefillEvent(start, item.num_tokens, False, sequence.num_given, sequence.age()))
        if sequence.wants_prompt_rows:
            emit_prompt(sequence, start, rows[: item.num_tokens], self.target)
        if item.has_output:
            own = rows[len(rows) - len(drafted) - 1 :]
            self._finish_round(sequence, draft or Draft(reason=DraftReason.FIRST_TOKEN), own, now)

    def _finish_round(self, sequence: Sequence, draft: Draft, rows: Logits, now: float) -> None:
        assert sequence.slot is not None
        num_before, params = sequence.num_tokens, sequence.params
        rows = rows[: len(draft.tokens) + 1]
        verdict = accept(
            draft.tokens,
            draft.dists,
            rows,
            params,
            sequence.random,
            position=sequence.num_generated,
            draft_probs=draft.probs,
            with_probabilities=self._wants_probabilities(sequence, draft),
            shaping=sequence.shaping,
        )
        looks = None
        if params.top_logprobs:
            looks = look_at_round(draft.tokens, draft.q_dists, rows, verdict, params, sequence.shaping)
        committed = commit(sequence, draft, verdict, self.target)
        self.slots.truncate(sequence.slot, min(num_before + committed.num_accepted, sequence.num_tokens))
        elapsed, sample_s = now - sequence.generation.submitted, time.perf_counter() - now
        batch_tokens = self._batch.num_tokens
        self.reporter.round(
            CommittedRound(sequence, draft, verdict, committed, self._step, batch_tokens, elapsed, sample_s, looks)
        )
        if committed.finish_reason:
            self._end(sequence, State.FINISHED, committed.finish_reason)
        elif sequence.num_tokens > self.slots.n_cells:
            self._end(sequence, State.FINISHED, "length", "the context is full")

    def _wants_probabilities(self, sequence: Sequence, draft: Draft) -> bool:
        setting = self._config.probabilities
        # On a CPU the passes over the logits are little beside a step that verifies a draft.
        is_cheap = setting == "auto" and bool(draft.tokens) and not self.context.is_asynchronous
        return is_cheap or sequence.is_looked_at(setting)

    # Ends and slots

    def _end(self, sequence: Sequence, state: State, finish_reason: str, detail: str = "") -> None:
        self.flush()
        error = self.reporter.failures.pop(sequence.id, None)
        if error is not None and state is not State.FAILED:
            sequence.generation.error = error
            state, finish_reason, detail = State.FAILED, "error", str(error)
        self._scheduler.remove(sequence, keep_cells=state is not State.FAILED)
        if state is not State.FAILED:
            self.reporter.learn(self.drafting.end, sequence)
        sequence.generation.finish_reason, sequence.generation.is_cut = finish_reason, sequence.emitter.stopped
        sequence.emitter.finish()
        self.reporter.end(sequence, state, detail or finish_reason)

    def _perform_slot_operations(self) -> bool:
        """Do to the caches of target and draft what the slot table decided; False where one lost what it had.

        Raises EngineFailed where a cache cannot even be cleared: nothing computed with it could be believed.
        """
        return perform(self.slots, self.context, self.drafting.model_drafter)
