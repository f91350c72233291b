"""Chat templates bounded in time and in size: a template is a program that came with a checkpoint.

transformers runs templates in jinja2's sandbox, which keeps them from files and from Python, and
lets them loop for hours or make one text of many gigabytes. `bound_templates` puts `BoundedSandbox`
in its place, wherever in the process a chat template is rendered. What a template means stays
the same; one that goes beyond its bounds raises `TemplateOverBounds`.
"""

import functools
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jinja2 import Template, nodes
from jinja2.runtime import Context, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from rm_core.errors import TemplateOverBounds

MAX_SECONDS = 5.0
"""Most processor time of one rendering; the longest request that the service takes needs 1 s."""

MIN_CHARACTERS = 4 * 1024 * 1024
CHARACTERS_PER_GIVEN = 16
"""A text may have so many characters for each that the messages have, and `MIN_CHARACTERS`."""

TEXTS_PER_RENDERING = 16
"""All texts that one rendering makes on the way may have so many times the characters of one."""

MAX_NUMBER = 1_000_000
"""Largest whole number among the arguments of a filter or a text's method: widths, counts."""

MAX_BITS = 4096
"""Of a whole number that a template multiplies or raises to a power."""

_STEPS_PER_LOOK = 64
_WIDTH = re.compile(r"\d{7}")
_LEFT_OUT = ("lipsum", "cycler", "joiner")


def bound_templates() -> None:
    """Bound every chat template that transformers compiles in this process from now on."""
    from transformers.utils import chat_template_utils

    # transformers makes one environment a template, of the class that it finds under this name.
    if chat_template_utils.ImmutableSandboxedEnvironment is not BoundedSandbox:
        chat_template_utils.ImmutableSandboxedEnvironment = BoundedSandbox
        chat_template_utils._compile_jinja_template.cache_clear()


class _Budget:
    """What one rendering may still use."""

    def __init__(self, given: int) -> None:
        self.text = MIN_CHARACTERS + CHARACTERS_PER_GIVEN * given
        self._left = TEXTS_PER_RENDERING * self.text
        self._steps = 0
        self._until = time.thread_time() + MAX_SECONDS

    def step(self) -> None:
        self._steps += 1
        if self._steps % _STEPS_PER_LOOK == 0 and time.thread_time() > self._until:
            raise TemplateOverBounds(
                f"the model's chat template takes more than {MAX_SECONDS:g} s for these messages"
            )

    def make(self, characters: int) -> None:
        """Before a text of so many characters is made, or a list of so many entries."""
        self._left -= characters
        if characters > self.text or self._left < 0:
            raise TemplateOverBounds(
                f"the model's chat template makes more than {self.text} characters of these "
                "messages"
            )
        self.step()


class BoundedTemplate(Template):
    """A template whose every rendering has a budget of its own."""

    environment: "BoundedSandbox"

    def render(self, *args: Any, **kwargs: Any) -> str:
        """The text; see `jinja2.Template.render`.

        Raises:
            TemplateOverBounds: it takes too long, or grows too large.
        """
        with self.environment.budget_for(dict(*args, **kwargs).get("messages")):
            return super().render(*args, **kwargs)


class BoundedSandbox(ImmutableSandboxedEnvironment):
    """jinja2's sandbox, in which loops are counted and texts are measured before they are made."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    template_class = BoundedTemplate

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "finalize": self._measured})
        self._own = threading.local()
        bounded = _BoundedFilters(self)
        for name, function in self.filters.items():
            bounded[name] = function
        self.filters = bounded
        for name in _LEFT_OUT:
            self.globals.pop(name, None)

    @property
    def budget(self) -> _Budget:
        """That of this thread's rendering; while a template is compiled, one of no input."""
        try:
            found: _Budget = self._own.budget
        except AttributeError:
            found = _Budget(0)
        return found

    @contextmanager
    def budget_for(self, given: object) -> Iterator[None]:
        """A fresh budget for a rendering of these messages, on this thread."""
        self._own.budget = _Budget(size_of(given))
        try:
            yield
        finally:
            del self._own.budget

    def step(self) -> None:
        """One turn of a loop, or one call of a macro."""
        self.budget.step()

    def concat(self, parts: Iterable[str]) -> str:
        """The parts as one text: a rendering, or the content of a block."""
        budget, whole, length = self.budget, [], 0
        for part in parts:
            length += len(part)
            if length > budget.text:
                break
            whole.append(part)
        budget.make(length)
        return "".join(whole)

    def join_texts(self, *values: Any) -> str:
        """What `~` gives."""
        self.budget.make(sum(map(size_of, values)))
        return markup_join(values) if self.autoescape else str_join(values)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operation, once its result is known to be small."""
        if operator == "+" and type(left) is str and type(right) is str:  # nearly all of them
            self.budget.make(len(left) + len(right))
            return left + right
        self.budget.make(_size_of_result(operator, left, right))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Context, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """A call, once what it makes is known to be small."""
        # jinja2 wraps the methods that format texts.
        own = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)
        if isinstance(own, str | bytes | int):
            _refuse_large_numbers((*args, *kwargs.values()))
            self.budget.make(_size_of_call(str(getattr(obj, "__name__", "")), own, args))
        return super().call(context, obj, *args, **kwargs)

    def _measured(self, value: Any) -> Any:
        """What is written, before it becomes a text."""
        if not isinstance(value, str):
            self.budget.make(size_of(value))
        return value

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        parsed: nodes.Template = _WithSteps().visit(super()._parse(source, name, filename))
        return parsed


class _WithSteps(NodeTransformer):
    """Counts every turn of a loop and every call of a macro, and measures what `~` joins."""

    def _with_step(self, node: Any) -> Any:
        self.generic_visit(node)
        count = nodes.Call(nodes.EnvironmentAttribute("step"), [], [], None, None)
        node.body.insert(0, nodes.ExprStmt(count).set_lineno(node.lineno))
        return node

    visit_For = visit_Macro = visit_CallBlock = visit_Block = _with_step  # noqa: N815

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        join = nodes.EnvironmentAttribute("join_texts")
        return nodes.Call(join, node.nodes, [], None, None).set_lineno(node.lineno)


class _BoundedFilters(dict[str, Callable[..., Any]]):
    """Filters by name, each bounded as it is added."""

    def __init__(self, environment: BoundedSandbox) -> None:
        super().__init__()
        self._environment = environment

    def __setitem__(self, name: str, function: Callable[..., Any]) -> None:
        environment = self._environment
        first = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            value, others = args[first], (*args[first + 1 :], *kwargs.values())
            _refuse_large_numbers(others)
            if name == "join":  # a lazy sequence can be read once
                value = list(value)
                args = (*args[:first], value, *args[first + 1 :])
            environment.budget.make(_size_of_call(name, value, others))
            return function(*args, **kwargs)

        super().__setitem__(name, bounded)


def size_of(value: object) -> int:
    """About how many characters a value has as a text; what is in it twice counts twice.

    It is found in one look at each container, however often others hold it.
    """
    return _size_of(value, {})


def _size_of(value: object, known: dict[int, int]) -> int:
    if type(value) is str:
        return len(value)
    if isinstance(value, dict):
        parts: Iterable[object] = (*value, *value.values())
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    elif isinstance(value, int):
        return value.bit_length() // 3 + 1
    elif isinstance(value, str | bytes):
        return len(value)
    else:
        return 32
    if id(value) not in known:
        known[id(value)] = 0  # of one that holds itself
        known[id(value)] = sum(_size_of(part, known) + 4 for part in parts)
    return known[id(value)]


def _refuse_large_numbers(values: Iterable[object]) -> None:
    if any(isinstance(value, int) and abs(value) > MAX_NUMBER for value in values):
        raise TemplateOverBounds(
            f"the model's chat template asks for a width or a count above {MAX_NUMBER}"
        )


def _length(value: object) -> int:
    return len(value) if isinstance(value, str | bytes | list | tuple) else 0


def _size_of_result(operator: str, left: Any, right: Any) -> int:
    """How many characters, or entries, an operation's result has at most."""
    if operator == "+":
        return _length(left) + _length(right)
    if operator == "%":
        return 0 if not isinstance(left, str) else _size_of_format(left, right)
    if isinstance(left, int) and isinstance(right, int):
        times = right if operator == "**" else 1
        bits = left.bit_length() * max(times, 0) + (0 if operator == "**" else right.bit_length())
        if bits > MAX_BITS:
            raise TemplateOverBounds("the model's chat template makes a number of too many digits")
        return 0
    return max(_length(left) * _count(right), _length(right) * _count(left))


def _count(value: object) -> int:
    return max(value, 0) if isinstance(value, int) else 0


def _size_of_format(text: str, values: object) -> int:
    given = values.values() if isinstance(values, Mapping) else values
    _refuse_large_numbers(given if isinstance(given, Iterable) else (given,))
    if _WIDTH.search(text):
        raise TemplateOverBounds("the model's chat template asks for a width of seven digits")
    fields = text.count("%") + text.count("{")
    return len(text) + fields * (size_of(values) + MAX_NUMBER * ("*" in text or "{:{" in text))


def _size_of_call(  # noqa: PLR0911 (a table)
    name: str, value: Any, args: tuple[Any, ...]
) -> int:
    """How many characters, or entries, a filter or a text's method makes at most."""
    numbers = sum(abs(arg) for arg in args if isinstance(arg, int))
    texts = [len(arg) for arg in args if isinstance(arg, str)]
    match name:
        case "replace" if len(texts) > 1:
            found = value.count(args[0]) if isinstance(value, str) else size_of(value)
            return size_of(value) + found * max(texts)
        case "join":
            items = args[0] if isinstance(value, str) and args else value
            glue = len(value) if isinstance(value, str) else max(texts, default=0)
            return size_of(items) + glue * _length(items)
        case "indent" | "tojson" | "pprint" | "batch" | "slice" | "expandtabs" | "wordwrap":
            own = size_of(value)
            lines = value.count("\n") + value.count("\t") if isinstance(value, str) else own
            return own + (1 + lines) * (numbers + sum(texts))
        case "format" | "format_map":
            return _size_of_format(value, args) if isinstance(value, str) else size_of(value)
        case "sum":
            return size_of(value) if any(isinstance(arg, list | tuple) for arg in args) else 0
        case "center" | "ljust" | "rjust" | "zfill" | "round" | "to_bytes":
            return size_of(value) + numbers
        case "string" | "urlencode" | "translate" | "xmlattr" | "urlize" | "escape" | "forceescape":
            return 8 * size_of(value)
        case _:
            return _length(value)
