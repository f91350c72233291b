"""Rows that are not the plain one of their format, and what of the record changes with them."""

from rm_core.types import Message
from tests.training.data.formats.shapes import BEFORE, CHOSEN_IDS, HELLO, KEYS, REJECTED_IDS
from tests.training.data.formats.test_registry import ASK, HH, WHY, Row, gpt, turn
from training.data.records import StepLabel

MARKED = "Hi\n<extra_id_1>Assistant\nHello\n<extra_id_1>User\nWhy?"


def completion(text: str, overall: float | None, helpfulness: str) -> Row:
    annotations = {
        "helpfulness": {"Rating": helpfulness, "Rationale": "…"},
        "honesty": {"Rating": "4"},
        "instruction_following": {"Rating": "N/A"},
        "truthfulness": {"Rating": "2"},
    }
    return {"response": text, "overall_score": overall, "annotations": annotations}


COMPLETIONS = [
    completion("Loire", 8.5, "3"),
    completion("Elbe", 8.5, "5"),
    completion("Chair", 1.0, "1"),
    completion("Oder", None, "N/A"),
]
STRENGTHS: list[tuple[int, tuple[int, int], str | None]] = [
    (-3, (0, 1), "significantly_better"),
    (-2, (0, 1), "better"),
    (-1, (0, 1), "slightly_better"),
    (0, (0, 0), None),
    (1, (1, 0), "slightly_better"),
    (3, (1, 0), "significantly_better"),
]
WINNERS = {
    "model_a": (0, 1),
    "model_b": (1, 0),
    "tie": (0, 0),
    "tie (bothbad)": (0, 0),
}
CONFIDENCES = [
    (9, 1, "significantly_better"),
    (8, 1, "better"),
    (7, 1, "slightly_better"),
    (6, 1, "negligibly_better"),
    (5, 1, None),
    (1, 0, "significantly_better"),
    (4, 0, "negligibly_better"),
    (9, 0, None),
    (1, 1, None),
]
Variant = tuple[str, Row, Row, Row]
VARIANTS: list[Variant] = [
    # shape, changed columns, options, changed fields of the record
    ("hh-rlhf", {"chosen": BEFORE + " a", "rejected": BEFORE + " b"}, {}, {"prompt": HELLO}),
    (
        "hh-rlhf",
        {"chosen": HH + "Assistant: is a word.\nHuman: is another"},
        {},
        {"responses": ("Assistant: is a word.\nHuman: is another", "b")},
    ),
    ("hh-red-team", {"transcript": HH + "a\n\nHuman: So?"}, {}, {}),
    ("unranked", {"is_safe": [True, None]}, {}, {"is_safe": (True, None)}),
    ("unranked", {"ranking": [1, 0]}, {}, {"ranking": (1, 0)}),
    ("unranked single", {"is_safe": False}, {}, {"is_safe": (False,)}),
    (
        "openrlhf",
        {"question": "What is {x}?"},
        {**KEYS, "input_template": "User: {}\nBot:"},
        {"prompt": "User: What is {x}?\nBot:"},
    ),
    (
        "openrlhf",
        {"question": [ASK], "good": [turn("a")], "bad": [turn("b")]},
        {},
        {"prompt": WHY},
    ),
    (
        "openrlhf",
        {"question": ..., "good": "Tea is hot.", "bad": "Tea is tea."},
        {"chosen_key": "good", "rejected_key": "bad"},
        {"prompt": "Tea is ", "responses": ("hot.", "tea.")},
    ),
    *(
        ("token-ids", {"chosen_ids": ..., "rejected_ids": ..., **columns}, {}, {})
        for columns in (
            {"chosen_input_ids": CHOSEN_IDS, "rejected_input_ids": REJECTED_IDS},
            {"input_ids_chosen": CHOSEN_IDS, "input_ids_rejected": REJECTED_IDS},
            {"input_ids_j": CHOSEN_IDS, "input_ids_k": REJECTED_IDS},
            {
                "input_ids_j": [1, *CHOSEN_IDS],
                "attention_mask_j": [0, *[1] * 8],
                "input_ids_k": [*REJECTED_IDS, 1, 1],
                "attention_mask_k": [*[1] * 7, 0, 0],
            },
            {
                "prompt_ids": CHOSEN_IDS[:5],
                "chosen_ids": CHOSEN_IDS[5:],
                "rejected_ids": REJECTED_IDS[5:],
            },
        )
    ),
    ("token-ids", {"margin": 0.5}, {}, {"margin": 0.5}),
    (
        "ultrafeedback",
        {"completions": COMPLETIONS, "source": "made-up"},
        {},
        {
            "responses": ("Loire", "Elbe", "Chair"),
            "ranking": (0, 0, 1),
            "ratings": (8.5, 8.5, 1.0),
            "source": "made-up",
        },
    ),
    (
        "ultrafeedback",
        {"completions": COMPLETIONS},
        {"attribute": "helpfulness"},
        {
            "responses": ("Loire", "Elbe", "Chair"),
            "ranking": (1, 0, 2),
            "ratings": (3.0, 5.0, 1.0),
        },
    ),
    (
        "ultrafeedback",
        {"completions": COMPLETIONS},
        {"attribute": "mean"},
        {
            "responses": ("Loire", "Elbe", "Chair", "Oder"),
            "ranking": (1, 0, 2, 1),
            "ratings": (3.0, 11 / 3, 7 / 3, 3.0),
        },
    ),
    (
        "ultrafeedback-binarized",
        {"score_rejected": 8.0},
        {},
        {"ranking": (0, 0), "ratings": (8.0, 8.0)},
    ),
    ("pku-saferlhf", {}, {"role": "helpfulness"}, {}),
    ("pku-saferlhf", {}, {"role": "safety"}, {"ranking": (0, 1), "is_safety": True}),
    *(
        (
            "trl-implicit",
            {"chosen": chosen, "rejected": rejected},
            {},
            {"prompt": prompt, "responses": (chosen[len(prompt) :], rejected[len(prompt) :])},
        )
        for chosen, rejected, prompt in (
            ("The sky is blue.", "The sky is black.", "The sky is "),
            ("The sky is blue", "The sky is blue-green", "The sky is "),
            ("Say: yes", "Say: no", "Say: "),
            ("A\nb", "A\nc", "A\n"),
        )
    ),
    ("trl-conversational", {"prompt": "Why?"}, {}, {}),  # both sides repeat it: taken once
    *(
        ("trl-conversational", nothing, {}, {})
        for nothing in ({"tools": None}, {"tools": "[]"}, {"chat_template_kwargs": {}})
    ),
    (
        "trl-conversational",
        {
            "chosen": [
                ASK,
                {
                    "role": "assistant",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "!"}],
                },
            ]
        },
        {},
        {"responses": ("a!", "b")},
    ),
    ("trl-unpaired", {"completion": [turn("a")]}, {}, {}),
    ("trl-unpaired", {"label": False, "prompt": [ASK]}, {}, {"ratings": (0.0,), "prompt": WHY}),
    (
        "nectar",
        {"answers": [{"answer": t, "rank": r} for t, r in (("a", 7), ("b", 1), ("c", 2.0))]},
        {},
        {"responses": ("a", "b", "c"), "ranking": (2, 0, 1)},
    ),
    ("alpaca-farm", {"input": "birds"}, {}, {"prompt": "I\nbirds"}),
    *(
        ("alpaca-farm", {"preference": preference}, {}, {"ranking": ranking})
        for preference, ranking in ((1, (0, 1)), (1.5, (0, 0)), (0, (0, 0)))
    ),
    *(("arena", {"winner": winner}, {}, {"ranking": WINNERS[winner]}) for winner in WINNERS),
    *(
        (
            "arena table",
            {
                "winner_model_a": int(winner == "model_a"),
                "winner_model_b": int(winner == "model_b"),
                "winner_tie": int(winner.startswith("tie")),
            },
            {},
            {"ranking": WINNERS[winner]},
        )
        for winner in WINNERS
    ),
    (
        "arena texts",
        {"response_a": "[1, 2]", "response_b": "[b"},
        {},
        {"responses": ("[1, 2]", "[b")},
    ),
    (
        "arena texts",
        {"prompt": ["Hi", "Why?"], "response_a": ["Hello", "a"], "response_b": ["Hello", None]},
        {},
        {"prompt": HELLO, "responses": ("a", "")},
    ),
    (
        "helpsteer2",
        {"verbosity": 0, "split": "val"},
        {"attribute": "verbosity"},
        {"ratings": (0.0,), "split": "heldout"},
    ),
    ("helpsteer2", {"prompt": MARKED}, {}, {"prompt": HELLO}),
    *(
        (name, {column: value}, {}, {"ranking": ranking, "strength": strength})
        for name, column in (
            ("helpsteer2-preference", "preference_strength"),
            ("helpsteer3", "overall_preference"),
        )
        for value, ranking, strength in STRENGTHS
    ),
    ("helpsteer2-preference", {"split": "val"}, {}, {"split": "heldout"}),
    (
        "openai-summarize",
        {"info": {"post": "P", "title": "Hat", "subreddit": "cats"}, "split": "valid2"},
        {},
        {
            "prompt": "SUBREDDIT: r/cats\n\nTITLE: Hat\n\nPOST: P\n\nTL;DR:",
            "split": "heldout",
        },
    ),
    (
        "openai-summarize",
        {"info": {"article": "Rain fell."}, "extra": {}, "split": "train"},
        {},
        {"prompt": "Rain fell.\n\nTL;DR:", "split": "train"},
    ),
    *(
        (
            "openai-summarize",
            {"extra": {"confidence": confidence}, "choice": choice},
            {},
            {"strength": strength, "ranking": (choice, 1 - choice)},
        )
        for confidence, choice, strength in CONFIDENCES
    ),
    (
        "lm-human-preferences",
        {"sample2": "c", "sample3": "d", "best": 2},
        {},
        {"responses": ("a", "b", "c", "d"), "ranking": (1, 1, 0, 1)},
    ),
    (
        "trl-stepwise",
        {"completions": ["A cat.", "So 6."], "labels": [True, False]},
        {"step_separator": "\n\n"},
        {
            "responses": ("A cat.\n\nSo 6.",),
            "steps": ((StepLabel(8, 1.0), StepLabel(13, 0.0)),),
        },
    ),
    (
        "process-steps",
        {
            "steps": ["3 · 3 = 9.", "Nine is odd.", "9 + 1 = 11.", "11."],
            "step_labels": [1, 0, -1, None],
            "source": "sums",
        },
        {},
        {
            "responses": ("3 · 3 = 9.\nNine is odd.\n9 + 1 = 11.\n11.",),
            "steps": ((StepLabel(11, 1.0), StepLabel(24, 0.5), StepLabel(36, 0.0)),),
            "source": "sums",
        },
    ),
    ("llama-factory", {"input": "birds"}, {}, {"prompt": "I\nbirds"}),
    (
        "llama-factory",
        {"instruction": "Why?", "history": [["Hi", "Hello"]], "system": "Be kind."},
        {},
        {"prompt": (Message("system", "Be kind."), *HELLO)},
    ),
    ("llama-factory kto", {"kto_tag": False}, {}, {"ratings": (0.0,)}),
    (
        "llama-factory sharegpt",
        {
            "system": "Be kind.",
            "conversations": [
                {"from": "human", "value": "Hi"},
                gpt("Hello"),
                {"from": "human", "value": "Why?"},
            ],
        },
        {},
        {"prompt": (Message("system", "Be kind."), *HELLO)},
    ),
    (
        "llama-factory-v1",
        {
            "chosen_messages": [
                {"role": "system", "content": ""},
                {**ASK, "loss_weight": 0.0},
                {"role": "assistant", "content": [{"type": "text", "value": "a"}]},
            ]
        },
        {},
        {},
    ),
    (
        "nemo-aligner-regression",
        {"label": [-100, 0, 1, 2, 4, 3, 3.5, 1, 2]},
        {"attribute": "coherence"},
        {"ratings": (3.5,)},
    ),
    (
        "nemo-aligner-regression",
        {
            "text": "<extra_id_0>System\nBe kind.\n<extra_id_1>User\nWhy?\n<extra_id_1>Assistant\n"
            "So.\n<extra_id_2>quality:4"
        },
        {},
        {"prompt": (Message("system", "Be kind."), *WHY)},
    ),
    (
        "nemo-rl",
        {
            "context": "Why?",
            "completions": [
                {"rank": rank, "completion": [turn(text)]}
                for text, rank in (("a", 3), ("b", 0), ("c", 0.0))
            ],
        },
        {},
        {"responses": ("a", "b", "c"), "ranking": (1, 0, 0)},
    ),
    *(
        (
            "canonical scores",
            {"responses": [*"abc"], "scores": scores},
            {},
            {"responses": ("a", "b", "c"), "ranking": ranking},
        )
        for scores, ranking in (([1, 5, 1], (1, 0, 1)), ([3, 2, 1], (0, 1, 2)))
    ),
    ("canonical scores", {"scores": [2.0, 2.0]}, {}, {"ranking": (0, 0)}),
    (
        "canonical scores",
        {"prompt": f"System: Be kind.{BEFORE}"},
        {},
        {"prompt": (Message("system", "Be kind."), *HELLO)},
    ),
    *(
        ("canonical scores", labels, {}, {"strength": strength})
        for labels, strength in (
            ({"margin_label": "verified"}, "significantly_better"),
            ({"margin_label": "unanimous"}, "better"),
            ({"margin_label": "majority"}, "slightly_better"),
            ({"margin_label": "tie"}, None),
            ({"margin_label": "verified", "strength": "negligibly_better"}, "negligibly_better"),
        )
    ),
    ("canonical three", {"margin_label": "verified"}, {}, {}),  # agreement speaks of pairs only
    *(
        ("canonical scores", more, {}, {"is_safety": is_safety})
        for more, is_safety in (
            ({"kind": "safety"}, True),
            ({"kind": "maths"}, False),
            ({"kind": "safety", "is_safety": False}, False),
        )
    ),
    ("canonical scores", {"is_safe": [None, None]}, {}, {}),
    ("canonical scores", {"is_safe": [None, False]}, {}, {"is_safe": (None, False)}),
]
