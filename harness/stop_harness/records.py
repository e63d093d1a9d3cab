"""`dataclass` for records: the standard library's, made in a quarter of the time.

`check` makes 183 frozen dataclasses before a container starts. The standard library compiles six methods for each, a
third of all instructions of that command (measured with valgrind). Here only `__init__` is compiled, and the others are
closures. What one sees of a record is the same: fields, `replace`, equality, hash, text, and that nothing can be set.

`slots=True` is for what a run has thousands of, the records of its journal: one takes a third of the memory.
"""

from __future__ import annotations

import dataclasses
import sys
from operator import attrgetter
from typing import TYPE_CHECKING

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from collections.abc import Callable
    from dataclasses import dataclass  # for type checkers it is that one
    from typing import Any
else:

    def dataclass(made: type | None = None, *, frozen: bool = False, kw_only: bool = False, slots: bool = False) -> Any:
        """As `dataclasses.dataclass`, with the options that are used here."""
        if made is None:
            return lambda given: dataclass(given, frozen=frozen, kw_only=kw_only, slots=slots)
        if not frozen:
            return dataclasses.dataclass(made, kw_only=kw_only, slots=slots)
        return _record(dataclasses.dataclass(made, init=False, repr=False, eq=False, kw_only=kw_only, slots=slots))


def _record(made: Any) -> Any:
    """With the methods that a frozen dataclass has, but for those that it defines itself."""
    fields = dataclasses.fields(made)
    names = tuple(field.name for field in fields)
    values = _values_of(tuple(field.name for field in fields if field.compare))
    shown = tuple(field.name for field in fields if field.repr)

    def equals(self: Any, other: Any) -> Any:
        return values(self) == values(other) if other.__class__ is self.__class__ else NotImplemented

    def text(self: Any) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    methods = {
        "__init__": _initializer(made, fields),
        "__eq__": equals,
        "__hash__": lambda self: hash(values(self)),
        "__repr__": text,
        "__setattr__": _refuse_to_set,
        "__delattr__": _refuse_to_delete,
    }
    own = vars(made)
    if "__slots__" in own:  # without these pickle and copy would set each value in the common way, which is refused
        methods |= {"__getstate__": _getter_of(names), "__setstate__": _setter_of(names)}
    for name, method in methods.items():
        if own.get(name) is None:  # a class with `__eq__` and without `__hash__` has None there
            setattr(made, name, method)
    return made


def _initializer(made: type, fields: tuple[dataclasses.Field[Any], ...]) -> Any:
    """`__init__`, with the parameters that the standard library's has."""
    names: dict[str, Any] = {"_set": object.__setattr__, "_made_anew": _MADE_ANEW}
    positional, by_name, lines = ["self"], ["*"], []
    for field in fields:
        name = parameter = value = field.name
        if field.default is not dataclasses.MISSING:
            names[f"_of_{name}"] = field.default
            parameter = f"{name}=_of_{name}"
        elif field.default_factory is not dataclasses.MISSING:
            names[f"_of_{name}"] = field.default_factory
            parameter, value = f"{name}=_made_anew", f"_of_{name}() if {name} is _made_anew else {name}"
        (by_name if field.kw_only else positional).append(parameter)
        lines.append(f"  _set(self,{name!r},{value})")
    parameters = ",".join(positional + (by_name if len(by_name) > 1 else []))
    text = f"def make({','.join(names)}):\n def __init__({parameters}):\n" + "\n".join(lines or ["  pass"])
    found: dict[str, Any] = {}
    exec(f"{text}\n return __init__", vars(sys.modules[made.__module__]), found)  # nosec B102 # of names of fields, as dataclasses does
    method = found["make"](**names)
    method.__qualname__ = f"{made.__qualname__}.__init__"  # stands in messages about wrong arguments
    method.__annotations__ = {**{field.name: field.type for field in fields}, "return": None}
    return method


_MADE_ANEW = object()
"""The default of a parameter whose field has a factory."""


def _values_of(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Gives the values of those fields of a record."""
    if len(names) > 1:
        return attrgetter(*names)
    return _getter_of(names)


def _getter_of(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Gives the values of those fields of a record, as a function, which unlike an `attrgetter` can be a method."""
    return lambda record: tuple(getattr(record, name) for name in names)


def _setter_of(names: tuple[str, ...]) -> Callable[[Any, tuple[Any, ...]], None]:
    """Gives a record that has none yet the values of those fields."""

    def set_values(record: Any, values: tuple[Any, ...]) -> None:
        for name, value in zip(names, values, strict=True):
            object.__setattr__(record, name, value)

    return set_values


def _refuse_to_set(_self: Any, name: str, _value: Any) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(_self: Any, name: str) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
