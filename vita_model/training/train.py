"""The training loop of all three stages: takes batches, writes checkpoints, metrics and previews.

`stages.RULES` defines the differences between stages. Each rank runs the loop on its device; shards are not read here.
"""

import threading
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch

from vita_data.command.progress import SILENT
from vita_data.command.progress import Progress as Display
from vita_data.command.signals import on_sigterm
from vita_data.errors import RequestError, VitaDataError
from vita_data.loader import PlanChange
from vita_data.storage.lock import held
from vita_data.types import Batch, Json, Modality
from vita_model.distributed import Ranks, all_sum, first_says, highest, is_alone
from vita_model.network.configs import Component
from vita_model.network.vita import Vita
from vita_model.network.weights.paligemma import check_tokenizer, load_paligemma
from vita_model.training.augmentation import augmented
from vita_model.training.averages import WeightAverages
from vita_model.training.bad_steps import BadSteps, CodebookBefore
from vita_model.training.batches import BatchStream
from vita_model.training.checkpoint.components import (
    RandomState,
    TrainerState,
    load_averages,
    load_components,
    load_moments,
    load_trainer,
    snapshot_of,
)
from vita_model.training.checkpoint.init_from import init_from
from vita_model.training.checkpoint.newest import Newest, newest_whole
from vita_model.training.checkpoint.resume import changes_since, check_same_run
from vita_model.training.checkpoint.run_folder import Kept, require_new, require_startable
from vita_model.training.checkpoint.saver import Saver
from vita_model.training.checkpoint.state import Progress, RecipeChange, load_progress
from vita_model.training.evaluation.evaluate import evaluate, is_evaluated, sources_of, summary, write_evaluation
from vita_model.training.evaluation.latent_picture import write_latents
from vita_model.training.evaluation.latents import headline
from vita_model.training.evaluation.preview import write_previews
from vita_model.training.evaluation.schedule import Evaluations
from vita_model.training.gradients import Gradients
from vita_model.training.log import Report, RunLog
from vita_model.training.optim import learning_rate, load_optimizer, make_optimizer, moments_of
from vita_model.training.parallel import StageLoss, prepare_blocks, spread, unsharded
from vita_model.training.recipes.checks import check_eval_every
from vita_model.training.recipes.recipe import Recipe, as_json, building
from vita_model.training.speed import SpeedMeter
from vita_model.training.stages import RULES, needed_parts, set_modes
from vita_model.training.step_clock import StepClock, StepPart, profiled


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnd:
    """How a run ended."""

    step: int
    interrupted: bool
    """Whether a SIGTERM made it save and stop early."""
    checkpoint: Path


class Trainer:
    """One run of a recipe: builds the model, starts or resumes, and trains to the recipe's last step."""

    def __init__(
        self,
        recipe: Recipe,
        stream: BatchStream,
        run: Path,
        *,
        statistics: Json,
        report: Report,
        ranks: Ranks | None = None,
        conventions: Json | None = None,
        resizes: Json | None = None,
        held_out: BatchStream | None = None,
        display: Display = SILENT,
    ) -> None:
        self.recipe, self.stream, self.run_dir, self.statistics = recipe, stream, run, statistics
        self.conventions, self.resizes = conventions or {}, resizes or {}
        self.evaluations = Evaluations(recipe, stream, held_out)
        self.ranks = ranks or Ranks()
        self.report = report if self.ranks.is_first else _silent
        self.display = display if self.ranks.is_first else SILENT
        self.rule = RULES[recipe.stage]
        torch.manual_seed(recipe.seed)
        self.draws = torch.Generator().manual_seed(recipe.seed)
        self.model = _build(recipe).to(self.ranks.device)
        set_modes(self.model, recipe.stage)
        prepare_blocks(self.model, recipe)
        loss = StageLoss(self.model, self.rule, recipe.loss)
        self.loss = spread(loss, self.ranks, recipe)
        self.clock = StepClock(self.ranks.device)
        self.meter = SpeedMeter(self.model, self.loss, recipe, self.ranks, self.clock)
        self.gradients = Gradients(self.model, self.loss, recipe, self.ranks, self.draws, self.clock)
        self.averages = None if recipe.ema_decay is None else WeightAverages(self.model, recipe.ema_decay)
        self.optimizer = make_optimizer(self.model, recipe.optimizer)
        kept = Kept(last=recipe.keep_last, every=recipe.keep_every, steps=recipe.save_steps)
        self.saver = Saver(run, kept=kept, ranks=self.ranks)
        self.bad_steps = BadSteps(run, limit=recipe.max_bad_steps, report=self.report, writes=self.ranks.is_first)
        self.step = 0
        self.changes: tuple[RecipeChange, ...] = ()
        self.drawn: dict[str, dict[str, int]] = {}
        self.shown: dict[Modality, Batch] = {}

    def start(self) -> None:
        """Start at step 0, with the components of the recipe's `init` run, if any, and with released weights.

        Raises:
            RequestError: the stage needs parts of an earlier run but has no `init`, or weights cannot be loaded.
        """
        stage, needs = self.recipe.stage, needed_parts(self.recipe.stage, self.recipe.model, self.recipe.loss)
        loaded: frozenset[Component] = frozenset()
        if self.recipe.init is not None:
            parts = (
                tuple(Component) if self.recipe.init_parts is None else tuple(map(Component, self.recipe.init_parts))
            )
            loaded = init_from(Path(self.recipe.init), self.model, needs, parts, self.report)
        elif needs:
            raise RequestError(f"stage {stage} needs a trained {', '.join(sorted(needs))}; --set init=RUN")
        if self.model.backbone is not None and Component.BACKBONE not in loaded:
            load_paligemma(self.model.backbone)
        if self.recipe.ema_decay is not None:
            self.averages = WeightAverages(self.model, self.recipe.ema_decay)

    def resume(self, checkpoint: Path, plan_change: PlanChange, changes: Collection[str] = ()) -> None:
        """Resume exactly from a verified checkpoint of the same recipe; only the fields `changes` may differ.

        Raises:
            RequestError: the recipe or statistics have changed, or the loader refuses the position.
            VitaDataError: the checkpoint is damaged or incomplete.
        """
        progress, trainer = load_progress(checkpoint), load_trainer(checkpoint)
        check_same_run(checkpoint, progress, self.recipe, self.statistics, plan_change, changes)
        self.model.features.check_same(progress.features, f"--resume {checkpoint}")
        if absent := set(self.model.components) - load_components(checkpoint, self.model, is_verified=True):
            raise VitaDataError(f"{checkpoint} lacks {', '.join(sorted(absent))}; remove it to use the previous one")
        if self.model.backbone is not None:
            check_tokenizer(self.model.backbone, f"--resume {checkpoint}")
        self._restore(trainer, checkpoint)
        self.stream.load_state_dict(progress.sampler, plan_change=plan_change)
        self.step = progress.step
        self.drawn = {modality: dict(counts) for modality, counts in progress.drawn.items()}
        self.bad_steps.resume(self.step, progress.bad_steps)
        self.report(f"resumed {checkpoint} at step {self.step}")
        made = changes_since(progress, self.recipe)
        self.changes = (*progress.changes, *made)
        for change in made:
            self.report(f"changed {change.field} from {change.before} to {change.after}")

    def _restore(self, trainer: RandomState, checkpoint: Path) -> None:
        try:
            if trainer.optimizer is None:
                load_moments(checkpoint, self.optimizer, self.model)
            else:
                load_optimizer(self.optimizer, trainer.optimizer)
            if self.averages is not None:
                load_averages(checkpoint, self.averages.state())
            torch.set_rng_state(trainer.torch_rng)
            self.draws.set_state(trainer.draw_rng)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as fault:
            told = " ".join(repr(fault).split())[:200]
            raise VitaDataError(
                f"{checkpoint}: its optimizer, averages or random state do not fit this recipe ({told}); remove it to "
                "use the previous one"
            ) from fault

    def fit(self, *, profile_steps: int | None = None) -> RunEnd:
        """Train to the recipe's last step, with checkpoints and evaluations; on SIGTERM, save and stop early.

        `profile_steps` is the number of steps to trace, if any.

        Raises:
            TrainingError: more losses or gradients are not finite than the recipe allows; the message names the clips.
        """
        checkpoint, stops, stop = None, False, threading.Event()
        self.display.start(self.recipe.num_steps, done=self.step)
        with self.saver, self._logged() as log:
            # An earlier SIGTERM may have skipped the evaluation due after this step.
            if self.evaluations.is_due(self.step) and not first_says(lambda: is_evaluated(self.run_dir, self.step)):
                self._evaluate(log)
            with on_sigterm(stop.set), profiled(self.run_dir, profile_steps, self.ranks) as traced:
                while checkpoint is None or (self.step < self.recipe.num_steps and not stops):
                    self._train_step(log)
                    traced()
                    stops = self._stops(stop)
                    if self.evaluations.is_due(self.step) and not stops:
                        self._evaluate(log)  # Before saving: after a crash here, the step is repeated.
                    checkpoint = self._save(log, stops=stops) if self._is_due(stops=stops) else checkpoint
            interrupted = self.step < self.recipe.num_steps
            if not interrupted:
                self._evaluate(log)
        return RunEnd(step=self.step, interrupted=interrupted, checkpoint=checkpoint)

    def _stops(self, stop: threading.Event) -> bool:
        """Tell all ranks whether to stop after this step; a later signal takes effect after the next step.

        Raises:
            VitaDataError: a checkpoint could not be written, perhaps noticed first by another rank.
        """
        asked = highest(2 if self.saver.has_failed else int(stop.is_set()), self.ranks.device)
        if asked == 2:
            self.saver.wait()
        return bool(asked)

    def evaluate(self) -> None:
        """Evaluate on the held-out split if there is one, otherwise on the next training batches."""
        if self.recipe.eval_batches:
            with self._logged() as log:
                self._evaluate(log)

    def _evaluate(self, log: RunLog | None) -> None:
        if not self.recipe.eval_batches:
            return
        batches = self.evaluations.batches(self.ranks.device)
        self.report(f"evaluating on {self.recipe.eval_batches} batches")
        with unsharded(self.loss):
            statistics = cast(Mapping[str, Json], self.statistics)
            figures = evaluate(self.model, self.recipe.stage, batches, statistics, self.recipe.loss)
        missed = [f"{modality} batches" for modality in sorted(self.evaluations.missed)]
        missed += sorted(statistics.keys() - set(sources_of(figures)))
        if missed:
            named = ", ".join(missed)
            self.report(f"not evaluated: {named} (not in the batches drawn; --set eval_batches=N draws more)")
        if log is not None:
            write_evaluation(self.run_dir, self.step, figures)
            log.evaluation(self.step, figures)
        if self.step >= self.recipe.num_steps:
            lines = summary(figures, step=self.step)
        else:
            lines = [f"held-out evaluation at step {self.step}: {headline(figures)}"]
        for line in lines:
            self.report(line)

    @contextmanager
    def _logged(self) -> Iterator[RunLog | None]:
        """Open the run's log on the first rank; other ranks get None."""
        if not self.ranks.is_first:
            yield None
            return
        log = RunLog(
            self.run_dir,
            start_step=self.step,
            num_steps=self.recipe.num_steps,
            report_every=self.recipe.report_every,
            report=self.report,
            progress=self.display,
        )
        with closing(log):
            yield log

    def _train_step(self, log: RunLog | None) -> None:
        self.clock.begin()
        with self.clock.timed(StepPart.DATA):
            batch = next(self.stream).to(self.ranks.device)
        batch = augmented(batch, self.recipe.augmentation, generator=self.draws, ranks=self.ranks)
        rate = learning_rate(self.step, self.recipe.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        before = CodebookBefore(self.model.codebook)
        computed = self.gradients.compute(batch)
        self.step += 1
        shares = self._count(batch)
        if computed.fault is not None:
            before.restore()
            self.clock.read()
            self.bad_steps.add(self.step, batch, computed)
            if log is not None:
                log.skip()
            return
        values = computed.values
        with self.clock.timed(StepPart.OPTIMIZER):
            self.optimizer.step()
            if self.averages is not None:
                self.averages.update()
        self.shown[batch.modality] = batch
        if self.model.codebook.training:
            values |= _codebook_values(self.model)
        substituted, speed = self._summed(self.stream.substituted), self.meter.read(batch)
        if log is not None:
            log.row(
                step=self.step,
                stage=self.recipe.stage.value,
                modality=batch.modality.value,
                values={**values, "lr": rate},
                shares=shares,
                substituted=substituted,
                speed=speed,
            )

    def _count(self, batch: Batch) -> dict[str, float]:
        """Count the sources of the global batch; give their shares so far in its modality."""
        counts = self.drawn.setdefault(batch.modality.value, {})
        for name, number in self._summed(Counter(batch.source)).items():
            counts[name] = counts.get(name, 0) + number
        total = sum(counts.values())
        return {source: round(count / total, 6) for source, count in sorted(counts.items())}

    def _summed(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Sum counts by source over the ranks; zeros are left out."""
        names = sorted(self.statistics) if self.ranks.world_size > 1 else sorted(counts)
        mine = torch.tensor([float(counts.get(name, 0)) for name in names], device=self.ranks.device)
        return {name: int(count) for name, count in zip(names, all_sum(mine).tolist(), strict=True) if count}

    def _is_due(self, *, stops: bool) -> bool:
        recipe, step = self.recipe, self.step
        due = step % recipe.save_every == 0 or step in recipe.save_steps or step == recipe.num_steps
        return stops or due

    def _save(self, log: RunLog | None, *, stops: bool) -> Path:
        """Begin to write a checkpoint, and write previews unless the process should stop."""
        state = TrainerState(
            optimizer=moments_of(self.optimizer, self.model),
            averages=self.averages.state() if self.averages else {},
            torch_rng=torch.get_rng_state(),
            draw_rng=self.draws.get_state(),
        )
        progress = Progress(
            step=self.step,
            stage=self.recipe.stage.value,
            recipe=as_json(self.recipe),
            sampler=dict(self.stream.state_dict()),
            statistics=self.statistics,
            drawn=self.drawn,
            features=self.model.features.identity,
            conventions=self.conventions,
            resizes=self.resizes,
            bad_steps=self.bad_steps.count,
            changes=self.changes,
        )
        checkpoint = self.saver.save(snapshot_of(self.model, state, progress))
        if self.shown and not stops:
            with unsharded(self.loss):
                written = self._write_pictures()
            if log is not None:
                log.pictures(self.step, written)
        return checkpoint

    def _write_pictures(self) -> list[Path]:
        """Write previews of the newest batches, and the latent picture, on held-out windows if there are any."""
        run, step, model, stage, ranks = self.run_dir, self.step, self.model, self.recipe.stage, self.ranks
        newest = [self.shown[m] for m in self.rule.modalities if m in self.shown]
        measures = self.evaluations.is_held_out and self.recipe.eval_batches
        looked_at = self.evaluations.batches(ranks.device) if measures else newest
        written = write_previews(run, step, model, stage, newest, ranks=ranks)
        return written + write_latents(run, step, model, stage, looked_at, ranks=ranks)


def train(
    recipe: Recipe,
    stream: BatchStream,
    run: Path,
    *,
    statistics: Json,
    report: Report,
    resume: bool,
    plan_change: PlanChange = PlanChange.REFUSE,
    changes: Collection[str] = (),
    ranks: Ranks | None = None,
    conventions: Json | None = None,
    resizes: Json | None = None,
    held_out: BatchStream | None = None,
    display: Display = SILENT,
    profile_steps: int | None = None,
) -> RunEnd:
    """Train a recipe in the folder `run`; with `resume`, continue from its newest checkpoint, if it has one.

    A checkpoint of another plan is refused unless `plan_change` allows it, one of another recipe unless `changes` names
    the fields that differ.

    Raises:
        RequestError: the folder is not empty and `resume` is False, another process is training there, or the request
            does not fit the run.
        TrainingError: more losses or gradients are not finite than the recipe allows.
    """
    if ranks is None and not is_alone():
        raise ValueError("this process is one of several ranks: pass `ranks` from joined_ranks() to train()")
    _check_accumulate(recipe, ranks or Ranks())
    check_eval_every(recipe, held_out)
    first_says(lambda: _check_folder(run, resume=resume))
    newest = newest_whole(run, ranks or Ranks()) if resume else Newest(checkpoint=None)
    checkpoint = newest.checkpoint
    trainer = Trainer(
        recipe,
        stream,
        run,
        statistics=statistics,
        report=report,
        ranks=ranks,
        conventions=conventions,
        resizes=resizes,
        held_out=held_out,
        display=display,
    )
    if checkpoint is None:
        if resume:
            trainer.report(f"no checkpoint in {run} yet, starting at step 0")
        trainer.start()
    else:
        for line in newest.told:
            trainer.report(line)
        trainer.resume(checkpoint, plan_change, changes)
    with ExitStack() as stack:
        first_says(lambda: stack.enter_context(held(run)))
        first_says(newest.set_aside)
        if checkpoint is None or trainer.step < recipe.num_steps:
            return trainer.fit(profile_steps=profile_steps)
        if not first_says(lambda: is_evaluated(run, trainer.step)):
            trainer.evaluate()
        return RunEnd(step=trainer.step, interrupted=False, checkpoint=checkpoint)


def _check_folder(run: Path, *, resume: bool) -> None:
    """Refuse an unsuitable folder, or a non-empty one without `resume`."""
    require_startable(run)
    if not resume:
        require_new(run)


def _check_accumulate(recipe: Recipe, ranks: Ranks) -> None:
    sizes = recipe.batch_size.values() if isinstance(recipe.batch_size, Mapping) else (recipe.batch_size,)
    for size in sizes:
        if size // ranks.world_size % recipe.accumulate:
            raise RequestError(
                f"expected accumulate to divide the {size // ranks.world_size} samples per rank (batch_size {size}, "
                f"ranks {ranks.world_size}), got {recipe.accumulate}; --set accumulate to a divisor"
            )


def _silent(line: str) -> None:
    """Ignore the line, because only the first rank reports."""


def _build(recipe: Recipe) -> Vita:
    """Build the stage's parts and load the frozen weights; sizes that do not match are errors of the recipe."""
    with building(recipe):
        model = Vita(recipe.model, RULES[recipe.stage].builds)
    model.features.load_pretrained()
    return model


def _codebook_values(model: Vita) -> dict[str, float]:
    """Give figures of the code usage; none before codes exist."""
    if model.codebook.is_continuous:
        return {}
    usage = model.codebook.summary()
    perplexity = {f"perplexity_{modality}": value for modality, value in usage.perplexity.items()}
    return {**perplexity, "overlap": usage.overlap, "dead_codes": float(usage.num_dead)}
