"""E-mail over HTTP: who may send, what is answered, and that the answer is a promise."""

import json
from contextlib import asynccontextmanager

import trio

from greenroom.actors.provider_queue.actor import provider_queue_kinds
from greenroom.actors.provider_queue.post_office import PostOffice
from greenroom.actors.provider_queue.state import QueuePolicy
from greenroom.actors.providers.accounts import EmailSettings, open_providers
from greenroom.http.app import make_app
from greenroom.http.auth import Authenticator
from greenroom.http.checkup import Checkup
from greenroom.http.development import DevelopmentGate
from greenroom.http.origins import Origins, Proxies
from greenroom.http.rest.email import MailBatchWrite, email_operations
from greenroom.http.services import Services
from greenroom.http.tickets import Tickets
from greenroom.runtime import StorageUnavailable, open_system
from greenroom.settings import load_settings
from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.postgres.api_keys import ApiKeys
from greenroom.storage.postgres.committer import PostgresCommitter
from greenroom.storage.postgres.ids import user_ids
from greenroom.storage.postgres.outbox import Outbox
from greenroom.storage.postgres.pool import open_postgres
from greenroom.storage.postgres.sessions import Sessions
from greenroom.storage.postgres.users import Users

MAIL = {"to": "user@example.com", "subject": "Hello", "text": "t"}


class Door:
    """The HTTP side of the e-mail side, and keys to it."""

    def __init__(self, client, keys, folder):
        self.client = client
        self.keys = keys
        self.folder = folder

    async def key(self, *scopes, role="service"):
        return (await self.keys.create(name="test", role=role, scopes=scopes))[1]

    async def post(self, path, body, key=None, **headers):
        given = {"Authorization": f"Bearer {key}"} if key else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.client.post(f"/api/email/{path}", json=body, headers=given | named)
        return response.status_code, await response.get_json(), response.headers

    async def get(self, path, key=None):
        given = {"Authorization": f"Bearer {key}"} if key else {}
        response = await self.client.get(f"/api/email/{path}", headers=given)
        return response.status_code, await response.get_json()


@asynccontextmanager
async def open_door(database, tmp_path):
    policy = QueuePolicy(("folder",), poll_ms=500)
    async with (
        open_asyncio_bridge() as bridge,
        open_postgres(bridge, database.connect_arguments()) as postgres,
        open_providers(EmailSettings(data_dir=tmp_path), lambda: 0) as providers,
        trio.open_nursery() as nursery,
    ):
        committer, outbox = PostgresCommitter(postgres), Outbox(postgres)
        nursery.start_soon(committer.run)
        async with open_system(provider_queue_kinds(outbox, providers, policy), committer=committer) as system:
            office = PostOffice(outbox, system, policy)
            nursery.start_soon(office.run)
            app = make_app(services(postgres), [email_operations(office)])
            yield Door(app.test_client(), ApiKeys(postgres), tmp_path / "mail")
        nursery.cancel_scope.cancel()


def services(postgres):
    settings, keys = load_settings({}), ApiKeys(postgres)
    users, sessions = Users(postgres, user_ids(postgres)), Sessions(postgres)
    return Services(
        settings=settings,
        users=users,
        sessions=sessions,
        authenticator=Authenticator(users=users, sessions=sessions, api_keys=keys, jwt_secret=b"x" * 32),
        tickets=Tickets(),
        origins=Origins.from_settings(settings),
        proxies=Proxies(),
        development=DevelopmentGate(settings),
        checkup=Checkup({}),
    )


async def test_a_mail_is_taken_with_202_and_an_id_whose_story_ends_in_the_folder(database, tmp_path):
    async with open_door(database, tmp_path) as door:
        key = await door.key("email:send")
        status, answer, _ = await door.post("send", MAIL, key)
        assert (status, answer["success"]) == (202, True)
        email_id = answer["data"]["id"]
        with trio.fail_after(5):
            while (await door.get(f"{email_id}/status", key))[1]["data"]["status"] != "sent":  # noqa: ASYNC110
                await trio.sleep(0.01)
        assert (door.folder / f"{email_id}.eml").exists()


async def test_both_guides_bodies_are_taken_and_so_is_a_batch(database, tmp_path):
    async with open_door(database, tmp_path) as door:
        key = await door.key("email:send")
        guide_a = {**MAIL, "templateType": "welcome", "variables": {"name": "John"}}
        guide_b = {"to": "user@example.com", "subject": "S", "template": "welcome", "data": {"name": "John"}}
        template = {"templateType": "nda_request", "to": "i@example.com", "variables": {}, "priority": "high"}
        assert (await door.post("send", guide_a, key))[0] == 202
        assert (await door.post("send", guide_b, key))[0] == 202
        assert (await door.post("template", template, key))[0] == 202
        status, answer, _ = await door.post("batch", {"emails": [guide_a, guide_b]}, key)
        assert (status, answer["data"]["success"], len(answer["data"]["results"])) == (202, 2, 2)


async def test_only_keys_with_the_scope_and_administrators_may_send(database, tmp_path):
    async with open_door(database, tmp_path) as door:
        assert (await door.post("send", MAIL))[0] == 401
        assert (await door.post("send", MAIL, await door.key("users:write")))[0] == 403
        assert (await door.post("send", "not even a mail", await door.key()))[0] == 403
        assert (await door.post("send", MAIL, await door.key(role="admin")))[0] == 202


async def test_the_story_of_a_mail_is_for_who_handed_it_in_and_administrators(database, tmp_path):
    async with open_door(database, tmp_path) as door:
        mine, other = await door.key("email:send"), await door.key("email:send")
        email_id = (await door.post("send", MAIL, mine))[1]["data"]["id"]
        assert (await door.get(f"{email_id}/status", mine))[0] == 200
        assert (await door.get(f"{email_id}/status", other))[0] == 404
        assert (await door.get(f"{email_id}/status", await door.key(role="admin")))[0] == 200
        assert (await door.get("em_nothing/status", mine))[0] == 404
        assert (await door.get(f"{email_id}/status"))[0] == 401


async def test_an_idempotency_key_gets_the_same_answer_and_conflicts_with_another_body(database, tmp_path):
    async with open_door(database, tmp_path) as door:
        key = await door.key("email:send")
        status, first, _ = await door.post("send", MAIL, key, Idempotency_Key="k1")
        again, second, headers = await door.post("send", MAIL, key, Idempotency_Key="k1")
        assert (status, again) == (202, 202)
        assert first["data"] == second["data"]
        assert headers["Idempotency-Replay"] == "true"
        conflict, answer, _ = await door.post("send", {**MAIL, "subject": "Other"}, key, Idempotency_Key="k1")
        assert (conflict, answer["error"]["code"]) == (409, "CONFLICT")
        assert (await door.post("send", MAIL, key, Idempotency_Key="with space"))[0] == 400


async def test_what_is_wrong_is_a_400_that_names_the_field_and_changes_nothing(database, tmp_path):
    async with open_door(database, tmp_path) as door:
        key = await door.key("email:send")
        for path, body, field in (
            ("send", {**MAIL, "to": "nobody"}, "to"),
            ("send", {**MAIL, "template": "no_such"}, "template"),
            ("send", {}, "to"),
            ("template", MAIL, "templateType"),
            ("batch", {"emails": []}, "emails"),
            ("batch", {"emails": [MAIL, {**MAIL, "subject": "a\r\nb"}]}, "emails.1.subject"),
        ):
            status, answer, _ = await door.post(path, body, key)
            assert (status, answer["error"]["code"]) == (400, "VALIDATION")
            assert answer["error"]["message"].startswith(field)
        for wrong in ([], "x", None):
            status, answer, _ = await door.post("send", wrong, key)
            assert (status, answer["error"]["code"]) == (400, "BAD_REQUEST")
        await trio.sleep(0.05)
        assert not door.folder.exists()


def test_what_the_documentation_says_of_a_mail_is_true_of_both_guides_bodies():
    for mail in (
        {**MAIL, "templateType": "welcome", "variables": {"name": "John"}},
        {"to": ["user@example.com"], "template": "welcome", "data": {"name": "John"}, "sendAt": "2026-11-22T10:00:00Z"},
        {**MAIL, "attachments": [{"filename": "a.bin", "content": "eA==", "disposition": "inline", "contentId": "a"}]},
    ):
        documented = MailBatchWrite.model_validate({"emails": [mail]}).emails[0]
        assert documented.model_dump(by_alias=True, exclude_unset=True) == mail


async def test_a_mail_with_a_file_larger_than_other_bodies_may_be_is_taken(database, tmp_path):
    async with open_door(database, tmp_path) as door:
        file = {"filename": "a.bin", "content": "A" * 2 * 1024 * 1024, "type": "application/pdf"}
        assert (await door.post("send", {**MAIL, "attachments": [file]}, await door.key("email:send")))[0] == 202


async def test_anybody_may_ask_whether_mail_works_but_only_senders_see_more(database, tmp_path):
    async with open_door(database, tmp_path) as door:
        status, answer = await door.get("health")
        assert (status, answer["data"]) == (200, {"status": "healthy", "provider": "folder"})
        _, answer = await door.get("health", await door.key("email:send"))
        assert answer["data"]["accounts"][0]["account"] == "folder"
        assert "user@" not in json.dumps(answer)


async def test_however_many_ask_whether_mail_works_it_is_found_out_once_a_second(database, tmp_path, monkeypatch):
    health, asked = PostOffice.health, []

    async def count(office):
        asked.append(office)
        return await health(office)

    monkeypatch.setattr(PostOffice, "health", count)
    monkeypatch.setattr("greenroom.http.shared.SHARED_SECONDS", 1000.0)
    async with open_door(database, tmp_path) as door:
        keys = [None, await door.key("users:read")]
        answers = []

        async def ask(key):
            answers.append(await door.get("health", key))

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, keys[number % 2])
        assert len(asked) == 1
        assert [(status, set(answer["data"])) for status, answer in answers] == [(200, {"status", "provider"})] * 20
        sender = await door.key("email:send")
        for times in (2, 3):  # who may send is told how it stands now
            assert (await door.get("health", sender))[1]["data"]["depths"] == []
            assert len(asked) == times


async def test_while_storage_is_away_mail_does_not_work_and_whoever_asks_next_does_not_wait_for_it(
    database, tmp_path, monkeypatch
):
    asked = []

    async def depths(outbox):
        asked.append(outbox)
        raise StorageUnavailable("away")

    monkeypatch.setattr(Outbox, "depths", depths)
    monkeypatch.setattr("greenroom.http.shared.SHARED_SECONDS", 1000.0)
    async with open_door(database, tmp_path) as door:
        for _ in range(3):
            status, answer = await door.get("health")
            assert (status, answer["data"]) == (200, {"status": "unhealthy", "provider": "folder"})
        assert len(asked) == 1
