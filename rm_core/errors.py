"""Everything that can go wrong in the domain, by name.

This module knows no HTTP: `service.problems` owns the mapping to status codes.

RewardError
├─ InputError            one item's text or numbers can't be used (`field` says which part)
│  ├─ EmptyText          nothing to score
│  ├─ InvalidMessages    not a chat that ends with an assistant turn
│  │  ├─ NoChatTemplate  a chat for a model that reads texts alone
│  │  └─ TemplateOverBounds  the chat template takes too long for it, or makes too long a text
│  ├─ InputTooLong       more tokens than the model reads
│  │  └─ ResponseNotFound   and it is not known where the prompt ends, which would be cut
│  ├─ DetailUnavailable  rewards of tokens or steps, which this model or this text can't give
│  │  ├─ TemplateChangesResponse
│  │  └─ ReadsWholeText
│  └─ ShapeMismatch      arrays that belong together differ in length
├─ CheckpointError       a reward model can't be loaded
│  ├─ CheckpointNotFound
│  ├─ UnsafeCheckpoint   pickled weights, remote code, or a config that asks for code
│  ├─ WrongNumLabels     not a scalar head
│  ├─ MissingHead        the weights hold no trained head
│  ├─ UnaccountedWeights  tensors that the model lacks, or has no place for
│  ├─ UnsoundModel       a head of zeros or NaN, a template that leaves the text out
│  ├─ UnsupportedModel   no way of running it gives the rewards of each text alone
│  ├─ DigestMismatch     a file differs from the manifest
│  ├─ WrongRole          a safety model where helpfulness was asked for, or the reverse
│  └─ InvalidManifest    reward_model.json can't be read
├─ EngineError           the forward pass failed
│  ├─ OutOfMemory        also after splitting
│  └─ EngineClosed
├─ TrainingError         see `training.errors`
│  └─ NotSaved           the disk took a checkpoint only in part, or not at all
├─ ConfigurationError    settings contradict each other or the machine
└─ InvariantViolation    a bug of ours
"""

from typing import ClassVar


class RewardError(Exception):
    """Root of all domain errors; `code` is stable and public; messages hold no user text."""

    code: ClassVar[str] = "reward_error"


class InputError(RewardError):
    """One item can't be used as it is.

    Args:
        message: what is wrong, without the text itself.
        field: the item's field that is wrong, as a path below the item ("response", "logprobs").
    """

    code: ClassVar[str] = "invalid_item"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class EmptyText(InputError):
    """Raised when a text has no tokens, or only white space, where something must be scored."""

    code: ClassVar[str] = "empty_text"


class InvalidMessages(InputError):
    """Raised when messages are not a chat that the template can render."""

    code: ClassVar[str] = "invalid_messages"


class NoChatTemplate(InvalidMessages):
    """Raised when messages come for a model that has no chat template, whatever they say."""

    code: ClassVar[str] = "no_chat_template"


class TemplateOverBounds(InvalidMessages):
    """Raised when a chat template takes too long for messages, or makes too long a text of them."""


class InputTooLong(InputError):
    """Raised when an item has more tokens than the model reads and truncation is off or no help."""

    code: ClassVar[str] = "input_too_long"

    def __init__(self, num_tokens: int, max_length: int, *, field: str | None = None) -> None:
        super().__init__(
            f"{num_tokens} tokens, and the model reads at most {max_length}", field=field
        )
        self.num_tokens = num_tokens
        self.max_length = max_length


class ResponseNotFound(InputTooLong):
    """Raised when a text is too long, and where its response begins can't be told."""


class DetailUnavailable(InputError):
    """Raised when rewards are asked for within a text that can only be read as a whole."""

    code: ClassVar[str] = "detail_unavailable"


class TemplateChangesResponse(DetailUnavailable):
    """Raised when a chat template rewrites the response, so that its tokens can't be found."""


class ReadsWholeText(DetailUnavailable):
    """Raised when a loaded model has one reward for a text and none for its tokens."""


class ShapeMismatch(InputError):
    """Raised when arrays that belong together differ in length."""

    code: ClassVar[str] = "shape_mismatch"


class CheckpointError(RewardError):
    """A reward model can't be loaded; the message says what to do next."""

    code: ClassVar[str] = "checkpoint_error"


class CheckpointNotFound(CheckpointError):
    """Raised when the directory or hub name holds no model."""

    code: ClassVar[str] = "checkpoint_not_found"


class UnsafeCheckpoint(CheckpointError):
    """Raised when loading would unpickle data or run code from the checkpoint."""

    code: ClassVar[str] = "unsafe_checkpoint"


class WrongNumLabels(CheckpointError):
    """Raised when the classification head is not one scalar."""

    code: ClassVar[str] = "wrong_num_labels"


class MissingHead(CheckpointError):
    """Raised when the weights lack the head, so that it would be random."""

    code: ClassVar[str] = "missing_head"


class UnaccountedWeights(CheckpointError):
    """Raised when the files lack a weight of the model, or hold one that it has no place for."""

    code: ClassVar[str] = "unaccounted_weights"


class UnsupportedModel(CheckpointError):
    """Raised when no way of running a model gives each text the reward that it has alone."""

    code: ClassVar[str] = "unsupported_model"


class UnsoundModel(CheckpointError):
    """Raised when a model loads and its rewards are no numbers, all alike, or not its maker's."""

    code: ClassVar[str] = "unsound_model"


class DigestMismatch(CheckpointError):
    """Raised when a file's sha256 differs from the manifest's."""

    code: ClassVar[str] = "digest_mismatch"


class WrongRole(CheckpointError):
    """Raised when the manifest's role is not the one asked for."""

    code: ClassVar[str] = "wrong_role"


class InvalidManifest(CheckpointError):
    """Raised when reward_model.json can't be read or contradicts itself."""

    code: ClassVar[str] = "invalid_manifest"


class EngineError(RewardError):
    """The forward pass failed."""

    code: ClassVar[str] = "engine_error"


class OutOfMemory(EngineError):
    """Raised when a single sequence does not fit the device even alone."""

    code: ClassVar[str] = "out_of_memory"


class EngineClosed(EngineError):
    """Raised when work arrives after the engine was closed."""

    code: ClassVar[str] = "engine_closed"


class ConfigurationError(RewardError):
    """Raised when settings contradict each other or the machine."""

    code: ClassVar[str] = "configuration_error"


class InvariantViolation(RewardError):
    """Raised when something that can't happen did; a bug of ours."""

    code: ClassVar[str] = "invariant_violation"


class TrainingError(RewardError):
    """Root of everything that training raises; messages hold no user text."""

    code: ClassVar[str] = "training_error"


class NotSaved(TrainingError):
    """Raised when a checkpoint could not be written; what was whole before is whole still."""

    code: ClassVar[str] = "not_saved"
