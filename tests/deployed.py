"""Where the files of deploy/ are, and what every test of them needs."""

import re
from pathlib import Path
from typing import Any

import yaml
from prefect.settings.models.root import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
# settings whose value nobody may write into a file
SECRET = re.compile(r"PASSWORD|AUTH_STRING|SECRET|ACCESS_KEY|TOKEN|CONNECTION_URL")


def load(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


def prefect_variables() -> set[str]:
    """Return every environment variable that Prefect reads as a setting."""

    def names(model: Any, prefix: str) -> set[str]:
        found = set[str]()
        for name, field in model.model_fields.items():
            if hasattr(field.annotation, "model_fields"):
                found |= names(field.annotation, f"{prefix}{name}_")
            else:
                found.add(f"{prefix}{name}".upper())
        return found

    return names(Settings, "PREFECT_")


def documented(kind: str) -> str:
    """Return the commands of a block of the README that is named in a comment before it."""
    text = (DEPLOY / "README.md").read_text()
    return re.search(rf"<!-- {kind} -->\n```sh\n(.*?)```", text, re.DOTALL)[1]


def in_containers(what: str) -> set[str]:
    """Return what the README runs in containers by a shell of theirs and that holds some words."""
    text = (DEPLOY / "README.md").read_text()
    return {one for one in re.findall(r"exec .*sh -c '([^']+)'", text) if what in one}
