"""The house's own rules: imports point down, files stay short, nothing is global, locks name no address."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from shutil import copytree, ignore_patterns
from socket import create_connection
from threading import Thread

import pytest
import stripe
from packaging.requirements import Requirement

from tests.floors import FLOORS
from tests.guards import only_loopback, untouched_stripe_module

PROJECT = Path(__file__).resolve().parent.parent
PACKAGE = PROJECT / "flask_valetpro_stripe"
NAME = PACKAGE.name
MAX_LINES = 400
LOCKS = sorted((PROJECT / "requirements").glob("*.txt"))

FLOOR_OF = {room: number for number, rooms in enumerate(FLOORS.values()) for room in rooms}
# Features know nothing of each other; only handlers joins them.
FEATURES = FLOORS["features"]

# What the SDK's classes do with the process-wide key.
CLASS_CALLS = {"auto_paging_iter", "cancel", "confirm", "create", "list", "modify", "retrieve", "search", "update"}


def package_files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts)


def project_files() -> list[Path]:
    folders = ("flask_valetpro_stripe", "sample_app", "migrations", "tests", "tools", "bench")
    found = [path for folder in folders for path in sorted((PROJECT / folder).rglob("*.py"))]
    return [path for path in found if "__pycache__" not in path.parts]


def in_project(path: Path) -> str:
    return str(path.relative_to(PROJECT))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_of(path: Path) -> str:
    """Return the module's name within the package; "" is the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    place = PACKAGE.joinpath(*name.split(".")) if name else PACKAGE
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


def imports_of(path: Path) -> set[str]:
    """Return the modules of the package that a file imports at run time, wherever in the file it does so."""
    found: set[str] = set()
    for node in _at_run_time(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{_absolute(node, path)}.{alias.name}" for alias in node.names}
    ours = {name.removeprefix(NAME).removeprefix(".") for name in found if name.split(".")[0] == NAME}
    return {name if is_module(name) else name.rpartition(".")[0] for name in ours}


def _at_run_time(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
            yield child
            yield from _at_run_time(child)


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    if not node.level:
        return node.module or ""
    folder = [NAME, *path.relative_to(PACKAGE).parent.parts]
    base = folder[: len(folder) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base)


def room_of(module: str) -> str:
    """Return the entry of FLOORS that the module belongs to, the longest that fits."""
    fitting = [room for room in FLOOR_OF if module == room or (room and module.startswith(f"{room}."))]
    assert fitting, f"{NAME}.{module} is on no floor: give it one in FLOORS, and in docs/2-how-it-works.md."
    return max(fitting, key=len)


def is_aside(module: str) -> bool:
    return module.split(".")[0] == "testing"


def main_files() -> list[Path]:
    return [path for path in package_files() if not is_aside(module_of(path))]


def main_imports() -> Iterator[tuple[str, str, str]]:
    """Give each import within the package, the simulator aside, as file, room and imported module."""
    for path in main_files():
        for imported in imports_of(path):
            yield in_project(path), room_of(module_of(path)), imported


def test_imports_point_down() -> None:
    wrong = [
        f"{file} imports {imported}, which is above it."
        for file, room, imported in main_imports()
        if not is_aside(imported) and FLOOR_OF[room_of(imported)] > FLOOR_OF[room]
    ]
    assert wrong == []


def test_only_the_sandbox_command_loads_the_simulator() -> None:
    assert {room for _, room, imported in main_imports() if is_aside(imported)} <= {"cli"}


def test_features_do_not_import_each_other_and_only_the_handlers_join_them() -> None:
    wrong = [
        f"{file} imports {imported}."
        for file, room, imported in main_imports()
        if room in FEATURES and not is_aside(imported) and room_of(imported) in set(FEATURES) - {room}
    ]
    assert wrong == []


def test_the_simulator_imports_nothing_of_the_package_but_public_names() -> None:
    public = {"", "errors", "money", "signals", "payments", "insights"}
    aside = [path for path in package_files() if is_aside(module_of(path))]
    wrong = [(in_project(path), name) for path in aside for name in imports_of(path) if not is_aside(name)]
    assert [(file, name) for file, name in wrong if name not in public] == []


@pytest.mark.slow("reads every test file")
def test_no_test_file_imports_from_another() -> None:
    tests = [path for path in project_files() if path.is_relative_to(PROJECT / "tests")]
    assert len(tests) > 100
    wrong = [f"{in_project(path)}:{line}" for path in tests for line, name in _imports_in(path) if _is_test(name)]
    assert wrong == [], "What several test files need goes into a module of its own beside them."


def _imports_in(path: Path) -> Iterator[tuple[int, str]]:
    """Give the line and the dotted name of each thing that a file imports."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            source = f"{node.module or ''}." if isinstance(node, ast.ImportFrom) else ""
            yield from ((node.lineno, f"{source}{alias.name}") for alias in node.names)


def _is_test(name: str) -> bool:
    """Tell whether a dotted name is that of a test file, or of something in it."""
    return any(word.startswith("test_") for word in name.split("."))


#: Calls that fail when something is not as it should be, and what an assert statement counts as.
CHECKS = {"raises", "warns", "fail", "expect", "assert"}


@pytest.mark.slow("reads every test file")
def test_every_test_asserts_something_itself_or_by_a_helper() -> None:
    trees = map(tree_of, (PROJECT / "tests").rglob("*.py"))
    functions = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    called = {function: _called_in(function) for function in functions}
    tests = [function for function in functions if function.name.startswith("test_")]
    checking = set(CHECKS)
    while more := {f.name for f in set(functions) - set(tests) if called[f] & checking} - checking:
        checking |= more

    assert len(tests) > 2000
    assert [test.name for test in tests if not called[test] & checking] == []


def _called_in(function: ast.AST) -> set[str]:
    """Return the names that a function calls."""
    names = set[str]()
    for node in ast.walk(function):
        if isinstance(node, ast.Assert):
            names.add("assert")
        elif isinstance(node, ast.Call):
            names.add(node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", ""))
    return names


def test_a_module_is_one_idea_and_says_it() -> None:
    too_long = [path for path in package_files() if len(path.read_text(encoding="utf-8").splitlines()) > MAX_LINES]
    silent = [path for path in package_files() if tree_of(path).body and not ast.get_docstring(tree_of(path))]
    assert [in_project(path) for path in too_long] == [], "Find the second idea, and give it a module of its own."
    assert [in_project(path) for path in silent] == [], "The docstring's first line says what the module is."
    assert [in_project(path) for path in package_files() if path.stem == "utils"] == []


def attributes(files: list[Path]) -> Iterator[tuple[str, list[str], ast.Attribute]]:
    """Give each dotted name of the files with its place and its words."""
    for path in files:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Attribute):
                yield f"{in_project(path)}:{node.lineno}: {ast.unparse(node)}", ast.unparse(node).split("."), node


def test_nobody_uses_the_process_wide_side_of_the_sdk() -> None:
    """Ruff bans the names that it can resolve; these are the patterns that it cannot say."""
    wrong = [
        place
        for place, words, node in attributes(project_files())
        if node.attr.endswith("_without_verification")
        or words[:2] == ["stripe", "Webhook"]
        or (words[0] == "stripe" and words[-2][:1].isupper() and words[-1] in CLASS_CALLS)
    ]
    assert wrong == [], "These act with the process-wide key, or without a signature. Use a bound client."


def test_nobody_sets_anything_on_the_sdk() -> None:
    others = [path for path in project_files() if path != Path(__file__)]
    wrong = [
        place
        for place, words, node in attributes(others)
        if isinstance(node.ctx, ast.Store | ast.Del) and words[0] == "stripe" and len(words) == 2
    ]
    assert wrong == []


def test_nobody_reads_the_unsigned_account_header_of_a_webhook() -> None:
    reading = re.compile(r"""headers(\.get\(|\[)["']Stripe-Account["']""", re.IGNORECASE)
    wrong = [in_project(path) for path in main_files() if reading.search(path.read_text(encoding="utf-8"))]
    assert wrong == [], "Anybody can send that header. The account is in the signed body."


@pytest.mark.parametrize("path", [*LOCKS, PROJECT / "package-lock.json"], ids=in_project)
def test_a_lock_names_no_address_so_that_every_mirror_will_do(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"https?://|file:|\"resolved\"|--(extra-)?index-url|--find-links", text)


@pytest.mark.parametrize("path", LOCKS, ids=in_project)
def test_every_locked_package_has_a_hash(path: Path) -> None:
    entries = re.split(r"\n(?=[a-z0-9])", path.read_text(encoding="utf-8"))
    assert [entry.split()[0] for entry in entries if "==" in entry and "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("lock", ["dev", "sample"])
def test_the_lock_holds_what_the_project_asks_for(lock: str) -> None:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["sample"]]
    locked = (PROJECT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    versions = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", locked, re.MULTILINE))
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(versions[requirement.name]), f"{requirement}: run 'make lock'."


def make_source(folder: Path) -> Path:
    """Return a copy of what a wheel is built from, so that the checkout stays clean, with strangers beside it."""
    source = folder / "source"
    copytree(PACKAGE, source / NAME, ignore=ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.cfg", "setup.py", "LICENSE", "README.md"):
        (source / name).write_bytes((PROJECT / name).read_bytes())
    for stranger in ("sample_app", "tests", "migrations"):
        (source / stranger).mkdir()
        (source / stranger / "__init__.py").touch()
    return source


def build_wheel(source: Path) -> subprocess.CompletedProcess[str]:
    command = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    return subprocess.run([sys.executable, "-c", command, ".."], cwd=source, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The names of the files in the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    built = build_wheel(make_source(folder))
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return archive.namelist()


def test_the_wheel_holds_every_file_of_the_package(wheel: list[str]) -> None:
    wanted = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {in_project(path) for path in wanted} <= set(wheel)
    assert f"{NAME}/py.typed" in wheel


def test_the_wheel_holds_nothing_but_the_package(wheel: list[str]) -> None:
    assert {name.split("/")[0] for name in wheel} == {NAME, "flask_valetpro_stripe-0.1.0.dist-info"}


def test_a_clone_without_htmx_builds_no_wheel_and_says_what_brings_it(tmp_path: Path) -> None:
    source = make_source(tmp_path)
    (source / NAME / "static" / "valetpro_stripe" / "htmx.min.js").unlink()

    built = build_wheel(source)

    assert built.returncode != 0
    assert "htmx.min.js is missing, and the settings pages load it. Run 'make assets'" in built.stderr
    assert list(tmp_path.glob("*.whl")) == []


def test_the_wheel_announces_no_entry_points_that_load_us_into_strangers_apps(wheel: list[str]) -> None:
    assert [name for name in wheel if name.endswith("entry_points.txt")] == []


def test_ci_calls_make_test_and_nothing_else() -> None:
    script = PROJECT / ".ci" / "run"
    assert script.read_text(encoding="utf-8") == "#!/usr/bin/env bash\nset -euo pipefail\nexec make test\n"
    assert script.stat().st_mode & 0o100


def test_a_test_that_sets_the_global_key_fails_and_the_next_one_starts_clean() -> None:
    with pytest.raises(AssertionError, match=r"changed stripe\.api_key"), untouched_stripe_module():
        stripe.api_key = "sk_test_global"  # noqa: TID251  it is what the guard is there for
    assert stripe.api_key is None  # noqa: TID251


def test_a_test_that_leaves_this_machine_fails_even_when_a_thread_swallows_the_error() -> None:
    def call_home() -> None:
        with suppress(OSError):
            create_connection(("192.0.2.1", 443), timeout=0.1)

    def run_in_thread() -> None:
        thread = Thread(target=call_home)
        thread.start()
        thread.join()

    with pytest.raises(AssertionError, match=r"192\.0\.2\.1"), only_loopback():
        run_in_thread()


@pytest.mark.skipif(sys.platform == "darwin", reason="A browser in /Applications can't be hidden from it.")
@pytest.mark.parametrize("ci, answer", [("true", 1), ("", 0)])
def test_a_missing_part_is_named_with_the_command_that_installs_it_and_fails_only_ci(ci: str, answer: int) -> None:
    looked = subprocess.run(
        [sys.executable, "tools/system_parts.py", "chromium"],
        cwd=PROJECT,
        env={"PATH": "/nowhere", "CI": ci},
        capture_output=True,
        text=True,
    )
    assert looked.returncode == answer
    assert "Chromium is missing. Install it with:" in looked.stderr
    assert re.search(r"^    (sudo apt-get|brew) install .*chromium$", looked.stderr, re.MULTILINE)
