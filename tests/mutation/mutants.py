"""Semantic mutants: one wrong line each, which the named tests must find.

Where a module moves, its path and its tests' paths change in the table of targets alone.
"""

from dataclasses import dataclass

from tests.mutation.access_mutants import ACCESS_MUTATIONS
from tests.mutation.adapter_mutants import ADAPTER_MUTATIONS
from tests.mutation.attention_mutants import ATTENTION_MUTATIONS
from tests.mutation.batch_mutants import BATCH_MUTATIONS
from tests.mutation.checkpoint_mutants import CHECKPOINT_MUTATIONS
from tests.mutation.connection_mutants import CONNECTION_MUTATIONS
from tests.mutation.deterministic_mutants import DETERMINISTIC_MUTATIONS
from tests.mutation.edge_mutants import EDGE_MUTATIONS
from tests.mutation.fairness_mutants import FAIRNESS_MUTATIONS
from tests.mutation.known_text_mutants import KNOWN_TEXT_MUTATIONS
from tests.mutation.prefix_cache_mutants import PREFIX_CACHE_MUTATIONS
from tests.mutation.product_mutants import PRODUCT_MUTATIONS
from tests.mutation.reward_mutants import REWARD_MUTATIONS
from tests.mutation.state_mutants import STATE_MUTATIONS
from tests.mutation.target import Target
from tests.mutation.target import target as _target
from tests.mutation.text_mutants import TEXT_MUTATIONS
from tests.mutation.watchdog_mutants import WATCHDOG_MUTATIONS


@dataclass(frozen=True, slots=True)
class Mutant:
    """A text that stands once in the target's module, and what takes its place."""

    target: Target
    original: str
    mutated: str


# Folders, and what of them is tested where.
PACKING, TEST_PACKING = "rm_core/engine/packing", "tests/rm_core/engine/packing"
SERVICE, TEST_SERVICE = "service", "tests/service"
FORMATS, TEST_FORMATS = "training/data/formats", "tests/training/data/formats"
CALIBRATION, TEST_CALIBRATION = "training/calibration", "tests/training/calibration"

PLAN = _target(f"{PACKING}/plan.py", f"{TEST_PACKING}/test_plan.py")
PATHS = _target(f"{PACKING}/paths.py", f"{TEST_PACKING}/test_paths.py")
COST = _target(f"{PACKING}/cost.py", f"{TEST_PACKING}/test_cost.py")
POLICY = _target(f"{PACKING}/policy.py", f"{TEST_PACKING}/test_policy.py")
PACKED = _target("rm_core/engine/forward/packed.py", "tests/rm_core/engine/forward/test_packed.py")


TENSORS = _target(
    f"{SERVICE}/dialects/kserve_tensors.py",
    f"{TEST_SERVICE}/dialects/test_kserve.py",
    f"{TEST_SERVICE}/dialects/test_kserve_tensors.py",
)
RERANK = _target(f"{SERVICE}/dialects/rerank.py", f"{TEST_SERVICE}/dialects/test_rerank.py")
VLLM = _target(f"{SERVICE}/dialects/vllm.py", f"{TEST_SERVICE}/dialects/test_vllm.py")
PADDLENLP = _target(
    f"{SERVICE}/dialects/paddlenlp.py", f"{TEST_SERVICE}/dialects/test_paddlenlp.py"
)
NEMO_METRICS = _target(
    f"{SERVICE}/dialects/nemo_gym_metrics.py", f"{TEST_SERVICE}/dialects/test_nemo_gym_metrics.py"
)
_PPO_ROUTE = (
    f"{TEST_SERVICE}/routes/test_ppo_whitening.py",
    f"{TEST_SERVICE}/routes/test_ppo.py",
)
PPO_HANDLER = _target(
    f"{SERVICE}/ppo/handler.py",
    *_PPO_ROUTE,
    f"{TEST_SERVICE}/ppo/test_handler.py",
    f"{TEST_SERVICE}/scoring/test_rule_applied.py",
)
ITEM_IDENTITY = _target(
    f"{SERVICE}/ppo/item_identity.py", f"{TEST_SERVICE}/routes/test_ppo_once.py"
)
ESTIMATOR_WARNING = _target(
    f"{SERVICE}/ppo/estimator_warning.py", f"{TEST_SERVICE}/ppo/test_estimator_warning.py"
)
STREAM_UPDATE = _target(
    f"{SERVICE}/ppo/stream_update.py", *_PPO_ROUTE, f"{TEST_SERVICE}/ppo/test_preconditions.py"
)
SCORE_ITEMS = _target(
    f"{SERVICE}/scoring/score_items.py",
    f"{TEST_SERVICE}/scoring/test_score_items.py",
    f"{TEST_SERVICE}/scoring/test_rule_applied.py",
)

HH = _target(f"{FORMATS}/hh_rlhf.py", f"{TEST_FORMATS}/test_registry.py")
FIELDS = _target(f"{FORMATS}/fields.py", *HH.tests)
COLUMNS = _target(f"{FORMATS}/columns.py", *HH.tests)
FILTERS = _target("training/data/filters.py", "tests/training/data/test_filters.py")
ARENA = _target(f"{FORMATS}/arena.py", *HH.tests)
FITTING = _target(f"{CALIBRATION}/fitting.py", f"{TEST_CALIBRATION}/test_fitting.py")
RANKINGS = _target("training/losses/rankings.py", "tests/training/losses/test_rankings.py")
INTERVALS = _target(
    "training/statistics/intervals.py", "tests/training/statistics/test_intervals.py"
)
THRESHOLD = _target(f"{CALIBRATION}/threshold.py", f"{TEST_CALIBRATION}/test_threshold.py")

_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    **ACCESS_MUTATIONS,
    **CONNECTION_MUTATIONS,
    **REWARD_MUTATIONS,
    **TEXT_MUTATIONS,
    **STATE_MUTATIONS,
    **WATCHDOG_MUTATIONS,
    **CHECKPOINT_MUTATIONS,
    **EDGE_MUTATIONS,
    **ADAPTER_MUTATIONS,
    **PREFIX_CACHE_MUTATIONS,
    **PRODUCT_MUTATIONS,
    **DETERMINISTIC_MUTATIONS,
    **FAIRNESS_MUTATIONS,
    **ATTENTION_MUTATIONS,
    **BATCH_MUTATIONS,
    **KNOWN_TEXT_MUTATIONS,
    PATHS: [
        ("num_keys = block - start + QUERIES if", "num_keys = TILE if"),
        ("- tile * TILE < window", "- tile * TILE <= window"),
        ("path[np.minimum(", "path[np.maximum("),
    ],
    PLAN: [
        ("ids[: max(reads) + 1]", "ids"),
        ("if end - depth >= min_shared:", "if end - depth > min_shared:"),
        ("max(subtree_end[parent], subtree_end[index])", "subtree_end[index]"),
        ("    if share:", "    if share or sequences:"),
        ("max(reads) + 1", "reads[0] + 1"),
        ("max(len(ids) for ids in needed)", "max(len(ids) for ids in sequences)"),
        ("sum(len(ids) for ids in needed)", "sum(len(ids) for ids in sequences)"),
        ("sum(len(ids) for ids in needed)", "sum(len(needed[i]) for i in firsts)"),
        ("min(ends[-1], first_read) if ends", "ends[-1] if ends"),
        ("min(first_reads.get(key, own[0]), *own)", "min(own)"),
        ("min(first_reads.get(key, own[0]), *own)", "own[0]"),
        ("|= _COMPUTED", "|= np.uint32(0)"),
        ("taken if taken >= min_tokens else 0", "taken"),
        ("0 if node.kept else node.end - node.begin", "node.end - node.begin"),
        ("while segment.position > position", "while segment.position >= position"),
    ],
    COST: [
        ("hash((before, tuple(", "hash((0, tuple("),
        ("new -= self._seen", "pass"),
        ("longest = max(", "longest = min("),
        ("if shares_prefixes else PlainCost()", "if not shares_prefixes else PlainCost()"),
        ("len(ids) - BLOCK + 1", "len(ids)"),
        ("cached &= new", "pass"),
        ("- (-self.cached // CACHED_PER_COMPUTED)", ""),
        ("hash(scope) if scope else 0", "0"),
        ("cached * (1 - 1 / CACHED_PER_COMPUTED)", "cached"),
    ],
    POLICY: [
        ("self._since_bulk + 1 >= self.every", "self._since_bulk + 1 > self.every"),
        ("self._since_bulk + 1 if bulk_waits else 0", "self._since_bulk + 1"),
        ("sorted(lanes, key=lambda one: one != first)", "list(lanes)"),
        ("or misses >= MAX_MISSES", ""),
        ("elif _exceeds_any_pack(members, waiting, budget, new_pack):", "elif False:"),
        ("    if len(members) > budget.max_items:\n        return True\n", ""),
        ("filling.take_fitting([index for index in (*own, *others) if index != lead])", "pass"),
        (
            "len(members) > self.budget.max_items:\n            return False",
            "len(members) > len(self.waiting):\n            return False",
        ),
        ("cost <= self.budget.max_tokens", "cost < self.budget.max_tokens"),
        ("self._fits = 0  #", "pass  #"),
        ("max(tokens // 2, self._fits)", "tokens // 2"),
        ("min(2 * self._run, self._MAX_RUN)", "self._run"),
        ("or 2 * tokens <= self._cap", ""),
        ("self._cap + max(1, self._cap // 4)", "2 * self._cap"),
        (
            "min(self.configured, self._cap + max(1, self._cap // 4))",
            "self._cap + max(1, self._cap // 4)",
        ),
        ("            self._successes = 0\n", ""),
    ],
    PACKED: [
        (
            "len(texts) == len(self.texts) and all(\n            one is other",
            "len(texts) == len(self.texts) and all(\n            one",
        ),
        ("one is other", "one.input_ids == other.input_ids"),
    ],
    PPO_HANDLER: [
        (
            '("prompt", dialogue.prompt) if item.group is None else item.group',
            '("prompt", dialogue.prompt)',
        ),
        (
            "        parsed.options.truncate,\n        deadline,\n",
            '        "error",\n        deadline,\n',
        ),
        ('        "bulk",\n', '        "interactive",\n'),
        ("        deadline,\n        cache_scope", "        cache_scope"),
        ("        start = Statistics()\n", "        start = initial\n"),
        ("start, whiten.update, whiten.half_life", "start, True, whiten.half_life"),
        ("whiten.update, whiten.half_life", "whiten.update, None"),
        ("clip=options.kl_clip", "clip=10.0"),
    ],
    ITEM_IDENTITY: [
        ('"group", "is_safety"}', '"group", "is_safety", "response"}'),
    ],
    ESTIMATOR_WARNING: [
        ("options.beta > 0.0 and any(", "any("),
        ("outcome.sample.kl is not None", "True"),
        (" or not told.is_first(options.stream)", ""),
    ],
    STREAM_UPDATE: [
        ("    require_stream(update.expected, stream)\n", ""),
        (
            "    require_stream(update.expected, stream)\n",
            '    if options.mode == "running":\n        require_stream(update.expected, stream)\n',
        ),
        ("        require_stream(update.expected, None)\n", ""),
        ("update.update and not stream.frozen", "update.update"),
        ("update.update and not stream.frozen", "not stream.frozen"),
        ("half_life=update.half_life", "half_life=None"),
        ("half_life=stream.half_life", "half_life=None"),
    ],
    SCORE_ITEMS: [
        ("if patience is None:", "if not patience:"),
        ('submission.priority == "interactive"', 'submission.priority != "interactive"'),
        ("tags.append(item.is_safety)", "tags.append(False)"),
    ],
    HH: [
        ("4.0 - rating", "float(rating)"),
        ("is_safety=True", "is_safety=False"),
    ],
    FIELDS: [
        ("ranking=(0, 1)", "ranking=(1, 0)"),
        ('        margin=margin_of(row.get("margin")),\n', ""),
    ],
    COLUMNS: [
        (
            "(int(preference > 0), int(preference < 0))",
            "(int(preference < 0), int(preference > 0))",
        ),
        ('            "strength": STRENGTH_OF_STEPS.get(abs(preference)),\n', ""),
        ("[-rank for rank in ranks]", "ranks"),
        (
            "(int(preference == 2), int(preference == 1))",
            "(int(preference == 1), int(preference == 2))",
        ),
        ('"ranking": (0, 1), "margin"', '"ranking": (1, 0), "margin"'),
    ],
    TENSORS: [
        ('"INT64": "<i8"', '"INT64": ">i8"'),
        ('"FP32": "<f4"', '"FP32": ">f4"'),
        ("if len(rest):", "if False:"),
        ("        rest = rest[size:]\n", ""),
    ],
    RERANK: [
        ("key=lambda at: -text_rewards[at].reward", "key=lambda at: -text_rewards[at].score"),
        ("index if len(prompts) > 1 else 0", "0"),
        ("else not self.use_activation", "else self.use_activation"),
    ],
    VLLM: [('"classify": True', '"classify": False'), ("None: False", "None: True")],
    PADDLENLP: [("rendered=True", "rendered=False")],
    NEMO_METRICS: [
        ("if rollout.get(FAILURE) is None:", "if True:"),
        ("statistics.stdev(values)", "statistics.pstdev(values)"),
    ],
    ARENA: [("((0, 1), (1, 0), (0, 0))[flags", "((1, 0), (0, 1), (0, 0))[flags")],
    FILTERS: [
        ('self._role == "safety"', 'self._role != "safety"'),
        ("not self._keeps_contradictions and ", ""),
    ],
    FITTING: [
        ("NORMAL_95 * error if certainly else 0.0", "0.0"),
        ("(labels.num_safe + 1) / (labels.num_safe + 2)", "1.0"),
    ],
    RANKINGS: [
        ("earlier_among_tied.double()", "earlier_among_tied.float()"),
    ],
    INTERVALS: [
        ("Interval(span.high - unseen, span.high)", "interval"),
        ("Interval(span.low, span.low + unseen)", "interval"),
        ("unseen = width * wilson", "unseen = wilson"),
    ],
    THRESHOLD: [
        (
            "weights[start : start + _RESAMPLES_AT_ONCE, ordered.prompt]",
            "generator.multinomial(n := len(ordered.prompt), [1 / n] * n, size=_RESAMPLES_AT_ONCE)",
        ),
        ("(self.distinct[cut] + self.distinct[cut + 1]) / 2", "self.distinct[cut + 1]"),
        (
            "(self.distinct[cut] + self.distinct[cut + 1]) / 2",
            "(self.distinct[cut] + 3 * self.distinct[cut + 1]) / 4",
        ),
        ("np.quantile(known, [0.025, 0.975])", "np.quantile(known, [0.05, 0.95])"),
    ],
}

MUTANTS = [
    Mutant(target, original, mutated)
    for target, mutations in _MUTATIONS.items()
    for original, mutated in mutations
]
