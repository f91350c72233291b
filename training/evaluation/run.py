"""Run an evaluation: score all examples by all scorers and compute the report.

Every scorer is measured on the same responses: those that every reward model could read.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from training.data.examples import Example
from training.data.filters import FilteredExamples
from training.errors import DataError
from training.evaluation.figures import Figures, evaluate
from training.evaluation.perturbations import PERTURBATIONS
from training.evaluation.report import DataSummary, EvaluationReport
from training.evaluation.rewards import Rewards
from training.evaluation.robustness import PerturbationFigures, perturbation_figures
from training.evaluation.scorer import (
    Candidate,
    Reading,
    Refusal,
    Scorer,
    ScorerInfo,
    candidates_of,
)
from training.evaluation.step_figures import ReadSteps
from training.evaluation.subsets import Grouping, subset_figures

DEFAULT_ROBUSTNESS_PROMPTS = 200

OnProgress = Callable[[ScorerInfo, int, int], None]
"""Told of a scorer, how many texts it has done and how many there are."""


@dataclass(frozen=True, slots=True)
class EvaluationOptions:
    """What to measure.

    Attributes:
        grouping: what makes a subset.
        sections: names of subsets by section.
        robustness_prompts: prompts whose responses are perturbed, drawn by hash; 0: none.
        seed: of all resampling.
    """

    grouping: Grouping = "source"
    sections: Mapping[str, Sequence[str]] = field(default_factory=dict)
    robustness_prompts: int = DEFAULT_ROBUSTNESS_PROMPTS
    seed: int = 0


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What the report says of the data beyond what the examples tell; see `DataSummary`."""

    files: Mapping[str, str] = field(default_factory=dict)
    split: str = "all"
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EvaluationRun:
    """An evaluation's report, with the examples and rewards that it was computed from.

    Attributes:
        report: the figures.
        examples: with the responses that every reward model read.
        rewards: of those, by scorer name.
    """

    report: EvaluationReport
    examples: tuple[Example, ...]
    rewards: Mapping[str, Rewards]


def evaluate_scorers(
    built: FilteredExamples,
    scorers: Sequence[Scorer],
    options: EvaluationOptions | None = None,
    *,
    facts: DataFacts | None = None,
    on_progress: OnProgress = lambda *_: None,
) -> EvaluationRun:
    """Measure reward models, then baselines, side by side; all of different names.

    Raises:
        DataError: the reward models read no response in common.
        RewardError: a scorer can't score at all.
    """
    options, facts = options or EvaluationOptions(), facts or DataFacts()
    plan = _Plan.of(built.examples, options)
    given = [_readings(scorer, plan, on_progress) for scorer in scorers]
    infos = [scorer.info for scorer in scorers]  # complete by now
    kept, refused = _read_by_all(built.examples, plan, given, infos)
    examples = tuple(example.only(kept[i]) for i, example in enumerate(built.examples) if kept[i])
    if not examples:
        raise DataError(
            "no response is left that every reward model could read: "
            + ", ".join(f"{count} × {reason}" for reason, count in refused.items())
        )
    rewards: dict[str, Rewards] = {}
    figures = []
    for info, readings in zip(infos, given, strict=True):
        found = _Found(built.examples, plan, readings, kept)
        rewards[info.name] = found.rewards()
        figures.append(_figures(info, examples, found, options))
    data = DataSummary(
        files=facts.files,
        split=facts.split,
        prompts=len({example.prompt_key for example in examples}),
        responses=sum(len(example.responses) for example in examples),
        pairs=sum(len(example.pairs) for example in examples),
        tied_pairs=built.tied_pairs,
        left_out={**facts.left_out, **built.left_out, **refused},
        robustness_prompts=len(plan.robust_prompts),
    )
    return EvaluationRun(EvaluationReport(data, tuple(figures), options.seed), examples, rewards)


@dataclass(frozen=True, slots=True)
class _Plan:
    """All texts to be scored: every response, then the perturbed ones.

    Attributes:
        candidates: in the order of scoring.
        starts: where each example's responses begin among them.
        perturbed: index of (perturbation, example, response) among them; absent where it changes
            nothing.
        robust_prompts: keys of the prompts whose responses are perturbed.
    """

    candidates: list[Candidate]
    starts: list[int]
    perturbed: Mapping[tuple[str, int, int], int]
    robust_prompts: frozenset[str]

    @classmethod
    def of(cls, examples: Sequence[Example], options: EvaluationOptions) -> "_Plan":
        candidates: list[Candidate] = []
        starts = []
        for example in examples:
            starts.append(len(candidates))
            candidates.extend(
                replace(candidate, step_ends=tuple(step.end for step in steps))
                for candidate, steps in zip(candidates_of(example), example.steps, strict=True)
            )
        prompts = _drawn_prompts(examples, options.robustness_prompts, options.seed)
        perturbed: dict[tuple[str, int, int], int] = {}
        for number, example in enumerate(examples):
            if example.prompt_key not in prompts or example.token_ids is not None:
                continue
            for index in sorted(
                {i for pair in example.pairs for i in (pair.chosen, pair.rejected)}
            ):
                for name, perturbation in PERTURBATIONS.items():
                    changed = perturbation.change(example.responses[index])
                    if changed != example.responses[index]:
                        perturbed[name, number, index] = len(candidates)
                        candidates.append(Candidate(example.prompt, changed))
        return cls(candidates, starts, perturbed, prompts)


@dataclass(frozen=True, slots=True)
class _Found:
    """One scorer's readings, of the responses that all reward models could read."""

    examples: Sequence[Example]
    plan: _Plan
    readings: Sequence[Reading | Refusal]
    kept: Sequence[Sequence[int]]

    def rewards(self) -> list[tuple[float, ...]]:
        """Rewards of the kept responses of each example that has any."""
        return [
            tuple(self._reward(number, index) for index in kept)
            for number, kept in enumerate(self.kept)
            if kept
        ]

    def steps(self) -> list[ReadSteps]:
        """The kept responses with labelled steps that the scorer could read."""
        found = []
        for example, start, kept in zip(self.examples, self.plan.starts, self.kept, strict=True):
            for index in kept:
                labels = tuple(step.label for step in example.steps[index])
                rewards = self._at(start + index).steps
                if labels and rewards is not None:
                    found.append(ReadSteps(example.prompt_key, labels, rewards))
        return found

    def perturbation(self, name: str, seed: int) -> PerturbationFigures | None:
        """Figures of one perturbation, over responses that were read with it and without."""
        examples, rewards, changed = [], [], []
        for number, kept in enumerate(self.kept):
            if self.examples[number].prompt_key not in self.plan.robust_prompts:
                continue
            usable = []
            after: list[float | None] = []
            for index in kept:
                at = self.plan.perturbed.get((name, number, index))
                reading = None if at is None else self.readings[at]
                if not isinstance(reading, Refusal):
                    usable.append(index)
                    after.append(None if reading is None else reading.reward)
            examples.append(self.examples[number].only(usable))
            rewards.append([self._reward(number, index) for index in usable])
            changed.append(after)
        if all(value is None for given in changed for value in given):
            return None
        return perturbation_figures(examples, rewards, changed, seed=seed)

    def _reward(self, number: int, index: int) -> float:
        return self._at(self.plan.starts[number] + index).reward

    def _at(self, place: int) -> Reading:
        reading = self.readings[place]
        if isinstance(reading, Refusal):
            raise DataError(f"a baseline gives no reward to a response ({reading.reason})")
        return reading


def _drawn_prompts(examples: Sequence[Example], count: int, seed: int) -> frozenset[str]:
    """Prompts with pairs, drawn by hash, so that the draw doesn't depend on the data's order."""
    keys = {
        example.prompt_key for example in examples if example.pairs and example.token_ids is None
    }
    order = sorted(keys, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())
    return frozenset(islice(order, count))


def _readings(scorer: Scorer, plan: _Plan, on_progress: OnProgress) -> list[Reading | Refusal]:
    done = 0

    def on_scored(more: int) -> None:
        nonlocal done
        done += more
        on_progress(scorer.info, done, len(plan.candidates))

    on_scored(0)
    return scorer.score(plan.candidates, on_scored)


def _read_by_all(
    examples: Sequence[Example],
    plan: _Plan,
    given: Sequence[Sequence[Reading | Refusal]],
    infos: Sequence[ScorerInfo],
) -> tuple[list[list[int]], dict[str, int]]:
    """Indices of the responses of each example that no reward model refused, and the refusals."""
    refused: Counter[str] = Counter()
    kept = []
    for example, start in zip(examples, plan.starts, strict=True):
        own = []
        for index in range(len(example.responses)):
            reasons = [
                f"{info.name}: {reading.reason}"
                for info, readings in zip(infos, given, strict=True)
                if isinstance(reading := readings[start + index], Refusal)
            ]
            refused.update(reasons)
            if not reasons:
                own.append(index)
        kept.append(own)
    return kept, dict(refused)


def _figures(
    info: ScorerInfo, examples: Sequence[Example], found: _Found, options: EvaluationOptions
) -> Figures:
    rewards, seed = found.rewards(), options.seed
    robustness = {name: found.perturbation(name, seed) for name in PERTURBATIONS}
    return replace(
        evaluate(examples, rewards, info, steps=found.steps(), seed=seed),
        subsets=subset_figures(
            examples, rewards, grouping=options.grouping, sections=options.sections, seed=seed
        ),
        robustness={name: part for name, part in robustness.items() if part is not None},
    )
