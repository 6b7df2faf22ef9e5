"""Keys and passwords that the README has people make in this folder: git does not see them."""

import re
import shutil
import subprocess

import pytest

from tests.deployed import DEPLOY, ROOT, documented

README = (DEPLOY / "README.md").read_text()
# compose's steps run in deploy/, the others in the root
PLACES = ("", "deploy/")


def secret_files() -> set[str]:
    """Return the files with secrets that commands of the README name, as they name them."""
    made = set(re.findall(r"-(?:keyout|out) (\S+)", documented("certificate")))
    read = set(re.findall(r"--from-(?:file|env-file)=(\S+)", README))
    copied = set(re.findall(r"cp env\.example (\S+)", README))
    return made | read | copied


@pytest.mark.parametrize("place", PLACES)
def test_git_ignores_every_secret_that_the_readme_makes(place, tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    assert secret_files() == {"tls/cert.pem", "tls/key.pem", "s3.env", ".env"}
    paths = [f"{place}{name}" for name in sorted(secret_files())]
    seen = subprocess.run(
        ["git", "check-ignore", *paths], cwd=tmp_path, capture_output=True, text=True
    )
    assert seen.stdout.split() == paths


def test_git_sees_what_is_filled_in(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    shutil.copy(ROOT / ".gitignore", tmp_path)
    examples = ["deploy/env.example", "deploy/slurm/environment.example", "deploy/dask/tls.yaml"]
    seen = subprocess.run(["git", "check-ignore", *examples], cwd=tmp_path, capture_output=True)
    assert seen.stdout == b""
