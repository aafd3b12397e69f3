"""What is installed is whole: code, SQL, pages and templates of all four folders, and it works from anywhere.

Both roads are built, offline: the wheel that pip makes of a checkout, and the one made of the source distribution. A
build that misses the four folders (a checkout without its links) does not fail by itself; only this test sees it.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = ("runtime", "actors", "http", "storage")
NEEDED = ("src", *FOLDERS, "pyproject.toml", "README.md", "LICENSE")
ENDINGS = {".py", ".sql", ".html", ".js", ".css", ".svg", ".j2", ".typed"}


@dataclass(frozen=True)
class Built:
    wheel: Path
    from_checkout: set[str]
    from_sdist: set[str]
    sdist: set[str]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A copy of the checkout, so that neither build/ nor egg-info is left in ours."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, symlinks=True, ignore=is_not_ours)
        else:
            shutil.copy(ROOT / name, checkout / name)
    build(checkout, "--wheel", "--outdir", "straight")
    build(checkout, "--outdir", "through-sdist")
    (straight,), (through,) = (list((checkout / folder).glob("*.whl")) for folder in ("straight", "through-sdist"))
    (sdist,) = (checkout / "through-sdist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    return Built(straight, members(straight), members(through), names)


def is_not_ours(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__" or name.endswith(".egg-info")]


def build(checkout: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "build", "--no-isolation", *arguments]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def members(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def expected() -> set[str]:
    """Every file of the package as the wheel should call it."""
    found = {f"greenroom/{path.relative_to(ROOT / 'src/greenroom')}" for path in own_files(ROOT / "src" / "greenroom")}
    for folder in FOLDERS:
        found |= {f"greenroom/{folder}/{path.relative_to(ROOT / folder)}" for path in own_files(ROOT / folder)}
    return found


def own_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in ENDINGS and "__pycache__" not in path.parts]


def test_the_wheel_holds_every_file_of_all_four_folders(built: Built):
    assert built.from_checkout == expected()
    for folder, ending in (("storage", ".sql"), ("actors", ".j2"), ("http", ".html"), ("runtime", ".py")):
        held = [name for name in built.from_checkout if name.startswith(f"greenroom/{folder}/")]
        assert any(name.endswith(ending) for name in held), f"no {ending} of {folder}"


def test_the_source_distribution_gives_the_same_wheel(built: Built):
    assert built.from_sdist == built.from_checkout


def test_tests_and_benchmarks_are_not_installed(built: Built):
    assert {name.split("/")[0] for name in built.from_checkout} == {"greenroom"}


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, installed from the wheel in a virtual environment that takes everything else from ours."""
    venv = tmp_path_factory.mktemp("elsewhere") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=60)
    python = venv / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    install = [*pip, "install", "--quiet", "--no-index", "--no-deps", str(built.wheel)]
    subprocess.run(install, check=True, capture_output=True, timeout=120)
    (site_packages,) = venv.glob("lib/python*/site-packages")
    # A plain path: .pth files in there, such as that of our editable installation, are not read.
    (site_packages / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv / "bin" / "greenroom"


def run(program: Path, *arguments: str, data: Path) -> str:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [program, *arguments],
        cwd=data.parent,
        env={**kept, "GREENROOM_DATA_DIR": str(data), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_installed_runs_in_any_folder(installed: Path, open_folder: Path):
    data = open_folder / "data"
    python = installed.parent / "python"
    where = run(python, "-c", "import greenroom.http.app as app; print(app.__file__)", data=data)
    assert where.startswith(str(installed.parent.parent)), where
    assert "Usage: greenroom" in run(installed, "--help", data=data)
    assert f"GREENROOM_DATA_DIR = {data}" in run(installed, "config", data=data)
    assert "applied 0001_rooms_live.sql" in run(installed, "migrate", data=data)
