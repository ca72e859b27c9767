"""Circles of files: files of a crate that use each other, directly or through others.

    python3 deploy/checks/circles.py

A file uses another when one of its paths, in a `use` or qualified, leads to an item that the other
defines; re-exports are followed. Modules of tests do not count. Prints each circle with what ties it,
and ends with code 1 if there is one.
"""

import re
import subprocess
import sys
from pathlib import Path

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
STRING = re.compile(r'r(#*)".*?"\1|"(?:\\.|[^"\\])*"', re.S)
TEST_MODULE = re.compile(r"#\[cfg\((?:all\()?test[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*mod\s+\w+\s*([{;])")
REEXPORT = re.compile(r"pub(?:\([^)]*\))?\s+use\s+([^;]+);")
USE = re.compile(r"\buse\s+([^;]+);")
QUALIFIED = re.compile(r"(?<![\w:])(?:\w+::)+\w+")


def code(text):
    """The text without comments, strings and modules of tests."""
    text = STRING.sub('""', COMMENT.sub("", text))
    kept, at = "", 0
    while found := TEST_MODULE.search(text, at):
        kept += text[at : found.start()]
        at = found.end()
        depth = 1 if found[1] == "{" else 0
        while depth and at < len(text):
            depth += (text[at] == "{") - (text[at] == "}")
            at += 1
    return kept + text[at:]


def paths_of(tree):
    """`a::{b, c::{d, e}}` as a::b, a::c::d, a::c::e."""
    group = re.match(r"^(.*?)\{(.*)\}$", tree.strip(), re.S)
    if not group:
        return [re.sub(r"\s+as\s+\w+", "", tree).strip()]
    parts, depth, current = [], 0, ""
    for letter in group[2] + ",":
        if letter == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            depth += (letter == "{") - (letter == "}")
            current += letter
    return [group[1] + path for part in parts if part.strip() for path in paths_of(part)]


def modules_of(source):
    """The crate's files by the path of their module."""
    modules = {}
    for file in sorted(source.rglob("*.rs")):
        path = file.relative_to(source).with_suffix("").parts
        if "tests" in path or (path == ("main",) and (source / "lib.rs").exists()):
            continue
        modules[() if path in [("lib",), ("main",)] else path] = code(file.read_text())
    return modules


def locate(modules, module, path):
    """The module that a path leads to, and the item behind it; None outside of the crate."""
    head, *rest = [part.strip() for part in path.split("::")]
    if head == "crate":
        at = ()
    elif head == "self":
        at = module
    elif head == "super":
        at = module[:-1]
        while rest and rest[0] == "super":
            at, rest = at[:-1], rest[1:]
    elif module + (head,) in modules:
        at, rest = module, [head, *rest]
    else:
        return None
    while rest and at + (rest[0],) in modules:
        at, rest = at + (rest[0],), rest[1:]
    rest = [part for part in rest if part != "self"]
    return at, rest[0] if rest else None


def uses_of(modules):
    """For each module the modules whose items it uses, with the items."""
    reexported = {}
    for module, text in modules.items():
        for found in REEXPORT.finditer(text):
            for path in paths_of(found[1]):
                if target := locate(modules, module, path):
                    reexported[module, target[1] or target[0][-1]] = target
    uses = {}
    for module, text in modules.items():
        text = REEXPORT.sub("", text)
        paths = [path for found in USE.finditer(text) for path in paths_of(found[1])]
        imported = {}
        for path in paths:
            target = locate(modules, module, path)
            if target and target[1] is None and target[0]:
                imported[target[0][-1]] = target[0]
        for found in QUALIFIED.finditer(USE.sub("", text)):
            head, rest = found[0].split("::", 1)
            if head in imported:
                paths.append("::".join(("crate", *imported[head], rest)))
            elif head in ("crate", "self", "super") or module + (head,) in modules:
                paths.append(found[0])
        uses[module] = {}
        for path in paths:
            target = locate(modules, module, path)
            while target in reexported:
                target = reexported[target]
            if target and target[1] and target[0] != module and target[0] in modules:
                uses[module].setdefault(target[0], set()).add(target[1])
    return uses


def circles_of(uses):
    """Strongly connected components of more than one module (Tarjan)."""
    order, low, stack, circles = {}, {}, [], []

    def visit(module):
        order[module] = low[module] = len(order)
        stack.append(module)
        for used in uses[module]:
            if used not in order:
                visit(used)
                low[module] = min(low[module], low[used])
            elif used in stack:
                low[module] = min(low[module], order[used])
        if low[module] == order[module]:
            at = stack.index(module)
            circle = stack[at:]
            del stack[at:]
            if len(circle) > 1:
                circles.append(sorted(circle))

    for module in uses:
        if module not in order:
            visit(module)
    return circles


def main():
    sys.setrecursionlimit(10_000)
    top = Path(__file__).parents[2]
    listed = subprocess.run(["git", "ls-files", "*Cargo.toml"], cwd=top, check=True, capture_output=True, text=True)
    total = files = 0
    for manifest in listed.stdout.split():
        source = top / Path(manifest).parent / "src"
        modules = modules_of(source)
        files += len(modules)
        uses = uses_of(modules)
        for circle in circles_of(uses):
            total += 1
            print(f"{source.relative_to(top)}: a circle of {len(circle)} files")
            for module in circle:
                for used in sorted(set(uses[module]) & set(circle)):
                    items = ", ".join(sorted(uses[module][used]))
                    print(f"  {'/'.join(module) or 'lib'} -> {'/'.join(used) or 'lib'}: {items}")
    print(f"{total} circles among {files} files")
    return 1 if total else 0


if __name__ == "__main__":
    sys.exit(main())
