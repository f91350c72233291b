"""Mutants of what is kept of texts, and of who may meet it; see `tests.mutation.mutants`."""

from tests.mutation.target import Target, target

BATCHING, TEST_BATCHING = "service/batching", "tests/service/batching"

REWARD_CACHE = target("rm_core/engine/reward_cache.py", "tests/rm_core/engine/test_reward_cache.py")
ENGINE = target("rm_core/engine/engine.py", "tests/rm_core/engine/test_reward_cache.py")
SCHEDULER = target(f"{BATCHING}/scheduler.py", f"{TEST_BATCHING}/test_known_texts.py")
PACK_QUEUE = target(f"{BATCHING}/pack_queue.py", f"{TEST_BATCHING}/test_known_texts.py")
PACK_RUNNER = target(f"{BATCHING}/pack_runner.py", f"{TEST_BATCHING}/test_known_texts.py")
WAITING = target(f"{BATCHING}/waiting.py", f"{TEST_BATCHING}/test_known_texts.py")
TOKENIZERS = target(f"{BATCHING}/tokenizer_pool.py", f"{TEST_BATCHING}/test_tokenizer_pool.py")
WAIT = target(f"{BATCHING}/wait_estimate.py", f"{TEST_BATCHING}/test_admission.py")
SCOPES = target("service/http/auth.py", "tests/service/routes/test_known_texts.py")

KNOWN_TEXT_MUTATIONS: dict[Target, list[tuple[str, str]]] = {
    REWARD_CACHE: [
        ("return item.cache_scope + content", "return content"),
        ('digest.update(array("q", text.token_types).tobytes())', "pass"),
        ("lengths = (len(text.input_ids), len(text.token_types)) if", "lengths = () if"),
        ("told = response if name in self._averaging else ()", "told = ()"),
        ("entry.rewards.setdefault(read, reward)", "entry.rewards[read] = reward"),
        ("if not finite:", "if False:"),
        ("-1 - index if name in self._averaging else count", "count"),
        ("count * text.read_position + index", "count * text.read_position"),
        ("self._entries.move_to_end(key)", "pass"),
        ("popitem(last=False)", "popitem(last=True)"),
        ("if entry.num_bytes <= self._max_bytes:", "if True:"),
    ],
    ENGINE: [
        ("self._reward_cache.keep(item, own)", "pass"),
    ],
    SCHEDULER: [
        ("if text.known is None)", ")"),
        ("elif text.known is not None:", "elif False:"),
        ("if all(entry.has_cached_prompt for entry in self._queue):", "if False:"),
        ("self._metrics.scored(request.submission.route", "(lambda *_: None)(0"),
    ],
    PACK_QUEUE: [
        ("cached_tokens=lambda item: cached.get(id(item), 0)", "cached_tokens=lambda item: 0"),
    ],
    PACK_RUNNER: [
        ("rewards = self._scorer_of(entry).cached_rewards(entry.item)", "rewards = None"),
        ("self._admission.discount(-entry.cached_tokens", "self._admission.discount(0"),
        ("cached_tokens=scorer.cached_tokens", "cached_tokens=lambda _: 80"),
    ],
    WAITING: [
        ("if text.known is not None:", "if False:"),
    ],
    TOKENIZERS: [
        ("item = replace(item, cache_scope=cache_scope)", "pass"),
    ],
    WAIT: [
        ("held - saved_tokens(self._cached.get(one, 0))", "held"),
    ],
    SCOPES: [
        ("caller_of(request) if state.caches_per_key else", "caller_of(request) if False else"),
    ],
}
