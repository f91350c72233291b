"""Mutants of the reward mathematics; see `tests.mutation.mutants`."""

from tests.mutation.target import Target, target

REWARDS, TEST_REWARDS = "rm_core/rewards", "tests/rm_core/rewards"

CALIBRATE = target(f"{REWARDS}/calibration.py", f"{TEST_REWARDS}/test_calibration.py")
CLIPPING = target(f"{REWARDS}/clipping.py", f"{TEST_REWARDS}/test_clipping.py")
COMPARISON = target(f"{REWARDS}/comparison.py", f"{TEST_REWARDS}/test_comparison.py")
GROUPS = target(f"{REWARDS}/groups.py", f"{TEST_REWARDS}/test_groups.py")
KL = target(f"{REWARDS}/kl.py", f"{TEST_REWARDS}/test_kl.py", f"{TEST_REWARDS}/test_kl_gradient.py")
PPO = target(f"{REWARDS}/ppo.py", f"{TEST_REWARDS}/test_ppo.py")
RULE = target(f"{REWARDS}/rule.py", f"{TEST_REWARDS}/test_rule.py")
SELECTION = target(f"{REWARDS}/selection.py", f"{TEST_REWARDS}/test_selection.py")
SHAPING = target(f"{REWARDS}/shaping.py", f"{TEST_REWARDS}/test_shaping.py")
STEPS = target(f"{REWARDS}/steps.py", f"{TEST_REWARDS}/test_steps.py")
WHITENING = target(f"{REWARDS}/whitening.py", f"{TEST_REWARDS}/test_whitening.py")

REWARD_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    CALIBRATE: [
        (
            'as_floats(reward, "reward") / temperature + bias',
            '(as_floats(reward, "reward") + bias) / temperature',
        ),
        ("temperature > 0.0)", "temperature != 0.0)"),
        ("np.log1p(-score) - bias)", "np.log1p(-score) + bias)"),
    ],
    CLIPPING: [
        ('"openrlhf": 10.0, "deepspeed_chat": 5.0', '"openrlhf": 5.0, "deepspeed_chat": 10.0'),
        ("max(whitened, -bound)", "whitened"),
        ("return min(bound, MAX_REWARD)", "return bound"),
        ("        return MAX_REWARD\n", "        return math.inf\n"),
    ],
    COMPARISON: [
        ("r[:, None] - r[None, :]", "r[None, :] - r[:, None]"),
        ("np.count_nonzero(r > own)", "np.count_nonzero(r < own)"),
        ("if len(best[0]) == 1 else None", "if best[0] else None"),
    ],
    GROUPS: [
        ("alone = not result.scaled and shift_mean", "alone = not result.scaled"),
        ("result.values - own.mean if alone else result.values", "result.values"),
        ("shift_mean=shift_mean, eps=eps)\n        alone", "eps=eps)\n        alone"),
        ("own.count / (own.count - 1.0) if own.count >= 2.0 else 1.0", "1.0"),
        ("kept - statistics_of(given[indices]).mean", "kept - statistics_of(given).mean"),
        ("whiten_groups(values, groups, eps=eps).values", "whiten_groups(values, groups).values"),
        ('if kind == "grpo_no_std"', 'if kind == "rloo"'),
    ],
    KL: [
        ("np.where(counts, policy - reference, 0.0)", "np.where(counts, reference - policy, 0.0)"),
        ("return d * d / 2.0", "return d * d"),
        ("(d != raw) & ~is_clipped", "(raw < lowest) & ~is_clipped"),
        ("(d != raw) & ~is_clipped", "d != raw"),
        ("np.clip(estimate, -clip, clip)", "np.minimum(estimate, clip)"),
        ("np.clip(estimate, -clip, clip)", "estimate"),
        ("DEFAULT_KL_CLIP = 10.0", "DEFAULT_KL_CLIP = 20.0"),
        ("MAX_EXPONENT = 20.0", "MAX_EXPONENT = 600.0"),
        ("MAX_LOG_RATIO = 1e6", "MAX_LOG_RATIO = 1e100"),
        ("np.expm1(-d) + d)", "np.expm1(d) - d)"),
        ('-MAX_EXPONENT if estimator == "k3" else -MAX_LOG_RATIO', "-MAX_LOG_RATIO"),
    ],
    PPO: [
        (
            "mode, shift_mean = options.mode, options.shift_mean",
            "mode, shift_mean = options.mode, True",
        ),
        ("seen = dict(counted)", "seen: dict[str, bytes | None] = {}"),
        ("None not in (known, sample.text) and known", "known"),
        ("return str(identifier)", "return repr(identifier)"),
        ("if sample.finished is False else 0.0", "if not sample.finished else 0.0"),
        ('if mode == "batch" else statistics', 'if mode != "running" else statistics'),
        ("keys = [sample.group for sample in samples]", "keys = [0 for sample in samples]"),
        ("beta=options.beta", "beta=0.01"),
        ("clip_reward(whitened, options.reward_clip)", "whitened"),
        ("clip_reward(whitened, options.reward_clip)", "clip_reward(whitened, None)"),
        ("        bounded,\n        sample.kl", "        whitened,\n        sample.kl"),
        ("sample.kl.num_clipped > 0", "sample.kl.num_clamped > 0"),
        ("mask=given.mask, clip=clip", "mask=given.mask"),
        ("statistics_of(values, half_life=half_life)", "statistics_of(values)"),
    ],
    RULE: [
        ("is_safety[index] and lacks_safety", "is_safety[index]"),
        ("is_safety[index] and lacks_safety", "lacks_safety"),
        ("(*item.warnings, NO_SAFETY_MODEL)", "(NO_SAFETY_MODEL,)"),
    ],
    SELECTION: [
        ("(r_s < threshold) & (sigmoid(r_s) < tau)", "r_s < threshold"),
        ("(r_s < threshold) & (sigmoid(r_s) < tau)", "sigmoid(r_s) < tau"),
        ("tags | below | ~np.isfinite(r_s)", "tags | below"),
        ("tags | below | ~np.isfinite(r_s)", "below | ~np.isfinite(r_s)"),
        ("np.full(len(only), safety is not None)", "np.full(len(only), safety is None)"),
    ],
    SHAPING: [
        ("whitened - missing_eos_penalty", "whitened + missing_eos_penalty"),
        ("token_rewards[unmasked[-1]] += final", "token_rewards[-1] += final"),
        ("-beta * kl.values, 0.0) + 0.0", "-beta * kl.values, 0.0)"),
        ("penalty=beta * kl.total", "penalty=kl.total"),
        ("value >= 0.0)", "value > 0.0)"),
    ],
    STEPS: [
        ("float(given[-1])", "float(given[0])"),
        ("float(given.min())", "float(given[1:].min())"),
    ],
    WHITENING: [
        ("self.m2 / (self.count - 1.0)", "self.m2 / self.count"),
        ("if self.count >= 2.0 else None", "if self.count > 2.0 else None"),
        ("np.abs(values) <= MAX_MAGNITUDE", "np.isfinite(values)"),
        (" - math.fsum(weighted) ** 2 / count", ""),
        ("mixed = a.count * (b.count / count)", "mixed = a.count * b.count"),
        ("math.exp2(-num_new / half_life)", "math.exp(-num_new / half_life)"),
        ("_degrees(statistics) * factor", "_degrees(statistics)"),
        ("+ 2.0 * mixed", "+ mixed"),
        ("m2 * factor,", "m2,"),
        ("np.arange(kept.size - 1.0, -1.0, -1.0)", "np.arange(kept.size)"),
        ("np.exp2(-np.arange", "np.exp(-np.arange"),
        ("* np.cumsum(weights)[:-1])", "* weights[:-1])"),
        ("if degrees > 0.0 else None", "if degrees >= 0.5 else None"),
        ("max(statistics.count - 1.0, 0.0) if known", "statistics.count if known"),
        ("std * std * (weight - 1.0)", "std * std * weight"),
        ("math.sqrt(variance + eps)", "(math.sqrt(variance) + eps)"),
        ("whitened if shift_mean else whitened + statistics.mean", "whitened"),
        ("2.0 <= weight", "1.0 <= weight"),
    ],
}
