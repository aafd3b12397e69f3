"""What providers take and say: SendGrid over the wire against its published rules, the folder against a MIME reader."""

import base64
import json
import runpy
import stat
from email import policy
from email.parser import BytesParser
from pathlib import Path

import pytest
import trio

from greenroom.actors.provider_queue.request import mail_from_json, normalise
from greenroom.actors.providers.accounts import (
    FOLDER,
    SENDER_EMAIL,
    SENDER_NAME,
    EmailSettings,
    accounts_from,
    open_providers,
)
from greenroom.actors.providers.folder import Folder
from greenroom.actors.providers.provider import Accepted, Attachment, Deferred, Fault, Mail, Rejected, Sender, Unknown
from greenroom.actors.providers.sendgrid import classify, encode, send_url
from greenroom.actors.providers.transport import Answer, Limits
from greenroom.settings import Settings
from greenroom.settings_table import table

fake_sendgrid = runpy.run_path(str(Path(__file__).parents[1] / "providers" / "fake_sendgrid.py"))
open_fake_sendgrid, broken_rule = fake_sendgrid["open_fake_sendgrid"], fake_sendgrid["broken_rule"]

NOW = 1_800_000_000_000
LIMITS = Limits(1.0, 1.0, 2.0)
SENDER = Sender("noreply@pitchey.com", "Pitchey")
MAIL = Mail("em_1", ("a@example.com",), "Subject", "text", html="<p>html</p>")
FULL = Mail(
    id="em_2",
    to=("a@example.com", "b@example.com"),
    cc=("c@example.com",),
    bcc=("d@example.com",),
    reply_to="r@example.com",
    subject="Grüße 🎬",
    text="Grüße\n",
    html='<p>Grüße <img src="cid:logo"></p>',
    headers=(("List-Unsubscribe", "<https://example.com/u>"), ("X-Campaign", "7")),
    tags=("welcome",),
    attachments=(
        Attachment("Verträge 2026.pdf", "application/pdf", base64.b64encode(b"%PDF-1.7").decode()),
        Attachment("logo.png", "image/png", base64.b64encode(b"\x89PNG").decode(), "inline", "logo"),
    ),
)


def settings(tmp_path, fake=None, **other):
    given = {"sendgrid_api_key": fake.key, "sendgrid_api_url": fake.url} if fake else {}
    return EmailSettings(data_dir=tmp_path, **{**given, **other})


async def send(tmp_path, fault, mail=MAIL, *, fake_key="SG.fake"):
    async with open_fake_sendgrid() as fake:
        fake.script.append(fault)
        given = settings(tmp_path, fake, sendgrid_api_key=fake_key)
        async with open_providers(given, lambda: NOW, limits=LIMITS) as providers:
            return await providers["sendgrid"].send(mail, "at_1"), fake


async def test_sendgrid_takes_every_kind_of_mail_we_can_send(tmp_path):
    for mail in (MAIL, FULL):
        outcome, fake = await send(tmp_path, "202", mail)
        assert outcome == Accepted("fake-1")
        assert fake.accepted[0]["personalizations"][0]["custom_args"] == {"gr_attempt": "at_1", "gr_email": mail.id}


def test_the_body_for_sendgrid_breaks_no_rule_of_the_published_spec():
    for mail in (MAIL, FULL):
        assert broken_rule(json.loads(json.dumps(encode(mail, "at_1", SENDER)))) is None


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"personalizations": []}, "personalizations"),
        ({"from": {"name": "x"}}, "from"),
        ({"subject": ""}, "subject"),
        ({"content": [{"type": "text/html", "value": "h"}, {"type": "text/plain", "value": "t"}]}, "text/plain"),
        ({"content": [{"type": "text/plain", "value": ""}]}, "content"),
        ({"custom_args": {"gr_attempt": "x"}}, "custom_args"),
        ({"headers": {"Reply-To": "x@example.com"}}, "headers"),
        ({"personalizations": [{"to": [{"email": "a@b.co"}], "cc": [{"email": "A@b.co"}]}]}, "unique"),
        ({"attachments": [{"content": "not base64!", "filename": "f"}]}, "base64"),
        ({"categories": ["a", "a"]}, "categories"),
        ({"subjekt": "typo"}, "unknown"),
    ],
)
def test_the_fake_refuses_what_sendgrid_refuses(change, rule):
    assert rule in broken_rule(encode(FULL, "at_1", SENDER) | change)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("400", Fault.CONTENT),
        ("413", Fault.CONTENT),
        ("422", Fault.CONTENT),
        ("408", Fault.TEMPORARY),
        ("401", Fault.CONFIG),
        ("403", Fault.CONFIG),
        ("404", Fault.CONFIG),
        ("451", Fault.CONFIG),
        ("3xx", Fault.CONFIG),
        ("401_credits", Fault.QUOTA),
        ("503", Fault.UNAVAILABLE),
    ],
)
async def test_a_clear_no_is_a_rejection_with_its_fault(tmp_path, fault, expected):
    outcome, fake = await send(tmp_path, fault)
    assert isinstance(outcome, Rejected)
    assert outcome.fault is expected
    assert not fake.accepted


@pytest.mark.parametrize(
    "fault",
    [
        "500",
        "500_empty",
        "502",
        "503_empty",
        "524",
        "reset_after_reading",
        "accept_then_reset",
        "half_response",
        "slow:5",
    ],
)
async def test_whatever_may_have_been_taken_is_unknown(tmp_path, fault):
    outcome, _ = await send(tmp_path, fault)
    assert isinstance(outcome, Unknown)


async def test_a_202_whose_body_is_cut_off_is_accepted_all_the_same(tmp_path):
    outcome, _ = await send(tmp_path, "half_body")
    assert outcome == Accepted("fake-1")


async def test_a_reset_before_reading_is_only_called_unsent_when_the_last_byte_never_left(tmp_path):
    outcome, fake = await send(tmp_path, "reset_before_reading")
    # Which of the two depends on whether the reset came back before our last byte went out.
    assert isinstance(outcome, Unknown) or (isinstance(outcome, Rejected) and outcome.fault is Fault.TEMPORARY)
    assert not fake.requests


async def test_a_connection_that_breaks_within_the_body_was_not_sent_and_it_may_be_this_mail_that_it_chokes_on(
    tmp_path,
):
    big = Attachment("big.bin", "application/octet-stream", "A" * 16 * 1024 * 1024)
    mail = Mail("em_1", ("a@example.com",), "Subject", "text", attachments=(big,))
    outcome, fake = await send(tmp_path, "reset_mid_body", mail)
    assert isinstance(outcome, Rejected)
    assert outcome.fault is Fault.TEMPORARY
    assert not fake.requests


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://no-such-host.invalid"])
async def test_a_connection_that_cannot_be_made_is_the_accounts_fault(tmp_path, url):
    given = settings(tmp_path, sendgrid_api_key="k", sendgrid_api_url=url)
    async with open_providers(given, lambda: NOW) as providers:
        outcome = await providers["sendgrid"].send(MAIL, "at_1")
    assert isinstance(outcome, Rejected)
    assert outcome.fault is Fault.UNAVAILABLE


async def test_a_host_that_does_not_speak_tls_is_the_accounts_fault(tmp_path):
    async with open_fake_sendgrid() as fake:
        given = settings(tmp_path, fake, sendgrid_api_url=fake.url.replace("http:", "https:"))
        async with open_providers(given, lambda: NOW, limits=LIMITS) as providers:
            outcome = await providers["sendgrid"].send(MAIL, "at_1")
    assert isinstance(outcome, Rejected)
    assert outcome.fault is Fault.UNAVAILABLE


async def test_a_wrong_key_is_a_matter_for_the_operator(tmp_path):
    outcome, _ = await send(tmp_path, "202", fake_key="SG.other")
    assert isinstance(outcome, Rejected)
    assert outcome.fault is Fault.CONFIG


def test_a_429_waits_for_the_later_of_both_headers_and_never_longer_than_a_day():
    def wait(**headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        outcome = classify(Answer(429, named, b"{}"), NOW)
        assert isinstance(outcome, Deferred)
        return outcome.until_ms

    assert wait(x_ratelimit_reset=str(NOW // 1000 + 30)) == NOW + 30_000
    assert wait(retry_after="90", x_ratelimit_reset=str(NOW // 1000 + 30)) == NOW + 90_000
    assert wait(retry_after="Fri, 15 Jan 2027 08:01:00 GMT") == NOW + 60_000
    assert wait(x_ratelimit_reset=str(NOW // 1000 + 10**7)) == NOW + 24 * 3600 * 1000
    assert wait(x_ratelimit_reset=str(NOW // 1000 - 30)) == NOW
    assert wait(retry_after="soon") is None
    assert wait() is None


async def test_a_503_may_ask_for_time_too_and_then_only_by_retry_after(tmp_path):
    outcome, _ = await send(tmp_path, "503_after:90")
    assert outcome == Rejected(Fault.UNAVAILABLE, "503 later", NOW + 90_000)
    reset = classify(Answer(503, {"x-ratelimit-reset": str(NOW // 1000 + 30)}, b"{}"), NOW)
    assert reset == Rejected(Fault.UNAVAILABLE, "503 {}", None)


def test_what_a_provider_says_is_kept_as_one_bounded_line():
    outcome = classify(Answer(400, {}, b"\x00\xff" + b"x\r\n" * 1000), NOW)
    assert isinstance(outcome, Rejected)
    assert "\x00" not in outcome.text
    assert "\n" not in outcome.text
    assert len(outcome.text) <= 500


def test_an_address_that_a_provider_quotes_is_not_kept():
    said = json.dumps({"errors": [{"message": "user.name+x@example.com is not deliverable"}]}).encode()
    outcome = classify(Answer(400, {}, said), NOW)
    assert isinstance(outcome, Rejected)
    assert outcome.text == "400 ***@example.com is not deliverable"


@pytest.mark.parametrize("base", ["", "/", "/v3", "/v3/mail/send", "/v3/mail/send/"])
def test_the_base_url_may_carry_the_path_or_not(base):
    assert send_url("https://api.sendgrid.com" + base) == "https://api.sendgrid.com/v3/mail/send"


def test_the_folder_stands_alone_or_not_at_all(tmp_path):
    assert [account.name for account in accounts_from(settings(tmp_path))] == [FOLDER]
    hosted = settings(tmp_path, sendgrid_api_key="one", sendgrid_fallback_api_key="two")
    assert [account.name for account in accounts_from(hosted)] == ["sendgrid", "sendgrid_fallback"]
    only = settings(tmp_path, sendgrid_fallback_api_key="two")
    assert [account.name for account in accounts_from(only)] == ["sendgrid_fallback"]


async def test_the_sender_is_that_of_the_settings_or_the_default_and_it_is_known_which(tmp_path):
    for given, expected in (
        ({}, Sender("noreply@pitchey.com", "Pitchey", is_own=False)),
        ({"sendgrid_from_name": "Us"}, Sender("noreply@pitchey.com", "Us", is_own=False)),
        ({"sendgrid_from_email": "us@example.com"}, Sender("us@example.com", "Pitchey")),
    ):
        for key in (None, "k"):
            chosen = settings(tmp_path, sendgrid_api_key=key, **given)
            async with open_providers(chosen, lambda: NOW) as providers:
                assert [provider.sender for provider in providers.values()] == [expected]


def test_the_default_sender_is_shown_as_the_default_of_its_settings():
    rows = {row.name: row for row in table(Settings(), {})}
    shown = {name: rows[f"SENDGRID_FROM_{name}"] for name in ("EMAIL", "NAME")}
    assert {name: row.default for name, row in shown.items()} == {"EMAIL": SENDER_EMAIL, "NAME": SENDER_NAME}
    assert {name: row.value for name, row in shown.items()} == {"EMAIL": SENDER_EMAIL, "NAME": SENDER_NAME}
    own = {row.name: row for row in table(Settings(sendgrid_from_email="us@example.com"), {})}
    assert own["SENDGRID_FROM_EMAIL"].value == "us@example.com"


def test_no_key_is_shown_when_settings_or_accounts_are_printed(tmp_path):
    hosted = settings(tmp_path, sendgrid_api_key="secret1", sendgrid_fallback_api_key="secret2")
    assert "secret" not in repr(hosted) + repr(accounts_from(hosted))


# -- the folder ---------------------------------------------------------------------------------------------------


async def catch(tmp_path, mail, attempt_id="at_1"):
    folder = Folder(tmp_path / "mail", sender=SENDER, wall_ms=lambda: NOW)
    outcome = await folder.send(mail, attempt_id)
    files = sorted((tmp_path / "mail").iterdir()) if (tmp_path / "mail").exists() else []
    return outcome, files


async def test_a_mail_in_the_folder_is_mime_that_reads_back(tmp_path):
    outcome, files = await catch(tmp_path, FULL)
    assert outcome == Accepted("em_2.eml")
    message = BytesParser(policy=policy.default).parsebytes(files[0].read_bytes())
    assert message["From"] == "Pitchey <noreply@pitchey.com>"
    assert message["To"] == "a@example.com, b@example.com"
    assert (message["Cc"], message["Reply-To"]) == ("c@example.com", "r@example.com")
    assert message["Subject"] == "Grüße 🎬"
    assert message["List-Unsubscribe"] == "<https://example.com/u>"
    assert message["X-Greenroom-Attempt"] == "at_1"
    assert message.get_body(("plain",)).get_content().split() == ["Grüße"]
    assert "Grüße" in message.get_body(("html",)).get_content()
    kinds = [part.get_content_type() for part in message.walk()]
    assert kinds == [
        "multipart/mixed",
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
        "application/pdf",
    ]
    (attached,) = message.iter_attachments()
    assert attached.get_filename() == "Verträge 2026.pdf"
    assert attached.get_content() == b"%PDF-1.7"


async def test_files_are_0600_in_a_folder_0700_and_nothing_half_written_stays(tmp_path):
    _, files = await catch(tmp_path, MAIL)
    assert [file.name for file in files] == ["em_1.eml"]
    assert stat.S_IMODE(files[0].stat().st_mode) == 0o600
    assert stat.S_IMODE(files[0].parent.stat().st_mode) == 0o700


async def test_sending_to_the_folder_again_leaves_one_file(tmp_path):
    await catch(tmp_path, MAIL, "at_1")
    outcome, files = await catch(tmp_path, MAIL, "at_2")
    assert outcome == Accepted("em_1.eml")
    assert len(files) == 1


async def test_a_header_that_would_begin_another_is_refused_by_the_writer_too(tmp_path):
    evil = Mail("em_1", ("a@example.com",), "Subject\r\nBcc: x@example.com", "text")
    outcome, files = await catch(tmp_path, evil)
    assert isinstance(outcome, Rejected)
    assert outcome.fault is Fault.CONTENT
    assert not files


async def test_a_folder_that_cannot_be_written_is_tried_again_later(tmp_path):
    (tmp_path / "mail").write_text("in the way")
    folder = Folder(tmp_path / "mail", sender=SENDER, wall_ms=lambda: NOW)
    outcome = await folder.send(MAIL, "at_1")
    assert isinstance(outcome, Rejected)
    assert outcome.fault is Fault.UNAVAILABLE


async def test_every_built_in_template_reaches_both_providers(tmp_path):
    for template in ("welcome", "nda_request", "newMessage", "weekly-digest"):
        stored = normalise({"to": "a@example.com", "template": template}, now_ms=NOW).to_json()
        mail = mail_from_json(stored, "em_9")
        outcome, _ = await send(tmp_path, "202", mail)
        assert outcome == Accepted("fake-1")
        assert (await catch(tmp_path, mail))[0] == Accepted("em_9.eml")


async def test_a_send_that_is_cancelled_is_cancelled(tmp_path):
    with trio.move_on_after(0.2) as scope:
        await send(tmp_path, "hold")
    assert scope.cancelled_caught
