"""What runs on users' interpreters keeps to the syntax and the library of Python 3.9, whatever interpreter runs the tests."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("*.py"), *(ROOT / "whipray_engine").glob("**/*.py")])

# What came after 3.9, as far as a host, a guard or an engine could think of using it ("What's New in Python 3.10" to 3.14).
NEWER = {
    "builtins": {"aiter", "anext", "BaseExceptionGroup", "EncodingWarning", "ExceptionGroup", "PythonFinalizationError"},
    "asyncio": {"Barrier", "Runner", "TaskGroup", "Timeout", "eager_task_factory", "QueueShutDown", "timeout", "timeout_at"},
    "contextlib": {"aclosing", "AsyncContextDecorator", "chdir"},
    "dataclasses": {"KW_ONLY"},
    "datetime": {"UTC"},
    "enum": {"StrEnum", "EnumCheck", "FlagBoundary", "global_enum", "member", "nonmember", "verify"},
    "functools": {"Placeholder"},
    "inspect": {"get_annotations", "getasyncgenstate", "BufferFlags", "markcoroutinefunction"},
    "itertools": {"batched", "pairwise"},
    "logging": {"getHandlerByName", "getHandlerNames", "getLevelNamesMapping"},
    "math": {"cbrt", "exp2", "fma", "sumprod"},
    "operator": {"call", "is_none", "is_not_none"},
    "os": {"eventfd", "eventfd_read", "eventfd_write", "EFD_CLOEXEC", "EFD_NONBLOCK", "login_tty", "process_cpu_count", "setns", "splice", "unshare", "pidfd_getfd"},
    "pathlib": {"UnsupportedOperation"},
    "queue": {"ShutDown"},
    "statistics": {"correlation", "covariance", "kde", "linear_regression"},
    "sys": {"activate_stack_trampoline", "exception", "monitoring", "orig_argv", "stdlib_module_names"},
    "threading": {"gettrace", "getprofile", "setprofile_all_threads", "settrace_all_threads"},
    "types": {"CapsuleType", "EllipsisType", "NoneType", "NotImplementedType", "UnionType", "get_original_bases"},
    "typing": {"Concatenate", "LiteralString", "Never", "NotRequired", "ParamSpec", "Required", "Self", "TypeAlias", "TypeGuard", "TypeVarTuple", "Unpack", "assert_never", "assert_type", "override", "reveal_type"},
    "warnings": {"deprecated"},
}
NEW_MODULES = {"annotationlib", "compression", "tomllib", "concurrent.interpreters", "string.templatelib", "wsgiref.types", "pathlib.types"}
# Methods and keyword arguments, under whatever object: names that mean nothing else here.
NEW_METHODS = {"add_note", "bit_count", "uncancel", "cancelling", "full_match"}
NEW_KEYWORDS = {("zip", "strict"), ("dataclass", "slots"), ("dataclass", "kw_only"), ("dataclass", "weakref_slot"), ("Popen", "process_group"), ("run", "process_group"), ("bisect_left", "key"), ("bisect_right", "key"), ("insort", "key"), ("map", "strict"), ("create_task", "eager_start")}


def too_new(source):
    """What of a source Python 3.9 does not have, as `line: what`."""
    try:
        tree = ast.parse(source, feature_version=(3, 9))
    except SyntaxError as error:
        return [f"{error.lineno}: {error.msg}"]
    later = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" and node.names[0].name == "annotations" for node in tree.body)
    modules = {}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                modules[(alias.asname or alias.name).split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]
                if alias.name in NEW_MODULES:
                    found.append(f"{node.lineno}: module {alias.name}")
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            new = NEWER.get(node.module, set())
            found += [f"{node.lineno}: {node.module}.{alias.name}" for alias in node.names if alias.name in new]
            found += [f"{node.lineno}: module {node.module}"] if node.module in NEW_MODULES else []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            module = modules.get(node.value.id) if isinstance(node.value, ast.Name) else None
            if node.attr in NEW_METHODS or node.attr in NEWER.get(module, set()):
                found.append(f"{node.lineno}: {module + '.' if module else ''}{node.attr}")
        elif isinstance(node, ast.Name) and node.id in NEWER["builtins"]:
            found.append(f"{node.lineno}: {node.id}")
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
            found += [f"{node.lineno}: {name}({keyword.arg}=)" for keyword in node.keywords if (name, keyword.arg) in NEW_KEYWORDS]
        if not later:
            found += [f"{union.lineno}: X | Y in an annotation" for union in _unions(node)]
    return found


def _unions(node):
    """Annotations with `X | Y`, which 3.9 evaluates and cannot."""
    hints = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    return [part for hint in hints if isinstance(hint, ast.AST) for part in ast.walk(hint) if isinstance(part, ast.BinOp) and isinstance(part.op, ast.BitOr)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_nothing_newer_than_python_3_9_is_used(path):
    assert too_new(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "match x:\n  case 1: pass",
        "try: pass\nexcept* OSError: pass",
        "type X = int",
        "def f[T](x: T): pass",
        "def f(x: int | None): pass",
        "x: int | None = 1",
        "import tomllib",
        "import asyncio as a\nasync def f():\n  async with a.timeout(1): pass",
        "from itertools import pairwise",
        "import os\nos.eventfd(0)",
        "zip(a, b, strict=True)",
        "import dataclasses\n@dataclasses.dataclass(slots=True)\nclass A: pass",
        "error.add_note('x')",
        "(5).bit_count()",
        "await_ = anext(x)",
        "ExceptionGroup('x', [])",
    ],
)
def test_what_python_3_9_lacks_is_found(source):
    assert too_new(source) != []


def test_what_python_3_9_has_is_let_through():
    assert too_new("from __future__ import annotations\ndef f(x: int | None) -> list[int]:\n  with (open('a')) as a: return a | {1: 2}\n'x'.removeprefix('y')") == []
