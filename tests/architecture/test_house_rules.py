"""Rules about the tree that no linter knows: who imports whom, sizes, the mirror, safe loading."""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.source import (
    PACKAGES,
    ROOT,
    dotted_names,
    imported_names,
    modules,
    num_lines,
    tree,
)

MAX_LINES = 400
MIRRORED_FROM_LINES = 20

# Modules without a test file in their own place, and the file that would go red with them.
TESTED_IN = {
    # Names and values without behaviour.
    "rm_core/errors.py": "rm_core/checkpoint/test_load.py",
    "rm_core/types/caches.py": "rm_core/engine/test_engine.py",
    "rm_core/types/profiles.py": "rm_core/rewards/test_rule.py",
    "rm_core/types/scorer.py": "rm_core/engine/test_engine.py",
    "training/data/options.py": "training/data/test_build.py",
    "rm_core/engine/options.py": "rm_core/engine/test_engine.py",
    # What loading refuses before any library reads the files.
    "rm_core/checkpoint/files.py": "rm_core/checkpoint/test_load.py",
    "service/errors.py": "service/batching/test_admission.py",
    "service/state.py": "service/routes/test_operations.py",
    "training/errors.py": "training/data/test_prepare.py",
    # Parts that show where they are put together.
    "rewardd/files/open.py": "rewardd/files/test_rows.py",
    "training/data/rows/byte_file.py": "training/data/rows/test_json_rows.py",
    "training/data/rows/row.py": "training/data/rows/test_json_rows.py",
    "training/data/rows/open.py": "training/data/formats/test_files.py",
    "rm_core/checkpoint/transformers_loading.py": "rm_core/checkpoint/test_classifier.py",
    "rm_core/engine/forward/base.py": "rm_core/engine/forward/test_choose.py",
    "rm_core/text/contract.py": "rm_core/text/test_encoder.py",
    "service/ppo/reply.py": "service/routes/test_ppo.py",
    "service/ppo/stream_update.py": "service/routes/test_ppo_whitening.py",
    "rm_client/models_admin.py": "service/swap/test_swapper.py",
    "service/results.py": "service/scoring/test_score_items.py",
    "training/types.py": "training/test_config.py",
    # Kernels that must all give transformers' own numbers.
    "rm_core/engine/attention/masked.py": "rm_core/engine/attention/test_kernels.py",
    "rm_core/engine/attention/merged.py": "rm_core/engine/attention/test_kernels.py",
    "rm_core/engine/attention/tree.py": "rm_core/engine/attention/test_kernels.py",
    "rm_core/engine/attention/varlen.py": "rm_core/engine/attention/test_kernels.py",
    # Small routes, and the app that mounts them.
    "service/app.py": "service/routes/test_operations.py",
    "service/routes/health.py": "service/routes/test_operations.py",
    "service/routes/info.py": "service/routes/test_operations.py",
    "service/routes/metrics.py": "service/routes/test_operations.py",
    # What all dialects have in common.
    "service/dialects/base.py": "service/dialects/test_agreement.py",
    "service/dialects/texts.py": "service/dialects/test_agreement.py",
    "service/dialects/align_anything.py": "service/dialects/test_wrong_bodies.py",
    "service/dialects/sglang.py": "service/dialects/test_wrong_bodies.py",
    "service/dialects/slime.py": "service/dialects/test_wrong_bodies.py",
    # Parts of one training that show in what it prints.
    "training/data/accounting.py": "training/data/test_mixture.py",
    # What several processes do together shows only where there are several.
    "training/optimization/fsdp.py": "training/test_distributed.py",
    # What scorers take and give.
    "training/evaluation/scorer.py": "training/evaluation/test_run.py",
    # Layouts of other projects, each built by hand, converted and compared with its arithmetic.
    "rewardd/checkpoints/convert/classifier.py": "rewardd/checkpoints/convert/test_run.py",
    "rewardd/checkpoints/convert/deepspeed_chat.py": "rewardd/checkpoints/convert/test_run.py",
    "rewardd/checkpoints/convert/value_heads.py": "rewardd/checkpoints/convert/test_run.py",
    "rewardd/checkpoints/convert/names.py": "rewardd/checkpoints/convert/test_run.py",
    "rewardd/checkpoints/convert/openrlhf.py": "rewardd/checkpoints/convert/test_run.py",
    "rewardd/checkpoints/convert/pickled.py": "rewardd/checkpoints/convert/test_weights.py",
    "rewardd/checkpoints/convert/source.py": "rewardd/checkpoints/convert/test_layouts.py",
    "rewardd/checkpoints/convert/target.py": "rewardd/checkpoints/convert/test_run.py",
    # Values that the report shows.
    "rewardd/checkpoints/inspect/report.py": "rewardd/checkpoints/inspect/test_checkpoint.py",
    # Commands and the server that the demo starts, run as processes.
    "rewardd/own_packages.py": "integration/test_distributions.py",
    "rewardd/demo/train_cli.py": "rewardd/test_cli.py",
    "rewardd/demo/cli.py": "integration/test_demo.py",
    "rewardd/demo/server_process.py": "integration/test_demo.py",
    # The clients' own parts, tested through both clients against a real socket.
    "rm_client/async_client.py": "rm_client/test_client.py",
    "rm_client/base.py": "rm_client/test_client.py",
    "rm_client/call.py": "rm_client/test_client.py",
    "rm_client/models_base.py": "rm_client/test_models.py",
    "rm_client/checks.py": "rm_client/test_replies.py",
    "rm_client/config.py": "rm_client/test_client.py",
    "rm_client/errors.py": "rm_client/test_replies.py",
    "rm_client/forms.py": "rm_client/test_docs.py",
    "rm_client/lines.py": "rm_client/test_replies.py",
    "rm_client/models_problem.py": "rm_client/test_replies.py",
    "rm_client/models_info.py": "rm_client/test_docs.py",
    "rm_client/models_ppo.py": "rm_client/test_models.py",
    "rm_client/wire.py": "rm_client/test_replies.py",
    # Parts of the encoder, each tested by what becomes of texts.
    "rm_core/text/length.py": "rm_core/text/test_truncation.py",
    "rm_core/text/rendering.py": "rm_core/text/test_template.py",
    "rm_core/engine/forward/token_types.py": "rm_core/text/test_pairs.py",
    "service/setting_sources.py": "service/test_settings.py",
    # What opens a checkpoint's files, and what tries it in a process of its own.
    "rm_core/checkpoint/regular_files.py": "rm_core/checkpoint/test_held_files.py",
    "rm_core/checkpoint/own_memory.py": "rm_core/checkpoint/test_held_files.py",
    "rm_core/checkpoint/open_files.py": "chaos/test_poisoned_checkpoints.py",
    "rm_core/checkpoint/trial_process.py": "chaos/test_poisoned_checkpoints.py",
    # Parts of a connection, which show in what its peer is told.
    "service/connections/metrics.py": "service/edge/test_protocol.py",
    "service/connections/refusals.py": "service/edge/test_protocol.py",
    "service/edge/transport.py": "service/edge/test_protocol.py",
    # Functions that frameworks load by path.
    "rm_client/adapters/areal.py": "rm_client/adapters/test_by_path.py",
    "rm_client/adapters/environment.py": "rm_client/adapters/test_by_path.py",
    "rm_client/adapters/ms_swift.py": "rm_client/adapters/test_samples.py",
    "rm_client/adapters/openrlhf.py": "rm_client/adapters/test_by_path.py",
    "rm_client/adapters/sample_reward.py": "rm_client/adapters/test_by_path.py",
    "rm_client/adapters/slime.py": "rm_client/adapters/test_by_path.py",
    "rm_client/adapters/verl.py": "rm_client/adapters/test_by_path.py",
    # The load tests' command line, and what each peer is sent.
    "loadtest/commands_http.py": "loadtest/test_commands.py",
    "loadtest/commands_memory.py": "loadtest/test_commands.py",
    "loadtest/commands_overhead.py": "loadtest/test_commands.py",
    "loadtest/commands_train.py": "loadtest/test_commands.py",
    "loadtest/settings.py": "loadtest/test_commands.py",
    "loadtest/bench/training/settings.py": "loadtest/bench/training/test_measure.py",
    "loadtest/peers/adapters.py": "loadtest/peers/test_contract.py",
    "loadtest/peers/servers/litserve_server.py": "loadtest/peers/test_litserve_server.py",
    # What runs in an environment with TRL, tested in one.
    "loadtest/bench/training/trl_worker.py": "integration/trainers/test_trl_reward_worker.py",
}
# The server's settings, and the functions that frameworks load by path and pass nothing to.
READ_ENVIRONMENT = {Path("service/setting_sources.py"), Path("rm_client/adapters/environment.py")}
# Other projects' checkpoints that are nothing but pickles, at the user's word and as plain tensors.
UNPICKLES = Path("rewardd/checkpoints/convert/pickled.py")
# The field means something else by them, or nothing: a judge is an LLM judge.
BANNED_WORDS = {
    "arm",
    "arms",
    "beware",
    "crowd",
    "judge",
    "judged",
    "judgement",
    "judgements",
    "judges",
    "judging",
    "lookahead",
    "material",
    "verdict",
    "verdicts",
}
UNSAFE_IMPORTS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
UNSAFE_CALLS = {"torch.load", "yaml.load", "yaml.unsafe_load", "numpy.load", "np.load"}
ENVIRONMENT = {"os.environ", "os.getenv", "os.environb", "os.getenvb", "os.putenv"}


@pytest.mark.parametrize("path", modules(*PACKAGES, "tests"), ids=str)
def test_a_file_can_be_read_in_one_sitting(path: Path) -> None:
    assert num_lines(path) <= MAX_LINES


def words_of(name: str) -> set[str]:
    """A name's words: {"local", "scorer"} of LocalScorer, _local_scorer and local_scorer."""
    return set(re.findall(r"[a-z]+", re.sub(r"([A-Z])", r"_\1", name).lower()))


def test_words_of_a_name_are_told_apart() -> None:
    assert words_of("LocalJudge") == words_of("_local_judge") == {"local", "judge"}


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=str)
def test_no_name_has_a_word_that_the_field_reads_otherwise(path: Path) -> None:
    names = set(path.with_suffix("").parts)
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)

    assert {name for name in names if words_of(name) & BANNED_WORDS} == set()


def has_mirror(module: Path) -> bool:
    """Whether its tests are where they belong.

    Those of service/routes/ppo.py in tests/service/routes/test_ppo.py; or with its kin's in a file
    of the folder's name, as in tests/training/data/formats/test_all_formats.py.
    """
    folder = ROOT / "tests" / module.parent
    return any(
        (folder / name).exists() for name in (f"test_{module.name}", f"test_all_{folder.name}.py")
    )


def test_every_module_has_its_tests_in_the_same_place() -> None:
    missing = [
        str(path)
        for path in modules(*PACKAGES)
        if path.name not in {"__init__.py", "__main__.py"}
        and num_lines(path) > MIRRORED_FROM_LINES
        and not has_mirror(path)
        and str(path) not in TESTED_IN
    ]

    assert missing == [], "write tests/<package>/test_<module>.py"


def test_every_exception_from_the_mirror_is_still_needed_and_names_a_test() -> None:
    stale = [
        module
        for module, test in TESTED_IN.items()
        if not (ROOT / module).exists()
        or not (ROOT / "tests" / test).exists()
        or has_mirror(Path(module))
    ]

    assert stale == []


@pytest.mark.parametrize(
    "path", [path for path in modules(*PACKAGES) if path != UNPICKLES], ids=str
)
def test_nothing_is_unpickled(path: Path) -> None:
    module = tree(path)

    assert not {name.partition(".")[0] for name in imported_names(module)} & UNSAFE_IMPORTS
    assert not {*dotted_names(module), *imported_names(module)} & UNSAFE_CALLS


def test_the_one_exception_unpickles_plain_tensors_alone() -> None:
    module = tree(UNPICKLES)
    calls = [
        node
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    given = [{word.arg: ast.unparse(word.value) for word in call.keywords} for call in calls]

    assert [words.get("weights_only") for words in given] == ["True"]
    assert not {name.partition(".")[0] for name in imported_names(module)} & UNSAFE_IMPORTS


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=str)
def test_code_from_a_checkpoint_never_runs(path: Path) -> None:
    trusting = [
        node.lineno
        for node in ast.walk(tree(path))
        if isinstance(node, ast.keyword)
        and node.arg == "trust_remote_code"
        and not (isinstance(node.value, ast.Constant) and node.value.value is False)
    ]

    assert trusting == [], "trust_remote_code is False or absent"


@pytest.mark.parametrize(
    "path", [path for path in modules(*PACKAGES) if path not in READ_ENVIRONMENT], ids=str
)
def test_the_environment_is_read_in_no_other_place(path: Path) -> None:
    module = tree(path)

    assert not {*dotted_names(module), *imported_names(module)} & ENVIRONMENT


@pytest.mark.parametrize("path", sorted(READ_ENVIRONMENT), ids=str)
def test_the_settings_are_where_the_environment_is_read(path: Path) -> None:
    """Else the rule above would hold for want of finding anything."""
    assert set(dotted_names(tree(path))) & ENVIRONMENT
