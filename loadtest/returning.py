"""Workloads whose beginnings come back in later requests: what a server may remember of a text.

Every text is new as a whole, so that no reward can be remembered: only what it begins with has been
there before.
"""

from collections.abc import Sequence
from random import Random

from loadtest.errors import LoadTestError
from loadtest.schedule import ClosedLoop, OpenLoop
from loadtest.workloads import Request, Text, Tokenizer, Workload, Writer, grpo, render

CLIENTS = 8
"""Chats, or prompts, that are under way at the same time, at most."""
TURNS = 6
FIRST_TURN_TOKENS, LAST_TURN_TOKENS = 250, 870
AGAIN_PROMPT_TOKENS = 384
AGAIN_MIN_TOKENS, AGAIN_MAX_TOKENS = 36, 256
LEAST_GAP_SECONDS, LARGEST_GAP_SECONDS = 0.2, 60.0
_PROMPT_SHARE = 3  # a third of each turn is the user's


def turns(
    tokenizer: Tokenizer, *, chats: int = 2 * CLIENTS, seed: int = 0
) -> tuple[Workload, ClosedLoop]:
    """Chats that are scored again after each of their turns, 250 to 870 tokens long.

    Args:
        tokenizer: measures the texts; its chat template renders them where it has one.
        chats: how many; up to `CLIENTS` of them are under way at a time.
        seed: of the words.

    Raises:
        LoadTestError: the template writes earlier turns anew, so that nothing comes back.
    """
    writer = Writer(tokenizer, seed=seed)
    grown = [_growing(tokenizer, writer) for _ in range(chats)]
    return _one_after_the_other("turns", grown)


def _growing(tokenizer: Tokenizer, writer: Writer) -> list[Text]:
    """One chat after each of its turns."""
    said: list[str] = []
    texts: list[Text] = []
    total = 0
    for turn in range(TURNS):
        step = (LAST_TURN_TOKENS - FIRST_TURN_TOKENS) * turn // (TURNS - 1)
        added = FIRST_TURN_TOKENS + step - total
        total += added
        asked = added // _PROMPT_SHARE
        said.append(writer.continuation("".join(said), asked) if said else writer.prompt(asked))
        said.append(writer.continuation("".join(said), added - asked))
        texts.append(_after(tokenizer, said, total))
    _check_growth(tokenizer, texts)
    return texts


def _after(tokenizer: Tokenizer, said: Sequence[str], num_tokens: int) -> Text:
    *earlier, prompt, response = said
    whole = render(tokenizer, *said)
    if isinstance(tokenizer.chat_template, str):
        return Text(prompt, response, whole, num_tokens, tuple(earlier))
    return Text("".join((*earlier, prompt)), response, whole, num_tokens)


def _check_growth(tokenizer: Tokenizer, texts: Sequence[Text]) -> None:
    """Each text's ids must begin with those of the one before it, to the last token."""
    before: list[int] = []
    for text in texts:
        ids = list(tokenizer(text.whole, add_special_tokens=False)["input_ids"])
        if ids[: len(before)] != before:
            raise LoadTestError(
                "this checkpoint's chat template renders earlier turns otherwise once another "
                "follows, so that a chat's tokens don't begin with those it had before; leave "
                "`turns` out, or name a checkpoint whose template only adds"
            )
        before = ids


def again(
    tokenizer: Tokenizer, *, prompts: int = 2 * CLIENTS, responses: int = 6, seed: int = 0
) -> tuple[Workload, ClosedLoop]:
    """A prompt whose responses come one a request, each after the last: 420 to 640 tokens.

    Args:
        tokenizer: measures the texts.
        prompts: how many; up to `CLIENTS` of them are under way at a time.
        responses: of each.
        seed: of words and lengths.
    """
    writer, rng = Writer(tokenizer, seed=seed), Random(seed)
    grouped = []
    for _ in range(prompts):
        prompt = writer.prompt(AGAIN_PROMPT_TOKENS)
        lengths = [rng.randint(AGAIN_MIN_TOKENS, AGAIN_MAX_TOKENS) for _ in range(responses)]
        grouped.append([writer.text(prompt, AGAIN_PROMPT_TOKENS, length) for length in lengths])
    return _one_after_the_other("again", grouped)


def _one_after_the_other(name: str, rows: Sequence[Sequence[Text]]) -> tuple[Workload, ClosedLoop]:
    """Each row's texts one a request, every one sent when the one before it is answered."""
    clients = _clients(len(rows))
    blocks = [rows[start : start + clients] for start in range(0, len(rows), clients)]
    # Request i is client i mod `clients`': one row of each block.
    texts = [text for block in blocks for same in zip(*block, strict=True) for text in same]
    return Workload(name, tuple(Request((text,)) for text in texts)), ClosedLoop(clients)


def _clients(rows: int) -> int:
    """As many as divide the rows, so that each has whole rows; at most `CLIENTS`."""
    return next(count for count in range(min(CLIENTS, rows), 0, -1) if rows % count == 0)


def staggered(
    tokenizer: Tokenizer,
    *,
    groups: int = 16,
    responses: int = 8,
    prompt_tokens: int = 384,
    pace: float,
    seed: int = 0,
    words_seed: int | None = None,
) -> tuple[Workload, OpenLoop]:
    """GRPO groups whose members end one by one, each a request at its own time.

    Groups begin within `LARGEST_GAP_SECONDS`; a member ends between `LEAST_GAP_SECONDS` and
    `LARGEST_GAP_SECONDS` after the first of its group, log-uniform; all times `pace`.

    Args:
        tokenizer: measures the texts.
        groups: how many.
        responses: of each.
        prompt_tokens: of each prompt.
        pace: times the seconds; 1 is a rollout, 0.1 a tenth of its duration.
        seed: of words, lengths and times.
        words_seed: of the words, where they have one of their own.
    """
    rng = Random(seed)
    timed: list[tuple[float, Request]] = []
    grouped = grpo(
        tokenizer,
        groups=groups,
        responses=responses,
        prompt_tokens=prompt_tokens,
        seed=seed,
        words_seed=words_seed,
    )
    for group in grouped.requests:
        begun = rng.uniform(0.0, LARGEST_GAP_SECONDS)
        after = [0.0, *(_log_uniform(rng) for _ in group.texts[1:])]
        timed += [
            (pace * (begun + gap), Request((text,)))
            for gap, text in zip(after, group.texts, strict=True)
        ]
    timed.sort(key=lambda at: at[0])
    start = timed[0][0]
    workload = Workload("staggered", tuple(request for _, request in timed))
    return workload, OpenLoop(tuple(time - start for time, _ in timed))


def _log_uniform(rng: Random) -> float:
    ratio = LARGEST_GAP_SECONDS / LEAST_GAP_SECONDS
    return float(LEAST_GAP_SECONDS * ratio ** rng.random())
