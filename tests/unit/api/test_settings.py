"""Settings, and the sentences for bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.settings import Settings, explain, misspelt


@pytest.fixture(autouse=True)
def _no_chetko_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("CHETKO_")]:
        monkeypatch.delenv(name)


def sentences(**environ: str) -> list[str]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        with pytest.raises(ValidationError) as error:
            Settings()
        return explain(error.value)


def test_defaults_are_those_of_the_design() -> None:
    settings = Settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.max_body_bytes == 50_000_000
    assert settings.max_input_pixels == 100_000_000
    assert settings.sync_max_output_pixels == 16_000_000
    assert settings.allowed_hosts == ("localhost", "127.0.0.1", "[::1]")


def test_every_setting_says_what_it_is() -> None:
    assert all(len(field.description or "") > 20 for field in Settings.model_fields.values())


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1


def test_hosts_are_a_list_with_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHETKO_ALLOWED_HOSTS", " Big.example, [::1] ,*.Example.org,")
    assert Settings().allowed_hosts == ("big.example", "[::1]", "*.example.org")


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHETKO_PORT", "")
    assert Settings().port == 8000


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("CHETKO_PORT", "eighty", "CHETKO_PORT must be a whole number, not 'eighty'."),
        ("CHETKO_PORT", "65536", "CHETKO_PORT must be at most 65535, not '65536'."),
        ("CHETKO_THREADS", "0", "CHETKO_THREADS must be at least 1, not '0'."),
        ("CHETKO_PLATFORM", "tpu", "CHETKO_PLATFORM must be one of auto, cpu or gpu, not 'tpu'."),
        (
            "CHETKO_EGRESS_ALLOWED_HOSTS",
            "a,http://b/",
            "CHETKO_EGRESS_ALLOWED_HOSTS takes name or name:port (IPv6 in brackets), without scheme and path, "
            "not 'http://b/'.",
        ),
        (
            "CHETKO_STORAGE_URL",
            "/var/pictures",
            "CHETKO_STORAGE_URL must be file:///folder or s3://bucket/prefix, not '/var/pictures'.",
        ),
        (
            "CHETKO_S3_ENDPOINT",
            "minio:9000",
            "CHETKO_S3_ENDPOINT must be an address such as https://s3.example.org, without path, not 'minio:9000'.",
        ),
        (
            "CHETKO_WEBHOOK_SECRET",
            "whsec_c2hvcnQ=",
            "CHETKO_WEBHOOK_SECRET must be whsec_ and the base64 of 24 to 64 random bytes.",
        ),
        ("CHETKO_RECEIVE_IDLE_SECONDS", "soon", "CHETKO_RECEIVE_IDLE_SECONDS must be a number, not 'soon'."),
        ("CHETKO_RECEIVE_IDLE_SECONDS", "0", "CHETKO_RECEIVE_IDLE_SECONDS must be more than 0, not '0'."),
        ("CHETKO_RECEIVE_IDLE_SECONDS", "nan", "CHETKO_RECEIVE_IDLE_SECONDS must be a finite number, not 'nan'."),
        ("CHETKO_RECEIVE_IDLE_SECONDS", "inf", "CHETKO_RECEIVE_IDLE_SECONDS must be a finite number, not 'inf'."),
        ("CHETKO_METRICS_PORT", "70000", "CHETKO_METRICS_PORT must be at most 65535, not '70000'."),
        ("CHETKO_LOG_FORMAT", "xml", "CHETKO_LOG_FORMAT must be one of text or json, not 'xml'."),
        (
            "CHETKO_TRACES_URL",
            "collector:4318",
            "CHETKO_TRACES_URL must be an address that begins with http:// or https://, not 'collector:4318'.",
        ),
        ("CHETKO_ALLOWED_HOSTS", ",", "CHETKO_ALLOWED_HOSTS must name at least one host."),
        ("CHETKO_MODELS_DIR", "/no/such", "CHETKO_MODELS_DIR must be a folder that exists, and '/no/such' is none."),
    ],
)
def test_one_sentence_names_the_variable(name: str, value: str, sentence: str) -> None:
    assert sentences(**{name: value}) == [sentence]


@pytest.mark.parametrize("value", ["http://a", "a:8000", "a/b", "::1"])
def test_hosts_have_no_port_or_scheme(value: str) -> None:
    (sentence,) = sentences(CHETKO_ALLOWED_HOSTS=value)
    assert sentence.startswith("CHETKO_ALLOWED_HOSTS takes names without scheme, port or path")
    assert repr(value) in sentence


def test_all_faults_are_told_at_once() -> None:
    told = sentences(CHETKO_PORT="x", CHETKO_TILE_MEMORY_MB="1", CHETKO_LOG_LEVEL="loud")
    assert sorted(sentence.split()[0] for sentence in told) == [
        "CHETKO_LOG_LEVEL",
        "CHETKO_PORT",
        "CHETKO_TILE_MEMORY_MB",
    ]


def test_the_variable_that_kubernetes_writes_is_explained() -> None:
    (sentence,) = sentences(CHETKO_PORT="tcp://10.0.0.1:8000")
    assert "enableServiceLinks: false" in sentence


def test_near_misses_are_told_and_other_variables_are_not() -> None:
    environ = {"CHETKO_ALOWED_HOSTS": "x", "CHETKO_SERVICE_HOST": "10.0.0.1", "CHETKO_PORT": "1", "HOME": "/"}
    assert misspelt(environ) == ["CHETKO_ALOWED_HOSTS is no setting; did you mean CHETKO_ALLOWED_HOSTS?"]


def test_models_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHETKO_MODELS_DIR", str(tmp_path))
    assert Settings().models_dir == tmp_path


def test_addresses_that_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHETKO_EGRESS_ALLOWED_HOSTS", "Minio:9000, intern.example,[::1]:80")
    monkeypatch.setenv("CHETKO_WEBHOOK_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    settings = Settings()
    assert settings.egress_allowed_hosts == ("minio:9000", "intern.example", "[::1]:80")
    assert "MfKQ9" not in repr(settings)


@pytest.mark.parametrize("url", ["redis://queue:6379/0", "rediss://user:word@queue", "unix:///run/chetko/socket"])
def test_queues_that_can_be_named(url: str) -> None:
    assert Settings(redis_url=url).redis_url == url


@pytest.mark.parametrize("url", ["queue:6379", "http://queue", "redis://", "unix://socket", "redis:///0"])
def test_a_queue_that_cannot_be_is_refused_without_telling_its_password(url: str) -> None:
    with pytest.raises(ValidationError) as error:
        Settings(redis_url=url)
    assert explain(error.value) == [
        "CHETKO_REDIS_URL takes redis://host:6379/0, rediss://host:6379/0 or unix:///path/to/socket."
    ]


def test_the_data_folder_is_the_users_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert Settings().data_dir == tmp_path / "chetko"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert Settings().data_dir == Path("/home/somebody/.local/share/chetko")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHETKO_DATA_DIR", "here")
    assert Settings().data_dir == tmp_path / "here"
    monkeypatch.setenv("CHETKO_DATA_DIR", "~nobody-of-that-name/data")
    with pytest.raises(ValidationError) as error:
        Settings()
    assert explain(error.value) == [
        "CHETKO_DATA_DIR begins with a user's folder that is not known: '~nobody-of-that-name/data'."
    ]
