"""Arrows between rooms go down only, and no room is heavier than it must be."""

import ast
from pathlib import Path

import pytest

HOUSE = Path(__file__).resolve().parents[1] / "handtool"
GROUND = set("own_time cores addresses bounded archives names config errors progress accounting signals".split())
ROOMS = {
    "cli": {"stages", "store"},
    "api": {"cli", "stages", "store", "nn"},
    "stages": {
        "store",
        "hands",
        "sources",
        "vision",
        "search",
        "mining",
        "extraction",
        "exporting",
        "engine",
        "nn",
        "synth",
        "render",
        "lerobot",
    },
    "lerobot": {"store", "hands", "sources", "vision", "render"},
    "extraction": {"store", "hands", "sources", "vision", "engine"},
    "exporting": {"store", "hands", "sources"},
    "mining": {"store", "hands", "search", "engine"},
    "sources": {"hands"},
    "vision": {"hands"},
    "synth": {"hands"},
    "render": {"hands"},
    "nn/training": {"nn/models", "nn/views", "nn/files", "hands", "engine"},
    "nn/files": {"nn/models", "nn/views", "store", "hands", "engine"},
    "nn/models": {"nn/views", "hands"},
    "nn/views": {"hands"},
    "engine": set(),
    "search": set(),
    "hands": set(),
    "store": set(),
}
EXCEPTIONS = {("vision/pose_model.py", "nn/files"), ("__init__.py", "api")}
LIBRARIES = {
    "hands": {"numpy", "scipy"},
    "store": {"numpy", "h5py"},
    "search": {"numpy", "scipy", "hnswlib", "torch"},
    "synth": {"numpy", "scipy", "cv2", "torch"},
    "render": {"numpy", "cv2", "av"},
    "cli": {"typer", "rich"},
    "ground": set(),
}
FILES = sorted(HOUSE.rglob("*.py"))


def imports(path: Path) -> list[str]:
    """Every module that a file imports, wherever in the file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += (
                [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "handtool" else [node.module]
            )
    return found


def room_of(path: Path) -> str:
    parts = path.relative_to(HOUSE).parts
    return name_room(parts[:-1]) if len(parts) > 1 else "ground"


def name_room(parts: tuple[str, ...]) -> str:
    """nn has four rooms, every other folder is one."""
    return "/".join(parts[:2]) if parts[0] == "nn" else parts[0]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(HOUSE)))
def test_a_file_imports_only_rooms_below_it(path):
    room, name = room_of(path), path.relative_to(HOUSE).as_posix()
    for module in imports(path):
        parts = module.split(".")
        if parts[0] != "handtool" or len(parts) == 1:
            continue
        target = name_room(tuple(parts[1:]))
        if target in GROUND or target == "__version__" or (name, target) in EXCEPTIONS:
            continue
        if (target == room and room != "stages") or (name == "__main__.py" and target == "cli"):
            continue
        allowed = ROOMS.get(room, set())
        assert target in allowed or ("nn" in allowed and target.startswith("nn/")), f"{name} imports {module}"


@pytest.mark.parametrize("path", [p for p in FILES if room_of(p) in LIBRARIES], ids=lambda p: str(p.relative_to(HOUSE)))
def test_a_room_keeps_to_its_libraries(path):
    import sys

    for module in imports(path):
        top = module.split(".")[0]
        assert top == "handtool" or top in sys.stdlib_module_names or top in LIBRARIES[room_of(path)], (
            f"{path} imports {module}"
        )


def test_the_arrow_test_would_see_a_forbidden_arrow():
    assert "handtool.nn.models.encoder" in imports_of_text("def f():\n    from handtool.nn.models.encoder import x")
    assert (
        "nn/models" not in ROOMS["nn/views"]
        and "nn/training" not in ROOMS["nn/files"]
        and "stages" not in ROOMS["engine"]
    )


def imports_of_text(text: str) -> list[str]:
    return [node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]


def test_no_file_lies_outside_the_rooms():
    rooms = {room_of(path) for path in FILES if path.parent not in (HOUSE, HOUSE / "nn")} - {"ground"}
    assert rooms == set(ROOMS)


def test_every_name_on_a_command_line_stands_for_something():
    from handtool import config
    from handtool.nn.models import encoder, pose_model
    from handtool.nn.models.losses.adaptive_weights import KINDS
    from handtool.nn.models.objectives import hard_contrast
    from handtool.sources import datasets
    from handtool.vision import detectors, estimators

    assert set(config.DETECTORS) == set(detectors.DETECTORS)
    assert set(config.ESTIMATORS) == {"auto", "labels", *estimators.ESTIMATORS}
    assert set(config.DATASETS) == set(datasets.SETS) and set(config.ARCHS) <= set(encoder.ENCODERS)
    assert set(config.WEIGHT_KINDS) == {"none", *KINDS}
    assert set(config.HEAD_PRESETS) == set(pose_model.HEADS)
    assert {method.loss for method in config.METHODS.values()} <= set(hard_contrast.LOSSES)


def files_of_a_circle(graph: dict[str, set[str]]) -> list[str]:
    """The files that are left when those that import nothing of the rest are taken away again and again, from both
    ends."""
    left = dict(graph)
    while True:
        imported = set().union(*left.values()) if left else set()
        ends = [name for name, targets in left.items() if not targets & set(left) or name not in imported]
        if not ends:
            return sorted(left)
        left = {name: targets for name, targets in left.items() if name not in ends}


def test_no_files_import_each_other_in_a_circle_not_even_lazily():
    names = {
        ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES
    }
    graph = {}
    for name, path in names.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= whole & set(names) or {node.module}
        graph[name] = found & set(names) - {name, "handtool"}  # the root has the version and, lazily, the public names
    assert files_of_a_circle(graph) == []
    assert files_of_a_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == ["b", "c"]
