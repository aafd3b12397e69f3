"""The page at `/` and what it shows: there for development only, and safe to look at."""

import json
import os
from email.message import EmailMessage
from pathlib import Path

import pytest

from greenroom.http.console.caught_mail import MAILS_MAX
from greenroom.http.development import KEY_COOKIE

pytestmark = pytest.mark.parametrize("house_settings", [{"environment": "development"}])

ALL_GATED = [
    "/console/static/main.js",
    "/console/static/style.css",
    "/api/dev/statistics",
    "/api/dev/mail",
    "/api/dev/mail/a.eml",
    "/api/dev/mail/a.eml/html",
]


def key_of(house):
    return house.app.config["SERVICES"].development.key


async def look(house, path, *, key="cookie", **headers):
    """The answer to a browser on this machine that has the key in a cookie, in the query, or not at all."""
    if key == "cookie":
        headers["Cookie"] = f"{KEY_COOKIE}={key_of(house)}"
    elif key == "query":
        path = f"{path}?key={key_of(house)}"
    return await house.app.test_client(use_cookies=False).get(path, headers={"Host": "127.0.0.1:8787", **headers})


async def data_of(response):
    assert response.status_code == 200, await response.get_data(as_text=True)
    return json.loads(await response.get_data())["data"]


# -- the gate ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def closed(request, house):
    """A house of which one condition of the gate does not hold, and the headers that break it."""
    if request.param == "not development":
        house.app.config["SERVICES"].development.is_open = False  # as made with another ENVIRONMENT or HOST
        return house, {}
    return house, {
        "no key": {"key": None},
        "wrong key": {"key": None, "Cookie": f"{KEY_COOKIE}=guess"},
        "foreign host": {"Host": "evil.example"},
        "behind a proxy": {"X-Forwarded-For": "127.0.0.1"},
        "forwarded": {"Forwarded": "for=127.0.0.1"},
    }[request.param]


CLOSED = ["not development", "no key", "wrong key", "foreign host", "behind a proxy", "forwarded"]


@pytest.mark.parametrize("closed", CLOSED, indirect=True)
async def test_with_the_gate_closed_the_address_says_how_to_get_in_and_all_else_is_not_there(closed):
    house, headers = closed
    response = await look(house, "/", **headers)
    text = await response.get_data(as_text=True)
    assert response.status_code == 200
    assert "make run" in text
    assert "<script" not in text
    assert key_of(house) not in text
    assert "Set-Cookie" not in response.headers
    for path in ALL_GATED:
        response = await look(house, path, **headers)
        assert response.status_code == 404, path
        assert json.loads(await response.get_data())["error"]["code"] == "NOT_FOUND"


async def test_the_short_page_is_always_the_same(house):
    texts = set()
    for headers in ({"key": None}, {"key": None, "Host": "evil.example"}, {"X-Forwarded-For": "127.0.0.1"}):
        texts.add(await (await look(house, "/", **headers)).get_data())
    assert len(texts) == 1


async def test_the_key_of_the_link_opens_the_page_and_becomes_a_cookie(house):
    response = await look(house, "/", key="query")
    assert "/console/static/main.js" in await response.get_data(as_text=True)
    cookie = response.headers["Set-Cookie"]
    assert cookie.startswith(f"{KEY_COOKIE}={key_of(house)};")
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "Set-Cookie" not in (await look(house, "/")).headers


# -- the files --------------------------------------------------------------------------------------------------------


async def test_the_page_runs_nothing_but_its_own_files(house):
    response = await look(house, "/")
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    text = await response.get_data(as_text=True)
    assert "<style" not in text
    assert " style=" not in text
    assert "http://" not in text
    assert "https://" not in text


async def test_every_module_is_served_with_its_type_and_asks_only_for_what_is_served(house):
    page = Path(__file__).parents[2] / "http" / "console" / "page"
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for file in page.iterdir():
        response = await look(house, f"/console/static/{file.name}")
        if file.suffix == ".html":
            assert response.status_code == 404
            continue
        assert response.status_code == 200
        assert response.mimetype == types[file.suffix]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert await response.get_data() == file.read_bytes()
        for banned in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert banned not in file.read_text()


async def test_a_file_that_did_not_change_is_not_sent_again(house):
    first = await look(house, "/console/static/main.js")
    again = await look(house, "/console/static/main.js", **{"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, await again.get_data()) == (304, b"")
    assert (await look(house, "/console/static/main.js", **{"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    "name", ["index.html", "closed.html", "nothing.js", "../live_view.py", "..%2flive_view.py", "main.js%00", "", "."]
)
async def test_nothing_but_the_files_of_the_page_is_served(house, name):
    assert (await look(house, f"/console/static/{name}")).status_code in (400, 404)


# -- the live view ----------------------------------------------------------------------------------------------------


async def test_the_live_view_shows_rooms_sockets_and_storage(live_house):
    house = live_house
    await house.people(1, 2)
    room = await house.conversation(1, 2, title="Secret title")
    async with house.socket(1, room) as one, house.socket(2, room) as two:
        await one.say({"type": "send", "id": "a", "room": room, "data": {"body": "secret words"}})
        await two.hear("message")
        view = await data_of(await look(house, "/api/dev/statistics"))
    assert view["process"] == os.getpid()
    assert view["system"]["kinds"]["room"]["loaded"] == 1
    assert view["system"]["kinds"]["room"]["depthMax"] == 0
    assert view["system"]["storageIsAway"] is False
    assert (view["engine"]["connections"], view["engine"]["users"]) == (2, 2)
    assert view["hub"] == {"channels": 1, "attachments": 2, "compatUsers": 0}
    assert view["committer"]["committed"] >= 1
    assert (view["delivery"]["told"], view["delivery"]["resumes"]) == (1, {})
    assert view["delivery"]["lagWithin"]["1000"] == 1
    assert view["pool"]["connectionsMax"] >= view["pool"]["size"] >= view["pool"]["idle"]
    [line] = view["rooms"]
    assert (line["room"], line["phase"], line["depth"], line["sockets"], line["restarts"]) == (room, "ready", 0, 2, 0)
    assert line["turns"] >= 3
    assert view["deadLetters"] == []
    assert "secret" not in json.dumps(view).lower()


async def test_the_live_view_names_a_dozen_rooms_at_most(house):
    await house.people(1)
    for _ in range(14):
        room = await house.conversation(1, open=True)
        await house.post(f"/api/conversations/{room}/messages", 1, {"content": "hello"})
    view = await data_of(await look(house, "/api/dev/statistics"))
    assert view["system"]["kinds"]["room"]["loaded"] == 14
    assert len(view["rooms"]) == 12
    assert view["rooms"][0]["room"] == room


# -- caught mail ------------------------------------------------------------------------------------------------------


@pytest.fixture
def mail_folder(house):
    """The folder of caught mail, and the house over it."""
    folder = house.app.config["SERVICES"].rooms.mail_directory
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def write(folder, name, subject="Welcome", *, html=None, at=None):
    message = EmailMessage()
    message["From"], message["To"] = "greenroom <no-reply@example.org>", "Sarah <sarah@example.org>"
    message["Subject"], message["Date"] = subject, "Sun, 22 Nov 2026 04:00:00 +0000"
    message.set_content("In plain words.")
    if html is not None:
        message.add_alternative(html, subtype="html")
        message.get_body(("html",)).add_related(b"\x89PNG", "image", "png", cid="<logo>")
    message.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="contract.pdf")
    (folder / name).write_bytes(message.as_bytes())
    if at is not None:
        os.utime(folder / name, (at, at))


async def test_without_mail_the_list_is_empty(house):
    assert await data_of(await look(house, "/api/dev/mail")) == {"mails": []}


async def test_caught_mail_is_listed_newest_first_and_not_without_end(house, mail_folder):
    for number in range(MAILS_MAX + 5):
        write(mail_folder, f"m{number}.eml", f"Subject {number}", at=1_700_000_000 + number)
    (mail_folder / ".hidden.eml.part").write_bytes(b"half")
    (mail_folder / "notes.txt").write_bytes(b"no mail")
    mails = (await data_of(await look(house, "/api/dev/mail")))["mails"]
    assert [mail["subject"] for mail in mails] == [f"Subject {number}" for number in range(54, 4, -1)]
    assert mails[0] == {
        "name": "m54.eml", "subject": "Subject 54", "to": "Sarah <sarah@example.org>", "at": 1_700_000_054_000
    }  # fmt: skip


async def test_a_mail_is_read_with_its_files_and_without_its_html(house, mail_folder):
    write(mail_folder, "one.eml", html="<p>In fair words.</p>")
    mail = await data_of(await look(house, "/api/dev/mail/one.eml"))
    assert (mail["subject"], mail["to"], mail["text"].strip()) == (
        "Welcome",
        "Sarah <sarah@example.org>",
        "In plain words.",
    )
    assert mail["hasHtml"] is True
    assert [(file["name"], file["type"]) for file in mail["files"]] == [("contract.pdf", "application/pdf")]
    assert "fair" not in json.dumps(mail)


async def test_the_html_of_a_mail_can_run_nothing_and_load_nothing(house, mail_folder):
    write(mail_folder, "one.eml", html='<script>alert(1)</script><img src="cid:logo"><img src="cid:other">')
    response = await look(house, "/api/dev/mail/one.eml/html")
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script-src" not in policy
    assert response.headers["X-Frame-Options"] == "SAMEORIGIN"
    assert response.mimetype == "text/html"
    text = await response.get_data(as_text=True)
    assert 'src="data:image/png;base64,' in text
    assert 'src="data:,"' in text
    write(mail_folder, "plain.eml")
    assert (await look(house, "/api/dev/mail/plain.eml/html")).status_code == 404


async def test_the_html_of_a_mail_opens_no_connection_ahead_of_time(house, mail_folder):
    links = '<LINK\nrel=preconnect href="//x"><link title=">" rel=dns-prefetch href=//y>'
    html = links + "<base href=//z><meta http-equiv=x>hi"
    write(mail_folder, "one.eml", html=html)
    response = await look(house, "/api/dev/mail/one.eml/html")
    text = (await response.get_data(as_text=True)).lower()
    assert "hi" in text
    assert not any(tag in text for tag in ("<link", "<base", "<meta"))
    assert response.headers["X-DNS-Prefetch-Control"] == "off"


@pytest.mark.parametrize(
    "name",
    ["nothing.eml", "..eml", "../jwt_secret", "..%2fjwt_secret.eml", "%2e%2e%2fsecret.eml", "secret", "link.eml",
     "folder.eml", "a%00.eml", ".hidden.eml", "x" * 200 + ".eml"],
)  # fmt: skip
async def test_nothing_but_a_caught_mail_is_ever_read(house, mail_folder, name):
    (mail_folder.parent / "secret.eml").write_bytes(b"Subject: secret\n\nsecret")
    (mail_folder / "secret").write_bytes(b"Subject: secret\n\nsecret")
    (mail_folder / "link.eml").symlink_to(mail_folder.parent / "secret.eml")
    (mail_folder / "folder.eml").mkdir()
    for path in (f"/api/dev/mail/{name}", f"/api/dev/mail/{name}/html"):
        response = await look(house, path)
        assert response.status_code in (400, 404)
        assert b"secret\n" not in await response.get_data()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"Subject: =?utf-8?b?////?=\n\n\xff", b"To: <<<>>\n\nx",
                                     b'Content-Type: text/plain; charset="nonsense"\n\nhello'])  # fmt: skip
async def test_nonsense_in_the_folder_is_shown_as_well_as_it_can_be(house, mail_folder, content):
    (mail_folder / "odd.eml").write_bytes(content)
    assert len((await data_of(await look(house, "/api/dev/mail")))["mails"]) == 1
    assert (await data_of(await look(house, "/api/dev/mail/odd.eml")))["name"] == "odd.eml"


# -- one person for each tab ------------------------------------------------------------------------------------------


async def test_a_tab_gets_a_token_of_its_own_that_needs_no_cookie(house):
    for name, user_id in (("Alex", 1), ("Sarah", 2), ("Zoë", None)):
        made = await house.post(f"/api/dev/sign-in?key={key_of(house)}", None, {"name": name}, Host="127.0.0.1:8787")
        bearer = {"Authorization": f"Bearer {made.data['token']}", "Cookie": "pitchey-session=somebody-else"}
        ticket = await house.get("/api/ws/token", headers=bearer)
        who = (await house.get("/api/auth/session", headers=bearer)).json["user"]
        assert ticket.status == 200
        assert who["id"] == made.data["user"]["id"]
        assert who["name"] == made.data["user"]["name"]
        assert user_id in (None, who["id"])
