"""The names under which results are saved."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from app.api.file_names import content_disposition
from app.jobs.file_names import result_name


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("photo.jpg", "photo_x4.png"),
        ("holiday.2024.jpeg", "holiday.2024_x4.png"),
        ("noextension", "noextension_x4.png"),
        ("/etc/passwd", "passwd_x4.png"),
        ("..\\..\\windows\\evil.bmp", "evil_x4.png"),
        ("../../up.png", "up_x4.png"),
        ("кот на окне.png", "кот на окне_x4.png"),
        ("猫.webp", "猫_x4.png"),
        ("", "picture_x4.png"),
        (None, "picture_x4.png"),
        ("..", "picture_x4.png"),
        (".htaccess", "htaccess_x4.png"),
        ("a\r\nSet-Cookie: x=1.png", "aSet-Cookie_ x=1_x4.png"),
        ('say "hi"; filename=x.png', "say _hi__ filename=x_x4.png"),
        ("right\u202eleft.png", "rightleft_x4.png"),
        ("x" * 300 + ".png", "x" * 80 + "_x4.png"),
    ],
)
def test_result_name(given: str | None, expected: str) -> None:
    assert result_name(given, 4, "png") == expected


def test_extension_may_carry_its_dot() -> None:
    assert result_name("a.png", 2, ".jpg") == "a_x2.jpg"


def test_plain_names_stand_alone() -> None:
    assert content_disposition("photo_x4.png") == 'attachment; filename="photo_x4.png"'


@pytest.mark.parametrize(
    ("name", "plain"),
    [("кот_x4.png", "picture_x4.png"), ("café_x2.jpg", "cafe_x2.jpg"), ("猫_x4.png", "picture_x4.png")],
)
def test_other_scripts_are_sent_in_full_beside_an_ascii_name(name: str, plain: str) -> None:
    value = content_disposition(name)
    value.encode("ascii")
    assert value.startswith(f"attachment; filename=\"{plain}\"; filename*=UTF-8''")
    assert unquote(value.rsplit("''", 1)[1]) == name
