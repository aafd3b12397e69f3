"""storage/postgres/data_directory.py: the choice, the modes, and one process at a time."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from greenroom.storage.errors import DataDirectoryHeld, DataDirectoryUnusable
from greenroom.storage.postgres.account import Account, ourselves
from greenroom.storage.postgres.data_directory import (
    ABANDONED_SECONDS_MIN,
    LOCATION_NAME,
    LOCK_NAME,
    OWNER_NAME,
    AbandonedPlace,
    choose_data_directory,
    find_abandoned_places,
    hold_data_directory,
    hold_postgres_place,
    make_data_directory,
)

STRANGER = Account("stranger", uid=4_000_000, gid=4_000_000)
AS_ROOT = os.geteuid() == 0


@contextmanager
def placed(directory: Path, account: Account = STRANGER) -> Iterator[Path]:
    """Where PostgreSQL of the directory stands, held; the home of places lies beside the closed folder."""
    home = next(part for part in directory.parents if part.name == "closed").parent / "lib"
    with hold_data_directory(directory) as held, hold_postgres_place(held, account, home) as place:
        yield place


@pytest.fixture
def closed(open_folder: Path) -> Path:
    if not AS_ROOT:
        pytest.skip("an ordinary user runs PostgreSQL as itself, and what that user makes is closed to all others")
    folder = open_folder / "closed"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def checkout(open_folder: Path) -> Path:
    folder = open_folder / "checkout"
    folder.mkdir(mode=0o755)
    (folder / "pyproject.toml").write_text('[project]\nname = "greenroom"\n')
    return folder


def test_the_environment_decides_first(checkout):
    assert choose_data_directory("/srv/chat", checkout) == Path("/srv/chat")
    assert choose_data_directory("here", checkout) == checkout / "here"


def test_a_checkout_keeps_its_own_data(checkout):
    assert choose_data_directory(None, checkout, database_user=ourselves()) == checkout / ".greenroom"
    assert choose_data_directory("", checkout, database_user=ourselves()) == checkout / ".greenroom"


@pytest.mark.parametrize("text", ['[project]\nname = "other"\n', "not toml [", "[tool]\n"])
def test_other_folders_use_the_data_directory_of_the_user(checkout, text):
    (checkout / "pyproject.toml").write_text(text)
    home = {"XDG_DATA_HOME": str(checkout / "share")}
    chosen = choose_data_directory(None, checkout, environment=home, database_user=ourselves())
    assert chosen == checkout / "share" / "greenroom"


def test_a_relative_xdg_data_home_does_not_count(open_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(open_folder))
    home = {"XDG_DATA_HOME": "share"}
    chosen = choose_data_directory(None, open_folder, environment=home, database_user=ourselves())
    assert chosen == open_folder / ".local" / "share" / "greenroom"


def test_a_place_closed_to_the_user_of_the_database_gives_way_to_one_per_checkout(checkout, open_folder):
    other = open_folder / "other"
    other.mkdir(mode=0o755)
    (other / "pyproject.toml").write_text('[project]\nname = "greenroom"\n')
    assert choose_data_directory(None, checkout, database_user=STRANGER) == checkout / ".greenroom"
    checkout.chmod(0o700)
    other.chmod(0o700)
    system_home = open_folder / "lib"
    chosen = [
        choose_data_directory(None, place, database_user=STRANGER, system_home=system_home)
        for place in (checkout, checkout, other)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert {path.parent for path in chosen} == {system_home}


def test_a_user_without_a_home_has_to_say_where(open_folder):
    with pytest.raises(DataDirectoryUnusable, match="say where, with GREENROOM_DATA_DIR"):
        choose_data_directory("~nobody-of-that-name/data", open_folder)


def test_choosing_makes_nothing(checkout):
    before = sorted(checkout.rglob("*"))
    choose_data_directory(None, checkout)
    assert sorted(checkout.rglob("*")) == before


def test_what_we_make_can_be_listed_by_nobody_else(open_folder):
    with hold_data_directory(open_folder / "a" / "data") as directory:
        assert directory.stat().st_mode & 0o777 == (0o711 if AS_ROOT else 0o700)
        assert (directory / LOCK_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_the_mode_of_a_folder_that_was_there_stays(open_folder, mode):
    directory = open_folder / "data"
    directory.mkdir()
    directory.chmod(mode)
    with hold_data_directory(directory):
        pass
    assert directory.stat().st_mode & 0o777 == mode
    assert open_folder.stat().st_mode & 0o777 == 0o755


def test_a_folder_that_everyone_may_write_is_refused(open_folder):
    open_folder.chmod(0o777)
    with pytest.raises(DataDirectoryUnusable, match="written by everyone"):
        make_data_directory(open_folder)


def test_a_file_in_its_place_is_refused(open_folder):
    (open_folder / "data").write_text("")
    with pytest.raises(DataDirectoryUnusable, match="not a directory"):
        make_data_directory(open_folder / "data")


@pytest.mark.skipif(not AS_ROOT, reason="only root can give a folder away")
def test_root_refuses_the_folder_of_somebody_else(open_folder):
    directory = open_folder / "data"
    directory.mkdir()
    os.chown(directory, STRANGER.uid, STRANGER.gid)
    with pytest.raises(DataDirectoryUnusable, match="belongs to the user 4000000"):
        make_data_directory(directory)


@pytest.mark.skipif(AS_ROOT, reason="nothing is closed to root")
def test_a_folder_that_cannot_be_written_is_refused(open_folder):
    open_folder.chmod(0o500)
    with pytest.raises(DataDirectoryUnusable, match="Permission denied"):
        make_data_directory(open_folder / "data")


def test_a_second_use_is_refused_with_the_pid_of_the_first(open_folder):
    with (
        hold_data_directory(open_folder / "data"),
        pytest.raises(DataDirectoryHeld, match=f"the process {os.getpid()}") as refused,
        hold_data_directory(open_folder / "data"),
    ):
        pass
    assert refused.value.pid == os.getpid()
    with hold_data_directory(open_folder / "data"):
        pass


def test_death_lets_go(open_folder):
    code = f"""
import time
from pathlib import Path
from greenroom.storage.postgres.data_directory import hold_data_directory
with hold_data_directory(Path({str(open_folder / "data")!r})):
    print("held", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DataDirectoryHeld) as refused, hold_data_directory(open_folder / "data"):
            pass
        assert refused.value.pid == holder.pid
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with hold_data_directory(open_folder / "data"):
            assert (open_folder / "data" / LOCK_NAME).read_text() == f"{os.getpid()}\n"


def test_the_lock_is_no_link_to_elsewhere(open_folder):
    directory = make_data_directory(open_folder / "data")
    (directory / LOCK_NAME).symlink_to(open_folder / "elsewhere")
    with pytest.raises(DataDirectoryUnusable, match="cannot be locked"), hold_data_directory(directory):
        pass
    assert not (open_folder / "elsewhere").exists()


@pytest.mark.parametrize(("mode", "enters"), [(0o700, False), (0o710, False), (0o701, True), (0o755, True)])
def test_entering_needs_x_on_every_parent(open_folder, mode, enters):
    parent = open_folder / "parent"
    parent.mkdir()
    parent.chmod(mode)
    assert STRANGER.can_enter(parent / "not" / "yet") is enters
    assert STRANGER.closed_part(parent / "not" / "yet") == (None if enters else parent)


# --- The place of PostgreSQL, when its user cannot enter the data directory


def test_postgresql_stands_in_the_data_directory_when_its_user_can_enter(open_folder):
    for account in (ourselves(), STRANGER):
        (open_folder / "data").mkdir(mode=0o755, exist_ok=True)
        with hold_postgres_place(open_folder / "data", account, open_folder / "lib") as place:
            assert place == open_folder / "data"
    assert not (open_folder / "lib").exists()


def test_else_it_gets_a_place_of_its_own_and_each_names_the_other(closed, open_folder):
    with placed(closed / "data") as place:
        assert place.parent == open_folder / "lib"
        assert (closed / "data" / LOCATION_NAME).read_text() == f"{place}\n"
        assert (place / OWNER_NAME).read_text() == f"{closed / 'data'}\n"
        assert (closed / "data" / LOCATION_NAME).stat().st_mode & 0o777 == 0o600
        assert (place / LOCK_NAME).read_text() == f"{os.getpid()}\n"
    assert closed.stat().st_mode & 0o777 == 0o700


def test_the_place_is_found_again_also_when_the_folder_was_opened_or_moved(closed, open_folder):
    with placed(closed / "data") as place:
        pass
    with placed(closed / "data") as again:
        assert again == place
    (closed / "data").rename(closed / "moved")
    with placed(closed / "moved") as again:
        assert again == place
        assert (place / OWNER_NAME).read_text() == f"{closed / 'moved'}\n"
    closed.chmod(0o755)
    with placed(closed / "moved") as again:
        assert again == place
    assert list((open_folder / "lib").iterdir()) == [place]


def test_two_data_directories_have_two_places(closed):
    with placed(closed / "one") as one, placed(closed / "two") as two:
        assert one != two


def test_one_that_was_made_anew_has_a_new_place(closed):
    with placed(closed / "data") as first:
        pass
    shutil.rmtree(closed / "data")
    with placed(closed / "data") as second:
        assert second != first
    assert first.exists()


def test_a_copy_is_refused_whether_the_first_runs_or_not(closed):
    with placed(closed / "data") as place:
        shutil.copytree(closed / "data", closed / "copy")
        with pytest.raises(DataDirectoryUnusable, match=r"is a copy of .*data.*remove .*copy/postgres.location"):
            placed(closed / "copy").__enter__()
    with pytest.raises(DataDirectoryUnusable, match="is a copy of"):
        placed(closed / "copy").__enter__()
    assert (place / OWNER_NAME).read_text() == f"{closed / 'data'}\n"


def test_a_copy_is_refused_with_the_pid_when_the_first_was_removed_while_it_runs(closed):
    with placed(closed / "data") as place:
        shutil.copytree(closed / "data", closed / "copy")
        shutil.rmtree(closed / "data")
        with pytest.raises(DataDirectoryHeld, match=str(place)) as refused:
            placed(closed / "copy").__enter__()
        assert refused.value.pid == os.getpid()


def test_a_place_that_is_gone_is_not_replaced_by_an_empty_one(closed):
    with placed(closed / "data") as place:
        pass
    shutil.rmtree(place)
    with pytest.raises(DataDirectoryUnusable, match=r"not there any more.*remove .*postgres.location"):
        placed(closed / "data").__enter__()
    (closed / "data" / LOCATION_NAME).unlink()
    with placed(closed / "data") as again:
        assert again != place


@pytest.mark.parametrize("target", ["outside", "lib/of-another-kind", ""])
def test_a_location_that_names_what_we_did_not_make_is_refused(closed, open_folder, target):
    (open_folder / target).mkdir(parents=True, exist_ok=True)
    make_data_directory(closed / "data")
    (closed / "data" / LOCATION_NAME).write_text(f"{open_folder / target}\n")
    with pytest.raises(DataDirectoryUnusable, match="not there any more"):
        placed(closed / "data").__enter__()


def test_a_location_that_is_a_link_is_refused(closed):
    make_data_directory(closed / "data")
    (closed / "data" / LOCATION_NAME).symlink_to(closed / "elsewhere")
    with pytest.raises(DataDirectoryUnusable, match=r"postgres\.location that cannot be read"):
        placed(closed / "data").__enter__()


@pytest.mark.parametrize("mode", [0o775, 0o700])
def test_a_home_of_places_that_cannot_be_trusted_or_entered_is_refused(closed, open_folder, mode):
    (open_folder / "lib").mkdir()
    (open_folder / "lib").chmod(mode)
    with pytest.raises(DataDirectoryUnusable, match="written by others" if mode == 0o775 else "cannot enter"):
        placed(closed / "data").__enter__()
    assert not list((open_folder / "lib").iterdir())
    assert (open_folder / "lib").stat().st_mode & 0o777 == mode


def test_abandoned_are_those_that_nobody_names_holds_or_started_for_a_day(closed, open_folder):
    home = open_folder / "lib"

    def age(place: Path, seconds: float) -> None:
        started = (place / LOCK_NAME).stat().st_mtime - seconds
        os.utime(place / LOCK_NAME, (started, started))

    with placed(closed / "gone") as gone, placed(closed / "young") as young, placed(closed / "there") as there:
        pass
    for name in ("gone", "young"):
        shutil.rmtree(closed / name)
    age(gone, ABANDONED_SECONDS_MIN + 60)
    age(there, ABANDONED_SECONDS_MIN + 60)
    age(young, ABANDONED_SECONDS_MIN - 60)
    assert find_abandoned_places(home) == [AbandonedPlace(gone, closed / "gone")]
    with hold_data_directory(gone):
        age(gone, ABANDONED_SECONDS_MIN + 60)
        assert find_abandoned_places(home) == []
    assert find_abandoned_places(open_folder / "missing") == []
