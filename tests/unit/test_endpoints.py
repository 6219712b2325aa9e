"""Where are other services? What flags, our variables and AWS's variables say, in this order."""

import pytest

from hearth.model.endpoints import SERVICES, Endpoint, no_endpoint
from hearth.options import ONLY_BY_NAME
from hearth.settings import StartRefused, read_settings

HOME = {"HOME": "/home/ada"}
STORE = "http://127.0.0.1:9000"


def s3(*flags: str, listen: str | None = None, **environment: str) -> Endpoint | None:
    settings = read_settings({"endpoints": flags, "listen": listen}, HOME | environment)
    return settings.endpoints.find("s3")


def test_without_a_word_no_service_is_anywhere() -> None:
    assert s3() is None


def test_a_flag_beats_our_variable_which_beats_aws_own() -> None:
    aws = {"AWS_ENDPOINT_URL_S3": "http://two", "AWS_ENDPOINT_URL": "http://one"}
    assert s3(**aws) == Endpoint("s3", "http://two")
    assert s3(HEARTH_ENDPOINT_S3="http://three", **aws) == Endpoint("s3", "http://three")
    assert s3("s3=http://four", HEARTH_ENDPOINT_S3="http://three") == Endpoint("s3", "http://four")
    assert s3(AWS_ENDPOINT_URL="http://one") == Endpoint("s3", "http://one")


def test_aws_itself_is_asked_for_by_name() -> None:
    assert s3("s3=aws") == Endpoint("s3", None)
    assert s3(HEARTH_ENDPOINT_S3="aws", AWS_ENDPOINT_URL=STORE) == Endpoint("s3", None)


def test_aws_variables_can_be_told_to_be_ignored_as_by_every_aws_client() -> None:
    assert s3(AWS_ENDPOINT_URL=STORE, AWS_IGNORE_CONFIGURED_ENDPOINT_URLS="True") is None


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:4566", "http://127.0.0.1:4566"),
        ("127.0.0.1:4566", "http://localhost:4566/"),
        ("localhost:4566", "http://[::1]:4566"),
        ("127.0.0.1:80", "http://localhost"),
    ],
)
def test_aws_variables_that_name_hearth_itself_say_nothing_about_s3(listen: str, url: str) -> None:
    assert s3(listen=listen, AWS_ENDPOINT_URL=url) is None
    assert s3(listen=listen, AWS_ENDPOINT_URL_S3=url, AWS_ENDPOINT_URL=STORE) is None


def test_whoever_listens_on_all_addresses_is_on_loopback_too() -> None:
    environment = HOME | {"AWS_ENDPOINT_URL": "http://127.0.0.1:4566", "HEARTH_AUTH": "sigv4"}
    assert read_settings({"listen": "0.0.0.0:4566"}, environment).endpoints.find("s3") is None


@pytest.mark.parametrize("url", [STORE, "http://127.0.0.2:4566", "http://store:4566"])
def test_another_port_or_another_host_is_not_hearth(url: str) -> None:
    assert s3(AWS_ENDPOINT_URL=url) == Endpoint("s3", url)


def test_our_own_words_must_not_send_hearth_to_itself() -> None:
    with pytest.raises(StartRefused, match=r"^--endpoint says that s3 is at http://localhost:4566"):
        s3("s3=http://localhost:4566")
    with pytest.raises(StartRefused, match=r"^HEARTH_ENDPOINT_S3 says that s3 is at"):
        s3(HEARTH_ENDPOINT_S3="http://127.0.0.1:4566")


@pytest.mark.parametrize("text", ["s3", "=http://x", "S3=http://x", "dynamo=http://x", ""])
def test_a_service_that_hearth_does_not_use_is_refused(text: str) -> None:
    with pytest.raises(StartRefused, match="--endpoint must be SERVICE=URL or SERVICE=aws, with"):
        s3(text)


@pytest.mark.parametrize(
    "where",
    [
        "",
        "AWS",
        "localhost:9000",
        "ftp://x",
        "http://",
        "http://x:0",
        "http://x:99999",
        "http://[x",
        "http://u:p@x",
        "http://x/?a=b",
        "http://x/#f",
    ],
)
def test_what_is_no_endpoint_is_refused_by_the_name_of_where_it_stands(where: str) -> None:
    with pytest.raises(StartRefused, match=r"^--endpoint must be a URL like"):
        s3(f"s3={where}")
    if where:
        with pytest.raises(StartRefused, match=r"^AWS_ENDPOINT_URL must be a URL like"):
            s3(AWS_ENDPOINT_URL=where)


def test_a_service_is_named_once() -> None:
    with pytest.raises(StartRefused, match="given twice for s3"):
        s3("s3=http://one", "s3=aws")


def test_a_path_is_kept_and_its_last_slash_is_not() -> None:
    assert s3("s3=https://host/prefix/") == Endpoint("s3", "https://host/prefix")


def test_the_refusal_says_what_to_do() -> None:
    assert no_endpoint("S3Bucket", "s3").message == (
        "S3Bucket needs the service s3, and this Hearth was not told where that is. Start it with "
        "--endpoint s3=URL (or HEARTH_ENDPOINT_S3), or with --endpoint s3=aws for AWS itself."
    )


@pytest.mark.parametrize("service", ["eventbridge", "s3", "sns", "sqs"])
def test_each_service_has_a_name_of_its_own_in_aws_variables(service: str) -> None:
    part = service.upper()
    environment = HOME | {f"AWS_ENDPOINT_URL_{part}": "http://two"}
    settings = read_settings({"endpoints": (), "listen": None}, environment)
    assert dict(settings.endpoints.by_service) == {service: Endpoint(service, "http://two")}
    ours = environment | {f"HEARTH_ENDPOINT_{part}": "http://three"}
    found = read_settings({"endpoints": (), "listen": None}, ours).endpoints.find(service)
    assert found == Endpoint(service, "http://three")


def test_one_address_for_all_services_is_enough() -> None:
    settings = read_settings({"endpoints": (), "listen": None}, HOME | {"AWS_ENDPOINT_URL": STORE})
    assert set(settings.endpoints.by_service) == set(SERVICES) - ONLY_BY_NAME
