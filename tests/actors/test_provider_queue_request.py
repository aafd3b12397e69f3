"""What may be handed in as a mail, and what is stored of it."""

import base64
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenroom.actors.provider_queue.request import InvalidMail, mail_from_json, normalise
from greenroom.actors.rendering import TEMPLATES, render, template_named, text_of

NOW = 1_800_000_000_000
GUIDE_A = {
    "to": "user@example.com",
    "subject": "Test Email",
    "html": "<p>HTML content</p>",
    "text": "Text content",
    "templateType": "welcome",
    "variables": {"name": "John Doe", "verificationUrl": "https://app.com/verify/token"},
}
GUIDE_A_TEMPLATE = {
    "templateType": "nda_request",
    "to": "investor@example.com",
    "variables": {
        "investorName": "Jane Smith",
        "pitchTitle": "Revolutionary AI Startup",
        "creatorName": "John Doe",
        "reviewUrl": "https://app.com/nda/review/123",
    },
    "priority": "high",
}
GUIDE_B = {
    "to": "test@example.com",
    "subject": "Test Email",
    "template": "welcome",
    "data": {"name": "Test User"},
}
PLAIN = {"to": "a@example.com", "subject": "S", "text": "t"}


def request(**changes):
    return normalise({**PLAIN, **changes}, now_ms=NOW)


def test_guide_a_may_give_its_own_words_and_a_template_and_its_own_words_are_sent():
    mail = normalise(GUIDE_A, now_ms=NOW).mail
    assert (mail.to, mail.subject, mail.html, mail.text) == (
        ("user@example.com",),
        "Test Email",
        "<p>HTML content</p>",
        "Text content",
    )


def test_guide_a_sends_a_template_alone_and_missing_variables_break_nothing():
    checked = normalise(GUIDE_A_TEMPLATE, now_ms=NOW)
    assert checked.template == "ndaRequest"
    assert checked.priority == 0
    assert checked.mail.subject == 'NDA Request for "Revolutionary AI Startup"'
    assert "Jane Smith" in checked.mail.html
    assert "https://app.com/nda/review/123" in checked.mail.text


def test_guide_b_names_the_template_and_its_data_otherwise():
    mail = normalise(GUIDE_B, now_ms=NOW).mail
    assert mail.subject == "Test Email"
    assert "Test User" in mail.html
    assert "Test User" in mail.text


def test_what_is_stored_reads_back_as_the_same_mail():
    content = base64.b64encode(b"x").decode()
    checked = request(
        cc=["b@example.com"],
        headers={"X-A": "1"},
        tags=["t"],
        attachments=[{"filename": "ü.txt", "content": content, "type": "text/plain"}],
    )
    read = mail_from_json(checked.to_json(), "em_7")
    assert read.id == "em_7"
    assert json.loads(checked.to_json())["mail"] | {"id": "em_7"} == json.loads(type(checked)(read).to_json())["mail"]


def test_a_mail_always_has_a_text_part():
    mail = normalise(
        {"to": "a@example.com", "subject": "S", "html": "<h1>Hi</h1><p>See <a href='https://x.co/1'>this</a>.</p>"},
        now_ms=NOW,
    ).mail
    assert mail.text == "Hi\n\nSee this (https://x.co/1).\n"


def test_an_address_that_stands_twice_counts_once_where_it_stands_first():
    mail = request(
        to=["a@example.com", "A@EXAMPLE.com"], cc=["a@example.com", "b@example.com"], bcc="b@example.com"
    ).mail
    assert (mail.to, mail.cc, mail.bcc) == (("a@example.com",), ("b@example.com",), ())


def test_an_international_domain_is_sent_in_its_ascii_form():
    assert request(to="user@bücher.example").mail.to == ("user@xn--bcher-kva.example",)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"to": None}, "to"),
        ({"to": []}, "to"),
        ({"to": "nobody"}, "to"),
        ({"to": "a@example.com, b@example.com"}, "to"),
        ({"to": "a@example.com\r\nBcc: x@example.com"}, "to"),
        ({"to": 7}, "to"),
        ({"to": [f"u{n}@example.com" for n in range(51)]}, "to"),
        ({"to": "üser@example.com"}, "to"),
        ({"replyTo": "no"}, "replyTo"),
        ({"reply_to": "no"}, "replyTo"),
        ({"replyTo": "a@example.com", "reply_to": "b@example.com"}, "replyTo"),
        ({"from": "ceo@example.com"}, "from"),
        ({"from": {"email": "ceo@example.com", "name": "The CEO"}}, "from"),
        ({"from": ""}, "from"),
        ({"fromEmail": "ceo@example.com"}, "fromEmail"),
        ({"fromName": "The CEO"}, "fromName"),
        ({"from_email": "ceo@example.com"}, "from_email"),
        ({"from_name": "The CEO"}, "from_name"),
        ({"subject": None}, "subject"),
        ({"subject": "a\r\nBcc: x@example.com"}, "subject"),
        ({"subject": "a\u2028b"}, "subject"),
        ({"subject": "x" * 999}, "subject"),
        ({"subject": 5}, "subject"),
        ({"text": None}, "html"),
        ({"html": "x" * (1024 * 1024 + 1)}, "html"),
        ({"headers": {"Bcc": "x@example.com"}}, "headers"),
        ({"headers": {"From": "x@example.com"}}, "headers"),
        ({"headers": {"Content-Type": "text/html"}}, "headers"),
        ({"headers": {"X-A": "1\r\nBcc: x@example.com"}}, "headers"),
        ({"headers": {"X-A\r\nBcc": "1"}}, "headers"),
        ({"headers": {"X-SG-EID": "1"}}, "headers"),
        ({"headers": ["X-A"]}, "headers"),
        ({"tags": ["x" * 256]}, "tags"),
        ({"tags": ["t"] * 11}, "tags"),
        ({"priority": "soon"}, "priority"),
        ({"priority": 1}, "priority"),
        ({"sendAt": "tomorrow"}, "sendAt"),
        ({"sendAt": True}, "sendAt"),
        ({"sendAt": NOW // 1000 + 3600}, "sendAt"),
        ({"sendAt": -1}, "sendAt"),
        ({"send_at": "tomorrow"}, "sendAt"),
        ({"sendAt": NOW + 366 * 86_400_000}, "sendAt"),
        ({"template": "no_such"}, "template"),
        ({"template": 5}, "template"),
        ({"template": "welcome", "templateType": "newMessage"}, "templateType"),
        ({"template": "welcome", "data": [1]}, "variables"),
        ({"variables": {"a": 1}, "data": {"a": 2}}, "variables"),
        ({"attachments": [{"filename": "f", "content": "not base64"}]}, "attachments"),
        ({"attachments": [{"filename": "../f", "content": "eA=="}]}, "attachments"),
        ({"attachments": [{"filename": "f\r\nX: y", "content": "eA=="}]}, "attachments"),
        ({"attachments": [{"filename": "f", "content": "eA==", "type": "message/rfc822"}]}, "attachments"),
        ({"attachments": [{"filename": "f", "content": "eA==", "type": "a/b\r\nX: y"}]}, "attachments"),
        ({"attachments": [{"filename": "f", "content": "eA==", "disposition": "elsewhere"}]}, "attachments"),
        ({"attachments": [{"filename": "f", "content": "eA=="}] * 11}, "attachments"),
        ({"attachments": ["f"]}, "attachments"),
    ],
)
def test_what_is_wrong_is_refused_by_the_name_of_its_field(changes, field):
    with pytest.raises(InvalidMail) as refusal:
        request(**changes)
    assert refusal.value.field == field


def test_whoever_names_a_sender_is_told_that_it_is_a_setting():
    with pytest.raises(InvalidMail, match="SENDGRID_FROM_EMAIL"):
        request(**{"from": "ceo@example.com"})
    assert request(**{"from": None}).mail.to == ("a@example.com",)


def test_a_field_of_two_words_may_be_spelled_either_way():
    checked = request(reply_to="r@example.com", send_at=NOW + 1000)
    assert (checked.mail.reply_to, checked.send_at_ms) == ("r@example.com", NOW + 1000)


def test_names_that_mean_the_same_may_both_be_given():
    assert (
        request(template="nda_request", templateType="ndaRequest", data={"a": 1}, variables={"a": 1}).template
        == "ndaRequest"
    )


def test_a_time_that_is_past_means_now_and_one_ahead_is_kept():
    assert request(sendAt="2001-01-01T00:00:00Z").send_at_ms is None
    assert request(sendAt=NOW + 1000).send_at_ms == NOW + 1000
    assert request(sendAt="2027-01-15T08:00:01").send_at_ms == NOW + 1000


# Fields that nest are slow to make, not wrong to make.
unhurried = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    "to cc bcc from replyTo subject html text template templateType variables data headers tags priority sendAt"
    " attachments"
)
fields = st.sampled_from(FIELDS.split())


@unhurried
@given(st.dictionaries(fields, json_values))
def test_whatever_comes_in_is_a_mail_or_a_named_fault_and_never_another_error(body):
    try:
        checked = normalise({**PLAIN, **body}, now_ms=NOW)
    except InvalidMail:
        return
    assert mail_from_json(checked.to_json(), "em_1").to


# -- templates ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TEMPLATES)
@unhurried
@given(
    variables=st.dictionaries(
        st.sampled_from(
            (
                "name",
                "pitchTitle",
                "amount",
                "topPitches",
                "suggestions",
                "preview",
                "recentActivity",
                "subject",
                "messages",
                "self",
                "loop",
            )
        ),
        json_values,
    )
)
def test_a_template_renders_whatever_its_variables_are(name, variables):
    rendered = render(name, variables)
    assert rendered.text.strip()
    assert "</html>" in rendered.html
    assert len(rendered.subject.splitlines()) == 1


@pytest.mark.parametrize("name", ["nda_request", "ndaRequest", "nda-request", "NDA REQUEST"])
def test_a_template_is_found_however_its_name_is_written(name):
    assert template_named(name) == "ndaRequest"


def test_what_callers_put_into_variables_is_text_and_never_markup_or_code():
    rendered = render("welcome", {"name": "<script>x</script>{{ 7*7 }}", "verificationUrl": "javascript:alert(1)"})
    assert "<script>" not in rendered.html
    assert "49" not in rendered.html
    assert "javascript:" not in rendered.html + rendered.text


def test_values_that_are_false_are_shown():
    assert "Pitch views: 0" in render("weeklyDigest", {"pitchViews": 0}).text


def test_a_name_with_a_line_break_cannot_break_the_subject():
    assert (
        render("welcome", {"name": "A\r\nBcc: x@example.com"}).subject == "Welcome to Pitchey - A Bcc: x@example.com!"
    )


def test_text_made_from_html_leaves_styles_and_scripts_out():
    assert text_of("<style>p{}</style><p>a<br>b</p><script>c</script>") == "a\nb\n"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("a <b>b</b> c", "a b c"),
        ("<p>a</p><p>b</p>", "a\n\nb"),
        ("<ul><li>a<li>b</ul>", "a\nb"),
        ("a<BR/>b<br />c", "a\nb\nc"),
        ('<a class="x" HREF="https://example.com/?a=1&amp;b=2">here</a>!', "here (https://example.com/?a=1&b=2)!"),
        ("<a href=https://example.com>here</a> <a href='https://e.org'>there</a>", "here (https://example.com) there (https://e.org)"),
        ('<a href="mailto:a@example.com">write</a> <a name="x">x</a> <a data-href="http://x">y</a>', "write x y"),
        ('<a title="1 > 0" href="https://example.com">here</a>', "here (https://example.com)"),
        ("1 &lt; 2 &amp; 3 &#62; 2 &eacute;", "1 < 2 & 3 > 2 \u00e9"),
        ("1 < 2, I <3 you, a<b", "1 < 2, I <3 you, a<b"),
        ("if 1 < 2 > 0", "if 1 < 2 > 0"),
        ("a<!-- <p>b</p> -->c<!--[if mso]>d<![endif]-->e", "ace"),
        ("a<!-- b", "a"),
        ("<!DOCTYPE html><?xml version='1.0'?><html><head><title>t</title></head><body>a</body></html>", "a"),
        ("<head><style>s</style><body>a", "a"),
        ("<script>if (a < b) document.write('<style>')</script>a", "a"),
        ("</p>a</style>b", "ab"),
        ("", ""),
    ],
)  # fmt: skip
def test_the_words_of_html_are_read_as_a_browser_shows_them(html, text):
    assert " ".join(text_of(html).split()) == " ".join(text.split())


@given(st.text(alphabet="<>/!-[]?&;#x \"'=ahrefstylescriptp\n", max_size=200))
def test_whatever_html_is_can_be_read(html):
    text_of(html)


@pytest.mark.parametrize(
    "part",
    ["<", "<a ", "</", "<!--", "<![", "<?", "<style", "<script>", '<a href="', "<a href='", "<a b='>", "<p a=\"'",
     "<br>", "&", "&#", " href=", "-->", " \n"],
)  # fmt: skip
def test_a_mebibyte_of_nonsense_is_read_in_a_moment(part):
    began = time.process_time()
    text_of(part * (1024 * 1024 // len(part)))
    assert time.process_time() - began < 5  # measured: 0.3 s at most, and hours where each part is searched to the end
