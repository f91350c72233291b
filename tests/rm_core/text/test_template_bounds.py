"""A template that came with a checkpoint ends in time and makes no endless text."""

import functools
import threading
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers.utils import chat_template_utils

from rm_core.errors import InvalidMessages, TemplateOverBounds
from rm_core.text import template_bounds
from rm_core.text.template import ChatTemplate
from rm_core.text.template_bounds import bound_templates, size_of
from tests.models import make_tokenizer

LONG = "{% set x = 'a' * 1000000 %}"
NESTED = "{% set a = ['xxxxxxxxxx'] * 10 %}" + "".join(
    f"{{% set {chr(98 + depth)} = [{','.join([chr(97 + depth)] * 10)}] %}}" for depth in range(12)
)
BOMBS = {
    "times": "{{ 'a' * 10000000000 }}",
    "times a list": "{% set x = [1] * 10000000000 %}",
    "power": "{{ 10 ** 1000000000 }}",
    "doubling": "{% set n = namespace(x='aaaaaaaa') %}"
    "{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "adding": "{% set n = namespace(x='aaaaaaaa') %}"
    "{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "adding lists": "{% set n = namespace(x=[1]) %}"
    "{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "centre": "{{ 'a'|center(9999999999) }}",
    "justify": "{{ 'a'.ljust(9999999999) }}",
    "percent": "{{ '%999999999d' % 1 }}",
    "percent given": "{{ '%*d' % (999999999, 1) }}",
    "percent filter": "{{ '%99999999d'|format(1) }}",
    "format": "{{ '{:>999999999}'.format(1) }}",
    "replace": LONG + "{{ x|replace('a', x) }}",
    "replace method": LONG + "{{ x.replace('a', x) }}",
    "join": LONG + "{{ range(99999)|join(x) }}",
    "join method": LONG + "{{ x.join('b' * 100000) }}",
    "many texts": "{% set x = range(99999)|map('string')|map('center', 999999)|list %}",
    "nested lists": NESTED + "{{ m }}",
    "nested JSON": NESTED + "{{ m|tojson }}",
    "indent": "{{ ('\n' * 1000000)|indent(1000000) }}",
    "indented JSON": "{{ [1]|tojson(indent=999999999) }}",
    "sum": "{{ ([[1] * 1000] * 100000)|sum(start=[]) }}",
    "output": "{% for i in range(99999) %}" + "a" * 100 + "{{ i }}{% endfor %}",
    "block": "{% set x %}{% for i in range(99999) %}" + "a" * 100 + "{% endfor %}{% endset %}",
}
ENDLESS = {
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "macros": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
    "{{ f(60) }}",
    "blocks": "{% block a %}{% endblock %}{% for i in range(99999) %}{% for j in range(99999) %}"
    "{{ self.a() }}{% endfor %}{% endfor %}",
    "filters": "{% for i in range(99999) %}{% set x = range(99999)|sum %}{% endfor %}",
}
ORDINARY = (
    "{{- bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}"
    "{%- if loop.first and message.role == 'system' %}{% set ns.system = message.content|trim %}"
    "{%- else %}{{ '<|' + message['role'] + '|>' ~ ns.system }}{{ message['content'] | trim }}"
    "{{ '%s' % loop.index }}{{ ['x', message.role]|join('-') }}{{ message|tojson }}"
    "{{ '{:>4}'.format(loop.index0) }}{{ messages|map(attribute='role')|list }}"
    "{{ message.content.split(' ')[-1]|replace('a', 'b')|upper|center(9)|indent(2) }}"
    "{%- generation %}{{ 2 ** 5 * 3 + 1 }}{% endgeneration %}{% if loop.index > 2 %}{% break %}"
    "{% endif %}{% endif %}{% endfor %}{{ [1, 2.5, none, true, {'a': 1}] }}"
)
MESSAGES = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "What is a cat?"},
    {"role": "assistant", "content": "An animal\nthat sat."},
    {"role": "user", "content": "Never reached."},
]


@pytest.fixture(autouse=True)
def bounded() -> None:
    bound_templates()


def rendered(source: str, messages: list[dict[str, str]] | None = None) -> str:
    found: list[str]
    found, _ = chat_template_utils.render_jinja_template(
        [messages or [{"role": "user", "content": "hi"}]], chat_template=source, bos_token="<s>"
    )
    return found[0]


@pytest.mark.parametrize("name", BOMBS)
def test_no_template_makes_an_endless_text(name: str) -> None:
    with pytest.raises(TemplateOverBounds):
        rendered(BOMBS[name])


@pytest.mark.parametrize("name", ENDLESS)
def test_no_template_runs_for_ever(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_bounds, "MAX_SECONDS", 0.05)

    with pytest.raises(TemplateOverBounds, match="takes more than"):
        rendered(ENDLESS[name])


def test_without_bounds_loops_and_texts_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_bounds, "MAX_SECONDS", 0.05)
    loops = "{% for a in range(2000) %}{% for b in range(1000) %}{% endfor %}{% endfor %}done"
    text = "{{ 'a' * 8000000 }}"
    for source in (loops, text):
        with pytest.raises(TemplateOverBounds):
            rendered(source)

    monkeypatch.setattr(
        chat_template_utils, "ImmutableSandboxedEnvironment", ImmutableSandboxedEnvironment
    )
    chat_template_utils._compile_jinja_template.cache_clear()
    try:
        assert rendered(loops) == "done"
        assert len(rendered(text)) == 8_000_000
    finally:
        chat_template_utils._compile_jinja_template.cache_clear()


def test_an_ordinary_template_writes_what_it_always_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rendered(ORDINARY, MESSAGES)

    monkeypatch.setattr(
        chat_template_utils, "ImmutableSandboxedEnvironment", ImmutableSandboxedEnvironment
    )
    chat_template_utils._compile_jinja_template.cache_clear()
    assert rendered(ORDINARY, MESSAGES) == found
    chat_template_utils._compile_jinja_template.cache_clear()


def test_a_long_conversation_has_room_in_proportion() -> None:
    source = (
        "{% for message in messages %}<|{{ message.role }}|>{{ message.content * 4 }}{% endfor %}"
    )
    messages = [{"role": "user", "content": "word " * 40_000}] * 20

    assert len(rendered(source, messages)) > template_bounds.MIN_CHARACTERS


def test_threads_have_budgets_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    source = "{{ 'a' * 3000000 }}"
    failed: list[BaseException] = []

    def render() -> None:
        try:
            for _ in range(10):
                rendered(source)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=render) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failed == []


def test_a_request_is_told_of_bounds_and_not_of_its_text() -> None:
    tokenizer = make_tokenizer(chat=True)
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.content }}{% if 'bomb' in message.content %}"
        "{{ 'a' * 10 ** 9 }}{% endif %}{% endfor %}"
    )
    template = ChatTemplate(tokenizer)

    with pytest.raises(InvalidMessages, match="makes more than") as error:
        template.render([{"role": "user", "content": "a bomb"}])

    assert (error.value.field, "bomb" in str(error.value)) == ("prompt", False)


def test_sizes_count_what_is_held_twice_and_look_at_it_once() -> None:
    nested: Any = functools.reduce(lambda inner, _: [inner] * 10, range(30), "xxxxxxxxxx")

    assert size_of(nested) > 10**30
    assert size_of({"a": "bcd"}) >= 4
