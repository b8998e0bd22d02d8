"""Autoscale formulas: the part of their language that Azure's examples use.

https://learn.microsoft.com/azure/batch/batch-automatic-scaling. Samples are the values of now, if there are any.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

MOST_CHARACTERS = 8192
SAMPLED = ("$PendingTasks", "$ActiveTasks", "$RunningTasks")
OPTIONS = ("requeue", "terminate", "taskcompletion", "retaineddata")
TARGETS = ("$TargetDedicatedNodes", "$TargetLowPriorityNodes", "$NodeDeallocationOption")

Value = float | str | bool | datetime | timedelta | list[float]
Names = dict[str, Any]
Expression = Callable[[Names], Any]


class FormulaError(Exception):
    """The formula cannot be read, or not be evaluated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What a formula wants; None: it does not say."""

    dedicated: int | None
    low_priority: int | None
    option: str
    results: str
    """All of its variables, as `autoScaleRun` has them."""


def evaluate(formula: str, facts: Mapping[str, float], now: datetime) -> Sizes:
    """Raises `FormulaError`. `facts` are the values of the variables of Batch's own; what is missing has no samples."""
    names: Names = {**_CONSTANTS, **{option: option for option in OPTIONS}, **facts, "time": lambda *at: _time(now, *at)}
    assigned: dict[str, Any] = {}
    for name, expression in parse(formula):
        try:
            names[name] = assigned[name] = expression(names)
        except (TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise FormulaError(f"{name} cannot be evaluated: {error}") from error
    option = assigned.get("$NodeDeallocationOption", "requeue")
    if option not in OPTIONS:
        raise FormulaError(f"$NodeDeallocationOption cannot be {option!r}.")
    return Sizes(
        dedicated=_count(assigned, "$TargetDedicatedNodes"),
        low_priority=_count(assigned, "$TargetLowPriorityNodes"),
        option=option,
        results=";".join(f"{name}={_shown(value)}" for name, value in assigned.items()),
    )


def parse(formula: str) -> list[tuple[str, Expression]]:
    """The assignments of a formula. Raises `FormulaError`."""
    if len(formula) > MOST_CHARACTERS:
        raise FormulaError(f"It has more than {MOST_CHARACTERS} characters.")
    return _Parser(formula).formula()


def _count(assigned: Mapping[str, Any], name: str) -> int | None:
    value = assigned.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, float | int):
        raise FormulaError(f"{name} is no number.")
    return max(0, int(value))


def _shown(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _time(now: datetime, text: str | None = None) -> datetime:
    if text is None:
        return now
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _numbers(values: tuple[Any, ...]) -> list[float]:
    flat = [item for value in values for item in (value if isinstance(value, list) else [value])]
    if not flat or not all(isinstance(item, float) for item in flat):
        raise ValueError("it takes numbers")
    return flat


_CONSTANTS: Names = {
    "min": lambda *values: min(_numbers(values)),
    "max": lambda *values: max(_numbers(values)),
    "sum": lambda *values: float(sum(_numbers(values))),
    "avg": lambda *values: sum(_numbers(values)) / len(_numbers(values)),
    "len": lambda values: float(len(values)),
    "round": lambda value: float(int(value + 0.5)),
    "TimeInterval_Zero": timedelta(),
    "TimeInterval_Second": timedelta(seconds=1),
    "TimeInterval_Minute": timedelta(minutes=1),
    "TimeInterval_Hour": timedelta(hours=1),
    "TimeInterval_Day": timedelta(days=1),
    "TimeInterval_Week": timedelta(weeks=1),
}
_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "*": operator.mul,
    "/": operator.truediv,
    "+": operator.add,
    "-": operator.sub,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "&&": lambda left, right: bool(left and right),
    "||": lambda left, right: bool(left or right),
}
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/"))
_TOKEN = re.compile(
    r"\s*(?://[^\n]*\s*)*(?P<token>\d+(?:\.\d+)?|\$?[A-Za-z_]\w*|\"[^\"]*\"|'[^']*'|<=|>=|==|!=|&&|\|\||[-+*/<>!=?:;,.()]|$)"
)


class _Parser:
    """Reads a formula into functions of its variables. A name has to be known, or assigned before."""

    def __init__(self, formula: str) -> None:
        self._tokens = list(_tokens(formula))
        self._known = {*_CONSTANTS, *OPTIONS, *SAMPLED, "$CurrentDedicatedNodes", "$CurrentLowPriorityNodes", "time"}

    def formula(self) -> list[tuple[str, Expression]]:
        assignments = []
        while self._tokens[0]:
            name = self._next()
            if not re.fullmatch(r"\$?[A-Za-z_]\w*", name) or (name.startswith("$") and name not in TARGETS):
                raise FormulaError(f"{name!r} cannot be assigned.")
            self._expect("=")
            assignments.append((name, self._choice()))
            self._known.add(name)
            if self._tokens[0]:
                self._expect(";")
        if not assignments:
            raise FormulaError("It is empty.")
        return assignments

    def _choice(self) -> Expression:
        condition = self._binary(0)
        if not self._take("?"):
            return condition
        yes = self._choice()
        self._expect(":")
        no = self._choice()
        return lambda names: yes(names) if condition(names) else no(names)

    def _binary(self, level: int) -> Expression:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while self._tokens[0] in _LEVELS[level]:
            left = _applied(_OPERATORS[self._next()], left, self._binary(level + 1))
        return left

    def _unary(self) -> Expression:
        if self._take("-"):
            value = self._unary()
            return lambda names: -value(names)
        if self._take("!"):
            value = self._unary()
            return lambda names: not value(names)
        return self._primary()

    def _primary(self) -> Expression:
        token = self._next()
        if token == "(":
            inner = self._choice()
            self._expect(")")
            return inner
        if token[:1].isdigit():
            return lambda _: float(token)
        if token[:1] in ("'", '"'):
            return lambda _: token[1:-1]
        if token not in self._known:
            raise FormulaError(f"{token!r} is not known." if token else "It ends too early.")
        return self._named(token)

    def _named(self, name: str) -> Expression:
        if self._take("."):
            return self._sample(name, self._next(), self._arguments())
        if name in SAMPLED:
            raise FormulaError(f"{name} has to be sampled.")
        if self._tokens[0] == "(":
            arguments = self._arguments()
            return lambda names: names[name](*(argument(names) for argument in arguments))
        return lambda names: names[name]

    def _sample(self, name: str, method: str, arguments: list[Expression]) -> Expression:
        if name not in SAMPLED or not arguments:
            raise FormulaError(f"{name}.{method} is not known.")
        if method == "GetSample":
            return lambda names: [names[name]]
        if method == "GetSamplePercent":
            return lambda names: 100.0 if name in names else 0.0
        raise FormulaError(f"{name}.{method} is not known.")

    def _arguments(self) -> list[Expression]:
        self._expect("(")
        arguments: list[Expression] = []
        while not self._take(")"):
            if arguments:
                self._expect(",")
            arguments.append(self._choice())
        return arguments

    def _next(self) -> str:
        return self._tokens.pop(0) if self._tokens[0] else ""

    def _take(self, token: str) -> bool:
        if self._tokens[0] != token:
            return False
        self._tokens.pop(0)
        return True

    def _expect(self, token: str) -> None:
        if not self._take(token):
            raise FormulaError(f"There is no {token!r} before {self._tokens[0]!r}.")


def _applied(apply: Callable[[Any, Any], Any], left: Expression, right: Expression) -> Expression:
    return lambda names: apply(left(names), right(names))


def _tokens(formula: str) -> list[str]:
    """The last one is empty."""
    tokens: list[str] = []
    at = 0
    while not tokens or tokens[-1]:
        match = _TOKEN.match(formula, at)
        if match is None:
            raise FormulaError(f"It cannot be read at {formula[at : at + 20]!r}.")
        tokens.append(match["token"])
        at = match.end()
    return tokens
