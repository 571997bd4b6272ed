"""The registry of verifiers by name, their verdict, and running them from a specification."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from foretell.errors import InputError

__all__ = ["VERIFIERS", "Verdict", "all_of", "check_specification", "register", "verify"]


@dataclass(frozen=True)
class Verdict:
    """Whether an answer followed its instruction, and the reason."""

    followed: bool | None
    """None where it is undefined, such as for an empty answer."""
    reason: str


Verifier = Callable[..., Verdict]
V = TypeVar("V", bound=Verifier)

VERIFIERS: dict[str, Verifier] = {}
"""Every verifier by name; `register` adds one."""


def register(verifier: V) -> V:
    """Add a verifier under its function name, so that specifications can name it; usable as a decorator.

    Args:
        verifier: A pure function of the answer (first parameter) and named arguments, returning a `Verdict`. An
            argument of type `Literal[...]` allows the values named there; one of type `Annotated[..., check]` is passed
            to `check`, which raises `InputError` for a value it refuses.

    Raises:
        InputError: Another function is registered under the same name, or an argument is called `name`.

    Example:
        >>> @register
        ... def mentions_weather(answer: str) -> Verdict:
        ...     return Verdict("rain" in answer or "sun" in answer, "looked for rain and sun")
        >>> verify("It will rain.", {"name": "mentions_weather"}).followed
        True
        >>> del VERIFIERS["mentions_weather"]
    """
    name = verifier.__name__
    if "name" in inspect.signature(verifier).parameters:
        raise InputError(
            f'verifier "{name}": an argument cannot be called "name", which stands for the verifier itself'
        )
    known = VERIFIERS.get(name)
    if known is not None and (known.__module__, known.__qualname__) != (verifier.__module__, verifier.__qualname__):
        raise InputError(f'a verifier named "{name}" is registered already: give yours another name')
    VERIFIERS[name] = verifier
    return verifier


def check_specification(specification: Mapping[str, Any]) -> None:
    """Refuse a specification whose name is unknown or whose arguments do not fit, without running it.

    Raises:
        InputError: It has no name, an unknown one, or a missing, unknown or wrongly typed argument.
    """
    _bound(specification)


def verify(answer: str | None, specification: Mapping[str, Any]) -> Verdict:
    """Return whether an answer satisfies a specification.

    Args:
        answer: What the model wrote.
        specification: `{"name": ..., **arguments}`, such as `{"name": "max_words", "count": 12}`.

    Raises:
        InputError: The name is unknown or the arguments do not fit.

    Undefined:
        `followed` is None for a missing or empty answer: writing nothing is neither obeying nor disobeying.

    Example:
        >>> verify("Rain, rain, rain.", {"name": "no_commas"})
        Verdict(followed=False, reason='2 commas')
    """
    verifier, arguments = _bound(specification)
    if answer is None:
        return Verdict(None, "there is no answer")
    if not answer.strip():
        return Verdict(None, "the answer is empty")
    return verifier(answer, **arguments)


@register
def all_of(answer: str, *, checks: Sequence[Mapping[str, Any]]) -> Verdict:
    """Followed when every one of several specifications is followed.

    Args:
        answer: What the model wrote.
        checks: Specifications; at least one.

    Undefined:
        None when a check says None and no other is violated.

    Example:
        >>> all_of("Rain fell.", checks=[{"name": "no_commas"}, {"name": "max_words", "count": 1}]).reason
        'max_words: 2 words, at most 1 allowed'
    """
    verdicts = [(str(check["name"]), verify(answer, check)) for check in checks]
    for state in (False, None):
        reasons = [f"{name}: {verdict.reason}" for name, verdict in verdicts if verdict.followed is state]
        if reasons:
            return Verdict(state, "; ".join(reasons))
    return Verdict(True, "; ".join(f"{name}: {verdict.reason}" for name, verdict in verdicts))


def _bound(specification: Mapping[str, Any]) -> tuple[Verifier, dict[str, Any]]:
    """Return the verifier a specification names and its checked arguments."""
    arguments = dict(specification)
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise InputError('a verifier is {"name": ..., arguments}: the name is missing or is no text')
    verifier = VERIFIERS.get(name)
    if verifier is None:
        close = get_close_matches(name, VERIFIERS, n=3)
        hint = f"did you mean {', '.join(close)}?" if close else f"known are {', '.join(sorted(VERIFIERS))}"
        raise InputError(f'there is no verifier named "{name[:80]}": {hint}')
    signature = inspect.signature(verifier)
    try:
        signature.bind("", **arguments)
    except TypeError as error:
        expected = ", ".join(list(signature.parameters)[1:]) or "no arguments"
        raise InputError(f'verifier "{name}": {error}; it takes {expected}') from error
    hints = get_type_hints(inspect.unwrap(verifier), include_extras=True)
    for argument, value in arguments.items():
        problem = _problem(value, hints.get(argument))
        if problem:
            raise InputError(f'verifier "{name}", argument "{argument}": {problem}')
    if name == "all_of":
        for check in arguments["checks"]:
            _bound(check)
    return verifier, arguments


def _problem(value: Any, expected: object) -> str | None:
    """Return what is wrong with an argument, or None; only the types built-in verifiers use are judged."""
    if get_origin(expected) is Annotated:
        inner, *checks = get_args(expected)
        return _problem(value, inner) or next(filter(None, (_refusal(check, value) for check in checks)), None)
    if get_origin(expected) is Literal and not any(value == e and type(value) is type(e) for e in get_args(expected)):
        return f"must be one of {', '.join(map(repr, get_args(expected)))}, not {str(value)[:40]!r}"
    if expected is int and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        return f"must be a whole number from 0 on, not {str(value)[:40]!r}"
    if expected is str and (not isinstance(value, str) or not value.strip()):
        return "must be a text that is not empty"
    if expected == Sequence[str] and (not _is_list(value) or not all(isinstance(e, str) and e.strip() for e in value)):
        return "must be a list of texts that are not empty"
    if expected == Sequence[Mapping[str, Any]] and (
        not _is_list(value) or not value or not all(isinstance(e, Mapping) for e in value)
    ):
        return "must be a list of one or more specifications"
    return None


def _refusal(check: Any, value: Any) -> str | None:
    """Return what a check of an annotation says against a value; metadata of other kinds says nothing."""
    if not callable(check):
        return None
    try:
        check(value)
    except InputError as error:
        return str(error)
    return None


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))
