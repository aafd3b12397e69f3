"""The secret of the data directory."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from greenroom.secret_file import NAME, SecretUnusable, jwt_secret


def test_the_secret_is_made_once_and_stays(tmp_path: Path):
    secret = jwt_secret(tmp_path)
    assert len(secret) >= 32
    assert jwt_secret(tmp_path) == secret
    assert [file.name for file in tmp_path.iterdir()] == [NAME]


def test_nobody_else_may_read_it(tmp_path: Path):
    jwt_secret(tmp_path)
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o600


def test_all_who_start_at_once_get_the_same_secret(tmp_path: Path):
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(lambda _: jwt_secret(tmp_path), range(64)))) == 1


def test_two_directories_have_two_secrets(tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert jwt_secret(tmp_path / "a") != jwt_secret(tmp_path / "b")


@pytest.mark.parametrize("text", ["", "short", "\n" * 40])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, text: str):
    (tmp_path / NAME).write_text(text)
    (tmp_path / NAME).chmod(0o600)
    with pytest.raises(SecretUnusable, match="remove it"):
        jwt_secret(tmp_path)


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path):
    jwt_secret(tmp_path)
    (tmp_path / NAME).chmod(0o644)
    with pytest.raises(SecretUnusable, match="chmod 600"):
        jwt_secret(tmp_path)


def test_a_symbolic_link_is_not_followed(tmp_path: Path):
    (tmp_path / "elsewhere").write_text("x" * 64)
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        jwt_secret(tmp_path)
