"""Settings: from the environment, checked, shown."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from greenroom.attachments import blobs_of
from greenroom.settings import Settings, SettingsError, about, environment_names, load_settings
from greenroom.settings_table import as_lines, as_markdown, table

# Every name under "Environment Variables" of the guides, and of the design.
GUIDE_NAMES = """
DATABASE_URL UPSTASH_REDIS_REST_URL UPSTASH_REDIS_REST_TOKEN REDIS_URL FRONTEND_URL ENVIRONMENT BETTER_AUTH_SECRET
JWT_SECRET SENDGRID_API_KEY SENDGRID_FROM_EMAIL SENDGRID_FROM_NAME SENDGRID_API_URL SENDGRID_FALLBACK_API_KEY
SENDGRID_FALLBACK_API_URL AWS_SES_ACCESS_KEY AWS_SES_SECRET_KEY AWS_SES_REGION AWS_SES_FROM_EMAIL AWS_SES_FROM_NAME
AWS_ENDPOINT_URL_SES EMAIL_PRIMARY_PROVIDER EMAIL_RATE_LIMIT_MINUTE EMAIL_RATE_LIMIT_HOUR EMAIL_RATE_LIMIT_DAY
EMAIL_MAX_RETRIES EMAIL_RETRY_DELAY EMAIL_RETRY_MAX_DELAY EMAIL_QUEUE_CONCURRENT EMAIL_QUEUE_INTERVAL EMAIL_BATCH_SIZE
ENABLE_EMAIL_TEMPLATE_CACHE WS_HEARTBEAT_INTERVAL WS_CONNECTION_TIMEOUT WS_MAX_CONNECTIONS MAX_FILE_SIZE
ALLOWED_FILE_TYPES ENABLE_E2E_ENCRYPTION MESSAGE_BATCH_SIZE MESSAGE_BATCH_TIMEOUT ENABLE_MESSAGE_CACHE
NOTIFICATION_PROCESSING_INTERVAL NOTIFICATION_BATCH_SIZE NOTIFICATION_MAX_RETRIES NOTIFICATION_QUEUE_TTL FCM_SERVER_KEY
FCM_API_URL FCM_TOKEN_URL APNS_CERTIFICATE_PATH APNS_KEY_ID APNS_TEAM_ID APNS_API_URL TWILIO_ACCOUNT_SID
TWILIO_AUTH_TOKEN TWILIO_FROM_NUMBER TWILIO_API_URL SENTRY_DSN DEBUG_MODE HOST PORT GREENROOM_DATA_DIR ALLOWED_ORIGINS
TRUSTED_PROXIES MESSAGES_PER_MINUTE WS_COMMANDS_PER_MINUTE WS_MAX_PER_USER WS_MAX_PER_ADDRESS LISTEN_FDS LOG_LEVEL
PRESENCE_IDLE_SECONDS
""".split()  # noqa: SIM905

# What guide A prints under "Environment Variables".
GUIDE_A = {
    "DATABASE_URL": "postgresql://user:password@host:5432/database",
    "FRONTEND_URL": "https://pitchey-5o8.pages.dev",
    "ENVIRONMENT": "production",
    "BETTER_AUTH_SECRET": "your-secret-key",
    "SENDGRID_API_KEY": "your_sendgrid_api_key",
    "SENDGRID_FROM_EMAIL": "noreply@pitchey.com",
    "EMAIL_PRIMARY_PROVIDER": "sendgrid",
    "EMAIL_RATE_LIMIT_DAY": "10000",
    "EMAIL_RETRY_DELAY": "1000",
    "WS_HEARTBEAT_INTERVAL": "30000",
    "WS_CONNECTION_TIMEOUT": "60000",
    "MAX_FILE_SIZE": "10485760",
    "ALLOWED_FILE_TYPES": "pdf,doc,docx,jpg,jpeg,png,gif,mp4,mov",
    "ENABLE_E2E_ENCRYPTION": "true",
    "NOTIFICATION_QUEUE_TTL": "86400",
    "APNS_CERTIFICATE_PATH": "/path/to/cert.p8",
    "TWILIO_FROM_NUMBER": "+1234567890",
}


def test_every_name_of_the_guides_and_the_design_is_a_setting():
    assert set(GUIDE_NAMES) <= set(environment_names().values())


def test_the_values_that_guide_a_prints_are_taken():
    settings = load_settings(GUIDE_A)
    assert settings.max_file_size == 10_485_760
    assert settings.allowed_file_types[:2] == ("pdf", "doc")
    assert settings.enable_e2e_encryption
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == GUIDE_A["DATABASE_URL"]


def test_without_an_environment_the_defaults_are_those_of_the_design():
    settings = load_settings({})
    assert (settings.host, settings.port, settings.environment) == ("127.0.0.1", 8787, "production")
    assert (settings.messages_per_minute, settings.ws_commands_per_minute) == (50, 240)
    assert (settings.ws_max_connections, settings.ws_max_per_user) == (50_000, 20)


@pytest.mark.parametrize(
    ("environment", "limit"),
    [
        ({}, 0),
        ({"HOST": "::1"}, 0),
        ({"HOST": "0.0.0.0"}, 1000),
        ({"HOST": "0.0.0.0", "WS_MAX_PER_ADDRESS": "7"}, 7),
        ({"WS_MAX_PER_ADDRESS": "7"}, 7),
        ({"LISTEN_FDS": "1"}, 1000),
    ],
)
def test_sockets_per_address_have_no_limit_on_loopback_and_1000_elsewhere(environment: dict[str, str], limit: int):
    assert load_settings(environment).sockets_per_address_max == limit


@pytest.mark.parametrize(
    ("hosts", "host", "limit"),
    [
        (["127.0.0.1"], "127.0.0.1", 0),
        (["::1", "127.0.0.1"], "::1", 0),
        (["0.0.0.0"], "0.0.0.0", 1000),
        (["::"], "::", 1000),
        (["127.0.0.1", "192.0.2.1"], "192.0.2.1", 1000),
    ],
)
def test_sockets_from_outside_are_judged_by_what_they_are_bound_to(hosts: list[str], host: str, limit: int):
    for environment in ({"LISTEN_FDS": "1"}, {"LISTEN_FDS": "1", "HOST": "0.0.0.0"}):
        settings = load_settings(environment).listening_at(hosts)
        assert (settings.host, settings.is_loopback, settings.sockets_per_address_max) == (host, limit == 0, limit)


def test_settings_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        load_settings({}).port = 1  # type: ignore[misc]


def test_an_empty_value_counts_as_unset():
    assert load_settings({"PORT": "", "DATABASE_URL": "  "}).port == 8787


def test_settings_made_in_a_test_do_not_see_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PORT", "1")
    assert Settings().port == 8787
    assert load_settings().port == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "http"),
        ("PORT", "70000"),
        ("ENVIRONMENT", "prod"),
        ("LOG_LEVEL", "loud"),
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "null"),
        ("ALLOWED_ORIGINS", "https://app.example.org/path"),
        ("TRUSTED_PROXIES", "everybody"),
        ("WS_HEARTBEAT_INTERVAL", "0"),
        ("WS_MAX_PER_ADDRESS", "-1"),
        ("FRONTEND_URL", "app.example.org"),
        ("FRONTEND_URL", "https:///path"),
        ("PUBLIC_URL", "http://localhost:http"),
        ("PUBLIC_URL", "http://localhost:70000"),
        ("GREENROOM_DATA_DIR", "/srv/caf\udce9"),
        ("SENDGRID_FROM_EMAIL", "nobody"),
        ("TWILIO_FROM_NUMBER", "0123"),
        ("MAX_FILE_SIZE", "10MB"),
        ("ALLOWED_FILE_TYPES", "pdf,../x"),
        ("DEBUG_MODE", "perhaps"),
        ("EMAIL_PRIMARY_PROVIDER", "pigeon"),
    ],
)
def test_a_bad_value_stops_the_start_with_its_name_its_fault_and_an_example(name: str, value: str):
    with pytest.raises(SettingsError) as fault:
        load_settings({name: value})
    text = str(fault.value)
    assert text.startswith(f"{name} is {value!r}: ")
    assert f"Example: {name}=" in text


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "SENTRY_DSN"])
def test_a_bad_secret_is_named_but_not_shown(name: str):
    with pytest.raises(SettingsError) as fault:
        load_settings({name: "mysql://root:hunter2@host/db"})
    assert name in str(fault.value)
    assert "hunter2" not in str(fault.value)


@pytest.mark.parametrize("password", ["hunter/2", "12/hunter", "12?hunter", "12#hunter", "a@b/hunter", "hunter:2/"])
def test_a_password_that_is_not_encoded_is_refused_and_not_taken_for_a_host(password: str):
    with pytest.raises(SettingsError, match=r"DATABASE_URL has a value that cannot be used.*%2F") as fault:
        load_settings({"DATABASE_URL": f"postgresql://greenroom:{password}@host/db"})
    assert "hunter" not in str(fault.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://greenroom:p%2Fw@host:5432/db?sslmode=require",
        "postgresql://greenroom@one:5432,two:5433/db",
        "postgresql://greenroom@[::1]:5432/db",
        "postgresql:///db?host=/run/postgresql&user=me@realm",
        "postgresql://?host=/run/postgresql",
    ],
)
def test_every_way_to_write_the_address_of_a_database_is_taken(url: str):
    assert load_settings({"DATABASE_URL": url}).database_url is not None


def test_all_bad_values_are_told_at_once():
    with pytest.raises(SettingsError) as fault:
        load_settings({"PORT": "x", "LOG_LEVEL": "y"})
    assert [line.split(" ")[0] for line in str(fault.value).splitlines()] == ["PORT", "LOG_LEVEL"]


def test_a_jwt_secret_under_32_bytes_is_refused_outside_development():
    with pytest.raises(SettingsError, match=r"JWT_SECRET.*5 bytes.*32"):
        load_settings({"JWT_SECRET": "short"})
    assert load_settings({"JWT_SECRET": "short", "ENVIRONMENT": "development"}).jwt_secret is not None
    assert load_settings({"JWT_SECRET": "x" * 32}).jwt_secret is not None


def test_a_client_cannot_be_gone_before_it_was_pinged():
    with pytest.raises(SettingsError, match="WS_CONNECTION_TIMEOUT"):
        load_settings({"WS_CONNECTION_TIMEOUT": "1000", "WS_HEARTBEAT_INTERVAL": "1000"})


def test_every_example_is_a_value_that_is_taken_or_says_how_to_get_one():
    for name, field in Settings.model_fields.items():
        example = about(field).example
        if "openssl" not in example:
            load_settings({name.upper(): example, "WS_HEARTBEAT_INTERVAL": "30000", "WS_CONNECTION_TIMEOUT": "60000"})


def test_every_setting_says_why_and_every_number_has_a_limit():
    for row in table(load_settings({}), {}):
        assert row.why
        if re.fullmatch(r"-?\d+", row.default):
            assert row.limit, row.name


def test_the_table_tells_where_a_value_comes_from():
    environment = {"PORT": "9000"}
    rows = {row.name: row for row in table(load_settings(environment), environment)}
    assert (rows["PORT"].value, rows["PORT"].origin, rows["PORT"].default) == ("9000", "environment", "8787")
    assert rows["HOST"].origin == "default"


def test_the_table_hides_every_secret():
    environment = {
        "DATABASE_URL": "postgresql://user:hunter2@db.example.org/app?sslmode=require",
        "JWT_SECRET": "hunter2" * 8,
        "SENDGRID_API_KEY": "hunter2",
        "TWILIO_AUTH_TOKEN": "hunter2",
    }
    rows = table(load_settings(environment), environment)
    text = "\n".join(as_lines(rows)) + as_markdown(rows)
    assert "hunter2" not in text
    assert "postgresql://user:***@db.example.org/app" in text


def test_settings_of_parts_that_do_not_exist_yet_are_marked():
    lines = "\n".join(as_lines(table(load_settings({}), {})))
    assert "FCM_SERVER_KEY = (not set)" in lines
    assert "not used yet" in lines


def test_only_the_settings_and_the_commands_read_the_environment():
    house = Path(__file__).parents[1]
    files = [*house.glob("src/greenroom/*.py"), *house.glob("http/**/*.py"), *house.glob("actors/**/*.py")]
    readers = {file.name for file in files if "os.environ" in file.read_text() or "getenv" in file.read_text()}
    assert readers == {"settings.py"}


def test_a_bucket_needs_its_keys(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="S3_BUCKET is 'b': it needs S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY"):
        blobs_of(Settings(s3_bucket="b"), tmp_path)
    blobs_of(Settings(s3_bucket="b", s3_access_key_id=SecretStr("k"), s3_secret_access_key=SecretStr("s")), tmp_path)
    assert list(tmp_path.iterdir()) == []
