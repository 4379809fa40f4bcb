"""The house numbers of docs/architecture.md, as a check: sizes, layout, words, evidence. Ends with 1 on a breach."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from conformance.evidence import dropped

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES = 400
FUNCTION_LINES = 40
PORT_METHODS = 15
OPTIONS = 40
TEST_RATIO = 1.2
NAMES = {"utils", "helpers", "helper", "manager", "common", "base", "misc"}
BANNED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|mock\.patch|shell=True|NotImplementedError|time\.sleep\(")
EXCEPTIONS = {
    ("src/kilonova/guestdata/ec2.py", "FIXME"),  # the value that Nova gives for ami-manifest-path
    ("src/kilonova/cli/hello.py", "time.sleep("),  # a command line program that waits
    ("src/kilonova/cli/down.py", "time.sleep("),
    ("src/kilonova/cli/host.py", "time.sleep("),
}


def python_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [ROOT / name for name in listed.stdout.split() if (ROOT / name).exists()]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))


def check_file(path: Path, name: str) -> Iterator[str]:
    text = path.read_text()
    if path.stem in NAMES:
        yield f"{name}: a file is called what it holds"
    if (lines := text.count("\n")) > FILE_LINES and "migrations/versions" not in name:
        yield f"{name}: {lines} lines, at most {FILE_LINES}"
    for function in functions(ast.parse(text)):
        size = (function.end_lineno or 0) - function.lineno + 1
        if size > FUNCTION_LINES:
            yield f"{name}:{function.lineno} {function.name}: {size} lines, at most {FUNCTION_LINES}"
    for number, line in enumerate(text.splitlines(), 1):
        found = BANNED.search(line)
        if found and (name, found.group(0)) not in EXCEPTIONS:
            yield f"{name}:{number} {found.group(0)}"


def check_ports(files: list[Path]) -> Iterator[str]:
    for path in files:
        if path.name != "port.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                public = [f for f in node.body if isinstance(f, ast.FunctionDef | ast.AsyncFunctionDef)]
                if len(public) > PORT_METHODS:
                    yield f"{path.relative_to(ROOT)} {node.name}: {len(public)} methods, at most {PORT_METHODS}"


def check_settings() -> Iterator[str]:
    from kilonova.settings import Settings

    if (count := len(Settings.__struct_fields__)) > OPTIONS:
        yield f"settings.py: {count} options, at most {OPTIONS}"


def count_lines(files: list[Path]) -> int:
    return sum(p.read_text().count("\n") for p in files)


def main() -> int:
    files = python_files()
    product = [p for p in files if p.is_relative_to(ROOT / "src")]
    tests = [p for p in files if p.is_relative_to(ROOT / "tests")]
    broken = [line for p in product for line in check_file(p, str(p.relative_to(ROOT)))]
    broken += [*check_ports(product), *check_settings(), *dropped()]
    code, test = count_lines(product), count_lines(tests)
    if test > code * TEST_RATIO:
        broken.append(f"{test} lines of tests for {code} of product: more than {TEST_RATIO} times")
    for line in broken:
        sys.stdout.write(line + "\n")
    sys.stdout.write(
        f"house: {len(product)} files, {code} lines, {test} lines of tests, {len(broken)} broken numbers\n"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
