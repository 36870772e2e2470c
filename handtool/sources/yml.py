"""YAML files of data sets: plain values, no objects."""

from pathlib import Path

from handtool.errors import DamagedFile, HandtoolError

LARGEST = 1 << 20  # bytes


def read_yml(path: Path) -> dict:
    """The mapping in a small YAML file. Raises HandtoolError where it, the mapping or PyYAML is missing."""
    try:
        import yaml  # an extra: one set needs it
    except ModuleNotFoundError:
        raise HandtoolError(
            f"{path.name} is YAML, and PyYAML is not installed", hint="pip install 'handtool[datasets]'"
        ) from None
    try:
        if path.stat().st_size > LARGEST:
            raise DamagedFile(f"{path} has {path.stat().st_size} bytes, more than a file of settings")
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        found = (
            ", ".join(sorted(each.name for each in path.parent.iterdir())[:5])
            if path.parent.is_dir()
            else "no such folder"
        )
        raise HandtoolError(
            f"{path} cannot be read ({error.strerror}); beside it: {found or 'nothing'}", hint="unpacked to its end?"
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DamagedFile(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise DamagedFile(f"{path} holds {type(content).__name__}, looked for a mapping")
    return content
