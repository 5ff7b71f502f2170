"""All error messages of the product, collected from its source.

``pytest --update-golden tests/registry/test_errors.py`` writes them to ``tests/golden/messages.md``
for a person to read from top to bottom.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from tests.layout import modules, text_of

BASE = "WsdartsError"
FIELDS = ("what", "found", "expected", "hint")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class Message:
    """A message of an error that is made in the source.

    Attributes:
        module: Dotted name of the module.
        line: Line in it.
        name: Class of the error.
        what: The field as in the source, with ``{…}`` around what is filled in; empty where it is
            not given, like ``found``, ``expected`` and ``hint``.
    """

    module: str
    line: int
    name: str
    what: str = ""
    found: str = ""
    expected: str = ""
    hint: str = ""

    def __str__(self) -> str:
        parts = (
            f"{self.what} is {self.found}" if self.found else self.what,
            f"expected {self.expected}" if self.expected else "",
            self.hint,
        )
        return "; ".join(filter(None, parts))


def page() -> str:
    """Return the page of all messages: a section for each module, a line for each message."""
    lines = ["# Error messages", "", "Collected from the source; `{…}` is filled in."]
    section = ""
    seen: set[str] = set()
    for message in messages():
        if message.module != section:
            section = message.module
            lines += ["", f"## {section}", ""]
            seen.clear()
        line = f"- {message.name}: {' '.join(str(message).split())}"
        if line not in seen:
            seen.add(line)
            lines.append(line)
    return "\n".join(lines) + "\n"


def messages() -> Iterator[Message]:
    """Yield the messages of all modules, in the order of the source."""
    trees = {name: ast.parse(text_of(file)) for name, file in modules()}
    classes = error_classes(trees.values())
    for name, tree in trees.items():
        yield from sorted(_messages(name, tree, classes), key=lambda m: (m.line, str(m)))


def error_classes(trees: Iterable[ast.Module]) -> set[str]:
    """Return the names of ``WsdartsError`` and of all classes that derive from it."""
    defined = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    known: set[str] = set()
    more = {BASE}
    while more:
        known |= more
        more = {n.name for n in defined if known & {_name(base) for base in n.bases}} - known
    return known


def _messages(module: str, tree: ast.Module, classes: set[str]) -> Iterator[Message]:
    """Yield the messages of a module; a function that makes an error is followed to its callers."""
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    makers: dict[str, tuple[_Function, list[Message]]] = {}
    plain: list[Message] = []
    inside: set[ast.AST] = set()
    for function in ast.walk(tree):
        if isinstance(function, _Function):
            variables = _class_variables(function, classes)
            own = list(_made(module, function, classes, variables, constants))
            if _annotated(function.returns) & classes:
                makers[function.name] = (function, own)
                inside.update(ast.walk(function))
            elif variables:
                plain += [m for m in own if m.name in variables.values()]
    direct = [
        message
        for node in ast.walk(tree)
        if node not in inside and isinstance(node, ast.Call)
        for message in _made(module, node, classes, {}, constants, deep=False)
    ]
    for name, (function, own) in makers.items():
        called = [
            {key: text for key, text in _arguments(function, node, constants) if text}
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and _name(node.func) == name
        ]
        filled = [_filled(m, texts) for texts in called if texts for m in own]
        plain += [m for m in filled if m not in own] or own
    yield from {*direct, *plain}


def _made(
    module: str,
    within: ast.AST,
    classes: set[str],
    variables: Mapping[str, str],
    constants: Mapping[str, ast.expr],
    *,
    deep: bool = True,
) -> Iterator[Message]:
    """Yield the messages of the calls of error classes, and of variables that hold one."""
    for node in ast.walk(within) if deep else (within,):
        if not isinstance(node, ast.Call):
            continue
        name = _name(node.func)
        if name == "of" and isinstance(node.func, ast.Attribute):
            name = _name(node.func.value)
        name = variables.get(name, name)
        if name not in classes:
            continue
        fields = {k.arg: k.value for k in node.keywords if k.arg in FIELDS}
        if node.args:
            fields["what"] = node.args[0]
        texts = {str(field): _text(value, constants) for field, value in fields.items()}
        if any(texts.values()):
            yield Message(module=module, line=node.lineno, name=name, **texts)


def _class_variables(function: _Function, classes: set[str]) -> dict[str, str]:
    """Return the parameters that take a class of errors, with the class that is annotated."""
    return {
        a.arg: next(iter(_annotated(a.annotation) & classes))
        for a in (*function.args.args, *function.args.kwonlyargs)
        if isinstance(a.annotation, ast.Subscript) and _annotated(a.annotation) & classes
    }


def _annotated(annotation: ast.expr | None) -> set[str]:
    return {_name(node) for node in ast.walk(annotation)} if annotation is not None else set()


def _arguments(
    function: _Function, call: ast.Call, constants: Mapping[str, ast.expr]
) -> Iterator[tuple[str, str]]:
    """Yield the parameters of a function that a call gives a literal text for."""
    names = [a.arg for a in function.args.args if a.arg not in ("self", "cls")]
    given = [*zip(names, call.args, strict=False), *((k.arg, k.value) for k in call.keywords)]
    for name, value in given:
        if name and isinstance(value, ast.Constant | ast.JoinedStr):
            yield name, _text(value, constants)


def _filled(message: Message, texts: Mapping[str, str]) -> Message:
    for name, text in texts.items():
        fields = {f: getattr(message, f).replace(f"{{{name}}}", text) for f in FIELDS}
        message = replace(message, **fields)
    return message


def _text(value: ast.expr, constants: Mapping[str, ast.expr]) -> str:
    """Return a text as in the source, with ``{…}`` around what is filled in."""
    match value:
        case ast.Constant(value=None):
            return ""
        case ast.Constant(value=constant):
            return str(constant)
        case ast.JoinedStr(values=parts):
            return "".join(_text(part, constants) for part in parts)
        case ast.FormattedValue(value=inner) | ast.Call(func=ast.Name(id="str"), args=[inner]):
            return _text(inner, constants)
        case ast.Name(id=name) if isinstance(constants.get(name), ast.Constant | ast.JoinedStr):
            return _text(constants[name], constants)
    return f"{{{ast.unparse(value)}}}"


def _name(node: ast.AST) -> str:
    """Return the last part of a dotted name, as text or not; empty for anything else."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Constant(value=str(name)):
            return name
    return ""
