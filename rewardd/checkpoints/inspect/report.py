"""The report of an inspection, as values; JSON and the terminal both show these."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rm_core.checkpoint.json_files import in_short
from rm_core.errors import RewardError

Severity = Literal["problem", "warning", "note"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a reader should know.

    Attributes:
        severity: "problem" makes the checkpoint unsound; "warning" may mislead whoever uses it;
            "note" is neither.
        code: stable name.
        message: what it is and what to do.
    """

    severity: Severity
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class HeadFacts:
    """The reward head.

    Attributes:
        name: of its tensor, or where it stands.
        shape: of its weight.
        dtype: of its weight.
        mean: of its weights.
        std: of its weights.
        bias: its constant; None without one.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    mean: float
    std: float
    bias: float | None


@dataclass(frozen=True, slots=True)
class WeightFacts:
    """All tensors.

    Attributes:
        parameters: numbers in all of them.
        dtypes: how many of these in each dtype.
        files: how many files hold them.
        non_finite: names of tensors with NaN or infinity.
        finite_checked: whether every tensor was looked through.
    """

    parameters: int
    dtypes: dict[str, int]
    files: int
    non_finite: tuple[str, ...]
    finite_checked: bool


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What becomes of each tensor where the checkpoint is served.

    Attributes:
        used: how many the rewards depend on.
        left_over: names of the others, and why no reward depends on them.
        files_not_read: safetensors files that lie there and are nobody's.
    """

    used: int
    left_over: dict[str, str]
    files_not_read: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextFacts:
    """How texts become ids, and which is read.

    Attributes:
        position: the position contract.
        known_from: what says so: "reward_model.json", "config.json", or "assumed" with the layout.
        template_sha256: of the chat template; None without one.
        template_calls_clock: whether it writes the current date.
        pad_token_id: of the model's configuration.
        tokenizer_pad_token_id: of the tokenizer.
        eos_token_id: of the tokenizer.
        bos_token_id: of the tokenizer.
        vocabulary: one more than the tokenizer's largest id.
        embedding_rows: ids that the model knows.
    """

    position: dict[str, Any]
    known_from: str
    template_sha256: str | None
    template_calls_clock: bool
    pad_token_id: int | None
    tokenizer_pad_token_id: int | None
    eos_token_id: int | None
    bos_token_id: int | None
    vocabulary: int
    embedding_rows: int


@dataclass(slots=True)
class Inspection:
    """Everything that was found; what could not be had is None.

    Attributes:
        name: as the user gave it.
        kind: what it is, in words.
        layout: as `rewardd convert --from` calls it.
        architecture: of config.json.
        base: what an adapter sits on.
        weights: all tensors.
        head: the reward head.
        texts: tokenizer and position.
        manifest: what reward_model.json says of role, calibration, data and training.
        digests: "verified", "failed" or "none to verify".
        tensors: what becomes of each where it is served; None where it was not loaded.
        path: how the server would run it, and why.
        findings: in order of discovery.
    """

    name: str
    kind: str = "unknown"
    layout: str | None = None
    architecture: str | None = None
    base: str | None = None
    weights: WeightFacts | None = None
    head: HeadFacts | None = None
    texts: TextFacts | None = None
    manifest: dict[str, Any] | None = None
    digests: str = "none to verify"
    tensors: TensorFacts | None = None
    path: dict[str, Any] | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing was found that makes it unfit to serve."""
        return not any(finding.severity == "problem" for finding in self.findings)

    def add(self, severity: Severity, code: str, message: str) -> None:
        """Report a finding."""
        self.findings.append(Finding(severity, code, message))

    @contextmanager
    def problems(self) -> Iterator[None]:
        """Report what a part can't be read for, so that the next is looked at all the same."""
        try:
            yield
        except RewardError as error:
            self._add_once(error.code, str(error))
        except Exception as error:  # whatever libraries raise over a file is the file's problem
            self._add_once("unreadable", f"it can't be looked at further ({in_short(error)})")

    def _add_once(self, code: str, message: str) -> None:
        if not any(found.message == message for found in self.findings):
            self.add("problem", code, message)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"sound": self.sound, **asdict(self)}
